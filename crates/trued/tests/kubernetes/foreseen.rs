//! What the server says beforehand: what cannot be changed in place, what belongs to others, what it would refuse.

use serde_json::{Value, json};

use crate::cluster::{Ground, until};

fn config(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: {name} }}\ndata: {{ value: \"{value}\" }}\n---\n")
}

/// A Deployment or a StatefulSet whose selector is one thing and whose template says another.
fn runs(kind: &str, selector: &str, label: &str) -> String {
    let service = if kind == "StatefulSet" { "\n  serviceName: web" } else { "" };
    format!(
        "apiVersion: apps/v1\nkind: {kind}\nmetadata: {{ name: web }}\nspec:\n  replicas: 0{service}\n  selector: {{ matchLabels: {{ app: {selector} }} }}\n  \
         template: {{ metadata: {{ labels: {{ app: {label} }} }}, spec: {{ containers: [{{ name: web, image: \"web:1\" }}] }} }}\n---\n"
    )
}

fn deployment(app: &str) -> String {
    runs("Deployment", app, app)
}

fn selector(live: &Value) -> &Value {
    &live["spec"]["selector"]["matchLabels"]["app"]
}

#[test]
fn fault_49_what_cannot_be_changed_in_place_is_held_and_made_anew_only_with_a_yes() {
    let ground = Ground::new("f49");
    ground.web(&deployment("one"));
    ground.run(&["apply"], 0);
    let web = ground.at("apis/apps/v1", "deployments", "web");
    let uid = ground.uid(&web);
    ground.write("web/all.yaml", &(deployment("two") + &config("beside", "1")));
    assert_eq!(ground.plan(), ["create core/ConfigMap/NAMESPACE/beside", "held replace apps/Deployment/NAMESPACE/web"]);
    let said = ground.run(&["apply"], 3);
    assert!(said.contains("spec.selector cannot be changed in place"), "{said}");
    assert!(ground.get(&ground.at("api/v1", "configmaps", "beside")).is_some(), "what does not depend on it goes on");
    assert_eq!((ground.uid(&web), selector(&ground.get(&web).expect("it"))), (uid.clone(), &json!("one")));
    let digest = ground.json(&["plan"])["plans"][0]["held"][0]["digest"].as_str().expect("a digest").to_owned();
    ground.run(&["approve", &digest], 0);
    ground.run(&["apply"], 0);
    assert_ne!(ground.uid(&web), uid, "another one");
    assert_eq!(selector(&ground.get(&web).expect("it")), "two");
    assert_eq!(ground.plan(), Vec::<String>::new());
    ground.run(&["verify"], 0);
}

#[test]
fn t02_where_replacing_is_allowed_a_wrong_manifest_leaves_the_live_object_as_it_is() {
    let ground = Ground::new("t02");
    ground.configure(&[("web", "on_immutable: replace")]);
    ground.write("web/all.yaml", &deployment("one"));
    ground.run(&["apply"], 0);
    let web = ground.at("apis/apps/v1", "deployments", "web");
    let before = ground.get(&web).expect("it");
    // The selector is another one, which cannot be changed, and the template does not have it, which nobody would take.
    ground.write("web/all.yaml", &(runs("Deployment", "two", "three") + &config("beside", "1")));
    let said = ground.run(&["plan"], 2);
    assert!(said.contains("all.yaml:1") && said.contains("cannot be changed in place, nor be made anew"), "{said}");
    assert!(said.contains("spec.template.metadata.labels"), "{said}");
    ground.run(&["apply"], 2);
    let after = ground.get(&web).expect("it");
    assert_eq!(
        (&after["metadata"]["uid"], &after["metadata"]["resourceVersion"]),
        (&before["metadata"]["uid"], &before["metadata"]["resourceVersion"])
    );
    assert!(ground.get(&ground.at("api/v1", "configmaps", "beside")).is_none(), "a finding before apply holds all of the stack");
    let deletes = || ground.requests().iter().filter(|request| request.starts_with("delete")).count();
    assert_eq!(deletes(), 0);
    // One that is right is made anew without a question.
    ground.write("web/all.yaml", &deployment("two"));
    assert_eq!(ground.plan(), ["replace apps/Deployment/NAMESPACE/web"]);
    ground.run(&["apply"], 0);
    let after = ground.get(&web).expect("it");
    assert_eq!((selector(&after), deletes()), (&json!("two"), 1));
    assert_ne!(after["metadata"]["uid"], before["metadata"]["uid"]);
    assert_eq!(ground.plan(), Vec::<String>::new());
}

#[test]
fn what_keeps_things_is_never_made_anew_without_a_yes() {
    let ground = Ground::new("stateful");
    ground.configure(&[("web", "on_immutable: replace")]);
    ground.write("web/all.yaml", &runs("StatefulSet", "one", "one"));
    ground.run(&["apply"], 0);
    ground.write("web/all.yaml", &runs("StatefulSet", "two", "two"));
    assert_eq!(ground.plan(), ["held replace apps/StatefulSet/NAMESPACE/web"]);
    let said = ground.run(&["apply"], 3);
    assert!(said.contains("all that a StatefulSet runs stops"), "{said}");
    assert_eq!(selector(&ground.get(&ground.at("apis/apps/v1", "statefulsets", "web")).expect("it")), "one");
}

#[test]
fn fault_47_what_is_to_be_made_anew_and_waits_for_a_finalizer_is_pending_and_made_once_it_is_gone() {
    let ground = Ground::new("f47anew");
    ground.configure(&[("web", "on_immutable: replace")]);
    ground.write("web/all.yaml", &deployment("one"));
    ground.run(&["apply"], 0);
    let web = ground.at("apis/apps/v1", "deployments", "web");
    ground.edit(&web, "storage", &json!({ "metadata": { "finalizers": ["example.org/wait"] } }));
    ground.write("web/all.yaml", &deployment("two"));
    for _ in 0..2 {
        let said = ground.run(&["apply"], 1);
        assert!(said.contains("it is being deleted; it waits for example.org/wait"), "{said}");
        assert_eq!(selector(&ground.get(&web).expect("it")), "one");
    }
    let deletes = ground.requests().iter().filter(|request| request.starts_with("delete")).count();
    assert_eq!(deletes, 1, "it was asked for once");
    ground.edit(&web, "storage", &json!({ "metadata": { "finalizers": null } }));
    until("it is gone", || ground.get(&web).is_none());
    ground.run(&["apply"], 0);
    assert_eq!(selector(&ground.get(&web).expect("it")), "two");
    assert_eq!(ground.plan(), Vec::<String>::new());
}

#[test]
fn a_field_that_was_never_ours_is_a_conflict_held_with_its_owner_s_name_and_taken_with_a_yes() {
    let ground = Ground::new("conflict");
    ground.web(&config("one", "1"));
    ground.run(&["apply"], 0);
    let one = ground.at("api/v1", "configmaps", "one");
    ground.edit(&one, "other-operator", &json!({ "data": { "theirs": "x" } }));
    ground.write("web/all.yaml", &(config("one", "1").replace("value: \"1\"", "value: \"1\", theirs: ours") + &config("two", "2")));
    assert_eq!(ground.plan(), ["held update core/ConfigMap/NAMESPACE/one", "create core/ConfigMap/NAMESPACE/two"]);
    let said = ground.run(&["apply"], 3);
    assert!(said.contains(".data.theirs belongs to other-operator"), "{said}");
    assert_eq!(ground.get(&one).expect("it")["data"]["theirs"], "x");
    assert!(ground.get(&ground.at("api/v1", "configmaps", "two")).is_some());
    let digest = ground.json(&["plan"])["plans"][0]["held"][0]["digest"].as_str().expect("a digest").to_owned();
    ground.run(&["approve", &digest], 0);
    ground.run(&["apply"], 0);
    assert_eq!(ground.get(&one).expect("it")["data"]["theirs"], "ours");
    assert_eq!(ground.plan(), Vec::<String>::new());
}

#[test]
fn an_object_of_another_record_is_taken_over_only_with_a_person_s_word() {
    let ground = Ground::new("records");
    ground.web(&(config("one", "1") + &config("two", "2")));
    ground.run(&["apply"], 0);
    let one = ground.at("api/v1", "configmaps", "one");
    let owner = || ground.get(&one).expect("it")["metadata"]["annotations"]["trued.dev/ledger"].clone();
    let (uid, first) = (ground.uid(&one), owner());
    // The same repository with another state folder is another record.
    let elsewhere = ground.elsewhere();
    elsewhere.write("web/all.yaml", &(config("one", "1") + &config("two", "changed")));
    assert_eq!(elsewhere.plan(), ["held update core/ConfigMap/NAMESPACE/two", "held adopt core/ConfigMap/NAMESPACE/one"]);
    let said = elsewhere.run(&["apply"], 3);
    assert!(said.contains("belongs to the stack default/web@cluster of another record"), "{said}");
    assert_eq!(owner(), first);
    let held = elsewhere.json(&["log", "--limit", "1", "--kind", "held"])["index"].to_string();
    elsewhere.run(&["answer", &format!("#{held}"), "take-over", "--reason", "moved house"], 0);
    elsewhere.run(&["apply"], 0);
    assert_ne!(owner(), first);
    assert_eq!(ground.uid(&one), uid);
    assert_eq!(ground.get(&ground.at("api/v1", "configmaps", "two")).expect("it")["data"]["value"], "changed");
    assert_eq!(elsewhere.plan(), Vec::<String>::new());
    // The first one finds out, and does not take it back by itself.
    ground.write("web/all.yaml", &(config("one", "3") + &config("two", "changed")));
    assert!(ground.plan().contains(&"held update core/ConfigMap/NAMESPACE/one".to_owned()), "{:?}", ground.plan());
    ground.run(&["apply"], 3);
    assert_eq!(ground.get(&one).expect("it")["data"]["value"], "1");
}
