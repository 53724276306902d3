//! A repository's objects, read in isolation: no configuration but its own, of that nothing that names a program or a
//! path, no environment, no replacements; and every object's hash is computed again before its bytes are used.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use gix::ObjectId;
use gix::bstr::ByteSlice as _;
use gix::objs::{FindHeader as _, Kind};

use trued_model::{Code, Refusal};

/// Largest object that is read into memory, in bytes; also bounds what a delta may claim to grow to.
pub(super) const LARGEST_OBJECT: u64 = 512 << 20;
/// What is wrong with an object whose hash is another one.
pub(super) const OTHER_BYTES: &str = "its bytes are not those of its name";
/// Handles kept for the next reader; more than this are made when needed and dropped after.
const IDLE_HANDLES: usize = 8;
/// Commits and trees kept that lead to folders, and the largest of them in bytes.
const LEADING: usize = 8;
const LEADING_BYTES: usize = 256 << 10;

/// An open repository that any thread may read.
pub(super) struct Repository {
    shared: gix::ThreadSafeRepository,
    idle: Mutex<Vec<gix::Repository>>,
    /// The objects that lead to folders, asked last at the end: many stacks ask for the way from one commit.
    led: Mutex<Vec<Leading>>,
}

/// A commit or tree on the way to a folder.
struct Leading {
    id: ObjectId,
    kind: Kind,
    bytes: Arc<Vec<u8>>,
}

/// Why something could not be read from objects.
pub(super) enum Fault {
    /// The store is torn here: fetched again it may be whole.
    Torn(Torn),
    Refused(Refusal),
}

/// An object that should be there and is not, or is not what its name says.
pub(super) struct Torn {
    id: ObjectId,
    /// How it is damaged; nothing when it is not there at all.
    damage: Option<String>,
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Fault {
        Fault::Refused(refusal)
    }
}

impl Fault {
    /// The refusal for a store that nobody can fetch again.
    pub(super) fn refusal(self) -> Refusal {
        match self {
            Fault::Refused(refusal) => refusal,
            Fault::Torn(torn) => torn.refusal(),
        }
    }
}

impl Torn {
    pub(super) fn damaged(id: ObjectId, damage: String) -> Torn {
        Torn { id, damage: Some(damage) }
    }

    /// Whether it is this object, and all that is known is that it is not there.
    pub(super) fn is_missing(&self, id: ObjectId) -> bool {
        self.damage.is_none() && self.id == id
    }

    pub(super) fn refusal(&self) -> Refusal {
        let why = self.damage.as_deref().unwrap_or("it is missing");
        Refusal::new(Code::Invalid, format!("read object {} of the repository: {why}", self.id))
            .help("check the repository with git fsck; fetch or restore what is damaged")
    }
}

/// How a repository is opened.
pub(super) fn isolated() -> gix::open::Options {
    gix::open::Options::isolated()
        // Never more than reduced trust, also for our own files: what the repository configures is not obeyed.
        .with(gix::sec::Trust::Reduced)
        .config_overrides([
            "core.useReplaceRefs=false".to_owned(),
            format!("gitoxide.objects.allocLimit={LARGEST_OBJECT}"),
            // One at a time, so that one chain of differences is in memory, not one for each processor.
            "pack.threads=1".to_owned(),
        ])
}

impl Repository {
    /// Opens a repository at its root or its `.git`.
    pub(super) fn open(path: &Path) -> Result<Repository, Refusal> {
        if let Err(error) = std::fs::metadata(path) {
            return Err(crate::disk::refuse(&format!("repository {}", path.display()), errno(&error)));
        }
        let refuse = |code, why: &str| Refusal::new(code, format!("open repository {}: {why}", path.display()));
        let shared = isolated().open(path).map_err(|error| {
            if error.is_unsupported() {
                return refuse(Code::Unsupported, &error.to_string());
            }
            refuse(Code::Invalid, &error.to_string()).help("name the folder that holds .git, or a bare repository")
        })?;
        Ok(Repository { shared, idle: Mutex::default(), led: Mutex::default() })
    }

    /// Lends a handle of this thread's own.
    pub(super) fn with<T>(&self, work: impl FnOnce(&gix::Repository) -> T) -> T {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let handle = idle.unwrap_or_else(|| self.shared.to_thread_local());
        let result = work(&handle);
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_HANDLES {
            idle.push(handle);
        }
        result
    }

    /// The branch that HEAD names, whether it has commits or not.
    pub(super) fn branch(&self) -> Option<String> {
        let head = self.with(|handle| handle.head_name().ok().flatten())?;
        Some(head.as_bstr().to_str().ok()?.strip_prefix("refs/heads/")?.to_owned())
    }

    /// Reads an object of any kind, verified.
    pub(super) fn object(&self, id: ObjectId) -> Result<(Kind, Vec<u8>), Fault> {
        let torn = |damage: Option<String>| Fault::Torn(Torn { id, damage });
        self.with(|handle| {
            let mut bytes = Vec::new();
            let (kind, verified) = match gix::objs::Find::try_find(&handle.objects, &id, &mut bytes) {
                Ok(Some(object)) => (object.kind, object.verify_checksum(&id)),
                Ok(None) => return Err(torn(None)),
                Err(error) => return Err(torn(Some(format!("it cannot be read: {error}")))),
            };
            match verified {
                Ok(_) => Ok((kind, bytes)),
                Err(_) => Err(torn(Some(OTHER_BYTES.to_owned()))),
            }
        })
    }

    /// Whether an object is among those that were here when the repository was opened.
    pub(super) fn has(&self, id: ObjectId) -> bool {
        self.with(|handle| gix::objs::Exists::exists(&handle.objects, &id))
    }

    /// Reads an object that must be of a kind, verified.
    pub(super) fn object_of(&self, id: ObjectId, wanted: Kind) -> Result<Vec<u8>, Fault> {
        match self.object(id)? {
            (kind, bytes) if kind == wanted => Ok(bytes),
            (kind, _) => Err(Refusal::new(Code::Invalid, format!("read object {id}: it is a {kind}, not a {wanted}")).into()),
        }
    }

    /// Where objects lie: the folder of its own, and those it borrows from.
    pub(super) fn folders(&self) -> Vec<PathBuf> {
        self.with(|handle| {
            let store = handle.objects.store_ref();
            let borrowed = store.alternate_db_paths().unwrap_or_default();
            std::iter::once(store.path().to_owned()).chain(borrowed).collect()
        })
    }

    /// [`Repository::object_of`] for a commit or tree on the way to a folder: those asked last are kept.
    pub(super) fn leading(&self, id: ObjectId, wanted: Kind) -> Result<Arc<Vec<u8>>, Fault> {
        {
            let mut led = self.led.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(known) = led.iter().position(|known| (known.id, known.kind) == (id, wanted)) {
                led[known..].rotate_left(1);
                return Ok(led[led.len() - 1].bytes.clone());
            }
        }
        let bytes = Arc::new(self.object_of(id, wanted)?);
        if bytes.len() <= LEADING_BYTES {
            let mut led = self.led.lock().unwrap_or_else(PoisonError::into_inner);
            if led.len() >= LEADING {
                led.remove(0);
            }
            led.push(Leading { id, kind: wanted, bytes: bytes.clone() });
        }
        Ok(bytes)
    }

    /// The size of an object, from its header; not verified.
    pub(super) fn size(&self, id: ObjectId) -> Result<u64, Fault> {
        let torn = |damage: Option<String>| Fault::Torn(Torn { id, damage });
        self.with(|handle| match handle.objects.try_header(&id) {
            Ok(Some(header)) => Ok(header.size),
            Ok(None) => Err(torn(None)),
            Err(error) => Err(torn(Some(format!("it cannot be read: {error}")))),
        })
    }
}

/// The system's own number for an error.
pub(super) fn errno(error: &std::io::Error) -> rustix::io::Errno {
    rustix::io::Errno::from_io_error(error).unwrap_or(rustix::io::Errno::IO)
}
