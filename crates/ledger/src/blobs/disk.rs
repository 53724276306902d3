//! Blobs on disk: `sha256/ab/<62 hex>`. A name there always holds complete, durable bytes: they are written in
//! `incoming/`, made durable together, and only then given their names.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, fsync, mkdirat, openat, renameat, statat, syncfs, unlinkat};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use trued_doors::{Answer, Blobs, Contents, Holder};
use trued_model::{BlobRef, Code, Digest, Refusal};

use super::{BUFFER, absent, is, other, pass, wrong};
use crate::disk::{cannot, make_folder};
use crate::process;

const FOLDER: Mode = Mode::RWXU;
const FILE: Mode = Mode::RUSR.union(Mode::WUSR);

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
    flushing: Mutex<()>,
    /// A write or sync failed: what the kernel still has of it is not known, and trying again could hide that.
    broken: AtomicBool,
}

#[derive(Default)]
struct State {
    /// Durable under their names.
    settled: HashSet<Digest>,
    /// Found under their names, which another process may not have made durable yet.
    met: HashSet<Digest>,
    /// Written to [`Incoming`], by their file's name there.
    pending: HashMap<Digest, String>,
}

/// This store's own folder below `incoming/`.
struct Incoming {
    path: PathBuf,
    folder: OwnedFd,
    next: AtomicU64,
}

impl DiskBlobs {
    /// Opens the blob folder, making it where it is not there. What a process that was killed had not finished goes.
    pub fn create(folder: &Path) -> Answer<DiskBlobs> {
        make_folder(&folder.join("sha256"))?;
        make_folder(&folder.join("incoming"))?;
        clear_after_the_dead(&folder.join("incoming"), &process::this("")?);
        DiskBlobs::open(folder)
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
            broken: AtomicBool::new(false),
        })
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

    /// Writes a file in `incoming/`; it is removed again unless `write` says what it became.
    fn receive(&self, write: impl FnOnce(&File) -> Answer<BlobRef>) -> Answer<BlobRef> {
        self.whole()?;
        let incoming = self.incoming()?;
        let file = incoming.next.fetch_add(1, Ordering::Relaxed).to_string();
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let opened = openat(&incoming.folder, &file, flags, FILE).map_err(|errno| self.failed("make a file for a blob", errno))?;
        let received = write(&File::from(opened));
        let superfluous = match &received {
            Ok(blob) => match self.state().pending.entry(blob.digest) {
                std::collections::hash_map::Entry::Occupied(_) => true,
                std::collections::hash_map::Entry::Vacant(place) => {
                    place.insert(file.clone());
                    false
                }
            },
            Err(_) => true,
        };
        if superfluous {
            // Nobody names it; what cannot be removed now goes when the folder does.
            let _ = unlinkat(&incoming.folder, &file, AtFlags::empty());
        }
        received
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
        let pending = self.state().pending.get(digest).cloned();
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

    /// Makes files durable, gives them their names, and makes the names durable.
    fn settle(&self, pending: &HashMap<Digest, String>, met: &HashSet<Digest>) -> Result<(), Errno> {
        let few = pending.len() + met.len() <= FEW;
        let mut folders: HashSet<String> = met.iter().map(shelf).collect();
        if let (false, Some(incoming)) = (pending.is_empty(), self.incoming.get()) {
            if few {
                for file in pending.values() {
                    fsync(openat(&incoming.folder, file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)?;
                }
            } else {
                syncfs(&self.stored)?;
            }
            for (digest, file) in pending {
                let shelf = shelf(digest);
                match renameat(&incoming.folder, file, &self.stored, name(digest)) {
                    Err(Errno::NOENT) => {
                        mkdirat(&self.stored, &shelf, FOLDER).or_else(|errno| if errno == Errno::EXIST { Ok(()) } else { Err(errno) })?;
                        folders.insert(".".to_owned());
                        renameat(&incoming.folder, file, &self.stored, name(digest))?;
                    }
                    renamed => renamed?,
                }
                folders.insert(shelf);
            }
        }
        if !few {
            return syncfs(&self.stored);
        }
        folders.iter().try_for_each(|folder| fsync(openat(&self.stored, folder, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?))
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
        let file = self.opened(&blob.digest)?;
        let length = file.metadata().map(|metadata| metadata.len());
        if length.is_ok_and(|length| length != blob.bytes) {
            return Err(wrong(&blob.digest));
        }
        Ok(Box::new(Proving::new(file, blob.digest)))
    }
}

impl Blobs for DiskBlobs {
    fn put(&self, bytes: &[u8]) -> Answer<BlobRef> {
        let blob = BlobRef::of(bytes);
        if self.is_stored(&blob.digest, Some(blob.bytes)) {
            return Ok(blob);
        }
        self.receive(|file| self.write(file, bytes).map(|()| blob))
    }

    fn put_stream(&self, expect: &BlobRef, from: &mut dyn Read) -> Answer<()> {
        if self.is_stored(&expect.digest, Some(expect.bytes)) {
            return Ok(());
        }
        let received = self.receive(|file| {
            let found = self.write_stream(file, from, expect.bytes)?;
            if is(&found, expect) { Ok(found) } else { Err(other(expect)) }
        });
        received.map(|_| ())
    }

    fn take(&self, from: &mut dyn Read) -> Answer<BlobRef> {
        self.receive(|file| self.write_stream(file, from, u64::MAX))
    }

    fn has(&self, digest: &Digest) -> bool {
        self.is_stored(digest, None)
    }

    fn get(&self, digest: &Digest) -> Answer<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = self.opened(digest)?.read_to_end(&mut bytes);
        read.map_err(|error| Refusal::new(Code::Unknown, format!("read blob {digest}: {error}")))?;
        proven(bytes, digest)
    }

    fn flush(&self) -> Answer<()> {
        let _one_at_a_time = self.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        self.whole()?;
        // They stay listed until they have their names, so that they can be read all the while.
        let (pending, met) = {
            let mut state = self.state();
            (state.pending.clone(), std::mem::take(&mut state.met))
        };
        if pending.is_empty() && met.is_empty() {
            return Ok(());
        }
        let settled = self.settle(&pending, &met).map_err(|errno| self.failed("make blobs durable", errno));
        let mut state = self.state();
        if settled.is_err() {
            state.met.extend(met);
            return settled;
        }
        if state.settled.len() > REMEMBERED {
            state.settled.clear();
        }
        state.settled.extend(met);
        for digest in pending.into_keys() {
            state.pending.remove(&digest);
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
    /// Removes what was never flushed: nothing durable names it.
    fn drop(&mut self) {
        if let Some(incoming) = self.incoming.get() {
            let _ = fs::remove_dir_all(&incoming.path);
        }
    }
}

impl Incoming {
    fn make(parent: &Path) -> Answer<Incoming> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let process = process::this("")?;
        make_folder(parent)?;
        let path = parent.join(format!("{}.{}.{}", process.pid, process.started, COUNT.fetch_add(1, Ordering::Relaxed)));
        make_folder(&path)?;
        let folder = openat(CWD, &path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let folder = folder.map_err(|errno| cannot(&format!("open {}", path.display()), errno))?;
        Ok(Incoming { path, folder, next: AtomicU64::new(0) })
    }
}

/// Removes folders of processes that ended without flushing. What cannot be removed is in nobody's way.
fn clear_after_the_dead(incoming: &Path, ours: &Holder) {
    for entry in fs::read_dir(incoming).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let mut parts = name.to_str().unwrap_or_default().splitn(3, '.').map(|part| part.parse::<u64>());
        let (Some(Ok(pid)), Some(Ok(started))) = (parts.next(), parts.next()) else { continue };
        let owner = Holder { pid: u32::try_from(pid).unwrap_or(0), started, ..ours.clone() };
        if !process::alive(&owner) {
            let _ = fs::remove_dir_all(entry.path());
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
