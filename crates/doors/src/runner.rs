//! Starting other programs. One crate implements this; nothing else starts a process.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::PathBuf;

use trued_model::{Code, Duration, Refusal};

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

    /// Starts a program that is talked to while it runs. `program.input` is not used; `output_cap` bounds what is kept of
    /// its error output, the last of it; `silence` is the longest wait for it to say or to take something.
    fn open(&self, program: Program, silence: Duration) -> BoxFuture<'_, Answer<Talk>> {
        let _ = silence;
        let name = program.argv.first().cloned().unwrap_or_default();
        Box::pin(async move { Err(Refusal::new(Code::Unsupported, format!("talk to `{name}`: programs are not talked to here"))) })
    }
}

/// A program that runs and is talked to. It ends, with all that it started, when `program` is dropped or at its deadline;
/// then its output ends too.
pub struct Talk {
    /// Its standard input. Blocks; `ErrorKind::TimedOut` after the silence that was allowed.
    pub input: Box<dyn Write + Send>,
    /// Its standard output. Blocks, with the same bound.
    pub output: Box<dyn Read + Send>,
    pub program: Box<dyn Talking>,
}

/// The program behind a [`Talk`].
pub trait Talking: Send {
    /// Waits a moment for the program to end by itself, then ends it; blocks. `output` of what is given is empty.
    /// `Code::TimedOut` when its deadline ended it.
    fn end(self: Box<Self>) -> Answer<Exit>;
}
