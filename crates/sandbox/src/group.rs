//! The started keeper of one program. It ends its program, and then itself, when it is dropped.

use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, kill_process_group, pidfd_open};
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe;
use trued_doors::Answer;
use trued_model::{Code, Refusal};

use crate::spec::{SPEC, STAGE, Spec};

/// How long a keeper may take to end its program, and how often it is looked for.
const ENDS_WITHIN: Duration = Duration::from_secs(40);
const STEP: Duration = Duration::from_millis(10);

/// A running keeper, alone in its process group.
pub struct Group {
    /// Not reaped while it is here, so that its id, which is the group's, stays ours.
    leader: Option<Child>,
    id: Pid,
    /// Readable once the leader has ended.
    ended: AsyncFd<OwnedFd>,
}

/// This side of the program's streams.
pub struct Pipes {
    pub input: Option<pipe::Sender>,
    pub output: pipe::Receiver,
    /// `None` where both are one.
    pub error: Option<pipe::Receiver>,
}

impl Group {
    /// Starts the keeper of a program. Blocks while it does; call it inside the async runtime all the same, for its streams. What
    /// the program says comes back in one stream where it shall.
    pub fn keep(own: &Path, spec: &Spec, feeds: bool, one_log: bool) -> Answer<(Group, Pipes)> {
        let orders =
            serde_json::to_string(spec).map_err(|error| Refusal::new(Code::Invalid, format!("write orders for a program: {error}")))?;
        let mut command = Command::new(own);
        command.arg0(STAGE).arg("keep").env_clear().env(SPEC, orders).current_dir("/").process_group(0);
        command.stdin(if feeds { Stdio::piped() } else { Stdio::null() });
        let started = (|| {
            if !one_log {
                return Group::lead(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?, None);
            }
            let (reader, writer) = io::pipe()?;
            let leader = command.stdout(writer.try_clone()?).stderr(writer).spawn()?;
            // Its ends are closed with the command: the stream ends when the program's do.
            drop(command);
            Group::lead(leader, Some(reader.into()))
        })();
        started.map_err(|error| not_started("the keeper of a program", &error))
    }

    fn lead(mut leader: Child, joined: Option<OwnedFd>) -> io::Result<(Group, Pipes)> {
        let taken = || io::Error::other("a stream is missing");
        let (input, output, error) = (leader.stdin.take(), leader.stdout.take(), leader.stderr.take());
        let id = i32::try_from(leader.id()).ok().and_then(Pid::from_raw).ok_or_else(|| io::Error::other("it has no process id"))?;
        let mut leader = Unwatched { id, child: Some(leader) };
        #[expect(deprecated, reason = "an owned descriptor keeps the promise that the unsafe `register` asks for")]
        let ended = AsyncFd::new(pidfd_open(id, PidfdFlags::empty())?)?;
        let pipes = Pipes {
            input: input.map(|input| pipe::Sender::from_owned_fd(input.into())).transpose()?,
            output: pipe::Receiver::from_owned_fd(joined.or(output.map(Into::into)).ok_or_else(taken)?)?,
            error: error.map(|error| pipe::Receiver::from_owned_fd(error.into())).transpose()?,
        };
        Ok((Group { leader: leader.child.take(), id, ended }, pipes))
    }

    /// Waits until the leader has ended; it is not reaped by this.
    pub async fn ended(&self) {
        // An error can only mean that the runtime shuts down; then the group is dropped, and killed.
        if let Ok(mut ready) = self.ended.readable().await {
            ready.retain_ready();
        }
    }

    /// Tells the keeper to end everything at once, and itself after it.
    pub fn stop(&self) {
        let _ = kill_process(self.id, Signal::INT);
    }

    /// Tells the keeper to have its program end.
    pub fn ask(&self) {
        let _ = kill_process(self.id, Signal::TERM);
    }

    /// Kills all of the group.
    pub fn kill(&self) {
        signal(self.id, Signal::KILL);
    }

    /// Waits for a killed or ended leader and gives its exit status; `None` when a signal ended it.
    pub async fn reap(mut self) -> Answer<Option<i32>> {
        self.ended().await;
        let Some(mut leader) = self.leader.take() else { return Ok(None) };
        match leader.wait() {
            Ok(status) => Ok(status.code()),
            Err(error) => Err(Refusal::new(Code::Broken, format!("learn how a program ended: {error}"))),
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        drop(Unwatched { id: self.id, child: self.leader.take() });
    }
}

/// A keeper nobody waits for any longer: told to end, and reaped in the background.
struct Unwatched {
    id: Pid,
    child: Option<Child>,
}

impl Drop for Unwatched {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        // It ends everything of its program before itself.
        let _ = kill_process(self.id, Signal::INT);
        if matches!(child.try_wait(), Ok(Some(_))) {
            return;
        }
        let id = self.id;
        // Waiting must not hold an async worker.
        let reaping = std::thread::Builder::new().name("reap".to_owned()).spawn(move || {
            let mut left = ENDS_WITHIN;
            while !left.is_zero() && !matches!(child.try_wait(), Ok(Some(_)) | Err(_)) {
                std::thread::sleep(STEP);
                left = left.saturating_sub(STEP);
            }
            if left.is_zero() {
                signal(id, Signal::KILL);
                let _ = child.wait();
            }
        });
        if reaping.is_err() {
            signal(id, Signal::KILL);
        }
    }
}

/// Signals a group whose leader is not reaped yet. All of it may have ended: then there is nobody to tell.
fn signal(group: Pid, signal: Signal) {
    let _ = kill_process_group(group, signal);
}

pub fn not_started(name: &str, error: &io::Error) -> Refusal {
    if error.raw_os_error() == Some(Errno::NOEXEC.raw_os_error()) {
        return Refusal::new(Code::Invalid, format!("start `{name}`: it is not a program this machine can run"));
    }
    let (code, why) = match error.kind() {
        // The file itself was found: what is missing is what its first line names.
        ErrorKind::NotFound => (Code::Absent, "the interpreter it names is missing".to_owned()),
        ErrorKind::PermissionDenied => (Code::Denied, "it may not be run by this user".to_owned()),
        ErrorKind::ArgumentListTooLong => (Code::TooLarge, "its arguments and environment are too large".to_owned()),
        ErrorKind::InvalidInput => (Code::Invalid, "an argument or variable holds a NUL byte".to_owned()),
        ErrorKind::WouldBlock | ErrorKind::OutOfMemory => (Code::Full, "there are too many processes, or no memory is left".to_owned()),
        _ => (Code::Unknown, error.to_string()),
    };
    Refusal::new(code, format!("start `{name}`: {why}"))
}
