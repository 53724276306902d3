//! Which process this is, and whether another one still lives. Linux: `/proc`, boot ids, PID namespaces.

use std::fs;

use rustix::process::{Pid, test_kill_process};
use trued_doors::{Answer, Holder};
use trued_model::{Code, Refusal};

use crate::lease;

/// Names this process as a holder of leases. `verb`: what it does, for people.
pub fn this(verb: &str) -> Answer<Holder> {
    let pid = std::process::id();
    let unknown = |what: &str| Refusal::new(Code::Unknown, format!("tell this process from others: no {what}"));
    let started = status(pid).ok_or_else(|| unknown("/proc/self/stat"))?.started;
    let boot = boot().ok_or_else(|| unknown("boot id"))?;
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
        Some(status) => status.started == holder.started && !status.ended,
        // `/proc` may hide other people's processes; a signal that is refused finds them all the same.
        None => {
            i32::try_from(holder.pid).ok().and_then(Pid::from_raw).is_some_and(|pid| test_kill_process(pid) == Err(rustix::io::Errno::PERM))
        }
    }
}

/// The boot id, and the PID namespace where there is one: `BOOT pid:[INODE]`.
fn boot() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = fs::read_link("/proc/self/ns/pid").map(|link| link.to_string_lossy().into_owned());
    Some(match namespace {
        Ok(namespace) => format!("{} {namespace}", boot.trim_end()),
        Err(_) => boot.trim_end().to_owned(),
    })
}

struct Status {
    /// Clock ticks since boot.
    started: u64,
    /// A zombie holds nothing; only its parent has not looked yet.
    ended: bool,
}

/// Reads `/proc/PID/stat` (proc_pid_stat(5)): the state is field 3, the start time field 22.
fn status(pid: u32) -> Option<Status> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Field 2 is the program's name in parentheses and may hold anything, parentheses too.
    let mut fields = text[text.rfind(')')? + 1..].split_ascii_whitespace();
    let state = fields.next()?;
    let started = fields.nth(18)?.parse().ok()?;
    Some(Status { started, ended: matches!(state, "Z" | "X") })
}
