//! Ways out of the sandbox, each tried at both levels, as root and as a user without rights. Every probe first shows
//! that what it tries works outside, so that its failure inside means something.

mod ground;

use std::fs;
use std::io::Write as _;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use ground::{Ground, LEVELS, is_root, said, twice};
use trued_model::Level;

/// What a probe may name, in its environment: things of others that are there, and whole.
struct Others {
    folder: tempfile::TempDir,
    env: Vec<(String, String)>,
    stranger: Child,
    _listening: (TcpListener, Option<TcpListener>, UdpSocket, UnixListener, UnixListener),
    open: fs::File,
}

impl Drop for Others {
    fn drop(&mut self) {
        let _ = self.stranger.kill();
        let _ = self.stranger.wait();
    }
}

const CANARY: &str = "canary-5731";

impl Others {
    fn new() -> Others {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (name, mode) in [("keys/signing", 0o600), ("stacks/index.html", 0o644)] {
            fs::create_dir_all(at(name).parent().unwrap()).unwrap();
            fs::write(at(name), CANARY).unwrap();
            fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        let stranger = Command::new("sleep").arg("600").env("SECRET", CANARY).spawn().unwrap();
        let (tcp, udp) = (TcpListener::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let six = TcpListener::bind("[::1]:0").ok();
        let name = format!("trued-escape-{}", std::process::id());
        let hidden = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let named = UnixListener::bind(at("socket")).unwrap();
        let open = fs::File::open(at("keys/signing")).unwrap();
        rustix::io::fcntl_setfd(&open, rustix::io::FdFlags::empty()).unwrap();
        let env = [
            ("TCP", tcp.local_addr().unwrap().port().to_string()),
            ("UDP", udp.local_addr().unwrap().port().to_string()),
            ("SIX", six.as_ref().map_or(0, |six| six.local_addr().unwrap().port()).to_string()),
            ("ABSTRACT", name),
            ("STRANGER", stranger.id().to_string()),
            ("OTHERS", folder.path().to_str().unwrap().to_owned()),
            ("DEVICE", device()),
            ("OPEN", open.as_raw_fd().to_string()),
            ("SUID", std::env::var("TEST_SUID").unwrap_or_default()),
        ];
        let env = env.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Others { folder, env, stranger, _listening: (tcp, six, udp, hidden, named), open }
    }
}

/// A disk of this machine.
fn device() -> String {
    let disks = fs::read_dir("/sys/class/block").unwrap().flatten();
    let mut names: Vec<PathBuf> = disks.map(|disk| PathBuf::from("/dev").join(disk.file_name())).filter(|disk| disk.exists()).collect();
    names.sort();
    names.into_iter().find(|disk| is_root() && fs::File::open(disk).is_ok()).unwrap_or_default().to_str().unwrap().to_owned()
}

/// Who can do it outside.
#[derive(Clone, Copy, PartialEq)]
enum By {
    Anybody,
    Root,
    /// By a user without rights: root has no need of it.
    NotRoot,
    /// Only where this machine has it.
    Maybe,
}
use By::{Anybody, Maybe, NotRoot, Root};

/// A way out: succeeds (status 0) when the way is open.
struct Probe(&'static str, By, How);

enum How {
    Shell(&'static str),
    Python(&'static str),
    /// System calls with nonsense for arguments: open when the kernel looks at them at all, or does it. By number on
    /// x86-64 and on others.
    Call(&'static str, libc::c_long),
}
use How::{Call, Python, Shell};

const PROBES: &[Probe] = &[
    Probe("network, version 4", Anybody, Python("socket.create_connection(('127.0.0.1', int(env['TCP'])), 2)")),
    Probe("network, version 6", Maybe, Python("socket.create_connection(('::1', int(env['SIX'])), 2)")),
    Probe(
        "network, datagrams",
        Anybody,
        Python("socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', int(env['UDP'])))"),
    ),
    Probe("network, listening", Anybody, Python("socket.create_server(('127.0.0.1', 0))")),
    Probe("network, netlink", Anybody, Python("socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)")),
    Probe("network, raw", Root, Python("socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)")),
    Probe("socket with an abstract name", Anybody, Python("socket.socket(socket.AF_UNIX).connect('\\0' + env['ABSTRACT'])")),
    Probe("socket with a path", Anybody, Python("socket.socket(socket.AF_UNIX).connect(env['OTHERS'] + '/socket')")),
    Probe("environment of another process", Anybody, Shell("grep -q canary /proc/$STRANGER/environ")),
    Probe("command line of another process", Anybody, Shell("grep -q sleep /proc/$STRANGER/cmdline")),
    Probe("memory map of another process", Anybody, Shell("test -n \"$(cat /proc/$STRANGER/maps)\"")),
    Probe("root of another process", Anybody, Shell("ls /proc/$STRANGER/root/etc/hostname")),
    Probe("environment of the first process", Maybe, Shell("head -c1 /proc/1/environ")),
    Probe("keys of the state folder", Anybody, Shell("cat $OTHERS/keys/signing")),
    Probe("files of another stack", Anybody, Shell("cat $OTHERS/stacks/index.html")),
    Probe("names in another folder", Anybody, Shell("ls $OTHERS/stacks")),
    Probe("passwords of the machine", Root, Shell("head -c1 /etc/shadow")),
    Probe("a home folder", Root, Shell("ls /root")),
    Probe("a new file outside", Anybody, Shell("echo x > $OTHERS/new")),
    Probe("a file outside, written over", Anybody, Shell("echo canary-5731 > $OTHERS/stacks/index.html")),
    Probe("a file outside, cut", Anybody, Python("os.truncate(env['OTHERS'] + '/stacks/index.html', 11)")),
    Probe("a file outside, removed", Anybody, Shell("touch $OTHERS/gone; rm $OTHERS/gone")),
    Probe("a file outside, renamed", Anybody, Shell("mv $OTHERS/stacks $OTHERS/moved && mv $OTHERS/moved $OTHERS/stacks")),
    Probe("a file outside, its mode", Anybody, Python("open(env['OTHERS'] + '/stacks/index.html', 'r+')")),
    Probe("a hard link to a file outside", Anybody, Shell("ln $OTHERS/stacks/index.html here && cat here")),
    Probe("a symbolic link to a file outside", Anybody, Shell("ln -s $OTHERS/keys/signing $TMPDIR/there; cat $TMPDIR/there")),
    Probe("the temporary folder of others", Anybody, Shell("touch /var/tmp/trued-escape && rm /var/tmp/trued-escape")),
    Probe("shared memory", Anybody, Shell("touch /dev/shm/trued-escape && rm /dev/shm/trued-escape")),
    Probe("tracing", Anybody, Call("SYS_ptrace", libc::SYS_ptrace)),
    Probe("tracing a stranger", Anybody, Python("seized(0x4206, int(env['STRANGER']))")),
    Probe("memory of a stranger, by call", Anybody, Call("SYS_process_vm_readv", libc::SYS_process_vm_readv)),
    Probe("memory of a stranger, by file", Anybody, Shell("exec 3< /proc/$STRANGER/mem")),
    Probe("signalling a stranger", Anybody, Shell("kill -CONT $STRANGER")),
    Probe("stopping all one may", Anybody, Python("os.kill(int(env['STRANGER']), 0)")),
    Probe("priority of a stranger", Anybody, Python("os.setpriority(os.PRIO_PROCESS, int(env['STRANGER']), 5)")),
    Probe("limits of a stranger", Anybody, Python("resource.prlimit(int(env['STRANGER']), resource.RLIMIT_CORE, (0, 0))")),
    Probe("processor of a stranger", Anybody, Python("os.sched_setaffinity(int(env['STRANGER']), os.sched_getaffinity(0))")),
    Probe("mounting", Root, Call("SYS_mount", libc::SYS_mount)),
    Probe("a namespace of one's own", Anybody, Shell("unshare -Ur true")),
    Probe("a namespace by clone", Anybody, Python("cloned(0x10000000)")),
    Probe("another's namespace", Root, Shell("nsenter --target $STRANGER --mount true")),
    Probe("another root", Root, Python("os.chroot('.')")),
    Probe("keys of the kernel", Anybody, Call("SYS_add_key", libc::SYS_add_key)),
    Probe("programs in the kernel", Root, Call("SYS_bpf", libc::SYS_bpf)),
    Probe("faults in user space", Maybe, Call("SYS_userfaultfd", libc::SYS_userfaultfd)),
    Probe("rings of calls", Maybe, Call("SYS_io_uring_setup", libc::SYS_io_uring_setup)),
    Probe("counters of the processor", Maybe, Call("SYS_perf_event_open", libc::SYS_perf_event_open)),
    Probe("files by handle", Anybody, Call("SYS_name_to_handle_at", libc::SYS_name_to_handle_at)),
    Probe("memory without a file or owner", Anybody, Call("SYS_memfd_create", libc::SYS_memfd_create)),
    Probe("memory that outlives its makers", Anybody, Call("SYS_shmget", libc::SYS_shmget)),
    Probe("another kernel", Maybe, Call("SYS_kexec_load", libc::SYS_kexec_load)),
    Probe("a module of the kernel", Maybe, Call("SYS_init_module", libc::SYS_init_module)),
    Probe("the clock", Anybody, Call("SYS_adjtimex", libc::SYS_adjtimex)),
    Probe("the name of the machine", Root, Python("socket.sethostname(socket.gethostname())")),
    Probe("words for a terminal", Anybody, Python("arrives(lambda: fcntl.ioctl(0, 0x5412, b'x'))")),
    Probe("a disk", Root, Shell("test -n \"$DEVICE\" && head -c1 $DEVICE")),
    Probe("a device of one's own", Root, Shell("mknod $TMPDIR/disk b 8 0")),
    Probe("settings of the kernel", Root, Shell("cat /proc/sys/kernel/core_pattern > /proc/sys/kernel/core_pattern")),
    Probe("a core dump", Anybody, Shell("ulimit -c unlimited || ulimit -c 1")),
    Probe("a program of root", NotRoot, Shell("test \"$($SUID -u)\" = 0")),
    Probe("files that were open", Anybody, Shell("cat /dev/fd/$OPEN || cat <&$OPEN")),
];

/// What probes in Python begin with.
const PYTHON: &str = r#"
import ctypes, errno, fcntl, os, resource, socket
env = os.environ
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *words):
    ctypes.set_errno(0)
    done = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(word) for word in words])
    if done < 0:
        raise OSError(ctypes.get_errno(), 'call')
    return done
def arrives(what):
    try:
        what()
    except OSError as error:
        if error.errno in (errno.EPERM, errno.ENOSYS, errno.EACCES):
            raise
def seized(request, pid):
    call(NUMBER_PTRACE, request, pid, 0, 0)
def cloned(flags):
    pid = call(NUMBER_CLONE, flags | 17, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
"#;

impl Probe {
    fn argv(&self) -> Vec<String> {
        let python = |line: &str| {
            let numbers = format!("NUMBER_PTRACE = {}\nNUMBER_CLONE = {}\n", libc::SYS_ptrace, libc::SYS_clone);
            vec!["/usr/bin/python3".to_owned(), "-c".to_owned(), format!("{numbers}{PYTHON}\n{line}\n")]
        };
        match &self.2 {
            Shell(script) => vec!["/bin/sh".to_owned(), "-c".to_owned(), (*script).to_owned()],
            Python(line) => python(line),
            // Every number is as bad an argument as another: no address, no descriptor, no process.
            Call(_, number) => python(&format!("arrives(lambda: call({number}, -7, 0, 0, 0, 0))")),
        }
    }
}

#[test]
fn fault_24_fault_100_no_way_out_is_open() {
    twice("fault_24_fault_100_no_way_out_is_open", || {
        let others = Others::new();
        let open = outside(&others);
        let mut ways = Vec::new();
        for level in LEVELS {
            for probe in PROBES.iter().filter(|probe| open.contains(&probe.0) || probe.1 != Maybe) {
                let ground = Ground::at(level);
                let argv = probe.argv();
                let words: Vec<&str> = argv.iter().map(String::as_str).collect();
                let ended = ground.run_with(&words, &others.env).unwrap_or_else(|refusal| panic!("{}: {refusal}", probe.0));
                let told = format!("{} at {level:?}: {:?}\n{}", probe.0, ended.exit.status, said(&ended));
                let closed = ended.passed.is_none() && ended.exit.status.is_some_and(|status| status != 0);
                if !closed || said(&ended).contains(CANARY) {
                    ways.push(told);
                }
            }
        }
        assert!(ways.is_empty(), "ways out are open: {ways:#?}");
        assert_eq!(fs::read_to_string(others.folder.path().join("stacks/index.html")).unwrap().trim(), CANARY);
    });
}

/// Walks every way outside; it must be open there. Gives those that are.
fn outside(others: &Others) -> Vec<&'static str> {
    let (mut open, mut empty) = (Vec::new(), Vec::new());
    for Probe(name, by, how) in PROBES {
        let probe = Probe(
            name,
            *by,
            match how {
                Shell(script) => Shell(script),
                Python(line) => Python(line),
                Call(name, number) => Call(name, *number),
            },
        );
        if matches!((by, is_root()), (Root, false) | (NotRoot, true)) {
            continue;
        }
        let folder = tempfile::tempdir_in(others.folder.path()).unwrap();
        let argv = probe.argv();
        let mut command = Command::new(&argv[0]);
        command.args(&argv[1..]).current_dir(folder.path()).envs(others.env.iter().cloned()).env("TMPDIR", folder.path());
        command.stdin(Stdio::piped());
        let output = command.output().unwrap();
        if output.status.success() {
            open.push(*name);
        } else if *by != Maybe {
            empty.push(format!("{name}: {}", String::from_utf8_lossy(&output.stderr)));
        }
    }
    assert!(empty.is_empty(), "what cannot be done outside either proves nothing: {empty:#?}");
    assert!(others.open.metadata().is_ok());
    open
}

#[test]
fn nothing_of_our_environment_is_passed_on() {
    for level in LEVELS {
        let ground = Ground::at(level);
        let ended = ground.shell("env | sort");
        let names: Vec<String> = said(&ended).lines().filter_map(|line| Some(line.split_once('=')?.0.to_owned())).collect();
        assert_eq!(names, ["HOME", "PATH", "PWD", "TMPDIR"], "the shell itself adds PWD");
    }
    assert!(std::env::vars().count() > 4);
}

#[test]
fn nothing_but_the_standard_streams_is_open_and_it_is_no_capability_left() {
    for level in LEVELS {
        let ground = Ground::at(level);
        let ended = ground.shell("exec cat /proc/self/status");
        for line in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            let text = said(&ended);
            let value = text.lines().find_map(|text| text.strip_prefix(&format!("{line}:\t"))).unwrap_or_else(|| panic!("{text}"));
            let dropped = u64::from_str_radix(value, 16).unwrap() == 0;
            // Only root can take capabilities out of the bounding set, and it has a uid of its own here.
            assert!(dropped || (line == "CapBnd" && level == Level::Base && !is_root()), "{level:?}: {line} {value}");
        }
        assert!(said(&ended).contains("NoNewPrivs:\t1"));
        assert!(said(&ended).contains("Seccomp:\t2"));
        if is_root() && level == Level::Base {
            let uid = said(&ended).lines().find_map(|line| line.strip_prefix("Uid:\t")?.split('\t').next()?.parse::<u32>().ok());
            assert!(uid.is_some_and(|uid| uid >= 2_000_000_000), "{uid:?}");
        }
        let ended = ground.run(&["/bin/sh", "-c", "exec ls /proc/self/fd"]).unwrap();
        let _ = std::io::stdout().flush();
        assert_eq!(said(&ended).split_whitespace().count(), 4, "three, and the folder that is listed: {}", said(&ended));
    }
}
