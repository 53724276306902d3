//! The watchdog: looks at the whole tree of processes, and at the files they write, and says which bound is passed.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use rustix::process::Pid;
use tokio::time::Instant;
use trued_model::{Bound, Limits};

use super::group::ControlGroup;

/// The pause between two looks at processes, and at files; a look that takes long is followed by a longer pause.
const PROCESSES_EVERY: Duration = Duration::from_millis(10);
const FILES_EVERY: Duration = Duration::from_millis(200);
const REST: u32 = 10;

/// More processes than this are not looked at in one go.
pub const MOST: usize = 100_000;

/// More files than this are too many under any bound: one render takes no more entries.
const MOST_FILES: u64 = 500_000;

pub struct Watch {
    limits: Limits,
    folders: Vec<PathBuf>,
    /// Bytes that were there before: they are no output.
    before: u64,
    processes_due: Instant,
    files_due: Instant,
}

impl Watch {
    pub fn new(limits: Limits, folders: Vec<PathBuf>) -> Watch {
        let now = Instant::now();
        let mut sum = Sum { left: u64::MAX, files: MOST_FILES };
        folders.iter().all(|folder| sum.add(folder));
        Watch { limits, folders, before: u64::MAX - sum.left, processes_due: now + PROCESSES_EVERY, files_due: now + FILES_EVERY }
    }

    /// When the next look is due.
    pub fn due(&self) -> Instant {
        self.processes_due.min(self.files_due)
    }

    /// Looks at what is due: at processes and files, and at what the kernel itself had to end.
    pub fn look(&mut self, main: Pid, control: &ControlGroup) -> Option<Bound> {
        let now = Instant::now();
        let mut passed = None;
        if now >= self.processes_due {
            passed = self.look_at_processes(main);
            self.processes_due = Instant::now() + PROCESSES_EVERY.max(now.elapsed() * REST);
        }
        if passed.is_none() && now >= self.files_due {
            passed = control.passed().or_else(|| self.look_at_files());
            self.files_due = Instant::now() + FILES_EVERY.max(now.elapsed() * REST);
        }
        passed
    }

    fn look_at_processes(&self, main: Pid) -> Option<Bound> {
        // A bomb grows while it is counted: no more are counted than it takes to know.
        let mut all = descendants(main, self.limits.processes as usize);
        all.push(main);
        if all.len() > self.limits.processes as usize {
            return Some(Bound::Processes);
        }
        let bound = self.limits.memory.bytes();
        // Pages that several share count in each, so this is the most it can be; only then the exact number is worth its cost.
        let most: u64 = all.iter().map(|pid| resident(*pid)).sum();
        if most <= bound {
            return None;
        }
        let exact: u64 = all.iter().map(|pid| share(*pid).unwrap_or_else(|| resident(*pid))).sum();
        (exact > bound).then_some(Bound::Memory)
    }

    /// What one process that has ended took in memory between two looks. The system's own count of it begins at what we had
    /// when we started it: under a bound below that it says nothing.
    pub fn look_back(&self) -> Option<Bound> {
        let bound = self.limits.memory.bytes();
        (most_of(UsageWho::RUSAGE_SELF) <= bound && most_of(UsageWho::RUSAGE_CHILDREN) > bound).then_some(Bound::Memory)
    }

    /// Adds up what stands in the folders it may write to: bytes as files claim them, so that a hole counts.
    pub fn look_at_files(&mut self) -> Option<Bound> {
        let mut sum = Sum { left: self.limits.output.bytes().saturating_add(self.before), files: MOST_FILES };
        let fits = self.folders.iter().all(|folder| sum.add(folder));
        (!fits).then_some(Bound::Output)
    }
}

/// The most bytes that one process had in memory; of those that have ended, once they were waited for.
fn most_of(who: UsageWho) -> u64 {
    let kib = getrusage(who).map_or(0, |usage| usage.max_rss());
    u64::try_from(kib).unwrap_or(0) << 10
}

/// Bytes a process has in memory.
fn resident(pid: Pid) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/statm", pid.as_raw_pid())).unwrap_or_default();
    let pages: u64 = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

/// A process's share of memory: shared pages count in part. `None` where that cannot be read.
fn share(pid: Pid) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", pid.as_raw_pid())).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}

/// The processes below one, without it: all, or more than `most` of them.
pub fn descendants(of: Pid, most: usize) -> Vec<Pid> {
    let mut found = Vec::new();
    let mut open = vec![of];
    while let Some(pid) = open.pop() {
        let children = children(pid);
        open.extend(&children);
        found.extend(children);
        if found.len() > most {
            break;
        }
    }
    found
}

fn children(pid: Pid) -> Vec<Pid> {
    let Ok(threads) = fs::read_dir(format!("/proc/{}/task", pid.as_raw_pid())) else { return Vec::new() };
    let mut children = Vec::new();
    for thread in threads.flatten() {
        match fs::read_to_string(thread.path().join("children")) {
            Ok(text) => children.extend(text.split_whitespace().filter_map(|word| word.parse().ok()).filter_map(Pid::from_raw)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && thread.path().join("stat").exists() => return searched(pid),
            Err(_) => {}
        }
    }
    children
}

/// Children found by asking every process for its parent, where the kernel keeps no list of them.
fn searched(parent: Pid) -> Vec<Pid> {
    let mut by_parent: BTreeMap<i32, Vec<Pid>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw) else { continue };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse().ok());
        by_parent.entry(parent.unwrap_or(0)).or_default().push(pid);
    }
    by_parent.remove(&parent.as_raw_pid()).unwrap_or_default()
}

struct Sum {
    left: u64,
    files: u64,
}

impl Sum {
    /// Whether it still fits. Follows no link; what goes away meanwhile counts nothing.
    fn add(&mut self, folder: &Path) -> bool {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(meta) = entry.path().symlink_metadata() else { continue };
            let bytes = if meta.is_dir() { 0 } else { meta.size() };
            let (Some(left), Some(files)) = (self.left.checked_sub(bytes), self.files.checked_sub(1)) else { return false };
            (self.left, self.files) = (left, files);
            if meta.is_dir() && !self.add(&entry.path()) {
                return false;
            }
        }
        true
    }
}
