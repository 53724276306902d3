//! From a folder of manifests to objects: first apply, the second plan, order, requests, secrets.

use std::process::Stdio;

use serde_json::json;

use crate::cluster::{Ground, until};

const WEB: &str = "\
apiVersion: v1
kind: ServiceAccount
metadata: { name: web }
---
apiVersion: v1
kind: Service
metadata: { name: web }
spec: { selector: { app: web }, ports: [{ port: 80 }] }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: web }
spec:
  replicas: 0
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec:
      serviceAccountName: web
      containers:
      - name: web
        image: web:1
        ports: [{ containerPort: 80 }]
        resources: { requests: { cpu: 1000m, memory: 0.5Gi } }
      volumes: [{ name: tmp, emptyDir: {} }]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: web }
spec: { defaultBackend: { service: { name: web, port: { number: 80 } } } }
";

#[test]
fn a_folder_of_manifests_is_planned_applied_and_then_left_alone() {
    let ground = Ground::new("first");
    ground.web(WEB);
    let expected = [
        "create core/ServiceAccount/NAMESPACE/web",
        "create core/Service/NAMESPACE/web",
        "create apps/Deployment/NAMESPACE/web",
        "create networking.k8s.io/Ingress/NAMESPACE/web",
    ];
    assert_eq!(ground.plan(), expected);
    assert_eq!(ground.writes(), 0, "a plan changes nothing");
    ground.run(&["apply"], 0);
    assert_eq!((ground.counted("target_writes"), ground.writes()), (4, 4));
    let live = ground.get(&ground.at("apis/apps/v1", "deployments", "web")).expect("the Deployment");
    assert_eq!(live["spec"]["template"]["spec"]["containers"][0]["image"], "web:1");
    assert_eq!(live["metadata"]["managedFields"][0]["manager"], "trued");
    assert_eq!(live["metadata"]["managedFields"][0]["operation"], "Apply");
    // The server keeps `1000m` as `1`, `0.5Gi` as `512Mi`, and adds a dozen defaults: that is no difference.
    assert_eq!(ground.plan(), Vec::<String>::new());
    ground.run(&["apply"], 0);
    assert_eq!((ground.counted("target_writes"), ground.writes()), (0, 4), "a second apply writes nothing");
    ground.run(&["status"], 0);
    ground.run(&["verify"], 0);
}

#[test]
fn a_first_apply_of_many_stacks_costs_no_more_than_their_objects_and_one_look_at_each_kind() {
    let ground = Ground::new("many");
    let names: Vec<String> = (0..25).map(|n| format!("app{n}")).collect();
    ground.configure(&names.iter().map(|name| (name.as_str(), "")).collect::<Vec<_>>());
    for name in &names {
        ground.write(&format!("{name}/all.yaml"), &WEB.replace("name: web }", &format!("name: {name} }}")));
    }
    ground.run(&["apply", "--no-wait"], 0);
    let requests = ground.requests();
    let count = |word: &str| requests.iter().filter(|request| request.starts_with(word)).count();
    assert_eq!(count("patch"), 100, "one write for each object");
    // What the cluster serves and what that looks like, and a list and a watch of each kind: once, however many stacks.
    assert!(requests.len() <= 100 + 16, "{} requests for 25 stacks of 4 objects: {requests:?}", requests.len());
    let before = ground.requests().len();
    ground.run(&["apply", "--no-wait"], 0);
    assert_eq!(ground.counted("target_writes"), 0);
    assert_eq!(ground.writes(), 100);
    let reads = ground.requests().len() - before;
    // Each value once, and one dry run for each Deployment, whose quantities the server writes in its own way.
    assert!(reads <= 125 + 16, "{reads} requests to look at 100 objects anew");
}

/// The definition of the kind Widget, under a plural.
fn definition(group: &str, plural: &str) -> String {
    format!(
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{ name: {plural}.{group} }}\nspec:\n  group: {group}\n  scope: Namespaced\n  \
         names: {{ plural: {plural}, singular: widget, kind: Widget, listKind: WidgetList }}\n  versions:\n  - name: v1\n    served: true\n    storage: true\n    \
         schema: {{ openAPIV3Schema: {{ type: object, properties: {{ spec: {{ type: object, x-kubernetes-preserve-unknown-fields: true }}, \
         status: {{ type: object, x-kubernetes-preserve-unknown-fields: true }} }} }} }}\n"
    )
}

#[test]
fn t09_a_namespace_a_definition_and_an_object_of_it_converge_in_one_run() {
    let ground = Ground::without_namespace("t09");
    let group = format!("{}.example.org", ground.namespace);
    let definition = definition(&group, "widgets");
    ground.web(&format!(
        "\
apiVersion: {group}/v1
kind: Widget
metadata: {{ name: one }}
spec: {{ size: 3 }}
---
{definition}---
apiVersion: v1
kind: Namespace
metadata: {{ name: NAMESPACE }}
"
    ));
    ground.run(&["apply"], 0);
    assert_eq!(ground.writes(), 3);
    let one = ground.get(&ground.at(&format!("apis/{group}/v1"), "widgets", "one")).expect("the Widget");
    assert_eq!(one["spec"]["size"], 3);
    assert_eq!(ground.plan(), Vec::<String>::new());
    ground.delete(&format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.{group}"));
}

#[test]
fn t09_a_namespace_a_definition_its_operator_and_an_object_of_it_converge_in_one_run_that_waits_for_the_operator() {
    let ground = Ground::without_namespace("t09operator");
    let group = format!("{}.example.org", ground.namespace);
    let rules = format!("health: {{ within: 1h, rules: {{ {group}/Widget: {{ ready: \"status.phase == 'Up'\" }} }} }}");
    ground.configure(&[("web", &rules)]);
    // In the order in which nobody could make them.
    ground.write("web/1.yaml", &format!("apiVersion: {group}/v1\nkind: Widget\nmetadata: {{ name: one }}\nspec: {{ size: 3 }}\n"));
    ground.write("web/2.yaml", WEB);
    ground.write("web/3.yaml", &definition(&group, "widgets"));
    ground.write("web/4.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: { name: NAMESPACE }\n");
    let mut apply = ground.command(&["apply"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started");
    let one = ground.at(&format!("apis/{group}/v1"), "widgets", "one");
    // What the operator would do, once it runs and there is something for it.
    until("there is work for the operator", || {
        ground.get(&ground.at("apis/apps/v1", "deployments", "web")).is_some() && ground.get(&one).is_some()
    });
    until("it is waited for", || ground.run(&["log", "--kind", "verdict"], 0).contains("landed"));
    assert!(apply.try_wait().expect("a child").is_none(), "what is written is not yet up");
    ground.edit(&one, "operator", &json!({ "status": { "phase": "Up" } }));
    assert_eq!(apply.wait().expect("ended").code(), Some(0));
    assert_eq!(ground.writes(), 7, "each once, in one run");
    let made: Vec<String> = ground.requests().into_iter().filter(|request| request.starts_with("patch")).collect();
    let place = |resource: &str| made.iter().position(|request| request.ends_with(resource)).expect("it was made");
    let turns = ["namespaces", "customresourcedefinitions", "serviceaccounts", "deployments", "widgets"].map(place);
    assert!(turns.is_sorted(), "{made:?}");
    assert_eq!(ground.plan(), Vec::<String>::new());
    ground.delete(&format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.{group}"));
}

#[test]
fn t13_a_definition_that_is_there_twice_is_a_finding_and_a_second_one_of_the_same_kind_is_told() {
    let ground = Ground::new("t13twice");
    let group = format!("{}.example.org", ground.namespace);
    ground.web(&definition(&group, "widgets"));
    ground.write("web/copy.yaml", &definition(&group, "widgets"));
    let said = ground.run(&["apply"], 2);
    assert!(said.contains("web/copy.yaml:1:1") && said.contains("is there twice"), "{said}");
    assert_eq!(ground.writes(), 0);
    // Another name for the same kind.
    ground.write("web/copy.yaml", &definition(&group, "gadgets"));
    let said = ground.run(&["apply"], 1);
    assert!(said.contains("failed health") && said.contains("is already in use"), "{said}");
    assert_eq!((ground.plan(), ground.writes()), (vec![], 2), "it is not fought over");
    for plural in ["widgets", "gadgets"] {
        ground.delete(&format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{plural}.{group}"));
    }
}

#[test]
fn t13_lists_in_lists_and_large_objects_are_taken_and_what_has_no_name_or_two_is_a_finding() {
    let ground = Ground::new("t13");
    let large = "x".repeat(300 << 10);
    ground.web(&format!(
        "\
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: ConfigMapList
  items:
  - {{ apiVersion: v1, kind: ConfigMap, metadata: {{ name: inner }}, data: {{ a: \"1\" }} }}
- {{ apiVersion: v1, kind: ConfigMap, metadata: {{ name: large }}, data: {{ text: {large} }} }}
"
    ));
    ground.run(&["apply"], 0);
    assert_eq!(ground.plan(), Vec::<String>::new());
    let held = ground.get(&ground.at("api/v1", "configmaps", "large")).expect("the large one");
    assert_eq!(held["data"]["text"].as_str().map(str::len), Some(300 << 10));
    ground.write("web/wrong.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: { generateName: some- }\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: { name: inner }\n");
    let said = ground.run(&["plan"], 2);
    assert!(said.contains("web/wrong.yaml:1:1") && said.contains("only a `generateName`"), "{said}");
    assert!(said.contains("web/wrong.yaml:5:1") && said.contains("is there twice"), "{said}");
}

#[test]
fn t07_three_broken_objects_are_three_findings_of_one_report() {
    let ground = Ground::new("t07");
    ground.web("apiVersion: v1\nkind: ConfigMap\nmetadata: { name: fine }\n");
    ground.run(&["apply"], 0);
    ground.write("web/a.yaml", "apiVersion: batch/v1\nkind: Gadget\nmetadata: { name: one }\n");
    ground.write("web/b.yaml", "apiVersion: apps/v1beta1\nkind: Deployment\nmetadata: { name: old }\n");
    ground.write("web/c.yaml", "kind: ConfigMap\nmetadata: { name: none }\n");
    std::fs::remove_file(ground.path("web/all.yaml")).expect("removed");
    let said = ground.run(&["apply"], 2);
    assert!(said.contains("web/a.yaml:1:1") && said.contains("serves no kind batch/Gadget"), "{said}");
    assert!(said.contains("web/b.yaml:1:1") && said.contains("as v1, not as v1beta1"), "{said}");
    assert!(said.contains("web/c.yaml:1:1") && said.contains("no `apiVersion`"), "{said}");
    assert!(ground.get(&ground.at("api/v1", "configmaps", "fine")).is_some(), "fault 27: nothing is removed by a render that is wrong");
}

#[test]
fn t07_fields_that_no_schema_has_are_told_with_their_places_before_anything_is_written() {
    let ground = Ground::without_namespace("t07form");
    let group = format!("{}.example.org", ground.namespace);
    ground.web("apiVersion: v1\nkind: Namespace\nmetadata: { name: NAMESPACE }\n");
    ground.write(
        "web/definition.yaml",
        &format!(
            "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{ name: widgets.{group} }}\nspec:\n  group: {group}\n  scope: Namespaced\n  \
             names: {{ plural: widgets, singular: widget, kind: Widget, listKind: WidgetList }}\n  versions:\n  - name: v1\n    served: true\n    storage: true\n    \
             schema: {{ openAPIV3Schema: {{ type: object, properties: {{ spec: {{ type: object, required: [size], properties: {{ size: {{ type: integer, maximum: 9 }} }} }} }} }} }}\n"
        ),
    );
    let widget = |spec: &str| format!("apiVersion: {group}/v1\nkind: Widget\nmetadata: {{ name: one }}\nspec: {{ {spec} }}\n");
    ground.write("web/widget.yaml", &widget("colour: red"));
    ground.write(
        "web/run.yaml",
        &WEB.replace("  replicas: 0", "  replica: 0")
            .replace("image: web:1", "image: [web]")
            .replace("selector: { matchLabels: { app: web } }", "paused: false"),
    );
    ground.write("web/secret.yaml", "apiVersion: v1\nkind: Secret\nmetadata: { name: db }\ntype: [hunter2]\n");
    ground.write("web/none.yaml", "kind: ConfigMap\nmetadata: { name: none }\n");
    let said = ground.run(&["plan"], 2);
    for expected in [
        "web/none.yaml:1:1: default/web: this is no object",
        "web/run.yaml:14:3: default/web: apps/Deployment/NAMESPACE/web: there is no field spec.replica",
        "the field spec.selector is missing",
        "spec.template.spec.containers[0].image",
        "web/widget.yaml:4:9",
        "there is no field spec.colour",
        "the field spec.size is missing",
        "web/secret.yaml:4:1",
    ] {
        let expected = expected.replace("NAMESPACE", &ground.namespace);
        assert!(said.contains(&expected), "{expected} in {said}");
    }
    assert!(!said.contains("hunter2"), "{said}");
    assert_eq!(ground.writes(), 0);
    // All of it right: lands. Then the cluster's own word counts for a definition that is there.
    std::fs::remove_file(ground.path("web/none.yaml")).expect("removed");
    std::fs::remove_file(ground.path("web/secret.yaml")).expect("removed");
    ground.write("web/run.yaml", WEB);
    ground.write("web/widget.yaml", &widget("size: 3"));
    ground.run(&["apply"], 0);
    ground.write("web/widget.yaml", &widget("size: 10"));
    let said = ground.run(&["plan"], 2);
    assert!(said.contains("web/widget.yaml:4:9") && said.contains("spec.size"), "{said}");
    ground.delete(&format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.{group}"));
}

#[test]
fn a_secret_stands_in_no_output_and_nowhere_in_the_record() {
    let ground = Ground::new("sealed");
    let secret = |value: &str| format!("apiVersion: v1\nkind: Secret\nmetadata: {{ name: db }}\nstringData: {{ password: {value} }}\n");
    ground.web(&secret("correct-horse-battery"));
    let mut said = ground.run(&["plan"], 3) + &ground.run(&["apply"], 0);
    assert_eq!(ground.plan(), Vec::<String>::new());
    let live = ground.at("api/v1", "secrets", "db");
    assert_eq!(ground.get(&live).expect("the Secret")["data"]["password"], "Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5");
    // A stranger's value is as secret as ours, also when it is kept before it is overwritten.
    ground.edit(&live, "kubectl-edit", &json!({ "data": { "password": "c3RyYW5nZXJzLXBhc3N3b3Jk" } }));
    said += &ground.run(&["plan"], 3);
    said += &ground.run(&["apply"], 0);
    ground.write("web/all.yaml", &secret("second-horse-staple"));
    said += &ground.run(&["plan"], 3);
    said += &ground.run(&["apply"], 0);
    for arguments in [&["log"][..], &["render", "web"], &["status"], &["show", "#1"], &["log", "--output", "json"], &["diff"]] {
        said += &crate::cluster::both(&ground.command(arguments).output().expect("started"));
    }
    for word in ["correct-horse", "Y29ycmVjdC1o", "strangers-password", "c3RyYW5nZXJz", "second-horse", "c2Vjb25kLWhvcnNl"] {
        assert!(!said.contains(word), "{word} was printed: {said}");
        assert_eq!(ground.recorded(word), None, "{word} is on record");
    }
}

/// A record has its name from its first entry on, which here is the intent itself.
#[test]
fn one_stack_applied_on_a_new_record_marks_its_objects_with_the_record_s_name() {
    let ground = Ground::new("one-first");
    ground.configure(&[("web", ""), ("other", "")]);
    let config = |value: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: one }}\ndata: {{ value: \"{value}\" }}\n");
    ground.write("web/all.yaml", &config("1"));
    ground.run(&["apply", "default/web"], 0);
    let one = ground.at("api/v1", "configmaps", "one");
    let mark = ground.get(&one).expect("it is there")["metadata"]["annotations"]["trued.dev/ledger"].clone();
    assert!(mark.as_str().is_some_and(|mark| mark.starts_with("trued/")), "{mark}");
    ground.write("web/all.yaml", &config("2"));
    ground.run(&["apply", "default/web"], 0);
    assert_eq!(ground.get(&one).expect("it is there")["data"]["value"], "2");
}
