//! `helm`: the same objects as `helm template` gives, and nothing that asks a cluster, fetches or starts anything.

use std::fs;
use std::os::unix::fs::symlink;

use crate::kit::{Site, canonical, program};

const DEPLOYMENT: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata: { name: {{ .Release.Name }}-web, namespace: {{ .Release.Namespace }} }
spec: { replicas: {{ .Values.replicas }}, paused: {{ .Values.paused }} }
---
apiVersion: v1
kind: ConfigMap
metadata: { name: words }
data: { colour: {{ required \"a colour is needed\" .Values.colour | quote }} }
";

const HOOK: &str = "\
apiVersion: batch/v1
kind: Job
metadata: { name: migrate, annotations: { \"helm.sh/hook\": pre-upgrade, \"helm.sh/hook-delete-policy\": hook-succeeded } }
";

const TEST: &str = "apiVersion: v1\nkind: Pod\nmetadata: { name: probe, annotations: { \"helm.sh/hook\": test } }\n";

const CRD: &str = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: { name: shops.example.com }\n";

fn chart(site: &Site, folder: &str) {
    site.write(&format!("{folder}/Chart.yaml"), "apiVersion: v2\nname: shop\nversion: 1.2.3\n");
    site.write(&format!("{folder}/values.yaml"), "replicas: 1\npaused: no\n");
    site.write(&format!("{folder}/templates/web.yaml"), DEPLOYMENT);
    site.write(&format!("{folder}/templates/migrate.yaml"), HOOK);
    site.write(&format!("{folder}/templates/tests/probe.yaml"), TEST);
    site.write(&format!("{folder}/templates/NOTES.txt"), "Thank you.\n");
    site.write(&format!("{folder}/crds/shops.yaml"), CRD);
}

fn site(more: &str) -> Site {
    let site = Site::new(&settings(more), &["helm"]);
    chart(&site, "apps/chart");
    site.write("apps/prod.yaml", "colour: red\nreplicas: 2\n");
    site
}

fn settings(more: &str) -> String {
    format!("{{ helm: {{ path: apps, chart: chart, name: web, namespace: shop, values_files: [prod.yaml]{more} }} }}")
}

#[test]
fn the_objects_are_those_of_helm_template_and_rendered_once() {
    let site = site(", values: { replicas: 3, deep: { a: [1] } }");
    site.applied();
    let by_hand = site.by_hand(
        "helm",
        &["template", "web", "apps/chart", "-n", "shop", "-f", "apps/prod.yaml", "--set", "replicas=3", "--include-crds", "--skip-tests"],
    );
    assert_eq!(canonical(&site.landed()), canonical(&by_hand));
    // Each in a file named after its template, hooks with their annotations, tests left out.
    let web = fs::read_to_string(site.path("www/shop/templates/web.yaml")).unwrap();
    assert!(web.contains("replicas: 3") && web.contains("\"red\"") && web.contains("namespace: shop"), "{web}");
    assert!(fs::read_to_string(site.path("www/shop/templates/migrate.yaml")).unwrap().contains("helm.sh/hook-delete-policy"));
    assert!(site.path("www/shop/crds/shops.yaml").exists() && !site.path("www/shop/templates/tests").exists());
    assert_eq!(canonical(&by_hand).len(), 4);
    assert_eq!(site.renders(), 1);
    site.applied();
    assert_eq!(site.renders(), 0, "the same inputs were rendered again");
    // The record names what made it.
    let digest = trued_model::Digest::of(&fs::read(program("helm")).unwrap()).to_string();
    assert_eq!(site.tools(), [("helm".to_owned(), "v4.3.1".to_owned(), digest)]);
    // Another value is another render.
    site.configure(&settings(", values: { replicas: 4 }"));
    site.applied();
    assert!(site.renders() == 1 && site.landed().contains("replicas: 4"));
}

#[test]
fn charts_it_depends_on_are_those_that_lie_in_it() {
    let site = site("");
    let needs = "apiVersion: v2\nname: shop\nversion: 1.2.3\ndependencies: [{ name: cache, version: 0.1.0, repository: \"https://example.com\" }]\n";
    site.write("apps/chart/Chart.yaml", needs);
    let said = site.refused();
    assert!(said.contains("`cache` is declared here, and lies neither in `charts/`") && said.contains("`helm dependency build`"), "{said}");
    assert!(said.contains("apps/chart/Chart.yaml:4:16: "), "{said}");
    site.write("cache/Chart.yaml", "apiVersion: v2\nname: cache\nversion: 0.1.0\n");
    site.write("cache/templates/cache.yaml", "apiVersion: v1\nkind: Service\nmetadata: { name: {{ .Release.Name }}-cache }\n");
    site.by_hand("helm", &["package", "cache", "--destination", "apps/chart/charts"]);
    site.applied();
    assert!(fs::read_to_string(site.path("www/shop/charts/cache/templates/cache.yaml")).unwrap().contains("web-cache"));
    let by_hand =
        site.by_hand("helm", &["template", "web", "apps/chart", "-n", "shop", "-f", "apps/prod.yaml", "--include-crds", "--skip-tests"]);
    assert_eq!(canonical(&site.landed()), canonical(&by_hand));
}

#[test]
fn an_error_of_helm_is_a_finding_at_the_template_or_the_values() {
    let site = site("");
    site.write("apps/prod.yaml", "replicas: 2\n");
    let said = site.refused();
    assert!(said.contains("apps/chart/templates/web.yaml:9:19: ") && said.contains("a colour is needed"), "{said}");
    site.write("apps/chart/templates/web.yaml", "kind: {{ .Values.colour }\n");
    assert!(site.refused().contains("apps/chart/templates/web.yaml:1:1: "));
    site.write("apps/chart/templates/web.yaml", "kind: Pod\n");
    site.write("apps/prod.yaml", "a: [\n");
    let said = site.refused();
    assert!(said.contains("apps/prod.yaml:1:1: ") && !said.contains("trued-source"), "{said}");
    site.write("apps/prod.yaml", "a: 1\n");
    site.write("apps/chart/values.schema.json", "{ \"properties\": { \"a\": { \"type\": \"string\" } } }");
    let said = site.refused();
    assert!(said.contains("the chart's values.schema.json says what it takes"), "{said}");
    site.configure(&settings(", values: [1], hooks: later"));
    let said = site.refused();
    assert!(said.contains("trued.yaml:4:") && said.contains("values") && said.contains("hooks"), "{said}");
}

#[test]
fn hooks_are_kept_or_skipped_as_configured() {
    let site = site(", hooks: skip");
    site.applied();
    assert!(!site.landed().contains("migrate"), "{}", site.landed());
}

#[test]
fn a_template_that_asks_the_cluster_is_refused_by_its_place() {
    let site = site("");
    let asks =
        "{{- /* lookup is not called here */}}\n{{- $old := (lookup \"v1\" \"Secret\" .Release.Namespace \"web\") }}\nkind: Secret\n";
    site.write("apps/chart/templates/secret.yaml", asks);
    let said = site.refused();
    assert!(said.contains("apps/chart/templates/secret.yaml:2:14: ") && said.contains("`lookup: empty`"), "{said}");
    site.configure(&settings(", lookup: empty"));
    site.applied();
    assert!(site.landed().contains("kind: Secret"));
    // Also in an archive.
    fs::rename(site.path("apps/chart/templates/secret.yaml"), site.path("secret.yaml")).unwrap();
    site.write("cache/Chart.yaml", "apiVersion: v2\nname: cache\nversion: 0.1.0\n");
    site.write("cache/templates/secret.yaml", asks);
    site.by_hand("helm", &["package", "cache", "--destination", "apps/chart/charts"]);
    site.configure(&settings(""));
    let said = site.refused();
    assert!(said.contains("charts/cache-0.1.0.tgz") && said.contains("`cache/templates/secret.yaml` in this archive, line 2"), "{said}");
}

#[test]
fn fault_21_a_chart_that_does_not_end_is_ended_and_the_bound_named() {
    let site = site("");
    let text = fs::read_to_string(site.path("trued.yaml")).unwrap();
    site.write("trued.yaml", &text.replace("    target:", "    limits: { time: 2s }\n    target:"));
    let loops = "{{ range until 100000 }}{{ range until 100000 }}{{ end }}{{ end }}\n";
    site.write("apps/chart/templates/loop.yaml", loops);
    let said = site.refused();
    assert!(said.contains("`helm` did not end within 2s (`time`)") && said.contains("raise `time`"), "{said}");
}

#[test]
fn fault_23_a_name_that_looks_like_an_option_is_refused_and_starts_nothing() {
    let site = site("");
    let marker = site.trap("apps/x.sh");
    for (key, name) in [("name", "--post-renderer=./x.sh"), ("namespace", "--post-renderer=x"), ("name", "-g"), ("name", "a,b")] {
        let text = settings("").replace(&format!("{key}: {}", if key == "name" { "web" } else { "shop" }), &format!("{key}: \"{name}\""));
        site.configure(&text);
        let said = site.refused();
        assert!(said.contains(&format!("`{name}`")) || said.contains(name), "{said}");
    }
    // A chart, a file of values and a version that look like options are what they are called.
    chart(&site, "apps/--post-renderer=.");
    site.write("apps/-f=x", "colour: blue\n");
    let odd = "{ helm: { path: apps, chart: \"--post-renderer=.\", name: web, values_files: [\"-f=x\"], api_versions: [\"--post-renderer=x\"] } }";
    site.configure(odd);
    site.applied();
    assert!(site.landed().contains("blue"));
    assert!(!marker.exists() && !site.path("www/marker.yaml").exists(), "a program of the source has run");
}

#[test]
fn fault_23_links_in_a_chart_write_and_read_nothing_outside() {
    let site = site("");
    let outside = tempfile::tempdir().unwrap();
    let marker = outside.path().join("marker");
    symlink(&marker, site.path("apps/chart/Chart.lock")).unwrap();
    assert!(site.refused().contains("apps/chart/Chart.lock"), "a link that leads nowhere here");
    fs::write(&marker, "as it was").unwrap();
    site.said(&["apply"]);
    assert_eq!(fs::read_to_string(&marker).unwrap(), "as it was", "a lock was written through a link");
    fs::remove_file(site.path("apps/chart/Chart.lock")).unwrap();
    site.applied();
    fs::write(outside.path().join("secret"), "canary-7731").unwrap();
    symlink(outside.path().join("secret"), site.path("apps/chart/templates/steal.yaml")).unwrap();
    let said = site.refused();
    assert!(!said.contains("canary") && !site.landed().contains("canary"), "{said}");
}

#[test]
fn fault_24_templates_see_no_environment_and_no_files_but_their_own() {
    let site = site(", lookup: empty");
    site.write("secret", "canary-7731\n");
    let reads = "kind: ConfigMap\ndata:\n  a: {{ .Files.Get \"../../secret\" | quote }}\n  b: {{ .Files.Get \"/proc/self/environ\" | quote }}\n  \
                 c: {{ getHostByName \"example.com\" | quote }}\n";
    site.write("apps/chart/templates/steal.yaml", reads);
    site.applied();
    let stolen = fs::read_to_string(site.path("www/shop/templates/steal.yaml")).unwrap();
    assert!(stolen.contains("a: \"\"") && stolen.contains("b: \"\"") && stolen.contains("c: \"\""), "{stolen}");
    site.write("apps/chart/templates/steal.yaml", "kind: {{ env \"CANARY\" }}\n");
    assert!(site.refused().contains("function \"env\" not defined"));
}

#[test]
fn fault_25_a_chart_that_rolls_dice_is_found_by_rendering_twice() {
    let site = site("");
    site.write("apps/chart/templates/dice.yaml", "kind: Secret\nstringData: { password: {{ randAlphaNum 20 }} }\n");
    let (status, said) = site.said(&["check", "--twice"]);
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains("shop/templates/dice.yaml"), "{said}");
}
