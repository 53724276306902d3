//! Suites every implementation of a door passes, against the real thing.
