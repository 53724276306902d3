//! Copying what is at an address into the blob store, before it is replaced.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType, OFlags};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use trued_doors::{Answer, Asked, Kept};
use trued_model::{Address, BlobRef, Code, Digest, Refusal};

use crate::below::Below;
use crate::look::{CHUNK, Found, TRIES, Undecided, What, look, still};
use crate::root::{Barrier, open_beneath, refusal};
use crate::tree::{Standing, Tree};

/// The largest file that is sealed: sealing holds it in memory as a whole.
const LARGEST_SEALED: u64 = 256 << 20;

/// Keeps it. A file that does not stand still while it is read is `Code::Unknown`.
pub(crate) fn keep(tree: &Tree, asked: &Asked) -> Answer<Kept> {
    let Asked { address, sealed, like, .. } = asked;
    let (sealed, like) = (*sealed, like.first());
    if sealed {
        tree.seal.ready()?;
    }
    let below = Below::read(address)?;
    let gone = || Refusal::new(Code::Absent, format!("keep {address}: it is gone"));
    let Standing::Here(root) = tree.stand()? else { return Err(gone()) };
    let folder = root.folder(below.folder()).map_err(|barrier| match barrier {
        Barrier::Missing | Barrier::File(_) => gone(),
        other => other.refusal(),
    })?;
    let unread = |errno| refusal(errno, &format!("keep {address}"));
    let key = sealed.then_some(&*tree.seal);
    for _ in 0..TRIES {
        let before = match rustix::fs::statat(&folder, below.name(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Err(gone()),
            Err(errno) => return Err(unread(errno)),
        };
        if FileType::from_raw_mode(before.st_mode) != FileType::RegularFile {
            return not_a_file(tree, folder.as_fd(), &below, asked);
        }
        if before.st_nlink > 1 {
            // It may be anybody's file, put here by another name to be read or to be replaced; neither is done.
            let message = format!("keep {address}: the file there has {} names (hard links)", before.st_nlink);
            return Err(Refusal::new(Code::Unsupported, message).help("remove its other names"));
        }
        let opened = open_beneath(folder.as_fd(), below.name(), OFlags::RDONLY | OFlags::NONBLOCK);
        let opened = match opened {
            Ok(opened) => opened,
            Err(Errno::LOOP | Errno::NOENT | Errno::NXIO) => continue,
            Err(errno) => return Err(unread(errno)),
        };
        let mut from = Hashing { from: File::from(opened), hasher: Sha256::new() };
        let content = if sealed { seal(tree, &mut from, address)? } else { tree.blobs.take(&mut from)? };
        let after = rustix::fs::fstat(&from.from).map_err(unread)?;
        if still(&before, &after) {
            let digest = Digest(from.hasher.finalize().into());
            let found = Found { what: What::File { executable: before.st_mode & 0o100 != 0, digest }, stat: before };
            return Ok(Kept { fingerprint: found.like(like, key), content: Some(content) });
        }
    }
    Err(Refusal::new(Code::Unknown, format!("keep {address}: it changes while it is read")))
}

fn seal(tree: &Tree, from: &mut impl Read, address: &Address) -> Answer<BlobRef> {
    let mut plain = Vec::new();
    let unread = |error: std::io::Error| Refusal::new(Code::Unknown, format!("keep {address}: {error}"));
    from.take(LARGEST_SEALED + 1).read_to_end(&mut plain).map_err(unread)?;
    if plain.len() as u64 > LARGEST_SEALED {
        return Err(Refusal::new(Code::TooLarge, format!("keep {address}: it is sealed, and larger than 256 MiB")));
    }
    seal_bytes(tree, &plain)
}

fn seal_bytes(tree: &Tree, plain: &[u8]) -> Answer<BlobRef> {
    Ok(BlobRef { sealed: true, ..tree.blobs.put(&tree.seal.seal(plain))? })
}

fn not_a_file(tree: &Tree, folder: BorrowedFd<'_>, below: &Below, asked: &Asked) -> Answer<Kept> {
    let Asked { address, sealed, like, .. } = asked;
    let mut buffer = vec![0; CHUNK];
    let found = match look(folder, below.name(), &mut buffer) {
        Ok(Some(found)) => found,
        Ok(None) => return Err(Refusal::new(Code::Absent, format!("keep {address}: it is gone"))),
        Err(Undecided::Denied(why)) => return Err(Refusal::new(Code::Denied, format!("keep {address}: {why}"))),
        Err(Undecided::Unknown(why)) => return Err(Refusal::new(Code::Unknown, format!("keep {address}: {why}"))),
    };
    let content = match &found.what {
        What::Link { text } if *sealed => Some(seal_bytes(tree, text)?),
        What::Link { text } => Some(tree.blobs.put(text)?),
        What::Folder | What::Other(_) => None,
        What::File { .. } => return Err(Refusal::new(Code::Unknown, format!("keep {address}: it changes while it is read"))),
    };
    Ok(Kept { fingerprint: found.like(like.first(), sealed.then_some(&*tree.seal)), content })
}

/// Hashes what passes through.
struct Hashing {
    from: File,
    hasher: Sha256,
}

impl Read for Hashing {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.from.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}
