//! Objects that other tools made, as they leave them: taken on without a restart, and ours from then on.

use serde_json::{Value, json};

use crate::cluster::{Ground, until};

/// What a stack desires, and what the other tool made: the same. By the tool's name.
const DESIRED: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata: { name: NAME, labels: { app: NAME, team: shop } }
spec:
  replicas: 0
  selector: { matchLabels: { app: NAME } }
  template:
    metadata: { labels: { app: NAME } }
    spec: { containers: [{ name: web, image: \"web:1\", env: [{ name: COLOUR, value: red }] }] }
---
apiVersion: v1
kind: ConfigMap
metadata: { name: NAME }
data: { colour: red, size: \"1\" }
";

/// One way in which a tool makes objects.
struct Tool {
    name: &'static str,
    /// The field manager it goes by.
    manager: &'static str,
    /// Whether it applies server-side; otherwise it creates, and patches.
    applies: bool,
    /// Whether it writes what it applied into an annotation.
    last_applied: bool,
    labels: Value,
    annotations: Value,
}

fn tools(namespace: &str) -> [Tool; 6] {
    let tracked = json!({ "argocd.argoproj.io/tracking-id": format!("shop:apps/Deployment:{namespace}/web") });
    let instance = json!({ "app.kubernetes.io/instance": "shop" });
    let released = json!({ "meta.helm.sh/release-name": "shop", "meta.helm.sh/release-namespace": namespace });
    let by_helm = json!({ "app.kubernetes.io/managed-by": "Helm" });
    let by_flux = json!({ "kustomize.toolkit.fluxcd.io/name": "shop", "kustomize.toolkit.fluxcd.io/namespace": "flux-system" });
    let tool =
        |name, manager, applies, last_applied, labels, annotations| Tool { name, manager, applies, last_applied, labels, annotations };
    [
        tool("kubectl", "kubectl-client-side-apply", false, true, json!({}), json!({})),
        tool("argocd", "argocd-controller", false, true, instance, tracked.clone()),
        tool("argocdapply", "argocd-controller", true, false, json!({}), tracked),
        tool("helm", "helm", false, false, by_helm, released),
        // Before servers kept who owns what, or where somebody threw it away.
        tool("old", "", false, true, json!({}), json!({})),
        tool("flux", "kustomize-controller", true, false, by_flux, json!({})),
    ]
}

impl Tool {
    fn desired(&self) -> String {
        DESIRED.replace("NAME", self.name)
    }

    /// The Deployment and the ConfigMap.
    fn live(&self, ground: &Ground) -> [Value; 2] {
        let places = [("apis/apps/v1", "deployments"), ("api/v1", "configmaps")];
        places.map(|(version, resource)| ground.get(&ground.at(version, resource, self.name)).expect("it is there"))
    }

    /// Makes what is desired, as the tool does, with what it adds of its own.
    fn makes(&self, ground: &Ground) {
        for node in trued_yaml::read_all("desired.yaml", &self.desired(), &trued_yaml::Budget::default()).expect("YAML") {
            let mut object: Value = node.to_json();
            object["metadata"]["namespace"] = ground.namespace.as_str().into();
            for (key, more) in [("labels", &self.labels), ("annotations", &self.annotations)] {
                for (name, value) in more.as_object().expect("a map") {
                    object["metadata"][key][name] = value.clone();
                }
            }
            if self.last_applied {
                let last = object.to_string() + "\n";
                object["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] = last.into();
            }
            if self.applies {
                ground.apply(self.manager, &object);
                continue;
            }
            let at = if object["kind"] == "ConfigMap" {
                ground.at("api/v1", "configmaps", "")
            } else {
                ground.at("apis/apps/v1", "deployments", "")
            };
            let path = format!("{}?fieldManager={}", at.trim_end_matches('/'), self.manager);
            ground.request("POST", &path, "application/json", Some(&object)).expect("made");
            if self.manager.is_empty() {
                let nobody = json!({ "metadata": { "managedFields": [{}] } });
                ground.edit(&format!("{}/{}", at.trim_end_matches('/'), self.name), "test", &nobody);
            }
        }
    }
}

/// What the cluster rolled out, by uid, once it has seen all there is to see.
fn settled(ground: &Ground, tools: &[Tool]) -> Vec<String> {
    let seen = |tool: &Tool| {
        let [deployment, _] = tool.live(ground);
        deployment["status"]["observedGeneration"] == deployment["metadata"]["generation"]
    };
    let sets = || ground.get(&format!("/apis/apps/v1/namespaces/{}/replicasets", ground.namespace)).expect("a list")["items"].clone();
    until("the cluster has seen all", || tools.iter().all(seen) && sets().as_array().is_some_and(|sets| sets.len() >= tools.len()));
    let mut uids: Vec<String> = sets().as_array().into_iter().flatten().map(|set| set["metadata"]["uid"].to_string()).collect();
    uids.sort();
    uids
}

#[test]
fn what_kubectl_argo_cd_helm_and_flux_made_is_adopted_without_a_restart_and_follows_the_repository_from_then_on() {
    let ground = Ground::new("adopting");
    let tools = tools(&ground.namespace);
    tools.iter().for_each(|tool| tool.makes(&ground));
    ground.configure(&tools.each_ref().map(|tool| (tool.name, "")));
    tools.iter().for_each(|tool| ground.write(&format!("{}/all.yaml", tool.name), &tool.desired()));
    let before = tools.each_ref().map(|tool| tool.live(&ground));
    let rolled_out = settled(&ground, &tools);
    let adopts = |line: &String| line.starts_with("adopt ");
    let plan = ground.plan();
    assert!(plan.len() == 2 * tools.len() && plan.iter().all(adopts), "{plan:?}");
    ground.run(&["apply", "--no-wait"], 0);
    assert_eq!(ground.plan(), Vec::<String>::new());
    for (tool, before) in tools.iter().zip(&before) {
        let after = tool.live(&ground);
        for (before, after) in before.iter().zip(&after) {
            for key in ["uid", "labels"] {
                assert_eq!(before["metadata"][key], after["metadata"][key], "{}", tool.name);
            }
            assert_eq!((&before["spec"], &before["data"]), (&after["spec"], &after["data"]), "{}", tool.name);
            let annotations = after["metadata"]["annotations"].as_object().expect("annotations");
            assert!(annotations.contains_key("trued.dev/stack"), "{}: it carries our mark", tool.name);
            let theirs = before["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
            assert!(theirs.iter().all(|(key, value)| annotations.get(key) == Some(value)), "{}", tool.name);
        }
    }
    assert_eq!(settled(&ground, &tools), rolled_out, "nothing was rolled out");
    // A field that leaves the repository leaves the object, and one that changes is no conflict, though the other tool made it.
    for tool in &tools {
        let less = [", team: shop", ", env: [{ name: COLOUR, value: red }]", ", size: \"1\""];
        let text = less.iter().fold(tool.desired(), |text, field| text.replace(field, "")).replace("colour: red", "colour: blue");
        ground.write(&format!("{}/all.yaml", tool.name), &text);
    }
    ground.run(&["apply", "--no-wait"], 0);
    for tool in &tools {
        let [deployment, config] = tool.live(&ground);
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        let left = (&deployment["metadata"]["labels"]["team"], &container["env"], &config["data"]);
        assert_eq!(left, (&Value::Null, &Value::Null, &json!({ "colour": "blue" })), "{}", tool.name);
    }
    assert_eq!(ground.plan(), Vec::<String>::new());
    ground.run(&["verify"], 0);
}
