//! Values of Secrets: not told by us, whoever tells them to us.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::cluster::{Ground, both, until};
use crate::secure::Webhook;

fn secret(value: &str) -> String {
    format!("apiVersion: v1\nkind: Secret\nmetadata: {{ name: db }}\nstringData: {{ password: {value} }}\n")
}

/// Runs the program, with all that it can say of what it does, and gives all that it said.
fn said(ground: &Ground, arguments: &[&str]) -> String {
    both(&ground.command(arguments).env("TRUED_LOG", "trace").output().expect("started"))
}

/// All that anybody can ask afterwards, and that is written out.
fn asked(ground: &Ground) -> String {
    let mut all = String::new();
    let verbs = ["plan", "status", "state", "log", "incidents", "diff", "coverage", "render", "why", "who", "at"];
    for verb in verbs {
        let object = format!("core/Secret/{}/db", ground.namespace);
        let more: &[&str] = match verb {
            "render" | "why" => &["web"],
            "who" => &[&object],
            "at" => &["now"],
            "coverage" => &["cluster"],
            _ => &[],
        };
        let words = [&[verb], more].concat();
        all += &said(ground, &words);
        all += &said(ground, &[&words[..], &["--output", "json"]].concat());
    }
    let entries = said(ground, &["log", "--limit", "1000", "--output", "json"]).lines().filter(|line| line.starts_with('{')).count();
    for index in 0..entries {
        all += &said(ground, &["show", &format!("#{index}")]);
    }
    assert!(!all.contains("--help"), "each of these was a question: {all}");
    ground.run(&["export", "tiles"], 0);
    all
}

/// Checks that no value stands in what was said, in the record or in what is written out of it: plain or in base64.
fn nowhere(ground: &Ground, all: &str, values: &[(&str, &str)]) {
    for word in values.iter().flat_map(|(plain, encoded)| [plain, encoded]) {
        let line = all.lines().find(|line| line.contains(word));
        assert_eq!(line, None, "{word} was said");
        assert_eq!(ground.recorded(word), None, "{word} is on record");
        assert_eq!(ground.written("tiles", word), None, "{word} is in the export");
    }
}

/// Refuses each of these acts on Secrets of the test's namespace, and quotes their values in the sentence that says so, plain
/// and in base64.
fn refuses(ground: &Ground, operations: &[&str]) -> Webhook {
    Webhook::start(ground, "Validating", ("", "secrets"), operations, |request| {
        let object = if request["object"].is_null() { &request["oldObject"] } else { &request["object"] };
        let encoded = object["data"]["password"].as_str().unwrap_or_default();
        let plain = STANDARD.decode(encoded).unwrap_or_default();
        let message = format!("{encoded} is no good password, nor is {}", String::from_utf8_lossy(&plain));
        json!({ "allowed": false, "status": { "code": 422, "reason": "Invalid", "message": message } })
    })
}

#[test]
fn what_a_cluster_quotes_of_a_secret_when_it_refuses_it_is_not_passed_on() {
    let ground = Ground::new("quoted");
    let values = [("first-horse-battery", "Zmlyc3QtaG9yc2UtYmF0dGVye"), ("second-horse-staple", "c2Vjb25kLWhvcnNlLXN0YXBsZ")];
    let [first, second] = values.map(|(plain, _)| plain);
    let live = ground.at("api/v1", "secrets", "db");
    let all = ground.at("api/v1", "secrets", "") + "?dryRun=All";
    let all = all.replace("secrets/?", "secrets?");
    let rehearsal =
        json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "rehearsal" }, "stringData": { "password": first } });
    let gone = json!({ "apiVersion": "v1", "kind": "DeleteOptions", "dryRun": ["All"] });
    let webhook = refuses(&ground, &["CREATE", "UPDATE"]);
    until("it is refused", || ground.answer("POST", &all, &rehearsal).0 == 422);
    let (_, quoted) = ground.answer("POST", &all, &rehearsal);
    assert!(quoted.contains(values[0].0) && quoted.contains(values[0].1), "the sentence quotes the value in both forms: {quoted}");
    // When it is made.
    ground.web(&secret(first));
    let mut told = said(&ground, &["apply"]) + &said(&ground, &["apply", "--output", "json"]);
    assert!(told.contains("422") && ground.get(&live).is_none(), "{told}");
    told += &asked(&ground);
    nowhere(&ground, &told, &values);
    // When it is changed: a dry run is asked before.
    drop(webhook);
    until("it is taken", || ground.answer("POST", &all, &rehearsal).0 == 201);
    told += &said(&ground, &["apply", "--output", "json"]);
    assert!(ground.get(&live).is_some(), "{told}");
    let webhook = refuses(&ground, &["CREATE", "UPDATE", "DELETE"]);
    until("it is refused", || ground.answer("DELETE", &live, &gone).0 == 422);
    ground.web(&secret(second));
    told += &(said(&ground, &["apply"]) + &said(&ground, &["apply", "--output", "json"]));
    told += &asked(&ground);
    assert_eq!(ground.get(&live).expect("it")["data"]["password"].as_str().map(|text| text.starts_with(values[0].1)), Some(true));
    nowhere(&ground, &told, &values);
    // When it is to go.
    let (_, quoted) = ground.answer("DELETE", &live, &gone);
    assert!(quoted.contains(values[0].0) && quoted.contains(values[0].1), "{quoted}");
    ground.web("apiVersion: v1\nkind: ConfigMap\nmetadata: { name: one }\n");
    told += &(said(&ground, &["apply"]) + &said(&ground, &["apply", "--output", "json"]));
    told += &asked(&ground);
    assert!(ground.get(&live).is_some());
    let refused = format!("delete core/Secret/{}/db: 422", ground.namespace);
    assert!(told.contains(&refused), "that it is refused is said: {}", said(&ground, &["log"]));
    nowhere(&ground, &told, &values);
    drop(webhook);
}

#[test]
fn what_was_applied_last_of_an_adopted_secret_is_as_secret_as_the_secret() {
    let ground = Ground::new("lastapplied");
    let values = [("third-horse-paperclip", "dGhpcmQtaG9yc2UtcGFwZXJjbGlw"), ("fourth-horse-stapler", "Zm91cnRoLWhvcnNlLXN0YXBsZX")];
    let live = ground.at("api/v1", "secrets", "db");
    let mut object = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "db", "namespace": ground.namespace }, "type": "Opaque",
        "data": { "password": values[0].1 } });
    // In both forms, as people write manifests.
    let last = format!("{}{}", object, json!({ "stringData": { "password": values[0].0 } }));
    object["metadata"]["annotations"] = json!({ "kubectl.kubernetes.io/last-applied-configuration": last });
    let path = live.trim_end_matches("/db");
    ground.request("POST", &format!("{path}?fieldManager=kubectl-client-side-apply"), "application/json", Some(&object)).expect("made");
    ground.web(&secret(values[0].0));
    let mut told = said(&ground, &["plan"]) + &said(&ground, &["apply", "--output", "json"]);
    assert!(ground.get(&live).expect("it")["metadata"]["annotations"]["trued.dev/stack"].is_string(), "{told}");
    told += &asked(&ground);
    // A change of somebody's is kept before it is put back; a change of ours lands.
    ground.edit(&live, "kubectl-edit", &json!({ "stringData": { "password": "not-ours" } }));
    told += &said(&ground, &["apply"]);
    ground.web(&secret(values[1].0));
    told += &(said(&ground, &["plan"]) + &said(&ground, &["apply", "--output", "json"]));
    assert_eq!(ground.plan(), Vec::<String>::new());
    told += &(asked(&ground) + &said(&ground, &["import", "cluster"]));
    nowhere(&ground, &told, &values);
}
