//! The largest checkpoint this state folder has seen, kept beside the keys. When the record is smaller or another one,
//! it came from a backup. Written without waiting for the disk: a hint to stop and ask, not proof.

use std::fs::{File, OpenOptions, read_to_string, remove_file};
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use trued_doors::{Answer, TreeHead};

use crate::checkpoint;
use crate::disk::cannot_io;

/// `keys/last-checkpoint`.
pub(crate) struct Seen {
    path: PathBuf,
    file: Option<File>,
    /// The record did not extend what was seen: what was seen stays until a person accepts the record.
    suspended: bool,
}

impl Seen {
    pub fn at(keys: &Path) -> Seen {
        Seen { path: keys.join("last-checkpoint"), file: None, suspended: false }
    }

    /// Origin and tree head that were seen last. A torn note is as good as none.
    pub fn read(&self) -> Option<(String, TreeHead)> {
        checkpoint::read(&self.note()?).map(|(origin, head)| (origin.to_owned(), head))
    }

    /// The whole note, signatures and all.
    pub fn note(&self) -> Option<String> {
        read_to_string(&self.path).ok()
    }

    pub fn suspend(&mut self) {
        self.suspended = true;
    }

    /// Keeps a newer checkpoint. What fails here is left out: the next append comes by.
    pub fn keep(&mut self, note: &str) {
        if !self.suspended {
            let _ = self.write(note, |old, new| old.size < new.size);
        }
    }

    /// Takes a checkpoint for the newest, whatever was seen before.
    pub fn accept(&mut self, note: Option<&str>) -> Answer<()> {
        let done = match note {
            Some(note) => self.write(note, |_, _| true),
            None => match remove_file(&self.path) {
                Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            },
        };
        done.map_err(|error| cannot_io(&format!("write {}", self.path.display()), &error))?;
        self.suspended = false;
        Ok(())
    }

    /// Writes under a lock that nobody waits for: whoever has it keeps a checkpoint about as new.
    fn write(&mut self, note: &str, replaces: impl FnOnce(&TreeHead, &TreeHead) -> bool) -> std::io::Result<()> {
        if self.file.is_none() {
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&self.path)?;
            self.file = Some(file);
        }
        let file = self.file.as_ref().expect("opened above");
        flock(file, FlockOperation::NonBlockingLockExclusive)?;
        let mut old = [0; 512];
        let count = file.read_at(&mut old, 0)?;
        let of = |note: &str| checkpoint::read(note).map(|(_, head)| head);
        let done = match (std::str::from_utf8(&old[..count]).ok().and_then(of), of(note)) {
            (Some(old), Some(new)) if !replaces(&old, &new) => Ok(()),
            _ => file.write_all_at(note.as_bytes(), 0).and_then(|()| file.set_len(note.len() as u64)),
        };
        flock(file, FlockOperation::Unlock)?;
        done
    }
}
