//! Starting other programs. One crate implements this; nothing else starts a process.

use std::collections::BTreeMap;
use std::path::PathBuf;

use trued_model::Duration;

use crate::{Answer, BoxFuture};

/// A program to run: fixed arguments, no shell, nothing inherited but what stands here.
#[derive(Clone, Debug)]
pub struct Program {
    /// The program and its arguments; the first is looked up in a fixed `PATH` unless it is absolute.
    pub argv: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub folder: Option<PathBuf>,
    pub input: Vec<u8>,
    /// The whole process group is killed then.
    pub deadline: Duration,
    /// Bytes kept of standard output and of standard error, each; more ends the program.
    pub output_cap: usize,
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The exit status; `None` when a signal ended it.
    pub status: Option<i32>,
    pub output: Vec<u8>,
    pub error: Vec<u8>,
}

pub trait Runner: Send + Sync {
    /// Runs to the end. `Code::TimedOut` and `Code::TooLarge` when a bound ended it; `Code::Absent` when there is no such program.
    fn run(&self, program: Program) -> BoxFuture<'_, Answer<Exit>>;
}
