//! Many clusters at once: what goes wrong with one is the business of nobody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;

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
