//! One look at one name in an open folder: what is there, with its content hashed.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, OFlags, Stat};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use trued_doors::Seal;
use trued_model::{Digest, Fingerprint, Shape};

use crate::fingerprint;
use crate::root::{open_beneath, words};
use crate::rules::Attributes;

/// How much is read at once.
pub(crate) const CHUNK: usize = 64 * 1024;

/// How often a file that changes while it is read is read again.
pub(crate) const TRIES: usize = 3;

/// What is there.
pub(crate) struct Found {
    pub what: What,
    pub stat: Stat,
}

pub(crate) enum What {
    /// SHA-256 of the content.
    File {
        executable: bool,
        digest: Digest,
    },
    Link {
        text: Vec<u8>,
    },
    Folder,
    /// `fifo`, `socket`, `block-device`, `character-device`.
    Other(&'static str),
}

/// Why a look decided nothing.
#[derive(Debug)]
pub(crate) enum Undecided {
    Denied(String),
    Unknown(String),
}

impl Found {
    /// The fingerprint in its first format; keyed where what we compare with is sealed.
    pub fn fingerprint(&self, key: Option<&dyn Seal>) -> Fingerprint {
        self.covering(Attributes::default(), key)
    }

    /// The fingerprint that covers just what another one does.
    pub fn like(&self, other: Option<&Fingerprint>, key: Option<&dyn Seal>) -> Fingerprint {
        self.covering(other.map(fingerprint::attributes).unwrap_or_default(), key)
    }

    fn covering(&self, said: Attributes, key: Option<&dyn Seal>) -> Fingerprint {
        let identity = |digest: &Digest| key.map_or(*digest, |seal| seal.identity(digest));
        let here = Attributes {
            mode: said.mode.map(|_| self.stat.st_mode & 0o7777),
            owner: said.owner.map(|_| self.stat.st_uid),
            group: said.group.map(|_| self.stat.st_gid),
        };
        let keyed = key.is_some();
        match &self.what {
            What::File { executable, digest } => fingerprint::of(Shape::File { executable: *executable }, &identity(digest), keyed, &here),
            What::Link { text } => fingerprint::of(Shape::Link, &identity(&Digest::of(text)), keyed, &here),
            What::Folder => fingerprint::of(Shape::Folder, &Digest([0; 32]), false, &here),
            What::Other(kind) => fingerprint::of_other(kind),
        }
    }

    /// Whether it is a file with more than one name.
    pub fn has_other_names(&self) -> bool {
        matches!(self.what, What::File { .. }) && self.stat.st_nlink > 1
    }

    /// Whether it can be changed in the folder where it was found, and nowhere else.
    pub fn has_one_place(&self) -> bool {
        matches!(self.what, What::File { .. } | What::Link { .. }) && self.stat.st_nlink == 1
    }

    pub fn is_folder(&self) -> bool {
        matches!(self.what, What::Folder)
    }
}

/// Looks. `Ok(None)` is a certain absence. `buffer` holds one chunk.
pub(crate) fn look(folder: BorrowedFd<'_>, name: &[u8], buffer: &mut [u8]) -> Result<Option<Found>, Undecided> {
    for _ in 0..TRIES {
        match look_once(folder, name, buffer) {
            Ok(Some(found)) => return Ok(Some(found)),
            Ok(None) => {}
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(errno @ (Errno::ACCESS | Errno::PERM)) => return Err(Undecided::Denied(words(errno))),
            Err(errno) => return Err(Undecided::Unknown(words(errno))),
        }
    }
    Err(Undecided::Unknown("it changes while it is read".to_owned()))
}

/// One try; `Ok(None)` when it changed meanwhile.
fn look_once(folder: BorrowedFd<'_>, name: &[u8], buffer: &mut [u8]) -> rustix::io::Result<Option<Found>> {
    let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let what = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => What::Folder,
        FileType::Fifo => What::Other("fifo"),
        FileType::Socket => What::Other("socket"),
        FileType::BlockDevice => What::Other("block-device"),
        FileType::CharacterDevice => What::Other("character-device"),
        FileType::Symlink => match rustix::fs::readlinkat(folder, name, Vec::new()) {
            Ok(text) => What::Link { text: text.into_bytes() },
            Err(Errno::INVAL) => return Ok(None),
            Err(errno) => return Err(errno),
        },
        _ => {
            // Not blocking: between the two calls it may have become a pipe that nobody writes to.
            let file = match open_beneath(folder, name, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY) {
                Ok(file) => file,
                Err(Errno::LOOP | Errno::NXIO) => return Ok(None),
                Err(errno) => return Err(errno),
            };
            // Whether it is what stood there shows at the end, for what was opened and what was read in one.
            let Some(digest) = hash(&file, &stat, buffer)? else { return Ok(None) };
            if !still(&stat, &rustix::fs::fstat(&file)?) {
                return Ok(None);
            }
            What::File { executable: stat.st_mode & 0o100 != 0, digest }
        }
    };
    Ok(Some(Found { what, stat }))
}

/// Hashes what stood there to its end: where a read is not filled, and what was read is as much as there was, that is the end.
/// `Ok(None)` where something else was opened.
fn hash(file: &OwnedFd, stat: &Stat, buffer: &mut [u8]) -> rustix::io::Result<Option<Digest>> {
    let (mut hasher, mut bytes, mut sure) = (Sha256::new(), 0, false);
    loop {
        match rustix::io::read(file, &mut *buffer) {
            Ok(count) => {
                hasher.update(&buffer[..count]);
                bytes += count as i64;
                if count == 0 || (count < buffer.len() && bytes == stat.st_size) {
                    return Ok(Some(Digest(hasher.finalize().into())));
                }
                // More than there was: a pipe may have no end. Some file systems tell no size.
                if bytes > stat.st_size && !sure {
                    sure = still(stat, &rustix::fs::fstat(file)?);
                    if !sure {
                        return Ok(None);
                    }
                }
            }
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN | Errno::ISDIR) => return Ok(None),
            Err(errno) => return Err(errno),
        }
    }
}

/// Whether both are of the same thing with the same content, as far as its metadata tells; the time of a rename does not count.
pub(crate) fn same(one: &Stat, other: &Stat) -> bool {
    let key = |stat: &Stat| {
        let who = (stat.st_mode, stat.st_uid, stat.st_gid);
        (stat.st_dev, stat.st_ino, who, stat.st_size, stat.st_mtime, stat.st_mtime_nsec)
    };
    key(one) == key(other)
}

/// Whether nothing at all happened to a file between the two.
pub(crate) fn still(one: &Stat, other: &Stat) -> bool {
    same(one, other) && (one.st_ctime, one.st_ctime_nsec) == (other.st_ctime, other.st_ctime_nsec)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write as _;
    use std::os::fd::AsFd as _;

    use rustix::fs::{CWD, Mode, mknodat};

    use super::*;

    /// What a look makes of something that was opened where this file was seen.
    fn opened(seen: &std::path::Path, opened: &std::path::Path) -> Option<Digest> {
        let stat = rustix::fs::lstat(seen).unwrap();
        let file = rustix::fs::open(opened, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty()).unwrap();
        hash(&file, &stat, &mut [0; 16]).unwrap()
    }

    #[test]
    fn what_was_put_in_the_place_of_a_file_before_it_was_opened_is_told_and_holds_up_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let (file, longer) = (folder.path().join("file"), folder.path().join("longer"));
        std::fs::write(&file, "a text of twenty-two b").unwrap();
        std::fs::write(&longer, "a text of twenty-two b and more of it").unwrap();
        assert_eq!(opened(&file, &file), Some(Digest::of(b"a text of twenty-two b")));
        assert_eq!(opened(&file, &longer), None);
        assert_eq!(opened(&file, folder.path()), None, "a folder");
        assert_eq!(opened(&file, std::path::Path::new("/dev/zero")), None, "what has no end");
        let pipe = folder.path().join("pipe");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).unwrap();
        // Both ends at once: whoever reads has a writer, who says nothing so far.
        let mut writer = File::options().read(true).write(true).open(&pipe).unwrap();
        assert_eq!(opened(&file, &pipe), None, "a pipe whose writer is silent");
        writer.write_all(&[b'x'; 4096]).unwrap();
        assert_eq!(opened(&file, &pipe), None, "a pipe that says more than there was");
    }

    #[test]
    fn a_file_system_that_tells_no_size_is_read_to_the_end() {
        let folder = File::open("/proc").unwrap();
        let found = look(folder.as_fd(), b"version", &mut [0; 16]).unwrap().unwrap();
        assert_eq!(found.stat.st_size, 0);
        let What::File { digest, .. } = found.what else { panic!("/proc/version is a file") };
        assert_eq!(digest, Digest::of(&std::fs::read("/proc/version").unwrap()));
    }
}
