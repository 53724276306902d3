//! The state folder: `ledger.sqlite`, `blobs/`, `keys/`, and the one place that opens them together.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use trued_doors::{Answer, Blobs, Clock, Seal, Store};
use trued_model::{Code, Refusal};

use crate::data_keys;
use crate::disk::{cannot_io, clear_drafts, make_file, make_folder};
use crate::sqlite::{self, SqliteStore};
use crate::tiles;
use crate::verify::{self, Verification, VerifyOptions};
use crate::{DiskBlobs, MemoryBlobs, MemoryStore, ScratchBlobs};

/// What a verb is going to do with the state folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Write; make what is not there.
    Create,
    /// Write; `Code::Absent` when there is no ledger.
    Existing,
    /// Read. Nothing is made or changed; where there is no ledger an empty one is read.
    ReadOnly,
    /// Read, to plan: as [`Mode::ReadOnly`], but where there is no data key yet the one that the first write will take is
    /// kept in `cache/`, and keys that may not be used are refused.
    Planning,
}

/// A state folder, opened.
pub struct Ledger {
    pub store: Arc<dyn Store>,
    /// Opened for reading: what is put stays in memory.
    pub blobs: Arc<dyn Blobs>,
    /// Not ready where the record's data key is missing.
    pub seal: Arc<dyn Seal>,
    /// The record does not extend what this folder has seen: it came from a backup. Apply nothing until a person says
    /// so by [`Ledger::accept`].
    pub restored_from_backup: bool,
    /// `None`: nothing was recorded yet, and nothing may be.
    pub(crate) record: Option<SqliteStore>,
    pub(crate) keys: PathBuf,
}

impl Ledger {
    /// Opens a state folder. Blocks.
    pub fn open(state: &Path, clock: Arc<dyn Clock>, mode: Mode) -> Answer<Ledger> {
        let (file, keys, blobs) = (state.join("ledger.sqlite"), state.join("keys"), state.join("blobs"));
        let there = file.try_exists().map_err(|error| cannot_io(&format!("look for {}", file.display()), &error))?;
        match mode {
            Mode::ReadOnly | Mode::Planning => return Ledger::read(there.then_some(&*file), state, clock, mode),
            Mode::Existing if !there => {
                let message = format!("find a ledger in {}", state.display());
                return Err(Refusal::new(Code::Absent, message).help("`trued init` makes one"));
            }
            Mode::Existing | Mode::Create => {}
        }
        make_private_folder(state)?;
        make_private_folder(&keys)?;
        clear_drafts(state);
        clear_drafts(&keys);
        let ignored = state.join(".gitignore");
        if !ignored.exists() {
            make_file(&ignored, b"*\n")?;
        }
        let record = SqliteStore::open(&file, &keys, clock)?;
        let restored_from_backup = record.is_behind(&keys)?;
        let blobs = DiskBlobs::create(&blobs)?;
        record.keeps_leases_unless(blobs.broken());
        Ok(Ledger {
            restored_from_backup,
            store: Arc::new(record.clone()),
            blobs: Arc::new(blobs),
            seal: Arc::new(data_keys::seal_to_write(&record, &keys, &state.join("cache"))?),
            record: Some(record),
            keys,
        })
    }

    fn read(file: Option<&Path>, state: &Path, clock: Arc<dyn Clock>, mode: Mode) -> Answer<Ledger> {
        let (keys, cache) = (state.join("keys"), state.join("cache"));
        let stored: Arc<dyn Blobs> = match DiskBlobs::open(&state.join("blobs")) {
            Ok(blobs) => Arc::new(blobs),
            Err(refusal) if refusal.code == Code::Absent => Arc::new(MemoryBlobs::new()),
            Err(refusal) => return Err(refusal),
        };
        let record = match file.map(|file| SqliteStore::read(file, clock.clone())) {
            // A writer that was killed before it had made the tables recorded nothing: that is no record, not an old one.
            Some(Err(refusal))
                if refusal.code == Code::Unsupported && file.is_some_and(|file| matches!(sqlite::is_begun(file), Ok(false))) =>
            {
                None
            }
            record => record.transpose()?,
        };
        Ok(Ledger {
            restored_from_backup: record.as_ref().map_or(Ok(false), |record| record.is_behind(&keys))?,
            store: match &record {
                Some(record) => Arc::new(record.clone()),
                None => Arc::new(MemoryStore::read_only(clock)),
            },
            blobs: Arc::new(ScratchBlobs::over(stored)),
            seal: Arc::new(match mode {
                Mode::Planning => data_keys::seal_to_plan(record.as_ref(), &keys, &cache)?,
                _ => data_keys::seal_to_read(record.as_ref(), &keys)?,
            }),
            record,
            keys,
        })
    }

    /// The newest signed checkpoint, to keep elsewhere; `None` when nothing was recorded yet. Blocks.
    pub fn checkpoint(&self) -> Answer<Option<String>> {
        match &self.record {
            Some(record) => record.reading("read the newest checkpoint", sqlite::newest_checkpoint),
            None => Ok(None),
        }
    }

    /// Takes the record as it is for the true one, although a larger one was seen here: a person's word. Blocks.
    pub fn accept(&mut self) -> Answer<()> {
        if let Some(record) = &self.record {
            record.accept()?;
        }
        self.restored_from_backup = false;
        Ok(())
    }

    /// Writes the record as static tiles (C2SP tlog-tiles) that any client of such logs verifies: `checkpoint`, `key.pub`,
    /// `tile/…`. Gives the number of entries; `Code::Absent` when there is none. Blocks.
    pub fn export(&self, to: &Path) -> Answer<u64> {
        let nothing = || Refusal::new(Code::Absent, "export the ledger: nothing was recorded yet");
        let record = self.record.as_ref().ok_or_else(nothing)?;
        let file = record.connect_to_read()?;
        let snapshot = file.unchecked_transaction().map_err(|error| sqlite::refused("export the ledger", error))?;
        let checkpoint = sqlite::newest_checkpoint(&snapshot)?.ok_or_else(nothing)?;
        let key = sqlite::meta(&snapshot, "key")?.ok_or_else(nothing)?;
        tiles::export(&checkpoint, &key, |from, until| sqlite::leaves(&snapshot, from, until), to)
    }

    /// Recomputes everything from the stored bytes. Blocks.
    pub fn verify(&self, options: &VerifyOptions) -> Answer<Verification> {
        verify::ledger(self.record.as_ref(), &self.keys, &*self.blobs, options)
    }

    /// Makes all tables that follow from the record anew. Blocks.
    pub fn rebuild_index(&self) -> Answer<()> {
        self.record.as_ref().map_or(Ok(()), SqliteStore::rebuild)
    }
}

/// Makes a folder that only its owner may enter, and shuts one that others may.
fn make_private_folder(path: &Path) -> Answer<()> {
    make_folder(path)?;
    let failed = |error| cannot_io(&format!("shut {} from others", path.display()), &error);
    let mode = fs::metadata(path).map_err(failed)?.mode();
    if mode & 0o077 != 0 {
        let help = "where it belongs to another user, name a folder below it: that is made, and shut";
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(|error| failed(error).help(help))?;
    }
    Ok(())
}
