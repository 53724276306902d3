//! The resolved configuration as one document, with where each value comes from.

use serde_json::{Map, Value, json};

use crate::load::Loaded;

/// Writes what was resolved; `origins` says where values were written, by JSON pointer into the document. What has no
/// origin of its own is a default, or stands with what is around it. Secrets stand by name and place only.
pub fn show(loaded: &Loaded) -> Value {
    let estate = &loaded.estate;
    let stacks: Map<String, Value> = estate.stacks.values().map(|stack| (stack.id.key(), json!(stack))).collect();
    let origin = |origin: &trued_model::Origin| match origin.line {
        Some(line) => format!("{}:{line}", origin.file),
        None => origin.file.clone(),
    };
    let origins: Map<String, Value> = loaded.origins.iter().map(|(pointer, place)| (pointer.clone(), origin(place).into())).collect();
    let mut shown = json!({
        "sources": estate.sources,
        "environments": estate.environments,
        "targets": estate.targets,
        "secrets": estate.secrets,
        "apps": estate.apps,
        "stacks": stacks,
        "unreadable": estate.unreadable,
        "incomplete": estate.incomplete,
        "usable": loaded.usable,
        "digest": loaded.digest,
    });
    shown["origins"] = origins.into_iter().filter(|(pointer, _)| shown.pointer(pointer).is_some()).collect::<Map<_, _>>().into();
    shown
}
