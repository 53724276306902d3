//! Blobs for verbs that may write nothing: what is stored is read, what is put stays in memory.

use std::io::Read;
use std::sync::Arc;

use trued_doors::{Answer, Blobs, Contents};
use trued_model::{BlobRef, Code, Digest};

use super::MemoryBlobs;

/// A [`Blobs`] that reads another one and never writes to it.
pub struct ScratchBlobs {
    stored: Arc<dyn Blobs>,
    put: MemoryBlobs,
}

impl ScratchBlobs {
    pub fn over(stored: Arc<dyn Blobs>) -> ScratchBlobs {
        ScratchBlobs { stored, put: MemoryBlobs::new() }
    }
}

impl Contents for ScratchBlobs {
    fn open(&self, blob: &BlobRef) -> Answer<Box<dyn Read + Send>> {
        match self.put.open(blob) {
            Err(refusal) if refusal.code == Code::Absent => self.stored.open(blob),
            answer => answer,
        }
    }
}

impl Blobs for ScratchBlobs {
    fn put(&self, bytes: &[u8]) -> Answer<BlobRef> {
        let blob = BlobRef::of(bytes);
        if self.stored.has(&blob.digest) { Ok(blob) } else { self.put.put(bytes) }
    }

    fn put_stream(&self, expect: &BlobRef, from: &mut dyn Read) -> Answer<()> {
        if self.has(&expect.digest) { Ok(()) } else { self.put.put_stream(expect, from) }
    }

    fn take(&self, from: &mut dyn Read) -> Answer<BlobRef> {
        self.put.take(from)
    }

    fn has(&self, digest: &Digest) -> bool {
        self.put.has(digest) || self.stored.has(digest)
    }

    fn get(&self, digest: &Digest) -> Answer<Vec<u8>> {
        match self.put.get(digest) {
            Err(refusal) if refusal.code == Code::Absent => self.stored.get(digest),
            answer => answer,
        }
    }

    fn flush(&self) -> Answer<()> {
        Ok(())
    }
}
