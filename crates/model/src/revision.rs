//! Immutable versions of a source.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Duration, Name, Timestamp};

/// One immutable version of one source: `id` is a commit id, `COMMIT+dirty.<12 hex>`, or a content digest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Revision {
    pub source: Name,
    pub id: String,
}

impl Revision {
    /// The first twelve characters of the id, for people; a dirty tree keeps its suffix.
    pub fn short(&self) -> String {
        let id = self.id.strip_prefix("sha256:").unwrap_or(&self.id);
        match id.split_once('+') {
            Some((commit, dirty)) => format!("{}+{dirty}", &commit[..commit.len().min(12)]),
            None => id.chars().take(12).collect(),
        }
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)
    }
}

/// Which revision is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    /// The newest of what the source is configured to follow; asks the remote.
    Newest,
    /// The newest that is already here; never asks the remote.
    Known,
    /// The working tree of a repository opened in place, as `git add -A` would record it.
    WorkTree,
    /// A branch, tag or commit a person named. Asks the remote only when it is not here.
    Named(String),
}

/// How long a source may say nothing, or nothing new, before people must know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Patience {
    /// How long it may not answer; `None`: a few asks in a row.
    pub unanswered: Option<Duration>,
    /// How long what it follows may stay where it is; `None`: for ever.
    pub unmoved: Option<Duration>,
}

/// How one revision stands to an earlier one of the same source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    Same,
    /// The later has the earlier among its ancestors, or the source has no history to judge by (a folder).
    Follows,
    /// The later does not descend from the earlier, or it cannot be decided.
    Rewinds,
}

/// Who made a revision and why, as far as the source tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    pub id: String,
    pub author: String,
    pub subject: String,
    pub at: Timestamp,
    pub parents: Vec<String>,
}
