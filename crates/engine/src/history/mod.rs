//! Answers about the past from entries: what was there, what changed, why, who. Reads entries; never a store.
