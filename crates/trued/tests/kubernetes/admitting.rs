//! What is changed on its way in: a webhook of somebody else's adds to objects and rewrites them, and nobody fights over it.

use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::cluster::{Ground, until};
use crate::secure::Webhook;

/// A mutating webhook for the Deployments of one namespace, until it is dropped.
struct Mesh {
    _webhook: Webhook,
    /// What it was asked about, as `CREATE` or `UPDATE`, rehearsals left out.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Mesh {
    fn start(ground: &Ground) -> Mesh {
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let note = asked.clone();
        let webhook = Webhook::start(ground, "Mutating", ("apps", "deployments"), &["CREATE", "UPDATE"], move |request| {
            if request["dryRun"] != true {
                note.lock().unwrap_or_else(PoisonError::into_inner).push(request["operation"].as_str().unwrap_or_default().to_owned());
            }
            let patch = STANDARD.encode(meshed(&request["object"]).to_string());
            json!({ "allowed": true, "patchType": "JSONPatch", "patch": patch })
        });
        let mesh = Mesh { _webhook: webhook, asked };
        // The server takes a moment to take notice of it.
        let rehearsal = format!("/apis/apps/v1/namespaces/{}/deployments?dryRun=All", ground.namespace);
        let object: Value = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "rehearsal" },
            "spec": { "selector": { "matchLabels": { "app": "web" } }, "template": { "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [{ "name": "web", "image": "web:1" }] } } } });
        until("the webhook is asked", || {
            let made = ground.request("POST", &rehearsal, "application/json", Some(&object));
            made.is_some_and(|made| made["metadata"]["annotations"]["mesh.example.org/status"] == "injected")
        });
        mesh
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What the webhook does to a Deployment: a field and an annotation, a sidecar, a label of the template, and another image for
/// each that does not come from its mirror.
fn meshed(object: &Value) -> Value {
    let mut template = object["spec"]["template"].clone();
    template["metadata"]["labels"]["mesh"] = "on".into();
    let containers = template["spec"]["containers"].as_array_mut().expect("containers");
    for container in containers.iter_mut() {
        let image = container["image"].as_str().unwrap_or_default();
        if !image.starts_with("mirror/") {
            container["image"] = format!("mirror/{image}").into();
        }
    }
    if !containers.iter().any(|container| container["name"] == "proxy") {
        containers.push(json!({ "name": "proxy", "image": "mirror/proxy:7" }));
    }
    let mut annotations = object["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
    annotations.insert("mesh.example.org/status".to_owned(), "injected".into());
    json!([
        { "op": "add", "path": "/metadata/annotations", "value": annotations },
        { "op": "add", "path": "/spec/template", "value": template },
        { "op": "add", "path": "/spec/revisionHistoryLimit", "value": 3 },
    ])
}

fn deployment(image: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{ name: web }}\nspec:\n  replicas: 0\n  selector: {{ matchLabels: {{ app: web }} }}\n  \
         template: {{ metadata: {{ labels: {{ app: web }} }}, spec: {{ containers: [{{ name: web, image: \"{image}\" }}] }} }}\n"
    )
}

/// Image by container, the field that only the webhook sets, its annotation, its label.
fn looks(ground: &Ground) -> Value {
    let live = ground.get(&ground.at("apis/apps/v1", "deployments", "web")).expect("the Deployment");
    let template = &live["spec"]["template"];
    let containers = template["spec"]["containers"].as_array().expect("containers").iter();
    let images: Vec<String> = containers.map(|one| format!("{}={}", one["name"], one["image"]).replace('"', "")).collect();
    let status = &live["metadata"]["annotations"]["mesh.example.org/status"];
    json!([images, live["spec"]["revisionHistoryLimit"], status, template["metadata"]["labels"]["mesh"]])
}

#[test]
fn t11_what_a_mutating_webhook_adds_and_rewrites_is_no_drift_and_stays_through_a_change_of_ours() {
    let ground = Ground::new("t11-webhook");
    let mesh = Mesh::start(&ground);
    ground.web(&deployment("web:1"));
    ground.run(&["apply"], 0);
    let meshed = |image: &str| json!([[format!("web=mirror/{image}"), "proxy=mirror/proxy:7"], 3, "injected", "on"]);
    assert_eq!(looks(&ground), meshed("web:1"), "it was asked when it was made");
    assert_eq!(ground.plan(), Vec::<String>::new(), "the second plan is empty");
    ground.run(&["apply"], 0);
    assert_eq!(ground.counted("target_writes"), 0);
    assert_eq!(ground.writes(), 1);
    assert_eq!(ground.json(&["incidents"])["incidents"], json!([]));
    // A change of ours lands, through the webhook.
    ground.write("web/all.yaml", &deployment("web:2"));
    assert_eq!(ground.plan(), ["update apps/Deployment/NAMESPACE/web"]);
    ground.run(&["apply"], 0);
    assert_eq!(looks(&ground), meshed("web:2"));
    assert_eq!((ground.plan(), ground.writes()), (vec![], 2));
    // What somebody does to a field that is ours is drift all the same, and is put back through it.
    let web = ground.at("apis/apps/v1", "deployments", "web");
    ground.edit(&web, "kubectl-edit", &json!({ "spec": { "replicas": 1 } }));
    assert_eq!(ground.plan(), ["update apps/Deployment/NAMESPACE/web"]);
    ground.run(&["apply"], 0);
    assert_eq!(ground.get(&web).expect("it")["spec"]["replicas"], 0);
    assert_eq!(looks(&ground), meshed("web:2"));
    assert_eq!((ground.plan(), ground.writes()), (vec![], 3));
    assert!(mesh.asked().iter().any(|operation| operation == "UPDATE"), "{:?}", mesh.asked());
    ground.run(&["verify"], 0);
}
