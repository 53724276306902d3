//! Suites every implementation of a door passes, against the real thing. Behind the feature `conformance`.
//!
//! A suite is a module of functions, one per promise, and a macro that makes a test of each.

pub mod blobs;
mod clock;
pub mod driver;
pub mod store;

pub use clock::SteppedClock;
