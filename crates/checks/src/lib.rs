//! Checks after apply: does what was applied work? They look, with patience, and say what they saw. Whether an address
//! or a program may be named at all was judged when configuration was read.

use std::sync::Arc;

use trued_doors::Check;

mod command;
mod http;
mod patience;
mod settings;

pub use command::Command;
pub use http::Http;

/// All checks, sorted by kind.
pub fn kinds() -> Vec<Arc<dyn Check>> {
    vec![Arc::new(Command), Arc::new(Http)]
}
