//! What happens in a cluster beside us: put on record, added up, and who did it, as the server itself tells it.

use std::process::{Child, Stdio};

use serde_json::{Value, json};

use crate::cluster::{Ground, until, variable};

const WEB: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata: { name: web }
spec:
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec: { containers: [{ name: web, image: \"web:1\" }] }
";

/// A running `serve`, asked to stop at the end.
struct Serving(Option<Child>);

impl Serving {
    fn start(ground: &Ground, more: &[&str]) -> Serving {
        let words = [&["serve", "--poll", "1h"], more].concat();
        Serving(Some(ground.command(&words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started")))
    }

    fn stop(&mut self) {
        let Some(mut serve) = self.0.take() else { return };
        let pid = nix::unistd::Pid::from_raw(i32::try_from(serve.id()).expect("an id"));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("asked to stop");
        assert!(serve.wait().expect("ended").success());
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if let Some(mut serve) = self.0.take() {
            let _ = serve.kill();
            let _ = serve.wait();
        }
    }
}

/// All that was told of this test's namespace, in the order of the record.
fn told(ground: &Ground) -> Vec<Value> {
    let output = ground.command(&["log", "--kind", "observed", "--output", "json"]).output().expect("started");
    let text = String::from_utf8(output.stdout).expect("text");
    let entries = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let items = entries.flat_map(|entry| entry["body"]["happened"].as_array().cloned().unwrap_or_default());
    let inside = format!("/{}/", ground.namespace);
    items.filter(|item| item["address"].as_str().is_some_and(|address| address.contains(&inside))).collect()
}

fn find(ground: &Ground, what: &str, said: &str) -> Option<Value> {
    let fits = |item: &Value| item["what"] == what && item["said"].as_str().is_some_and(|text| text.contains(said));
    told(ground).into_iter().find(fits)
}

/// An event as a kubelet writes it.
fn event(ground: &Ground, name: &str, pod: &str) {
    let now = ground.json(&["at", "now"])["at"].as_str().expect("a time").to_owned();
    let event = json!({ "apiVersion": "v1", "kind": "Event", "metadata": { "name": name, "namespace": ground.namespace }, "type": "Warning",
        "reason": "Evicted", "message": "The node was low on resource: memory.", "count": 1, "firstTimestamp": now, "lastTimestamp": now,
        "involvedObject": { "apiVersion": "v1", "kind": "Pod", "namespace": ground.namespace, "name": pod }, "source": { "component": "kubelet" } });
    let path = format!("/api/v1/namespaces/{}/events", ground.namespace);
    ground.request("POST", &path, "application/json", Some(&event)).expect("posted");
}

#[test]
fn fault_58_what_others_do_in_a_cluster_is_on_record_once_and_in_order() {
    let ground = Ground::new("happen");
    ground.web(WEB);
    ground.run(&["apply", "--no-wait"], 0);
    let web = ground.at("apis/apps/v1", "deployments", "web");
    let mut serve = Serving::start(&ground, &[]);
    // What happened before it listened is nobody's news: somebody goes on until it is heard.
    let mut n = 2;
    until("it listens", || {
        let replicas = if ground.get(&web).expect("it")["spec"]["replicas"] == 2 { 3 } else { 2 };
        ground.edit(&web, "kubectl-scale", &json!({ "spec": { "replicas": replicas } }));
        std::thread::sleep(std::time::Duration::from_millis(500));
        find(&ground, "scaled", "replicas").is_some()
    });
    let scaled = find(&ground, "scaled", " replicas").expect("told");
    assert_eq!((&scaled["evidence"]["by"], &scaled["evidence"]["grade"]), (&"kubectl-scale".into(), &"B".into()), "{scaled}");
    assert_eq!(scaled["stack"], "default/web@cluster");
    let annotation = json!({ "spec": { "template": { "metadata": { "annotations": { "kubectl.kubernetes.io/restartedAt": "now" } } } } });
    ground.edit(&web, "kubectl-rollout", &annotation);
    until("the restart", || find(&ground, "restarted", "").is_some());
    event(&ground, "evicted", "web-1");
    until("the eviction", || find(&ground, "evicted", "low on resource").is_some());
    // A storm about one thing is one line with its number.
    let path = format!("/api/v1/namespaces/{}/events/evicted", ground.namespace);
    while n < 60 {
        let later = ground.json(&["at", "now"])["at"].clone();
        ground.edit(&path, "kubelet", &json!({ "count": n, "lastTimestamp": later }));
        n += 1;
    }
    let evictions = || -> u64 {
        let all = told(&ground).into_iter().filter(|item| item["what"] == "evicted");
        all.map(|item| item["count"].as_u64().expect("a number")).sum()
    };
    until("all of the storm", || evictions() == 59);
    let lines = told(&ground).iter().filter(|item| item["what"] == "evicted").count();
    assert!(lines <= 12, "{lines} lines for one thing");
    serve.stop();
    // What happens while nobody listens is told after a restart, and what was told is not told again.
    event(&ground, "while-away", "web-2");
    let mut serve = Serving::start(&ground, &[]);
    until("what was missed", || {
        told(&ground).iter().any(|item| item["address"].as_str().is_some_and(|address| address.ends_with("web-2")))
    });
    assert_eq!(evictions(), 60);
    serve.stop();
    let said = ground.run(&["log", "--around", "now", "--within", "1h"], 0);
    assert!(said.contains("scaled") && said.contains("landed") && said.contains("evicted"), "one order for all of it: {said}");
    let whole = ground.run(&["at", "now", "default/web", "--whole"], 0);
    assert!(whole.contains("around then:") && whole.contains("evicted"), "{whole}");
    ground.run(&["verify"], 0);
}

#[test]
fn the_audit_log_names_the_user_who_changed_what_is_ours() {
    let ground = Ground::new("audit");
    ground.configure(&[("web", "drift: alert")]);
    ground.write("web/all.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: one }\ndata: { colour: red }\n");
    ground.write("token", "reports-token\n");
    let text = std::fs::read_to_string(ground.path("trued.yaml")).expect("read");
    let text = text.replace("/trued }", "/trued, audit: { token: { secret: reports } } }");
    ground.write("trued.yaml", &format!("{text}secrets:\n  reports: {{ file: token }}\n"));
    std::fs::set_permissions(ground.path("token"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("closed");
    ground.run(&["apply"], 0);
    let listen = variable("TRUED_TEST_KUBE_REPORTS");
    // Wherever it is asked, not on loopback alone; with the certificate that the API server trusts.
    let port = listen.rsplit(':').next().expect("a port");
    let (everywhere, certificate) = (format!("0.0.0.0:{port}"), ground.authority().to_owned());
    let said = ground.run(&["serve", "--listen", &everywhere], 1);
    assert!(said.contains("--reports"), "plain http is for loopback: {said}");
    let said = ground.run(&["serve", "--reports", &everywhere], 2);
    assert!(said.contains("--certificate"), "nobody is let in without TLS: {said}");
    let key = certificate.replace(".crt", ".key");
    let words = ["--reports", &everywhere, "--certificate", &certificate, "--key", &key];
    let mut serve = Serving::start(&ground, &words);
    let post = |how: &str, token: &str, body: &str| {
        let mut curl = std::process::Command::new("curl");
        curl.args(["--silent", "--noproxy", "*", "--max-time", "20", "-o", "/dev/null", "-w", "%{http_code}", "--data-binary", body]);
        curl.args(["--cacert", &certificate, "-H", &format!("Authorization: Bearer {token}"), &format!("{how}://{listen}/audit/cluster")]);
        String::from_utf8(curl.output().expect("curl").stdout).expect("text")
    };
    until("it listens", || post("https", "reports-token", "{}") == "400");
    assert_eq!(post("https", "other-token", "{}"), "401");
    assert_eq!(post("http", "reports-token", "{}"), "000", "not a word over plain http");
    let one = ground.at("api/v1", "configmaps", "one");
    ground.edit(&one, "kubectl-edit", &json!({ "data": { "colour": "green" } }));
    let evidence = || {
        let drift = ground.json(&["state", "default/web"])["stacks"][0]["drift"].clone();
        drift["items"][0]["evidence"].clone()
    };
    until("the user is known", || evidence()["by"] == "admin");
    let evidence = evidence();
    assert_eq!((&evidence["grade"], &evidence["seen_by"]), (&"A".into(), &"audit log".into()), "{evidence}");
    let said = ground.run(&["who", "default/web", "one"], 0);
    assert!(said.contains("user admin") && said.contains("seen by audit log"), "{said}");
    until("the act itself is on record", || find(&ground, "changed", "patch").is_some());
    assert!(told(&ground).iter().all(|item| item["evidence"]["by"] == "admin"), "our own writes are no news: {:?}", told(&ground));
    serve.stop();
}

#[test]
fn t12_what_exactly_ran_and_who_changed_it_is_one_command() {
    let ground = Ground::new("t12");
    let still = WEB.replace("spec:\n  selector", "spec:\n  replicas: 0\n  selector");
    ground.web(&still);
    ground.run(&["apply"], 0);
    ground.write("web/all.yaml", &still.replace("web:1", "web:2"));
    ground.run(&["apply"], 0);
    let then = ground.json(&["at", "now"])["at"].as_str().expect("a time").to_owned();
    ground.write("web/all.yaml", &still.replace("web:1", "web:3"));
    ground.run(&["apply"], 0);
    let said = ground.run(&["at", &then, "default/web", "--whole"], 0);
    for words in ["image: web:2", "-", "\"image\": \"web:1\"", "\"image\": \"web:2\"", "applied it", "kind: Deployment", "changed last at"]
    {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(!said.contains("web:3"), "{said}");
    let whole = ground.json(&["at", &then, "default/web", "--whole"])["answers"][0].clone();
    assert_eq!(whole["certainty"], "known", "{whole}");
    assert!(whole["manifests"][0]["text"].as_str().expect("text").starts_with("apiVersion: apps/v1\n"));
    assert!(whole["changed"][0]["diff"].as_str().expect("a diff").contains("web:1"));
    assert_eq!(whole["who"][0]["did"], "applied it");
}
