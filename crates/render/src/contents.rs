//! Where rendered bytes come from until they are kept as blobs: read again from the bundle, not held in memory.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use trued_doors::{Answer, BundleReader, Contents, Seal, Workspace};
use trued_model::{BlobRef, Code, Digest, Refusal};

/// Up to this many bytes are read at once and proven before anybody sees the first; more pass through, and are proven at
/// their end by the bundle and by whoever keeps them.
const HELD: u64 = 1 << 20;

/// How the bytes of one stored digest are had again.
pub enum Origin {
    /// A bundle entry as it is, by its path.
    Entry(String),
    /// A bundle entry, sealed. Sealing the same bytes gives the same bytes.
    SealedEntry(String),
    /// Bytes that a template wrote, sealed if they must be.
    Held(Arc<[u8]>),
    /// A file that a program made, in a folder that stays while this does.
    Made(PathBuf),
    SealedMade(PathBuf),
}

/// The bytes of one render, by stored digest.
pub struct RenderedBytes {
    pub reader: Arc<dyn BundleReader>,
    pub seal: Arc<dyn Seal>,
    pub origins: BTreeMap<Digest, Origin>,
    /// Keeps what a program made.
    #[expect(dead_code, reason = "holds the folder until the render is dropped")]
    pub made: Option<Workspace>,
}

impl Contents for RenderedBytes {
    fn open(&self, blob: &BlobRef) -> Answer<Box<dyn Read + Send>> {
        let bytes = match self.origins.get(&blob.digest) {
            None => return Err(Refusal::new(Code::Absent, format!("this render has no bytes {}", blob.digest))),
            Some(Origin::Held(bytes)) => return Ok(Box::new(Cursor::new(bytes.clone()))),
            Some(Origin::Entry(path)) if blob.bytes > HELD => return self.reader.open(path),
            Some(Origin::Made(file)) => made(file)?,
            Some(Origin::SealedMade(file)) => self.seal.seal(&made(file)?),
            Some(Origin::Entry(path)) => self.reader.read(path)?,
            Some(Origin::SealedEntry(path)) => self.seal.seal(&self.reader.read(path)?),
        };
        if Digest::of(&bytes) != blob.digest {
            return Err(Refusal::new(Code::Invalid, format!("its origin gives other bytes for {} than it gave at first", blob.digest)));
        }
        Ok(Box::new(Cursor::new(bytes)))
    }
}

fn made(file: &Path) -> Answer<Vec<u8>> {
    std::fs::read(file).map_err(|error| Refusal::new(Code::Unknown, format!("what was built cannot be read again: {error}")))
}
