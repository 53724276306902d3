//! Answers about the past from entries: what was there, what changed, why, who. Reads entries; never a store.
//!
//! Every question takes a slice of entries in index order. Any superset of the entries that matter gives the same
//! answer, so a reader of a long record passes the few it found by narrow reads, and a test passes a whole story.

mod at;
mod chain;
mod difference;
mod evidence;
mod incidents;
mod sentence;
mod status;

pub use at::{Answer, Certainty, STATE_BEARING, at, lands};
pub use chain::{Doer, Story, Telling, Touch, who, why};
pub use difference::{Difference, differences};
pub use evidence::{Grade, actor_words, grade_of, witness_words};
pub use incidents::{Open, incidents};
pub use sentence::{Voice, count, drift_words, filled, happened_words, sentence, short, things};
pub use status::{Status, status};

#[cfg(test)]
mod tests;
