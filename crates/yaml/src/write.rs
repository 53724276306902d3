//! JSON values as YAML for people: one block for each mapping and list, text as it is read where that is safe. What is
//! written means the same to YAML 1.1, 1.2 and our own reader. Nothing is read back from it.

use serde_json::Value as Json;

use crate::{Value, scalar};

/// Writes a value as one document, with a line feed at its end.
pub fn write(value: &Json) -> String {
    let mut text = String::new();
    match value {
        Json::Object(map) if !map.is_empty() => block(value, 0, &mut text),
        Json::Array(items) if !items.is_empty() => block(value, 0, &mut text),
        value => {
            inline(value, 0, &mut text);
            text.push('\n');
        }
    }
    text
}

/// Writes the lines of a mapping or a list that is not empty; the first is indented by whoever calls.
fn block(value: &Json, depth: usize, text: &mut String) {
    let entries: Vec<(Option<&String>, &Json)> = match value {
        Json::Object(map) => map.iter().map(|(key, value)| (Some(key), value)).collect(),
        Json::Array(items) => items.iter().map(|item| (None, item)).collect(),
        _ => Vec::new(),
    };
    for (at, (key, value)) in entries.into_iter().enumerate() {
        if at > 0 {
            text.push_str(&"  ".repeat(depth));
        }
        match (key, value) {
            (Some(key), Json::Object(map)) if !map.is_empty() => below(&format!("{}:", scalar_of(key)), value, depth + 1, text),
            // A list stands as deep as its key.
            (Some(key), Json::Array(items)) if !items.is_empty() => below(&format!("{}:", scalar_of(key)), value, depth, text),
            (Some(key), value) => {
                text.push_str(&scalar_of(key));
                text.push_str(": ");
                inline(value, depth + 1, text);
                text.push('\n');
            }
            (None, Json::Object(map)) if !map.is_empty() => {
                text.push_str("- ");
                block(value, depth + 1, text);
            }
            (None, Json::Array(items)) if !items.is_empty() => {
                text.push_str("- ");
                block(value, depth + 1, text);
            }
            (None, value) => {
                text.push_str("- ");
                inline(value, depth + 1, text);
                text.push('\n');
            }
        }
    }
}

/// Writes a block on the lines after its key.
fn below(key: &str, value: &Json, depth: usize, text: &mut String) {
    text.push_str(key);
    text.push('\n');
    text.push_str(&"  ".repeat(depth));
    block(value, depth, text);
}

/// Writes what stands behind a key: a scalar, or something empty.
fn inline(value: &Json, depth: usize, text: &mut String) {
    match value {
        Json::String(said) if is_literal(said) => {
            text.push_str(if said.ends_with('\n') { "|" } else { "|-" });
            for line in said.lines() {
                text.push('\n');
                if !line.is_empty() {
                    text.push_str(&"  ".repeat(depth));
                    text.push_str(line);
                }
            }
        }
        Json::String(said) => text.push_str(&scalar_of(said)),
        value => text.push_str(&value.to_string()),
    }
}

/// Text as it is where no reader takes it for anything else, otherwise in double quotes, as JSON has it.
fn scalar_of(said: &str) -> String {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | ':');
    let is_safe = said.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/') && said.chars().all(inner) && !said.ends_with(':');
    match scalar::plain(said) {
        Ok(Value::Text(_)) if is_safe => said.to_owned(),
        _ => Json::from(said).to_string(),
    }
}

/// Whether text of several lines can stand as it is: no space that an indentation could swallow, and nothing that a terminal
/// or a reader would not show.
fn is_literal(said: &str) -> bool {
    let lines = said.strip_suffix('\n').unwrap_or(said);
    let plain = |c: char| c == '\n' || (!c.is_control() && !matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}'));
    lines.contains('\n')
        && !lines.starts_with([' ', '\n'])
        && !lines.ends_with('\n')
        && said.chars().all(plain)
        && lines.split('\n').all(|line| !line.ends_with(' '))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::{Budget, read};

    fn back(value: &Json) -> Json {
        let text = write(value);
        read("written", &text, &Budget::default()).unwrap_or_else(|refused| panic!("{refused:?}\n{text}")).to_json()
    }

    #[test]
    fn an_object_reads_as_people_write_it() {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "labels": { "app.kubernetes.io/name": "shop" }, "name": "words" },
            "data": { "on": "yes", "port": "0777", "script": "a:\n  b\n\nc\n", "empty": "" }, "list": [1, { "a": [], "b": {} }, ["x", null]],
        });
        let text = write(&object);
        let lines = "apiVersion: v1\ndata:\n  empty: \"\"\n  \"on\": \"yes\"\n  port: \"0777\"\n  script: |\n    a:\n      b\n\n    c\nkind: ConfigMap\n\
                     list:\n- 1\n- a: []\n  b: {}\n- - x\n  - null\nmetadata:\n  labels:\n    app.kubernetes.io/name: shop\n  name: words\n";
        assert_eq!(text, lines);
        assert_eq!(back(&object), object);
    }

    #[test]
    fn whatever_could_be_taken_for_something_else_is_quoted() {
        for said in [
            "", "~", "no", "1e3", "-", "- a", "a: b", "a:", "a #b", "*a", "&a", "!a", "{a", "=", "<<", "a\tb\nc", " a\nb", "a\n\n", "a \nb",
        ] {
            let value = json!({ said: said, "in": [said] });
            assert_eq!(back(&value), value, "{}", write(&value));
        }
    }

    fn any_json() -> impl Strategy<Value = Json> {
        let text = prop_oneof![any::<String>(), "[a-y \n:#0-9.-]{0,12}"];
        let leaf =
            prop_oneof![Just(Json::Null), any::<bool>().prop_map(Json::from), any::<i64>().prop_map(Json::from), text.prop_map(Json::from)];
        leaf.prop_recursive(4, 24, 4, |inner| {
            let key = prop_oneof![any::<String>(), "[a-z]{1,4}"];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
                prop::collection::btree_map(key, inner, 0..4).prop_map(|map| Json::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_as_it_was(value in any_json()) {
            prop_assert_eq!(back(&value), value);
        }
    }
}
