//! Trees, places and what is said about texts that are not YAML.

use expect_test::{Expect, expect};
use proptest::prelude::*;
use trued_yaml::{Budget, Mark, Value, read, read_all};

fn check(text: &str, expect: Expect) {
    let said = match read("t.yaml", text, &Budget::default()) {
        Ok(node) => node.to_json().to_string(),
        Err(refused) => refused.findings.iter().map(|finding| format!("{finding}\n")).collect(),
    };
    expect.assert_eq(&said);
}

#[test]
fn places_of_values_and_keys() {
    let node = read("t.yaml", "a: 1\nb:\n  - x\n  - {c/d: no, \"ü~\": [1]}\n", &Budget::default()).expect("reads");
    let places = |pointer: &str| {
        let (value, key) = (node.mark_of(pointer), node.key_mark_of(pointer));
        format!("{pointer} {}:{} key {}:{}\n", value.line, value.column, key.line, key.column)
    };
    let all: String = ["", "/a", "/b", "/b/0", "/b/1", "/b/1/c~1d", "/b/1/ü~0/0", "/b/1/nothing/here", "/z"].map(places).concat();
    expect![[r#"
         1:1 key 1:1
        /a 1:4 key 1:1
        /b 3:3 key 2:1
        /b/0 3:5 key 2:1
        /b/1 4:5 key 2:1
        /b/1/c~1d 4:11 key 4:6
        /b/1/ü~0/0 4:22 key 4:15
        /b/1/nothing/here 4:5 key 2:1
        /z 1:1 key 1:1
    "#]]
    .assert_eq(&all);
    assert_eq!(node.at("/b/1/c~1d").expect("is there").spelled.as_deref(), Some("no"));
    assert_eq!(node.at("/b/1/c~1d").expect("is there").value, Value::Bool(false));
    assert!(node.at("/b/2").is_none() && node.at("/a/b").is_none());
}

#[test]
fn aliases_stand_where_they_were_written_first() {
    let node = read("t.yaml", "a: &x\n  b: 1\nc:\n  <<: *x\n  d: 2\n", &Budget::default()).expect("reads");
    assert_eq!(node.to_json(), serde_json::json!({"a": {"b": 1}, "c": {"b": 1, "d": 2}}));
    assert_eq!(node.mark_of("/c/b"), Mark { line: 2, column: 6 });
}

#[test]
fn what_is_not_yaml_has_a_place() {
    check(
        "a: { b: ${env} }\n",
        expect![[r#"
        t.yaml:1:10: this is not YAML: while parsing a flow mapping, did not find expected ',' or '}'; between brackets, put values that have `{`, `}`, `[`, `]` or `,` in them in quotes
    "#]],
    );
    check("", expect!["null"]);
    check("# nothing\n", expect!["null"]);
    check(
        "a: [1\n",
        expect![[r#"
        t.yaml:1:4: this is not YAML: unclosed bracket '['; correct the spelling here or just above; indent with spaces
    "#]],
    );
    check(
        "a: 1\n b: 2\n",
        expect![[r#"
        t.yaml:2:3: this is not YAML: mapping values are not allowed in this context; correct the spelling here or just above; indent with spaces
    "#]],
    );
    check(
        "a:\n\t- b\n",
        expect![[r#"
        t.yaml:2:2: this is not YAML: tabs disallowed within this context (block indentation); correct the spelling here or just above; indent with spaces
    "#]],
    );
    check(
        "a: \"x\n",
        expect![[r#"
        t.yaml:2:1: this is not YAML: invalid indentation in multiline quoted scalar; correct the spelling here or just above; indent with spaces
    "#]],
    );
    check(
        "a: 1\n---\nb: 2\n",
        expect![[r#"
        t.yaml:2:1: a second document begins here; keep one document in this file; remove the line `---`
    "#]],
    );
    check(
        "a: .inf\nb: !!int x\nc: {[1]: 2, ~: 3, d: 4}\n",
        expect![[r#"
        t.yaml:1:4: `.inf` is not a finite number; write a number, or quote it to mean the text
        t.yaml:2:10: `x` is not what its tag says; remove the tag, or quote the value
        t.yaml:3:5: a list cannot be a key; write the key as text, in quotes where needed
        t.yaml:3:13: nothing cannot be a key; write the key as text, in quotes where needed
    "#]],
    );
    check("\u{feff}a: ü\r\nb: 2\r\n", expect![[r#"{"a":"ü","b":2}"#]]);
}

#[test]
fn faults_leave_the_rest_to_be_looked_at() {
    let refused = read("t.yaml", "a: 1\na: 2\nb: .nan\nc: 3\n", &Budget::default()).expect_err("a duplicate");
    assert_eq!(refused.findings.len(), 2);
    assert_eq!(refused.rest.expect("the text is whole").to_json(), serde_json::json!({"a": 1, "b": null, "c": 3}));
    assert_eq!(read("t.yaml", "a: 1\na: 2\nb: [", &Budget::default()).expect_err("breaks off").rest, None);
}

#[test]
fn several_documents_up_to_the_budget() {
    let all = read_all("t.yaml", "a: 1\n---\nb: &x 2\n---\n- 3\n", &Budget::default()).expect("reads");
    assert_eq!(all.iter().map(|node| node.to_json().to_string()).collect::<Vec<_>>(), [r#"{"a":1}"#, r#"{"b":2}"#, "[3]"]);
    let two = Budget { documents: 2, ..Budget::default() };
    assert_eq!(
        read_all("t.yaml", "1\n---\n2\n---\n3\n", &two).expect_err("three").findings[0].place.as_ref().map(|place| place.line),
        Some(4)
    );
    // An anchor ends with its document.
    assert!(read_all("t.yaml", "a: &x 1\n---\nb: *x\n", &Budget::default()).is_err());
}

#[test]
fn findings_are_bounded() {
    let many = "a: 1\n".repeat(10_000);
    assert!(read("t.yaml", &many, &Budget::default()).expect_err("duplicates").findings.len() <= 101);
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,200}") {
        let _ = read_all("t.yaml", &text, &Budget::default());
    }

    #[test]
    fn no_yaml_like_text_panics(text in "([ab]|: |- |\\n|  |\\[|\\]|\\{|\\}|,|&a |\\*a|<<|\"|'|\\||>|#|!|!!int |\\? |~|0x|1e9|---\\n|\\t|%|\u{feff}|\u{85}){0,60}") {
        if let Ok(documents) = read_all("t.yaml", &text, &Budget::default()) {
            for document in documents {
                let _ = document.to_json();
            }
        }
    }
}

#[test]
fn bytes_that_are_not_text_have_a_place() {
    let refused = trued_yaml::text_of("t.yaml", b"a: 1\nb\xc3\xbc: \xff\n").expect_err("a stray byte");
    expect!["t.yaml:2:5: this is not UTF-8 text; save the file as UTF-8"].assert_eq(&refused.findings[0].to_string());
    assert_eq!(trued_yaml::text_of("t.yaml", "ü".as_bytes()).expect("is text"), "ü");
}
