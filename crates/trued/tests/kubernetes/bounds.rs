//! What the operator lets an app manage of a cluster: nothing else is asked about, planned or written, in whatever it is wrapped.

use serde_json::json;

use crate::cluster::{Ground, until};

const BOUNDED: &str = "targets:
  cluster:
    kubernetes: { kubeconfig: KUBECONFIG, context: admin, impersonate: NAMESPACE/trued }
    allow:
      - { apps: [\"apps/shop\"], manage: [\"*/*/NAMESPACE/*\", \"core/Namespace/-/NAMESPACE-more\"] }
environments: { prod: {} }
apps: [\"apps/*/app.yaml\"]
";

const APP: &str = "app: shop
stacks:
  prod: { render: { plain: { path: manifests } }, target: cluster, into: NAMESPACE }
";

fn config(namespace: &str, name: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: {name}, namespace: {namespace} }}\ndata: {{ k: v }}\n")
}

#[test]
fn fault_28_what_is_out_of_bounds_is_denied_in_lists_and_hooks_and_of_kinds_that_lie_in_no_namespace() {
    let ground = Ground::new("f28");
    ground.write("trued.yaml", &BOUNDED.replace("KUBECONFIG", ground.kubeconfig()));
    ground.write("apps/shop/app.yaml", APP);
    ground.write("apps/shop/manifests/own.yaml", &config("NAMESPACE", "own"));
    ground.run(&["apply"], 0);

    let role = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: { name: NAMESPACE }\nrules: []\n";
    let hook = config("kube-system", "hook").replace("metadata: { ", "metadata: { annotations: { helm.sh/hook: post-install }, ");
    let inner = r#"{ "apiVersion": "v1", "kind": "ConfigMapList", "items": [{ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "stolen", "namespace": "default" }, "data": {} }] }"#;
    let list = format!(r#"{{ "apiVersion": "v1", "kind": "List", "items": [{inner}] }}"#);
    ground.write("apps/shop/manifests/role.yaml", role);
    ground.write("apps/shop/manifests/hook.yaml", &hook);
    ground.write("apps/shop/manifests/list.json", &list);
    ground.write("apps/shop/manifests/own.yaml", &config("NAMESPACE", "own").replace("k: v", "k: newer"));
    let space = "apiVersion: v1\nkind: Namespace\nmetadata: { name: NAMESPACE-less }\n";
    ground.write("apps/shop/manifests/space.yaml", space);
    let before = ground.requests().len();
    let said = ground.run(&["apply"], 2);
    for (file, address) in [
        ("role.yaml:1:1", "rbac.authorization.k8s.io/ClusterRole/-/NAMESPACE"),
        ("hook.yaml:1:1", "core/ConfigMap/kube-system/hook"),
        ("list.json:1:", "core/ConfigMap/default/stolen"),
        ("space.yaml:1:1", "core/Namespace/-/NAMESPACE-less"),
    ] {
        let finding = format!("{} is not this stack's to manage", address.replace("NAMESPACE", &ground.namespace));
        assert!(said.lines().any(|line| line.contains(file) && line.contains(&finding)), "{file} {finding}: {said}");
    }
    assert_eq!(ground.writes(), 1, "nothing was written, what is in bounds neither");
    let asked = ground.requests().split_off(before);
    assert!(asked.iter().all(|request| !request.contains("clusterroles") && !request.contains("namespaces")), "{asked:?}");

    for file in ["role.yaml", "hook.yaml", "list.json", "space.yaml"] {
        std::fs::remove_file(ground.path(&format!("apps/shop/manifests/{file}"))).expect("removed");
    }
    ground.write("apps/shop/manifests/space.yaml", &space.replace("-less", "-more"));
    ground.run(&["apply"], 0);
    assert_eq!(ground.plan(), Vec::<String>::new());
    ground.delete(&format!("/api/v1/namespaces/{}-more", ground.namespace));
}

#[test]
fn fault_28_a_kind_that_is_known_only_later_is_denied_once_its_place_is_known() {
    let ground = Ground::new("f28-late");
    let group = format!("{}.example.org", ground.namespace);
    let definition = json!({ "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": { "name": format!("realms.{group}") },
        "spec": { "group": group, "scope": "Cluster", "names": { "plural": "realms", "kind": "Realm" },
            "versions": [{ "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema": { "type": "object" } } }] } });
    ground.write("trued.yaml", &BOUNDED.replace("KUBECONFIG", ground.kubeconfig()));
    ground.write("apps/shop/app.yaml", APP);
    // As long as nobody knows the kind, it is taken to lie in a namespace, and that one is in bounds.
    ground.write("apps/shop/manifests/realm.yaml", &format!("apiVersion: {group}/v1\nkind: Realm\nmetadata: {{ name: whole }}\n"));
    assert_eq!(ground.plan(), ["held create NAMESPACE.example.org/Realm/NAMESPACE/whole"]);
    ground.apply("test", &definition);
    let path = format!("/apis/{group}/v1/realms");
    until("the kind is served", || ground.status("GET", &path, &json!({})) == 200);
    let said = ground.run(&["apply"], 2);
    assert!(said.contains(&format!("{group}/Realm/-/whole is not this stack's to manage")), "{said}");
    assert!(ground.get(&format!("{path}/whole")).is_none());
    ground.delete(&format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/realms.{group}"));
}
