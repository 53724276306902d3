//! `kustomize`: the same objects as by hand, and nothing that fetches or starts anything.

use std::fs;
use std::os::unix::fs::symlink;

use crate::kit::{Site, canonical, program};

fn site() -> Site {
    let site = Site::new("{ kustomize: { path: deploy, overlay: overlays/prod } }", &["kustomize"]);
    site.write(
        "deploy/base/web.yaml",
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: { name: web }\nspec:\n  replicas: 1\n  template: { spec: { containers: [{ name: web, \
         image: shop }] } }\n",
    );
    site.write("deploy/base/kustomization.yaml", "resources: [web.yaml]\nconfigMapGenerator: [{ name: words, literals: [a=b, on=off] }]\n");
    site.write(
        "deploy/overlays/prod/kustomization.yaml",
        "namespace: shop\nnamePrefix: prod-\nresources: [../../base]\nimages: [{ name: shop, newTag: \"2\" }]\n",
    );
    site
}

#[test]
fn the_objects_are_those_of_kustomize_build_and_rendered_once() {
    let site = site();
    site.applied();
    let by_hand = site.by_hand("kustomize", &["build", "deploy/overlays/prod"]);
    assert_eq!(fs::read_to_string(site.path("www/rendered.yaml")).unwrap(), by_hand);
    assert_eq!(canonical(&site.landed()), canonical(&by_hand));
    assert!(by_hand.contains("prod-web") && canonical(&by_hand).len() == 2, "{by_hand}");
    assert_eq!(site.renders(), 1);
    site.applied();
    assert_eq!(site.renders(), 0, "the same inputs were rendered again");
    // The record names what made it.
    let digest = trued_model::Digest::of(&fs::read(program("kustomize")).unwrap()).to_string();
    assert_eq!(site.tools(), [("kustomize".to_owned(), "v5.8.2".to_owned(), digest)]);
    // A base that is no part of this overlay is an input all the same: the whole folder is.
    site.write("deploy/base/web.yaml", "apiVersion: v1\nkind: Service\nmetadata: { name: web }\n");
    site.applied();
    assert_eq!(site.renders(), 1);
    assert!(site.landed().contains("kind: Service"));
}

#[test]
fn an_error_of_kustomize_is_a_finding_at_the_kustomization_that_causes_it() {
    let site = site();
    site.write("deploy/base/kustomization.yaml", "resources:\n- web.yaml\n- gone.yaml\n");
    let said = site.refused();
    assert!(said.contains("deploy/base/kustomization.yaml:3:3: ") && said.contains("`kustomize` ended with status 1"), "{said}");
    assert!(!said.contains("trued-source") && !said.contains("/build"), "{said}");
    site.configure("{ kustomize: { path: deploy, overlay: overlays/test } }");
    assert!(site.refused().contains("`overlay: overlays/test` does not exist in `deploy`"));
    site.configure("{ kustomize: { path: deploy, overlay: ../deploy } }");
    assert!(site.refused().contains("leads out of `deploy`"));
    site.configure("{ kustomize: { path: deploy } }");
    assert!(site.refused().contains("`deploy` holds no kustomization.yaml"));
}

#[test]
fn fault_23_a_remote_base_is_refused_by_name() {
    let site = site();
    let remote = "resources:\n- ../../base\n- https://example.com/shop//base?ref=v1\n";
    site.write("deploy/overlays/prod/kustomization.yaml", remote);
    let said = site.refused();
    assert!(said.contains("deploy/overlays/prod/kustomization.yaml:3:3: "), "{said}");
    assert!(said.contains("bases are read from this source alone"), "{said}");
    // Not even a repository that lies on this machine, and that Git could read.
    let other = site.path("other");
    fs::create_dir(&other).unwrap();
    site.write("other/kustomization.yaml", "namePrefix: other-\n");
    let git = |words: &[&str]| {
        let identity = ["-c", "user.name=a", "-c", "user.email=a@example.com"];
        assert!(std::process::Command::new("git").current_dir(&other).args(identity).args(words).output().unwrap().status.success());
    };
    git(&["init", "-q"]);
    git(&["add", "."]);
    git(&["commit", "-qm", "one"]);
    site.write("deploy/overlays/prod/kustomization.yaml", &format!("resources:\n- file://{}\n", other.display()));
    assert!(site.refused().contains("bases are read from this source alone"));
}

#[test]
fn fault_23_plugins_and_charts_of_a_kustomization_start_nothing() {
    let site = site();
    let marker = site.trap("deploy/overlays/prod/x.sh");
    let overlay = |text: &str| site.write("deploy/overlays/prod/kustomization.yaml", text);
    let function = |how: &str| {
        let text = format!(
            "apiVersion: shop.example.com/v1\nkind: Mark\nmetadata:\n  name: mark\n  annotations:\n    config.kubernetes.io/function: |\n      {how}\n"
        );
        site.write("deploy/overlays/prod/mark.yaml", &text);
    };
    for how in ["exec: { path: ./x.sh }", "container: { image: shop }", "starlark: { path: x.star }"] {
        function(how);
        for list in ["generators", "transformers", "validators"] {
            overlay(&format!("resources: [../../base]\n{list}: [mark.yaml]\n"));
            let said = site.refused();
            assert!(said.contains("plugins are programs of the source and are not run"), "{how} {list}: {said}");
        }
    }
    overlay("helmCharts: [{ name: shop, repo: \"https://example.com\", releaseName: \"--post-renderer=./x.sh\" }]\n");
    let said = site.refused();
    assert!(said.contains("a chart is rendered by the renderer `helm`"), "{said}");
    overlay("helmGlobals: { chartHome: . }\nhelmCharts: [{ name: shop, releaseName: \"--post-renderer=./x.sh\" }]\n");
    let said = site.refused();
    assert!(said.contains("a chart is rendered by the renderer `helm`"), "{said}");
    assert!(!marker.exists(), "a program of the source has run");
}

#[test]
fn fault_24_files_beside_the_source_and_of_this_machine_are_not_read() {
    let site = site();
    site.write("secret", "canary-7731\n");
    let secret = site.path("secret");
    let overlay = |file: &str| {
        let text = format!("resources: [../../base]\nconfigMapGenerator: [{{ name: c, files: [\"{file}\"] }}]\n");
        site.write("deploy/overlays/prod/kustomization.yaml", &text);
        site.said(&["apply"])
    };
    for file in [secret.to_str().unwrap(), "../../../secret", "/proc/self/environ", "/etc/passwd"] {
        let (status, said) = overlay(file);
        assert_eq!(status, Some(2), "{file}: {said}");
        let why = if file.starts_with("/etc") || file.starts_with("/proc") { "reads files from its own folder" } else { "no such file" };
        assert!(said.contains(why) && !said.contains("canary"), "{file}: {said}");
    }
    symlink(&secret, site.path("deploy/overlays/prod/link")).unwrap();
    let (status, said) = overlay("link");
    assert_eq!(status, Some(2), "{said}");
    assert!(!said.contains("canary"), "{said}");
}

#[test]
fn a_program_that_is_not_there_is_named_with_where_it_may_be() {
    let site = site();
    let stack = "stacks:\n  shop:\n    render: { kustomize: { path: deploy } }\n    target: { files: { root: www, create: true } }\n";
    site.write("trued.yaml", stack);
    let (status, said) = site.said(&["plan"]);
    if status == Some(2) {
        assert!(said.contains("start `kustomize`: there is no such program") && said.contains("sandbox: { tools: … }"), "{said}");
    }
}
