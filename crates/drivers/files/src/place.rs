//! Putting staged things in place: only where the target still is as the change expects, and never over bytes that
//! nobody has seen. Old and new change places in one step; what came out is looked at before it is let go.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, OFlags, RenameFlags, Stat};
use rustix::io::Errno;
use trued_doors::Seal;
use trued_model::{Address, Change, Code, Fingerprint, Refusal, encode_path};

use crate::below::Below;
use crate::fingerprint;
use crate::folders::Folders;
use crate::look::{CHUNK, Found, Undecided, look, same};
use crate::own::{OwnFolder, Stage};
use crate::probe::Moment;
use crate::root::{Barrier, Root, open_beneath, refusal};
use crate::stage::{Staged, dress_as_said};
use crate::tree::Tree;

/// A file written this recently may be written again without its times showing it: it is hashed again.
const RECENT_SECONDS: i64 = 2;

/// A batch's way into place.
pub(crate) struct Placing<'a> {
    tree: &'a Tree,
    root: &'a Root,
    own: &'a OwnFolder,
    stage: &'a Stage,
    pub folders: Folders<'a>,
    buffer: Vec<u8>,
}

/// One change on its way, with what was found at its place.
struct Target<'a> {
    change: &'a Change,
    below: &'a Below,
    folder: OwnedFd,
    /// Its name in the stage.
    name: String,
}

impl Target<'_> {
    fn place(&self) -> (BorrowedFd<'_>, &[u8]) {
        (self.folder.as_fd(), self.below.name())
    }

    fn refuse(&self, errno: Errno) -> Refusal {
        refusal(errno, &format!("{} {}", self.change.action.word(), self.change.address))
    }
}

/// Compares what is at a change's place with what it expects; writes nothing.
pub(crate) fn confirm(tree: &Tree, root: &Root, change: &Change, below: &Below) -> Result<Option<Fingerprint>, Refusal> {
    let found = match root.folder(below.folder()) {
        Ok(folder) => see(folder.as_fd(), below.name(), &change.address, &mut vec![0; CHUNK])?,
        Err(Barrier::Missing | Barrier::File(_)) => None,
        Err(barrier) => return Err(barrier.refusal()),
    };
    let now = as_compared(tree, found.as_ref(), change.before.as_ref());
    if now == change.before { Ok(now) } else { Err(changed(&change.address, change.before.as_ref(), now.as_ref())) }
}

impl<'a> Placing<'a> {
    /// `wanted` are the paths that the batch wants to be there.
    pub fn new(tree: &'a Tree, root: &'a Root, own: &'a OwnFolder, stage: &'a Stage, wanted: BTreeSet<&'a [u8]>) -> Placing<'a> {
        Placing { tree, root, own, stage, folders: Folders::new(tree, root, own, stage, wanted), buffer: vec![0; CHUNK] }
    }

    /// Makes one change, if its place is as it expects. A place that is already as the change wants it is left alone:
    /// the same order twice is the same order.
    pub fn place(&mut self, change: &Change, below: &Below, staged: Option<Staged>, at: usize) -> Result<Option<Fingerprint>, Refusal> {
        let folder = match self.root.folder(below.folder()) {
            Ok(folder) => folder,
            Err(Barrier::Missing) if staged.is_some() && change.before.is_none() => {
                self.folders.make(below.folder())?;
                self.root.folder(below.folder()).map_err(Barrier::refusal)?
            }
            Err(Barrier::Missing | Barrier::File(_)) if change.after.is_none() => return Ok(None),
            Err(Barrier::Missing) => return Err(changed(&change.address, change.before.as_ref(), None)),
            Err(barrier) => return Err(barrier.refusal()),
        };
        let target = Target { change, below, folder, name: at.to_string() };
        let (at, name) = target.place();
        let found = see(at, name, &change.address, &mut self.buffer)?;
        let now = as_compared(self.tree, found.as_ref(), change.before.as_ref());
        if now != change.before {
            return match as_compared(self.tree, found.as_ref(), change.after.as_ref()) {
                already if already == change.after => Ok(already),
                _ => Err(changed(&change.address, change.before.as_ref(), now.as_ref())),
            };
        }
        if let Some(found) = found.as_ref().filter(|_| staged.is_some()) {
            alone(change, found)?;
        }
        self.tree.probe.at(Moment::Checked).map_err(|errno| target.refuse(errno))?;
        match (&found, staged) {
            (Some(found), _) if found.is_folder() && makes_folder(change) => return self.dress_folder(&target, found),
            (None, Some(_)) => self.create(&target)?,
            (Some(found), Some(staged)) => self.exchange(&target, found, staged)?,
            (Some(found), None) if change.after.is_none() => self.remove(&target, found)?,
            _ => return Ok(now),
        }
        match staged {
            Some(staged) => {
                self.folders.touch(below.folder());
                self.arrived(&target, staged)?;
            }
            None => {
                self.folders.thin(below.folder());
                self.tree.leave(below.bytes(), None);
            }
        }
        self.tree.probe.at(Moment::Placed).map_err(|errno| target.refuse(errno))?;
        Ok(change.after.clone())
    }

    fn create(&mut self, target: &Target<'_>) -> Result<(), Refusal> {
        if makes_folder(target.change) {
            self.folders.own(target.below.bytes()).map_err(|errno| target.refuse(errno))?;
        }
        let (folder, name) = target.place();
        let renaming = self.tree.probe.at(Moment::Renaming);
        let moved =
            match renaming.and_then(|()| rustix::fs::renameat_with(self.stage.fd(), &target.name, folder, name, RenameFlags::NOREPLACE)) {
                // A file system that cannot look and rename in one step: look, then rename.
                Err(Errno::INVAL) => match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Err(Errno::NOENT) => rustix::fs::renameat(self.stage.fd(), &target.name, folder, name),
                    Ok(_) => Err(Errno::EXIST),
                    Err(errno) => Err(errno),
                },
                other => other,
            };
        moved.map_err(|errno| match errno {
            Errno::EXIST => Refusal::new(Code::Changed, format!("create {}: something was put there meanwhile", target.change.address)),
            errno => target.refuse(errno),
        })
    }

    /// Lets old and new change places, and looks at what came out. If that is not what was expected, they change back.
    fn exchange(&mut self, target: &Target<'_>, found: &Found, staged: Staged) -> Result<(), Refusal> {
        let (folder, name) = target.place();
        if found.is_folder() {
            self.folders.remove_empty_in(target.below.bytes()).map_err(|errno| target.refuse(errno))?;
            only_if_empty(target)?;
        }
        if makes_folder(target.change) {
            self.folders.own(target.below.bytes()).map_err(|errno| target.refuse(errno))?;
        }
        let renaming = self.tree.probe.at(Moment::Renaming);
        match renaming.and_then(|()| rustix::fs::renameat_with(self.stage.fd(), &target.name, folder, name, RenameFlags::EXCHANGE)) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Err(changed(&target.change.address, target.change.before.as_ref(), None)),
            Err(Errno::INVAL) => return self.replace_plainly(target, found),
            Err(errno) => return Err(target.refuse(errno)),
        }
        self.tree.probe.at(Moment::Swapped).map_err(|errno| target.refuse(errno))?;
        let came_out = self.came_out_as(target, found);
        if let Ok(true) = came_out {
            return self.disown(target, found);
        }
        let back = rustix::fs::renameat_with(self.stage.fd(), &target.name, folder, name, RenameFlags::EXCHANGE);
        self.only_ours_is_left(target, Some(staged));
        back.and(came_out).map_err(|errno| target.refuse(errno))?;
        Err(meanwhile(target.change))
    }

    /// For file systems that cannot exchange: what is there is replaced in one step if it is no folder, and looked at
    /// directly before.
    fn replace_plainly(&mut self, target: &Target<'_>, found: &Found) -> Result<(), Refusal> {
        let (folder, name) = target.place();
        let now = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|errno| target.refuse(errno))?;
        // A folder shows for itself, when it is removed, whether anything is in it.
        if !found.is_folder() && !same(&found.stat, &now) {
            return Err(meanwhile(target.change));
        }
        let cleared = match (found.is_folder(), makes_folder(target.change)) {
            (true, _) => rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR),
            (false, true) => rustix::fs::unlinkat(folder, name, AtFlags::empty()),
            (false, false) => Ok(()),
        };
        cleared.and_then(|()| rustix::fs::renameat(self.stage.fd(), &target.name, folder, name)).map_err(|errno| target.refuse(errno))?;
        self.disown(target, found)
    }

    /// A folder that stays gets the owner, group and mode it is to have, through its own descriptor.
    fn dress_folder(&mut self, target: &Target<'_>, found: &Found) -> Result<Option<Fingerprint>, Refusal> {
        let (folder, name) = target.place();
        let dressed = open_beneath(folder, name, OFlags::RDONLY | OFlags::DIRECTORY).and_then(|open| {
            let now = rustix::fs::fstat(&open)?;
            if (now.st_dev, now.st_ino) != (found.stat.st_dev, found.stat.st_ino) {
                return Ok(None);
            }
            let said = target.change.after.as_ref().map(fingerprint::attributes).unwrap_or_default();
            dress_as_said(open.as_fd(), &said)?;
            rustix::fs::fstat(&open).map(Some)
        });
        let Some(stat) = dressed.map_err(|errno| target.refuse(errno))? else { return Err(meanwhile(target.change)) };
        self.folders.touch(target.below.bytes());
        self.tree.leave(target.below.bytes(), Some(stat));
        self.tree.probe.at(Moment::Placed).map_err(|errno| target.refuse(errno))?;
        Ok(target.change.after.clone())
    }

    /// A folder that gave way to something else is nobody's folder any more.
    fn disown(&mut self, target: &Target<'_>, found: &Found) -> Result<(), Refusal> {
        if !found.is_folder() {
            return Ok(());
        }
        self.tree.no_longer_ask_for(target.below.bytes());
        self.folders.disown(target.below.bytes()).map_err(|errno| target.refuse(errno))
    }

    fn remove(&mut self, target: &Target<'_>, found: &Found) -> Result<(), Refusal> {
        let (folder, name) = target.place();
        if found.is_folder() {
            self.tree.no_longer_ask_for(target.below.bytes());
            return match rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR) {
                // It is no longer an empty folder, which is what was managed: it goes when it is empty.
                Err(Errno::NOTEMPTY | Errno::EXIST) => self.folders.own(target.below.bytes()).map_err(|errno| target.refuse(errno)),
                Ok(()) => self.folders.disown(target.below.bytes()).map_err(|errno| target.refuse(errno)),
                Err(errno) => Err(target.refuse(errno)),
            };
        }
        let renaming = self.tree.probe.at(Moment::Renaming);
        match renaming.and_then(|()| rustix::fs::renameat_with(folder, name, self.stage.fd(), &target.name, RenameFlags::NOREPLACE)) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Ok(()),
            Err(Errno::INVAL) => rustix::fs::renameat(folder, name, self.stage.fd(), &target.name).map_err(|errno| target.refuse(errno))?,
            Err(errno) => return Err(target.refuse(errno)),
        }
        self.tree.probe.at(Moment::Swapped).map_err(|errno| target.refuse(errno))?;
        let came_out = self.came_out_as(target, found);
        if let Ok(true) = came_out {
            return Ok(());
        }
        let back = rustix::fs::renameat_with(self.stage.fd(), &target.name, folder, name, RenameFlags::NOREPLACE);
        self.only_ours_is_left(target, None);
        back.and(came_out).map_err(|errno| target.refuse(errno))?;
        Err(meanwhile(target.change))
    }

    /// Whether what is in the stage now is what was found at the place before.
    fn came_out_as(&mut self, target: &Target<'_>, found: &Found) -> rustix::io::Result<bool> {
        if found.is_folder() {
            return match rustix::fs::unlinkat(self.stage.fd(), &target.name, AtFlags::REMOVEDIR) {
                Ok(()) => Ok(true),
                Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR | Errno::NOENT) => Ok(false),
                Err(errno) => Err(errno),
            };
        }
        let out = rustix::fs::statat(self.stage.fd(), &target.name, AtFlags::SYMLINK_NOFOLLOW);
        if out.is_ok_and(|out| same(&found.stat, &out) && !recent(self.tree, &out)) {
            return Ok(true);
        }
        let out = look(self.stage.fd(), target.name.as_bytes(), &mut self.buffer).ok().flatten();
        Ok(out.is_some() && as_compared(self.tree, out.as_ref(), target.change.before.as_ref()) == target.change.before)
    }

    /// After changing back: whatever is left in the stage that we did not put there is nobody's to remove.
    fn only_ours_is_left(&self, target: &Target<'_>, staged: Option<Staged>) {
        let left = rustix::fs::statat(self.stage.fd(), &target.name, AtFlags::SYMLINK_NOFOLLOW);
        if left.is_ok_and(|left| !staged.is_some_and(|staged| staged.is_untouched(&left))) {
            match self.own.set_aside(self.stage, &target.name) {
                Ok(place) => tracing::warn!(address = %target.change.address, place, "somebody else writes here; their bytes are kept"),
                Err(errno) => tracing::error!(address = %target.change.address, %errno, "somebody else's bytes could not be kept"),
            }
        }
    }

    /// Goes the whole way from the root again: what was staged must be what is found at its address.
    fn arrived(&self, target: &Target<'_>, staged: Staged) -> Result<(), Refusal> {
        let folder = self.root.folder(target.below.folder()).map_err(Barrier::refusal)?;
        let there = rustix::fs::statat(&folder, target.below.name(), AtFlags::SYMLINK_NOFOLLOW);
        if let Ok(there) = there
            && staged.is(&there)
        {
            self.tree.leave(target.below.bytes(), Some(there));
            return Ok(());
        }
        let message = format!(
            "{} {}: it, or a folder it lies in, was moved while it was written",
            target.change.action.word(),
            target.change.address
        );
        Err(Refusal::new(Code::Changed, message))
    }
}

/// Looks at a change's place; what cannot be decided is refused.
fn see(folder: BorrowedFd<'_>, name: &[u8], address: &Address, buffer: &mut [u8]) -> Result<Option<Found>, Refusal> {
    look(folder, name, buffer).map_err(|undecided| match undecided {
        Undecided::Denied(why) => Refusal::new(Code::Denied, format!("look at {address}: {why}")),
        Undecided::Unknown(why) => Refusal::new(Code::Unknown, format!("look at {address}: {why}")),
    })
}

/// The fingerprint of what was found, keyed where the one it is compared with is.
fn as_compared(tree: &Tree, found: Option<&Found>, with: Option<&Fingerprint>) -> Option<Fingerprint> {
    let key: Option<&dyn Seal> = with.is_some_and(fingerprint::is_keyed).then_some(&*tree.seal);
    found.map(|found| found.like(with, key))
}

fn makes_folder(change: &Change) -> bool {
    change.after.as_ref().is_some_and(fingerprint::is_folder)
}

/// That a place is not as a change expects; says what is there, never its content.
fn changed(address: &Address, expected: Option<&Fingerprint>, there: Option<&Fingerprint>) -> Refusal {
    let (expected, there) = (fingerprint::words(expected), fingerprint::words(there));
    let message = if expected == there {
        format!("{address} is {there}, but not the expected one")
    } else {
        format!("{address} is {there}, expected {expected}")
    };
    Refusal::new(Code::Changed, format!("write it: {message}"))
}

fn meanwhile(change: &Change) -> Refusal {
    Refusal::new(Code::Changed, format!("{} {}: it was changed meanwhile", change.action.word(), change.address))
}

/// Refuses a file that has other names, here or elsewhere: whoever knows it by another name relies on its being one file.
fn alone(change: &Change, found: &Found) -> Result<(), Refusal> {
    if !found.has_other_names() {
        return Ok(());
    }
    let message = format!("{} {}: the file there has {} names (hard links)", change.action.word(), change.address, found.stat.st_nlink);
    Err(Refusal::new(Code::Unsupported, message).help("remove its other names, or put a copy of its own in its place"))
}

/// A folder gives way to a file or link only when there is nothing in it.
fn only_if_empty(target: &Target<'_>) -> Result<(), Refusal> {
    let (folder, name) = target.place();
    let open = open_beneath(folder, name, OFlags::RDONLY | OFlags::DIRECTORY).map_err(|errno| target.refuse(errno))?;
    for entry in Dir::read_from(&open).map_err(|errno| target.refuse(errno))? {
        let entry = entry.map_err(|errno| target.refuse(errno))?;
        let inner = entry.file_name().to_bytes();
        if !matches!(inner, b"." | b"..") {
            let inner = encode_path(inner);
            let message = format!("{} {}: the folder there still has {inner} in it", target.change.action.word(), target.change.address);
            return Err(Refusal::new(Code::Changed, message).help("remove or move what is in the folder"));
        }
    }
    Ok(())
}

/// Whether a file was written so recently that a second write may not show in its times.
fn recent(tree: &Tree, stat: &Stat) -> bool {
    stat.st_mtime >= tree.clock.now().0 / 1000 - RECENT_SECONDS
}
