//! What makes many small blobs durable with one sync: their bytes go to the end of one file before they get their names. Where
//! the machine stops before the store itself has reached the disk, the journal brings them back.
//!
//! A record is the length of the bytes (four, little endian), the digest, and the bytes. It proves itself: a torn end, and what
//! an earlier round left behind the newest record, is told from what was written whole.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FlockOperation, Mode, OFlags, fdatasync, flock, fsync, openat, renameat};
use rustix::io::{Errno, pwrite};
use trued_doors::Answer;
use trued_model::Digest;

use crate::disk::cannot_io;

/// Up to so many bytes a blob goes through the journal.
pub(super) const SMALL: usize = 64 << 10;

/// How long a journal gets before what it stands for is made durable where it lies, and it is begun anew.
pub(super) const MOST: u64 = 4 << 20;

/// Its name in the folder of the process that writes it.
const NAME: &str = "journal";
const DRAFT: &str = "journal.new";

/// Of a record, beside the bytes.
const HEAD: usize = 4 + 32;

/// The journal of one process, locked as long as that lives.
pub(super) struct Journal {
    file: OwnedFd,
    end: u64,
}

impl Journal {
    /// Makes one in a folder, and makes its name durable.
    pub(super) fn make(folder: &OwnedFd) -> Result<Journal, Errno> {
        let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = openat(folder, DRAFT, flags, Mode::RUSR | Mode::WUSR)?;
        // It is locked before anybody can take it for one that was left.
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        renameat(folder, DRAFT, folder, NAME)?;
        fsync(folder)?;
        Ok(Journal { file, end: 0 })
    }

    /// Whether it is due to be begun anew before these are added.
    pub(super) fn is_full(&self, blobs: &[(Digest, Arc<[u8]>)]) -> bool {
        self.end > 0 && self.end + length(blobs) > MOST
    }

    /// Adds blobs; they are durable then. Those of an attempt that failed are written over by the next.
    pub(super) fn add(&mut self, blobs: &[(Digest, Arc<[u8]>)]) -> Result<(), Errno> {
        let mut records = Vec::with_capacity(length(blobs) as usize);
        for (digest, bytes) in blobs {
            records.extend_from_slice(&u32::try_from(bytes.len()).map_err(|_| Errno::FBIG)?.to_le_bytes());
            records.extend_from_slice(&digest.0);
            records.extend_from_slice(bytes);
        }
        let mut written = 0;
        while written < records.len() {
            match pwrite(&self.file, &records[written..], self.end + written as u64) {
                Ok(count) => written += count,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        fdatasync(&self.file)?;
        self.end += written as u64;
        Ok(())
    }

    /// Begins anew at the front: all that it stands for is durable elsewhere. Its blocks are used again, which costs the disk less
    /// than to give them back.
    pub(super) fn begin_anew(&mut self) {
        self.end = 0;
    }
}

fn length(blobs: &[(Digest, Arc<[u8]>)]) -> u64 {
    blobs.iter().map(|(_, bytes)| (HEAD + bytes.len()) as u64).sum()
}

/// A journal that somebody left.
pub(super) struct Left(File);

impl Left {
    /// Opens the journal of a folder; `None` where there is none.
    pub(super) fn open(folder: &Path) -> Option<Left> {
        File::open(folder.join(NAME)).ok().map(Left)
    }

    /// Whether nobody writes it any more, in any PID namespace; it is ours as long as this lives then.
    pub(super) fn is_ours(&self) -> bool {
        flock(&self.0, FlockOperation::NonBlockingLockExclusive).is_ok()
    }

    /// Hands over each blob that was written whole; the bytes are proven. Ends where something else begins.
    pub(super) fn each(&mut self, mut to: impl FnMut(Digest, Vec<u8>) -> Answer<()>) -> Answer<()> {
        while let Some((digest, bytes)) = self.next().map_err(|error| cannot_io("read a journal of blobs", &error))? {
            to(digest, bytes)?;
        }
        Ok(())
    }

    fn next(&mut self) -> io::Result<Option<(Digest, Vec<u8>)>> {
        let (mut length, mut digest) = ([0; 4], Digest([0; 32]));
        if !fill(&mut self.0, &mut length)? || !fill(&mut self.0, &mut digest.0)? {
            return Ok(None);
        }
        let length = u32::from_le_bytes(length) as usize;
        if length > SMALL {
            return Ok(None);
        }
        let mut bytes = vec![0; length];
        let whole = fill(&mut self.0, &mut bytes)? && Digest::of(&bytes) == digest;
        Ok(whole.then_some((digest, bytes)))
    }
}

/// Whether there is as much as this.
fn fill(from: &mut File, into: &mut [u8]) -> io::Result<bool> {
    match from.read_exact(into) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        read => read.map(|()| true),
    }
}
