//! Gives up every right that a program of others must not have, then becomes that program.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use rustix::process::{
    DumpableBehavior, Pid, Resource, Rlimit, Signal, WaitOptions, set_dumpable_behavior, set_parent_process_death_signal, setrlimit,
    setsid, wait,
};
use trued_model::{Level, Limits};

use super::{calls, reach, rights, view};
use crate::group::not_started;
use crate::spec::{Cage, Spec, Start};

/// Files one process may have open.
const OPEN_FILES: u64 = 1024;

/// So many times its bound on memory one process may ask for. What it has of that is the watchdog's.
const DATA: u64 = 4;

pub fn enter(spec: Spec, task: &dyn Fn(&str) -> Option<ExitCode>) -> Result<ExitCode, String> {
    let Spec { cage: Some(cage), start, folder, .. } = spec else { return Err("nothing says how to confine it".to_owned()) };
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|error| format!("end with the keeper: {error}"))?;
    for group in &cage.groups {
        fs::write(group.join("cgroup.procs"), std::process::id().to_string()).map_err(|error| format!("join a control group: {error}"))?;
    }
    // When memory runs out on the machine, these go first.
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
    let alone = cage.uid.is_some() || cage.level == Level::Namespaced;
    let others = if alone { 0 } else { tasks_of(rustix::process::getuid()) };
    let mut folder = folder;
    let mut scratch = cage.scratch.clone();
    if cage.level == Level::Namespaced {
        rights::leave_the_rest(cage.elsewhere)?;
        // Finding out the level tries all that a program needs.
        let bare = matches!(&start, Start::Task(name) if name != crate::NOTHING);
        view::change(folder.as_deref(), scratch.as_deref(), &cage.read, bare)?;
        folder = folder.map(|_| view::FOLDER.into());
        scratch = scratch.map(|_| view::SCRATCH.into());
    }
    if cage.level > Level::Unsafe {
        rights::give_up(&cage)?;
        // The change of user took this back.
        set_parent_process_death_signal(Some(Signal::KILL)).map_err(|error| format!("end with the keeper: {error}"))?;
    }
    limit(&cage.limits, others)?;
    setsid().map_err(|error| format!("make a session: {error}"))?;
    std::env::set_current_dir(folder.as_deref().unwrap_or(Path::new("/"))).map_err(|error| format!("go to its folder: {error}"))?;
    if cage.level > Level::Unsafe {
        reach::restrict(&cage, folder.as_deref(), scratch.as_deref())?;
        calls::filter(cage.level == Level::Namespaced)?;
    }
    match start {
        Start::Task(name) => task(&name).ok_or_else(|| format!("there is no task {name}")),
        Start::Program { file, arguments, env } => {
            let mut command = Command::new(&file);
            command.args(arguments).env_clear().envs(env);
            if let Some(scratch) = &scratch {
                command.env("HOME", scratch).env("TMPDIR", scratch);
            }
            become_it(command, &file, &cage)
        }
    }
}

fn become_it(mut command: Command, file: &Path, cage: &Cage) -> Result<ExitCode, String> {
    let name = file.to_string_lossy();
    if cage.level < Level::Namespaced {
        return Err(not_started(&name, &command.exec()).to_string());
    }
    // The first process of a namespace of processes is nobody's program: signals would not end it, and it must reap.
    let child = command.spawn().map_err(|error| not_started(&name, &error).to_string())?;
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let main = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or("it has no process id")?;
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == main => {
                let code = status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal)).unwrap_or(1);
                return Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)));
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(format!("wait for it: {error}")),
        }
    }
}

/// How many threads of all processes a user has now.
fn tasks_of(user: rustix::process::Uid) -> u64 {
    let owned = |entry: &fs::DirEntry| entry.metadata().is_ok_and(|meta| meta.uid() == user.as_raw());
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten().filter(owned);
    processes.map(|entry| fs::read_dir(entry.path().join("task")).map_or(0, |tasks| tasks.count() as u64)).sum()
}

/// Bounds each process. What all of them use together is the watchdog's. `others` are tasks of this user that are none of
/// the program's.
fn limit(limits: &Limits, others: u64) -> Result<(), String> {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let bounds = [
        (Resource::Core, 0),
        (Resource::Fsize, limits.output.bytes()),
        (Resource::Nofile, OPEN_FILES),
        // Far above the bound, so that it is the watchdog who ends it and can say why: of a piece that is refused nobody knows.
        (Resource::Data, limits.memory.bytes().saturating_mul(DATA)),
        (Resource::Cpu, (limits.time.as_millis() / 1000 + 1).saturating_mul(cores)),
        (Resource::Memlock, 64 << 10),
        (Resource::Msgqueue, 0),
        // Counts all threads of the user: a bomb stops growing there until the watchdog has seen it.
        (Resource::Nproc, u64::from(limits.processes).saturating_mul(4).saturating_add(64).saturating_add(others)),
    ];
    for (resource, bound) in bounds {
        let now = rustix::process::getrlimit(resource).maximum.map_or(bound, |most| most.min(bound));
        setrlimit(resource, Rlimit { current: Some(now), maximum: Some(now) }).map_err(|error| format!("limit {resource:?}: {error}"))?;
    }
    Ok(())
}
