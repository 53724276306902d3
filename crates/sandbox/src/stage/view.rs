//! The files a namespaced program sees: the system's own, read only; its two folders; what was declared; nothing else.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{StatVfsMountFlags, statvfs};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind_recursive, mount_change, mount_remount, unmount};
use rustix::process::pivot_root;

/// Where its working folder is: the same for every run, so that paths in an output do not differ.
pub const FOLDER: &str = "/build";
pub const SCRATCH: &str = "/tmp";

/// The system's own folders and files. Of /etc only what programs need to run at all: there are secrets in it.
pub const SYSTEM: &[&str] = &[
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/nix/store",
    "/etc/alternatives",
    "/etc/fonts",
    "/etc/group",
    "/etc/java",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/perl",
    "/etc/python3",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/texmf",
];

/// Devices that hold nothing of anybody.
pub const DEVICES: &[&str] = &["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

/// Where the machine's own tree hangs while the new one is made.
const OLD: &str = "/.old";

/// Makes the view and moves into it. A `bare` one has nothing of the system: a task of ours runs already, and opens nothing.
pub fn change(folder: Option<&Path>, scratch: Option<&Path>, read: &[PathBuf], bare: bool) -> Result<(), String> {
    let said = |what: &'static str| move |error: rustix::io::Errno| format!("{what}: {error}");
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).map_err(said("keep mounts private"))?;
    // Anywhere will do: what it hides there is found again below the old tree.
    let quiet = MountFlags::NOSUID | MountFlags::NODEV;
    mount("sandbox", "/tmp", "tmpfs", quiet, Some(c"size=4m,mode=755")).map_err(said("make a new tree"))?;
    make(Path::new("/tmp/.old"))?;
    pivot_root("/tmp", "/tmp/.old").map_err(said("move into the new tree"))?;
    std::env::set_current_dir("/").map_err(|error| format!("move into the new tree: {error}"))?;

    let (system, devices) = if bare { (&[][..], &[][..]) } else { (SYSTEM, DEVICES) };
    for path in system.iter().map(Path::new).chain(read.iter().map(PathBuf::as_path)) {
        show(path, path, false)?;
    }
    for device in devices {
        show(Path::new(device), Path::new(device), true)?;
    }
    let streams = [("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"), ("stderr", "/proc/self/fd/2")];
    for (name, leads) in streams.into_iter().filter(|_| !bare) {
        symlink(leads, Path::new("/dev").join(name)).map_err(|error| format!("make /dev/{name}: {error}"))?;
    }
    match scratch {
        Some(scratch) => show(scratch, Path::new(SCRATCH), true)?,
        None => make(Path::new(SCRATCH))?,
    }
    if let Some(folder) = folder {
        show(folder, Path::new(FOLDER), true)?;
    }
    make(Path::new("/proc"))?;
    mount("proc", "/proc", "proc", quiet | MountFlags::NOEXEC, None).map_err(said("show its own processes"))?;
    unmount(OLD, UnmountFlags::DETACH).map_err(said("let go of the old tree"))?;
    fs::remove_dir(OLD).map_err(|error| format!("let go of the old tree: {error}"))?;
    mount_remount("/", MountFlags::BIND | MountFlags::RDONLY | quiet, c"").map_err(said("close the new tree"))
}

/// Shows something of the old tree in the new one. What is not there is not shown.
fn show(path: &Path, at: &Path, writable: bool) -> Result<(), String> {
    let Ok(below) = path.strip_prefix("/") else { return Err(format!("show {}: not a full path", path.display())) };
    let old = Path::new(OLD).join(below);
    let Ok(meta) = old.symlink_metadata() else { return Ok(()) };
    if at.symlink_metadata().is_ok() {
        return Ok(());
    }
    let failed = |error: &dyn std::fmt::Display| format!("show {}: {error}", path.display());
    if let Some(parent) = at.parent() {
        make(parent)?;
    }
    if meta.is_symlink() {
        let leads = fs::read_link(&old).map_err(|error| failed(&error))?;
        symlink(&leads, at).map_err(|error| failed(&error))?;
        // A file of /etc that leads to another place is shown with it.
        let target = at.parent().unwrap_or(Path::new("/")).join(leads);
        let shown = SYSTEM.iter().any(|system| target.starts_with(system));
        return if shown { Ok(()) } else { show(&flat(&target), &flat(&target), writable) };
    }
    if meta.is_dir() {
        make(at)?;
    } else {
        fs::write(at, "").map_err(|error| failed(&error))?;
    }
    mount_bind_recursive(&old, at).map_err(|error| failed(&error))?;
    let mut flags = MountFlags::BIND | MountFlags::NOSUID;
    if !writable {
        flags |= MountFlags::RDONLY;
    }
    if !DEVICES.iter().any(|device| Path::new(device) == at) {
        flags |= MountFlags::NODEV;
    }
    // What a mount forbids already cannot be allowed again without the rights of whoever mounted it.
    let now = statvfs(at).map_err(|error| failed(&error))?.f_flag;
    let kept = [
        (StatVfsMountFlags::RDONLY, MountFlags::RDONLY),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
        (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
        (StatVfsMountFlags::RELATIME, MountFlags::RELATIME),
    ];
    for (set, keep) in kept {
        if now.contains(set) {
            flags |= keep;
        }
    }
    mount_remount(at, flags, c"").map_err(|error| failed(&error))
}

fn make(folder: &Path) -> Result<(), String> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(folder).map_err(|error| format!("make {}: {error}", folder.display()))
}

/// A path without `..`, as names say.
fn flat(path: &Path) -> PathBuf {
    let mut flat = PathBuf::from("/");
    for part in path.components() {
        match part {
            std::path::Component::Normal(name) => flat.push(name),
            std::path::Component::ParentDir => drop(flat.pop()),
            _ => {}
        }
    }
    flat
}
