//! How well what was made is: words, and what a stack says of waiting for it. Values only.

use serde::{Deserialize, Serialize};

use crate::Duration;

/// Ready, progressing, degraded, unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    Ready,
    /// On its way; waiting may help.
    Progressing,
    /// It says itself that it failed; waiting does not help.
    Degraded,
    /// It cannot be told.
    Unknown,
}

impl Health {
    pub fn word(self) -> &'static str {
        match self {
            Health::Ready => "ready",
            Health::Progressing => "progressing",
            Health::Degraded => "degraded",
            Health::Unknown => "unknown",
        }
    }
}

/// One thing's health, and why it is not ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    pub health: Health,
    /// Empty where it is ready.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

impl Condition {
    pub fn ready() -> Condition {
        Condition { health: Health::Ready, why: String::new() }
    }

    pub fn progressing(why: impl Into<String>) -> Condition {
        Condition { health: Health::Progressing, why: why.into() }
    }

    pub fn degraded(why: impl Into<String>) -> Condition {
        Condition { health: Health::Degraded, why: why.into() }
    }

    pub fn unknown(why: impl Into<String>) -> Condition {
        Condition { health: Health::Unknown, why: why.into() }
    }
}

/// What happens when something is not ready in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Otherwise {
    /// It stays as it is, with an incident; what comes after it waits.
    Hold,
    /// Back to the last verified release.
    Rollback,
}

/// What a stack says of its health.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthPolicy {
    /// How long what was written may take to become ready.
    pub within: Duration,
    /// `None` where a failed check decides: `rollback: true` goes back for this too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub otherwise: Option<Otherwise>,
    /// How kinds of things tell their health, where the target does not know it by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<HealthRule>,
}

impl HealthPolicy {
    pub(crate) fn is_default(&self) -> bool {
        *self == HealthPolicy::default()
    }
}

impl Default for HealthPolicy {
    fn default() -> HealthPolicy {
        HealthPolicy { within: Duration::from_secs(300), otherwise: None, rules: Vec::new() }
    }
}

/// How one kind of thing tells its health: expressions in the driver's language, the first that holds counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthRule {
    /// The kind, as addresses begin: `example.org/Widget`.
    pub of: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub degraded: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progressing: Option<String>,
    pub ready: String,
}
