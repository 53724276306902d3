//! A program that is talked to while it runs: its pipes for a thread that blocks, and a task that ends it in time.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout};
use trued_doors::{Answer, Exit, Program, Talk, Talking};
use trued_model::{Code, Refusal};

use crate::group::{Group, Pipes};
use crate::run::{DRAIN, END_GRACE, folder_of, start, this_process};
use crate::spec::Spec;

/// How long a program may take to end by itself once nobody talks to it any more.
const FAREWELL: Duration = Duration::from_secs(1);

/// Starts a program and gives both ends of the talk.
pub async fn open(own: &Path, program: Program, silence: trued_model::Duration) -> Answer<Talk> {
    let deadline = Instant::now() + program.deadline.to_std();
    let (name, cap, span) = (program.argv.first().cloned().unwrap_or_default(), program.output_cap, program.deadline);
    let broken = || Refusal::new(Code::Broken, format!("start `{name}`: starting it broke off"));
    let folder = folder_of(&program, &name)?;
    let spec = Spec { parent: this_process(), start: start(program)?, folder, cage: None, spoken: true };
    let own = own.to_owned();
    let starting = tokio::task::spawn_blocking(move || Group::keep(&own, &spec, true, false));
    let (group, Pipes { input, output, error }) = starting.await.map_err(|_| broken())??;
    let input = input.ok_or_else(broken)?.into_nonblocking_fd().map_err(|_| broken())?;
    let error = error.ok_or_else(broken)?;
    let output = output.into_nonblocking_fd().map_err(|_| broken())?;
    let (stop, stopped) = oneshot::channel();
    let (tell, end) = mpsc::sync_channel(1);
    tokio::spawn(async move {
        let (how, error) = attend(&group, error, cap, deadline, stopped).await;
        let status = match timeout(END_GRACE, group.reap()).await {
            Ok(status) => status,
            Err(_) => Err(Refusal::new(Code::Unknown, "the kernel holds it, so it does not end even when killed")),
        };
        let exit = status.map(|status| Exit { status, output: Vec::new(), error });
        // Nobody may wait for it any more.
        let _ = tell.send((how, exit));
    });
    let silence = silence.to_std();
    Ok(Talk {
        input: Box::new(Pipe { end: input, silence }),
        output: Box::new(Pipe { end: output, silence }),
        program: Box::new(Spoken { name, span, stop, end }),
    })
}

/// What made an end of it.
enum How {
    Itself,
    Deadline,
    Us,
}

/// Keeps the last of what a program says on its error output, until it has ended or must be.
async fn attend(group: &Group, mut error: pipe::Receiver, cap: usize, deadline: Instant, stopped: oneshot::Receiver<()>) -> (How, Vec<u8>) {
    let mut kept = Vec::new();
    let mut talking = true;
    let mut limit = deadline;
    let mut how = How::Us;
    tokio::pin!(stopped);
    let mut open = true;
    loop {
        tokio::select! {
            read = error.read_buf(&mut kept), if open => {
                open = read.is_ok_and(|count| count > 0);
                keep_last(&mut kept, cap);
            }
            () = group.ended() => {
                how = How::Itself;
                break;
            }
            asked = &mut stopped, if talking => {
                if asked.is_err() {
                    break;
                }
                (talking, limit) = (false, deadline.min(Instant::now() + FAREWELL));
            }
            () = sleep_until(limit) => {
                how = if talking || Instant::now() >= deadline { How::Deadline } else { How::Us };
                break;
            }
        }
    }
    // The keeper ends all of it at once, and then itself.
    group.stop();
    let drained = async {
        while open && error.read_buf(&mut kept).await.is_ok_and(|count| count > 0) {
            keep_last(&mut kept, cap);
        }
    };
    let _ = timeout(DRAIN, drained).await;
    let start = kept.len().saturating_sub(cap);
    (how, kept.split_off(start))
}

/// Drops the oldest bytes once twice the cap is held.
fn keep_last(kept: &mut Vec<u8>, cap: usize) {
    if kept.len() > cap.saturating_mul(2).max(1) {
        kept.drain(..kept.len() - cap);
    }
}

struct Spoken {
    name: String,
    span: trued_model::Duration,
    /// Says that the talk is over; dropped, it says so without waiting.
    stop: oneshot::Sender<()>,
    end: mpsc::Receiver<(How, Answer<Exit>)>,
}

impl Talking for Spoken {
    fn end(self: Box<Self>) -> Answer<Exit> {
        let Spoken { name, span, stop, end } = *self;
        // It may have ended long ago.
        let _ = stop.send(());
        match end.recv_timeout(FAREWELL + END_GRACE + DRAIN + DRAIN) {
            Ok((How::Deadline, _)) => {
                Err(Refusal::new(Code::TimedOut, format!("run `{name}`: it did not end within {span} and was stopped")))
            }
            Ok((_, exit)) => exit.map_err(|refusal| Refusal { message: format!("run `{name}`: {}", refusal.message), ..refusal }),
            Err(_) => Err(Refusal::new(Code::Cancelled, format!("run `{name}`: this program is stopping"))),
        }
    }
}

/// One end of a pipe that does not block by itself.
struct Pipe {
    end: OwnedFd,
    silence: Duration,
}

impl Pipe {
    fn wait(&self, events: PollFlags) -> io::Result<()> {
        let span =
            Timespec { tv_sec: i64::try_from(self.silence.as_secs()).unwrap_or(i64::MAX), tv_nsec: self.silence.subsec_nanos().into() };
        loop {
            match poll(&mut [PollFd::new(&self.end, events)], Some(&span)) {
                Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match rustix::io::read(&self.end, &mut *buffer) {
                Err(Errno::AGAIN) => self.wait(PollFlags::IN)?,
                Err(Errno::INTR) => {}
                read => return Ok(read?),
            }
        }
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match rustix::io::write(&self.end, bytes) {
                Err(Errno::AGAIN) => self.wait(PollFlags::OUT)?,
                Err(Errno::INTR) => {}
                written => return Ok(written?),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
