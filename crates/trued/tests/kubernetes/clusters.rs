//! Many clusters at once: what goes wrong with one is the business of nobody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::between::Fate;
use crate::cluster::{Ground, until};
use crate::health::{Serving, log, standing};

fn config(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: {name} }}\ndata: {{ value: \"{value}\" }}\n---\n")
}

#[test]
fn while_one_cluster_is_away_the_others_react_and_it_gets_the_newest_in_one_step_when_it_is_back() {
    let ground = Ground::new("clusters");
    ground.configure(&[("near", ""), ("far", "target: edge"), ("farther", "target: edge")]);
    let (away, writes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (is_away, count) = (away.clone(), writes.clone());
    let between = ground.another("edge", move |asked| {
        if is_away.load(Ordering::SeqCst) {
            return Fate::Lost;
        }
        count.fetch_add(usize::from(asked.writes()), Ordering::SeqCst);
        Fate::Passes
    });
    let commit = |value: &str| {
        ground.write("near/all.yaml", &config("near", value));
        ground.write("far/all.yaml", &config("far", value));
    };
    commit("1");
    ground.write("far/more.yaml", &config("dropped", "1"));
    ground.write("farther/all.yaml", &config("farther", "1"));
    let live = |name: &str| ground.get(&ground.at("api/v1", "configmaps", name)).map(|live| live["data"]["value"].clone());
    let serving = Serving::begin(&ground);
    until("all is there", || ["near", "far", "dropped", "farther"].iter().all(|name| live(name).is_some()));
    until("and ready", || ["near", "far", "farther"].iter().all(|stack| standing(&ground, stack) == "ready"));
    assert_eq!(writes.load(Ordering::SeqCst), 3);
    // It goes, and so does an object from the repository.
    away.store(true, Ordering::SeqCst);
    between.cut();
    std::fs::remove_file(ground.path("far/more.yaml")).expect("removed");
    for value in ["2", "3", "4"] {
        commit(value);
        until("the near one reacts", || live("near") == Some(json!(value)));
    }
    until("it is said of the far ones", || ["far", "farther"].iter().all(|stack| standing(&ground, stack).starts_with("unknown")));
    until("the near one is ready", || standing(&ground, "near") == "ready");
    assert_eq!(["far", "dropped", "farther"].map(live), [Some(json!("1")), Some(json!("1")), Some(json!("1"))], "nothing was touched");
    // Who looks, not only who serves, is told the same.
    let plan = ground.json(&["plan", "default/far"])["plans"][0].to_string();
    assert!(plan.contains("ask the cluster"), "{plan}");
    // Somebody changes what nobody can see now.
    ground.edit(&ground.at("api/v1", "configmaps", "farther"), "kubectl-edit", &json!({ "data": { "value": "9" } }));
    away.store(false, Ordering::SeqCst);
    until("it has the newest", || live("far") == Some(json!("4")) && live("dropped").is_none() && live("farther") == Some(json!("1")));
    until("all are ready", || ["near", "far", "farther"].iter().all(|stack| standing(&ground, stack) == "ready"));
    serving.end();
    assert_eq!(writes.load(Ordering::SeqCst), 3 + 3, "in one step: changed, removed, put back");
    assert_eq!(log(&ground, "drift.opened").len(), 1, "what was put back");
    assert_eq!(ground.plan(), Vec::<String>::new());
    ground.run(&["verify"], 0);
}

#[test]
fn what_a_cluster_serves_is_told_again_only_where_it_is_something_else() {
    let ground = Ground::new("by-hash");
    // A kind that nobody brought yet: its stack looks for it again and again.
    let group = format!("{}.example.org", ground.namespace);
    let widget = format!("apiVersion: {group}/v1\nkind: Widget\nmetadata: {{ name: one }}\n");
    ground.configure(&[("web", ""), ("other", "")]);
    ground.write("web/all.yaml", &widget);
    ground.write("other/all.yaml", &config("other", "1"));
    let serving = Serving::begin(&ground);
    until("it waits", || standing(&ground, "other") == "ready");
    for value in (2..30).map(|value| value.to_string()) {
        // Each commit wakes who waits; once in two seconds that is a question.
        ground.write("web/all.yaml", &format!("{widget}---\n{}", config("beside", &value)));
        let landed = || ground.get(&ground.at("api/v1", "configmaps", "beside")).is_some_and(|live| live["data"]["value"] == *value);
        until("what can be made is made", landed);
        if ground.answered(Some("/api"), 304) >= 2 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(500));
    }
    assert!(ground.answered(Some("/api"), 304) >= 2, "no answer was spared");
    assert_eq!(ground.answered(Some("/api"), 200), 1, "asked for by its hash from then on");
    serving.end();
}

/// Two targets on one cluster, `left` and `right`, each with an account that may do everything with ConfigMaps in a namespace of
/// its own and in one that is shared, and nothing else.
fn two_accounts(ground: &Ground) {
    let (own, rbac) = (&ground.namespace, "rbac.authorization.k8s.io/v1");
    for side in ["left", "right"] {
        let rules = json!([{ "apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"] }]);
        let subjects = json!([{ "kind": "ServiceAccount", "name": side, "namespace": own }]);
        for namespace in [own.clone(), format!("{own}-{side}")] {
            ground.apply("test", &json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } }));
            let named = json!({ "name": side, "namespace": namespace });
            ground.apply("test", &json!({ "apiVersion": rbac, "kind": "Role", "metadata": named, "rules": rules }));
            let role = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": side });
            ground.apply(
                "test",
                &json!({ "apiVersion": rbac, "kind": "RoleBinding", "metadata": named, "roleRef": role, "subjects": subjects }),
            );
        }
        std::fs::copy(ground.kubeconfig(), ground.folder.path().join(side)).expect("copied");
    }
    let folder = ground.folder.path().display();
    let target =
        |side: &str| format!("  {side}: {{ kubernetes: {{ kubeconfig: {folder}/{side}, context: admin, impersonate: {own}/{side} }} }}\n");
    let stack = |name: &str, target: &str, into: &str| format!("  {name}: {{ path: {name}, target: {target}, into: {into} }}\n");
    let stacks = [
        stack("mine", "left", &format!("{own}-left")),
        stack("theirs", "right", &format!("{own}-right")),
        stack("first", "left", own),
        stack("second", "right", own),
        stack("strays", "left", &format!("{own}-right")),
    ];
    let text = format!("targets:\n{}{}stacks:\n{}", target("left"), target("right"), stacks.concat());
    ground.write("trued.yaml", &text);
    for name in ["mine", "theirs", "first", "second", "strays"] {
        ground.write(&format!("{name}/all.yaml"), "");
    }
}

fn forget(ground: &Ground) {
    ["left", "right"].iter().for_each(|side| ground.delete(&format!("/api/v1/namespaces/{}-{side}", ground.namespace)));
}

#[test]
fn fault_33_what_one_account_may_not_reach_is_denied_to_its_stacks_and_the_other_accounts_go_on() {
    let ground = Ground::new("accounts");
    two_accounts(&ground);
    let live = |side: &str, name: &str| {
        let path = format!("/api/v1/namespaces/{}-{side}/configmaps/{name}", ground.namespace);
        ground.get(&path).map(|live| live["data"]["value"].clone())
    };
    let told = |stack: &str| {
        let shown = ground.json(&["status"]);
        let rows = shown["stacks"].as_array().expect("stacks");
        rows.iter().any(|row| row["stack"] == format!("default/{stack}") && row.to_string().contains("forbidden"))
    };
    ground.write("mine/all.yaml", &(config("one", "1") + &config("two", "1")));
    ground.write("theirs/all.yaml", &config("one", "1"));
    ground.write("strays/all.yaml", &config("stray", "1"));
    let serving = Serving::begin(&ground);
    until("each has what is its own", || ["left", "right"].iter().all(|side| live(side, "one") == Some(json!("1"))));
    until("both are ready", || ["mine", "theirs"].iter().all(|stack| standing(&ground, stack) == "ready"));
    until("who strays is told", || told("strays"));
    assert_eq!(live("right", "stray"), None);
    // One loses what it had.
    let binding = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{}-left/rolebindings/left", ground.namespace);
    ground.delete(&binding);
    ground.write("mine/all.yaml", &config("two", "2"));
    let said = || {
        let output = ground.command(&["incidents"]).output().expect("started");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    until("it is told", || said().contains("default/mine: refused") && said().contains("forbidden"));
    for value in ["2", "3"] {
        ground.write("theirs/all.yaml", &config("one", value));
        until("the other goes on", || live("right", "one") == Some(json!(value)));
    }
    until("and is ready", || standing(&ground, "theirs") == "ready");
    assert_eq!(["one", "two"].map(|name| live("left", name)), [Some(json!("1")), Some(json!("1"))], "what may not be seen is not touched");
    serving.end();
    ground.run(&["verify"], 0);
    forget(&ground);
}

#[test]
fn fault_38_of_two_accounts_stacks_that_claim_an_object_one_is_refused_and_the_other_is_named() {
    let ground = Ground::new("twice");
    two_accounts(&ground);
    ground.write("first/all.yaml", &config("shared", "1"));
    until("the account has its rights", || ground.command(&["apply", "default/first"]).output().expect("started").status.success());
    ground.write("second/all.yaml", &config("shared", "2"));
    let said = ground.run(&["apply"], 3);
    assert!(said.contains("belongs to") && said.contains("first"), "{said}");
    let shared = ground.at("api/v1", "configmaps", "shared");
    let version = |live: Value| live["metadata"]["resourceVersion"].clone();
    let before = ground.get(&shared).expect("it");
    assert_eq!(before["data"]["value"], "1");
    for _ in 0..3 {
        ground.run(&["apply"], 3);
    }
    assert_eq!(version(ground.get(&shared).expect("it")), version(before), "nobody writes it any more");
    forget(&ground);
}
