//! What a kind says of itself, as data: listings, the configuration schema and the reference page follow from it.

use serde_json::Value;

/// One kind of source, renderer, driver or check.
#[derive(Clone, Debug)]
pub struct Descriptor {
    /// The word in configuration: `files`, `git`, `template`.
    pub kind: &'static str,
    /// One line for people.
    pub summary: &'static str,
    /// JSON Schema (2020-12) of the kind's settings; `description` on each property is its documentation.
    pub schema: Value,
    /// A minimal example of the settings, for the reference page and tests.
    pub example: Value,
    /// Settings that name paths relative to the file that holds them, as JSON pointers; resolved before use.
    pub paths: &'static [&'static str],
    /// Renderers: the settings that may name archives from elsewhere, by their digests, as JSON pointers; `*` stands for any one step.
    pub pulls: &'static [&'static str],
}
