//! Small things that every fake door says of itself.

use serde_json::json;
use trued_doors::Descriptor;
use trued_model::Name;

pub fn descriptor(kind: &'static str) -> Descriptor {
    Descriptor { kind, summary: "simulated", schema: json!({}), example: json!({}), paths: &[], pulls: &[] }
}

/// A name that the code itself writes.
///
/// # Panics
/// When it is none.
pub fn name(text: &str) -> Name {
    text.parse().expect("names in simulated worlds are names")
}
