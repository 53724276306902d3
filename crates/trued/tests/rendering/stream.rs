//! `trued render` of a stack whose target is a cluster: one stream of YAML, with the objects that the programs themselves give.

use crate::kit::{Site, canonical, program};

/// What `trued render` shows of a site whose stack renders like this, and whose target is a cluster.
fn shown(site: &Site, tool: &str, render: &str) -> String {
    let (tool, cluster) = (program(tool).display().to_string(), program("kubeconfig").display().to_string());
    let text = format!(
        "sandbox: {{ tools: [{tool}] }}\nstacks:\n  shop:\n    render: {render}\n    into: shop\n    target: {{ kubernetes: {{ kubeconfig: \
         \"{cluster}\" }} }}\n"
    );
    site.write("trued.yaml", &text);
    let (status, said) = site.said(&["render", "shop"]);
    assert_eq!(status, Some(0), "{said}");
    said
}

#[test]
fn objects_of_kustomize_for_a_cluster_are_shown_as_one_stream() {
    let render = "{ kustomize: { path: deploy } }";
    let site = Site::new(render, &["kustomize"]);
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
    let said = shown(&site, "kustomize", render);
    let by_hand = site.by_hand("kustomize", &["build", "deploy"]);
    assert_eq!(canonical(&said), canonical(&by_hand), "{said}");
    assert!(said.starts_with("---\napiVersion: apps/v1\nkind: Deployment\n") && said.contains("\n---\n"), "{said}");
}

const RUN: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata: { name: {{ .Release.Name }}-web, namespace: {{ .Release.Namespace }} }
spec:
  replicas: {{ .Values.replicas }}
  selector: { matchLabels: { app: web } }
  template: { metadata: { labels: { app: web } }, spec: { containers: [{ name: web, image: \"shop:{{ .Chart.AppVersion }}\", args: [] }] } }
---
{{- range $n := until 2 }}
apiVersion: v1
kind: Service
metadata: { name: web-{{ $n }}, namespace: shop }
spec: { selector: { app: web }, ports: [{ port: {{ add 80 $n }} }] }
---
{{- end }}
";

/// What is easily read as something else: numbers, switches and times as text, empty maps, blocks of text.
const TRICKY: &str = "\
apiVersion: v1
kind: ConfigMap
metadata: { name: tricky, namespace: shop, labels: {} }
data:
  mode: \"0777\"
  on: \"off\"
  at: \"2026-11-22\"
  script: |
    a
      b

  folded: >-
    a
    b
";

const HOOK: &str = "\
apiVersion: batch/v1
kind: Job
metadata: { name: migrate, namespace: shop, annotations: { \"helm.sh/hook\": pre-upgrade, \"helm.sh/hook-weight\": \"-5\" } }
spec: { template: { spec: { restartPolicy: Never, containers: [{ name: migrate, image: \"shop:1\" }] } } }
";

const TEST: &str = "\
apiVersion: v1
kind: Pod
metadata: { name: probe, annotations: { \"helm.sh/hook\": test } }
spec: { containers: [{ name: probe, image: \"shop:1\" }] }
";

const DEFINITION: &str = "\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: { name: shops.example.com }
spec:
  group: example.com
  scope: Namespaced
  names: { plural: shops, singular: shop, kind: Shop, listKind: ShopList }
  versions: [{ name: v1, served: true, storage: true, schema: { openAPIV3Schema: { type: object } } }]
";

#[test]
fn objects_of_helm_for_a_cluster_are_shown_as_one_stream() {
    let render = "{ helm: { path: apps, chart: chart, name: web, namespace: shop, values_files: [prod.yaml], values: { colour: red } } }";
    let site = Site::new(render, &["helm"]);
    let chart = [
        ("Chart.yaml", "apiVersion: v2\nname: shop\nversion: 1.2.3\nappVersion: \"7.10\"\n"),
        ("values.yaml", "replicas: 1\n"),
        ("templates/run.yaml", RUN),
        ("templates/tricky.yaml", TRICKY),
        ("templates/migrate.yaml", HOOK),
        ("templates/tests/probe.yaml", TEST),
        ("templates/NOTES.txt", "Thank you.\n"),
        ("crds/shops.yaml", DEFINITION),
    ];
    chart.iter().for_each(|(file, text)| site.write(&format!("apps/chart/{file}"), text));
    site.write("apps/prod.yaml", "replicas: 0\n");
    let said = shown(&site, "helm", render);
    let options = ["-n", "shop", "-f", "apps/prod.yaml", "--set", "colour=red", "--include-crds", "--skip-tests"];
    let by_hand = site.by_hand("helm", &[&["template", "web", "apps/chart"], &options[..]].concat());
    assert_eq!(canonical(&said), canonical(&by_hand), "{said}");
    assert_eq!(canonical(&said).len(), 6, "definitions and hooks are among them, tests are not: {said}");
}
