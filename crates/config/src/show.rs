//! The resolved configuration as one document, with where each value comes from.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use trued_model::Origin;
use trued_yaml::step;

use crate::load::Loaded;

/// What was written nowhere.
const DEFAULT: &str = "default";

/// Parts of an entry that have a default: where only the entry itself has an origin, they were not written.
const WITH_DEFAULT: [&str; 7] = ["/policy", "/interval", "/into", "/checks", "/previously", "/after", "/explain"];

/// Writes what was resolved. `origins` says of each value, by JSON pointer into the document, where it was written:
/// `FILE:LINE`, or `default`. Secrets stand by name and place only.
pub fn show(loaded: &Loaded) -> Value {
    let estate = &loaded.estate;
    let stacks: Map<String, Value> = estate.stacks.values().map(|stack| (stack.id.key(), json!(stack))).collect();
    let resolved = json!({
        "sources": estate.sources,
        "environments": estate.environments,
        "targets": estate.targets,
        "secrets": estate.secrets,
        "sandbox": estate.sandbox,
        "apps": estate.apps,
        "stacks": stacks,
    });
    let mut origins = Map::new();
    origins_of(&resolved, String::new(), None, &loaded.origins, &mut origins);
    let mut shown = resolved;
    shown["origins"] = origins.into();
    shown["unreadable"] = json!(estate.unreadable);
    shown["incomplete"] = json!(estate.incomplete);
    shown["usable"] = json!(loaded.usable);
    shown["digest"] = json!(loaded.digest);
    shown
}

/// Gives each value the origin of the nearest thing around it that has one.
fn origins_of(
    value: &Value,
    pointer: String,
    around: Option<(&Origin, usize)>,
    known: &BTreeMap<String, Origin>,
    all: &mut Map<String, Value>,
) {
    let nearest = known.get(&pointer).map(|origin| (origin, pointer.len())).or(around);
    match value {
        Value::Object(map) if !map.is_empty() => {
            map.iter().for_each(|(key, value)| origins_of(value, format!("{pointer}{}", step(key)), nearest, known, all));
        }
        Value::Array(items) if !items.is_empty() => {
            items.iter().enumerate().for_each(|(place, value)| origins_of(value, format!("{pointer}/{place}"), nearest, known, all));
        }
        _ => {
            let written = nearest.filter(|(_, length)| {
                let entry = pointer[..*length].matches('/').count() == 2;
                !(entry && WITH_DEFAULT.iter().any(|part| pointer[*length..].starts_with(part)))
            });
            let origin = written.map_or_else(|| DEFAULT.to_owned(), |(origin, _)| words(origin));
            all.insert(pointer, origin.into());
        }
    }
}

fn words(origin: &Origin) -> String {
    match origin.line {
        Some(line) => format!("{}:{line}", origin.file),
        None => origin.file.to_string(),
    }
}
