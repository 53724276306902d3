//! Bounds on a repository and on one fetch, each with what it is where the operator says nothing.

use serde::Deserialize;
use serde_json::{Value, json};
use trued_model::Duration;

use super::repository::LARGEST_OBJECT;

/// The bounds.
#[derive(Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Limits {
    /// Most files and links in one folder that is rendered, or in one working tree.
    pub(crate) files: u64,
    /// Most bytes in all of them together.
    pub(crate) bytes: u64,
    /// Most bytes one fetch may receive.
    pub(crate) fetch_bytes: u64,
    /// Most objects one fetch may receive.
    pub(crate) fetch_objects: u64,
    /// Most references the server may tell of.
    pub(crate) fetch_refs: u64,
    /// Most bytes in one object that is fetched.
    pub(crate) object_bytes: u64,
    /// Most bytes in all objects of one fetch, inflated.
    pub(crate) fetch_inflated: u64,
    /// Longest time one fetch may take.
    pub(crate) fetch_time: Duration,
    /// Longest silence in it.
    pub(crate) fetch_idle: Duration,
    /// Packs in the object store, one for each fetch that brought something, before it is fetched afresh.
    pub(crate) packs: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            files: 200_000,
            bytes: 4 << 30,
            fetch_bytes: 2 << 30,
            fetch_objects: 2_000_000,
            fetch_refs: 100_000,
            object_bytes: 128 << 20,
            fetch_inflated: 16 << 30,
            fetch_time: Duration::from_secs(600),
            fetch_idle: Duration::from_secs(60),
            packs: 200,
        }
    }
}

/// The schema of `limits`.
pub(super) fn schema() -> Value {
    let limits = Limits::default();
    let count =
        |default: u64, description: &str| json!({ "type": "integer", "minimum": 1, "default": default, "description": description });
    let span =
        |default: Duration, description: &str| json!({ "type": "string", "default": default.to_string(), "description": description });
    let mut object = count(limits.object_bytes, "Most bytes in one object that is fetched.");
    object["maximum"] = LARGEST_OBJECT.into();
    json!({
        "type": "object", "additionalProperties": false, "description": "A repository beyond these is refused, not cut short.",
        "properties": {
            "files": count(limits.files, "Most files and links in one folder that is rendered."),
            "bytes": count(limits.bytes, "Most bytes in all of them together."),
            "fetch_bytes": count(limits.fetch_bytes, "Most bytes one fetch may receive."),
            "fetch_objects": count(limits.fetch_objects, "Most objects one fetch may receive."),
            "fetch_refs": count(limits.fetch_refs, "Most references the server may tell of."),
            "object_bytes": object,
            "fetch_inflated": count(limits.fetch_inflated, "Most bytes in all objects of one fetch, inflated."),
            "fetch_time": span(limits.fetch_time, "Longest time one fetch may take."),
            "fetch_idle": span(limits.fetch_idle, "Longest silence of the server in it."),
            "packs": count(limits.packs, "Packs in the local object store before it is fetched afresh.")
        }
    })
}
