//! A control group for one program, where we may make one: the kernel's own count of memory and processes.

use std::fs;
use std::path::{Path, PathBuf};

use trued_model::{Bound, Limits};

/// Where control groups of version 1 hang, and the files that bound and tell.
const MEMORY: &str = "/sys/fs/cgroup/memory";
const PIDS: &str = "/sys/fs/cgroup/pids";
/// Where version 2 hangs.
const UNIFIED: &str = "/sys/fs/cgroup";

#[derive(Default)]
pub struct ControlGroup {
    places: Vec<PathBuf>,
}

impl ControlGroup {
    /// Makes one, or none: the watchdog sees to the bounds anyway.
    pub fn make(limits: &Limits) -> ControlGroup {
        let mut group = ControlGroup::default();
        if !rustix::process::geteuid().is_root() {
            return group;
        }
        let name = format!("trued-{}", std::process::id());
        let memory = limits.memory.bytes().to_string();
        let tasks = u64::from(limits.processes).saturating_mul(4).saturating_add(64).to_string();
        let unified = Path::new(UNIFIED);
        let controls = fs::read_to_string(unified.join("cgroup.subtree_control")).unwrap_or_default();
        if controls.split_whitespace().filter(|word| matches!(*word, "memory" | "pids")).count() == 2 {
            group.add(unified.join(&name), &[("memory.max", &memory), ("memory.swap.max", "0"), ("pids.max", &tasks)]);
            return group;
        }
        if Path::new(MEMORY).join("memory.limit_in_bytes").exists() {
            group.add(Path::new(MEMORY).join(&name), &[("memory.limit_in_bytes", &memory)]);
        }
        if Path::new(PIDS).join("cgroup.procs").exists() {
            group.add(Path::new(PIDS).join(&name), &[("pids.max", &tasks)]);
        }
        group
    }

    /// Makes one folder and sets its bounds; the first file must be there, others may be.
    fn add(&mut self, place: PathBuf, bounds: &[(&str, &str)]) {
        if fs::create_dir(&place).is_err() {
            return;
        }
        let set = |(file, bound): &(&str, &str)| fs::write(place.join(file), bound).is_ok();
        if bounds.first().is_some_and(set) {
            for bound in bounds.iter().skip(1) {
                set(bound);
            }
            self.places.push(place);
        } else {
            let _ = fs::remove_dir(&place);
        }
    }

    pub fn places(&self) -> Vec<PathBuf> {
        self.places.clone()
    }

    /// The bound the kernel enforced, if it did.
    pub fn passed(&self) -> Option<Bound> {
        let killed = |place: &PathBuf| ["memory.events", "memory.oom_control"].iter().any(|file| counted(&place.join(file), "oom_kill "));
        let refused = |place: &PathBuf| counted(&place.join("pids.events"), "max ");
        match (self.places.iter().any(killed), self.places.iter().any(refused)) {
            (true, _) => Some(Bound::Memory),
            (false, refused) => refused.then_some(Bound::Processes),
        }
    }

    /// Removes it; everything in it has ended.
    pub fn remove(&self) {
        self.places.iter().for_each(|place| drop(fs::remove_dir(place)));
    }
}

/// Whether a file of counts has one of this name that is not 0.
fn counted(file: &Path, name: &str) -> bool {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().any(|line| line.strip_prefix(name).is_some_and(|count| count.trim() != "0"))
}
