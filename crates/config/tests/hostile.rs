//! Whatever stands in the files, a load ends, says something and does not panic.

mod kit;

use kit::{kinds, loaded, loaded_from};
use proptest::prelude::*;
use trued_config::{Files, NoFiles, Which};
use trued_model::{Code, Name, Refusal};

const OPERATOR: &str = "environments: { dev: {} }\ntargets: { web: { files: { root: /srv/www }, commands: { r: [a] } } }\nsecrets: { s: { env: S } }\napps: [\"*.yaml\"]\n";

const APP: &str = "app: site\nowner: me\nrender: { template: { path: site, vars: { a: { secret: s }, b: \"${env}\" } } }\nstacks: { dev: { target: web, into: x } }\non_change: [r]\nverify: [{ http: { url: \"http://a/\" } }]\non_delete: { \"**\": retain }\npreviously: [old]\ndeletes: { at_most: 1 }\n";

#[test]
fn fault_16_to_20_hostile_app_files_are_findings_of_that_file_alone() {
    let laughs = (0..9).fold("a: &a [x]\n".to_owned(), |text, n| {
        let (name, of) = ((b'b' + n) as char, (b'a' + n) as char);
        format!("{text}{name}: &{name} [{}]\n", vec![format!("*{of}"); 9].join(","))
    });
    let deep = "[".repeat(100_000);
    for text in [laughs.as_str(), &deep, "app: &x [*x]\n", "app: a\napp: b\n", "app: no\n", "app: 0777\n"] {
        let loaded = loaded(OPERATOR, &[("bad.yaml", text), ("good.yaml", APP)]);
        assert!(loaded.usable && !loaded.findings.is_empty(), "{text:.40}");
        assert!(
            loaded.findings.iter().all(|finding| finding.place.as_ref().is_some_and(|place| place.file == "bad.yaml")),
            "{:?}",
            loaded.findings
        );
        assert_eq!(loaded.estate.stacks.len(), 1, "{text:.40}");
    }
}

#[test]
fn fault_99_a_span_or_pattern_that_is_none_is_a_finding_of_its_stack_alone() {
    let bad = |line: &str| format!("app: bad\nrender: {{ template: {{ path: site }} }}\nstacks: {{ dev: {{ target: web }} }}\n{line}\n");
    for line in [
        "interval: 1.5m",
        "interval: -5m",
        "interval: 99999999999999999999999s",
        "interval: soon",
        "on_delete: { \"[\": retain }",
        "verify: [{ http: { url: \"http://a/\", timeout: never } }]",
    ] {
        let loaded = loaded(OPERATOR, &[("bad.yaml", &bad(line)), ("good.yaml", APP)]);
        assert!(loaded.usable && !loaded.findings.is_empty(), "{line}");
        let of_bad =
            |finding: &trued_model::Finding| finding.place.as_ref().is_some_and(|place| place.file == "bad.yaml" && place.line == 4);
        assert!(loaded.findings.iter().all(of_bad), "{line}: {:?}", loaded.findings);
        assert_eq!(loaded.estate.stacks.keys().filter(|stack| stack.app.as_str() == "site").count(), 1, "{line}");
    }
}

#[test]
fn fault_29_an_app_cannot_multiply_itself_beyond_a_bound() {
    let vars: String = (0..1_000).map(|n| format!("v{n}: x, ")).collect();
    let stacks: String = (0..500).map(|n| format!("  e{n}: {{ target: web }}\n")).collect();
    let text = format!("app: big\nrender: {{ template: {{ path: x, vars: {{ {vars} }} }} }}\nstacks:\n{stacks}");
    let loaded = loaded(OPERATOR, &[("big.yaml", &text), ("good.yaml", APP)]);
    assert_eq!(loaded.findings.len(), 1);
    assert!(loaded.findings[0].message.contains("more than the 200000"), "{:?}", loaded.findings);
    assert_eq!(loaded.estate.stacks.len(), 1);
}

#[test]
fn findings_of_one_file_are_bounded() {
    let keys: String = (0..10_000).map(|n| format!("k{n}: 1\n")).collect();
    let loaded = loaded(OPERATOR, &[("big.yaml", &keys), ("good.yaml", APP)]);
    assert_eq!(loaded.findings.len(), 201);
    assert!(loaded.findings.iter().any(|finding| finding.message.ends_with("more findings in this file are not told")));
}

#[test]
fn fault_03_a_source_that_cannot_be_asked_takes_no_stack_away() {
    struct Torn;
    impl Files for Torn {
        fn list(&self, source: &Name) -> Result<Vec<String>, Refusal> {
            NoFiles.list(source)
        }
        fn read(&self, source: &Name, path: &str) -> Result<Vec<u8>, Refusal> {
            NoFiles.read(source, path)
        }
    }
    let loaded = loaded_from(OPERATOR.as_bytes(), &Torn);
    assert!(loaded.estate.incomplete && loaded.usable && loaded.findings.is_empty());
}

#[test]
fn fault_03_a_file_that_cannot_be_read_is_an_unknown_app() {
    let mut files = kit::gathered(OPERATOR, &[("good.yaml", APP)]);
    files.file("own".parse().expect("a name"), "torn.yaml", Err(Refusal::new(Code::Unreachable, "read torn.yaml: no answer")));
    let loaded = loaded_from(OPERATOR.as_bytes(), &files);
    assert!(loaded.estate.incomplete && loaded.estate.stacks.len() == 1);
    assert_eq!(loaded.findings[0].to_string(), "torn.yaml:1:1: this file cannot be read: read torn.yaml: no answer");
}

#[test]
fn fault_97_a_word_does_not_choose_the_target() {
    let app = APP.replace("target: web", "target: \"${app}\"");
    let loaded = loaded(OPERATOR, &[("a.yaml", &app)]);
    assert!(loaded.findings[0].message.contains("no target is named `${app}`"), "{:?}", loaded.findings);
}

/// Cuts, doubles and swaps bytes of a text.
fn mutated(text: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let edit = (
        0..text.len(),
        0..text.len(),
        prop::sample::select(vec![
            "", ":", "[", "]", "{", "}", "&a ", "*a", "\n", "  ", "-", "null", "${", "\"", "!!int ", "<<: ", "\u{0}", "9e9",
        ]),
    );
    prop::collection::vec(edit, 1..6).prop_map(move |edits| {
        let mut bytes = text.as_bytes().to_vec();
        for (at, until, with) in edits {
            let (at, until) = (at.min(bytes.len()), until.min(bytes.len()));
            let until = until.max(at).min(at + 12);
            bytes.splice(at..until, with.bytes());
        }
        bytes
    })
}

proptest! {
    #[test]
    fn no_operators_file_panics(bytes in prop_oneof![mutated(OPERATOR), prop::collection::vec(any::<u8>(), 0..200)]) {
        let files = kit::gathered(OPERATOR, &[("good.yaml", APP)]);
        let loaded = loaded_from(&bytes, &files);
        prop_assert!(loaded.usable || !loaded.findings.is_empty());
        let _ = trued_config::show(&loaded);
    }

    #[test]
    fn no_app_file_panics(bytes in prop_oneof![mutated(APP), prop::collection::vec(any::<u8>(), 0..200)]) {
        let mut files = kit::gathered(OPERATOR, &[]);
        files.file("own".parse().expect("a name"), "a.yaml", Ok(bytes));
        let loaded = loaded_from(OPERATOR.as_bytes(), &files);
        prop_assert!(loaded.usable);
        // Either it is a stack, or something says why not.
        prop_assert!(!loaded.estate.stacks.is_empty() || !loaded.findings.is_empty());
        prop_assert!(loaded.findings.iter().all(|finding| finding.place.as_ref().is_some_and(|place| place.line >= 1 && place.column >= 1)));
    }
}

#[test]
fn the_schema_and_typed_reading_agree_on_what_is_sound() {
    // Whatever passes the schema is read without a word: the schema is the law.
    assert!(kinds().schema(Which::App).is_object());
    let loaded = loaded(OPERATOR, &[("a.yaml", APP)]);
    assert!(loaded.findings.is_empty(), "{:?}", loaded.findings);
}
