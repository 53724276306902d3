//! Runs a program and counts, over all its threads together, the calls by which it changes something outside itself; at
//! the Nth of them it kills the program or lets the call fail. By ptrace, as strace does it; but strace
//! counts each call of each thread by itself, so that "every N" there is not every point. A filter has only those calls
//! stop, which is what makes thousands of runs affordable; programs that the program starts would not pass it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use seccompiler::{BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule};

/// No run here takes this long; one that does hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is done to one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    /// SIGKILL before the call does anything.
    Kill,
    /// The call does nothing and gives an error.
    Fail(Errno),
    /// The call is made, and the process gets a signal beside it.
    Signal(Signal),
    /// The whole process stands still before the call, as after SIGSTOP, until the one who chose this says so.
    Freeze,
}

/// One call that changes something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub name: &'static str,
    /// The file of its descriptor, or of its first descriptor; empty where it takes none.
    pub file: String,
    /// The second descriptor's, of calls that take two.
    pub other: String,
    /// The first path it names; empty where it names none.
    pub path: String,
}

impl Call {
    /// Whether it moves a file or link between the stage and the target: a resource comes into place, or goes.
    pub fn places(&self) -> bool {
        let staged = |file: &str| file.ends_with("/.trued/stage");
        self.name.starts_with("renameat") && staged(&self.file) != staged(&self.other) && self.path != "folder"
    }
}

impl std::fmt::Display for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", self.name, self.file, self.path)
    }
}

/// A run, as it was seen.
#[derive(Debug)]
pub struct Trace {
    pub calls: Vec<Call>,
    /// Whether a blow fell.
    pub struck: bool,
    /// `None`: it was killed.
    pub status: Option<i32>,
    pub said: String,
}

/// How a call's arguments tell whether and where it changes something.
#[derive(Clone, Copy)]
enum Form {
    /// A descriptor comes first.
    On,
    /// Two descriptors: first and third argument.
    Between,
    /// Paths only.
    Paths,
    /// `openat`: counts where it may write or make.
    Open,
}

fn form(number: i64) -> Option<(&'static str, Form)> {
    Some(match number {
        libc::SYS_write => ("write", Form::On),
        libc::SYS_pwrite64 => ("pwrite64", Form::On),
        libc::SYS_writev => ("writev", Form::On),
        libc::SYS_pwritev => ("pwritev", Form::On),
        libc::SYS_sendfile => ("sendfile", Form::On),
        libc::SYS_copy_file_range => ("copy_file_range", Form::Between),
        libc::SYS_fsync => ("fsync", Form::On),
        libc::SYS_fdatasync => ("fdatasync", Form::On),
        libc::SYS_syncfs => ("syncfs", Form::On),
        libc::SYS_ftruncate => ("ftruncate", Form::On),
        libc::SYS_fallocate => ("fallocate", Form::On),
        libc::SYS_fchmod => ("fchmod", Form::On),
        libc::SYS_fchown => ("fchown", Form::On),
        libc::SYS_renameat => ("renameat", Form::Between),
        libc::SYS_renameat2 => ("renameat2", Form::Between),
        libc::SYS_linkat => ("linkat", Form::Between),
        libc::SYS_unlinkat => ("unlinkat", Form::On),
        libc::SYS_mkdirat => ("mkdirat", Form::On),
        libc::SYS_symlinkat => ("symlinkat", Form::Paths),
        libc::SYS_fchmodat => ("fchmodat", Form::On),
        libc::SYS_fchmodat2 => ("fchmodat2", Form::On),
        libc::SYS_fchownat => ("fchownat", Form::On),
        libc::SYS_utimensat => ("utimensat", Form::On),
        libc::SYS_openat => ("openat", Form::Open),
        libc::SYS_bind => ("bind", Form::On),
        libc::SYS_listen => ("listen", Form::On),
        libc::SYS_connect => ("connect", Form::On),
        libc::SYS_sendto => ("sendto", Form::On),
        libc::SYS_sendmsg => ("sendmsg", Form::On),
        other => return by_old_name(other),
    })
}

/// Calls that younger machines do not have any more.
#[cfg(target_arch = "x86_64")]
fn by_old_name(number: i64) -> Option<(&'static str, Form)> {
    Some(match number {
        libc::SYS_rename => ("rename", Form::Paths),
        libc::SYS_unlink => ("unlink", Form::Paths),
        libc::SYS_link => ("link", Form::Paths),
        libc::SYS_symlink => ("symlink", Form::Paths),
        libc::SYS_mkdir => ("mkdir", Form::Paths),
        libc::SYS_rmdir => ("rmdir", Form::Paths),
        libc::SYS_chmod => ("chmod", Form::Paths),
        libc::SYS_chown => ("chown", Form::Paths),
        _ => return None,
    })
}

#[cfg(not(target_arch = "x86_64"))]
fn by_old_name(_number: i64) -> Option<(&'static str, Form)> {
    None
}

/// The numbers of system calls end far below this.
const BEYOND: i64 = 1024;

/// Has the calls that [`form`] knows stop at the tracer, in this thread and in what it starts.
fn filter() -> BpfProgram {
    let opens = [libc::O_WRONLY, libc::O_RDWR, libc::O_CREAT, libc::O_TRUNC];
    let writing = |flag: i32| {
        let flag = flag as u64;
        let set = SeccompCondition::new(2, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(flag), flag).expect("a condition");
        SeccompRule::new(vec![set]).expect("a rule")
    };
    let rules = (0..BEYOND).filter_map(|number| match form(number)?.1 {
        Form::Open => Some((number, opens.into_iter().map(writing).collect())),
        _ => Some((number, Vec::new())),
    });
    let arch = std::env::consts::ARCH.try_into().expect("a machine that filters are known for");
    let filter = SeccompFilter::new(rules.collect(), SeccompAction::Allow, SeccompAction::Trace(0), arch).expect("a filter");
    filter.try_into().expect("a program")
}

/// A call's number and arguments, in its registers.
#[cfg(target_arch = "x86_64")]
fn entering(thread: Pid) -> nix::Result<(i64, [u64; 3])> {
    let registers = ptrace::getregs(thread)?;
    Ok((registers.orig_rax as i64, [registers.rdi, registers.rsi, registers.rdx]))
}

#[cfg(target_arch = "aarch64")]
fn entering(thread: Pid) -> nix::Result<(i64, [u64; 3])> {
    let registers = ptrace::getregs(thread)?;
    Ok((registers.regs[8] as i64, [registers.regs[0], registers.regs[1], registers.regs[2]]))
}

/// Turns the call in hand into none that gives this (seccomp(2): a tracer skips a call by the number -1).
#[cfg(target_arch = "x86_64")]
fn answer(thread: Pid, value: i64) -> nix::Result<()> {
    let mut registers = ptrace::getregs(thread)?;
    (registers.orig_rax, registers.rax) = (u64::MAX, value as u64);
    ptrace::setregs(thread, registers)
}

#[cfg(not(target_arch = "x86_64"))]
fn answer(_thread: Pid, _value: i64) -> nix::Result<()> {
    panic!("this tracer lets calls fail on x86-64 only")
}

/// Which calls a blow is for, given all that came before it and the call itself.
pub type Choice<'a> = dyn FnMut(usize, &Call) -> Option<Blow> + Send + 'a;

/// The Nth call, from 1.
pub fn nth(n: usize, blow: Blow) -> impl FnMut(usize, &Call) -> Option<Blow> + Send {
    move |count, _| (count == n).then_some(blow)
}

/// What others may see of a traced process and do meanwhile.
#[derive(Default)]
pub struct Outside<'a> {
    /// The process, as long as it lives.
    pub process: Mutex<Option<Pid>>,
    /// What is done while it is frozen.
    pub meanwhile: Option<&'a dyn Fn()>,
}

/// Runs a program to its end under these eyes.
pub fn run(command: &mut Command, choose: &mut Choice<'_>) -> Trace {
    run_known(command, choose, &Outside::default())
}

/// [`run`] with others outside.
pub fn run_known(command: &mut Command, choose: &mut Choice<'_>, outside: &Outside<'_>) -> Trace {
    let said = tempfile::NamedTempFile::new().expect("a file");
    let ((froze, frozen), (thaw, thawed)) = (mpsc::channel(), mpsc::channel());
    let (process, mut hangs) = (&outside.process, false);
    // The filter stays on its thread for good, and what it stops fails there.
    let watched = std::thread::scope(|threads| {
        let watching = threads.spawn(|| {
            seccompiler::apply_filter(&filter()).expect("a filter may be set");
            watch(command, choose, process, said.as_file(), Frost { froze, thawed })
        });
        // Goes with a panic of what is done meanwhile, so that the frozen process does not wait for it forever.
        let thaw = thaw;
        loop {
            match frozen.recv_timeout(PATIENCE) {
                Ok(()) => {
                    outside.meanwhile.inspect(|meanwhile| meanwhile());
                    let _ = thaw.send(());
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    hangs = true;
                    let _ = process.lock().expect("nobody panics with it").map(|process| kill(process, Signal::SIGKILL));
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => return watching.join(),
            }
        }
    });
    let mut trace = watched.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    trace.said = fs::read_to_string(said.path()).unwrap_or_default();
    let last = || trace.calls.iter().rev().take(5).collect::<Vec<_>>();
    assert!(!hangs, "the run hangs; its last calls: {:?}; it said: {}", last(), trace.said);
    trace
}

/// How the tracing thread tells that the process stands still, and hears that it may go on.
struct Frost {
    froze: mpsc::Sender<()>,
    thawed: mpsc::Receiver<()>,
}

fn watch(command: &mut Command, choose: &mut Choice<'_>, known: &Mutex<Option<Pid>>, said: &fs::File, frost: Frost) -> Trace {
    // It stops by itself before it becomes the program, so that nothing of the program is missed.
    let mut waiting = Command::new("sh");
    waiting.args(["-c", "kill -STOP $$; exec \"$0\" \"$@\""]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => waiting.env(name, value),
            None => waiting.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        waiting.current_dir(folder);
    }
    let out = || Stdio::from(said.try_clone().expect("a file"));
    #[expect(clippy::zombie_processes, reason = "it is waited for below, by its number")]
    let child = waiting.stdin(Stdio::null()).stdout(out()).stderr(out()).spawn().expect("sh starts");
    let process = Pid::from_raw(child.id() as i32);
    let stopped = waitpid(process, Some(WaitPidFlag::WUNTRACED)).expect("it stops");
    assert!(matches!(stopped, WaitStatus::Stopped(_, Signal::SIGSTOP)), "{stopped:?}");
    let options = Options::PTRACE_O_TRACESECCOMP | Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_TRACEEXEC | Options::PTRACE_O_EXITKILL;
    ptrace::seize(process, options).expect("a child may be traced");
    kill(process, Signal::SIGCONT).expect("a child goes on");
    *known.lock().expect("nobody panics with it") = Some(process);
    let mut trace = Trace { calls: Vec::new(), struck: false, status: None, said: String::new() };
    let threads = BTreeSet::from([process]);
    let status = Watch { process, choose, frost, trace: &mut trace, program: false, threads, frozen: BTreeMap::new() }.watch();
    *known.lock().expect("nobody panics with it") = None;
    trace.status = status;
    trace
}

/// One run in hand.
struct Watch<'a, 'b> {
    process: Pid,
    choose: &'a mut Choice<'b>,
    frost: Frost,
    trace: &'a mut Trace,
    /// Whether the shell has become the program.
    program: bool,
    threads: BTreeSet<Pid>,
    /// While the process is being frozen: the threads that stand still already, and what they are to get when they go on.
    frozen: BTreeMap<Pid, Option<Signal>>,
}

impl Watch<'_, '_> {
    fn watch(mut self) -> Option<i32> {
        loop {
            let status = match waitpid(None, Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD)) {
                Err(Errno::EINTR) => continue,
                status => status.expect("something to wait for"),
            };
            let (thread, signal) = match status {
                WaitStatus::Exited(process, status) if process == self.process => return Some(status),
                WaitStatus::Signaled(process, ..) if process == self.process => return None,
                WaitStatus::Exited(thread, _) | WaitStatus::Signaled(thread, ..) => {
                    self.threads.remove(&thread);
                    continue;
                }
                WaitStatus::PtraceEvent(thread, _, libc::PTRACE_EVENT_SECCOMP) => {
                    // One that vanishes between two stops was killed with the rest.
                    let _ = self.turn(thread);
                    (thread, None)
                }
                WaitStatus::PtraceEvent(thread, _, libc::PTRACE_EVENT_EXEC) => {
                    self.program = true;
                    (thread, None)
                }
                WaitStatus::PtraceEvent(thread, ..) => (thread, None),
                WaitStatus::Stopped(thread, signal) => (thread, Some(signal)),
                _ => continue,
            };
            self.threads.insert(thread);
            if self.frozen.is_empty() {
                let _ = ptrace::cont(thread, signal);
            } else {
                self.frozen.insert(thread, signal);
            }
            if !self.frozen.is_empty() && self.threads.iter().all(|thread| self.frozen.contains_key(thread)) {
                let _ = self.frost.froze.send(()).map(|()| self.frost.thawed.recv());
                for (thread, signal) in std::mem::take(&mut self.frozen) {
                    let _ = ptrace::cont(thread, signal);
                }
            }
        }
    }

    /// A thread is about to make a call.
    fn turn(&mut self, thread: Pid) -> nix::Result<()> {
        let (number, arguments) = entering(thread)?;
        let Some((name, form)) = form(number).filter(|_| self.program) else { return Ok(()) };
        let Some(call) = self.describe(name, form, arguments) else { return Ok(()) };
        let blow = (self.choose)(self.trace.calls.len() + 1, &call);
        self.trace.calls.push(call);
        self.trace.struck |= blow.is_some();
        match blow {
            Some(Blow::Kill) => kill(self.process, Signal::SIGKILL),
            Some(Blow::Signal(signal)) => kill(self.process, signal),
            Some(Blow::Fail(errno)) => answer(thread, -i64::from(errno as i32)),
            Some(Blow::Freeze) => {
                self.frozen.insert(thread, None);
                self.threads.iter().filter(|other| **other != thread).try_for_each(|other| ptrace::interrupt(*other))
            }
            None => Ok(()),
        }
    }

    /// The call, if it changes something outside the process.
    fn describe(&self, name: &'static str, form: Form, arguments: [u64; 3]) -> Option<Call> {
        let named = |descriptor: u64| match fs::read_link(format!("/proc/{}/fd/{}", self.process, descriptor as i32)) {
            Ok(path) => path.to_string_lossy().into_owned(),
            Err(_) => String::new(),
        };
        let writes = |flags: u64| flags & (libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC) as u64 != 0;
        let none = String::new;
        let (file, other, path) = match form {
            Form::Paths => (none(), none(), self.text(arguments[0])),
            Form::On if name.ends_with("at") => (named(arguments[0]), none(), self.text(arguments[1])),
            Form::On => (named(arguments[0]), none(), none()),
            Form::Between => (named(arguments[0]), named(arguments[2]), self.text(arguments[1])),
            Form::Open if writes(arguments[2]) => (named(arguments[0]), none(), self.text(arguments[1])),
            Form::Open => return None,
        };
        let inward = file.starts_with("anon_inode:") || file.starts_with("pipe:");
        (!inward).then_some(Call { name, file, other, path })
    }

    /// A path in the program's memory.
    fn text(&self, at: u64) -> String {
        let mut bytes = vec![0; 256];
        let memory = fs::File::open(format!("/proc/{}/mem", self.process));
        let count = memory.and_then(|memory| memory.read_at(&mut bytes, at)).unwrap_or(0);
        let end = bytes[..count].iter().position(|byte| *byte == 0).unwrap_or(count);
        String::from_utf8_lossy(&bytes[..end]).into_owned()
    }
}
