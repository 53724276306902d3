//! Starting other programs. One crate implements this; nothing else starts a process.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::PathBuf;

use trued_model::{Bound, Code, Digest, Duration, Level, Limits, Refusal};

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

/// What a confined program may touch: the system's own folders to read, these, and nothing else.
#[derive(Clone, Debug, Default)]
pub struct Confines {
    /// Files and folders it may read and run programs from, besides the system's own. What is not there is left out. A
    /// plain name means the file of that name among them, before any of the system's.
    pub read: Vec<PathBuf>,
    /// Where it works and may write; `None` for one that writes nothing.
    pub room: Option<Room>,
    pub limits: Limits,
    /// Whether its error output goes where its output goes, in order.
    pub one_log: bool,
    /// Whether the machine has another name for it than usual, where it can be given one.
    pub elsewhere: bool,
    /// Run it even where it cannot be confined; otherwise that is `Code::Denied`.
    pub even_unsafe: bool,
}

/// Where a confined program works.
#[derive(Clone, Debug)]
pub struct Room {
    /// Its working folder, which it may write to.
    pub folder: PathBuf,
    /// Its temporary and home folder.
    pub scratch: PathBuf,
}

/// Folders of one program, gone when dropped.
pub struct Workspace {
    pub room: Room,
    /// Removes the folders when it is dropped.
    pub keep: Box<dyn Send + Sync>,
}

/// How a confined program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confined {
    /// How well it was confined.
    pub level: Level,
    /// The bound it was ended for; then the exit says nothing.
    pub passed: Option<Bound>,
    /// What was kept of its output, up to the bound on the log.
    pub exit: Exit,
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

    /// Runs a program of others to the end, confined; its own deadline, folder and cap stand in `confines` instead. A
    /// refusal means that it was not run.
    fn confine(&self, program: Program, confines: Confines) -> BoxFuture<'_, Answer<Confined>> {
        let _ = (program, confines);
        Box::pin(std::future::ready(Err(Refusal::new(Code::Unsupported, "no program can be confined here"))))
    }

    /// Runs a task of this very program in a process of its own, confined, with nothing but its input.
    fn task(&self, name: &'static str, input: Vec<u8>, confines: Confines) -> BoxFuture<'_, Answer<Confined>> {
        let _ = (name, input, confines);
        Box::pin(std::future::ready(Err(Refusal::new(Code::Unsupported, "no task can be confined here"))))
    }

    /// How well programs are confined on this machine. Found out once.
    fn level(&self) -> BoxFuture<'_, Level> {
        Box::pin(std::future::ready(Level::Unsafe))
    }

    /// Makes folders for one confined program. Blocks.
    fn workspace(&self) -> Answer<Workspace> {
        Err(Refusal::new(Code::Unsupported, "there is no room for programs here"))
    }

    /// Tells what the file holds that a program's name means when it is run with these to read: it changes with the
    /// program. Blocks.
    fn identify(&self, name: &str, tools: &[PathBuf]) -> Answer<Digest> {
        let _ = tools;
        Err(Refusal::new(Code::Unsupported, format!("start `{name}`: no programs are started here")))
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
