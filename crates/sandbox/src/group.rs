//! One started program and everything it starts in its process group. The group outlives nobody who drops it.

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
use trued_doors::{Answer, Program};
use trued_model::{Code, Refusal};

use crate::lookup::{PATH, find};
use crate::spec::{SPEC, STAGE, Spec};

/// How long a keeper may take to end its program, and how often it is looked for.
const ENDS_WITHIN: Duration = Duration::from_secs(40);
const STEP: Duration = Duration::from_millis(10);

/// A running process group, led by the program.
pub struct Group {
    /// Not reaped while it is here, so that its id, which is the group's, stays ours.
    leader: Option<Child>,
    id: Pid,
    /// Whether the leader is a keeper, who ends its program when told to.
    kept: bool,
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
    /// Starts a program. Blocks while it does; call it inside the async runtime all the same, for its streams.
    pub fn start(program: &Program, feeds: bool) -> Answer<(Group, Pipes)> {
        let name = program.argv.first().map(String::as_str).unwrap_or_default();
        let file = find(name)?;
        let mut command = Command::new(file);
        command.args(&program.argv[1..]).env_clear().env("PATH", PATH).envs(&program.env).process_group(0);
        command.stdin(if feeds { Stdio::piped() } else { Stdio::null() }).stdout(Stdio::piped()).stderr(Stdio::piped());
        match &program.folder {
            Some(folder) if !folder.is_dir() => {
                let message = format!("start `{name}`: there is no folder {} to run it in", folder.display());
                return Err(Refusal::new(Code::Absent, message));
            }
            Some(folder) => command.current_dir(folder),
            // Not wherever this process happens to stand.
            None => command.current_dir("/"),
        };
        let leader = command.spawn().map_err(|error| not_started(name, &error))?;
        Group::lead(leader, None, false).map_err(|error| not_started(name, &error))
    }

    /// Starts the keeper of a program; what the program says comes back in one stream where it shall.
    pub fn keep(own: &Path, spec: &Spec, feeds: bool, one_log: bool) -> Answer<(Group, Pipes)> {
        let orders =
            serde_json::to_string(spec).map_err(|error| Refusal::new(Code::Invalid, format!("write orders for a program: {error}")))?;
        let mut command = Command::new(own);
        command.arg0(STAGE).arg("keep").env_clear().env(SPEC, orders).current_dir("/").process_group(0);
        command.stdin(if feeds { Stdio::piped() } else { Stdio::null() });
        let started = (|| {
            if !one_log {
                return Group::lead(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?, None, true);
            }
            let (reader, writer) = io::pipe()?;
            let leader = command.stdout(writer.try_clone()?).stderr(writer).spawn()?;
            // Its ends are closed with the command: the stream ends when the program's do.
            drop(command);
            Group::lead(leader, Some(reader.into()), true)
        })();
        started.map_err(|error| not_started("the keeper of a program", &error))
    }

    fn lead(mut leader: Child, joined: Option<OwnedFd>, kept: bool) -> io::Result<(Group, Pipes)> {
        let taken = || io::Error::other("a stream is missing");
        let (input, output, error) = (leader.stdin.take(), leader.stdout.take(), leader.stderr.take());
        let id = i32::try_from(leader.id()).ok().and_then(Pid::from_raw).ok_or_else(|| io::Error::other("it has no process id"))?;
        let mut leader = Unwatched { id, kept, child: Some(leader) };
        #[expect(deprecated, reason = "an owned descriptor keeps the promise that the unsafe `register` asks for")]
        let ended = AsyncFd::new(pidfd_open(id, PidfdFlags::empty())?)?;
        let pipes = Pipes {
            input: input.map(|input| pipe::Sender::from_owned_fd(input.into())).transpose()?,
            output: pipe::Receiver::from_owned_fd(joined.or(output.map(Into::into)).ok_or_else(taken)?)?,
            error: error.map(|error| pipe::Receiver::from_owned_fd(error.into())).transpose()?,
        };
        Ok((Group { leader: leader.child.take(), id, kept, ended }, pipes))
    }

    /// Waits until the leader has ended; it is not reaped by this.
    pub async fn ended(&self) {
        // An error can only mean that the runtime shuts down; then the group is dropped, and killed.
        if let Ok(mut ready) = self.ended.readable().await {
            ready.retain_ready();
        }
    }

    /// Tells the leader, who is a keeper, to end everything at once, and itself after it.
    pub fn stop(&self) {
        let _ = kill_process(self.id, Signal::INT);
    }

    /// Tells the leader alone to end its program.
    pub fn ask_the_leader(&self) {
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
        drop(Unwatched { id: self.id, kept: self.kept, child: self.leader.take() });
    }
}

/// A leader nobody waits for any longer: killed with its group, and reaped in the background.
struct Unwatched {
    id: Pid,
    kept: bool,
    child: Option<Child>,
}

impl Drop for Unwatched {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        // A keeper ends everything of its program before itself.
        if self.kept {
            let _ = kill_process(self.id, Signal::INT);
        } else {
            signal(self.id, Signal::KILL);
        }
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
