//! A remark for people: what is wrong, where, and what to do.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A place in a text, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    pub file: String,
    pub line: u32,
    pub column: u32,
}

/// A remark on configuration, desired state or a plan. Message and help are lowercase fragments.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    #[serde(flatten)]
    pub place: Option<Place>,
    /// The stack it is about, as written for people; `None` when it is about the configuration as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<String>,
    pub message: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub help: String,
}

impl Finding {
    pub fn new(message: impl Into<String>, help: impl Into<String>) -> Finding {
        Finding { place: None, stack: None, message: message.into(), help: help.into() }
    }

    pub fn at(mut self, file: impl Into<String>, line: u32, column: u32) -> Finding {
        self.place = Some(Place { file: file.into(), line, column });
        self
    }

    pub fn of(mut self, stack: impl Into<String>) -> Finding {
        self.stack = Some(stack.into());
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{}:{}:{}: ", place.file, place.line, place.column)?;
        }
        if let Some(stack) = &self.stack {
            write!(f, "{stack}: ")?;
        }
        f.write_str(&self.message)?;
        if !self.help.is_empty() {
            write!(f, "; {}", self.help)?;
        }
        Ok(())
    }
}
