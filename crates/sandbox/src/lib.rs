//! Starts other programs; nothing else does. Bounds them in time and output and leaves none of them behind, but does
//! not confine them yet: what a program may read, write and reach is the operator's choice of the program.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe;
use tokio::time::{Instant, sleep_until, timeout};
use trued_doors::{Answer, BoxFuture, Exit, Program, Runner, Talk};
use trued_model::{Code, Refusal};

mod group;
mod lookup;
mod talk;

use group::{Group, Pipes};

pub use lookup::PATH;

/// How long a program may take to end after it was asked to, before it is killed.
const TERM_GRACE: Duration = Duration::from_secs(2);

/// How long a killed program is waited for; one that the kernel holds (a dead disk) is reaped in the background.
const KILL_GRACE: Duration = Duration::from_secs(10);

/// How long the pipes of an ended program are read on: its group is dead then, so only a stranger can hold them open.
const DRAIN: Duration = Duration::from_secs(1);

/// Runs programs as this process's user: fixed `PATH`, an environment of what is given and nothing else, a process group
/// of its own, no shell, no inherited files. Levels of confinement (namespaces, Landlock, seccomp) will be chosen here,
/// when a `Programs` is made, and callers will not change.
#[derive(Clone, Copy, Debug, Default)]
pub struct Programs;

impl Programs {
    pub fn new() -> Programs {
        Programs
    }
}

impl Runner for Programs {
    fn run(&self, program: Program) -> BoxFuture<'_, Answer<Exit>> {
        Box::pin(run(program))
    }

    fn open(&self, program: Program, silence: trued_model::Duration) -> BoxFuture<'_, Answer<Talk>> {
        Box::pin(talk::open(program, silence))
    }
}

/// Why a program is not waited for any longer.
enum End {
    Itself,
    Deadline,
    TooLarge(&'static str),
}

async fn run(mut program: Program) -> Answer<Exit> {
    let deadline = Instant::now() + program.deadline.to_std();
    let (name, cap) = (program.argv.first().cloned().unwrap_or_default(), program.output_cap);
    let input = std::mem::take(&mut program.input);
    let span = program.deadline;
    let starting = tokio::task::spawn_blocking(move || Group::start(&program, !input.is_empty()).map(|started| (started, input)));
    let ((group, pipes), input) =
        starting.await.map_err(|_| Refusal::new(Code::Broken, format!("start `{name}`: starting it broke off")))??;

    let (mut output, mut error) = (Vec::new(), Vec::new());
    let end = attend(&group, pipes, &input, deadline, cap, [&mut output, &mut error]).await;
    group.kill();
    let reaped = timeout(KILL_GRACE, group.reap()).await;
    let status = reaped
        .map_err(|_| Refusal::new(Code::Unknown, format!("run `{name}`: the kernel holds it, so it does not end even when killed")))??;
    match end {
        End::Itself => Ok(Exit { status, output, error }),
        End::Deadline => Err(Refusal::new(Code::TimedOut, format!("run `{name}`: it did not end within {span} and was stopped"))),
        End::TooLarge(stream) => {
            let message = format!("run `{name}`: its {stream} is larger than {cap} bytes and it was stopped");
            Err(Refusal::new(Code::TooLarge, message))
        }
    }
}

/// Feeds and reads a program until it has ended or must be killed.
async fn attend(group: &Group, pipes: Pipes, input: &[u8], deadline: Instant, cap: usize, kept: [&mut Vec<u8>; 2]) -> End {
    let [output, error] = kept;
    let reading =
        async { tokio::try_join!(collect("output", pipes.output, cap, output), collect("error output", pipes.error, cap, error)) };
    let feeding = feed(pipes.input, input);
    tokio::pin!(reading, feeding);
    let (mut read, mut fed, mut asked) = (false, false, false);
    let mut limit = deadline;
    loop {
        tokio::select! {
            result = &mut reading, if !read => match result {
                Ok(_) => read = true,
                Err(stream) => return End::TooLarge(stream),
            },
            () = &mut feeding, if !fed => fed = true,
            () = group.ended() => {
                if asked {
                    return End::Deadline;
                }
                // What it left behind dies before the pipes are drained: a grandchild may hold them open for ever.
                group.kill();
                return match read {
                    true => End::Itself,
                    false => match timeout(DRAIN, reading).await {
                        Ok(Err(stream)) => End::TooLarge(stream),
                        Ok(Ok(_)) | Err(_) => End::Itself,
                    },
                };
            }
            () = sleep_until(limit) => {
                if asked {
                    return End::Deadline;
                }
                // Its streams are read on: a last word must not end it before it has cleaned up.
                group.ask_to_end();
                (asked, limit) = (true, limit + TERM_GRACE);
            }
        }
    }
}

/// Reads a stream to its end into `kept`, which keeps what it has when this is dropped half-way. Names the stream when
/// it is larger than `cap`. A pipe has no errors but those of this process; what was read until then counts.
async fn collect(name: &'static str, from: pipe::Receiver, cap: usize, kept: &mut Vec<u8>) -> Result<(), &'static str> {
    let mut from = from.take(cap as u64 + 1);
    while from.read_buf(kept).await.is_ok_and(|count| count > 0) {}
    if kept.len() > cap { Err(name) } else { Ok(()) }
}

/// Writes all input. A program that does not read it is within its rights.
async fn feed(to: Option<pipe::Sender>, input: &[u8]) {
    if let Some(mut to) = to {
        let _ = to.write_all(input).await;
    }
}
