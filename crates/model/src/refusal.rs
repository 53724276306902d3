//! A coded no, from anything at the edge. Callers branch on the code; people read the words.

use serde::{Deserialize, Serialize};

/// Why something was not done. `Absent`, `Denied` and `Unknown` are never the same thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// Looked, and it is not there.
    Absent,
    /// It is there or not; we may not look or touch.
    Denied,
    /// It could not be decided what is there.
    Unknown,
    /// The other side did not answer, or the way there is broken. Worth another try.
    Unreachable,
    /// No answer before the deadline. What happened is not known.
    TimedOut,
    /// The target is no longer as the change expects.
    Changed,
    /// A newer epoch was seen: another process owns this stack now.
    Fenced,
    /// No space, or a quota. Nothing is lost; tried again.
    Full,
    /// What was given cannot be right; trying again gives the same.
    Invalid,
    /// A declared limit was exceeded.
    TooLarge,
    /// The source's history was rewritten.
    Rewound,
    /// This build or this target cannot do it.
    Unsupported,
    /// Stopped because it was asked to.
    Cancelled,
    /// Our own fault: a broken promise between rooms.
    Broken,
}

/// A no, with words: a lowercase fragment that continues "failed to …", and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    pub code: Code,
    pub message: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub help: String,
    /// Where in a text it went wrong, if it is about a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<crate::Place>,
}

impl Refusal {
    pub fn new(code: Code, message: impl Into<String>) -> Refusal {
        Refusal { code, message: message.into(), help: String::new(), place: None }
    }

    pub fn help(mut self, help: impl Into<String>) -> Refusal {
        self.help = help.into();
        self
    }

    pub fn at(mut self, file: impl Into<String>, line: u32, column: u32) -> Refusal {
        self.place = Some(crate::Place { file: file.into(), line, column });
        self
    }

    /// Whether the same attempt may succeed later without anybody changing anything.
    pub fn passing(&self) -> bool {
        matches!(self.code, Code::Unreachable | Code::TimedOut | Code::Full | Code::Unknown | Code::Cancelled)
    }
}
