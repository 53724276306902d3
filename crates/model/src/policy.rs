//! A stack's policy as configuration wrote it: part of what a plan's digest covers.

use serde::{Deserialize, Serialize};

/// What happens when the target differs from what we made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DriftPolicy {
    /// Put it back.
    #[default]
    Revert,
    /// Report it; leave it alone until a commit changes it.
    Alert,
    /// Report it; nothing of the stack runs until a person answers.
    Hold,
}

/// What happens to something that exists, differs, and was never ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnExisting {
    #[default]
    Hold,
    /// Keep its bytes in the record and replace it.
    TakeOver,
}

/// What happens where a change cannot be made in place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnImmutable {
    #[default]
    Hold,
    /// Remove it and make it anew, once the target has said that it would take the new one.
    Replace,
}

impl OnImmutable {
    fn is_hold(&self) -> bool {
        *self == OnImmutable::Hold
    }
}

/// What happens to a resource of ours that is no longer desired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnDelete {
    #[default]
    Delete,
    /// Leave it where it is and stop managing it.
    Retain,
    /// Leave it, keep it in the inventory, and say so in every plan.
    Report,
}

/// Fields of objects that a stack is not about: neither written nor compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ignore {
    /// Of objects of this kind only, as addresses write it (`apps/Deployment`) or the last word of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Of objects whose names fit this glob only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// JSON pointers; an item of a list by its place or by its `name`.
    pub fields: Vec<String>,
}

/// How many deletes may run without a person's yes. Held when both bounds are exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deletes {
    /// At most this many, whatever the share.
    pub count: u32,
    /// At most this share of the stack's resources, in percent.
    pub percent: u32,
}

impl Default for Deletes {
    fn default() -> Deletes {
        Deletes { count: 5, percent: 20 }
    }
}

impl Deletes {
    /// The tighter bound of each kind.
    pub fn stricter(self, other: Deletes) -> Deletes {
        Deletes { count: self.count.min(other.count), percent: self.percent.min(other.percent) }
    }
}

/// All of a stack's rules.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    pub drift: DriftPolicy,
    pub on_existing: OnExisting,
    #[serde(default, skip_serializing_if = "OnImmutable::is_hold")]
    pub on_immutable: OnImmutable,
    pub deletes: Deletes,
    /// Globs over addresses as the stack's source spells them, first match wins; [`OnDelete::Delete`] otherwise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on_delete: Vec<(String, OnDelete)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<Ignore>,
    /// Globs of the only addresses the operator lets it manage; all of the target where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manage: Option<Vec<String>>,
    /// Globs of files that are sealed whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sensitive: Vec<String>,
    /// Whether a change from outside must be explained by a person even after it is put back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub explain: bool,
    /// Whether a failed check goes back to the last verified release by itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rollback: bool,
    /// Programs run once per set of changes, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on_change: Vec<Command>,
}

/// A program the operator named, with its arguments. Never a shell line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    pub name: String,
    pub argv: Vec<String>,
}
