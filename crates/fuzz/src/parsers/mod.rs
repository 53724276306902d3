//! One file for each room that reads what others wrote.

pub mod configuration;
pub mod git;
pub mod record;
pub mod secrets;
pub mod signatures;
pub mod target;
pub mod template;
pub mod words;
pub mod yaml;

use std::cell::RefCell;

use tokio::runtime::{Builder, Runtime};

/// Waits for a room that answers later.
fn wait<T>(answer: impl Future<Output = T>) -> T {
    thread_local!(static RUNTIME: RefCell<Runtime> = RefCell::new(Builder::new_current_thread().enable_all().build().expect("a runtime")));
    RUNTIME.with(|runtime| runtime.borrow().block_on(answer))
}
