//! Writing what a change puts in place, beside it and not yet in sight: in the stage, with its final mode and owner.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, SeekFrom, Stat, Uid};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use trued_model::{BlobRef, Change, Code, Digest, Fingerprint, Refusal, Shape};

use crate::below::Below;
use crate::carry::carry;
use crate::escape::escape;
use crate::fingerprint;
use crate::look::{CHUNK, same};
use crate::own::{OwnFolder, Stage, write_all};
use crate::probe::Moment;
use crate::root::{FOLDER_MODE, Root, refusal};
use crate::rules::Attributes;
use crate::spread::spread;
use crate::tree::Tree;

/// Up to this many things are made durable one by one. More than that, one call for the whole file system is quicker by
/// far: it commits the journal once and not once for each file; the price is that it also waits for other programs' writes.
pub(crate) const ONE_BY_ONE: usize = 4;

/// Links longer than this are none.
const LONGEST_LINK: u64 = 4095;

/// What a piece of a content is compared with, and its length once more as a distance.
static ZEROS: [u8; CHUNK] = [0; CHUNK];
const PIECE: i64 = CHUNK as i64;

/// A change of an order that makes something.
pub(crate) struct Making<'a> {
    pub change: &'a Change,
    pub below: &'a Below,
    pub shape: Shape,
    pub after: &'a Fingerprint,
    /// Its name in the stage.
    pub name: String,
}

/// What was staged, told apart from anything a stranger may put in its place.
#[derive(Clone, Copy)]
pub(crate) struct Staged(Stat);

impl Staged {
    /// Whether this is it, whatever was done to it since.
    pub fn is(&self, stat: &Stat) -> bool {
        (self.0.st_dev, self.0.st_ino) == (stat.st_dev, stat.st_ino)
    }

    /// Whether this is it, and nobody has written to it. Inodes are given anew when a file is removed, so that the
    /// number alone does not prove it.
    pub fn is_untouched(&self, stat: &Stat) -> bool {
        same(&self.0, stat)
    }
}

/// Stages everything, in the order given. What is staged is not durable before [`settle`], unless there is little of it.
pub(crate) fn stage(tree: &Tree, root: &Root, stage: &Stage, makings: &[Making<'_>]) -> Vec<Result<Staged, Refusal>> {
    let durable = makings.len() <= ONE_BY_ONE;
    spread(makings, |run| run.iter().map(|making| stage_one(tree, root, stage, making, durable)).collect())
}

/// Makes what was staged durable, before anything of it comes in sight.
pub(crate) fn settle(tree: &Tree, own: &OwnFolder, makings: &[Making<'_>]) -> rustix::io::Result<()> {
    tree.probe.at(Moment::Settling)?;
    if makings.len() > ONE_BY_ONE { own.sync_all() } else { Ok(()) }
}

/// What a failed sync means: on a full disk that nothing more fits, otherwise that nobody knows what is on the disk, so
/// that nothing more is written. It is never tried again: a second one may succeed without the first one's bytes.
pub(crate) fn lost(tree: &Tree, errno: Errno) -> Refusal {
    let lost = refusal(errno, "make the changes durable");
    if lost.code == Code::Full {
        return lost;
    }
    tree.give_up();
    Refusal { code: Code::Broken, ..lost }.help("check the disk, then start Trued again")
}

fn stage_one(tree: &Tree, root: &Root, stage: &Stage, making: &Making<'_>, durable: bool) -> Result<Staged, Refusal> {
    let at = stage.fd();
    let doing = || format!("stage {}", making.change.address);
    let said = fingerprint::attributes(making.after);
    let stat = match making.shape {
        Shape::Folder => make_folder(at, &making.name, &said),
        Shape::Link => {
            let text = link_text(tree, making)?;
            rustix::fs::symlinkat(&text[..], at, &making.name)
                .and_then(|()| give(at, &making.name, &said))
                .and_then(|()| rustix::fs::statat(at, &making.name, AtFlags::SYMLINK_NOFOLLOW))
        }
        Shape::File { executable } => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = rustix::fs::openat(at, &making.name, flags, Mode::RUSR | Mode::WUSR).map_err(|errno| refusal(errno, &doing()))?;
            let digest = copy(tree, making, file.as_fd())?;
            expect(tree, making, &digest)?;
            dress(root, making.below, file.as_fd(), executable, &said).map_err(|errno| refusal(errno, &doing()))?;
            if durable {
                rustix::fs::fsync(&file).map_err(|errno| lost(tree, errno))?;
            }
            rustix::fs::fstat(&file)
        }
    };
    let staged = stat.map(Staged).map_err(|errno| refusal(errno, &doing()))?;
    tree.probe.at(Moment::Staged).map_err(|errno| refusal(errno, &doing()))?;
    Ok(staged)
}

/// Makes an empty folder with its mode whatever the process's mask says.
pub(crate) fn make_folder(at: BorrowedFd<'_>, name: &str, said: &Attributes) -> rustix::io::Result<Stat> {
    rustix::fs::mkdirat(at, name, Mode::RWXU)?;
    give(at, name, said)?;
    rustix::fs::chmodat(at, name, Mode::from_raw_mode(said.mode.unwrap_or(FOLDER_MODE)), AtFlags::empty())?;
    rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW)
}

/// Gives something in the stage to the owner and group that a rule says.
fn give(at: BorrowedFd<'_>, name: &str, said: &Attributes) -> rustix::io::Result<()> {
    match (said.owner, said.group) {
        (None, None) => Ok(()),
        (owner, group) => rustix::fs::chownat(at, name, owner.map(Uid::from_raw), group.map(Gid::from_raw), AtFlags::SYMLINK_NOFOLLOW),
    }
}

/// Gives an open file or folder what rules say of it: first the owner, because a change of owner takes setuid away.
pub(crate) fn dress_as_said(file: BorrowedFd<'_>, said: &Attributes) -> rustix::io::Result<()> {
    if said.owner.is_some() || said.group.is_some() {
        rustix::fs::fchown(file, said.owner.map(Uid::from_raw), said.group.map(Gid::from_raw))?;
    }
    said.mode.map_or(Ok(()), |mode| rustix::fs::fchmod(file, Mode::from_raw_mode(mode)))
}

/// Gives a new file the owner, group and mode it is to have: what rules say, exactly. What they leave open, one that
/// replaces a file keeps: that one's owner, group and, where its owner's x bit agrees, its mode, so that an operator's
/// tighter mode survives an update; and its ACL and attributes of users, see [`carry`].
fn dress(root: &Root, below: &Below, file: BorrowedFd<'_>, executable: bool, said: &Attributes) -> rustix::io::Result<()> {
    let plain = said.mode.unwrap_or(if executable { 0o755 } else { 0o644 });
    let folder = root.folder(below.folder()).ok();
    let old = folder.and_then(|folder| Some((rustix::fs::statat(&folder, below.name(), AtFlags::SYMLINK_NOFOLLOW).ok()?, folder)));
    let old = old.filter(|(old, _)| FileType::from_raw_mode(old.st_mode) == FileType::RegularFile);
    let Some((old, folder)) = old else { return dress_as_said(file, &Attributes { mode: Some(plain), ..*said }) };
    carry(folder.as_fd(), below.name(), &old, file, said.mode.is_none())?;
    let now = rustix::fs::fstat(file)?;
    // Only root may give files away; for anybody else the new file is simply theirs.
    let given = |owner, group| match rustix::fs::fchown(file, owner, group) {
        Err(Errno::PERM) => Ok(()),
        other => other,
    };
    if said.group.is_none() && old.st_gid != now.st_gid {
        given(None, Some(Gid::from_raw(old.st_gid)))?;
    }
    if said.owner.is_none() && old.st_uid != now.st_uid {
        given(Some(Uid::from_raw(old.st_uid)), None)?;
    }
    let agrees = (old.st_mode & 0o100 != 0) == executable;
    let mode = if agrees && said.mode.is_none() { old.st_mode & 0o777 } else { plain };
    dress_as_said(file, &Attributes { mode: Some(mode), ..*said })
}

fn content<'a>(making: &Making<'a>) -> Result<&'a BlobRef, Refusal> {
    making
        .change
        .content
        .as_ref()
        .ok_or_else(|| Refusal::new(Code::Invalid, format!("stage {}: the change names no content", making.change.address)))
}

/// Copies the content into a file and gives the plain bytes' digest.
fn copy(tree: &Tree, making: &Making<'_>, file: BorrowedFd<'_>) -> Result<Digest, Refusal> {
    let unwritten = |errno| refusal(errno, &format!("stage {}", making.change.address));
    let blob = content(making)?;
    if blob.sealed {
        let plain = tree.seal.open(&tree.blobs.get(&blob.digest)?)?;
        write_all(file, &plain).map_err(unwritten)?;
        return Ok(Digest::of(&plain));
    }
    let mut from = tree.blobs.open(blob)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; CHUNK.min(usize::try_from(blob.bytes).unwrap_or(CHUNK)).max(1)];
    let mut holes = false;
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Refusal::new(Code::Invalid, format!("stage {}: its stored content: {error}", making.change.address))),
        };
        hasher.update(&buffer[..count]);
        // A whole piece of zeros is a hole, which costs no space.
        if count == CHUNK && buffer[..] == ZEROS {
            rustix::fs::seek(file, SeekFrom::Current(PIECE)).map_err(unwritten)?;
            holes = true;
        } else {
            write_all(file, &buffer[..count]).map_err(unwritten)?;
        }
    }
    if holes {
        rustix::fs::ftruncate(file, blob.bytes).map_err(unwritten)?;
    }
    Ok(Digest(hasher.finalize().into()))
}

/// Refuses bytes that are not those the plan names: what was approved is byte for byte what runs.
fn expect(tree: &Tree, making: &Making<'_>, plain: &Digest) -> Result<(), Refusal> {
    let keyed = fingerprint::is_keyed(making.after);
    let identity = if keyed { tree.seal.identity(plain) } else { *plain };
    if fingerprint::of(making.shape, &identity, keyed, &fingerprint::attributes(making.after)) == *making.after {
        return Ok(());
    }
    let message = format!("stage {}: its stored content is not what the plan names", making.change.address);
    Err(Refusal::new(Code::Invalid, message).help("plan again"))
}

fn link_text(tree: &Tree, making: &Making<'_>) -> Result<Vec<u8>, Refusal> {
    let blob = content(making)?;
    let refuse = |why: &str| Refusal::new(Code::Invalid, format!("make the link {}: {why}", making.change.address));
    if blob.bytes > LONGEST_LINK && !blob.sealed {
        return Err(refuse("its text is longer than 4,095 bytes"));
    }
    let stored = tree.blobs.get(&blob.digest)?;
    let text = if blob.sealed { tree.seal.open(&stored)? } else { stored };
    expect(tree, making, &Digest::of(&text))?;
    match escape(making.below.bytes(), &text, &BTreeMap::new()) {
        Some(why) => Err(refuse(why.words())),
        None if text.contains(&0) => Err(refuse("its text has a NUL character in it")),
        None => Ok(text),
    }
}
