//! What happens on a target beside us, as the target itself tells it. Values; judge nothing.

use trued_model::{Address, Evidence, Timestamp};

/// Something that happened on a target: a scaling, a rollout, an eviction, a change that an audit log saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happening {
    pub at: Timestamp,
    pub address: Address,
    /// In a word or two: `scaled`, `rolled out`, `evicted`.
    pub what: String,
    /// What the target says of it, in one short line.
    pub said: String,
    /// How often it happened since it was told last.
    pub count: u64,
    /// Who, as far as that is told.
    pub evidence: Evidence,
    /// Worth telling only of what a stack manages.
    pub only_managed: bool,
    /// From where to go on after a restart, so that nothing is told twice.
    pub mark: Option<String>,
}

/// What a target tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Happened(Box<Happening>),
    /// Some of what happened was not heard, and why.
    Missed(String),
}
