//! What was seen on a target, and how completely.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Address, Fingerprint, Timestamp};

/// What the target itself tells of a thing's last change. Not proof of a person.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// When the target says it last changed (files: mtime).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_at: Option<Timestamp>,
    /// Whom the target names (files: the owner), and how good that is as evidence (records.md 4.7).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grade: Option<String>,
    /// The number the system knows that user by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The user who logged in for it, where that is another one (`sudo`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
    /// The program that did it, without its arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// What this rests on: `fanotify`, `file owner`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen_by: Option<String>,
    /// Who was logged in when it was found; circumstance, and no more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logged_in: Vec<String>,
}

/// One thing as it is on the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    pub fingerprint: Fingerprint,
    pub bytes: u64,
    /// Identity beyond the name, where the target has one (a UID): same name, other thing.
    pub uid: Option<String>,
    pub evidence: Arc<Evidence>,
}

/// One address, looked at. The four answers are never mixed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Present(State),
    Absent,
    /// Could not be decided; says why.
    Unknown(String),
    /// May not be looked at; says why.
    Denied(String),
}

impl Seen {
    pub fn fingerprint(&self) -> Option<&Fingerprint> {
        match self {
            Seen::Present(state) => Some(&state.fingerprint),
            _ => None,
        }
    }

    /// Whether this look decides what is there.
    pub fn decided(&self) -> bool {
        matches!(self, Seen::Present(_) | Seen::Absent)
    }
}

/// How completely a set was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Every address that was asked for has an answer, and the target stood still enough to believe it.
    Complete,
    /// Some are undecided; says why.
    Partial(String),
    /// The target as a whole could not be seen (missing root, no connection).
    Unknown(String),
}

/// One look at a target, for one stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    pub at: Timestamp,
    pub extent: Extent,
    pub seen: BTreeMap<Address, Seen>,
}

impl Observation {
    /// The answer for an address; one that was not asked for is unknown, never absent.
    pub fn get(&self, address: &Address) -> Seen {
        match (&self.extent, self.seen.get(address)) {
            (Extent::Unknown(why), _) => Seen::Unknown(why.clone()),
            (_, Some(seen)) => seen.clone(),
            (_, None) => Seen::Unknown("was not looked at".to_owned()),
        }
    }
}
