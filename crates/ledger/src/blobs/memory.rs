//! Blobs in memory, for simulated worlds and tests.

use std::collections::HashMap;
use std::io::{Cursor, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use trued_doors::{Answer, Blobs, Contents};
use trued_model::{BlobRef, Digest};

use super::{absent, is, other, pass, wrong};

/// A [`Blobs`] in memory.
#[derive(Default)]
pub struct MemoryBlobs {
    kept: Mutex<HashMap<Digest, Arc<[u8]>>>,
}

impl MemoryBlobs {
    pub fn new() -> MemoryBlobs {
        MemoryBlobs::default()
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<Digest, Arc<[u8]>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shared(&self, digest: &Digest) -> Answer<Arc<[u8]>> {
        self.kept().get(digest).cloned().ok_or_else(|| absent(digest))
    }
}

impl Contents for MemoryBlobs {
    fn open(&self, blob: &BlobRef) -> Answer<Box<dyn Read + Send>> {
        let bytes = self.shared(&blob.digest)?;
        if bytes.len() as u64 != blob.bytes {
            return Err(wrong(&blob.digest));
        }
        Ok(Box::new(Cursor::new(bytes)))
    }
}

impl Blobs for MemoryBlobs {
    fn put(&self, bytes: &[u8]) -> Answer<BlobRef> {
        let blob = BlobRef::of(bytes);
        self.kept().entry(blob.digest).or_insert_with(|| bytes.into());
        Ok(blob)
    }

    fn put_stream(&self, expect: &BlobRef, from: &mut dyn Read) -> Answer<()> {
        let mut bytes = Vec::new();
        let found = pass(from, expect.bytes, |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        if !is(&found, expect) {
            return Err(other(expect));
        }
        self.kept().insert(found.digest, bytes.into());
        Ok(())
    }

    fn take(&self, from: &mut dyn Read) -> Answer<BlobRef> {
        let mut bytes = Vec::new();
        let found = pass(from, u64::MAX, |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        self.kept().insert(found.digest, bytes.into());
        Ok(found)
    }

    fn has(&self, digest: &Digest) -> bool {
        self.kept().contains_key(digest)
    }

    fn get(&self, digest: &Digest) -> Answer<Vec<u8>> {
        Ok(self.shared(digest)?.to_vec())
    }

    fn flush(&self) -> Answer<()> {
        Ok(())
    }
}
