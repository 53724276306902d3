//! Who a confined program is: a uid nobody else has, no capability, and namespaces of its own.

use std::fs;
use std::io;
use std::os::unix::fs::lchown;
use std::path::Path;

use rustix::fs::{Gid, Uid};
use rustix::process::{DumpableBehavior, getegid, geteuid, set_dumpable_behavior};
use rustix::thread::{
    CapabilitySet, CapabilitySets, UnshareFlags, clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
    set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};
use trued_model::Level;

use crate::spec::Cage;

/// The first uid of a range that nobody else uses: above those of users, services and containers, below half of all.
/// The keeper's process id is added, so that no two programs that run at the same time have the same.
const FIRST_UID: u32 = 2_000_000_000;

/// Who a program is inside a namespace of users, whoever it is outside.
const INSIDE: u32 = 1000;

/// The uid a program gets; `None` where we are not root and cannot choose.
pub fn own_uid() -> Option<u32> {
    geteuid().is_root().then(|| FIRST_UID + std::process::id())
}

/// Gives a folder and all in it to a uid; follows no link.
pub fn hand_over(folder: &Path, uid: u32) -> io::Result<()> {
    lchown(folder, Some(uid), Some(uid))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            hand_over(&entry.path(), uid)?;
        } else {
            lchown(entry.path(), Some(uid), Some(uid))?;
        }
    }
    Ok(())
}

/// Lets every process started from here on be in a namespace of processes of its own, and, without privileges, in a
/// namespace of users that allows the rest.
pub fn leave_processes() -> Result<(), String> {
    if geteuid().is_root() {
        return unshare(UnshareFlags::NEWPID);
    }
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWPID)?;
    map(0, uid, gid)
}

/// Leaves the network, mounts, messages, names and control groups of the machine. The name it has then is the same each time.
pub fn leave_the_rest(elsewhere: bool) -> Result<(), String> {
    let all = [UnshareFlags::NEWNS, UnshareFlags::NEWNET, UnshareFlags::NEWIPC, UnshareFlags::NEWUTS, UnshareFlags::NEWCGROUP];
    unshare(all.into_iter().fold(UnshareFlags::empty(), |all, one| all | one))?;
    rustix::system::sethostname(if elsewhere { b"elsewhere" } else { b"sandbox" }).map_err(|error| format!("name the machine: {error}"))
}

/// Changes to the uid of its own, and drops every capability for good.
pub fn give_up(cage: &Cage) -> Result<(), String> {
    let said = |what: &'static str| move |error| format!("{what}: {error}");
    bound();
    if let Some(uid) = cage.uid {
        set_thread_groups(&[]).map_err(said("leave all groups"))?;
        set_thread_res_gid(Gid::from_raw(uid), Gid::from_raw(uid), Gid::from_raw(uid)).map_err(said("change the group"))?;
        set_thread_res_uid(Uid::from_raw(uid), Uid::from_raw(uid), Uid::from_raw(uid)).map_err(said("change the user"))?;
        // The change made our own files in /proc unreadable to us, and one of them must be written.
        set_dumpable_behavior(DumpableBehavior::Dumpable).map_err(said("become readable"))?;
    }
    if cage.level == Level::Namespaced {
        let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
        // Not to be root inside, and to own nothing that the mounts belong to. Root has given up enough without it.
        match unshare(UnshareFlags::NEWUSER).and_then(|()| map(INSIDE, uid, gid)) {
            Err(why) if cage.uid.is_none() => return Err(why),
            _ => bound(),
        }
    }
    let _ = clear_ambient_capability_set();
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none }).map_err(said("drop capabilities"))
}

/// Lets no program that is started from here on gain a capability. Those that the kernel does not know, or that are not
/// ours to drop, cannot be had either.
fn bound() {
    for bit in 0..64 {
        let _ = remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << bit));
    }
}

/// Says who this process is inside its namespace of users.
fn map(inside: u32, uid: u32, gid: u32) -> Result<(), String> {
    let write = |file: &str, text: String| fs::write(format!("/proc/self/{file}"), text).map_err(|error| format!("write {file}: {error}"));
    write("setgroups", "deny".to_owned())?;
    write("uid_map", format!("{inside} {uid} 1"))?;
    write("gid_map", format!("{inside} {gid} 1"))
}

fn unshare(flags: UnshareFlags) -> Result<(), String> {
    #[expect(deprecated, reason = "only its flag FILES is unsafe, and that is never asked for")]
    rustix::thread::unshare(flags).map_err(|error| format!("leave {flags:?}: {error}"))
}
