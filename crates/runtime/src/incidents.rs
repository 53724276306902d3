//! Incidents of a stack: opened once while their facts stand, closed when the facts are gone and, where asked, answered.

use trued_engine::StackMemory;
use trued_model::body::{Closed, Incident};
use trued_model::{Draft, Duration, Kind, StackId, Timestamp};

use crate::record::{Drafting, draft};

/// How far back an earlier incident of the same kind counts as the same trouble again.
const AGAIN_WITHIN: Duration = Duration::from_secs(86_400);

/// What to say when an incident opens.
pub(crate) struct Trouble<'a> {
    pub kind: &'a str,
    pub message: String,
    pub next: &'a str,
    /// Words that `answer` takes; empty when it closes by itself.
    pub words: &'a [&'a str],
}

/// Opens an incident, unless one of its kind is open.
pub(crate) fn open(memory: &StackMemory, stack: &StackId, now: Timestamp, trouble: Trouble) -> Option<Draft> {
    if memory.incidents.contains_key(trouble.kind) {
        return None;
    }
    let earlier = memory.recurrences.get(trouble.kind);
    let recurrence = earlier.map_or(0, |times| times.iter().filter(|at| **at > now - AGAIN_WITHIN).count());
    let incident = Incident {
        kind: trouble.kind.to_owned(),
        source: None,
        message: trouble.message,
        next: trouble.next.to_owned(),
        words: trouble.words.iter().map(|word| (*word).to_owned()).collect(),
        recurrence: recurrence as u64,
    };
    Some(draft(Kind::IncidentOpened, Some(stack), now, "observation", &incident))
}

/// Closes an incident whose question is no longer asked.
pub(crate) fn settle(memory: &StackMemory, stack: &StackId, now: Timestamp, kind: &str, how: &str) -> Option<Draft> {
    let open = memory.incidents.get(kind)?;
    let closed = draft(Kind::IncidentClosed, Some(stack), now, "observation", &Closed { how: how.to_owned() });
    Some(closed.link("closes", Some(open.index)))
}

/// Closes an incident whose facts are gone. One that asks for an answer stays until it has one.
pub(crate) fn close(memory: &StackMemory, stack: &StackId, now: Timestamp, kind: &str, how: &str) -> Option<Draft> {
    let open = memory.incidents.get(kind)?;
    if !open.incident.words.is_empty() && !open.answered {
        return None;
    }
    settle(memory, stack, now, kind, how)
}
