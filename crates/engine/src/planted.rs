//! Known bugs that can be switched on, in the real engine and runtime, to prove that the simulator's checkers catch
//! them. Without the feature `planted` every switch is a constant `false` and nothing of this is left in a build.

/// A bug somebody could write, each named by what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bug {
    /// An address that could not be seen counts as absent.
    UnseenIsAbsent,
    /// Deletes although another stack's render is incomplete.
    DeleteWithoutWaiting,
    /// Deletes what another stack has taken over.
    DeleteWhatMoved,
    /// Ignores the limit on deletes.
    NoDeleteLimit,
    /// An empty render deletes everything.
    EmptyDeletes,
    /// Takes any approval for this plan's.
    ForeignApproval,
    /// Overwrites what was never ours.
    ForeignOverwritten,
    /// Acts before the intent is on record.
    ActBeforeIntent,
    /// Writes with a view older than its own last write.
    StaleView,
    /// Ends a walk after its first batch and calls it landed.
    HalfAWalk,
    /// Does not keep foreign bytes before they go.
    KeepNothing,
    /// Leaves an interrupted run open.
    LeaveIntentOpen,
    /// Applies although its lease is lost.
    NoFence,
    /// Follows a rewound source.
    FollowRewind,
    /// Takes again, after a rollback, what the rollback left.
    RetakeRejected,
    /// Records that a batch happened before it did.
    ReceiptFirst,
    /// Takes what is not ready yet for ready.
    UnreadyIsReady,
    /// Remembers as a release to go back to what was in place and never proven.
    UnprovenRelease,
    /// Waits on when the time to become ready is over.
    NoDeadline,
    /// Writes what the operator does not let the stack manage.
    OutOfBounds,
}

impl Bug {
    pub const ALL: &'static [Bug] = &[
        Bug::UnseenIsAbsent,
        Bug::DeleteWithoutWaiting,
        Bug::DeleteWhatMoved,
        Bug::NoDeleteLimit,
        Bug::EmptyDeletes,
        Bug::ForeignApproval,
        Bug::ForeignOverwritten,
        Bug::ActBeforeIntent,
        Bug::StaleView,
        Bug::HalfAWalk,
        Bug::KeepNothing,
        Bug::LeaveIntentOpen,
        Bug::NoFence,
        Bug::FollowRewind,
        Bug::RetakeRejected,
        Bug::ReceiptFirst,
        Bug::UnreadyIsReady,
        Bug::UnprovenRelease,
        Bug::NoDeadline,
        Bug::OutOfBounds,
    ];
}

#[cfg(feature = "planted")]
mod switch {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Switches one bug on, or all off, for this thread.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.with(|planted| planted.set(bug));
    }

    /// Whether a bug is switched on.
    pub fn has(bug: Bug) -> bool {
        PLANTED.with(|planted| planted.get() == Some(bug))
    }
}

#[cfg(not(feature = "planted"))]
mod switch {
    use super::Bug;

    /// Whether a bug is switched on: never, in this build.
    pub const fn has(_bug: Bug) -> bool {
        false
    }
}

pub use switch::*;
