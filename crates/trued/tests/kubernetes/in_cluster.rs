//! Trued in a cluster: the manifests of the example, and the binary as the account that they make.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::SystemTime;

use serde_json::{Value, json};

use crate::cluster::{Ground, both, until};
use crate::health::Serving;

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/in-cluster")
}

/// The objects of one file of the example, in namespaces of this test.
fn objects(ground: &Ground, file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(example().join(file)).expect("read");
    let own = |text: &str| match text {
        "trued" => ground.namespace.clone(),
        "shop" => format!("{}-shop", ground.namespace),
        other => other.to_owned(),
    };
    let nodes = trued_yaml::read_all(file, &text, &trued_yaml::Budget::default()).expect("YAML");
    let place = |mut object: Value| {
        if let Some(namespace) = object["metadata"]["namespace"].as_str().map(own) {
            object["metadata"]["namespace"] = namespace.into();
        }
        if object["kind"] == "Namespace" {
            object["metadata"]["name"] = own(object["metadata"]["name"].as_str().expect("a name")).into();
        }
        for subject in object.get_mut("subjects").and_then(Value::as_array_mut).into_iter().flatten() {
            subject["namespace"] = own(subject["namespace"].as_str().expect("a namespace")).into();
        }
        object
    };
    nodes.iter().map(|node| place(node.to_json())).collect()
}

/// Applies an object as `kubectl apply --server-side --validate=strict` does.
fn apply(ground: &Ground, object: &Value) {
    let text = |key: &str| object[key].as_str().expect("text").to_owned();
    let (version, kind) = (text("apiVersion"), text("kind").to_lowercase());
    let root = if version.contains('/') { format!("/apis/{version}") } else { format!("/api/{version}") };
    let inside = object["metadata"]["namespace"].as_str().map(|name| format!("/namespaces/{name}")).unwrap_or_default();
    let name = object["metadata"]["name"].as_str().expect("a name");
    let path = format!("{root}{inside}/{kind}s/{name}?fieldManager=people&fieldValidation=Strict");
    ground.request("PATCH", &path, "application/apply-patch+yaml", Some(object)).expect("applied");
}

/// A repository with one app that lands in the namespace that is kept true.
fn repository(ground: &Ground, manifests: &str) -> PathBuf {
    let folder = ground.folder.path().join("shop");
    let write = |path: &str, text: String| {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    };
    let app = format!(
        "app: web\nrender: {{ plain: {{ path: manifests }} }}\nstacks:\n  prod: {{ target: here, into: {}-shop }}\n",
        ground.namespace
    );
    write("apps/web/app.yaml", app);
    write("apps/web/manifests/all.yaml", manifests.replace("NAMESPACE", &ground.namespace));
    let git = |words: &[&str]| {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]).args(words).current_dir(&folder);
        let output = git.output().expect("git");
        assert!(output.status.success(), "{}", both(&output));
    };
    if !folder.join(".git").exists() {
        git(&["init", "--quiet", "--initial-branch", "main"]);
    }
    git(&["add", "-A"]);
    git(&["commit", "--quiet", "-m", "an app"]);
    folder
}

/// The example's pod, as the kubelet would have it: its container's words and variables, its user, a root that nobody can write
/// to, and its volumes.
struct Pod<'a> {
    ground: &'a Ground,
    spec: Value,
}

/// Where a pod finds its account, and where the repository is seen.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const REPOSITORY: &str = "/repository";

impl<'a> Pod<'a> {
    fn new(ground: &'a Ground, token: &str) -> Pod<'a> {
        let made = objects(ground, "deployment.yaml").into_iter().find(|object| object["kind"] == "Deployment").expect("a Deployment");
        let pod = Pod { ground, spec: made["spec"]["template"]["spec"].clone() };
        // The image: the binary and the libraries it was built with, which the script below puts there.
        let root = pod.root();
        let folders = ["dev", "lib", "lib64", "proc", "usr/lib", "usr/local/bin", "elsewhere", ACCOUNT, REPOSITORY];
        let mounts = pod.mounts();
        for folder in folders.into_iter().chain(mounts.iter().map(|(_, path, _)| path.as_str())) {
            std::fs::create_dir_all(root.join(folder.trim_start_matches('/'))).expect("made");
        }
        for file in ["dev/null", "dev/urandom", "usr/local/bin/trued"] {
            std::fs::write(root.join(file), "").expect("made");
        }
        let (user, group) = pod.ids();
        // Only that the root is read-only keeps it from writing here.
        std::os::unix::fs::chown(root.join("elsewhere"), Some(user), Some(group)).expect("given");
        let volume = |name: &str| ground.folder.path().join("volumes").join(name);
        let authority = std::fs::read_to_string(ground.authority()).expect("read");
        projected(&volume("account"), &[("token", token), ("ca.crt", &authority), ("namespace", &ground.namespace)]);
        for one in pod.spec["volumes"].as_array().expect("volumes") {
            let folder = volume(one["name"].as_str().expect("a name"));
            if one["configMap"].is_object() {
                // The operator's file of the example, with a repository that is here.
                let text = objects(ground, "configuration.yaml").remove(0)["data"]["trued.yaml"].as_str().expect("text").to_owned();
                let at_home = text.replace("url: \"https://git.example/shop\"", &format!("path: {REPOSITORY}"));
                assert_ne!(at_home, text);
                projected(&folder, &[("trued.yaml", &at_home)]);
                continue;
            }
            assert!(one["persistentVolumeClaim"].is_object() || one["emptyDir"].is_object(), "{one}");
            std::fs::create_dir_all(&folder).expect("made");
        }
        pod
    }

    fn root(&self) -> PathBuf {
        self.ground.folder.path().join("root")
    }

    fn container(&self) -> &Value {
        &self.spec["containers"][0]
    }

    /// Name, path, and whether it may only be read.
    fn mounts(&self) -> Vec<(String, String, bool)> {
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let mounts = self.container()["volumeMounts"].as_array().expect("mounts");
        mounts.iter().map(|one| (text(&one["name"]), text(&one["mountPath"]), one["readOnly"] == true)).collect()
    }

    /// User and group, as numbers.
    fn ids(&self) -> (u32, u32) {
        let of = |key: &str| u32::try_from(self.spec["securityContext"][key].as_u64().expect("a number")).expect("an id");
        assert_eq!(of("fsGroup"), of("runAsGroup"));
        (of("runAsUser"), of("runAsGroup"))
    }

    /// The container's own words.
    fn words(&self) -> Vec<String> {
        let of = |key: &str| self.container()[key].as_array().expect("words").clone();
        [of("command"), of("args")].concat().iter().map(|word| word.as_str().expect("a word").to_owned()).collect()
    }

    /// Words to be run as the container would be, in a file system of its own.
    fn command(&self, words: &[String]) -> Command {
        let (root, volumes) = (self.root().display().to_string(), self.ground.folder.path().join("volumes").display().to_string());
        let mut script = format!("set -e; mount --bind {root} {root}; mount --bind /proc {root}/proc\n");
        let mut mount = |from: &str, to: &str, only_read: bool| {
            let how = if only_read { "bind,ro" } else { "bind" };
            script += &format!("mount -o {how} {from} {root}{to}\n");
        };
        ["/lib", "/lib64", "/usr/lib"]
            .into_iter()
            .filter(|folder| Path::new(folder).is_dir())
            .for_each(|folder| mount(folder, folder, true));
        ["/dev/null", "/dev/urandom"].into_iter().for_each(|file| mount(file, file, false));
        mount(env!("CARGO_BIN_EXE_trued"), "/usr/local/bin/trued", true);
        mount(&self.ground.folder.path().join("shop").display().to_string(), REPOSITORY, true);
        mount(&format!("{volumes}/account"), ACCOUNT, true);
        self.mounts().iter().for_each(|(name, path, only_read)| mount(&format!("{volumes}/{name}"), path, *only_read));
        assert_eq!(self.container()["securityContext"]["readOnlyRootFilesystem"], true);
        let (user, group) = self.ids();
        // What `fsGroup` has the kubelet do to volumes when a pod begins: each time, or until the volume itself is as it should be.
        let once = self.spec["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch";
        for (name, ..) in self.mounts().iter().filter(|(.., only_read)| !only_read) {
            let volume = format!("{volumes}/{name}");
            script += &format!("if ! {once} || [ \"$(stat -c %g:%a {volume})\" != {group}:2775 ]; then chgrp -Rh {group} {volume}; ");
            script += &format!("chmod -R ug+rw {volume}; find {volume} -type d -exec chmod ug+x,g+s {{}} +; fi\n");
        }
        script += &format!("mount -o remount,bind,ro {root}\n");
        script += &format!("exec setpriv --no-new-privs chroot --userspec={user}:{group} --groups={group} {root} \"$@\"");
        let (host, port) = self.ground.address();
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", &script, "sh"]).args(words);
        command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("KUBERNETES_SERVICE_HOST", host).env("KUBERNETES_SERVICE_PORT", port).stdin(Stdio::null());
        for variable in self.container()["env"].as_array().expect("variables") {
            command.env(variable["name"].as_str().expect("a name"), variable["value"].as_str().expect("a value"));
        }
        command
    }

    /// Runs another verb of the program, with all else that the container says.
    fn run(&self, verb: &str) -> Output {
        let mut words = self.words();
        assert_eq!(words[1], "serve");
        words[1] = verb.to_owned();
        self.command(&words).output().expect("started")
    }

    /// Runs words in a container that runs, as `kubectl exec` does; what was said, if all went well.
    fn exec(&self, running: u32, words: &[&str]) -> Option<String> {
        let (user, group) = self.ids();
        let mut command = Command::new("nsenter");
        command.args([
            "--mount",
            "--root",
            "--wd",
            &format!("--target={running}"),
            &format!("--setuid={user}"),
            &format!("--setgid={group}"),
        ]);
        let output = command.args(words).env_clear().env("PATH", "/usr/local/bin:/usr/bin").output().expect("started");
        output.status.success().then(|| both(&output))
    }
}

/// Files as the kubelet puts them into a volume: behind links, to be exchanged all at once.
fn projected(folder: &Path, files: &[(&str, &str)]) {
    let inside = folder.join("..2026_01_01");
    std::fs::create_dir_all(&inside).expect("made");
    std::os::unix::fs::symlink("..2026_01_01", folder.join("..data")).expect("linked");
    for (name, text) in files {
        std::fs::write(inside.join(name), text).expect("written");
        std::os::unix::fs::symlink(format!("..data/{name}"), folder.join(name)).expect("linked");
    }
}

/// Every path below a folder, how long what stands there is, and when it was written.
fn below(folder: &Path) -> Vec<(PathBuf, u64, SystemTime)> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("read").flatten() {
            let about = entry.metadata().expect("there");
            found.push((entry.path(), about.len(), about.modified().expect("a time")));
            folders.extend(about.is_dir().then(|| entry.path()));
        }
    }
    found.sort();
    found
}

const WEB: &str = "\
apiVersion: v1
kind: ConfigMap
metadata: { name: words }
data: { colour: red }
---
apiVersion: v1
kind: Service
metadata: { name: web }
spec: { selector: { app: web }, ports: [{ port: 80 }] }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: web }
spec:
  replicas: 0
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec: { containers: [{ name: web, image: \"web:1\" }] }
";

/// The example's objects on the cluster, and its account with no other rights than theirs; the account's token.
fn accepted(ground: &Ground) -> String {
    for file in ["namespaces.yaml", "rights.yaml", "configuration.yaml", "deployment.yaml"] {
        objects(ground, file).iter().for_each(|object| apply(ground, object));
    }
    // Only the example's rights count: those that tests begin with go.
    ground.delete(&format!("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/{}", ground.namespace));
    let review = json!({ "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {
        "user": format!("system:serviceaccount:{}:trued", ground.namespace),
        "resourceAttributes": { "verb": "create", "resource": "secrets", "group": "", "namespace": format!("{}-shop", ground.namespace) },
    } });
    until("the account has lost all other rights", || {
        let answer = ground.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", "application/json", Some(&review));
        answer.is_some_and(|answer| answer["status"]["allowed"] == false)
    });
    let token = format!("/api/v1/namespaces/{}/serviceaccounts/trued/token", ground.namespace);
    let asked = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": { "expirationSeconds": 3600 } });
    let token = ground.request("POST", &token, "application/json", Some(&asked)).expect("a token")["status"]["token"].clone();
    token.as_str().expect("a token").to_owned()
}

#[test]
fn the_example_is_accepted_strictly_and_its_rights_are_enough_and_no_more() {
    let ground = Ground::without_namespace("pod");
    let token = accepted(&ground);
    repository(&ground, WEB);
    let kubelet = Pod::new(&ground, &token);
    // The namespace holds pods to its standard, and the example's pod keeps it.
    let pods = format!("/api/v1/namespaces/{}/pods?dryRun=All&fieldValidation=Strict", ground.namespace);
    let mut pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "probe" }, "spec": kubelet.spec });
    ground.request("POST", &pods, "application/json", Some(&pod)).expect("admitted");
    pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = true.into();
    assert_eq!(ground.status("POST", &pods, &pod), 403, "the standard is enforced");
    let shop = format!("{}-shop", ground.namespace);
    until("the account has its rights", || kubelet.run("apply").status.success());
    let there = |resource: &str, name: &str| ground.get(&format!("/api/v1/namespaces/{shop}/{resource}/{name}")).is_some();
    assert!(there("configmaps", "words") && there("services", "web"));
    assert!(ground.get(&format!("/apis/apps/v1/namespaces/{shop}/deployments/web")).is_some());
    let output = kubelet.run("plan");
    assert!(output.status.success() && both(&output).contains("nothing to do"), "{}", both(&output));
    // What goes, goes; what it may not do stays undone and is said.
    let smaller = WEB.split("---\n").next().expect("the first").to_owned();
    repository(&ground, &smaller);
    let output = kubelet.run("apply");
    let said = both(&output);
    assert!(output.status.success(), "{:?} {said}", output.status);
    assert!(!there("services", "web"), "{said} {:?}", both(&kubelet.run("plan")));
    let secret = "---\napiVersion: v1\nkind: Secret\nmetadata: { name: password }\nstringData: { word: hunter2 }\n";
    repository(&ground, &(smaller + secret));
    let output = kubelet.run("apply");
    let said = both(&output);
    assert!(!output.status.success() && said.contains("secrets"), "{said}");
    assert!(said.contains("forbidden") || said.contains("denied") || said.contains("grant the right"), "{said}");
    assert!(!said.contains("hunter2") && !there("secrets", "password"), "{said}");
    ground.delete(&format!("/api/v1/namespaces/{shop}"));
}

#[test]
fn the_examples_container_serves_as_its_user_on_a_root_that_nobody_can_write_to() {
    let ground = Ground::without_namespace("kubelet");
    let token = accepted(&ground);
    repository(&ground, WEB);
    let kubelet = Pod::new(&ground, &token);
    // Who gives it a probe has it asked here.
    assert!(["livenessProbe", "readinessProbe", "startupProbe"].iter().all(|probe| kubelet.container()[probe].is_null()));
    let given = || ["root", "volumes/account", "volumes/configuration"].map(|folder| below(&ground.folder.path().join(folder)));
    let before = given();
    let shop = format!("{}-shop", ground.namespace);
    let live = |resource: &str, name: &str| ground.get(&format!("/api/v1/namespaces/{shop}/{resource}/{name}"));
    let colour = || live("configmaps", "words").map(|words| words["data"]["colour"].clone());

    let serving = Serving::start(kubelet.command(&kubelet.words()));
    until("what is declared is there", || colour() == Some(json!("red")) && live("services", "web").is_some());
    let status = std::fs::read_to_string(format!("/proc/{}/status", serving.id())).expect("it runs");
    let of = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).expect("a line").split_whitespace().collect::<Vec<_>>();
    assert_eq!((of("Uid:"), of("Gid:"), of("Groups:")), (vec!["65532"; 4], vec!["65532"; 4], vec!["65532"]));
    assert_eq!((of("CapEff:"), of("CapPrm:"), of("NoNewPrivs:")), (vec!["0000000000000000"], vec!["0000000000000000"], vec!["1"]));
    // As the README asks it.
    let exec = |words: &[&str]| kubelet.exec(serving.id(), words).unwrap_or_default();
    let state = ["--state", "/var/lib/trued/record"];
    let file = ["--config", "/etc/trued/trued.yaml"];
    until("its verdict is on record", || {
        exec(&[&["trued", "log", "--limit", "20", "--output", "json"], &state[..]].concat()).contains("\"verdict\"")
    });
    // Somebody edits, and it hears of it; the repository changes, and it is told so.
    let words = format!("/api/v1/namespaces/{shop}/configmaps/words");
    ground.edit(&words, "kubectl-edit", &json!({ "data": { "colour": "green" } }));
    until("it is put back", || colour() == Some(json!("red")));
    repository(&ground, &WEB.replace("red", "blue"));
    until("the commit is there", || {
        exec(&[&["trued", "reconcile"], &file[..], &state[..]].concat());
        colour() == Some(json!("blue"))
    });
    serving.end();
    // A pod that begins anew finds its record as the kubelet left it, and goes on with it.
    repository(&ground, &WEB.replace("red", "green"));
    let serving = Serving::start(kubelet.command(&kubelet.words()));
    until("the commit is there", || colour() == Some(json!("green")));
    serving.end();

    assert_eq!(given(), before, "nothing was written but to the volumes that are for it");
    let left = below(&ground.folder.path().join("volumes/temporary"));
    assert_eq!(left, [], "nothing is left behind");
    // That it is so is not for want of trying.
    let elsewhere =
        kubelet.command(&["trued", "apply", "--config", file[1], "--state", "/elsewhere"].map(str::to_owned)).output().expect("started");
    assert!(!elsewhere.status.success() && both(&elsewhere).to_lowercase().contains("read-only"), "{}", both(&elsewhere));
    ground.delete(&format!("/api/v1/namespaces/{shop}"));
}
