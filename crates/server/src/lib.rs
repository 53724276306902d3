//! How a running `serve` is asked from outside: the control socket in the state folder, health questions on loopback, and
//! reports of targets, from other machines over https. Carries questions and answers; decides nothing.

mod bounded;
pub mod control;
pub mod health;
mod listening;
pub mod reports;
pub mod secure;

pub use bounded::Bounds;
pub use listening::Listening;
