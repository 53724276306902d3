//! A clock that stands still until a test moves it.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use trued_model::{Duration, Timestamp};

use crate::Clock;

/// Wall clock and boot clock that only a test moves, each on its own. Ids and chance are counted, not drawn.
#[derive(Debug)]
pub struct SteppedClock {
    wall: AtomicI64,
    since_boot: AtomicU64,
    count: AtomicU64,
}

impl SteppedClock {
    /// Starts at an instant, one hour after boot.
    pub fn at(now: Timestamp) -> SteppedClock {
        SteppedClock { wall: AtomicI64::new(now.0), since_boot: AtomicU64::new(3_600_000), count: AtomicU64::new(0) }
    }

    /// Lets time pass on both clocks.
    pub fn pass(&self, span: Duration) {
        self.wall.fetch_add(i64::try_from(span.0).unwrap_or(i64::MAX), Ordering::SeqCst);
        self.since_boot.fetch_add(span.0, Ordering::SeqCst);
    }

    /// Sets the wall clock alone, as somebody with the right to does.
    pub fn set_wall(&self, now: Timestamp) {
        self.wall.store(now.0, Ordering::SeqCst);
    }
}

impl Clock for SteppedClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.wall.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> u64 {
        self.since_boot.load(Ordering::SeqCst)
    }

    fn fresh_id(&self) -> String {
        format!("01932f6b-0000-7000-8000-{:012x}", self.count.fetch_add(1, Ordering::SeqCst))
    }

    fn chance(&self, bound: u64) -> u64 {
        self.count.fetch_add(1, Ordering::SeqCst) % bound.max(1)
    }
}
