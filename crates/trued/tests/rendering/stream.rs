//! `trued render` of a stack whose target is a cluster: one stream of YAML, with the objects that the program itself gives.

use crate::kit::{Site, canonical, program};

#[test]
fn objects_for_a_cluster_are_shown_as_one_stream() {
    let site = Site::new("{ kustomize: { path: deploy } }", &["kustomize"]);
    let kustomize = program("kustomize").display().to_string();
    let cluster = program("kubeconfig").display().to_string();
    let text = format!(
        "sandbox: {{ tools: [{kustomize}] }}\nstacks:\n  shop:\n    render: {{ kustomize: {{ path: deploy }} }}\n    into: shop\n    target: {{ \
         kubernetes: {{ kubeconfig: \"{cluster}\" }} }}\n"
    );
    site.write("trued.yaml", &text);
    site.write(
        "deploy/kustomization.yaml",
        "namespace: shop\nresources: [web.yaml]\nconfigMapGenerator: [{ name: words, literals: [\"script=a\\nb\\n\", on=\"off\"] }]\n",
    );
    site.write(
        "deploy/web.yaml",
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: { name: web, annotations: { port: \"0777\" } }\nspec:\n  replicas: 0\n  selector: { \
         matchLabels: { app: web } }\n  template:\n    metadata: { labels: { app: web } }\n    spec: { containers: [{ name: web, image: \
         \"shop:1\", args: [] }] }\n",
    );
    let (status, said) = site.said(&["render", "shop"]);
    assert_eq!(status, Some(0), "{said}");
    let by_hand = site.by_hand("kustomize", &["build", "deploy"]);
    assert_eq!(canonical(&said), canonical(&by_hand), "{said}");
    assert!(said.starts_with("---\napiVersion: apps/v1\nkind: Deployment\n") && said.contains("\n---\n"), "{said}");
}
