//! Trued in a cluster: the manifests of the example, and the binary as the account that they make.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::cluster::{Ground, both, until};

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

/// Runs the program as a pod would: the account's token at the usual place, in a file system of its own.
fn as_pod(ground: &Ground, token: &str, arguments: &[&str]) -> std::process::Output {
    let place = "/run/secrets/kubernetes.io/serviceaccount";
    let script = format!(
        "mount -t tmpfs tmpfs /run && mkdir -p {place} && printf %s \"$TOKEN\" > {place}/token && cp \"$AUTHORITY\" {place}/ca.crt \
         && printf %s \"$NAMESPACE\" > {place}/namespace && unset TOKEN && cd \"$FOLDER\" && exec \"$@\""
    );
    let (host, port) = ground.address();
    // What lies below /run is kept in sight no longer: the test's own folders must not be there.
    assert!(!ground.folder.path().starts_with("/run"));
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", &script, "sh", env!("CARGO_BIN_EXE_trued")]).args(arguments);
    command.env("TOKEN", token).env("AUTHORITY", ground.authority()).env("NAMESPACE", &ground.namespace);
    command.env("FOLDER", ground.folder.path()).env("KUBERNETES_SERVICE_HOST", host).env("KUBERNETES_SERVICE_PORT", port);
    command.env_remove("TRUED_CONFIG").env("TRUED_STATE", ground.state());
    command.output().expect("started")
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

#[test]
fn the_example_is_accepted_strictly_and_its_rights_are_enough_and_no_more() {
    let ground = Ground::without_namespace("pod");
    for file in ["namespaces.yaml", "rights.yaml", "configuration.yaml", "deployment.yaml"] {
        objects(&ground, file).iter().for_each(|object| apply(&ground, object));
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
    // The namespace holds pods to its standard, and the example's pod keeps it.
    let deployment = objects(&ground, "deployment.yaml").into_iter().find(|object| object["kind"] == "Deployment").expect("a Deployment");
    let pods = format!("/api/v1/namespaces/{}/pods?dryRun=All&fieldValidation=Strict", ground.namespace);
    let mut pod =
        json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "probe" }, "spec": deployment["spec"]["template"]["spec"] });
    ground.request("POST", &pods, "application/json", Some(&pod)).expect("admitted");
    pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = true.into();
    assert_eq!(ground.status("POST", &pods, &pod), 403, "the standard is enforced");
    let token = format!("/api/v1/namespaces/{}/serviceaccounts/trued/token", ground.namespace);
    let asked = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": { "expirationSeconds": 3600 } });
    let token = ground.request("POST", &token, "application/json", Some(&asked)).expect("a token")["status"]["token"].clone();
    let token = token.as_str().expect("a token");
    // The operator's file of the example, with a repository that is here.
    let repository_folder = repository(&ground, WEB);
    let configuration = objects(&ground, "configuration.yaml").remove(0)["data"]["trued.yaml"].as_str().expect("text").to_owned();
    let at_home = configuration.replace("url: \"https://git.example/shop\"", &format!("path: {}", repository_folder.display()));
    assert_ne!(at_home, configuration);
    std::fs::write(ground.folder.path().join("trued.yaml"), at_home).expect("written");
    let shop = format!("{}-shop", ground.namespace);
    until("the account has its rights", || {
        let output = as_pod(&ground, token, &["apply"]);
        output.status.success()
    });
    let there = |resource: &str, name: &str| ground.get(&format!("/api/v1/namespaces/{shop}/{resource}/{name}")).is_some();
    assert!(there("configmaps", "words") && there("services", "web"));
    assert!(ground.get(&format!("/apis/apps/v1/namespaces/{shop}/deployments/web")).is_some());
    let output = as_pod(&ground, token, &["plan"]);
    assert!(output.status.success() && both(&output).contains("nothing to do"), "{}", both(&output));
    // What goes, goes; what it may not do stays undone and is said.
    let smaller = WEB.split("---\n").next().expect("the first").to_owned();
    repository(&ground, &smaller);
    let output = as_pod(&ground, token, &["apply"]);
    let said = both(&output);
    assert!(output.status.success(), "{:?} {said}", output.status);
    assert!(!there("services", "web"), "{said} {:?}", both(&as_pod(&ground, token, &["plan"])));
    let secret = "---\napiVersion: v1\nkind: Secret\nmetadata: { name: password }\nstringData: { word: hunter2 }\n";
    repository(&ground, &(smaller + secret));
    let output = as_pod(&ground, token, &["apply"]);
    let said = both(&output);
    assert!(!output.status.success() && said.contains("secrets"), "{said}");
    assert!(said.contains("forbidden") || said.contains("denied") || said.contains("grant the right"), "{said}");
    assert!(!said.contains("hunter2") && !there("secrets", "password"), "{said}");
    ground.delete(&format!("/api/v1/namespaces/{shop}"));
}
