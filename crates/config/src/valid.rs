//! A file against its schema: every violation as a finding at its place, and the file without what violates.

use jsonschema::ValidationError;
use jsonschema::error::{TypeKind, ValidationErrorKind};
use serde_json::Value;
use trued_yaml::{Node, Value as Yaml, step};

use crate::kinds::{Kinds, Which};
use crate::suggest;
use crate::text::{Fault, Text, shown, take_out};

/// Checks a file. `value` is its tree as JSON; what is wrong is taken out of it, so that the rest can be read.
pub(crate) fn check(text: &Text, which: Which, kinds: &Kinds, value: &mut Value) -> Vec<Fault> {
    if kinds.was_sound(which, value) {
        return Vec::new();
    }
    let law = kinds.compiled(which);
    let validator = match law.validator() {
        Ok(validator) => validator,
        Err(why) => {
            let message = format!("this file cannot be checked: the schema of this build is broken: {why}");
            return vec![text.fault("", message, "report this")];
        }
    };
    let mut found = Vec::new();
    for error in validator.iter_errors(value) {
        explain(&error, &law.schema, text, &mut found);
    }
    if found.is_empty() {
        kinds.note_sound(which, value);
    }
    found.iter().filter(|found| found.wrong).for_each(|found| take_out(value, &found.fault.pointer));
    found.into_iter().map(|found| found.fault).collect()
}

struct Violation {
    fault: Fault,
    /// Whether what stands there must not be read; otherwise something is missing there.
    wrong: bool,
}

/// Puts one violation into words; a choice is explained by the branch that was probably meant.
fn explain(error: &ValidationError<'_>, schema: &Value, text: &Text, found: &mut Vec<Violation>) {
    let at = error.instance_path().as_str();
    let rule = error.schema_path().as_str();
    let around = rule.rsplit_once('/').and_then(|(around, _)| schema.pointer(around)).unwrap_or(&Value::Null);
    let title = around["title"].as_str().filter(|_| !at.is_empty());
    let description = fragment(around["description"].as_str().unwrap_or_default());
    let wrong = |message: String, help: String| Violation { fault: text.fault(at, message, help), wrong: true };
    let properties = || around["properties"].as_object().into_iter().flat_map(|all| all.keys().map(String::as_str));

    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
            for key in unexpected {
                let pointer = format!("{at}{}", step(key));
                let fault = text.key_fault(&pointer, format!("unknown key `{}`", shown(key)), suggest::help(key, properties()));
                found.push(Violation { fault, wrong: true });
            }
        }
        ValidationErrorKind::Required { property } => {
            let key = property.as_str().unwrap_or_default();
            let words = around["properties"][key]["title"].as_str().or(around["properties"][key]["description"].as_str());
            let fault = text.key_fault(at, format!("the key `{key}` is missing"), fragment(words.unwrap_or_default()));
            found.push(Violation { fault, wrong: false });
        }
        ValidationErrorKind::Type { kind } => {
            let expected = title.map_or_else(|| type_words(kind), str::to_owned);
            let node = text.root.at(at);
            let help = match node.and_then(|node| node.spelled.as_deref()).filter(|spelled| !spelled.is_empty()) {
                Some(spelled) if takes_text(kind) => format!("write \"{spelled}\" in quotes to mean the text"),
                _ => description,
            };
            found.push(wrong(format!("expected {expected}, found {}", node.map_or("nothing", found_words)), help));
        }
        ValidationErrorKind::Enum { options } => {
            let words: Vec<&str> = options.as_array().map(|all| all.iter().filter_map(Value::as_str).collect()).unwrap_or_default();
            let there = text.root.at(at).map_or_else(|| "nothing".to_owned(), found_value);
            found.push(wrong(format!("expected {}, found {there}", suggest::one_of(words)), description));
        }
        ValidationErrorKind::PropertyNames { error } => {
            let key = error.instance().as_str().unwrap_or_default();
            let pointer = format!("{at}{}", step(key));
            let expected = around["title"].as_str().unwrap_or("a key that may stand here");
            let fault = text.key_fault(&pointer, format!("`{}` is not {expected}", shown(key)), "");
            found.push(Violation { fault, wrong: true });
        }
        ValidationErrorKind::MinProperties { .. } | ValidationErrorKind::MaxProperties { .. } => {
            let known: Vec<&str> = properties().collect();
            let count = if matches!(error.kind(), ValidationErrorKind::MinProperties { .. }) { "one" } else { "only one" };
            let what = if known.is_empty() { format!("{count} entry") } else { format!("{count} of {}", suggest::one_of(known)) };
            found.push(wrong(format!("expected {what} here"), description));
        }
        ValidationErrorKind::OneOfNotValid { .. } | ValidationErrorKind::OneOfMultipleValid { .. } if !alternatives(around).is_empty() => {
            let words = suggest::one_of(alternatives(around));
            let message = match error.kind() {
                ValidationErrorKind::OneOfNotValid { .. } => format!("one of {words} is missing"),
                _ => format!("only one of {words} may stand here"),
            };
            found.push(Violation { fault: text.key_fault(at, message, ""), wrong: false });
        }
        ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context } => {
            let meant = context.iter().find(|branch| !branch.is_empty() && branch.iter().all(|inner| inner.instance_path().as_str() != at));
            match meant {
                Some(branch) => branch.iter().for_each(|inner| explain(inner, schema, text, found)),
                None => {
                    let there = text.root.at(at).map_or("nothing", found_words);
                    found.push(wrong(format!("expected {}, found {there}", title.unwrap_or("another form")), description));
                }
            }
        }
        other => {
            let there = text.root.at(at).map_or_else(|| "nothing".to_owned(), found_value);
            let message = match (title, other) {
                (Some(title), _) => format!("expected {title}, found {there}"),
                (None, ValidationErrorKind::Minimum { limit }) => format!("expected at least {limit}, found {there}"),
                (None, ValidationErrorKind::Maximum { limit }) => format!("expected at most {limit}, found {there}"),
                (None, ValidationErrorKind::MinLength { .. } | ValidationErrorKind::MinItems { .. }) => {
                    "expected something, found nothing in it".to_owned()
                }
                (None, ValidationErrorKind::Constant { expected_value }) => format!("expected {expected_value}, found {there}"),
                (None, ValidationErrorKind::Pattern { pattern }) if pattern.ends_with("(ms|s|m|h|d)$") => {
                    format!("expected a span of time such as 15s, 5m or 1h, found {there}")
                }
                (None, ValidationErrorKind::Pattern { pattern }) => format!("expected text like `{pattern}`, found {there}"),
                (None, ValidationErrorKind::FalseSchema) => "nothing may stand here".to_owned(),
                (None, other) => format!("{there} breaks the rule `{}`", other.keyword()),
            };
            found.push(wrong(message, description));
        }
    }
}

/// A sentence of the schema as it continues one of ours.
fn fragment(sentence: &str) -> String {
    let sentence = sentence.strip_suffix('.').unwrap_or(sentence);
    let mut rest = sentence.chars();
    rest.next().map(|first| first.to_lowercase().chain(rest).collect()).unwrap_or_default()
}

fn type_words(kind: &TypeKind) -> String {
    let words: Vec<&str> = type_names(kind)
        .into_iter()
        .map(|name| match name.as_str() {
            "string" => "text",
            "integer" => "a whole number",
            "number" => "a number",
            "boolean" => "true or false",
            "array" => "a list",
            "object" => "a mapping",
            _ => "nothing",
        })
        .collect();
    words.join(" or ")
}

fn takes_text(kind: &TypeKind) -> bool {
    type_names(kind).iter().any(|name| name == "string")
}

fn type_names(kind: &TypeKind) -> Vec<String> {
    match kind {
        TypeKind::Single(one) => vec![one.to_string()],
        TypeKind::Multiple(several) => several.iter().map(|one| one.to_string()).collect(),
    }
}

/// What stands there, in a word.
pub(crate) fn found_words(node: &Node) -> &'static str {
    match &node.value {
        Yaml::Null => "nothing",
        Yaml::Bool(true) => "true",
        Yaml::Bool(false) => "false",
        Yaml::Number(_) => "a number",
        Yaml::Text(_) => "text",
        Yaml::List(_) => "a list",
        Yaml::Map(_) => "a mapping",
    }
}

/// What stands there, itself where it is one value.
fn found_value(node: &Node) -> String {
    match &node.value {
        Yaml::Text(text) => format!("`{}`", shown(text)),
        Yaml::Number(number) => format!("`{number}`"),
        _ => found_words(node).to_owned(),
    }
}

/// The keys of which one must stand, where a choice is between keys.
fn alternatives(around: &Value) -> Vec<&str> {
    let choices = around["oneOf"].as_array().map(Vec::as_slice).unwrap_or_default();
    choices.iter().filter_map(|choice| choice["required"][0].as_str()).collect()
}
