//! How a stack stands, in the words of `status`: health, drift, holds. Judged from what the record says; looks at nothing.

use trued_model::body::{HeldPart, Outcome, Verdict};
use trued_model::{Health, HoldKind, Level, StackId};

use crate::{OpenDrift, OpenIncident, StackMemory};

/// How one stack stands, as of the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub stack: StackId,
    /// The revision that is in place.
    pub revision: Option<String>,
    pub health: Health,
    /// Why it is not ready; empty when it is.
    pub why: String,
    /// The entry that shows the health; its time is since when.
    pub shown_by: Option<u64>,
    pub verdict: Option<(u64, Verdict)>,
    pub drift: Option<OpenDrift>,
    /// The `held` entry that stands, and its parts.
    pub held: Option<(u64, Vec<HeldPart>)>,
    /// The `suspend` that stands.
    pub suspended: Option<u64>,
    /// The `rollback` that stands.
    pub rolled_back: Option<u64>,
    pub incidents: Vec<OpenIncident>,
    /// How well the program was confined that rendered what was made last, if one did.
    pub sandbox: Option<Level>,
}

impl Status {
    /// Whether changes or holds remain.
    pub fn remains(&self) -> bool {
        let stopped = self.suspended.is_some() || self.rolled_back.is_some();
        self.health != Health::Ready || self.drift.is_some() || self.held.is_some() || stopped || !self.incidents.is_empty()
    }
}

/// Judges how a stack stands.
pub fn status(stack: &StackId, memory: &StackMemory) -> Status {
    let (health, why, shown_by) = health(memory);
    Status {
        stack: stack.clone(),
        revision: memory.landed.as_ref().filter(|_| !memory.is_past()).and_then(|release| release.revision.clone()),
        health,
        why,
        shown_by,
        verdict: memory.last_verdict.clone(),
        drift: memory.drift.clone(),
        held: memory.held.as_ref().map(|(index, held)| (*index, held.parts.clone())),
        suspended: memory.suspended,
        rolled_back: memory.rollback.as_ref().map(|rolled| rolled.index),
        incidents: memory.incidents.values().cloned().collect(),
        sandbox: memory.sandbox,
    }
}

fn health(memory: &StackMemory) -> (Health, String, Option<u64>) {
    if let Some(blind) = memory.blind {
        return (Health::Unknown, "the target cannot be seen".to_owned(), Some(blind));
    }
    if let Some(intent) = memory.intents.keys().next() {
        return (Health::Progressing, format!("the run of #{intent} has not ended"), Some(*intent));
    }
    let Some((index, verdict)) = &memory.last_verdict else {
        return match memory.observed {
            Some((index, _)) => (Health::Unknown, "looked at, but nothing has run".to_owned(), Some(index)),
            None => (Health::Unknown, "nothing is on record".to_owned(), None),
        };
    };
    let words = |health: Health, why: &str| (health, why.to_owned(), Some(*index));
    if let Some(open) = memory.incidents.get("health") {
        return (Health::Degraded, open.incident.message.clone(), Some(open.index));
    }
    if let Some(check) = verdict.checks.iter().find(|check| !check.passed) {
        return (Health::Degraded, format!("check {} failed: {}", check.check, check.why), Some(*index));
    }
    match verdict.outcome {
        Outcome::Landed if !verdict.awaits.is_empty() => words(Health::Progressing, &format!("not ready yet: {}", verdict.awaits)),
        Outcome::Landed if memory.is_past() => words(Health::Ready, "nobody wants it any more, and nothing of it is left to it"),
        Outcome::Landed => words(Health::Ready, ""),
        Outcome::Blocked if verdict.why.is_empty() && deferred(memory) => words(Health::Progressing, "part of it waits"),
        Outcome::Superseded | Outcome::Interrupted => words(Health::Progressing, verdict.outcome.word()),
        Outcome::Failed | Outcome::Blocked if verdict.why.is_empty() => words(Health::Degraded, verdict.outcome.word()),
        Outcome::Failed | Outcome::Blocked => words(Health::Degraded, &verdict.why),
    }
}

/// Whether something waits for a kind that the target does not know yet.
fn deferred(memory: &StackMemory) -> bool {
    memory.held.as_ref().is_some_and(|(_, held)| held.parts.iter().any(|part| part.kind == HoldKind::Deferred))
}
