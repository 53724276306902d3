//! Reads the entries of one bundle: small ones whole, large ones in pieces where the store has them in one piece.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::sync::Arc;

use gix::ObjectId;
use gix::objs::Kind;
use sha2::{Digest as _, Sha256};
use trued_doors::{Answer, BundleEntry, BundleReader};
use trued_model::{BlobRef, Digest, SharedText};

use super::place::{At, Place};
use super::repository::{Fault, Repository, Torn};
use super::settings;
use super::stream::{LARGE, Stream};
use crate::names;

/// Bytes of a large blob that are in memory at a time.
const PIECE: usize = 64 << 10;

pub(super) struct Reader {
    pub(super) place: Arc<Place>,
    pub(super) at: At,
    pub(super) folder: Vec<u8>,
    pub(super) entries: Arc<BTreeMap<SharedText, BundleEntry>>,
}

impl Reader {
    fn entry(&self, path: &str) -> Answer<(&BundleEntry, ObjectId)> {
        let entry = self.entries.get(path).ok_or_else(|| self.place.absent(path, "the bundle has no such entry"))?;
        Ok((entry, settings::commit_id(&entry.id)?))
    }

    fn full(&self, path: &str) -> Answer<Vec<u8>> {
        Ok(names::join(&self.place.folder, &names::join(&self.folder, &names::parse_path(path)?)))
    }

    /// A large entry as a stream; `None` for what is read whole.
    fn stream(&self, repository: &Repository, path: &str) -> Result<Option<Stream>, Fault> {
        let (entry, id) = self.entry(path)?;
        if entry.bytes <= LARGE {
            return Ok(None);
        }
        match &self.at {
            At::Commit(_) => Ok(Stream::open(repository, id)),
            At::WorkTree(tree) => tree.stream(repository, &self.full(path)?, id, entry.bytes),
        }
    }

    /// Names a large entry, reading it once to its end; `None` for what is read whole. What is torn on the way is fetched again.
    fn named(&self, path: &str) -> Answer<Option<BlobRef>> {
        let (entry, id) = self.entry(path)?;
        self.place.whole(self.at.commit(), |repository| {
            let Some(mut stream) = self.stream(repository, path)? else { return Ok(None) };
            let mut hash = Sha256::new();
            let mut piece = vec![0; PIECE];
            loop {
                match stream.read(&mut piece) {
                    Ok(0) => break,
                    Ok(count) => hash.update(&piece[..count]),
                    Err(error) => return Err(Fault::Torn(Torn::damaged(id, error.to_string()))),
                }
            }
            Ok(Some(BlobRef { digest: Digest(hash.finalize().into()), bytes: entry.bytes, sealed: false }))
        })
    }
}

impl BundleReader for Reader {
    fn read(&self, path: &str) -> Answer<Vec<u8>> {
        let (_, id) = self.entry(path)?;
        self.place.whole(self.at.commit(), |repository| match &self.at {
            At::Commit(_) => repository.object_of(id, Kind::Blob),
            At::WorkTree(tree) => {
                let full = self.full(path)?;
                let leaf = tree.leaves.get(&full).ok_or_else(|| self.place.absent(path, "the bundle has no such entry"))?;
                tree.read(repository, &full, leaf)
            }
        })
    }

    fn open(&self, path: &str) -> Answer<Box<dyn Read + Send>> {
        // Once to its end, before anybody has a byte of it: what is torn can still be fetched again then.
        if self.named(path)?.is_some()
            && let Some(stream) = self.place.whole(self.at.commit(), |repository| self.stream(repository, path))?
        {
            return Ok(Box::new(stream));
        }
        Ok(Box::new(Cursor::new(self.read(path)?)))
    }

    fn name(&self, path: &str) -> Answer<BlobRef> {
        match self.named(path)? {
            Some(named) => Ok(named),
            None => Ok(BlobRef::of(&self.read(path)?)),
        }
    }
}
