//! Content-addressed bytes. Calls block; make them where blocking is allowed.

use std::io::Read;

use trued_model::{BlobRef, Digest};

use crate::Answer;

/// Bytes that can be read again by their stored digest; where rendered contents come from before they are kept.
pub trait Contents: Send + Sync {
    /// Opens the stored bytes (cipher text where the reference says sealed). Verified while read: wrong bytes are
    /// an error at the end of the stream, never silently used.
    fn open(&self, blob: &BlobRef) -> Answer<Box<dyn Read + Send>>;
}

/// The blob store of the state folder: `blobs/sha256/ab/…`.
pub trait Blobs: Contents {
    /// Stores bytes under their digest; a blob that is there already costs nothing. Not durable before [`Blobs::flush`].
    fn put(&self, bytes: &[u8]) -> Answer<BlobRef>;

    /// Stores a stream whose digest is known beforehand; refused when the bytes turn out to be others.
    fn put_stream(&self, expect: &BlobRef, from: &mut dyn Read) -> Answer<()>;

    /// Stores a stream of unknown digest (bytes found on a target).
    fn take(&self, from: &mut dyn Read) -> Answer<BlobRef>;

    fn has(&self, digest: &Digest) -> bool;

    /// Reads a whole blob; `Code::Absent` when it is not there, `Code::Invalid` when its bytes are not its digest's.
    fn get(&self, digest: &Digest) -> Answer<Vec<u8>>;

    /// Whether there is nothing for [`Blobs::flush`] to do, as far as that is known without asking the disk.
    fn is_flushed(&self) -> bool {
        false
    }

    /// Makes everything put so far durable. Call before an entry that names it is appended.
    fn flush(&self) -> Answer<()>;
}
