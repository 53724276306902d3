//! Our side of a running program: feeds it, reads it, and ends it when a bound is passed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe;
use tokio::time::{Instant, sleep_until, timeout};
use trued_doors::{Answer, Confined, Confines, Exit, Program};
use trued_model::{Bound, Code, Level, Refusal};

use crate::group::{Group, Pipes};
use crate::lookup::{PATH, find, find_among};
use crate::spec::{Cage, Ending, FAILED, FAILED_STATUS, LONGEST_ENDING, Spec, Start};

/// How long a keeper may take to end its program, which is given two seconds of it: longer than the keeper takes at most.
pub const END_GRACE: Duration = Duration::from_secs(40);

/// How long the pipes of an ended program are read on: nothing of it is left then, so only a stranger can hold them open.
pub const DRAIN: Duration = Duration::from_secs(1);

/// Why a program is not waited for any longer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Itself,
    Deadline,
    TooLarge(&'static str),
}

/// Everything that came of a program.
struct Outcome {
    end: End,
    ending: Ending,
    output: Vec<u8>,
    error: Vec<u8>,
}

/// Runs a program as it is, for the operator.
pub async fn free(own: &Path, mut program: Program) -> Answer<Exit> {
    let (name, cap, span) = (program.argv.first().cloned().unwrap_or_default(), program.output_cap, program.deadline);
    let input = std::mem::take(&mut program.input);
    let folder = folder_of(&program, &name)?;
    let spec = Spec { parent: this_process(), start: start(program)?, folder, cage: None, spoken: false };
    let outcome = attend(own, &name, spec, input, span.to_std(), cap, false).await?;
    match outcome.end {
        End::Itself => Ok(Exit { status: outcome.ending.status, output: outcome.output, error: outcome.error }),
        End::Deadline => Err(Refusal::new(Code::TimedOut, format!("run `{name}`: it did not end within {span} and was stopped"))),
        End::TooLarge(stream) => {
            let message = format!("run `{name}`: its {stream} is larger than {cap} bytes and it was stopped");
            Err(Refusal::new(Code::TooLarge, message))
        }
    }
}

/// The folder a program of the operator's runs in.
pub fn folder_of(program: &Program, name: &str) -> Answer<Option<PathBuf>> {
    match &program.folder {
        Some(folder) if !folder.is_dir() => {
            let message = format!("start `{name}`: there is no folder {} to run it in", folder.display());
            Err(Refusal::new(Code::Absent, message))
        }
        folder => Ok(folder.clone()),
    }
}

/// Runs a program, or a task of our own, confined at a level.
pub async fn confined(own: &Path, level: Level, start: Start, input: Vec<u8>, confines: Confines) -> Answer<Confined> {
    let name = match &start {
        Start::Program { file, .. } => file.to_string_lossy().into_owned(),
        Start::Task(name) => name.clone(),
    };
    if level == Level::Unsafe && !confines.even_unsafe {
        return Err(cannot_confine(&name));
    }
    let Confines { read, room, limits, one_log, elsewhere, .. } = confines;
    let (folder, scratch) = room.map_or((None, None), |room| (Some(room.folder), Some(room.scratch)));
    let cage = Cage { level, scratch, read, limits, elsewhere, uid: None, groups: Vec::new() };
    let spec = Spec { parent: this_process(), start, folder, cage: Some(cage), spoken: false };
    let cap = usize::try_from(limits.log.bytes()).unwrap_or(usize::MAX);
    let outcome = attend(own, &name, spec, input, limits.time.to_std(), cap, one_log).await?;
    let said = [&outcome.error, &outcome.output].into_iter().find_map(|said| said.strip_prefix(FAILED.as_bytes()));
    if let (Some(said), true) = (said, outcome.ending.status == Some(i32::from(FAILED_STATUS))) {
        let said = String::from_utf8_lossy(said).trim().to_owned();
        return Err(
            Refusal::new(Code::Denied, format!("run `{name}` confined: {said}")).help("`trued doctor` says what this machine allows")
        );
    }
    let passed = match outcome.end {
        End::Itself => outcome.ending.passed,
        End::Deadline => Some(Bound::Time),
        End::TooLarge(_) => Some(Bound::Log),
    };
    let (mut output, mut error) = (outcome.output, outcome.error);
    output.truncate(cap);
    error.truncate(cap);
    Ok(Confined { level, passed, exit: Exit { status: outcome.ending.status, output, error } })
}

pub fn cannot_confine(name: &str) -> Refusal {
    Refusal::new(Code::Denied, format!("run `{name}`: programs cannot be confined on this machine"))
        .help("`trued doctor` says what is missing; the operator's file may allow it with `sandbox: { unsafe: true }`")
}

/// What a program's words mean to a stage.
pub fn start(program: Program) -> Answer<Start> {
    find(name_of(&program)).map(|file| with_file(program, file))
}

/// As [`start`], for a program that is confined: one of its own folder (`./NAME`) is no less confined than others are.
pub fn start_confined(program: Program, tools: &[PathBuf]) -> Answer<Start> {
    let own = program.argv.first().filter(|name| name.starts_with("./")).map(PathBuf::from);
    match own {
        Some(file) => Ok(with_file(program, file)),
        None => find_among(name_of(&program), tools).map(|file| with_file(program, file)),
    }
}

fn name_of(program: &Program) -> &str {
    program.argv.first().map(String::as_str).unwrap_or_default()
}

fn with_file(program: Program, file: PathBuf) -> Start {
    let mut env = program.env;
    env.entry("PATH".to_owned()).or_insert_with(|| PATH.to_owned());
    Start::Program { file, arguments: program.argv.into_iter().skip(1).collect(), env }
}

pub fn this_process() -> i32 {
    rustix::process::getpid().as_raw_pid()
}

async fn attend(own: &Path, name: &str, spec: Spec, input: Vec<u8>, span: Duration, cap: usize, one_log: bool) -> Answer<Outcome> {
    let deadline = Instant::now() + span;
    let own: PathBuf = own.to_owned();
    let starting =
        tokio::task::spawn_blocking(move || Group::keep(&own, &spec, !input.is_empty(), one_log).map(|started| (started, input)));
    let broke = || Refusal::new(Code::Broken, format!("run `{name}`: keeping it broke off"));
    let ((group, pipes), input) = starting.await.map_err(|_| broke())??;
    let (mut output, mut error) = (Vec::new(), Vec::new());
    let end = follow(&group, pipes, &input, deadline, cap, [&mut output, &mut error]).await;
    let reaped = timeout(END_GRACE, group.reap()).await;
    reaped
        .map_err(|_| Refusal::new(Code::Unknown, format!("run `{name}`: the kernel holds it, so it does not end even when killed")))??;
    let ending = match (Ending::take_off(&mut output), end) {
        (Some(ending), _) => ending,
        (None, End::Itself) => {
            let said = error.strip_prefix(FAILED.as_bytes()).or_else(|| output.strip_prefix(FAILED.as_bytes()));
            let Some(said) = said else { return Err(broke()) };
            let said = String::from_utf8_lossy(said).trim().to_owned();
            return Err(Refusal::new(Code::Denied, format!("run `{name}`: {said}")));
        }
        (None, _) => Ending::default(),
    };
    if let Some(refused) = ending.refused {
        return Err(refused);
    }
    let end = match end {
        End::Itself if output.len() > cap => End::TooLarge("output"),
        end => end,
    };
    Ok(Outcome { end, ending, output, error })
}

/// Feeds and reads a program until its keeper has ended.
async fn follow(group: &Group, pipes: Pipes, input: &[u8], deadline: Instant, cap: usize, kept: [&mut Vec<u8>; 2]) -> End {
    let [output, error] = kept;
    let reading = async {
        let output = collect("output", Some(pipes.output), cap.saturating_add(LONGEST_ENDING), output);
        tokio::try_join!(output, collect("error output", pipes.error, cap, error))
    };
    let feeding = feed(pipes.input, input);
    tokio::pin!(reading, feeding);
    let (mut read, mut fed) = (false, false);
    let mut end = End::Itself;
    let mut limit = deadline;
    loop {
        tokio::select! {
            result = &mut reading, if !read => {
                read = true;
                if let Err(stream) = result {
                    group.stop();
                    (end, limit) = (End::TooLarge(stream), Instant::now() + END_GRACE);
                }
            }
            () = &mut feeding, if !fed => fed = true,
            () = group.ended() => {
                if !read && let Ok(Err(stream)) = timeout(DRAIN, reading).await && end == End::Itself {
                    end = End::TooLarge(stream);
                }
                return end;
            }
            () = sleep_until(limit) => {
                if end != End::Itself {
                    group.kill();
                    return end;
                }
                // Its streams are read on: a last word must not end it before it has cleaned up.
                group.ask();
                (end, limit) = (End::Deadline, limit + END_GRACE);
            }
        }
    }
}

/// Reads a stream to its end into `kept`, which keeps what it has when this is dropped half-way. Names the stream when
/// it is larger than `cap`. A pipe has no errors but those of this process; what was read until then counts.
async fn collect(name: &'static str, from: Option<pipe::Receiver>, cap: usize, kept: &mut Vec<u8>) -> Result<(), &'static str> {
    let Some(from) = from else { return Ok(()) };
    let mut from = from.take((cap as u64).saturating_add(1));
    while from.read_buf(kept).await.is_ok_and(|count| count > 0) {}
    if kept.len() > cap { Err(name) } else { Ok(()) }
}

/// Writes all input. A program that does not read it is within its rights.
async fn feed(to: Option<pipe::Sender>, input: &[u8]) {
    if let Some(mut to) = to {
        let _ = to.write_all(input).await;
    }
}
