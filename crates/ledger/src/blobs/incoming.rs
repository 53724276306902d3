//! The folder below `incoming/` in which one process writes blobs before they have names, with its journal.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, fsync, openat, unlinkat};
use rustix::io::Errno;
use trued_doors::{Answer, Holder};

use super::journal::{Journal, Left};
use crate::disk::{cannot, make_folder};
use crate::process;

const FILE: Mode = Mode::RUSR.union(Mode::WUSR);

/// One process's own.
pub(super) struct Incoming {
    path: PathBuf,
    pub(super) folder: OwnedFd,
    next: AtomicU64,
}

impl Incoming {
    pub(super) fn make(parent: &Path) -> Answer<Incoming> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let process = process::this("")?;
        make_folder(parent)?;
        let path = parent.join(format!("{}.{}.{}", process.pid, process.started, COUNT.fetch_add(1, Ordering::Relaxed)));
        make_folder(&path)?;
        let folder = openat(CWD, &path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let folder = folder.map_err(|errno| cannot(&format!("open {}", path.display()), errno))?;
        Ok(Incoming { path, folder, next: AtomicU64::new(0) })
    }

    /// Makes an empty file in it.
    pub(super) fn file(&self) -> Result<(String, OwnedFd), Errno> {
        let file = self.next.fetch_add(1, Ordering::Relaxed).to_string();
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let opened = openat(&self.folder, &file, flags, FILE)?;
        Ok((file, opened))
    }

    /// Nobody names the file; what cannot be removed now goes when the folder does.
    pub(super) fn remove(&self, file: &str) {
        let _ = unlinkat(&self.folder, file, AtFlags::empty());
    }

    /// Makes the journal, where others find it after a crash.
    pub(super) fn journal(&self) -> Result<Journal, Errno> {
        let journal = Journal::make(&self.folder)?;
        for above in self.path.ancestors().skip(1).take(2) {
            fsync(openat(CWD, above, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)?;
        }
        Ok(journal)
    }

    /// Removes it with all that is in it.
    pub(super) fn clear(&self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// What processes left that did not come to their end. Whoever has a journal holds on to it as long as they live, also where they cannot
/// be seen (in another PID namespace); the others are looked for.
pub(super) fn of_the_dead(incoming: &Path, ours: &Holder) -> impl Iterator<Item = (PathBuf, Option<Left>)> {
    let dead = move |folder: PathBuf| {
        let mut parts = folder.file_name()?.to_str()?.splitn(3, '.').map(|part| part.parse::<u64>());
        let (Some(Ok(pid)), Some(Ok(started))) = (parts.next(), parts.next()) else { return None };
        match Left::open(&folder) {
            Some(left) => left.is_ours().then_some((folder, Some(left))),
            None => {
                let owner = Holder { pid: u32::try_from(pid).unwrap_or(0), started, ..ours.clone() };
                (!process::alive(&owner)).then_some((folder, None))
            }
        }
    };
    fs::read_dir(incoming).into_iter().flatten().flatten().filter_map(move |entry| dead(entry.path()))
}
