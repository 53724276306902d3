//! What a release runs once, before or after what lasts of it: values only.

use serde::{Deserialize, Serialize};

use crate::{Address, Digest, HealthRule, Resource, Timestamp};

/// Something that runs once for each release, at its place in the order, and is no lasting part of what is desired: that it is
/// gone afterwards is no drift.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errand {
    pub resource: Resource,
    /// Its turn when the stack is made for the first time; `None` where it has none then.
    pub first: Option<Turn>,
    /// Its turn when something was in place before.
    pub next: Option<Turn>,
    pub clears: Clears,
    /// How its end is told, where the health of its kind tells something else.
    pub ends: Vec<HealthRule>,
}

/// When an errand runs within its release.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Turn {
    /// What people call it.
    pub called: String,
    /// What ranks lower comes before it, what ranks higher after it, once it is done.
    pub rank: i32,
    /// The order among errands of one rank.
    pub weight: i32,
    /// The order among those of one weight.
    pub kind: i32,
    /// Whether it is done when it says so, and not as soon as it is there.
    pub ends: bool,
    /// Whether it may go by itself once it has ended, so that its absence tells nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub vanishes: bool,
}

/// When what an errand left is removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clears {
    /// What an earlier run left goes before the next one begins.
    pub before: bool,
    /// Once all of its release's errands are done.
    pub done: bool,
    /// Once it has failed.
    pub failed: bool,
}

/// Whether a release is a stack's first or comes after another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Occasion {
    First,
    Next,
}

/// How far an errand came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Progress {
    Begun,
    Done,
    /// It failed, or nobody can tell how it ended. It does not run again for this release without a person's word.
    Failed,
}

/// What became of an errand. Stands in the body of whatever entry tells of it, in the list `errands`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ran {
    pub address: Address,
    pub called: String,
    /// The desired digest of the release it ran for.
    pub of: Digest,
    pub progress: Progress,
    /// When it was begun.
    pub since: Timestamp,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

impl Ran {
    /// The errand as people know it: what it is called, and where it is.
    pub fn words(&self) -> String {
        format!("{} {}", self.called, self.address)
    }
}
