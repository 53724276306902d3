//! `chain`: what one renderer makes is a file for the next one.

use crate::kit::{Site, canonical};

const CHAIN: &str = "{ chain: { path: deploy, steps: [{ helm: { chart: chart, name: web, values: { colour: red } } }, { kustomize: { overlay: over } }] } }";

fn site() -> Site {
    let site = Site::new(CHAIN, &["helm", "kustomize"]);
    site.write("deploy/chart/Chart.yaml", "apiVersion: v2\nname: shop\nversion: 1.2.3\n");
    let object = |name: &str| {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: {name} }}\ndata: {{ colour: {{{{ .Values.colour }}}} }}\n")
    };
    site.write("deploy/chart/templates/one.yaml", &object("one"));
    site.write("deploy/chart/templates/two.yaml", &object("two"));
    site.write("deploy/over/kustomization.yaml", "namespace: shop\nresources: [rendered.yaml]\n");
    site
}

#[test]
fn an_overlay_over_a_chart_gives_what_both_give_by_hand() {
    let site = site();
    site.applied();
    let chart = site.by_hand("helm", &["template", "web", "deploy/chart", "--set", "colour=red"]);
    assert_eq!(site.renders(), 1);
    let names: Vec<_> = site.tools().into_iter().map(|(name, ..)| name).collect();
    assert_eq!(names, ["helm", "kustomize"]);
    site.applied();
    assert_eq!(site.renders(), 0, "the same inputs were rendered again");
    site.write("by-hand/kustomization.yaml", "namespace: shop\nresources: [rendered.yaml]\n");
    site.write("by-hand/rendered.yaml", &chart);
    assert_eq!(canonical(&site.landed()), canonical(&site.by_hand("kustomize", &["build", "by-hand"])));
    assert!(site.landed().contains("namespace: shop") && canonical(&chart).len() == 2);
}

#[test]
fn an_error_names_the_step() {
    let site = site();
    site.write("deploy/chart/templates/one.yaml", "kind: {{ fail \"no way\" }}\n");
    let said = site.refused();
    assert!(said.contains("deploy/chart/templates/one.yaml:1:9: ") && said.contains("step 1 (`helm`)"), "{said}");
    site.write("deploy/chart/templates/one.yaml", "kind: {{\n");
    assert!(site.refused().contains("step 1 (`helm`)"));
    site.write("deploy/chart/templates/one.yaml", "");
    site.write("deploy/over/kustomization.yaml", "resources: [rendered.yaml, gone.yaml]\n");
    assert!(site.refused().contains("step 2 (`kustomize`)"));
    site.write("deploy/over/rendered.yaml", "kind: Pod\n");
    let said = site.refused();
    assert!(said.contains("deploy/over/rendered.yaml:1:1: ") && said.contains("rename the file"), "{said}");
    site.configure("{ chain: { path: deploy, steps: [{ helm: { chart: chart, name: web, path: x } }, { build: {} }] } }");
    let said = site.refused();
    assert!(said.contains("trued.yaml:4:") && said.contains("`path`") && said.contains("`build`"), "{said}");
}
