//! What the measured programs of this folder share.

use std::sync::atomic::{AtomicU64, Ordering};

use trued_doors::Clock;
use trued_model::Timestamp;

/// Time is no part of what is measured: it goes on by a millisecond whenever it is asked for.
#[derive(Default)]
pub struct Counting(AtomicU64);

impl Clock for Counting {
    fn now(&self) -> Timestamp {
        Timestamp(self.monotonic().cast_signed())
    }

    fn monotonic(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }

    fn fresh_id(&self) -> String {
        run(self.monotonic() as usize)
    }

    fn chance(&self, _bound: u64) -> u64 {
        0
    }
}

/// The id of a run, one after the other.
pub fn run(number: usize) -> String {
    format!("01900000-0000-7000-8000-{number:012x}")
}
