//! Checks after apply: does what was applied work?

use std::sync::Arc;

use serde_json::Value;
use trued_model::body::Checked;

use crate::{BoxFuture, Descriptor, Runner};

/// One kind of check.
pub trait Check: Send + Sync {
    fn describe(&self) -> Descriptor;
    /// Checks, with retries up to its own deadline. Never an error: what could not be checked has not passed, and says why.
    fn check<'a>(&'a self, settings: &'a Value, with: &'a Checking) -> BoxFuture<'a, Checked>;
}

/// What a check may use.
pub struct Checking {
    pub runner: Arc<dyn Runner>,
    /// Patterns of the addresses that it may ask, when repository data named it; `None` when the operator did.
    pub reach: Option<Vec<String>>,
}
