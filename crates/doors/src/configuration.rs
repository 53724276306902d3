//! Where the estate comes from.

use std::collections::BTreeMap;
use std::sync::Arc;

use trued_model::{Digest, Estate, Finding, Name, Revision, SourceSpec};

use crate::{BoxFuture, Source};

/// The operator's file and all app files, read anew whenever a source moves.
pub trait Configuration: Send + Sync {
    /// The sources that the operator's file names now; findings when it cannot be read.
    fn sources(&self) -> Result<BTreeMap<Name, SourceSpec>, Vec<Finding>>;

    /// Reads everything at these revisions. Never fails as a whole: `estate` is `None` only when the operator's own
    /// file says nothing usable, and then the last good estate stays.
    fn load<'a>(&'a self, at: &'a BTreeMap<Name, (Arc<dyn Source>, Revision)>) -> BoxFuture<'a, Configured>;

    /// What changed between two estates, one line each.
    fn differences(&self, old: &Estate, new: &Estate) -> Vec<String>;

    /// Which of it lets more happen without a person, one line each.
    fn loosened(&self, old: &Estate, new: &Estate) -> Vec<String>;
}

/// A configuration, resolved.
#[derive(Clone)]
pub struct Configured {
    /// The very same one as before where nothing that it was read from has changed.
    pub estate: Option<Arc<Estate>>,
    pub findings: Vec<Finding>,
    /// Of all configuration bytes that were read.
    pub digest: Digest,
}
