//! One target's tree of files: what a link owns, and what every operation on it starts from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use rustix::fs::{AtFlags, Stat};
use rustix::io::Errno;
use trued_doors::{Blobs, Clock, Seal};
use trued_model::{Code, Refusal};

use crate::below::{OWN, folder_of, last_name};
use crate::look::still;
use crate::probe::Probe;
use crate::root::{self, Barrier, Root};
use crate::trail::Trail;
use crate::watch::Watcher;

/// How many of our own writes are remembered; when there are more, the oldest give a hint that was not needed.
const LEFT: usize = 16_384;

pub(crate) struct Tree {
    pub root: PathBuf,
    /// Whether a missing root is made.
    pub create: bool,
    /// The ledger that this root is managed from.
    pub ledger: String,
    pub blobs: Arc<dyn Blobs>,
    pub seal: Arc<dyn Seal>,
    pub clock: Arc<dyn Clock>,
    pub probe: Probe,
    /// Folders that were asked for by their own address, so that they stay when they become empty.
    asked: Mutex<BTreeSet<Vec<u8>>>,
    /// Set once the disk has failed to make something durable: from then on nothing is written.
    broken: AtomicBool,
    /// What we put in place or removed, as it was directly after, by path: not news to anybody.
    left: Mutex<BTreeMap<Vec<u8>, Option<Stat>>>,
    /// The file system on which our own folder was last seen.
    ours_on: Mutex<Option<u64>>,
    /// Whether something was written here before, so that the root carries our own folder.
    marked: AtomicBool,
    /// Who changed what, as far as it was heard.
    pub trail: Arc<Mutex<Trail>>,
    /// Who watches, while somebody does.
    watcher: Mutex<Weak<Mutex<Watcher>>>,
    owners: OnceLock<BTreeMap<u32, String>>,
}

/// Whether the root is there.
pub(crate) enum Standing {
    Here(Root),
    /// It is not there, and may be made: everything below is absent.
    Unmade,
}

impl Tree {
    pub fn new(root: PathBuf, create: bool, ledger: String, blobs: Arc<dyn Blobs>, seal: Arc<dyn Seal>, clock: Arc<dyn Clock>) -> Tree {
        Tree {
            root,
            create,
            ledger,
            blobs,
            seal,
            clock,
            probe: Probe::default(),
            asked: Mutex::default(),
            broken: AtomicBool::new(false),
            left: Mutex::default(),
            ours_on: Mutex::default(),
            marked: AtomicBool::new(false),
            trail: Arc::default(),
            watcher: Mutex::default(),
            owners: OnceLock::new(),
        }
    }

    /// Notes that something was written here before.
    pub fn expect_mark(&self) {
        self.marked.store(true, Ordering::Relaxed);
    }

    /// Opens the root anew, because it may have been mounted, moved or replaced since.
    pub fn stand(&self) -> Result<Standing, Refusal> {
        let shown = self.root.display();
        match Root::open(&self.root) {
            Ok(root) => self.same_as_before(&root).map(|()| Standing::Here(root)),
            Err(Errno::NOENT) if self.create => Ok(Standing::Unmade),
            Err(Errno::NOENT) => Err(Refusal::new(Code::Unknown, format!("look at the root {shown}: it is not there"))
                .help("mount or make it, or say `create: true` in the target")),
            Err(Errno::NOTDIR) => Err(Refusal::new(Code::Unknown, format!("look at the root {shown}: it is not a folder"))),
            Err(errno) => Err(root::refusal(errno, &format!("open the root {shown}"))),
        }
    }

    /// Refuses a root without our own folder where something was written before, or on another file system than the one
    /// where we saw it last: an unmounted disk leaves its mount point, and what is not there now is not gone.
    fn same_as_before(&self, root: &Root) -> Result<(), Refusal> {
        let stat = |name| rustix::fs::statat(root.fd(), name, AtFlags::SYMLINK_NOFOLLOW);
        let mut ours_on = self.ours_on.lock().unwrap_or_else(PoisonError::into_inner);
        match (stat(OWN), stat("."), *ours_on) {
            (Ok(own), _, _) => *ours_on = Some(own.st_dev),
            (Err(Errno::NOENT), Ok(now), Some(before)) if now.st_dev != before => {
                let message = format!("look at the root {}: what is managed there was on another file system", self.root.display());
                return Err(Refusal::new(Code::Unknown, message).help("mount it again; if it was moved on purpose, start Trued again"));
            }
            (Err(Errno::NOENT), ..) if self.marked.load(Ordering::Relaxed) => {
                let root = self.root.display();
                let message = format!("look at the root {root}: it does not carry our mark, though things were made there");
                return Err(Refusal::new(Code::Unknown, message)
                    .help(format!("mount what belongs there; if it was emptied on purpose: mkdir -m 700 {root}/.trued")));
            }
            _ => {}
        }
        Ok(())
    }

    /// The root for writing, made where it is missing and may be.
    pub fn stand_to_write(&self) -> Result<Root, Refusal> {
        if self.broken.load(Ordering::Relaxed) {
            return Err(Refusal::new(Code::Broken, "write: the disk failed to make an earlier write durable, so nothing more is written")
                .help("check the disk, then start Trued again"));
        }
        match self.stand()? {
            Standing::Here(root) => Ok(root),
            Standing::Unmade => Root::make(&self.root).map_err(|error| {
                let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
                root::refusal(errno, &format!("make the root {}", self.root.display()))
            }),
        }
    }

    /// Stops all later writes: what a failed fsync left in memory and on disk is not known.
    pub fn give_up(&self) {
        self.broken.store(true, Ordering::Relaxed);
    }

    /// Stops all later writes if a refusal came from a failing disk.
    pub fn give_up_if_lost(&self, refusal: &Refusal) {
        if refusal.code == Code::Broken {
            self.give_up();
        }
    }

    /// Notes that a folder is somebody's resource by its own address.
    pub fn ask_for(&self, folders: impl Iterator<Item = Vec<u8>>) {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).extend(folders);
    }

    /// Notes that a folder is no longer anybody's resource.
    pub fn no_longer_ask_for(&self, folder: &[u8]) {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).remove(folder);
    }

    pub fn is_asked_for(&self, folder: &[u8]) -> bool {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).contains(folder)
    }

    /// Notes how we left a path: with this there, or with nothing.
    pub fn leave(&self, path: &[u8], stat: Option<Stat>) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        if left.len() >= LEFT {
            left.clear();
        }
        left.insert(path.to_vec(), stat);
    }

    /// Whether a path is exactly as we left it, so that an event there was our own.
    pub fn is_as_we_left_it(&self, root: &Root, path: &[u8]) -> bool {
        let mut all = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(left) = all.get(path) else { return false };
        let (folder, name) = (root.folder(folder_of(path)), last_name(path));
        let now = folder.map(|folder| rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW));
        let same = match (left, now) {
            (Some(left), Ok(Ok(now))) => still(left, &now),
            (None, Ok(Err(Errno::NOENT)) | Err(Barrier::Missing)) => true,
            _ => false,
        };
        if !same {
            all.remove(path);
        }
        same
    }

    /// Notes who watches now.
    pub fn watched_by(&self, watcher: &Arc<Mutex<Watcher>>) {
        *self.watcher.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(watcher);
    }

    /// Who watches; `None` when nobody does.
    pub fn watcher(&self) -> Option<Arc<Mutex<Watcher>>> {
        self.watcher.lock().unwrap_or_else(PoisonError::into_inner).upgrade()
    }

    /// An owner as people know it: the name in `/etc/passwd`, otherwise `uid N`.
    pub fn owner(&self, uid: u32) -> String {
        let names = self.owners.get_or_init(|| owners(Path::new("/etc/passwd")));
        names.get(&uid).cloned().unwrap_or_else(|| format!("uid {uid}"))
    }
}

/// Reads names by uid from a file in the form of passwd(5); none where it cannot be read.
fn owners(passwd: &Path) -> BTreeMap<u32, String> {
    let text = std::fs::read_to_string(passwd).unwrap_or_default();
    let line = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        Some((fields.nth(1)?.parse().ok()?, name))
    };
    let mut names = BTreeMap::new();
    for (uid, name) in text.lines().filter_map(line) {
        names.entry(uid).or_insert(name);
    }
    names
}
