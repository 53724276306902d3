//! Blobs that a crash forgets unless they were made durable first.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use trued_doors::{Answer, Blobs, Contents};
use trued_model::{BlobRef, Code, Digest, Refusal};

/// A blob store on a simulated disk, shared by all processes of a world.
#[derive(Default)]
pub struct SimBlobs {
    disk: Mutex<Disk>,
}

#[derive(Default)]
struct Disk {
    kept: BTreeMap<Digest, Arc<[u8]>>,
    /// Not durable yet.
    fresh: BTreeSet<Digest>,
}

impl SimBlobs {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a crash leaves: durable bytes only.
    pub fn crash(&self) {
        let mut disk = self.disk();
        for digest in std::mem::take(&mut disk.fresh) {
            disk.kept.remove(&digest);
        }
    }

    /// Whether bytes would survive a crash now.
    pub fn durable(&self, digest: &Digest) -> bool {
        let disk = self.disk();
        disk.kept.contains_key(digest) && !disk.fresh.contains(digest)
    }
}

impl Contents for SimBlobs {
    fn open(&self, blob: &BlobRef) -> Answer<Box<dyn Read + Send>> {
        Ok(Box::new(Cursor::new(self.get(&blob.digest)?)))
    }
}

impl Blobs for SimBlobs {
    fn put(&self, bytes: &[u8]) -> Answer<BlobRef> {
        let blob = BlobRef::of(bytes);
        let mut disk = self.disk();
        if disk.kept.insert(blob.digest, bytes.into()).is_none() {
            disk.fresh.insert(blob.digest);
        }
        Ok(blob)
    }

    fn put_stream(&self, expect: &BlobRef, from: &mut dyn Read) -> Answer<()> {
        let found = self.take(from)?;
        if found.digest == expect.digest { Ok(()) } else { Err(Refusal::new(Code::Invalid, "store a blob: the bytes are others")) }
    }

    fn take(&self, from: &mut dyn Read) -> Answer<BlobRef> {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).map_err(|error| Refusal::new(Code::Unknown, error.to_string()))?;
        self.put(&bytes)
    }

    fn has(&self, digest: &Digest) -> bool {
        self.disk().kept.contains_key(digest)
    }

    fn get(&self, digest: &Digest) -> Answer<Vec<u8>> {
        let kept = self.disk().kept.get(digest).map(|bytes| bytes.to_vec());
        kept.ok_or_else(|| Refusal::new(Code::Absent, format!("find blob {digest}")))
    }

    fn flush(&self) -> Answer<()> {
        self.disk().fresh.clear();
        Ok(())
    }
}
