//! What a world must keep at every moment, and what it says when one of these is broken.

use std::fmt;

/// The promises that are checked, by the names of the reliability reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// P1: once faults stop, what is there is what is desired.
    Converges,
    /// P2: an act has its intent on record, with the same run, epoch and change.
    IntentFirst,
    /// P2: a receipt says only what was ordered.
    ReceiptAfter,
    /// P2: every intent has an end.
    IntentEnds,
    /// P2: what an entry names survives a crash.
    Durable,
    /// P2: a run that landed did all of it, and it is there.
    Landed,
    /// P4: a delete has positive evidence.
    Deletes,
    /// P5: epochs never go back.
    Epochs,
    /// P5: nobody acts on a lease that ran out by its own clock.
    Leases,
    /// P6: the second pass does nothing.
    Idempotent,
    /// P7: revisions move forward, or by a person's word.
    Revisions,
    /// P7: what a rollback left is not taken again.
    Rejected,
    /// P10: no write from a view older than our own last write.
    StaleWrite,
    /// Invariant 13: what is overwritten is on record.
    Kept,
    /// Invariant 13: what was never ours is not touched without a word.
    FirstContact,
    /// What the operator does not let a stack manage is not written by it.
    Bounds,
    /// A suspended stack does nothing.
    Suspended,
    /// Under the policy `hold`, drift waits for an answer; under `alert` it is left alone.
    DriftWaits,
    /// What is called drift was done by somebody else.
    DriftIsForeign,
    /// What we made is ours until it is gone or somebody lets it go.
    Remembered,
    /// A command runs at most once for a set of changes.
    CommandOnce,
    /// Whatever runs on and on waits for something.
    Waits,
    /// What is not ready in time is said once, until something is done about it.
    SaidOnce,
    /// What is called verified was ready.
    Proven,
    /// By itself a stack goes back to what was verified and was well when it was there last.
    GoesBack,
    /// An apply that waits comes back.
    Returns,
    /// The record contradicts itself.
    Record,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub promise: Promise,
    pub sentence: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.promise, self.sentence)
    }
}
