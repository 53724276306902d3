//! A working tree as `git add -A` would record it: tracked files, and untracked ones that nothing ignores. Reads only.
//!
//! Filters, attributes and hooks do nothing here: a file that was changed counts with the bytes it has on disk.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use gix::ObjectId;
use gix::bstr::ByteSlice;
use gix::index::entry::{self, Flags, Mode};
use gix::objs::Kind;
use gix::objs::tree::EntryKind;
use rustix::fs::{FileType, Stat};
use rustix::io::Errno;
use trued_doors::Answer;
use trued_model::{Code, Digest, Refusal, encode_path};

use super::repository::{Fault, LARGEST_OBJECT, Repository, errno};
use super::settings::Limits;
use super::stream::{LARGE, Stream, begun};
use super::tree::{self, Leaf, Leaves};
use crate::disk::{self, Root};
use crate::names::{self, OWN_FOLDER, Rule};

/// Bytes of a large file that are in memory at a time.
const PIECE: usize = 64 << 10;
/// Times a working tree that changes under our eyes is looked at before we give up.
const LOOKS: usize = 3;

/// What a working tree holds at one instant, where it differs from the last commit.
pub(super) struct WorkTree {
    root: PathBuf,
    /// The revision's id: `COMMIT+dirty.<12 hex>`.
    pub(super) id: String,
    pub(super) leaves: Leaves,
    /// Paths whose bytes are only on disk; those of all others are in the objects.
    unrecorded: BTreeSet<Vec<u8>>,
}

/// A look at a working tree.
pub(super) enum Look {
    /// It is what this commit says.
    Clean(ObjectId),
    Dirty(WorkTree),
}

/// Which paths are left out of what is looked at, where nothing in them is tracked.
type LeftOut<'a> = &'a dyn Fn(&[u8]) -> bool;

/// Looks at the working tree below `root`, against the commit `head`; none if there is no commit yet.
pub(super) fn look(
    repository: &Repository,
    root: &Path,
    head: Option<ObjectId>,
    limits: &Limits,
    left_out: LeftOut<'_>,
) -> Result<Look, Fault> {
    Root::open(root)?;
    for _ in 0..LOOKS {
        match look_once(repository, root, head, limits, left_out) {
            Err(Fault::Refused(refusal)) if refusal.code == Code::Absent => continue,
            other => return other,
        }
    }
    let message = format!("read working tree {}: files come and go while it is read", root.display());
    Err(Refusal::new(Code::Changed, message).help("try again when whatever writes there is done").into())
}

fn look_once(repository: &Repository, root: &Path, head: Option<ObjectId>, limits: &Limits, left_out: LeftOut<'_>) -> Result<Look, Fault> {
    let committed = match head {
        Some(commit) => tree::leaves(repository, tree::of_commit(repository, commit)?, b"", Rule::Sound, limits)?,
        None => Leaves::new(),
    };
    let (leaves, unrecorded) = repository.with(|handle| add_all(handle, root, limits, left_out))?;
    let difference = difference(&committed, &leaves);
    match head {
        Some(commit) if difference.is_empty() => Ok(Look::Clean(commit)),
        _ => {
            let commit = head.unwrap_or_else(|| ObjectId::null(gix::hash::Kind::Sha1));
            let id = format!("{commit}+dirty.{}", Digest::of(difference.as_bytes()).short());
            Ok(Look::Dirty(WorkTree { root: root.to_owned(), id, leaves, unrecorded }))
        }
    }
}

/// Writes what differs, one line per path: `- PATH` for what is gone, `MODE ID PATH` for what is new or other.
fn difference(committed: &Leaves, leaves: &Leaves) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    let paths: BTreeSet<&Vec<u8>> = committed.keys().chain(leaves.keys()).collect();
    for path in paths {
        let (before, after) = (committed.get(path), leaves.get(path));
        if before.map(|leaf| (leaf.kind, leaf.id)) == after.map(|leaf| (leaf.kind, leaf.id)) {
            continue;
        }
        // Writing into a String cannot fail.
        let _ = match after {
            None => writeln!(text, "- {}", encode_path(path)),
            Some(leaf) => writeln!(text, "{:06o} {} {}", leaf.kind as u16, leaf.id, encode_path(path)),
        };
    }
    text
}

impl WorkTree {
    /// Reads a path as it was at the look; `Code::Changed` when it is something else by now.
    pub(super) fn read(&self, repository: &Repository, path: &[u8], leaf: &Leaf) -> Result<Vec<u8>, Fault> {
        if !self.unrecorded.contains(path) {
            return repository.object_of(leaf.id, Kind::Blob);
        }
        let root = Root::open(&self.root)?;
        let (kind, bytes) = read(&root, path, leaf.kind == EntryKind::Link).map_err(|refusal| match refusal.code {
            Code::Absent => self.changed(path),
            _ => refusal,
        })?;
        if kind == leaf.kind && blob_id(&bytes)? == leaf.id { Ok(bytes) } else { Err(self.changed(path).into()) }
    }

    /// Reads one in pieces; `None` where it can only be read whole.
    pub(super) fn stream(&self, repository: &Repository, path: &[u8], id: ObjectId, size: u64) -> Result<Option<Stream>, Fault> {
        if !self.unrecorded.contains(path) {
            return Ok(Stream::open(repository, id));
        }
        let file = Root::open(&self.root)?.file(path);
        let (file, _) = file.map_err(|errno| match errno {
            Errno::ACCESS | Errno::PERM => disk::refuse_path(path, errno),
            _ => self.changed(path),
        })?;
        Ok(Some(Stream::over(Box::new(file), id, size, self.changed(path).to_string())))
    }

    fn changed(&self, path: &[u8]) -> Refusal {
        let message = format!("read {}: it changed after the working tree was read", encode_path(path));
        Refusal::new(Code::Changed, message).help("run it again")
    }
}

/// A path of the working tree that has to be read to know its id.
struct Unread {
    path: Vec<u8>,
    link: bool,
}

fn add_all(handle: &gix::Repository, root: &Path, limits: &Limits, left_out: LeftOut<'_>) -> Result<(Leaves, BTreeSet<Vec<u8>>), Fault> {
    let unreadable = |what: &str, error: gix::Error| Refusal::new(Code::Unknown, format!("read {what} of {}: {error}", root.display()));
    let mut handle = handle.clone();
    handle.set_workdir(root.to_owned()).map_err(|error| unreadable("the working tree", error))?;
    let index = handle.index_or_empty().map_err(|error| unreadable("the index", error))?;
    if index.is_sparse() {
        let message = format!("read working tree {}: a sparse index is not available yet", root.display());
        return Err(Refusal::new(Code::Unsupported, message).help("git sparse-checkout reapply --no-sparse-index").into());
    }
    let source = gix::worktree::stack::state::ignore::Source::WorktreeThenIdMappingIfNotSkipped;
    let ignored = handle.excludes(&index, None, source).map_err(|error| unreadable("ignore files", error))?;
    let mut walk = Walk { index: &index, ignored, limits, left_out, leaves: Leaves::new(), unread: Vec::new() };
    for entry in index.entries() {
        // What is deliberately not checked out is as the index has it.
        if entry.flags.contains(Flags::SKIP_WORKTREE) && entry.stage() == entry::Stage::Unconflicted {
            walk.record(entry.path(&index).to_vec(), entry)?;
        }
    }
    let folder = Root::open(root)?;
    disk::walk(&folder, &mut |parent, path, kind| walk.enter(parent, path, kind))?;

    let Walk { mut leaves, unread, .. } = walk;
    let read = disk::spread(&unread, |unread| named(&folder, &unread.path, unread.link))?;
    let mut unrecorded = BTreeSet::new();
    for (unread, leaf) in unread.into_iter().zip(read) {
        unrecorded.insert(unread.path.clone());
        leaves.insert(unread.path, leaf);
    }
    Ok((leaves, unrecorded))
}

/// Decides about each path of the working tree on the way.
struct Walk<'a> {
    index: &'a gix::index::State,
    ignored: gix::AttributeStack<'a>,
    limits: &'a Limits,
    left_out: LeftOut<'a>,
    leaves: Leaves,
    unread: Vec<Unread>,
}

impl Walk<'_> {
    fn enter(&mut self, parent: &OwnedFd, path: &[u8], kind: FileType) -> Answer<bool> {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
        if name == b".git" || self.leaves.get(path).is_some_and(|leaf| leaf.kind != EntryKind::Commit) {
            return Ok(false);
        }
        match kind {
            FileType::Directory => self.enter_folder(parent, path, name),
            FileType::RegularFile | FileType::Symlink => self.enter_file(parent, path, name, kind).map(|()| false),
            _ => Ok(false),
        }
    }

    /// Whether to go into a folder: something in it is tracked, or it is not ignored.
    fn enter_folder(&mut self, parent: &OwnedFd, path: &[u8], name: &[u8]) -> Answer<bool> {
        let index = self.index;
        if name == OWN_FOLDER {
            return Ok(false);
        }
        if let Some(entry) = index.entry_by_path(path.as_bstr()).filter(|entry| entry.mode == Mode::COMMIT) {
            self.record(path.to_vec(), entry)?;
            return Ok(false);
        }
        let inside = [path, b"/"].concat();
        if index.prefixed_entries_range(inside.as_bstr()).is_some_and(|range| !range.is_empty()) {
            return Ok(true);
        }
        if (self.left_out)(path) || self.is_ignored(path, Mode::DIR)? {
            return Ok(false);
        }
        let dot_git = names::join(name, b".git");
        if disk::stat(parent, &dot_git).is_ok() {
            // Another repository inside this one: Git would record it as a submodule, whatever its commit is.
            let leaf = Leaf { kind: EntryKind::Commit, id: ObjectId::null(gix::hash::Kind::Sha1), bytes: None };
            self.insert(path.to_vec(), leaf)?;
            return Ok(false);
        }
        Ok(true)
    }

    fn enter_file(&mut self, parent: &OwnedFd, path: &[u8], name: &[u8], kind: FileType) -> Answer<()> {
        let index = self.index;
        let tracked = index.entry_by_path(path.as_bstr());
        let in_conflict = || index.entry_range(path.as_bstr()).is_some();
        if tracked.is_none() && !in_conflict() && self.is_ignored(path, Mode::FILE)? {
            return Ok(());
        }
        if let Some(entry) = tracked {
            let stat = disk::stat(parent, name).map_err(|errno| disk::refuse_path(path, errno))?;
            if entry.flags.contains(Flags::ASSUME_VALID) || self.is_as_recorded(entry, &stat) {
                return self.record(path.to_vec(), entry);
            }
        }
        if (self.leaves.len() + self.unread.len()) as u64 >= self.limits.files {
            return Err(self.too_many());
        }
        self.unread.push(Unread { path: path.to_vec(), link: kind == FileType::Symlink });
        Ok(())
    }

    /// Whether a file's times, size and kind say that it is what the index recorded, beyond doubt.
    fn is_as_recorded(&self, entry: &gix::index::Entry, stat: &Stat) -> bool {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile if disk::executable(stat) => Mode::FILE_EXECUTABLE,
            FileType::RegularFile => Mode::FILE,
            FileType::Symlink => Mode::SYMLINK,
            _ => return false,
        };
        // Nanoseconds count: comparing more closely than Git can only mean reading a file once more.
        let closely = entry::stat::Options { use_nsec: true, ..Default::default() };
        entry.mode == kind
            && !entry.flags.contains(Flags::INTENT_TO_ADD)
            && entry.stat.matches(&index_stat(stat), closely)
            && !entry.stat.is_racy(self.index.timestamp(), closely)
    }

    fn is_ignored(&mut self, path: &[u8], mode: Mode) -> Answer<bool> {
        let unreadable = |error| Refusal::new(Code::Unknown, format!("read ignore files for {}: {error}", encode_path(path)));
        Ok(self.ignored.at_entry(path.as_bstr(), Some(mode)).map_err(unreadable)?.is_excluded())
    }

    /// Takes a path as the index has it; its bytes are in the objects.
    fn record(&mut self, path: Vec<u8>, entry: &gix::index::Entry) -> Answer<()> {
        let Some(mode) = entry.mode.to_tree_entry_mode() else {
            return Err(names::refuse(&path, "the index gives it a mode that no tree has"));
        };
        self.insert(path, Leaf { kind: mode.kind(), id: entry.id, bytes: None })
    }

    fn insert(&mut self, path: Vec<u8>, leaf: Leaf) -> Answer<()> {
        if (self.leaves.len() + self.unread.len()) as u64 >= self.limits.files {
            return Err(self.too_many());
        }
        self.leaves.insert(path, leaf);
        Ok(())
    }

    fn too_many(&self) -> Refusal {
        let message = format!("read a working tree: it holds more than {} files", self.limits.files);
        Refusal::new(Code::TooLarge, message).help("ignore what does not belong to it, or raise limits.files of the source")
    }
}

/// Names what a file or a link holds, a large file in pieces.
fn named(root: &Root, path: &[u8], link: bool) -> Answer<Leaf> {
    use std::io::Read as _;
    if !link
        && let Ok((mut file, stat)) = root.file(path)
        && let Ok(size) = u64::try_from(stat.st_size)
        && size > LARGE
        && size <= LARGEST_OBJECT
    {
        let (mut hash, mut left, mut piece) = (begun(size), size, vec![0; PIECE]);
        loop {
            let count = file.read(&mut piece).map_err(|error| disk::refuse_path(path, errno(&error)))?;
            match left.checked_sub(count as u64) {
                // It grew or shrank under our eyes: it is looked at again.
                None => return Err(disk::refuse_path(path, Errno::NOENT)),
                Some(_) if count == 0 && left > 0 => return Err(disk::refuse_path(path, Errno::NOENT)),
                Some(_) if count == 0 => break,
                Some(less) => left = less,
            }
            hash.update(&piece[..count]);
        }
        let id = hash.try_finalize().map_err(|error| unnameable(&error))?;
        let kind = if disk::executable(&stat) { EntryKind::BlobExecutable } else { EntryKind::Blob };
        return Ok(Leaf { kind, id, bytes: Some(size) });
    }
    let (kind, bytes) = read(root, path, link)?;
    Ok(Leaf { kind, id: blob_id(&bytes)?, bytes: Some(bytes.len() as u64) })
}

/// Reads a file or a link, and says which it is.
fn read(root: &Root, path: &[u8], link: bool) -> Answer<(EntryKind, Vec<u8>)> {
    use std::io::Read as _;
    // Something that is no longer what it was when it was listed is gone, as far as this look is concerned.
    let refuse = |errno| match errno {
        Errno::LOOP | Errno::INVAL | Errno::NOTDIR => disk::refuse_path(path, Errno::NOENT),
        other => disk::refuse_path(path, other),
    };
    if link {
        return Ok((EntryKind::Link, root.link(path).map_err(refuse)?));
    }
    let (file, stat) = root.file(path).map_err(refuse)?;
    let kind = if disk::executable(&stat) { EntryKind::BlobExecutable } else { EntryKind::Blob };
    let mut bytes = Vec::with_capacity(usize::try_from(stat.st_size).unwrap_or(0).min(1 << 20));
    file.take(LARGEST_OBJECT + 1).read_to_end(&mut bytes).map_err(|error| refuse(errno(&error)))?;
    if bytes.len() as u64 > LARGEST_OBJECT {
        return Err(Refusal::new(Code::TooLarge, format!("read {}: it holds more than {LARGEST_OBJECT} bytes", encode_path(path))));
    }
    Ok((kind, bytes))
}

/// The id Git gives these bytes as a blob.
fn blob_id(bytes: &[u8]) -> Answer<ObjectId> {
    gix::objs::compute_hash(gix::hash::Kind::Sha1, Kind::Blob, bytes).map_err(|error| unnameable(&error))
}

fn unnameable(error: &gix::Error) -> Refusal {
    Refusal::new(Code::Invalid, format!("name bytes as a blob: {error}"))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the index keeps the low 32 bits of each field")]
fn index_stat(stat: &Stat) -> entry::Stat {
    entry::Stat {
        mtime: entry::stat::Time { secs: stat.st_mtime as u32, nsecs: stat.st_mtime_nsec as u32 },
        ctime: entry::stat::Time { secs: stat.st_ctime as u32, nsecs: stat.st_ctime_nsec as u32 },
        dev: stat.st_dev as u32,
        ino: stat.st_ino as u32,
        uid: stat.st_uid,
        gid: stat.st_gid,
        size: stat.st_size as u32,
    }
}
