//! `jsonnet`: what a program evaluates to, as a stream of objects.

use std::fs;

use crate::kit::{Site, canonical};

const MAIN: &str = "\
local shop = import 'shop.libsonnet';
[shop.map(std.extVar('colour')), { apiVersion: 'v1', kind: 'Service', metadata: { name: 'web' }, spec: { ports: std.extVar('ports') } }]
";

fn site(more: &str) -> Site {
    let site = Site::new(
        &format!("{{ jsonnet: {{ path: deploy, libraries: [vendor], vars: {{ colour: red, ports: [1, 2]{more} }} }} }}"),
        &["jsonnet"],
    );
    site.write("deploy/main.jsonnet", MAIN);
    site.write("deploy/vendor/shop.libsonnet", "{ map(colour): { apiVersion: 'v1', kind: 'ConfigMap', data: { colour: colour } } }\n");
    site
}

#[test]
fn the_objects_are_those_of_jsonnet_and_rendered_once() {
    let site = site("");
    site.applied();
    let words = ["-y", "-J", "deploy/vendor", "--ext-str", "colour=red", "--ext-code", "ports=[1,2]", "deploy/main.jsonnet"];
    let by_hand = site.by_hand("jsonnet", &words);
    assert_eq!(fs::read_to_string(site.path("www/rendered.yaml")).unwrap(), by_hand);
    assert_eq!(canonical(&by_hand).len(), 2);
    site.applied();
    assert_eq!(site.renders(), 0, "the same inputs were rendered again");
    assert!(matches!(&site.tools()[..], [(name, version, _)] if name == "jsonnet" && version == "v0.22.0"), "{:?}", site.tools());
    // One object is a list of one.
    site.write("deploy/main.jsonnet", "{ kind: 'Namespace', n: 12345678901234567890 }");
    site.applied();
    assert_eq!(canonical(&site.landed()).len(), 1);
}

#[test]
fn an_error_of_jsonnet_is_a_finding_at_the_line_that_caused_it() {
    let site = site("");
    site.write("deploy/main.jsonnet", "{\n  a: std.extVar('other'),\n}\n");
    let said = site.refused();
    assert!(said.contains("deploy/main.jsonnet:2:6: ") && said.contains("Undefined external variable: other"), "{said}");
    site.write("deploy/main.jsonnet", "{ a: \n");
    assert!(site.refused().contains("deploy/main.jsonnet:2:1: "));
    site.write("deploy/main.jsonnet", "local a(x) = a(x + 1) + 1; a(1)");
    assert!(site.refused().contains("deploy/main.jsonnet:1:"));
    site.configure("{ jsonnet: { path: deploy, main: other.jsonnet, libraries: [none] } }");
    let said = site.refused();
    assert!(said.contains("`main: other.jsonnet` does not exist in `deploy`") && said.contains("`libraries: none`"), "{said}");
}

#[test]
fn fault_24_imports_read_nothing_beside_the_source() {
    let site = site("");
    site.write("secret", "canary-7731\n");
    let secret = site.path("secret");
    for file in [secret.to_str().unwrap(), "../secret", "/proc/1/environ", "/root/.ssh/id_ed25519"] {
        site.write("deploy/main.jsonnet", &format!("{{ a: importstr '{file}' }}"));
        let (_, said) = site.said(&["apply"]);
        assert!(!said.contains("canary"), "{said}");
        assert!(!site.path("www").exists() || !site.landed().contains("canary"), "{file} was read");
    }
}

#[test]
fn fault_24_no_secret_is_given_to_a_program_of_others() {
    let site = site(", token: { secret: token }");
    let text = fs::read_to_string(site.path("trued.yaml")).unwrap();
    site.write("token", "canary-7731");
    fs::set_permissions(site.path("token"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    site.write("trued.yaml", &format!("secrets: {{ token: {{ file: token }} }}\n{text}"));
    let said = site.refused();
    assert!(said.contains("`token` is a secret, and a program of others is given none"), "{said}");
}
