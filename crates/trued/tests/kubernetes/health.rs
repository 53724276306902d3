//! How well what was applied is: waited for, put on record, and nobody else's business. Pods never run here: a Deployment
//! with replicas never becomes ready, one without does.

use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::cluster::{Ground, until};

/// A `serve` that ends with the test.
pub struct Serving(Child);

impl Serving {
    pub fn begin(ground: &Ground) -> Serving {
        let mut command = ground.command(&["serve", "--poll", "200ms"]);
        // One thread for everything: whoever waited on it would stop all others.
        command.env("TRUED_THREADS", "1");
        Serving::start(command)
    }

    pub fn start(mut command: Command) -> Serving {
        Serving(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started"))
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }

    pub fn end(mut self) {
        kill(Pid::from_raw(i32::try_from(self.0.id()).expect("an id")), Signal::SIGTERM).expect("asked to stop");
        assert!(self.0.wait().expect("ended").success());
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn deployment(name: &str, replicas: u32) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{ name: {name} }}\nspec:\n  replicas: {replicas}\n  selector: {{ matchLabels: {{ app: {name} }} }}\n  \
         template: {{ metadata: {{ labels: {{ app: {name} }} }}, spec: {{ containers: [{{ name: web, image: \"web:1\" }}] }} }}\n---\n"
    )
}

fn config(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: {name} }}\ndata: {{ value: \"{value}\" }}\n---\n")
}

/// A group of its own for each test: definitions are everybody's.
fn group(ground: &Ground) -> String {
    format!("{}.example.org", ground.namespace)
}

fn definition(ground: &Ground) -> Value {
    let open = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    json!({ "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": { "name": format!("widgets.{}", group(ground)) },
        "spec": { "group": group(ground), "scope": "Namespaced", "names": { "plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList" },
            "versions": [{ "name": "v1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": { "type": "object", "properties": { "spec": open, "status": open } } } }] } })
}

fn until_established(ground: &Ground) {
    let stands = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.{}", group(ground));
    until("it is served", || {
        ground.get(&stands).is_some_and(|live| live["status"]["conditions"].to_string().contains("no conflicts found"))
    });
}

fn widget(ground: &Ground, name: &str) -> String {
    format!("apiVersion: {}/v1\nkind: Widget\nmetadata: {{ name: {name} }}\nspec: {{ size: 3 }}\n---\n", group(ground))
}

fn widget_path(ground: &Ground, name: &str) -> String {
    ground.at(&format!("apis/{}/v1", group(ground)), "widgets", name)
}

fn forget(ground: &Ground) {
    ground.delete(&format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.{}", group(ground)));
}

/// Entries of a kind, oldest first.
pub fn log(ground: &Ground, kind: &str) -> Vec<Value> {
    let output = ground.command(&["log", "--limit", "1000", "--kind", kind, "--output", "json"]).output().expect("started");
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// `ready`, `degraded …`: as `status` has it.
pub fn standing(ground: &Ground, stack: &str) -> String {
    let shown = ground.json(&["status"]);
    let row = shown["stacks"].as_array().and_then(|rows| rows.iter().find(|row| named(row, stack))).cloned().unwrap_or_default();
    let of = |key: &str| row[key].as_str().unwrap_or_default().replace(&ground.namespace, "NAMESPACE");
    format!("{} {}", of("health"), of("why")).trim().to_owned()
}

/// Whether this is about a stack, however its name is written where others are.
fn named(row: &Value, stack: &str) -> bool {
    row["stack"].as_str().is_some_and(|name| name.split(['/', '@']).any(|word| word == stack)) || row["stack"]["app"] == stack
}

fn value(ground: &Ground, name: &str) -> Option<String> {
    Some(ground.get(&ground.at("api/v1", "configmaps", name))?["data"]["value"].as_str()?.to_owned())
}

#[test]
fn apply_returns_when_it_is_ready_and_with_no_wait_when_it_is_written() {
    let ground = Ground::new("waits");
    ground.configure(&[("web", "health: { within: 10m }")]);
    ground.write("web/all.yaml", &deployment("web", 0));
    ground.run(&["apply"], 0);
    assert_eq!(standing(&ground, "web"), "ready");
    let verdicts = log(&ground, "verdict");
    assert!(verdicts.last().is_some_and(|last| last["body"]["verified"] == true), "{verdicts:?}");
    // The watch that is open anyway told when to read it: nobody asked again and again.
    let requests = ground.requests();
    let read = |request: &str| requests.iter().filter(|known| *known == request).count();
    assert!(read("get deployments") <= 6 && read("list deployments") == 1 && read("watch deployments") == 1, "{requests:?}");
    assert_eq!(ground.plan(), Vec::<String>::new());
    let rows = log(&ground, "verdict").len();
    ground.run(&["apply"], 0);
    assert_eq!(log(&ground, "verdict").len(), rows, "what is ready is no news");
    ground.write("web/all.yaml", &deployment("web", 1));
    let said = ground.run(&["apply", "--no-wait"], 0);
    assert!(said.contains("not ready yet: apps/Deployment/"), "{said}");
    assert!(
        standing(&ground, "web").starts_with("progressing not ready yet: apps/Deployment/NAMESPACE/web:"),
        "{}",
        standing(&ground, "web")
    );
    ground.run(&["status"], 3);
}

#[test]
fn fault_46_what_is_never_ready_fails_when_its_time_is_over_and_a_fix_lands_at_once() {
    let ground = Ground::new("f46");
    ground.configure(&[("web", "health: { within: 2s }")]);
    ground.write("web/all.yaml", &(deployment("web", 1) + &config("one", "1")));
    let said = ground.run(&["apply"], 1);
    assert!(said.contains("failed health: not ready within 2s: apps/Deployment/") && said.contains("commit a fix"), "{said}");
    assert!(!said.contains("trued rollback"), "nothing was ever verified: {said}");
    let why = standing(&ground, "web");
    assert!(why.starts_with("degraded check health failed: not ready within 2s: apps/Deployment/NAMESPACE/web: "), "{why}");
    assert_eq!(value(&ground, "one").as_deref(), Some("1"), "held: what was written stays");
    ground.run(&["incidents"], 3);
    let web = ground.at("apis/apps/v1", "deployments", "web");
    until("its controller is done with it", || ground.get(&web).is_some_and(|live| live["status"]["unavailableReplicas"] == 1));
    ground.run(&["apply"], 1);
    let rows = log(&ground, "verdict").len();
    ground.run(&["apply"], 1);
    assert_eq!(log(&ground, "verdict").len(), rows, "the same failure is said once");
    ground.configure(&[("web", "health: { within: 10m }")]);
    ground.write("web/all.yaml", &(deployment("web", 0) + &config("one", "2")));
    ground.run(&["apply"], 0);
    assert_eq!(standing(&ground, "web"), "ready");
    ground.run(&["incidents"], 0);
}

#[test]
fn what_fails_goes_back_to_the_last_release_that_was_ready() {
    let ground = Ground::new("goesback");
    ground.apply("test", &definition(&ground));
    until_established(&ground);
    let rules = format!(
        "health: {{ otherwise: rollback, rules: {{ {}/Widget: {{ ready: spec.size == 3, degraded: spec.size == 4 }} }} }}",
        group(&ground)
    );
    ground.configure(&[("web", &rules)]);
    let widget = |size: u32, of: &str| widget(&ground, "one").replace("size: 3", &format!("size: {size}")) + &config("one", of);
    ground.write("web/all.yaml", &widget(3, "1"));
    ground.run(&["apply"], 0);
    ground.write("web/all.yaml", &widget(4, "2"));
    ground.command(&["apply"]).output().expect("ran");
    assert_eq!(value(&ground, "one").as_deref(), Some("1"));
    assert_eq!(ground.get(&widget_path(&ground, "one")).expect("it")["spec"]["size"], 3);
    assert_eq!(log(&ground, "rollback").len(), 1);
    ground.run(&["apply"], 3);
    assert_eq!(standing(&ground, "web"), "ready", "what it went back to works");
    ground.write("web/all.yaml", &widget(3, "3"));
    ground.run(&["apply"], 0);
    assert_eq!(value(&ground, "one").as_deref(), Some("3"));
    forget(&ground);
}

#[test]
fn t03_a_circle_of_two_is_named_and_every_other_stack_reacts_to_the_next_commits() {
    let ground = Ground::new("t03");
    ground.configure(&[("one", "after: [two]"), ("two", "after: [one]"), ("web", ""), ("last", "after: [web]")]);
    for name in ["one", "two", "web", "last"] {
        ground.write(&format!("{name}/all.yaml"), &config(name, "1"));
    }
    let said = ground.run(&["check"], 2);
    assert!(said.contains("trued.yaml:") && said.contains("take one `after` out of the circle"), "{said}");
    let serving = Serving::begin(&ground);
    for n in 1..=3 {
        let now = Some(n.to_string());
        ground.write("web/all.yaml", &config("web", &n.to_string()));
        ground.write("last/all.yaml", &config("last", &n.to_string()));
        until("those beside it land", || value(&ground, "web") == now && value(&ground, "last") == now);
    }
    assert_eq!(["one", "two"].map(|name| value(&ground, name)), [None, None], "nothing of the circle goes");
    ground.configure(&[("one", ""), ("two", "after: [one]"), ("web", ""), ("last", "after: [web]")]);
    until("it goes on once it is no circle", || value(&ground, "one").is_some() && value(&ground, "two").is_some());
    serving.end();
    assert_eq!(ground.writes(), 8, "two of the circle, and three times two beside it");
}

#[test]
fn t04_ten_stacks_that_never_become_ready_keep_no_other_waiting() {
    let ground = Ground::new("t04");
    let never: Vec<String> = (0..10).map(|n| format!("never{n}")).collect();
    let mut stacks: Vec<(&str, &str)> = never.iter().map(|name| (name.as_str(), "health: { within: 1h }")).collect();
    stacks.push(("healthy", ""));
    ground.configure(&stacks);
    never.iter().for_each(|name| ground.write(&format!("{name}/all.yaml"), &deployment(name, 1)));
    ground.write("healthy/all.yaml", &config("healthy", "0"));
    let serving = Serving::begin(&ground);
    let awaited = || never.iter().filter(|name| standing(&ground, name).starts_with("progressing not ready yet")).count();
    until("ten wait", || awaited() == 10);
    for n in 1..=5 {
        ground.write("healthy/all.yaml", &config("healthy", &n.to_string()));
        until("the healthy one lands", || value(&ground, "healthy") == Some(n.to_string()));
    }
    until("it is ready", || standing(&ground, "healthy") == "ready");
    assert_eq!(awaited(), 10, "and ten still wait");
    // Each of them walked once; whoever waits does not walk.
    let verdicts = log(&ground, "verdict");
    let of = |stack: &str| verdicts.iter().filter(|entry| named(entry, stack)).count();
    assert!(never.iter().all(|name| of(name) == 1), "{verdicts:?}");
    assert_eq!(of("healthy"), 6);
    serving.end();
}

#[test]
fn many_stacks_that_wake_at_once_come_to_rest_and_the_next_change_finds_nobody_in_its_way() {
    const MANY: usize = 150;
    let ground = Ground::new("many");
    let names: Vec<String> = (0..MANY).map(|n| format!("one{n}")).collect();
    ground.configure(&names.iter().map(|name| (name.as_str(), "")).collect::<Vec<_>>());
    names.iter().for_each(|name| ground.write(&format!("{name}/all.yaml"), &deployment(name, 0)));
    let serving = Serving::begin(&ground);
    let ready = || {
        let shown = ground.json(&["status"]);
        shown["stacks"].as_array().map_or(0, |rows| rows.iter().filter(|row| row["health"] == "ready").count())
    };
    until("all are ready", || ready() == MANY);
    // Somebody attends to each of them now, and all have asked the cluster and the record at once before.
    let deployments = format!("/apis/apps/v1/namespaces/{}/deployments/one7", ground.namespace);
    ground.write("one7/all.yaml", &deployment("one7", 0).replace("web:1", "web:2"));
    until("the change lands", || {
        let live = ground.get(&deployments);
        live.is_some_and(|live| live["spec"]["template"]["spec"]["containers"][0]["image"] == "web:2")
    });
    until("all are ready again", || ready() == MANY);
    serving.end();
    assert_eq!(ground.writes(), MANY + 1, "each object once, and the changed one once more");
    ground.run(&["verify"], 0);
}

#[test]
fn kinds_of_ones_own_tell_by_expressions_and_what_comes_after_waits_until_they_are_ready() {
    let ground = Ground::new("own");
    ground.apply("test", &definition(&ground));
    until_established(&ground);
    let rules = format!(
        "health: {{ within: 1h, rules: {{ {}/Widget: {{ ready: \"status.phase == 'Up'\", degraded: \"status.phase == 'Down'\" }} }} }}",
        group(&ground)
    );
    ground.configure(&[("db", &rules), ("web", "after: [db]")]);
    ground.write("db/all.yaml", &widget(&ground, "one"));
    ground.write("web/all.yaml", &config("web", "1"));
    let serving = Serving::begin(&ground);
    until("it is waited for", || standing(&ground, "db").starts_with("progressing not ready yet"));
    let plan = ground.json(&["plan", "default/web"]);
    assert!(plan["plans"][0]["held"][0]["why"].as_str().is_some_and(|why| why.contains("blocked by default/db")), "{plan}");
    assert_eq!(value(&ground, "web"), None);
    let one = widget_path(&ground, "one");
    ground.edit(&one, "operator", &json!({ "status": { "phase": "Up" } }));
    until("what comes after lands", || value(&ground, "web").is_some());
    until("both are ready", || standing(&ground, "db") == "ready" && standing(&ground, "web") == "ready");
    // Ready is no promise for ever.
    ground.edit(&one, "operator", &json!({ "status": { "phase": "Down" } }));
    until("that is seen", || standing(&ground, "db").starts_with("degraded"));
    ground.run(&["incidents"], 3);
    ground.edit(&one, "operator", &json!({ "status": { "phase": "Up" } }));
    until("it recovers", || standing(&ground, "db") == "ready");
    ground.run(&["incidents"], 0);
    assert_eq!(ground.writes(), 2, "nothing was written but each object once");
    serving.end();
    forget(&ground);
}

#[test]
fn a_rule_that_cannot_be_used_is_a_finding_at_its_place() {
    let ground = Ground::new("rules");
    ground.configure(&[("web", "health:\n  rules:\n    example.org/Widget: { ready: \"stauts.phase == 'Up'\" }")]);
    ground.write("web/all.yaml", &config("one", "1"));
    let said = ground.run(&["check"], 2);
    assert!(said.contains("trued.yaml:10:") && said.contains("`stauts` is nothing that an object has"), "{said}");
}

#[test]
fn t09_a_definition_in_one_stack_and_its_object_in_another_converge_in_one_run() {
    let ground = Ground::new("t09between");
    // The one that needs it has the smaller name, and says nothing of the other.
    ground.configure(&[("aaa", ""), ("definitions", "")]);
    ground.write("aaa/all.yaml", &(widget(&ground, "one") + &config("beside", "1")));
    ground.write("definitions/all.yaml", &definition(&ground).to_string());
    let said = ground.run(&["apply"], 0);
    assert!(ground.get(&widget_path(&ground, "one")).is_some(), "{said}");
    assert_eq!(value(&ground, "beside").as_deref(), Some("1"));
    assert_eq!(ground.plan(), Vec::<String>::new());
    assert_eq!(log(&ground, "incident.opened"), Vec::<Value>::new());
    assert_eq!((standing(&ground, "aaa").as_str(), standing(&ground, "definitions").as_str()), ("ready", "ready"));
    forget(&ground);
}

#[test]
fn t09_a_namespace_of_one_stack_and_what_lies_in_it_of_another_converge_in_one_run() {
    let ground = Ground::without_namespace("t09within");
    ground.configure(&[("aaa", ""), ("places", "")]);
    ground.write("aaa/all.yaml", &config("one", "1"));
    ground.write("places/all.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: { name: NAMESPACE }\n");
    ground.run(&["apply"], 0);
    assert_eq!(value(&ground, "one").as_deref(), Some("1"));
    assert_eq!(log(&ground, "incident.opened"), Vec::<Value>::new());
    assert_eq!((standing(&ground, "aaa").as_str(), standing(&ground, "places").as_str()), ("ready", "ready"));
}

#[test]
fn what_is_of_a_kind_that_nobody_brought_yet_is_deferred_and_made_when_somebody_brings_it() {
    let ground = Ground::new("deferred");
    ground.configure(&[("web", "")]);
    ground.write("web/all.yaml", &(config("one", "1") + &config("old", "1")));
    ground.run(&["apply"], 0);
    ground.write("web/all.yaml", &(config("one", "2") + &widget(&ground, "one")));
    let address = format!("{}/Widget/NAMESPACE/one", group(&ground)).replace(&format!("{}.example", ground.namespace), "NAMESPACE.example");
    assert_eq!(
        ground.plan(),
        [
            "update core/ConfigMap/NAMESPACE/one".to_owned(),
            format!("held create {address}"),
            "held delete core/ConfigMap/NAMESPACE/old".to_owned()
        ]
    );
    let said = ground.run(&["apply"], 3);
    assert!(said.contains("serves no kind") && said.contains("runs by itself once somebody brings it"), "{said}");
    assert_eq!(value(&ground, "one").as_deref(), Some("2"), "the rest is made");
    assert!(value(&ground, "old").is_some(), "fault 27: and nothing is removed");
    assert!(standing(&ground, "web").starts_with("progressing"), "{}", standing(&ground, "web"));
    ground.run(&["incidents"], 0);
    let serving = Serving::begin(&ground);
    until("it is served", || standing(&ground, "web").starts_with("progressing"));
    ground.apply("somebody", &definition(&ground));
    until("it is made", || ground.get(&widget_path(&ground, "one")).is_some());
    until("what is not desired goes", || value(&ground, "old").is_none());
    until("it is ready", || standing(&ground, "web") == "ready");
    assert_eq!(log(&ground, "incident.opened"), Vec::<Value>::new());
    serving.end();
    forget(&ground);
}
