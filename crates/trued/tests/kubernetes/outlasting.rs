//! Much at once, long absences, and somebody who does not give up.

use serde_json::{Value, json};

use crate::cluster::{Ground, until};
use crate::health::{Serving, log, standing};

fn config(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: {name}, labels: {{ of: test }} }}\ndata: {{ value: \"{value}\" }}\n---\n")
}

/// The kinds of all entries, oldest first.
fn rows(ground: &Ground) -> Vec<String> {
    let output = ground.command(&["log", "--limit", "1000", "--output", "json"]).output().expect("started");
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let kind = |line: &str| serde_json::from_str::<Value>(line).expect("JSON")["kind"].as_str().unwrap_or_default().to_owned();
    lines.lines().map(kind).collect()
}

#[test]
fn fault_60_what_drifts_all_at_once_is_one_episode_with_a_bounded_list_and_few_requests() {
    const MANY: usize = 1000;
    let ground = Ground::new("f60");
    ground.configure(&[("web", "drift: alert")]);
    ground.write("web/all.yaml", &(0..MANY).map(|n| config(&format!("c{n}"), "1")).collect::<String>());
    ground.run(&["apply"], 0);
    // Everything goes in one request.
    let all = format!("/api/v1/namespaces/{}/configmaps?labelSelector=of%3Dtest", ground.namespace);
    ground.request("DELETE", &all, "application/json", None);
    until("all are gone", || ground.get(&all).is_some_and(|list| list["items"].as_array().is_some_and(Vec::is_empty)));
    let before = ground.requests().len();
    ground.run(&["apply"], 3);
    ground.run(&["apply"], 3);
    let opened = log(&ground, "drift.opened");
    assert_eq!(opened.len(), 1, "one episode");
    assert_eq!(opened[0]["body"]["count"], MANY);
    assert_eq!(opened[0]["body"]["items"].as_array().map(Vec::len), Some(50), "an entry names the first");
    assert_eq!(log(&ground, "drift.updated"), Vec::<Value>::new());
    let open = ground.json(&["incidents"]);
    assert_eq!(open["incidents"].as_array().map(Vec::len), Some(1), "{open}");
    let requests = ground.requests().len() - before;
    // Two programs, each asking once what the cluster serves and what that looks like.
    assert!(requests <= 16, "{requests} requests to see that {MANY} objects are gone, twice");
}

#[test]
fn fault_61_hundreds_of_changes_to_a_status_wake_nobody() {
    const MANY: usize = 300;
    let ground = Ground::new("f61");
    let ingress = "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: { name: web }\nspec: { defaultBackend: { service: { name: web, port: { number: 80 } } } }\n---\n";
    ground.web(&(ingress.to_owned() + &config("one", "1")));
    let serving = Serving::begin(&ground);
    until("it is ready", || standing(&ground, "web") == "ready");
    let (requests, rows) = (ground.requests().len(), rows(&ground).len());
    let status = format!("{}/status", ground.at("apis/networking.k8s.io/v1", "ingresses", "web"));
    for n in 0..MANY {
        let address = format!("192.0.2.{}", n % 250);
        ground.edit(&status, "ingress-controller", &json!({ "status": { "loadBalancer": { "ingress": [{ "ip": address }] } } }));
    }
    let one = ground.at("api/v1", "configmaps", "one");
    // Something that does wake it comes after all of that.
    ground.edit(&one, "kubectl-edit", &json!({ "data": { "value": "9" } }));
    until("it is put back", || ground.get(&one).expect("it")["data"]["value"] == "1");
    until("that is on record", || log(&ground, "verdict").len() == 2);
    let asked = ground.requests().split_off(requests);
    assert!(!asked.iter().any(|request| request.contains("ingresses")), "{asked:?}");
    assert!(asked.len() <= 10, "{asked:?} for one drift and {MANY} changes that are none");
    let told = self::rows(&ground).split_off(rows);
    assert!(told.len() <= 5 && told[0] == "drift.opened", "of the drift, and of nothing before it: {told:?}");
    serving.end();
    assert_eq!(ground.counted("renders"), 1);
}

#[test]
fn fault_62_a_target_that_was_away_gets_the_newest_in_one_step_and_an_old_yes_does_not_count() {
    let ground = Ground::new("f62");
    let many = |names: std::ops::Range<usize>, value: &str| names.map(|n| config(&format!("c{n}"), value)).collect::<String>();
    ground.web(&many(0..12, "1"));
    ground.run(&["apply"], 0);
    ground.write("web/all.yaml", &many(7..12, "1"));
    let digest = ground.json(&["plan"])["plans"][0]["held"][0]["digest"].as_str().expect("seven deletes are held").to_owned();
    ground.run(&["approve", &digest], 0);
    // Nobody listens there.
    let kubeconfig = std::env::var("TRUED_TEST_KUBECONFIG").expect("a kubeconfig");
    let text = std::fs::read_to_string(&kubeconfig).expect("it");
    let server = text.lines().find_map(|line| line.trim().strip_prefix("server:")).expect("a server").trim().to_owned();
    std::fs::write(ground.path("away"), text.replace(&server, "https://127.0.0.1:1")).expect("written");
    let configured = std::fs::read_to_string(ground.path("trued.yaml")).expect("it");
    std::fs::write(ground.path("trued.yaml"), configured.replace(&kubeconfig, "away")).expect("written");
    for value in ["2", "3", "4"] {
        // Another set than the one that was approved.
        ground.write("web/all.yaml", &many(8..12, value));
        ground.run(&["apply"], 1);
    }
    let writes = ground.writes();
    std::fs::write(ground.path("trued.yaml"), configured).expect("written");
    ground.run(&["apply"], 3);
    assert_eq!(ground.writes() - writes, 4, "each of the four once, to the newest");
    let one = ground.get(&ground.at("api/v1", "configmaps", "c8")).expect("it");
    assert_eq!(one["data"]["value"], "4");
    assert!(ground.get(&ground.at("api/v1", "configmaps", "c0")).is_some(), "the yes was to another plan");
}

#[test]
fn fault_63_what_is_put_back_and_changed_again_and_again_is_one_incident_that_names_who() {
    let ground = Ground::new("f63");
    ground.web(&config("one", "1"));
    ground.run(&["apply"], 0);
    let one = ground.at("api/v1", "configmaps", "one");
    let mut reverts = 0;
    for n in 0..6 {
        ground.edit(&one, "stubborn-operator", &json!({ "data": { "value": format!("theirs {n}") } }));
        ground.command(&["apply"]).output().expect("ran");
        reverts += usize::from(ground.get(&one).expect("it")["data"]["value"] == "1");
    }
    assert_eq!(reverts, 3, "then it is held");
    let flapping = log(&ground, "incident.opened").into_iter().filter(|entry| entry["body"]["kind"] == "flapping").collect::<Vec<_>>();
    assert_eq!(flapping.len(), 1, "{flapping:?}");
    let message = flapping[0]["body"]["message"].as_str().expect("a message");
    assert!(message.contains("stubborn-operator"), "{message}");
    assert_eq!(log(&ground, "drift.opened").len(), 4, "one for each episode, and none for each change");
}
