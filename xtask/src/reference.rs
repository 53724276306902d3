//! `cargo xtask docs`: the reference page, written from what the program says of itself. The check that it is current
//! runs with the scripts, since it needs the built program.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use serde_json::{Map, Value};

use crate::machine;

const PAGE: &str = "docs/reference.md";

const HEAD: &str = "\
# Reference: configuration files

Every key of both files, as the program itself describes them. Written by `cargo xtask docs`; do not edit. What the keys
are for is in [configuration](guides/configuration.md).

`NAME` stands for a name of yours, `[]` for each item of a list.
";

/// Builds the program, with the selection of packages that the tests have, and writes the page.
pub fn write() -> anyhow::Result<()> {
    let built = machine::cargo().args(["test", "--workspace", "--no-run", "--quiet"]).status().context("failed to start cargo")?;
    ensure!(built.success(), "the program does not build");
    let page = machine::root().join(PAGE);
    std::fs::write(&page, page_of(&program()?)?).with_context(|| format!("failed to write {PAGE}"))
}

/// Whether the page says what the built program says.
pub fn is_current() -> anyhow::Result<()> {
    let written = std::fs::read_to_string(machine::root().join(PAGE)).with_context(|| format!("failed to read {PAGE}"))?;
    ensure!(written == page_of(&program()?)?, "{PAGE} is not what the program says of itself: run `cargo xtask docs`");
    Ok(())
}

fn program() -> anyhow::Result<PathBuf> {
    Ok(machine::target()?.join("debug/trued"))
}

fn page_of(program: &Path) -> anyhow::Result<String> {
    let mut page = HEAD.to_owned();
    for (file, title) in [("operator", "The operator's file, `trued.yaml`"), ("app", "An app file, `app.yaml`")] {
        let schema = machine::read(Command::new(program).args(["schema", file]))?;
        let schema: Value = serde_json::from_str(&schema).context("failed to read the schema")?;
        page.push_str(&format!("\n## {title}\n\n{}\n\n| Key | Value | |\n|---|---|---|\n", text(&schema, "description")));
        let known = schema["properties"].as_object().cloned().unwrap_or_default();
        rows(&schema, "", &known, &mut page);
    }
    Ok(page)
}

/// Adds a row for each key below a schema. What is the same as at the top of the file is only named.
fn rows(schema: &Value, path: &str, top: &Map<String, Value>, page: &mut String) {
    let required = |key: &str| schema["required"].as_array().is_some_and(|keys| keys.iter().any(|required| required == key));
    let mut repeated = Vec::new();
    for (key, value) in schema["properties"].as_object().into_iter().flatten() {
        if !path.is_empty() && top.get(key) == Some(value) {
            repeated.push(format!("`{key}`"));
            continue;
        }
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let needed = if required(key) { " (required)" } else { "" };
        page.push_str(&format!("| `{path}`{needed} | {} | {} |\n", words(value), cell(text(value, "description"))));
        below(value, &path, top, page);
    }
    if !repeated.is_empty() {
        page.push_str(&format!("| `{path}.…` | | as above: {} |\n", repeated.join(", ")));
    }
}

fn below(schema: &Value, path: &str, top: &Map<String, Value>, page: &mut String) {
    rows(schema, path, top, page);
    if schema["additionalProperties"].is_object() {
        below(&schema["additionalProperties"], &format!("{path}.NAME"), top, page);
    }
    if schema["items"].is_object() {
        below(&schema["items"], &format!("{path}[]"), top, page);
    }
}

/// What a value may be, in a few words, with its default.
fn words(schema: &Value) -> String {
    let strings = |value: &Value| -> Vec<String> {
        let listed = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
        listed.iter().filter_map(Value::as_str).filter(|word| *word != "null").map(str::to_owned).collect()
    };
    let kind = match (schema["title"].as_str(), &schema["enum"]) {
        (Some(title), _) => title.to_owned(),
        (None, Value::Array(_)) => strings(&schema["enum"]).iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
        (None, _) => strings(&schema["type"]).join(" or "),
    };
    match &schema["default"] {
        Value::Null => cell(&kind),
        Value::Array(empty) if empty.is_empty() => cell(&kind),
        Value::Object(empty) if empty.is_empty() => cell(&kind),
        default => format!("{}; default `{default}`", cell(&kind)),
    }
}

fn text<'a>(schema: &'a Value, key: &str) -> &'a str {
    schema[key].as_str().unwrap_or_default()
}

/// Text that stays inside one cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nested_keys_become_rows_and_repeated_ones_are_named() {
        let drift = json!({ "enum": ["revert", "hold"], "description": "what happens" });
        let schema = json!({ "properties": {
            "drift": drift,
            "stacks": { "type": "object", "additionalProperties": { "required": ["into"], "properties": {
                "drift": drift,
                "into": { "type": ["string", "null"], "description": "where | on it", "default": "x" },
            } } },
        } });
        let mut page = String::new();
        rows(&schema, "", schema["properties"].as_object().unwrap(), &mut page);
        let expected = "\
| `drift` | `revert`, `hold` | what happens |
| `stacks` | object |  |
| `stacks.NAME.into` (required) | string; default `\"x\"` | where \\| on it |
| `stacks.NAME.…` | | as above: `drift` |
";
        assert_eq!(page, expected);
    }
}
