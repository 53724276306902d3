//! Where time and chance come from.

use trued_model::Timestamp;

/// The wall clock, a clock that never jumps, and fresh ids. Sleeping is tokio's, which a simulation can pause.
pub trait Clock: Send + Sync {
    /// The wall clock, UTC.
    fn now(&self) -> Timestamp;
    /// Milliseconds since boot, counting suspension; never goes back. For leases and deadlines.
    fn monotonic(&self) -> u64;
    /// A fresh UUIDv7 as text.
    fn fresh_id(&self) -> String;
    /// A number below `bound`, for jitter.
    fn chance(&self, bound: u64) -> u64;
}
