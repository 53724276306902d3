//! How a running `serve` is asked from outside: the control socket in the state folder, and health questions on
//! loopback. Carries questions and answers; decides nothing.

pub mod control;
pub mod health;
pub mod reports;
