//! Time of a simulated world: the executor's paused clock, a wall clock that may jump, and ids from the seed.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;
use trued_doors::Clock;
use trued_model::Timestamp;

use crate::chance::Chance;

/// 2026-01-01T00:00:00Z.
const BEGINNING: i64 = 1_767_225_600_000;

/// A [`Clock`] over the paused clock of the executor it is made in.
pub struct SimClock {
    started: Instant,
    jumped: AtomicI64,
    chance: Mutex<Chance>,
}

impl SimClock {
    pub fn new(seed: u64) -> SimClock {
        SimClock { started: Instant::now(), jumped: AtomicI64::new(0), chance: Mutex::new(Chance::new(seed)) }
    }

    /// Moves the wall clock, forwards or back; the other one does not notice.
    pub fn jump(&self, millis: i64) {
        self.jumped.fetch_add(millis, Ordering::Relaxed);
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn drawn<T>(&self, draw: impl FnOnce(&mut Chance) -> T) -> T {
        draw(&mut self.chance.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        Timestamp(BEGINNING.saturating_add_unsigned(self.elapsed()).saturating_add(self.jumped.load(Ordering::Relaxed)))
    }

    fn monotonic(&self) -> u64 {
        self.elapsed() + 1_000_000
    }

    fn fresh_id(&self) -> String {
        let (high, low) = self.drawn(|chance| (chance.draw(), chance.draw()));
        let time = u64::try_from(self.now().0).unwrap_or(0);
        let (first, second) = (time >> 16 & 0xffff_ffff, time & 0xffff);
        format!("{first:08x}-{second:04x}-7{:03x}-{:04x}-{:012x}", high & 0xfff, low >> 48 & 0x3fff | 0x8000, low & 0xffff_ffff_ffff)
    }

    fn chance(&self, bound: u64) -> u64 {
        self.drawn(|chance| chance.below(bound))
    }
}
