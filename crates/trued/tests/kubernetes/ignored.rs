//! Fields that a stack is not about.

use serde_json::json;

use crate::cluster::Ground;

const DEPLOYMENT: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata: { name: web, annotations: { checked: \"no\" } }
spec:
  replicas: 2
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec: { containers: [{ name: web, image: \"web:1\" }] }
";

#[test]
fn an_ignored_field_is_neither_sent_nor_compared_and_one_that_was_ours_keeps_its_value() {
    let ground = Ground::new("ignored");
    ground.web(DEPLOYMENT);
    ground.run(&["apply", "--no-wait"], 0);
    let web = ground.at("apis/apps/v1", "deployments", "web");
    // From now on the stack is not about it. What is there stays, also through a change of something else.
    ground.configure(&[("web", "ignore: [{ kind: apps/Deployment, name: w*, fields: [/spec/replicas, /metadata/annotations/checked, /spec/template/spec/containers/web/image] }]")]);
    ground.write("web/all.yaml", &DEPLOYMENT.replace("replicas: 2", "replicas: 5\n  paused: true"));
    ground.run(&["apply", "--no-wait"], 0);
    let live = ground.get(&web).expect("it");
    assert_eq!((&live["spec"]["replicas"], &live["spec"]["paused"]), (&json!(2), &json!(true)));
    assert_eq!(ground.plan(), Vec::<String>::new());
    // Whoever changes it is left alone.
    let image = json!([{ "op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "web:9" }]);
    ground.request("PATCH", &format!("{web}?fieldManager=updater"), "application/json-patch+json", Some(&image)).expect("changed");
    ground.edit(&web, "kubectl-scale", &json!({ "spec": { "replicas": 7 }, "metadata": { "annotations": { "checked": "yes" } } }));
    assert_eq!(ground.plan(), Vec::<String>::new());
    ground.write("web/all.yaml", &DEPLOYMENT.replace("web:1", "web:2"));
    ground.run(&["apply", "--no-wait"], 0);
    let live = ground.get(&web).expect("it");
    assert_eq!(
        (&live["spec"]["replicas"], &live["spec"]["paused"], &live["metadata"]["annotations"]["checked"]),
        (&json!(7), &serde_json::Value::Null, &json!("yes"))
    );
    assert_eq!(live["spec"]["template"]["spec"]["containers"][0]["image"], "web:9");
    // Everything else is as much ours as before.
    ground.edit(
        &web,
        "kubectl-edit",
        &json!({ "spec": { "template": { "metadata": { "labels": { "app": "web" } } }, "selector": { "matchLabels": { "app": "web" } } } }),
    );
    ground.edit(&web, "kubectl-edit", &json!({ "metadata": { "annotations": { "trued.dev/ignore": "[\"/spec\"]" } } }));
    assert_eq!(ground.plan(), ["update apps/Deployment/NAMESPACE/web"], "what is ignored is not for strangers to say");
    ground.run(&["apply", "--no-wait"], 0);
    assert_eq!(ground.plan(), Vec::<String>::new());
}

#[test]
fn fields_to_ignore_are_refused_where_nothing_has_fields() {
    let ground = Ground::new("nofields");
    let root = ground.folder.path().join("root");
    std::fs::create_dir(&root).expect("a folder");
    ground.write("web/one.txt", "one");
    ground.write(
        "trued.yaml",
        &format!(
            "stacks:\n  web:\n    path: web\n    target: {{ files: {{ root: {} }} }}\n    ignore: [{{ fields: [/spec] }}]\n",
            root.display()
        ),
    );
    let said = ground.run(&["plan"], 2);
    assert!(said.contains("trued.yaml:2") && said.contains("`ignore` names fields"), "{said}");
}
