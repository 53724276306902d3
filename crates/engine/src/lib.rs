//! Decisions: value in, value out. No I/O, no clock, no ids, no chance; nothing of ours below it but `model`.

pub mod history;
