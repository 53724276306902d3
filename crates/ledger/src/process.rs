//! Which process this is, and whether another one still lives. Linux: `/proc`, boot ids, PID namespaces.

use std::{fs, io};

use rustix::process::{Pid, test_kill_process};
use trued_doors::{Answer, Holder};
use trued_model::{Code, Refusal};

use crate::lease;

/// Names this process as a holder of leases. `verb`: what it does, for people.
pub fn this(verb: &str) -> Answer<Holder> {
    let pid = std::process::id();
    let unknown = |error: io::Error| Refusal::new(Code::Unknown, format!("tell this process from others: {error}"));
    let started = status(pid).map_err(unknown)?.started;
    let boot = boot().map_err(unknown)?;
    Ok(Holder { pid, started, boot, verb: verb.to_owned() })
}

/// Whether a holder's process still runs. One whose PID namespace is not ours cannot be looked for and counts as
/// living; its lease ends with its term.
pub(crate) fn alive(holder: &Holder) -> bool {
    let Ok(ours) = this("") else { return true };
    if ours.boot != holder.boot {
        return lease::boot(&ours) == lease::boot(holder);
    }
    match status(holder.pid) {
        Ok(status) => status.started == holder.started && !status.ended,
        // `/proc` may hide other people's processes; a signal that is refused finds them all the same.
        Err(_) => {
            i32::try_from(holder.pid).ok().and_then(Pid::from_raw).is_some_and(|pid| test_kill_process(pid) == Err(rustix::io::Errno::PERM))
        }
    }
}

/// The boot id, and the PID namespace where there is one: `BOOT pid:[INODE]`.
fn boot() -> io::Result<String> {
    let boot = read("/proc/sys/kernel/random/boot_id")?;
    match fs::read_link("/proc/self/ns/pid") {
        Ok(namespace) => Ok(format!("{} {}", boot.trim_end(), namespace.to_string_lossy())),
        // A kernel without namespaces, or one that shows us none; anything else is a fault and no other answer.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => Ok(boot.trim_end().to_owned()),
        Err(error) => Err(error),
    }
}

struct Status {
    /// Clock ticks since boot.
    started: u64,
    /// A zombie holds nothing; only its parent has not looked yet.
    ended: bool,
}

/// Reads `/proc/PID/stat` (proc_pid_stat(5)): the state is field 3, the start time field 22.
fn status(pid: u32) -> io::Result<Status> {
    let path = format!("/proc/{pid}/stat");
    let text = read(&path)?;
    stat(&text).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("{path}: not as proc_pid_stat(5) has it")))
}

fn stat(text: &str) -> Option<Status> {
    // Field 2 is the program's name in parentheses and may hold anything, parentheses too.
    let mut fields = text[text.rfind(')')? + 1..].split_ascii_whitespace();
    let state = fields.next()?;
    let started = fields.nth(18)?.parse().ok()?;
    Some(Status { started, ended: matches!(state, "Z" | "X") })
}

/// A file of `/proc`, named where it cannot be read.
fn read(path: &str) -> io::Result<String> {
    fs::read_to_string(path).map_err(|error| io::Error::new(error.kind(), format!("{path}: {error}")))
}
