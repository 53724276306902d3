//! From texts to addresses and findings.

use std::collections::BTreeMap;

use trued_doors::conformance::driver::PaperSeal;
use trued_doors::{Facts, Parsed, Reading};
use trued_model::{BlobRef, Digest, Document, Shape};

use crate::parse::parse;
use crate::served::Served;

fn document(path: &str, text: &str) -> Document {
    Document {
        path: path.to_owned(),
        shape: Shape::File { executable: false },
        identity: Digest::of(text.as_bytes()),
        content: BlobRef::of(text.as_bytes()),
        text: Some(text.into()),
    }
}

fn read(into: &str, text: &str) -> Parsed {
    let facts = Facts { terms: Served::everywhere().terms(), ..Facts::default() };
    let documents = [document("all.yaml", text)];
    parse(&Reading { facts: &facts, into, documents: &documents, ignore: &[], opened: &BTreeMap::new(), seal: &PaperSeal })
}

/// Addresses, one a line, then findings with their places.
fn check(into: &str, text: &str, expected: &[&str]) {
    let parsed = read(into, text);
    let addresses = parsed.resources.iter().map(|resource| resource.address.to_string());
    let findings = parsed.findings.iter().map(|finding| {
        let place = finding.place.as_ref().map_or(String::new(), |place| format!("{}:{}: ", place.file, place.line));
        format!("{place}{}", finding.message)
    });
    assert_eq!(addresses.chain(findings).collect::<Vec<_>>(), expected);
}

#[test]
fn objects_lie_in_the_namespace_they_name_or_the_stacks() {
    let text = "\
apiVersion: v1
kind: ConfigMap
metadata: { name: here }
---
apiVersion: v1
kind: ConfigMap
metadata: { name: there, namespace: other }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: { name: 'system:reader' }
";
    check(
        "shop",
        text,
        &["core/ConfigMap/other/there", "core/ConfigMap/shop/here", "rbac.authorization.k8s.io/ClusterRole/-/system:reader"],
    );
    check(
        "",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: a }\n",
        &["all.yaml:1: ConfigMap a names no namespace, and the stack has no `into`"],
    );
    check("No", "", &["`into: No` is no namespace"]);
    let inside = "apiVersion: v1\nkind: Namespace\nmetadata: { name: a, namespace: b }\n";
    check("", inside, &["all.yaml:1: Namespace a lies in no namespace, and names b"]);
}

#[test]
fn a_definition_among_the_objects_tells_where_its_kind_lies() {
    let text = "\
apiVersion: example.org/v1
kind: Gadget
metadata: { name: one }
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: { name: gadgets.example.org }
spec: { group: example.org, scope: Cluster, names: { plural: gadgets, kind: Gadget }, versions: [{ name: v1, served: true }] }
";
    check("shop", text, &["apiextensions.k8s.io/CustomResourceDefinition/-/gadgets.example.org", "example.org/Gadget/-/one"]);
}

#[test]
fn fault_27_what_cannot_be_an_object_is_a_finding_with_its_place_and_all_are_told() {
    let text = "\
apiVersion: v1
kind: ConfigMap
metadata: {}
---
just text
---
apiVersion: batch/v1
kind: Job
metadata: { name: hook, annotations: { helm.sh/hook: pre-instal } }
---
apiVersion: batch/v1
kind: Unheard
metadata: { name: x }
";
    let expected = [
        "all.yaml:5: this is no object: it has no `apiVersion` or no `kind`",
        "all.yaml:1: this ConfigMap has no name",
        "all.yaml:7: batch/Job/shop/hook: `pre-instal` is no hook that Helm knows",
        "all.yaml:11: the cluster serves no kind batch/Unheard, which x is of",
    ];
    check("shop", text, &expected);
}

#[test]
fn what_is_of_a_kind_that_somebody_may_bring_is_deferred() {
    let text = "apiVersion: example.org/v1\nkind: Gadget\nmetadata: { name: one }\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: { name: two }\n";
    let parsed = read("shop", text);
    assert!(parsed.findings.is_empty(), "{:?}", parsed.findings);
    let deferred: Vec<_> = parsed.deferred.iter().map(|(address, deferred)| format!("{address}: {}", deferred.why)).collect();
    assert_eq!(deferred, ["example.org/Gadget/shop/one: the cluster serves no kind example.org/Gadget yet"]);
    let addresses: Vec<_> = parsed.resources.iter().map(|resource| resource.address.as_str()).collect();
    assert_eq!(addresses, ["core/ConfigMap/shop/two", "example.org/Gadget/shop/one"]);
}

#[test]
fn the_same_object_written_otherwise_is_the_same() {
    let one = read("shop", "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: a, creationTimestamp: null }\ndata: { b: '1', c: '2' }\n");
    let other = read(
        "shop",
        r#"{ "kind": "ConfigMap", "apiVersion": "v1", "data": { "c": "2", "b": "1" }, "metadata": { "namespace": "shop", "name": "a" } }"#,
    );
    assert_eq!(one.resources[0].fingerprint, other.resources[0].fingerprint);
    assert_eq!(one.resources[0].content, other.resources[0].content);
    assert!(one.made.contains_key(&one.resources[0].content.unwrap().digest));
}

#[test]
fn a_secret_is_sealed_and_its_fingerprint_is_keyed() {
    let parsed = read("shop", "apiVersion: v1\nkind: Secret\nmetadata: { name: a }\nstringData: { password: hunter2 }\n");
    let resource = &parsed.resources[0];
    assert!(resource.fingerprint.as_str().starts_with("1:object:keyed:"));
    let content = resource.content.unwrap();
    assert!(content.sealed);
    let stored = &parsed.made[&content.digest];
    assert!(!stored.windows(7).any(|window| window == b"hunter2" || window == b"aHVudGV"));
}

#[test]
fn a_kind_that_no_cluster_can_be_asked_about_is_not_guessed() {
    let text = "apiVersion: example.org/v1\nkind: Gadget\nmetadata: { name: one, namespace: shop }\n";
    let (facts, documents) = (Facts::default(), [document("all.yaml", text)]);
    let parsed =
        parse(&Reading { facts: &facts, into: "shop", documents: &documents, ignore: &[], opened: &BTreeMap::new(), seal: &PaperSeal });
    assert_eq!((parsed.resources.len(), parsed.findings.len()), (0, 1));
    assert!(parsed.findings[0].message.contains("no cluster can be asked"), "{:?}", parsed.findings);
}

#[test]
fn fault_87_what_no_address_can_hold_and_what_can_carry_no_mark_is_a_finding() {
    let text = "\
apiVersion: x.example/v1
kind: a/b
metadata: { name: one }
---
apiVersion: x.example/v1
kind: \"A\\e[2J\"
metadata: { name: one }
---
apiVersion: core/v1
kind: ConfigMap
metadata: { name: one }
---
apiVersion: v1
kind: ConfigMap
metadata: { name: one, annotations: text }
---
apiVersion: v1
kind: ConfigMap
metadata: { name: two, annotations: null }
";
    check(
        "shop",
        text,
        &[
            "core/ConfigMap/shop/two",
            "all.yaml:1: \"a/b\" of the group \"x.example\" is no kind of object",
            "all.yaml:5: \"A\\u{1b}[2J\" of the group \"x.example\" is no kind of object",
            "all.yaml:9: \"ConfigMap\" of the group \"core\" is no kind of object",
            "all.yaml:13: `metadata.annotations` is no map",
        ],
    );
}
