//! What the asking process and the stages between it and a program tell each other. Not for programs of others.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use trued_model::{Bound, Level, Limits, Refusal};

/// The name a stage is started under; the word after it says which.
pub const STAGE: &str = "trued-sandbox";

/// The variable that holds a stage's [`Spec`] as JSON.
pub const SPEC: &str = "TRUED_SANDBOX";

/// What a stage that could not set up says first, and ends with.
pub const FAILED: &str = "trued-sandbox: ";
pub const FAILED_STATUS: u8 = 125;

/// What is to be run, and how.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spec {
    /// The process that asks; when it is gone, so is all of this.
    pub parent: i32,
    pub start: Start,
    pub folder: Option<PathBuf>,
    pub cage: Option<Cage>,
    /// Whether it is talked to: then its streams carry nothing but its own words, and the keeper ends as it did.
    #[serde(default)]
    pub spoken: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Start {
    Program {
        file: PathBuf,
        /// Without the program itself.
        arguments: Vec<String>,
        env: BTreeMap<String, String>,
    },
    /// A task of our own program.
    Task(String),
}

/// How a program of others is held.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cage {
    pub level: Level,
    pub scratch: Option<PathBuf>,
    pub read: Vec<PathBuf>,
    pub limits: Limits,
    /// Whether its machine has another name than usual.
    #[serde(default)]
    pub elsewhere: bool,
    /// The uid and gid it gets; set by the keeper where it is root.
    pub uid: Option<u32>,
    /// A control group it joins, once for each hierarchy; set by the keeper.
    pub groups: Vec<PathBuf>,
}

/// How it ended. Stands behind the last byte of the output, when nobody is left who could write there.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Ending {
    /// The exit status; `None` when a signal ended it.
    pub status: Option<i32>,
    pub passed: Option<Bound>,
    /// It did not start.
    pub refused: Option<Refusal>,
}

/// Follows the ending, after its length.
const MARK: &[u8; 8] = b"\0trued\0\x01";

/// The most bytes an ending takes.
pub const LONGEST_ENDING: usize = 4 << 10;

impl Ending {
    /// Writes an ending as it stands behind an output.
    pub fn pack(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(self).unwrap_or_default();
        bytes.truncate(LONGEST_ENDING - 12);
        let length = bytes.len() as u32;
        bytes.extend(length.to_be_bytes());
        bytes.extend(MARK);
        bytes
    }

    /// Takes an ending off an output.
    pub fn take_off(output: &mut Vec<u8>) -> Option<Ending> {
        let length_at = output.strip_suffix(MARK)?.len().checked_sub(4)?;
        let length = u32::from_be_bytes(output.get(length_at..length_at + 4)?.try_into().ok()?);
        let begin = length_at.checked_sub(length as usize)?;
        let ending = serde_json::from_slice(output.get(begin..length_at)?).ok()?;
        output.truncate(begin);
        Some(ending)
    }
}
