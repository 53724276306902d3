//! What changed between two configurations, one line each, and which of it loosens what guards.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;
use trued_model::{DriftPolicy, Estate, OnDelete, OnExisting, OnImmutable, Policy, SandboxRules, SourceSpec, Stack, StackNames};

use crate::rules;

/// Longer values are cut in a line.
const LONGEST: usize = 80;

/// What the setting `verify` of a source may say, from the least to the most.
const SCOPES: [&str; 3] = ["none", "head", "all"];

/// What changed, one line each, sorted. Where something is written is not part of it.
pub fn differences(old: &Estate, new: &Estate) -> Vec<String> {
    let mut lines = Vec::new();
    section(&mut lines, "source", &old.sources, &new.sources, ToString::to_string);
    section(&mut lines, "environment", &old.environments, &new.environments, ToString::to_string);
    section(&mut lines, "target", &old.targets, &new.targets, ToString::to_string);
    section(&mut lines, "secret", &old.secrets, &new.secrets, ToString::to_string);
    let mut rules = Vec::new();
    compare("", &plain(&old.sandbox), &plain(&new.sandbox), &mut rules);
    lines.extend(rules.into_iter().map(|change| format!("sandbox: {change}")));
    section(&mut lines, "app", &old.apps, &new.apps, ToString::to_string);
    let names = names(old, new);
    section(&mut lines, "stack", &old.stacks, &new.stacks, |id| names.write(id));
    lines.sort();
    lines
}

/// Which changes let more happen without a person, one line each, sorted.
pub fn loosened(old: &Estate, new: &Estate) -> Vec<String> {
    let names = names(old, new);
    let mut lines = Vec::new();
    lines.extend(loosened_sandbox(&old.sandbox, &new.sandbox));
    for (name, after) in &new.sources {
        let Some(before) = old.sources.get(name) else { continue };
        let (was, is) = (signed(before), signed(after));
        if is < was {
            lines.push(format!("source {name}: verify {} → {}", SCOPES[was], SCOPES[is]));
        }
    }
    for (id, after) in &new.stacks {
        let Some(before) = old.stacks.get(id) else { continue };
        lines.extend(loosened_stack(before, after).into_iter().map(|what| format!("stack {}: {what}", names.write(id))));
    }
    lines.sort();
    lines
}

/// How much of a source must be signed: a place in [`SCOPES`].
fn signed(source: &SourceSpec) -> usize {
    let written = source.settings.get("verify").and_then(Value::as_str);
    SCOPES.iter().position(|scope| Some(*scope) == written).unwrap_or(0)
}

fn loosened_sandbox(before: &SandboxRules, after: &SandboxRules) -> Vec<String> {
    let mut lines = Vec::new();
    if after.even_unsafe && !before.even_unsafe {
        lines.push("sandbox: builds run even where they cannot be confined".to_owned());
    }
    if after.level < before.level {
        lines.push("sandbox: a lower level is enough".to_owned());
    }
    lines.extend(after.tools.iter().filter(|tool| !before.tools.contains(tool)).map(|tool| format!("sandbox: builds may read {tool}")));
    lines
}

fn loosened_stack(before: &Stack, after: &Stack) -> Vec<String> {
    let (old, new) = (&before.policy, &after.policy);
    let mut lines = Vec::new();
    if strictness(new.drift) < strictness(old.drift) {
        lines.push(format!("drift {} → {}", word(&old.drift), word(&new.drift)));
    }
    if old.on_existing == OnExisting::Hold && new.on_existing == OnExisting::TakeOver {
        lines.push("on_existing hold → take-over".to_owned());
    }
    if old.on_immutable == OnImmutable::Hold && new.on_immutable == OnImmutable::Replace {
        lines.push("on_immutable hold → replace".to_owned());
    }
    if !rules::holds_as_much(new.deletes, old.deletes) {
        lines.push(format!("deletes at most {} → {}", rules::deletes_words(old.deletes), rules::deletes_words(new.deletes)));
    }
    if old.explain && !new.explain {
        lines.push("changes from outside need no explanation any more".to_owned());
    }
    lines.extend(kept(old).difference(&kept(new)).map(|glob| format!("{glob} may be deleted")));
    let sealed = old.sensitive.iter().filter(|glob| !new.sensitive.contains(glob));
    lines.extend(sealed.map(|glob| format!("{glob} is not sensitive any more")));
    lines.extend(new.ignore.iter().filter(|rule| !old.ignore.contains(rule)).map(|rule| format!("{} is ignored", rule.fields.join(", "))));
    let dropped = before.checks.iter().filter(|check| !after.checks.contains(check));
    lines.extend(dropped.map(|check| format!("check {} {} is gone", check.kind, short(&check.settings))));
    lines
}

/// How much waits for a person.
fn strictness(drift: DriftPolicy) -> u8 {
    match drift {
        DriftPolicy::Revert => 0,
        DriftPolicy::Alert => 1,
        DriftPolicy::Hold => 2,
    }
}

fn kept(policy: &Policy) -> BTreeSet<&str> {
    policy.on_delete.iter().filter(|(_, word)| *word != OnDelete::Delete).map(|(glob, _)| glob.as_str()).collect()
}

fn names(old: &Estate, new: &Estate) -> StackNames {
    StackNames::new(old.stacks.keys().chain(new.stacks.keys()))
}

fn section<K: Ord, T: Serialize>(
    lines: &mut Vec<String>,
    what: &str,
    old: &BTreeMap<K, T>,
    new: &BTreeMap<K, T>,
    write: impl Fn(&K) -> String,
) {
    for key in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
        let name = write(key);
        match (old.get(key), new.get(key)) {
            (Some(_), None) => lines.push(format!("{what} {name} removed")),
            (None, Some(_)) => lines.push(format!("{what} {name} added")),
            (Some(before), Some(after)) => {
                let mut changes = Vec::new();
                compare("", &plain(before), &plain(after), &mut changes);
                lines.extend(changes.into_iter().map(|change| format!("{what} {name}: {change}")));
            }
            (None, None) => {}
        }
    }
}

/// A value without where it was written.
fn plain<T: Serialize>(value: &T) -> Value {
    let mut value = serde_json::to_value(value).unwrap_or(Value::Null);
    if let Value::Object(map) = &mut value {
        map.remove("origin");
    }
    for pull in value.pointer_mut("/render/pulls").and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut) {
        pull.remove("origin");
    }
    value
}

fn compare(path: &str, old: &Value, new: &Value, changes: &mut Vec<String>) {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match (old, new) {
        (Value::Object(before), Value::Object(after)) => {
            for key in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
                compare(&below(key), before.get(key).unwrap_or(&Value::Null), after.get(key).unwrap_or(&Value::Null), changes);
            }
        }
        // Lists of entries; a list of words is read best as a whole.
        (Value::Array(before), Value::Array(after)) if before.iter().chain(after).any(Value::is_object) => {
            for place in 0..before.len().max(after.len()) {
                let at = |items: &[Value]| items.get(place).cloned().unwrap_or_default();
                compare(&below(&place.to_string()), &at(before), &at(after), changes);
            }
        }
        _ if old != new => changes.push(format!("{path} {} → {}", short(old), short(new))),
        _ => {}
    }
}

fn word<T: Serialize>(value: &T) -> String {
    short(&serde_json::to_value(value).unwrap_or(Value::Null))
}

fn short(value: &Value) -> String {
    let text = match value {
        Value::Null => "nothing".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn where_something_is_written_is_no_part_of_it() {
        let stack = |line: u32, digest: &str| json!({ "origin": { "line": line }, "render": { "pulls": [{ "origin": { "line": line }, "digest": digest }] } });
        assert_eq!(plain(&stack(1, "a")), plain(&stack(2, "a")));
        assert_ne!(plain(&stack(1, "a")), plain(&stack(1, "b")));
    }
}
