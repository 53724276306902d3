//! The real API server that `cargo xtask test` starts, a namespace for each test, and a stranger's hands on it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::between::{Asked, Between, Fate};

/// Bounds waits that only end a test in which something is broken.
pub const PATIENCE: Duration = Duration::from_secs(90);

static COUNT: AtomicU32 = AtomicU32::new(0);

pub fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("no Kubernetes API server: run `cargo xtask partners --run -- cargo test -p trued --test kubernetes`");
    })
}

/// A repository with one configuration file, a state folder, and a namespace on the cluster.
pub struct Ground {
    pub folder: Arc<tempfile::TempDir>,
    /// The state folder's name: each is a record of its own.
    state: &'static str,
    pub namespace: String,
    kubeconfig: String,
    server: String,
    authority: String,
}

impl Ground {
    /// A fresh namespace, and a service account in it that may do everything and on whose behalf everything is done: so its
    /// requests can be told from those of other tests.
    pub fn new(test: &str) -> Ground {
        let ground = Ground::without_namespace(test);
        let namespace = ground.namespace.clone();
        ground.apply("test", &json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } }));
        ground
    }

    pub fn without_namespace(test: &str) -> Ground {
        let kubeconfig = variable("TRUED_TEST_KUBECONFIG");
        let text = std::fs::read_to_string(&kubeconfig).expect("a kubeconfig");
        let value = |key: &str| {
            let line = text.lines().find_map(|line| line.trim().strip_prefix(key)).expect("a value in the kubeconfig");
            line.trim().to_owned()
        };
        let namespace = format!("{test}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = Arc::new(tempfile::tempdir().expect("a folder"));
        let ground =
            Ground { state: "state", server: value("server:"), authority: value("certificate-authority:"), folder, namespace, kubeconfig };
        ground.give_rights();
        ground
    }

    /// Has the account do everything.
    pub fn give_rights(&self) {
        self.apply(
            "test",
            &json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": { "name": self.namespace },
                "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin" },
                "subjects": [{ "kind": "ServiceAccount", "name": "trued", "namespace": self.namespace }],
            }),
        );
        // The server takes a moment to take notice of a right.
        let review = json!({ "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {
            "user": format!("system:serviceaccount:{}:trued", self.namespace),
            "resourceAttributes": { "verb": "list", "resource": "secrets", "group": "" },
        } });
        until("the account has its rights", || {
            let answer = self.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", "application/json", Some(&review));
            answer.is_some_and(|answer| answer["status"]["allowed"] == true)
        });
    }

    /// Writes a configuration of stacks: name, and what stands beside `path`. Whose `target` is not said are on the one cluster.
    pub fn configure(&self, stacks: &[(&str, &str)]) {
        let Ground { kubeconfig, namespace, .. } = self;
        let settings = format!("{{ kubeconfig: {kubeconfig}, context: admin, impersonate: {namespace}/trued }}");
        let mut text = format!("targets:\n  cluster: {{ kubernetes: {settings} }}\nstacks:\n");
        for (name, more) in stacks {
            let target = if more.contains("target:") { "" } else { "    target: cluster\n" };
            text += &format!("  {name}:\n    path: {name}\n    into: {namespace}\n{target}");
            more.lines().for_each(|line| text += &format!("    {line}\n"));
        }
        self.write("trued.yaml", &text);
    }

    /// Has the program ask the server through a proxy, from the next configuration on and in the one that is there.
    pub fn through(&mut self, decide: impl Fn(&Asked) -> Fate + Send + Sync + 'static) -> Between {
        let (between, path) = self.behind("kubeconfig", decide);
        self.configured_with(path);
        between
    }

    /// Adds another target to the configuration that is there: the same server, behind a proxy.
    pub fn another(&self, target: &str, decide: impl Fn(&Asked) -> Fate + Send + Sync + 'static) -> Between {
        let (between, path) = self.behind(target, decide);
        let settings = format!("{{ kubeconfig: {path}, context: admin, impersonate: {}/trued }}", self.namespace);
        let text = std::fs::read_to_string(self.path("trued.yaml")).expect("a configuration");
        self.write("trued.yaml", &text.replacen("targets:\n", &format!("targets:\n  {target}: {{ kubernetes: {settings} }}\n"), 1));
        between
    }

    /// A proxy, and the path of a kubeconfig that leads to it.
    fn behind(&self, name: &str, decide: impl Fn(&Asked) -> Fate + Send + Sync + 'static) -> (Between, String) {
        let between = Between::start(&self.server, &self.authority, decide);
        let real = variable("TRUED_TEST_KUBECONFIG");
        let text = std::fs::read_to_string(&real).expect("a kubeconfig").replace(&self.server, &between.url());
        let path = self.folder.path().join(name).display().to_string();
        std::fs::write(&path, text).expect("written");
        (between, path)
    }

    /// Has the program ask the server itself again.
    pub fn direct(&mut self) {
        self.configured_with(variable("TRUED_TEST_KUBECONFIG"));
    }

    fn configured_with(&mut self, kubeconfig: String) {
        if let Ok(text) = std::fs::read_to_string(self.path("trued.yaml")) {
            self.write("trued.yaml", &text.replace(&format!("kubeconfig: {},", self.kubeconfig), &format!("kubeconfig: {kubeconfig},")));
        }
        self.kubeconfig = kubeconfig;
    }

    /// The same repository and namespace, with a record of its own.
    pub fn elsewhere(&self) -> Ground {
        let Ground { folder, namespace, kubeconfig, server, authority, .. } = self;
        Ground {
            folder: folder.clone(),
            state: "elsewhere",
            namespace: namespace.clone(),
            kubeconfig: kubeconfig.clone(),
            server: server.clone(),
            authority: authority.clone(),
        }
    }

    /// One stack `web` with these manifests.
    pub fn web(&self, manifests: &str) {
        self.configure(&[("web", "")]);
        self.write("web/all.yaml", manifests);
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, text.replace("NAMESPACE", &self.namespace)).expect("written");
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join("repository").join(path)
    }

    pub fn state(&self) -> PathBuf {
        self.folder.path().join(self.state)
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trued"));
        command.args(arguments).current_dir(self.path("")).stdin(Stdio::null());
        command.env_remove("TRUED_CONFIG").env("TRUED_COUNTERS", self.folder.path().join("counters")).env("TRUED_STATE", self.state());
        command
    }

    /// Runs the program; what it said on both outputs, if it ended with this status.
    pub fn run(&self, arguments: &[&str], status: i32) -> String {
        let output = self.command(arguments).output().expect("started");
        let said = both(&output);
        assert_eq!(output.status.code(), Some(status), "{arguments:?} said: {said}");
        said
    }

    /// Runs the program, and reads what it gives as JSON.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let output = self.command(&[arguments, &["--output", "json"]].concat()).output().expect("started");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{arguments:?} gives no JSON: {error}: {}", both(&output)))
    }

    /// What a plan would do: `create core/ConfigMap/NAMESPACE/one`, and `held …` before what is held.
    pub fn plan(&self) -> Vec<String> {
        let shown = self.json(&["plan"]);
        assert_eq!(shown["findings"], json!([]));
        let mut lines = Vec::new();
        for plan in shown["plans"].as_array().expect("plans") {
            assert_eq!(plan["error"], Value::Null);
            let held: Vec<&Value> = plan["held"].as_array().expect("held").iter().map(|held| &held["address"]).collect();
            for change in plan["changes"].as_array().expect("changes") {
                let word = if held.contains(&&change["address"]) { "held " } else { "" };
                let address = change["address"].as_str().expect("an address").replace(&self.namespace, "NAMESPACE");
                lines.push(format!("{word}{} {address}", change["action"].as_str().expect("an action")));
            }
        }
        lines
    }

    pub fn counted(&self, what: &str) -> u64 {
        let text = std::fs::read_to_string(self.folder.path().join("counters")).expect("counters");
        serde_json::from_str::<Value>(&text).expect("JSON")[what].as_u64().expect("a number")
    }

    /// The requests that the program made so far, as verb and resource, discovery left out; from the server's audit log.
    pub fn requests(&self) -> Vec<String> {
        let account = format!("system:serviceaccount:{}:trued", self.namespace);
        let log = std::fs::read_to_string(variable("TRUED_TEST_KUBE_AUDIT")).expect("an audit log");
        let events = log.lines().filter(|line| line.contains(&account)).filter_map(|line| serde_json::from_str::<Value>(line).ok());
        // A watch is logged when it is answered and when it ends.
        let mut seen = std::collections::BTreeSet::new();
        let events = events.filter(move |event| seen.insert(event["auditID"].to_string()));
        let ours = events.filter(|event| event["impersonatedUser"]["username"] == account.as_str());
        ours.map(|event| {
            let agent = event["userAgent"].as_str().unwrap_or_default();
            assert_eq!(agent, concat!("trued/", env!("CARGO_PKG_VERSION")), "every request says who we are");
            let dry = if event["requestURI"].as_str().unwrap_or_default().contains("dryRun") { " (dry)" } else { "" };
            format!("{} {}{dry}", event["verb"].as_str().unwrap_or_default(), event["objectRef"]["resource"].as_str().unwrap_or("-"))
        })
        .collect()
    }

    /// How many requests of the program were answered with 403.
    pub fn refused(&self) -> usize {
        self.answered(None, 403)
    }

    /// How many requests of the program, for any address or for just this one, were answered with this status.
    pub fn answered(&self, uri: Option<&str>, status: u32) -> usize {
        let account = format!("system:serviceaccount:{}:trued", self.namespace);
        let log = std::fs::read_to_string(variable("TRUED_TEST_KUBE_AUDIT")).expect("an audit log");
        let status = format!("\"code\":{status}");
        let asked = |line: &str| uri.is_none_or(|uri| line.contains(&format!("\"requestURI\":\"{uri}\"")));
        log.lines().filter(|line| line.contains(&account) && line.contains(&status) && asked(line)).count()
    }

    /// The requests of these that change something.
    pub fn writes(&self) -> usize {
        let writes = |request: &&String| ["patch", "create", "update", "delete"].iter().any(|verb| request.starts_with(verb));
        self.requests().iter().filter(writes).filter(|request| !request.ends_with("(dry)")).count()
    }

    /// A request of a stranger. `None` when the answer is 404.
    pub fn request(&self, method: &str, path: &str, kind: &str, body: Option<&Value>) -> Option<Value> {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "60", "--cacert", &self.authority, "-X", method]);
        curl.args(["-H", "Authorization: Bearer admin-token", "-H", &format!("Content-Type: {kind}"), "-w", "\n%{http_code}"]);
        if let Some(body) = body {
            curl.args(["--data-binary", &body.to_string()]);
        }
        let output = curl.arg(format!("{}{path}", self.server)).output().expect("curl");
        let said = both(&output);
        let (text, status) = said.rsplit_once('\n').unwrap_or_else(|| panic!("{method} {path}: {said}"));
        match status.parse::<u32>() {
            Ok(200..300) => Some(serde_json::from_str(text).expect("JSON")),
            Ok(404) => None,
            _ => panic!("{method} {path}: {said}"),
        }
    }

    /// The status of a stranger's request.
    pub fn status(&self, method: &str, path: &str, body: &Value) -> u32 {
        self.answer(method, path, body).0
    }

    /// Status and text of the answer to a stranger's request.
    pub fn answer(&self, method: &str, path: &str, body: &Value) -> (u32, String) {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--noproxy", "*", "--max-time", "60", "--cacert", &self.authority, "-X", method]);
        curl.args(["-H", "Authorization: Bearer admin-token", "-H", "Content-Type: application/json", "-w", "\n%{http_code}"]);
        let output = curl.args(["--data-binary", &body.to_string()]).arg(format!("{}{path}", self.server)).output().expect("curl");
        let said = both(&output);
        let (text, status) = said.rsplit_once('\n').expect("a status");
        (status.parse().expect("a status"), text.to_owned())
    }

    /// The file that leads the program to the server.
    pub fn kubeconfig(&self) -> &str {
        &self.kubeconfig
    }

    /// Host and port of the server.
    pub fn address(&self) -> (&str, &str) {
        self.server.trim_start_matches("https://").split_once(':').expect("a port")
    }

    /// The file of its certificate authority.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The path of an object in this test's namespace: `api/v1`, `configmaps`, `one`.
    pub fn at(&self, version: &str, resource: &str, name: &str) -> String {
        format!("/{version}/namespaces/{}/{resource}/{name}", self.namespace)
    }

    pub fn get(&self, path: &str) -> Option<Value> {
        self.request("GET", path, "application/json", None)
    }

    /// A stranger's `kubectl edit`: a merge patch under a field manager's name.
    pub fn edit(&self, path: &str, manager: &str, patch: &Value) {
        self.request("PATCH", &format!("{path}?fieldManager={manager}"), "application/merge-patch+json", Some(patch)).expect("it is there");
    }

    pub fn delete(&self, path: &str) {
        self.request("DELETE", path, "application/json", None);
    }

    /// A stranger's server-side apply.
    pub fn apply(&self, manager: &str, object: &Value) {
        let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (version, kind) = (text("/apiVersion"), text("/kind").to_lowercase());
        let root = if version.contains('/') { format!("/apis/{version}") } else { format!("/api/{version}") };
        let namespace = text("/metadata/namespace");
        let inside = if namespace.is_empty() { String::new() } else { format!("/namespaces/{namespace}") };
        let path = format!("{root}{inside}/{kind}s/{}?fieldManager={manager}&force=true", text("/metadata/name"));
        self.request("PATCH", &path, "application/apply-patch+yaml", Some(object)).expect("applied");
    }

    pub fn uid(&self, path: &str) -> String {
        self.get(path).expect("it is there")["metadata"]["uid"].as_str().expect("a uid").to_owned()
    }

    /// Whether a text stands anywhere in the state folder, and where.
    pub fn recorded(&self, needle: &str) -> Option<PathBuf> {
        search(&self.state(), needle.as_bytes())
    }

    /// The same of a folder in the repository.
    pub fn written(&self, folder: &str, needle: &str) -> Option<PathBuf> {
        search(&self.path(folder), needle.as_bytes())
    }
}

fn search(folder: &Path, needle: &[u8]) -> Option<PathBuf> {
    std::fs::read_dir(folder).ok()?.flatten().find_map(|entry| {
        let path = entry.path();
        if path.is_dir() {
            return search(&path, needle);
        }
        let bytes = std::fs::read(&path).unwrap_or_default();
        bytes.windows(needle.len()).any(|window| window == needle).then_some(path)
    })
}

impl Drop for Ground {
    fn drop(&mut self) {
        if self.state != "state" {
            return;
        }
        for path in [
            format!("/api/v1/namespaces/{}", self.namespace),
            format!("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/{}", self.namespace),
        ] {
            if !std::thread::panicking() {
                self.delete(&path);
            }
        }
    }
}

/// Waits until something is so.
pub fn until(what: &str, so: impl Fn() -> bool) {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub fn both(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
