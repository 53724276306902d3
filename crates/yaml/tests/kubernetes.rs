//! Fault 20: plain values mean what they mean to Kubernetes. `kubernetes.jsonl` was written by `YAMLToJSON` of
//! `sigs.k8s.io/yaml` 1.6.0, one text and its value a line.

use serde_json::Value;
use trued_yaml::{Budget, read};

#[test]
fn fault_20_values_are_those_of_the_kubernetes_decoder() {
    let mut wrong = Vec::new();
    for line in include_str!("kubernetes.jsonl").lines() {
        let row: Value = serde_json::from_str(line).expect("the fixture is JSON");
        let text = row["yaml"].as_str().expect("the fixture has a text");
        let expected = row.get("json");
        let found = read("t.yaml", text, &Budget::default()).ok().map(|node| node.to_json());
        if found.as_ref() != expected {
            wrong.push(format!("{text:?}: expected {expected:?}, found {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn fault_20_where_kubernetes_is_ambiguous_we_refuse() {
    // The decoder lets `<<` win over what stands above it, the specification does not.
    let refused = read("t.yaml", "a: &x {b: 1}\nc: {b: 2, <<: *x}\n", &Budget::default()).expect_err("two readings");
    expect_test::expect!["t.yaml:2:11: `<<` brings `b`, which already stands above it; write `<<` first, and what differs below it"]
        .assert_eq(&refused.findings[0].to_string());
    // It drops tags it does not know; the value then means something its writer did not say.
    let refused = read("t.yaml", "x: !vault abc\n", &Budget::default()).expect_err("a foreign tag");
    expect_test::expect!["t.yaml:1:11: the tag `!vault` has no meaning here; remove it"].assert_eq(&refused.findings[0].to_string());
}
