//! What this machine's kernel offers for confining programs: facts for people, and what keeps us from a level.

use std::fs;

use landlock::{ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _, Scope};

/// One fact of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    pub what: &'static str,
    pub found: String,
    /// What to do to get a better one; empty when nothing is missing.
    pub missing: String,
}

/// The version of Landlock from which signals and sockets with abstract names stay inside.
pub const SCOPED: u8 = 6;

/// Gathers what the kernel offers. Confines nothing.
pub fn facts() -> Vec<Fact> {
    vec![landlock_fact(), seccomp(), namespaces(), groups()]
}

/// The Landlock version, up to the newest that we use; 0 for none.
pub fn landlock() -> u8 {
    let files = [(ABI::V1, 1), (ABI::V2, 2), (ABI::V3, 3), (ABI::V4, 4), (ABI::V5, 5), (ABI::V6, 6)];
    let known = |abi: ABI| {
        let ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement).handle_access(AccessFs::from_all(abi));
        let ruleset = if abi >= ABI::V4 { ruleset.and_then(|ruleset| ruleset.handle_access(AccessNet::from_all(abi))) } else { ruleset };
        let ruleset = if abi >= ABI::V6 { ruleset.and_then(|ruleset| ruleset.scope(Scope::from_all(abi))) } else { ruleset };
        ruleset.and_then(Ruleset::create).is_ok()
    };
    files.into_iter().take_while(|(abi, _)| known(*abi)).last().map_or(0, |(_, version)| version)
}

fn landlock_fact() -> Fact {
    let version = landlock();
    let (found, missing) = match version {
        0 => ("not there".to_owned(), "use Linux 5.13 or newer, with `landlock` in the kernel's `lsm=` list".to_owned()),
        version if version < SCOPED && !rustix::process::geteuid().is_root() => (
            format!("version {version}; it does not keep signals inside"),
            "use Linux 6.12 or newer, allow user namespaces, or run as root".to_owned(),
        ),
        version => (format!("version {version} or newer"), String::new()),
    };
    Fact { what: "landlock", found, missing }
}

fn seccomp() -> Fact {
    let actions = fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    match actions.split_whitespace().any(|action| action == "errno") {
        true => Fact { what: "seccomp", found: "filters system calls".to_owned(), missing: String::new() },
        false => Fact { what: "seccomp", found: "not there".to_owned(), missing: "use a kernel with CONFIG_SECCOMP_FILTER".to_owned() },
    }
}

fn namespaces() -> Fact {
    let number = |file: &str| fs::read_to_string(file).ok().and_then(|text| text.trim().parse::<u64>().ok());
    let what = "namespaces";
    let no = |found: &str, missing: &str| Fact { what, found: found.to_owned(), missing: missing.to_owned() };
    let root = rustix::process::geteuid().is_root();
    if number("/proc/sys/user/max_user_namespaces") == Some(0) && !root {
        return no("users may make none", "sysctl user.max_user_namespaces=10000");
    }
    if number("/proc/sys/kernel/unprivileged_userns_clone") == Some(0) && !root {
        return no("users may make none", "sysctl kernel.unprivileged_userns_clone=1");
    }
    if number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == Some(1) && !root {
        return no("AppArmor keeps users from them", "give trued an AppArmor profile with `userns`");
    }
    Fact { what, found: "may be made".to_owned(), missing: String::new() }
}

fn groups() -> Fact {
    let found = if !rustix::process::geteuid().is_root() {
        "only root makes them; the watchdog counts"
    } else if fs::read_to_string("/sys/fs/cgroup/cgroup.subtree_control").is_ok_and(|text| text.contains("memory") && text.contains("pids"))
    {
        "version 2"
    } else if fs::metadata("/sys/fs/cgroup/memory/memory.limit_in_bytes").is_ok() {
        "version 1"
    } else {
        "none that can be used; the watchdog counts"
    };
    Fact { what: "control groups", found: found.to_owned(), missing: String::new() }
}
