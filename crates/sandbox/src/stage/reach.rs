//! Landlock: which files a confined program may open at all, and that it signals and reaches nobody outside.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetStatus, Scope,
};
use trued_model::Level;

use super::view::{DEVICES, SYSTEM};
use crate::spec::Cage;

/// The newest rules asked for; an older kernel enforces what of them it knows.
const NEWEST: ABI = ABI::V6;

/// Of /proc, where all processes of the machine are in it: what tells of the machine, and of this process alone.
const PROC: &[&str] = &[
    "/proc/self",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/uptime",
    "/proc/version",
    "/proc/filesystems",
    "/proc/sys/kernel/osrelease",
    "/proc/sys/kernel/ngroups_max",
    "/proc/sys/kernel/cap_last_cap",
    "/proc/sys/vm/overcommit_memory",
];

/// Restricts this process and all it starts.
pub fn restrict(cage: &Cage, folder: Option<&Path>, scratch: Option<&Path>) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| format!("restrict files: {error}");
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))
        .and_then(|ruleset| ruleset.handle_access(AccessNet::from_all(NEWEST)))
        .and_then(|ruleset| ruleset.scope(Scope::from_all(NEWEST)))
        .and_then(Ruleset::create)
        .map_err(|error| failed(&error))?;
    let read = AccessFs::from_read(NEWEST);
    // No devices and no sockets with a name; everything else may be made in one's own folders.
    let write = AccessFs::from_all(NEWEST) & !(AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::MakeSock);
    let mut rules: Vec<(PathBuf, BitFlags<AccessFs>)> = Vec::new();
    match cage.level {
        // What it does not see need not be forbidden.
        Level::Namespaced => rules.push(("/".into(), read)),
        _ => {
            rules.extend(SYSTEM.iter().chain(PROC).map(|path| (path.into(), read)));
            rules.extend(cage.read.iter().map(|path| (path.clone(), read)));
        }
    }
    rules.extend(DEVICES.iter().map(|path| (path.into(), AccessFs::ReadFile | AccessFs::WriteFile)));
    rules.extend(folder.into_iter().chain(scratch).map(|path| (path.to_owned(), write)));
    let mut ruleset = ruleset;
    for (path, access) in rules {
        // What is not on this machine needs no rule.
        let Ok(opened) = PathFd::new(&path) else { continue };
        let access = if path.is_dir() { access } else { access & AccessFs::from_file(NEWEST) };
        ruleset = ruleset.add_rule(PathBeneath::new(opened, access)).map_err(|error| failed(&error))?;
    }
    match ruleset.restrict_self() {
        Ok(status) if status.ruleset != RulesetStatus::NotEnforced && status.no_new_privs => Ok(()),
        Ok(_) => Err("restrict files: this kernel has no Landlock".to_owned()),
        Err(error) => Err(failed(&error)),
    }
}
