//! Reading below one folder and never outside it: no link is followed, whatever is swapped while we look.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use trued_doors::Answer;
use trued_model::{Code, Refusal, encode_path};
use trued_spread::try_spread;

use crate::names;

/// Threads that read and hash files at once.
const READERS: usize = 2;
/// How many files one thread takes at a time; fewer are not worth a second thread.
const RUN: usize = 64;

/// Deepest folder below a root.
const DEEPEST: usize = 256;

/// An open folder that all paths start from.
pub(crate) struct Root {
    folder: OwnedFd,
}

/// One name in a folder.
pub(crate) struct Found {
    pub(crate) name: Vec<u8>,
    pub(crate) kind: FileType,
}

impl Root {
    /// Opens the folder itself, through links if its own path has some: it is the operator who names it.
    pub(crate) fn open(path: &Path) -> Answer<Root> {
        match fs::open(path, OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY, Mode::empty()) {
            Ok(folder) => Ok(Root { folder }),
            Err(errno) => Err(refuse(&format!("folder {}", path.display()), errno)),
        }
    }

    /// Opens a folder below; `""` is the root.
    pub(crate) fn folder(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { b"." } else { path };
        self.beneath(path, OFlags::DIRECTORY)
    }

    /// Opens a regular file below and says what it is. Anything else is `ELOOP`, as if it were a link.
    pub(crate) fn file(&self, path: &[u8]) -> Result<(File, Stat), Errno> {
        let file = self.beneath(path, OFlags::NONBLOCK)?;
        let stat = fs::fstat(&file)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok((File::from(file), stat)),
            _ => Err(Errno::LOOP),
        }
    }

    /// Reads a link's text.
    pub(crate) fn link(&self, path: &[u8]) -> Result<Vec<u8>, Errno> {
        let (parent, name) = split(path);
        Ok(fs::readlinkat(self.folder(parent)?, OsStr::from_bytes(name), Vec::new())?.into_bytes())
    }

    fn beneath(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NOCTTY;
        loop {
            match fs::openat2(&self.folder, OsStr::from_bytes(path), flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) => continue,
                other => return other,
            }
        }
    }
}

/// Lists a folder's names, sorted; `.` and `..` are not among them.
pub(crate) fn list(folder: &OwnedFd) -> Result<Vec<Found>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => FileType::from_raw_mode(stat(folder, name)?.st_mode),
            known => known,
        };
        names.push(Found { name: name.to_vec(), kind });
    }
    names.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(names)
}

/// What a name in a folder is, links not followed.
pub(crate) fn stat(folder: &OwnedFd, name: &[u8]) -> Result<Stat, Errno> {
    fs::statat(folder, OsStr::from_bytes(name), AtFlags::SYMLINK_NOFOLLOW)
}

/// Whether the owner may run it, which is all of a mode that counts.
pub(crate) fn executable(stat: &Stat) -> bool {
    stat.st_mode & 0o100 != 0
}

/// A refusal about something on disk: not there, not ours to look at, and cannot tell are three things.
pub(crate) fn refuse(what: &str, errno: Errno) -> Refusal {
    match errno {
        Errno::NOENT | Errno::NOTDIR => Refusal::new(Code::Absent, format!("read {what}: it is not there")),
        Errno::ACCESS | Errno::PERM => {
            Refusal::new(Code::Denied, format!("read {what}: permission denied")).help("let the user that runs this read it")
        }
        other => Refusal::new(Code::Unknown, format!("read {what}: {other}")),
    }
}

/// A refusal about a path below a root.
pub(crate) fn refuse_path(path: &[u8], errno: Errno) -> Refusal {
    refuse(&encode_path(path), errno)
}

/// Does the same work for all items on a few threads, keeping their order. The first refusal in that order wins.
pub(crate) fn spread<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> Answer<R> + Sync) -> Answer<Vec<R>> {
    try_spread(items, RUN, READERS, |run| run.iter().map(&work).collect())
}

/// Splits a path into its folder and its last name.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

/// Decides about one name: the open folder it lies in, its path from the root, what it is. Whether to go into it.
pub(crate) type Enter<'a> = dyn FnMut(&OwnedFd, &[u8], FileType) -> Answer<bool> + 'a;

/// Walks everything below a folder, depth first, in name order. `enter` decides about each name by its path.
pub(crate) fn walk(root: &Root, enter: &mut Enter<'_>) -> Answer<()> {
    let top = root.folder(b"").map_err(|errno| refuse_path(b".", errno))?;
    walk_folder(&top, &mut Vec::new(), 0, enter)
}

/// Walks one folder; `path` is its own, and is so again afterwards.
fn walk_folder(folder: &OwnedFd, path: &mut Vec<u8>, depth: usize, enter: &mut Enter<'_>) -> Answer<()> {
    if depth > DEEPEST {
        return Err(names::refuse(path, "folders are nested deeper than 256"));
    }
    let own = path.len();
    for found in list(folder).map_err(|errno| refuse_path(path, errno))? {
        path.truncate(own);
        if own > 0 {
            path.push(b'/');
        }
        path.extend_from_slice(&found.name);
        if enter(folder, path, found.kind)? && found.kind == FileType::Directory {
            let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
            let next =
                fs::openat(folder, OsStr::from_bytes(&found.name), flags, Mode::empty()).map_err(|errno| refuse_path(path, errno))?;
            walk_folder(&next, path, depth + 1, enter)?;
        }
    }
    path.truncate(own);
    Ok(())
}
