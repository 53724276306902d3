//! seccomp: the system calls a confined program has no business with.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch, apply_filter,
    sock_filter,
};

/// Refused as a person without rights would be.
const DENIED: &[c_long] = &[
    // The network, other than a pair of one's own.
    libc::SYS_socket,
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    // Mounts, roots and namespaces.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    // Keys.
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // The kernel itself.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_syslog,
    libc::SYS_acct,
    libc::SYS_vhangup,
    libc::SYS_fanotify_init,
    libc::SYS_lookup_dcookie,
    libc::SYS_personality,
    // The clock and the names of the machine.
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_settimeofday,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    // Memory that no process is charged for, and that outlives them all.
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_msgget,
    libc::SYS_semget,
    libc::SYS_mq_open,
    libc::SYS_memfd_create,
    libc::SYS_memfd_secret,
];

/// Turned at another process by this argument, where that is not 0 (oneself). In a namespace of processes there are none
/// but one's own.
const TURNED: &[(c_long, u8)] = &[
    (libc::SYS_setpriority, 1),
    (libc::SYS_ioprio_set, 1),
    (libc::SYS_prlimit64, 0),
    (libc::SYS_sched_setaffinity, 0),
    (libc::SYS_sched_setattr, 0),
    (libc::SYS_sched_setparam, 0),
    (libc::SYS_sched_setscheduler, 0),
];

/// Said not to exist, so that libraries take the older way, which can be looked into.
const MISSING: &[c_long] = &[libc::SYS_clone3, libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register];

/// The last call that is known to be harmless or is named above (Linux 6.17, `file_setattr`); a newer one does not exist here.
const LAST: u32 = 469;

/// Requests to a terminal that put words into its owner's mouth.
const TERMINAL: [u64; 2] = [libc::TIOCSTI, TIOCLINUX];
const TIOCLINUX: u64 = 0x541C;

const NAMESPACES: [i32; 8] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    CLONE_NEWTIME,
];
const CLONE_NEWTIME: i32 = 0x80;

/// Filters the calls of this process and all it starts, for good. `alone`: it sees no process of others.
pub fn filter(alone: bool) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| format!("filter system calls: {error}");
    let mut denied: BTreeMap<c_long, Vec<SeccompRule>> = DENIED.iter().map(|call| (*call, Vec::new())).collect();
    #[cfg(target_arch = "x86_64")]
    denied.extend([libc::SYS_iopl, libc::SYS_ioperm, libc::SYS_modify_ldt, libc::SYS_uselib].map(|call| (call, Vec::new())));
    let unix = rule(0, SeccompCmpOp::Ne, libc::AF_UNIX as u64).map_err(|error| failed(&error))?;
    denied.insert(libc::SYS_socketpair, vec![unix]);
    let flags = NAMESPACES.iter().map(|flag| rule(0, SeccompCmpOp::MaskedEq(*flag as u64), *flag as u64));
    denied.insert(libc::SYS_clone, flags.collect::<Result<_, _>>().map_err(|error| failed(&error))?);
    let requests = TERMINAL.iter().map(|request| rule(1, SeccompCmpOp::Eq, *request));
    denied.insert(libc::SYS_ioctl, requests.collect::<Result<_, _>>().map_err(|error| failed(&error))?);
    for (call, argument) in TURNED.iter().filter(|_| !alone) {
        denied.insert(*call, vec![rule(*argument, SeccompCmpOp::Ne, 0).map_err(|error| failed(&error))?]);
    }
    let missing = MISSING.iter().map(|call| (*call, Vec::new())).collect();
    for (rules, errno) in [(denied, libc::EPERM), (missing, libc::ENOSYS)] {
        apply_filter(&compiled(rules, errno).map_err(|error| failed(&error))?).map_err(|error| failed(&error))?;
    }
    apply_filter(&unknown()).map_err(|error| failed(&error))
}

fn rule(argument: u8, is: SeccompCmpOp, value: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(argument, SeccompCmpArgLen::Dword, is, value)?])
}

fn compiled(rules: BTreeMap<c_long, Vec<SeccompRule>>, errno: i32) -> Result<BpfProgram, seccompiler::BackendError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(errno as u32), arch)?.try_into()
}

/// Calls beyond the last known one do not exist; this covers those of the x32 interface, whose numbers are far above.
/// The machine's own interface is checked by the filters before.
fn unknown() -> BpfProgram {
    let instruction = |code: u32, jt, jf, k| sock_filter { code: code as u16, jt, jf, k };
    vec![
        // The call's number is the first word of what a filter sees.
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K, 0, 1, LAST),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]
}
