//! One object as it is known without its values: what its metadata tell, and what a look at the values came to once.

use std::collections::BTreeMap;

use serde_json::Value;
use trued_model::{Condition, Digest, Evidence, Fingerprint, canonical};

use crate::mark::Mark;
use crate::object::text;
use crate::{fields, former};

/// One object, as far as its metadata tell.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub uid: String,
    /// The server's version as it writes it, and as a number: an older view never replaces a newer one.
    pub version: String,
    pub number: u64,
    pub mark: Option<Mark>,
    /// What we own by having applied it, as one word that changes whenever that does; `None` where we own nothing.
    pub owned: Option<Digest>,
    /// Whether an autoscaler decides how many replicas there are.
    pub autoscaled: bool,
    /// Whether a tool that applies manifests owns something, or will be said to.
    pub tooled: bool,
    /// Being deleted, and what that waits for.
    pub leaving: Option<Vec<String>>,
    /// What a look at its values said, as long as it holds.
    pub settled: Option<Settled>,
    /// Whether anybody wrote a status.
    pub has_status: bool,
    /// How well it is at this very version, where that is known.
    pub judged: Option<Judged>,
}

/// An object's health, by the rule that was asked by; `None` for what is known of its kind.
#[derive(Clone, Debug)]
pub(crate) struct Judged {
    pub rule: Option<Digest>,
    pub condition: Condition,
}

/// What the values of an object came to, once they were read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settled {
    /// Of what we own of it; of all of it where we own nothing.
    pub identity: Option<Digest>,
    /// Whether applying that would change anything, by fingerprint.
    pub is_as: BTreeMap<Fingerprint, bool>,
    /// What it was said to be last.
    pub given: Option<Fingerprint>,
    pub bytes: u64,
    /// Who changed it last, beside us.
    pub evidence: Evidence,
}

impl Entry {
    /// Reads an object's or its metadata's.
    pub fn read(object: &Value) -> Entry {
        let of = |key| text(object, &["metadata", key]).unwrap_or_default().to_owned();
        let finalizers = || {
            let list = crate::object::at(object, &["metadata", "finalizers"]).and_then(Value::as_array);
            list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let owned = fields::ours(object).map(|owner| Digest::of(&canonical(&(owner.fields, owner.time, owner.api_version))));
        Entry {
            uid: of("uid"),
            number: number(&of("resourceVersion")),
            version: of("resourceVersion"),
            mark: Mark::read(object),
            owned,
            autoscaled: fields::autoscaled(object),
            tooled: former::tooled(object),
            leaving: text(object, &["metadata", "deletionTimestamp"]).map(|_| finalizers()),
            settled: None,
            has_status: fields::status(object),
            judged: None,
        }
    }

    /// Whether everything that was known of another view of this object still holds: what is ours of it is untouched.
    pub fn continues(&self, before: &Entry) -> bool {
        let same_fields = match (&self.owned, &before.owned) {
            (Some(now), Some(then)) => now == then,
            (None, None) => self.version == before.version,
            _ => false,
        };
        same_fields && self.uid == before.uid && self.mark == before.mark && self.leaving.is_some() == before.leaving.is_some()
    }
}

/// A version as a number; servers count.
pub(crate) fn number(version: &str) -> u64 {
    version.parse().unwrap_or(0)
}
