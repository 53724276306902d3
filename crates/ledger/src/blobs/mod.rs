//! Content-addressed bytes: on disk, in memory, and over a store that must not be written to.

#[cfg(feature = "sqlite")]
mod disk;
#[cfg(feature = "sqlite")]
mod durable;
#[cfg(feature = "sqlite")]
mod incoming;
#[cfg(feature = "sqlite")]
mod journal;
mod memory;
#[cfg(feature = "sqlite")]
mod proving;
mod scratch;
#[cfg(feature = "sqlite")]
mod takeover;

use std::io::{ErrorKind, Read};

use sha2::{Digest as _, Sha256};
use trued_doors::Answer;
use trued_model::{BlobRef, Code, Digest, Refusal};

#[cfg(feature = "sqlite")]
pub use disk::DiskBlobs;
pub use memory::MemoryBlobs;
pub use scratch::ScratchBlobs;

/// How much of a stream is in memory at once.
const BUFFER: usize = 64 * 1024;

fn absent(digest: &Digest) -> Refusal {
    Refusal::new(Code::Absent, format!("find blob {digest}"))
}

fn wrong(digest: &Digest) -> Refusal {
    Refusal::new(Code::Invalid, format!("read blob {digest}: its bytes are not those that were stored"))
}

fn other(expect: &BlobRef) -> Refusal {
    Refusal::new(Code::Invalid, format!("store blob {}: the bytes given are others", expect.digest))
}

/// Passes a stream on in pieces and names what went through. With an expectation it stops once that is exceeded.
fn pass(from: &mut dyn Read, most: u64, mut into: impl FnMut(&[u8]) -> Answer<()>) -> Answer<BlobRef> {
    let (mut hash, mut bytes) = (Sha256::new(), 0u64);
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = match from.read(&mut buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(Refusal::new(Code::Unknown, format!("read the bytes to store: {error}"))),
        };
        bytes += count as u64;
        if count == 0 || bytes > most {
            return Ok(BlobRef { digest: Digest(hash.finalize().into()), bytes, sealed: false });
        }
        hash.update(&buffer[..count]);
        into(&buffer[..count])?;
    }
}

/// Whether a stream's bytes are those that were expected; sealed or not is no matter of bytes.
fn is(found: &BlobRef, expect: &BlobRef) -> bool {
    (found.digest, found.bytes) == (expect.digest, expect.bytes)
}
