//! The walk of one run: which step comes after which. One match, one page; what each step does is the runtime's.
//!
//! No step calls an earlier one. What goes wrong ends the walk with a word; the next wake starts at the beginning.

use trued_model::body::Outcome;

use crate::planted::{self, Bug};

/// Where a walk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Woken,
    Recovering,
    Rendering,
    Observing,
    Planning,
    /// Writing down drift, holds and incidents found by the look and the plan.
    Noting(Planned),
    Keeping(Planned),
    Intending(Planned),
    /// The batch in hand, from 0.
    Applying(Planned, u32),
    Receipting(Planned, u32),
    Confirming(Planned),
    Commanding(Planned),
    Checking(Planned),
    Concluding,
    Ended,
}

/// What a plan asks for, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Planned {
    /// Batches of changes that write to the target.
    pub batches: u32,
    /// Changes to the inventory alone.
    pub bookkeeping: bool,
    /// Whether bytes that are not ours go.
    pub keeps: bool,
    /// Whether the desired state that would be in place has no verdict yet, or its checks have not passed.
    pub unproven: bool,
    /// Whether everything desired is in place once the free part has run.
    pub whole: bool,
    /// Whether commands run after a change.
    pub commands: bool,
    /// Whether the target's receipts say what is there afterwards.
    pub confirms: bool,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The walk begins; whether the record has intents without an end.
    Begun {
        open_intents: bool,
    },
    /// A step that can only succeed or fail has succeeded.
    Done,
    Planned(Planned),
    /// A batch ended; whether the target refused any of it.
    Applied {
        refused: bool,
    },
    /// A receipt is on record; whether a newer revision waits, or the run is told to stop, and whether what was refused ends
    /// it: what follows comes only after that.
    Received {
        newer: bool,
        refused: bool,
        ends: bool,
    },
    Checked {
        passed: bool,
    },
    /// The step failed; the walk ends, and the record says how if something was begun.
    Failed,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Look at what open intents were about, and close them.
    Recover,
    Render,
    Observe,
    Plan,
    Note,
    /// Store the bytes that are about to go.
    Keep,
    Intend,
    Apply(u32),
    Receipt(u32),
    Confirm,
    Command,
    Check,
    /// Write the verdict.
    Conclude(Outcome),
    /// Nothing more; the walk is over.
    End,
}

/// Gives the step that follows.
pub fn step(phase: Phase, event: Event) -> (Phase, Effect) {
    use Effect as Do;
    match (phase, event) {
        (Phase::Woken, Event::Begun { open_intents: true }) if !planted::has(Bug::LeaveIntentOpen) => (Phase::Recovering, Do::Recover),
        (Phase::Woken, Event::Begun { .. }) | (Phase::Recovering, Event::Done) => (Phase::Rendering, Do::Render),
        (Phase::Rendering, Event::Done) => (Phase::Observing, Do::Observe),
        (Phase::Observing, Event::Done) => (Phase::Planning, Do::Plan),
        (Phase::Planning, Event::Planned(planned)) => (Phase::Noting(planned), Do::Note),
        (Phase::Noting(planned), Event::Done) if planned.batches > 0 && planned.keeps && !planted::has(Bug::KeepNothing) => {
            (Phase::Keeping(planned), Do::Keep)
        }
        (Phase::Noting(planned) | Phase::Keeping(planned), Event::Done) if planned.batches > 0 => {
            match planted::has(Bug::ActBeforeIntent) {
                true => (Phase::Applying(planned, 0), Do::Apply(0)),
                false => (Phase::Intending(planned), Do::Intend),
            }
        }
        (Phase::Noting(planned), Event::Done) if planned.commands => (Phase::Commanding(planned), Do::Command),
        (Phase::Noting(planned), Event::Done) if planned.whole && planned.unproven => (Phase::Checking(planned), Do::Check),
        (Phase::Noting(planned), Event::Done) if planned.bookkeeping => (Phase::Concluding, Do::Conclude(outcome(planned))),
        (Phase::Noting(_), Event::Done) => (Phase::Ended, Do::End),

        (Phase::Intending(planned), Event::Done) => match planted::has(Bug::ReceiptFirst) {
            true => (Phase::Receipting(planned, 0), Do::Receipt(0)),
            false => (Phase::Applying(planned, 0), Do::Apply(0)),
        },
        (Phase::Intending(_), Event::Failed) => (Phase::Ended, Do::End),
        (Phase::Applying(planned, batch), Event::Applied { .. }) => (Phase::Receipting(planned, batch), Do::Receipt(batch)),
        (Phase::Receipting(..), Event::Received { newer: true, .. }) => (Phase::Concluding, Do::Conclude(Outcome::Superseded)),
        (Phase::Receipting(..), Event::Received { ends: true, .. }) => (Phase::Concluding, Do::Conclude(Outcome::Failed)),
        (Phase::Receipting(planned, batch), Event::Received { .. }) if batch + 1 < planned.batches && !planted::has(Bug::HalfAWalk) => {
            (Phase::Applying(planned, batch + 1), Do::Apply(batch + 1))
        }
        (Phase::Receipting(..), Event::Received { refused: true, .. }) => (Phase::Concluding, Do::Conclude(Outcome::Failed)),
        (Phase::Receipting(planned, _), Event::Received { .. }) if !planned.confirms => (Phase::Confirming(planned), Do::Confirm),
        (Phase::Receipting(planned, _), Event::Received { .. }) | (Phase::Confirming(planned), Event::Done) if planned.commands => {
            (Phase::Commanding(planned), Do::Command)
        }
        (Phase::Receipting(planned, _), Event::Received { .. })
        | (Phase::Confirming(planned), Event::Done)
        | (Phase::Commanding(planned), Event::Done) => match planned.whole {
            true => (Phase::Checking(planned), Do::Check),
            false => (Phase::Concluding, Do::Conclude(Outcome::Blocked)),
        },
        (Phase::Checking(_), Event::Checked { passed }) => {
            (Phase::Concluding, Do::Conclude(if passed { Outcome::Landed } else { Outcome::Failed }))
        }
        (Phase::Concluding, _) => (Phase::Ended, Do::End),

        // Whatever fails after the intent is concluded, so that the intent has an end; before it, nothing was begun.
        (Phase::Applying(..) | Phase::Receipting(..) | Phase::Confirming(_) | Phase::Commanding(_) | Phase::Checking(_), _) => {
            (Phase::Concluding, Do::Conclude(Outcome::Failed))
        }
        (_, _) => (Phase::Ended, Do::End),
    }
}

fn outcome(planned: Planned) -> Outcome {
    if planned.whole { Outcome::Landed } else { Outcome::Blocked }
}
