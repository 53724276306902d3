//! Sources through the built program: real repositories, real servers, and what goes wrong between them and it.

mod age;
mod faults;
mod kit;
mod large;
#[path = "../../../sources/tests/sources/servers.rs"]
mod servers;
mod trust;
