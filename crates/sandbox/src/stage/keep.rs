//! The keeper: stands between us and a program, holds every process the program starts, and ends them all.
//!
//! It is what orphans among them come back to, so nothing escapes by leaving its group or its session. It ends with
//! the process that asked for it, even when that one is killed.

use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, getpid, getppid, kill_process, kill_process_group, pidfd_open, set_child_subreaper, wait,
};
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep_until};
use trued_model::{Bound, Level};

use super::group::ControlGroup;
use super::watch::Watch;
use super::{rights, watch};
use crate::group::not_started;
use crate::spec::{Ending, SPEC, STAGE, Spec, Start};

/// How long a program may take to end after it was asked to, before it is killed.
const GRACE: Duration = Duration::from_secs(2);

/// How long processes that do not die are waited for while none of them does: the kernel holds them.
const STUBBORN: Duration = Duration::from_secs(5);

/// How long ending them may take in all, when there are very many and the machine is slow.
const AT_MOST: Duration = Duration::from_secs(30);

pub fn keep(mut spec: Spec) -> Result<ExitCode, String> {
    let parent = Pid::from_raw(spec.parent).ok_or("nobody asked for it")?;
    let watched = pidfd_open(parent, PidfdFlags::empty()).map_err(|error| format!("watch who asked: {error}"))?;
    if getppid() != Some(parent) {
        return Err("who asked is gone".to_owned());
    }
    set_child_subreaper(Some(getpid())).map_err(|error| format!("hold what it starts: {error}"))?;
    let mut control = ControlGroup::default();
    if let Some(cage) = &mut spec.cage {
        if cage.level > Level::Unsafe {
            cage.uid = rights::own_uid();
        }
        if let Some(uid) = cage.uid {
            for folder in spec.folder.iter().chain(&cage.scratch) {
                rights::hand_over(folder, uid).map_err(|error| format!("hand over {}: {error}", folder.display()))?;
            }
        }
        control = ControlGroup::make(&cage.limits);
        cage.groups = control.places();
        if cage.level == Level::Namespaced {
            rights::leave_processes()?;
        }
    }
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| format!("start: {error}"))?;
    let ending = executor.block_on(attend(&spec, watched, &control))?;
    control.remove();
    if spec.spoken {
        return end_as(&ending);
    }
    std::io::stdout().lock().write_all(&ending.pack()).map_err(|error| format!("tell how it ended: {error}"))?;
    Ok(ExitCode::SUCCESS)
}

/// Ends as the program did: nobody reads an ending behind what was talked.
fn end_as(ending: &Ending) -> Result<ExitCode, String> {
    if let Some(refused) = &ending.refused {
        return Err(refused.message.clone());
    }
    match ending.status.and_then(|status| u8::try_from(status).ok()) {
        Some(status) => Ok(ExitCode::from(status)),
        None => {
            let _ = kill_process(getpid(), Signal::KILL);
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Starts the program and waits until nothing of it is left.
async fn attend(spec: &Spec, parent: OwnedFd, control: &ControlGroup) -> Result<Ending, String> {
    let listen = |kind| signal(kind).map_err(|error| format!("listen to signals: {error}"));
    let (mut ended, mut asked, mut stop) =
        (listen(SignalKind::child())?, listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    #[expect(deprecated, reason = "an owned descriptor keeps the promise that the unsafe `register` asks for")]
    let parent = AsyncFd::new(parent).map_err(|error| format!("watch who asked: {error}"))?;
    let mut watch = spec.cage.as_ref().map(|cage| {
        let folders = spec.folder.iter().chain(&cage.scratch).cloned().collect();
        Watch::new(cage.limits, folders)
    });
    let main = match start(spec)? {
        Ok(main) => main,
        Err(refused) => return Ok(refused),
    };
    let mut ending = Ending::default();
    let mut reaped = false;
    let never = Instant::now() + Duration::from_secs(86_400 * 365);
    let mut patience = never;
    loop {
        let look = watch.as_ref().map_or(never, Watch::due);
        tokio::select! {
            biased;
            _ = ended.recv() => {
                if let Some(status) = reap(main) {
                    (ending.status, reaped) = (status, true);
                    break;
                }
            }
            _ = stop.recv() => break,
            _ = parent.readable() => break,
            () = sleep_until(patience) => break,
            _ = asked.recv() => {
                let _ = kill_process_group(main, Signal::TERM);
                patience = Instant::now() + GRACE;
            }
            () = sleep_until(look) => {
                ending.passed = watch.as_mut().and_then(|watch| watch.look(main, control));
                if ending.passed.is_some() {
                    break;
                }
            }
        }
    }
    end_all(main, reaped, &mut ending).await;
    if ending.passed.is_none() {
        // What was too much for the kernel's own count, and what it left on the disk.
        ending.passed = control.passed().or_else(|| watch.as_mut().and_then(Watch::look_at_files));
    }
    // What no look saw is no matter where it ended well.
    if ending.passed.is_none() && reaped && ending.status != Some(0) {
        ending.passed = watch.as_ref().and_then(Watch::look_back);
    }
    Ok(ending)
}

/// Starts the program itself, or the stage that confines it.
fn start(spec: &Spec) -> Result<Result<Pid, Ending>, String> {
    let (mut command, name) = match (&spec.start, &spec.cage) {
        (Start::Program { file, arguments, env }, None) => {
            let mut command = Command::new(file);
            command.args(arguments).env_clear().envs(env).process_group(0);
            command.current_dir(spec.folder.as_deref().unwrap_or("/".as_ref()));
            (command, file.to_string_lossy().into_owned())
        }
        _ => {
            let orders = serde_json::to_string(spec).map_err(|error| format!("write orders: {error}"))?;
            let mut command = Command::new("/proc/self/exe");
            command.arg0(STAGE).arg("enter").env_clear().env(SPEC, orders).current_dir("/");
            (command, STAGE.to_owned())
        }
    };
    let started = command.spawn();
    // One that is talked to and did not start is told of on the error output.
    if !spec.spoken || started.is_ok() {
        silence(spec.spoken).map_err(|error| format!("let go of the streams: {error}"))?;
    }
    match started {
        Ok(child) => {
            let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or("it has no process id")?;
            Ok(Ok(id))
        }
        Err(error) => Ok(Err(Ending { refused: Some(not_started(&name, &error)), ..Ending::default() })),
    }
}

/// Lets go of the program's streams, but for the one that the ending goes to, if it goes anywhere.
fn silence(spoken: bool) -> rustix::io::Result<()> {
    let nothing = rustix::fs::open("/dev/null", rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC, rustix::fs::Mode::empty())?;
    rustix::stdio::dup2_stdin(&nothing)?;
    if spoken {
        rustix::stdio::dup2_stdout(&nothing)?;
    }
    rustix::stdio::dup2_stderr(&nothing)
}

/// Reaps whatever has ended; gives the main one's status when it was among them.
fn reap(main: Pid) -> Option<Option<i32>> {
    let mut found = None;
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if pid == main {
            found = Some(status.exit_status());
        }
    }
    found
}

/// Kills everything that descends from here, and waits until it is gone. What is stopped cannot start more.
async fn end_all(main: Pid, reaped: bool, ending: &mut Ending) {
    let at_most = Instant::now() + AT_MOST;
    let mut until = Instant::now() + STUBBORN;
    // With the first process of a namespace of processes all others go.
    let mut first = !reaped;
    while Instant::now() < until {
        if std::mem::take(&mut first) {
            let _ = kill_process(main, Signal::KILL);
        }
        let mut stopped = std::collections::BTreeMap::new();
        loop {
            let all = watch::descendants(getpid(), watch::MOST).into_iter();
            let news: Vec<Pid> = all.filter(|pid| stopped.insert(pid.as_raw_pid(), *pid).is_none()).collect();
            send(Signal::STOP, &news);
            if news.is_empty() || Instant::now() >= at_most {
                break;
            }
        }
        send(Signal::KILL, stopped.values());
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some(_)) => until = at_most.min(Instant::now() + STUBBORN),
                Err(Errno::CHILD) => return,
                Ok(None) | Err(_) => break,
            }
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    ending.passed.get_or_insert(Bound::Time);
}

/// Signals each; one that has ended meanwhile needs none.
fn send<'a>(signal: Signal, to: impl IntoIterator<Item = &'a Pid>) {
    for pid in to {
        let _ = kill_process(*pid, signal);
    }
}
