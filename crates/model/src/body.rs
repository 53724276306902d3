//! The typed bodies of entries, one per kind. Lists are bounded so that an entry stays small; blobs hold the rest.

use serde::{Deserialize, Serialize};

use crate::{Address, Code, Digest, Duration, Fingerprint, HoldKind, Level, Name, Occasion, Ran, Timestamp, Tool};

/// How many items a body lists before it only counts.
pub const LISTED: usize = 50;

/// `intent`: the written will to act. Blob `plan` unless it is a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// The whole plan's digest.
    pub plan: Digest,
    /// The digest of the part that runs.
    pub part: Digest,
    pub changes: u64,
    #[serde(with = "text")]
    pub epoch: u64,
    /// A command of `on_change` instead of changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The desired digest this works towards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired: Option<Digest>,
    /// How well the program that rendered it was confined, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<Level>,
    /// The programs of others that rendered it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<Tool>,
    /// Whether the release is the first one, where something runs once for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occasion: Option<Occasion>,
}

/// `receipt`: proof that a batch happened. Blob `changes`: a list of [`Landed`]. Link `receipt-of`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// From 1.
    pub batch: u64,
    pub done: u64,
    /// Done in this and all earlier batches of the run.
    pub so_far: u64,
    pub of: u64,
    /// A command's exit status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<i32>,
    /// What of it runs once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errands: Vec<Ran>,
}

/// One change that landed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Landed {
    pub address: Address,
    pub action: crate::Action,
    pub before: Option<Fingerprint>,
    pub after: Option<Fingerprint>,
}

/// `refusal`: changes a target would not make. Link `receipt-of` names the intent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    pub count: u64,
    pub items: Vec<RefusedItem>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedItem {
    pub address: Address,
    pub code: Code,
    pub message: String,
    /// What to do about it, where that is known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub next: String,
}

/// A run's outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// All of it is there, and the checks passed.
    Landed,
    Failed,
    /// A newer revision ended it after a batch.
    Superseded,
    /// Something it needs is missing.
    Blocked,
    /// The process died; a later one looked and closed it.
    Interrupted,
}

impl Outcome {
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Landed => "landed",
            Outcome::Failed => "failed",
            Outcome::Superseded => "superseded",
            Outcome::Blocked => "blocked",
            Outcome::Interrupted => "interrupted",
        }
    }
}

/// `verdict`: how a run ended. Blobs `inventory`, `desired`, `observed`. Link `outcome-of` names the intent, if there was one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    pub outcome: Outcome,
    /// Changes done, of those intended.
    pub done: u64,
    pub of: u64,
    /// Whether the whole desired state is in place and its checks passed: a verified release.
    pub verified: bool,
    /// The rendered digest this run worked towards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired: Option<Digest>,
    /// Digest of everything that was rendered from, without the renderer's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<Digest>,
    /// The limit on deletes as configured: the guard of the next run until that has landed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletes: Option<crate::Deletes>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Checked>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// What is in place and not ready yet, where the target tells; its checks have not run. A later verdict says how that ended.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub awaits: String,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "text_option")]
    pub epoch: Option<u64>,
    /// What ran once for it, as far as this run saw it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errands: Vec<Ran>,
}

/// One check's result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    pub check: String,
    pub passed: bool,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// `held`: what is not made now, and why. States the whole set: a later one replaces it, and one without parts says
/// that nothing is held any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    pub plan: Digest,
    pub parts: Vec<HeldPart>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldPart {
    pub kind: HoldKind,
    pub digest: Digest,
    pub count: u64,
    /// The first [`LISTED`] addresses.
    pub addresses: Vec<Address>,
    pub why: String,
    pub next: String,
}

/// `answered`: a person's word on an item. Link `answers`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    pub word: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    pub reason: String,
}

/// `observed`: a look that is worth recording without a change (first contact, recovery). Blob `observed`, maybe `inventory`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    pub count: u64,
    pub why: String,
    /// What ran once and has ended since.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errands: Vec<Ran>,
}

/// `observed`, without a stack: what happened on a target beside us, as the target told it, in the order of time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Happenings {
    pub target: Name,
    /// How often anything happened, told or only counted.
    pub count: u64,
    /// How many different things happened; `happened` lists the first of them.
    pub things: u64,
    pub happened: Vec<Happened>,
    /// What was not heard, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missed: Vec<String>,
}

/// One thing that happened, once or more often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Happened {
    pub address: Address,
    /// `scaled`, `rolled out`, `evicted`, …
    pub what: String,
    /// What the target said of it last.
    pub said: String,
    pub count: u64,
    pub first: Timestamp,
    pub last: Timestamp,
    #[serde(default)]
    pub evidence: crate::Evidence,
    /// The key of the stack that manages it, where one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<String>,
}

/// Where a divergence comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    ChangedOutside,
    DesiredChanged,
    NeverApplied,
    /// The same inputs rendered to something else: the renderer or driver changed.
    RendererChanged,
    /// Put back again and again.
    Flapping,
}

impl Cause {
    pub fn words(self) -> &'static str {
        match self {
            Cause::ChangedOutside => "from outside",
            Cause::DesiredChanged => "desired state changed",
            Cause::NeverApplied => "never applied",
            Cause::RendererChanged => "renderer or driver changed",
            Cause::Flapping => "from outside, again and again",
        }
    }
}

/// One drifted address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriftItem {
    pub address: Address,
    pub cause: Cause,
    /// What we made.
    pub made: Option<Fingerprint>,
    /// What is there; `None` when it is gone.
    pub found: Option<Fingerprint>,
    /// Since when, as well as the target tells.
    pub since: Timestamp,
    /// The first differing line of text, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    #[serde(default)]
    pub evidence: crate::Evidence,
}

/// `drift.opened`, `drift.updated`: one episode for one stack. Blobs `observed`, `kept:ADDRESS`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    pub policy: crate::DriftPolicy,
    pub count: u64,
    pub items: Vec<DriftItem>,
    /// The newest complete look at which all was still as made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unchanged_until: Option<Timestamp>,
    /// Digest of the set of (address, found): whether it is still the same drift.
    pub set: Digest,
    pub next: String,
}

/// `drift.closed`, `incident.closed`. Link `closes`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    /// `reverted`, `adopted`, `ignored`, `gone`, `answered`, `recovered`.
    pub how: String,
}

/// `incident.opened`: something people must know. At most one open per kind and stack (or source).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// `fetch`, `unmoved`, `rewind`, `render`, `check`, `health`, `refused`, `unexplained`, `interrupted`, `panic`, `unseen`, `orphan`, `errand`, `configuration`.
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Name>,
    pub message: String,
    pub next: String,
    /// The words `answer` takes; empty when it closes by itself once its facts are gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub words: Vec<String>,
    /// How many of this kind were opened here before within a day.
    pub recurrence: u64,
}

/// `rollback`: going back to a verified release. Link `caused-by` where a failed check did it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollback {
    /// Ledger index of the release's verdict.
    pub to: u64,
    /// The desired digest that is left and will not be taken again.
    pub rejects: Digest,
    /// The desired digest gone back to. Blob `desired`.
    pub desired: Digest,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// `approval`: a person's yes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approved {
    pub digest: Digest,
    pub until: Timestamp,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// `suspend`, `resume`, `denial`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    pub reason: String,
}

/// `config.changed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigChanged {
    pub before: Option<Digest>,
    pub after: Digest,
    /// What changed, one line each, at most [`LISTED`].
    pub lines: Vec<String>,
    /// What of it lets more happen without a person, one line each, at most [`LISTED`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub loosened: Vec<String>,
}

/// `blind.start`, `blind.end`: a target could not be seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blind {
    pub why: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Timestamp>,
}

/// `heartbeat`: that we were awake, and when each stack was last seen completely. Blob `looks`: a [`Looks`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    pub stacks: u64,
    pub interval: Duration,
}

/// `key.rotated`: another data key seals from now on. Keys stand by name only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRotated {
    /// The key that seals.
    pub key: String,
    /// Older keys, kept to open what they sealed; oldest first.
    pub kept: Vec<String>,
    /// The key that was lost, where that is why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// The newest complete look at each stack, by [`crate::StackId::key`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Looks {
    pub at: std::collections::BTreeMap<String, Timestamp>,
}

/// 64-bit integers stand in entries as text: canonical JSON's numbers are doubles.
mod text {
    use serde::{Deserializer, Serializer};

    pub fn serialize<S: Serializer>(value: &u64, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        crate::text::parsed(from)
    }
}

mod text_option {
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(value: &Option<u64>, to: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => to.collect_str(value),
            None => to.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| text.parse().map_err(de::Error::custom)).transpose()
    }
}
