use serde_json::json;

use super::*;

const CANARY: &str = "hunter2-canary";

fn with_token(files: &[(&str, &str)]) -> Case {
    Case { vars: json!({ "title": "Shop" }), secrets: &[("token", CANARY)], ..Case::new("template", Tree::of(files)) }
}

fn sealed(rendered: &Rendered) -> Vec<&str> {
    rendered.documents.iter().filter(|document| document.content.sealed).map(|document| document.path.as_str()).collect()
}

#[test]
fn a_file_a_secret_went_into_is_sealed_whole_and_no_other() {
    let rendered = with_token(&[
        ("direct.j2", "{{ token }}"),
        ("changed.j2", "{{ token | upper | length }}"),
        ("hidden.j2", "{% if token == 'x' %}yes{% else %}no{% endif %}"),
        ("set.j2", "{% set t = token %}{% macro m() %}{{ t }}{% endmacro %}{{ m() }}"),
        ("closure.j2", "{% macro m() %}{{ token }}{% endmacro %}{{ m() }}"),
        ("included.j2", "{% include 'part.txt' %}"),
        ("imported.j2", "{% import 'macros.txt' as m %}{{ m.show() }}"),
        ("part.txt", "{{ token }}"),
        ("macros.txt", "{% macro show() %}{{ token }}{% endmacro %}"),
        ("public.j2", "{{ title }}"),
    ])
    .rendered();
    assert_eq!(sealed(&rendered), ["changed", "closure", "direct", "hidden", "imported", "included", "set"]);
    assert_eq!(Turned.seal(&stored(&rendered, "included")), CANARY.as_bytes());
    for document in &rendered.documents {
        let bytes = stored(&rendered, &document.path);
        assert!(!bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes()), "{}", document.path);
    }
}

#[test]
fn a_sealed_document_is_compared_by_a_keyed_digest_and_named_by_its_stored_bytes() {
    let rendered = with_token(&[("a.j2", "{{ token }}")]).rendered();
    let document = &rendered.documents[0];
    assert_eq!(document.identity, Turned.identity(&Digest::of(CANARY.as_bytes())));
    assert_eq!(document.content.digest, Digest::of(&Turned.seal(CANARY.as_bytes())));
    assert_ne!(document.identity, Digest::of(CANARY.as_bytes()));
}

#[test]
fn fault_103_no_error_shows_a_secret_whatever_a_template_does_with_it() {
    let uses = [
        "{{ token + 1 }}",
        "{{ token | int }}",
        "{{ token | float }}",
        "{{ (token | upper) | int }}",
        "{{ token.x.y }}",
        "{{ token() }}",
        "{{ token.shout() }}",
        "{{ 1 | attr(token) }}",
        "{{ {}[token].x }}",
        "{{ {token: 1}.x.y }}",
        "{% include token %}",
        "{% include [token, token ~ 'x'] %}",
        "{% extends token %}",
        "{% import token as t %}",
        "{{ range(token) }}",
        "{{ token | round }}",
        "{{ '%d' | format(token) }}",
        "{{ token | batch(token) }}",
        "{{ dict(token) }}",
        "{{ [1] | sort(attribute=token) | map(attribute=token) | list }}",
        "{{ [1] | map(token) | list }}",
        "{{ [1] | select(token) | list }}",
        "{% for a, b in [token] %}{% endfor %}",
        "{% set a, b = token %}",
        "{% autoescape token %}{{ token }}{% endautoescape %}",
        "{{ missing[token] }}",
        "{{ token }}{{ titel }}",
        "{% for i in range(100000) %}{% for j in range(100000) %}{{ token }}{% endfor %}{% endfor %}",
    ];
    for use_ in uses {
        let Err(findings) = with_token(&[("a.j2", use_)]).run() else { continue };
        let all = format!("{} {findings:?}", lines(&findings)).to_lowercase();
        assert!(!all.contains("hunter2"), "{use_}: {all}");
        assert!(all.starts_with("site/a.j2:1:1: "), "{use_}: {all}");
    }
}

#[test]
fn a_missing_name_is_still_named_in_a_template_that_uses_a_secret() {
    let findings = with_token(&[("a.j2", "{{ token }}\n{{ titel }}")]).findings();
    assert!(findings.starts_with("site/a.j2:2:1: `titel` is not defined"), "{findings}");
}

#[test]
fn sensitive_files_are_sealed_whole_in_both_renderers() {
    for kind in ["plain", "template"] {
        let tree =
            Tree::of(&[("certs/site.key", "private"), ("certs/site.pem", "public")]).with("link.key", Shape::Link, b"certs/site.key");
        let case = Case { sensitive: &["*.key"], ..Case::new(kind, tree) };
        let rendered = case.rendered();
        assert_eq!(sealed(&rendered), ["certs/site.key"]);
        assert_eq!(Turned.seal(&stored(&rendered, "certs/site.key")), b"private");
        assert_eq!(rendered.documents[0].identity, Turned.identity(&Digest::of(b"private")));
        assert!(!rendered.copied.values().any(|blob| blob.digest == Digest::of(b"private")));
    }
}

#[test]
fn a_known_blob_never_makes_a_sensitive_file_public() {
    let files = [("site.key", "private")];
    let open = Case::new("plain", Tree::of(&files)).rendered();
    let case = Case { sensitive: &["*.key"], known: open.copied, ..Case::new("plain", Tree::of(&files)) };
    assert_eq!(sealed(&case.rendered()), ["site.key"]);
}

#[test]
fn a_template_that_includes_a_sensitive_file_is_sealed_too() {
    let case = Case {
        sensitive: &["secret/**", "by-output.conf"],
        ..Case::new(
            "template",
            Tree::of(&[("a.j2", "{% include 'secret/part.txt' %}"), ("secret/part.txt", "x"), ("by-output.conf.j2", "y"), ("c.j2", "z")]),
        )
    };
    assert_eq!(sealed(&case.rendered()), ["a", "by-output.conf", "secret/part.txt"]);
}

#[test]
fn a_secret_that_is_not_text_and_a_glob_that_is_none_are_findings() {
    let tree = Arc::new(Tree::of(&[("a.j2", "")]));
    let case = Case { sensitive: &["a{", "ok", "[z-a]"], tree: tree.clone(), ..Case::new("template", Tree::default()) };
    assert_eq!(case.findings().lines().count(), 2);
    let mut input = Case { tree, ..Case::new("template", Tree::default()) }.input();
    input.secrets.insert("token".into(), Secret::new(vec![0xff, 0xfe]));
    let kind = trued_render::kinds().into_iter().find(|kind| kind.describe().kind == "template").unwrap();
    let findings = tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(kind.render(input)).err().unwrap();
    assert!(lines(&findings).starts_with("the secret behind `token` is not UTF-8 text"));
}
