//! Blobs on disk: `sha256/ab/<62 hex>`. A name there always holds complete, durable bytes: they are written in
//! `incoming/`, made durable together, and only then given their names. Small ones are durable in the journal first, and where
//! they lie later.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{Cursor, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, statat};
use rustix::io::Errno;
use trued_doors::{Answer, Blobs, Contents};
use trued_model::{BlobRef, Code, Digest, Refusal};

use super::incoming::Incoming;
use super::journal::{Journal, SMALL};
use super::proving::{Proving, proven};
use super::{BUFFER, absent, is, other, pass, wrong};
use crate::disk::{cannot, make_folder};

/// Up to this many bytes of what waits to be flushed are kept in memory for the journal.
const AT_HAND: usize = 1 << 20;

/// What a piece of a stream is compared with.
static ZEROS: [u8; BUFFER] = [0; BUFFER];

/// How many digests are remembered as stored; beyond it the disk is asked again.
const REMEMBERED: usize = 1 << 20;

/// A [`Blobs`] in a folder. Several processes may share the folder.
pub struct DiskBlobs {
    pub(super) folder: PathBuf,
    pub(super) stored: OwnedFd,
    pub(super) incoming: OnceLock<Incoming>,
    state: Mutex<State>,
    /// Held while flushing, so that a second flush does not return before the first has made its blobs durable.
    flushing: Mutex<Option<Journal>>,
    /// A write or sync failed: what the kernel still has of it is not known, and trying again could hide that.
    broken: Arc<AtomicBool>,
}

#[derive(Default)]
pub(super) struct State {
    /// Durable, under their names or by the journal.
    settled: HashSet<Digest>,
    /// Found under their names, which another process may not have made durable yet.
    met: HashSet<Digest>,
    /// Written to [`Incoming`].
    pending: HashMap<Digest, Pending>,
    /// Bytes that these hold.
    at_hand: usize,
    /// Durable by the journal alone as yet.
    pub(super) journaled: HashSet<Digest>,
}

#[derive(Clone)]
pub(super) struct Pending {
    pub(super) file: String,
    /// For the journal.
    pub(super) bytes: Option<Arc<[u8]>>,
}

impl DiskBlobs {
    /// Opens the blob folder, making it where it is not there. What a process that was killed had flushed is made durable where it
    /// lies; what it had not goes.
    pub fn create(folder: &Path) -> Answer<DiskBlobs> {
        make_folder(&folder.join("sha256"))?;
        make_folder(&folder.join("incoming"))?;
        let blobs = DiskBlobs::open(folder)?;
        blobs.take_over_from_the_dead()?;
        Ok(blobs)
    }

    /// Opens an existing blob folder. Writes nothing before the first put.
    pub fn open(folder: &Path) -> Answer<DiskBlobs> {
        let sha256 = folder.join("sha256");
        let stored = openat(CWD, &sha256, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        Ok(DiskBlobs {
            folder: folder.to_owned(),
            stored: stored.map_err(|errno| cannot(&format!("open {}", sha256.display()), errno))?,
            incoming: OnceLock::new(),
            state: Mutex::default(),
            flushing: Mutex::default(),
            broken: Arc::default(),
        })
    }

    /// Set once a write did not reach the disk: from then on this process writes no blobs.
    pub(crate) fn broken(&self) -> Arc<AtomicBool> {
        self.broken.clone()
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn incoming(&self) -> Answer<&Incoming> {
        if let Some(incoming) = self.incoming.get() {
            return Ok(incoming);
        }
        let made = Incoming::make(&self.folder.join("incoming"))?;
        Ok(self.incoming.get_or_init(|| made))
    }

    /// Whether a blob needs no writing. `bytes`: its length where that is known; another length is a torn file.
    fn is_stored(&self, digest: &Digest, bytes: Option<u64>) -> bool {
        let mut state = self.state();
        if state.settled.contains(digest) || state.met.contains(digest) || state.pending.contains_key(digest) {
            return true;
        }
        let there = statat(&self.stored, name(digest), AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| bytes.is_none_or(|bytes| u64::try_from(stat.st_size) == Ok(bytes)));
        if there && bytes.is_some() {
            state.met.insert(*digest);
        }
        there
    }

    /// Writes a file in `incoming/`; it is removed again unless `write` says what it became. `bytes` are all that it gets, where
    /// they are at hand.
    fn receive(&self, bytes: Option<&[u8]>, write: impl FnOnce(&File) -> Answer<BlobRef>) -> Answer<BlobRef> {
        self.whole()?;
        let incoming = self.incoming()?;
        let (file, opened) = incoming.file().map_err(|errno| self.failed("make a file for a blob", errno))?;
        let received = write(&File::from(opened));
        let taken = received.as_ref().is_ok_and(|blob| {
            let state = &mut *self.state();
            let Entry::Vacant(place) = state.pending.entry(blob.digest) else { return false };
            let bytes = bytes.filter(|bytes| bytes.len() <= SMALL && state.at_hand + bytes.len() <= AT_HAND);
            state.at_hand += bytes.map_or(0, <[u8]>::len);
            place.insert(Pending { file: file.clone(), bytes: bytes.map(Arc::from) });
            true
        });
        if !taken {
            incoming.remove(&file);
        }
        received
    }

    /// Takes bytes that are this blob's.
    pub(super) fn keep(&self, blob: BlobRef, bytes: &[u8]) -> Answer<()> {
        self.receive(Some(bytes), |file| self.write(file, bytes).map(|()| blob)).map(drop)
    }

    fn write(&self, file: &File, mut bytes: &[u8]) -> Answer<()> {
        while !bytes.is_empty() {
            match rustix::io::write(file, bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(Errno::INTR) => {}
                Err(errno) => return Err(self.failed("write a blob", errno)),
            }
        }
        Ok(())
    }

    /// Writes a stream of at most this many bytes. Pieces of nothing but zeros are holes, which cost no space.
    fn write_stream(&self, file: &File, from: &mut dyn Read, most: u64) -> Answer<BlobRef> {
        let mut holes = false;
        let found = pass(from, most, |piece| {
            if *piece != ZEROS[..piece.len()] {
                return self.write(file, piece);
            }
            holes = true;
            let skipped = rustix::fs::seek(file, rustix::fs::SeekFrom::Current(piece.len() as i64));
            skipped.map(drop).map_err(|errno| self.failed("write a blob", errno))
        })?;
        if holes {
            rustix::fs::ftruncate(file, found.bytes).map_err(|errno| self.failed("write a blob", errno))?;
        }
        Ok(found)
    }

    fn opened(&self, digest: &Digest) -> Answer<File> {
        let look = |at: &OwnedFd, name: &str| openat(at, name, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty());
        let pending = self.state().pending.get(digest).map(|pending| pending.file.clone());
        let found = match (pending, self.incoming.get()) {
            // Between the two looks a flush may have given it its name.
            (Some(file), Some(incoming)) => look(&incoming.folder, &file).or_else(|_| look(&self.stored, &name(digest))),
            _ => look(&self.stored, &name(digest)),
        };
        found.map(File::from).map_err(|errno| match errno {
            Errno::NOENT => absent(digest),
            errno => cannot(&format!("read blob {digest}"), errno),
        })
    }

    pub(super) fn read(&self, digest: &Digest) -> Answer<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = self.opened(digest)?.read_to_end(&mut bytes);
        read.map_err(|error| Refusal::new(Code::Unknown, format!("read blob {digest}: {error}")))?;
        proven(bytes, digest)
    }

    fn whole(&self) -> Answer<()> {
        if !self.broken.load(Ordering::Acquire) {
            return Ok(());
        }
        Err(Refusal::new(Code::Broken, "write blobs: an earlier write did not reach the disk").help("look at the disk, then start again"))
    }

    /// A failed write as a refusal. After an input or output error nothing more is written by this process.
    pub(super) fn failed(&self, what: &str, errno: Errno) -> Refusal {
        let refusal = cannot(what, errno);
        if refusal.code == Code::Broken {
            self.broken.store(true, Ordering::Release);
        }
        refusal
    }
}

impl Contents for DiskBlobs {
    fn open(&self, blob: &BlobRef) -> Answer<Box<dyn Read + Send>> {
        let whole = |file: File| match file.metadata().map(|metadata| metadata.len()) {
            Ok(length) if length != blob.bytes => Err(wrong(&blob.digest)),
            _ => Ok(file),
        };
        match self.opened(&blob.digest).and_then(whole) {
            Ok(file) => Ok(Box::new(Proving::new(file, blob.digest))),
            Err(refusal) => Ok(Box::new(Cursor::new(self.left_in_journals(&blob.digest).ok_or(refusal)?))),
        }
    }
}

impl Blobs for DiskBlobs {
    fn put(&self, bytes: &[u8]) -> Answer<BlobRef> {
        let blob = BlobRef::of(bytes);
        if !self.is_stored(&blob.digest, Some(blob.bytes)) {
            self.keep(blob, bytes)?;
        }
        Ok(blob)
    }

    fn put_stream(&self, expect: &BlobRef, from: &mut dyn Read) -> Answer<()> {
        if self.is_stored(&expect.digest, Some(expect.bytes)) {
            return Ok(());
        }
        let expected = |found: BlobRef| if is(&found, expect) { Ok(found) } else { Err(other(expect)) };
        if expect.bytes > SMALL as u64 {
            return self.receive(None, |file| expected(self.write_stream(file, from, expect.bytes)?)).map(drop);
        }
        let mut bytes = Vec::new();
        let found = pass(from, expect.bytes, |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        });
        self.keep(expected(found?)?, &bytes)
    }

    fn take(&self, from: &mut dyn Read) -> Answer<BlobRef> {
        self.receive(None, |file| self.write_stream(file, from, u64::MAX))
    }

    fn has(&self, digest: &Digest) -> bool {
        self.is_stored(digest, None)
    }

    fn get(&self, digest: &Digest) -> Answer<Vec<u8>> {
        self.read(digest).or_else(|refusal| self.left_in_journals(digest).ok_or(refusal))
    }

    fn is_flushed(&self) -> bool {
        let state = self.state();
        state.pending.is_empty() && state.met.is_empty() && !self.broken.load(Ordering::Acquire)
    }

    fn flush(&self) -> Answer<()> {
        let mut journal = self.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        self.whole()?;
        // They stay listed until they have their names, so that they can be read all the while.
        let (pending, met) = {
            let mut state = self.state();
            (state.pending.clone(), std::mem::take(&mut state.met))
        };
        if pending.is_empty() && met.is_empty() {
            return Ok(());
        }
        let settled = self.settle(&pending, &met, &mut journal).map_err(|errno| self.failed("make blobs durable", errno));
        let mut state = self.state();
        if settled.is_err() {
            state.met.extend(met);
            return settled;
        }
        if state.settled.len() > REMEMBERED {
            state.settled.clear();
        }
        state.settled.extend(met);
        for (digest, pending) in pending {
            state.pending.remove(&digest);
            state.at_hand -= pending.bytes.map_or(0, |bytes| bytes.len());
            state.settled.insert(digest);
        }
        Ok(())
    }
}

impl Drop for DiskBlobs {
    /// Removes what was never flushed: nothing durable names it. What only the journal stands for is made durable where it lies; where
    /// that fails, the next to begin finds the journal.
    fn drop(&mut self) {
        let Some(incoming) = self.incoming.get() else { return };
        let journaled = !self.state().journaled.is_empty();
        if !journaled || (self.whole().is_ok() && self.outgrow_the_journal().is_ok()) {
            incoming.clear();
        }
    }
}

/// The folder a blob lies in: the first two digits.
pub(super) fn shelf(digest: &Digest) -> String {
    digest.hex()[..2].to_owned()
}

pub(super) fn name(digest: &Digest) -> String {
    let mut name = digest.hex();
    name.insert(2, '/');
    name
}
