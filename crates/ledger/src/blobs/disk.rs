//! Blobs on disk: `sha256/ab/<62 hex>`. A name there always holds complete, durable bytes: they are written in
//! `incoming/`, made durable together, and only then given their names. Small ones are durable in the journal first, and where
//! they lie later.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Cursor, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, fsync, mkdirat, openat, renameat, statat, syncfs};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use trued_doors::{Answer, Blobs, Contents};
use trued_model::{BlobRef, Code, Digest, Refusal};

use super::incoming::{Incoming, of_the_dead};
use super::journal::{Journal, SMALL};
use super::{BUFFER, absent, is, other, pass, wrong};
use crate::disk::{cannot, make_folder};
use crate::process;

const FOLDER: Mode = Mode::RWXU;

/// Up to this many bytes of what waits to be flushed are kept in memory for the journal.
const AT_HAND: usize = 1 << 20;

/// Up to this many files are made durable one by one; more by one `syncfs`, which also waits for everybody else's.
const FEW: usize = 8;

/// What a piece of a stream is compared with.
static ZEROS: [u8; BUFFER] = [0; BUFFER];

/// How many digests are remembered as stored; beyond it the disk is asked again.
const REMEMBERED: usize = 1 << 20;

/// A [`Blobs`] in a folder. Several processes may share the folder.
pub struct DiskBlobs {
    folder: PathBuf,
    stored: OwnedFd,
    incoming: OnceLock<Incoming>,
    state: Mutex<State>,
    /// Held while flushing, so that a second flush does not return before the first has made its blobs durable.
    flushing: Mutex<Option<Journal>>,
    /// A write or sync failed: what the kernel still has of it is not known, and trying again could hide that.
    broken: Arc<AtomicBool>,
}

#[derive(Default)]
struct State {
    /// Durable, under their names or by the journal.
    settled: HashSet<Digest>,
    /// Found under their names, which another process may not have made durable yet.
    met: HashSet<Digest>,
    /// Written to [`Incoming`].
    pending: HashMap<Digest, Pending>,
    /// Bytes that these hold.
    at_hand: usize,
    /// Durable by the journal alone as yet.
    journaled: HashSet<Digest>,
}

#[derive(Clone)]
struct Pending {
    file: String,
    /// For the journal.
    bytes: Option<Arc<[u8]>>,
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

    fn take_over_from_the_dead(&self) -> Answer<()> {
        // What cannot be removed is in nobody's way.
        let remove = |folder: PathBuf| drop(fs::remove_dir_all(folder));
        let mut journals = Vec::new();
        for (folder, left) in of_the_dead(&self.folder.join("incoming"), &process::this("")?) {
            match left {
                None => remove(folder),
                // What cannot be brought back now (the disk is full) is read from there, and tried again by the next to begin.
                Some(mut left) => {
                    if left.each(|digest, bytes| self.bring_back(digest, &bytes)).is_ok() {
                        journals.push((folder, left));
                    }
                }
            }
        }
        let durable = || self.flush().and_then(|()| syncfs(&self.stored).map_err(|errno| self.failed("make blobs durable", errno)));
        if !journals.is_empty() && durable().is_ok() {
            journals.into_iter().for_each(|(folder, _left)| remove(folder));
        }
        Ok(())
    }

    /// Writes a blob anew whose bytes did not reach the disk.
    fn bring_back(&self, digest: Digest, bytes: &[u8]) -> Answer<()> {
        if self.read(&digest).is_ok() {
            return Ok(());
        }
        let blob = BlobRef { digest, bytes: bytes.len() as u64, sealed: false };
        self.keep(blob, bytes)
    }

    /// What a journal of the dead has of a blob that is not there, or is torn.
    fn left_in_journals(&self, digest: &Digest) -> Option<Vec<u8>> {
        let mut found = None;
        for mut left in of_the_dead(&self.folder.join("incoming"), &process::this("").ok()?).filter_map(|(_, left)| left) {
            // One that cannot be read to its end has told what it can.
            let _ = left.each(|of, bytes| {
                if of == *digest {
                    found = Some(bytes);
                }
                Ok(())
            });
        }
        found
    }

    fn state(&self) -> MutexGuard<'_, State> {
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
    fn keep(&self, blob: BlobRef, bytes: &[u8]) -> Answer<()> {
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

    fn read(&self, digest: &Digest) -> Answer<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = self.opened(digest)?.read_to_end(&mut bytes);
        read.map_err(|error| Refusal::new(Code::Unknown, format!("read blob {digest}: {error}")))?;
        proven(bytes, digest)
    }

    /// Makes blobs durable, gives them their names, and makes the names durable: small ones by the journal.
    fn settle(&self, pending: &HashMap<Digest, Pending>, met: &HashSet<Digest>, journal: &mut Option<Journal>) -> Result<(), Errno> {
        let few = pending.values().filter(|pending| pending.bytes.is_none()).count() + met.len() <= FEW;
        let mut folders: HashSet<String> = met.iter().map(shelf).collect();
        if let (false, Some(incoming)) = (pending.is_empty(), self.incoming.get()) {
            if few {
                self.journal(pending, journal, incoming)?;
                for Pending { file, .. } in pending.values().filter(|pending| pending.bytes.is_none()) {
                    fsync(openat(&incoming.folder, file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)?;
                }
            } else {
                syncfs(&self.stored)?;
            }
            for (digest, Pending { file, bytes }) in pending {
                let shelf = shelf(digest);
                match renameat(&incoming.folder, file, &self.stored, name(digest)) {
                    Err(Errno::NOENT) => {
                        mkdirat(&self.stored, &shelf, FOLDER).or_else(|errno| if errno == Errno::EXIST { Ok(()) } else { Err(errno) })?;
                        renameat(&incoming.folder, file, &self.stored, name(digest))?;
                    }
                    renamed => renamed?,
                }
                if bytes.is_none() {
                    folders.insert(shelf);
                }
            }
        }
        if few {
            return self.sync_folders(&folders);
        }
        syncfs(&self.stored)?;
        self.state().journaled.clear();
        Ok(())
    }

    /// Writes what is small ahead of its names. When the journal is full, all that it stands for is made durable first.
    fn journal(&self, pending: &HashMap<Digest, Pending>, journal: &mut Option<Journal>, incoming: &Incoming) -> Result<(), Errno> {
        let small = pending.iter().filter_map(|(digest, pending)| Some((*digest, pending.bytes.clone()?)));
        let small: Vec<(Digest, Arc<[u8]>)> = small.collect();
        if small.is_empty() {
            return Ok(());
        }
        let journal = match journal {
            Some(journal) => journal,
            None => journal.insert(incoming.journal()?),
        };
        if journal.is_full(&small) {
            self.outgrow_the_journal()?;
            journal.begin_anew();
        }
        journal.add(&small)?;
        self.state().journaled.extend(small.into_iter().map(|(digest, _)| digest));
        Ok(())
    }

    /// Makes durable where it lies what only the journal stood for.
    fn outgrow_the_journal(&self) -> Result<(), Errno> {
        let journaled = self.state().journaled.clone();
        if journaled.len() > FEW {
            syncfs(&self.stored)?;
        } else {
            for digest in &journaled {
                fsync(openat(&self.stored, name(digest), OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())?)?;
            }
            self.sync_folders(&journaled.iter().map(shelf).collect())?;
        }
        self.state().journaled.clear();
        Ok(())
    }

    /// Makes the names in shelves durable, and the shelves' own.
    fn sync_folders(&self, shelves: &HashSet<String>) -> Result<(), Errno> {
        let above = (!shelves.is_empty()).then_some(".");
        let mut folders = shelves.iter().map(String::as_str).chain(above);
        folders.try_for_each(|folder| fsync(openat(&self.stored, folder, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?))
    }

    fn whole(&self) -> Answer<()> {
        if !self.broken.load(Ordering::Acquire) {
            return Ok(());
        }
        Err(Refusal::new(Code::Broken, "write blobs: an earlier write did not reach the disk").help("look at the disk, then start again"))
    }

    /// A failed write as a refusal. After an input or output error nothing more is written by this process.
    fn failed(&self, what: &str, errno: Errno) -> Refusal {
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

/// Takes bytes as a blob's after comparing them with its digest.
fn proven(bytes: Vec<u8>, digest: &Digest) -> Answer<Vec<u8>> {
    if Digest::of(&bytes) == *digest { Ok(bytes) } else { Err(wrong(digest)) }
}

/// Hands bytes on and ends with an error when they were not the blob's.
struct Proving<R> {
    from: R,
    so_far: Sha256,
    digest: Digest,
}

impl<R: Read> Proving<R> {
    fn new(from: R, digest: Digest) -> Proving<R> {
        Proving { from, so_far: Sha256::new(), digest }
    }
}

impl<R: Read> Read for Proving<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(into)?;
        self.so_far.update(&into[..count]);
        if count == 0 && !into.is_empty() && self.so_far.clone().finalize()[..] != self.digest.0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, wrong(&self.digest)));
        }
        Ok(count)
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
fn shelf(digest: &Digest) -> String {
    digest.hex()[..2].to_owned()
}

fn name(digest: &Digest) -> String {
    let mut name = digest.hex();
    name.insert(2, '/');
    name
}
