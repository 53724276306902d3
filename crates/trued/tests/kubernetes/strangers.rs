//! What others do to objects: drift and who did it, fields that are theirs, objects that were there before us.

use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::between::Fate;
use crate::cluster::{Ground, until};

const CONFIG: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: one }\ndata: { colour: red, size: \"1\" }\n";

const DEPLOYMENT: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata: { name: web }
spec:
  replicas: 2
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec: { containers: [{ name: web, image: \"web:1\" }] }
";

#[test]
fn a_change_from_outside_is_drift_its_manager_is_named_and_it_is_put_back() {
    let ground = Ground::new("drift");
    ground.web(CONFIG);
    ground.run(&["apply"], 0);
    let one = ground.at("api/v1", "configmaps", "one");
    ground.edit(&one, "kubectl-edit", &json!({ "data": { "colour": "green" } }));
    assert_eq!(ground.plan(), ["update core/ConfigMap/NAMESPACE/one"]);
    let said = ground.run(&["apply"], 0);
    assert!(ground.get(&one).expect("it")["data"]["colour"] == "red", "{said}");
    let log = ground.json(&["log", "--limit", "1", "--kind", "drift.opened"]);
    assert_eq!(log["body"]["items"][0]["evidence"]["by"], "kubectl-edit", "{log}");
    assert_eq!(log["body"]["items"][0]["evidence"]["grade"], "B", "{log}");
    assert_eq!(ground.plan(), Vec::<String>::new());
    ground.delete(&one);
    assert_eq!(ground.plan(), ["create core/ConfigMap/NAMESPACE/one"]);
    ground.run(&["apply"], 0);
    assert!(ground.get(&one).is_some());
}

#[test]
fn t11_the_number_of_replicas_that_an_autoscaler_sets_is_no_drift() {
    let ground = Ground::new("t11-hpa");
    ground.web(DEPLOYMENT);
    ground.run(&["apply", "--no-wait"], 0);
    let scaler = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": { "name": "web", "namespace": ground.namespace },
        "spec": { "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" }, "minReplicas": 5, "maxReplicas": 9 },
    });
    ground.apply("operator", &scaler);
    let web = ground.at("apis/apps/v1", "deployments", "web");
    // Below its least number an autoscaler needs no metrics.
    until("the autoscaler has its number", || ground.get(&web).expect("the Deployment")["spec"]["replicas"] == 5);
    assert_eq!(ground.plan(), Vec::<String>::new());
    ground.run(&["apply", "--no-wait"], 0);
    assert_eq!(ground.counted("target_writes"), 0);
    ground.write("web/all.yaml", &DEPLOYMENT.replace("web:1", "web:2"));
    ground.run(&["apply", "--no-wait"], 0);
    let live = ground.get(&web).expect("the Deployment");
    assert_eq!((&live["spec"]["replicas"], &live["spec"]["template"]["spec"]["containers"][0]["image"]), (&json!(5), &json!("web:2")));
    assert_eq!(ground.plan(), Vec::<String>::new());
}

#[test]
fn t11_fault_34_fields_of_others_and_what_an_autoscaler_decides_are_no_drift() {
    let ground = Ground::new("t11");
    ground.web(&format!("{DEPLOYMENT}---\n{CONFIG}"));
    ground.run(&["apply", "--no-wait"], 0);
    let web = ground.at("apis/apps/v1", "deployments", "web");
    ground.edit(&web, "mesh", &json!({ "metadata": { "labels": { "mesh": "on" } }, "spec": { "template": { "metadata": { "annotations": { "mesh/inject": "yes" } } } } }));
    ground.edit(&ground.at("api/v1", "configmaps", "one"), "operator", &json!({ "data": { "theirs": "x" } }));
    let scale = json!({ "spec": { "replicas": 7 } });
    ground
        .request("PATCH", &format!("{web}/scale?fieldManager=kube-controller-manager"), "application/merge-patch+json", Some(&scale))
        .expect("scaled");
    assert_eq!(ground.plan(), Vec::<String>::new());
    ground.run(&["apply", "--no-wait"], 0);
    assert_eq!(ground.counted("target_writes"), 0);
    // A commit that changes something else leaves the autoscaler its number.
    ground.write("web/all.yaml", &format!("{}---\n{CONFIG}", DEPLOYMENT.replace("web:1", "web:2")));
    ground.run(&["apply", "--no-wait"], 0);
    let live = ground.get(&web).expect("the Deployment");
    assert_eq!(live["spec"]["replicas"], 7);
    assert_eq!(live["spec"]["template"]["spec"]["containers"][0]["image"], "web:2");
    assert_eq!(live["metadata"]["labels"]["mesh"], "on");
    assert_eq!(ground.plan(), Vec::<String>::new());
}

#[test]
fn objects_of_others_are_adopted_without_a_restart_where_they_are_the_same_and_held_where_they_differ() {
    let ground = Ground::new("adopt");
    let object: Value = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web", "namespace": ground.namespace },
        "spec": { "replicas": 2, "selector": { "matchLabels": { "app": "web" } }, "template": { "metadata": { "labels": { "app": "web" } },
            "spec": { "containers": [{ "name": "web", "image": "web:1" }] } } } });
    ground.apply("kustomize-controller", &object);
    ground.apply("helm", &json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "one", "namespace": ground.namespace }, "data": { "colour": "blue" } }));
    let web = ground.at("apis/apps/v1", "deployments", "web");
    let before = ground.get(&web).expect("it");
    ground.web(&format!("{DEPLOYMENT}---\n{CONFIG}"));
    assert_eq!(ground.plan(), ["held update core/ConfigMap/NAMESPACE/one", "adopt apps/Deployment/NAMESPACE/web"]);
    ground.run(&["apply", "--no-wait"], 3);
    let after = ground.get(&web).expect("it");
    assert_eq!((&after["metadata"]["uid"], &after["spec"]), (&before["metadata"]["uid"], &before["spec"]));
    assert!(after["metadata"]["annotations"]["trued.dev/stack"].is_string(), "it carries our mark");
    assert_eq!(ground.get(&ground.at("api/v1", "configmaps", "one")).expect("it")["data"]["colour"], "blue");
    let digest = ground.json(&["plan"])["plans"][0]["held"][0]["digest"].as_str().expect("a digest").to_owned();
    ground.run(&["approve", &digest], 0);
    ground.run(&["apply", "--no-wait"], 0);
    assert_eq!(ground.get(&ground.at("api/v1", "configmaps", "one")).expect("it")["data"]["colour"], "red");
    assert_eq!(ground.plan(), Vec::<String>::new());
}

#[test]
fn fault_48_what_was_made_anew_under_the_same_name_is_not_ours_to_change() {
    let ground = Ground::new("f48");
    ground.web(CONFIG);
    ground.run(&["apply"], 0);
    let one = ground.at("api/v1", "configmaps", "one");
    ground.delete(&one);
    ground.apply("stranger", &json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "one", "namespace": ground.namespace }, "data": { "colour": "blue" } }));
    ground.write("web/all.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: two }\n");
    ground.run(&["apply"], 1);
    assert_eq!(ground.get(&one).expect("a stranger's")["data"]["colour"], "blue", "it carries no mark of ours: it stays");
}

#[test]
fn fault_48_what_takes_the_name_just_before_our_delete_arrives_lives() {
    let mut ground = Ground::new("f48race");
    ground.web(&format!("{CONFIG}---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: two }}\n"));
    ground.run(&["apply"], 0);
    let one = ground.at("api/v1", "configmaps", "one");
    let uid = ground.uid(&one);
    let (stranger, first, path) = (ground.elsewhere(), AtomicBool::new(true), one.clone());
    let between = ground.through(move |asked| {
        if asked.method == "DELETE" && first.swap(false, Ordering::SeqCst) {
            // The same to the last letter, our mark included: only who it is tells them apart.
            let mut same = stranger.get(&path).expect("it is there");
            let metadata = same["metadata"].as_object_mut().expect("metadata");
            ["uid", "resourceVersion", "creationTimestamp", "managedFields"].iter().for_each(|key| drop(metadata.remove(*key)));
            stranger.delete(&path);
            let collection = path.trim_end_matches("/one");
            stranger.request("POST", &format!("{collection}?fieldManager=stranger"), "application/json", Some(&same)).expect("made");
        }
        Fate::Passes
    });
    ground.write("web/all.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: two }\n");
    let said = ground.run(&["apply"], 1);
    assert!(said.contains("it was changed from outside just now"), "{said}");
    let anew = ground.uid(&one);
    assert_ne!(anew, uid, "another one has the name");
    assert_eq!(ground.requests().iter().filter(|request| request.starts_with("delete")).count(), 1, "and was not deleted in its stead");
    drop(between);
    ground.direct();
    ground.run(&["verify"], 0);
}

#[test]
fn fault_58_drift_is_seen_by_the_watch_and_status_churn_wakes_nobody() {
    let ground = Ground::new("watch");
    ground.web(&format!("{DEPLOYMENT}---\n{CONFIG}"));
    let mut serve = ground.command(&["serve", "--poll", "1h"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started");
    let one = ground.at("api/v1", "configmaps", "one");
    until("the first apply", || ground.get(&one).is_some() && ground.get(&ground.at("apis/apps/v1", "deployments", "web")).is_some());
    ground.edit(&one, "kubectl-edit", &json!({ "data": { "colour": "green" } }));
    until("it is put back", || ground.get(&one).expect("it")["data"]["colour"] == "red");
    ground.delete(&one);
    until("it is made anew", || ground.get(&one).is_some());
    let before = ground.requests().len();
    for n in 0..30 {
        ground.edit(&one, "annotator", &json!({ "metadata": { "annotations": { "theirs": n.to_string() } } }));
    }
    // Something that does wake it comes after all of that: then what came before was heard too.
    ground.edit(&one, "kubectl-edit", &json!({ "data": { "colour": "green" } }));
    until("it is put back once more", || ground.get(&one).expect("it")["data"]["colour"] == "red");
    let requests = ground.requests().len() - before;
    assert!(requests <= 20, "{requests} requests for one drift and thirty changes that are none");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(i32::try_from(serve.id()).expect("an id")), nix::sys::signal::Signal::SIGTERM)
        .expect("asked to stop");
    assert!(serve.wait().expect("ended").success());
}
