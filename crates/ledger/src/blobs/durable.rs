//! How blobs become durable: their bytes, then their names, then the folders of the names. Small ones are so by the journal first.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, fsync, mkdirat, openat, renameat, syncfs};
use rustix::io::Errno;
use trued_model::Digest;

use super::disk::{DiskBlobs, Pending, name, shelf};
use super::incoming::Incoming;
use super::journal::Journal;

const FOLDER: Mode = Mode::RWXU;

/// Up to this many files are made durable one by one; more by one `syncfs`, which also waits for everybody else's.
const FEW: usize = 8;

impl DiskBlobs {
    /// Makes blobs durable, gives them their names, and makes the names durable: small ones by the journal.
    pub(super) fn settle(
        &self,
        pending: &HashMap<Digest, Pending>,
        met: &HashSet<Digest>,
        journal: &mut Option<Journal>,
    ) -> Result<(), Errno> {
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
    pub(super) fn outgrow_the_journal(&self) -> Result<(), Errno> {
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
}
