//! What a driver under test is given besides its target: contents in memory, a seal that is none, no secrets.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::sync::{Mutex, PoisonError};

use trued_model::{BlobRef, Code, Digest, Name, Refusal, Secret};

use crate::{Answer, Blobs, Contents, Seal, Secrets};

/// Blobs in memory.
#[derive(Default)]
pub struct HeldBlobs {
    held: Mutex<BTreeMap<Digest, Vec<u8>>>,
}

impl Contents for HeldBlobs {
    fn open(&self, blob: &BlobRef) -> Answer<Box<dyn Read + Send>> {
        Ok(Box::new(Cursor::new(self.get(&blob.digest)?)))
    }
}

impl Blobs for HeldBlobs {
    fn put(&self, bytes: &[u8]) -> Answer<BlobRef> {
        let blob = BlobRef::of(bytes);
        self.held.lock().unwrap_or_else(PoisonError::into_inner).insert(blob.digest, bytes.to_vec());
        Ok(blob)
    }

    fn put_stream(&self, expect: &BlobRef, from: &mut dyn Read) -> Answer<()> {
        let found = self.take(from)?;
        if found.digest == expect.digest { Ok(()) } else { Err(Refusal::new(Code::Invalid, "store a stream: it is another one")) }
    }

    fn take(&self, from: &mut dyn Read) -> Answer<BlobRef> {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).map_err(|error| Refusal::new(Code::Unknown, format!("read a stream: {error}")))?;
        self.put(&bytes)
    }

    fn has(&self, digest: &Digest) -> bool {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).contains_key(digest)
    }

    fn get(&self, digest: &Digest) -> Answer<Vec<u8>> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.get(digest).cloned().ok_or_else(|| Refusal::new(Code::Absent, format!("read the blob {digest}: it is not there")))
    }

    fn flush(&self) -> Answer<()> {
        Ok(())
    }
}

/// A seal without a key: it changes the bytes and the digests, which is all that a driver can notice.
pub struct PaperSeal;

const WAX: &[u8] = b"sealed:";

impl Seal for PaperSeal {
    fn seal(&self, plain: &[u8]) -> Vec<u8> {
        WAX.iter().copied().chain(plain.iter().map(|byte| byte ^ 0x5a)).collect()
    }

    fn open(&self, sealed: &[u8]) -> Answer<Vec<u8>> {
        let inner = sealed.strip_prefix(WAX).ok_or_else(|| Refusal::new(Code::Denied, "open what was never sealed"))?;
        Ok(inner.iter().map(|byte| byte ^ 0x5a).collect())
    }

    fn identity(&self, plain: &Digest) -> Digest {
        Digest::of(&[b"key", &plain.0[..]].concat())
    }
}

/// No secret is there.
pub struct NoSecrets;

impl Secrets for NoSecrets {
    fn get(&self, name: &Name) -> Answer<Secret> {
        Err(Refusal::new(Code::Absent, format!("read the secret {name}: there is none")))
    }
}
