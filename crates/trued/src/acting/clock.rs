//! The machine's clocks, and fresh ids.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use trued_doors::Clock;
use trued_model::Timestamp;

/// The wall clock, the clock since boot, and UUIDv7 ids.
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock that the door stands for")]
    fn now(&self) -> Timestamp {
        let millis = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
        };
        Timestamp(millis)
    }

    fn monotonic(&self) -> u64 {
        let time = clock_gettime(ClockId::Boottime);
        u64::try_from(time.tv_sec).unwrap_or(0) * 1000 + u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000_000
    }

    fn fresh_id(&self) -> String {
        uuid::Uuid::now_v7().to_string()
    }

    fn chance(&self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { uuid::Uuid::now_v7().as_u128() as u64 % bound }
    }
}
