//! Bytes that were read are compared with their digest before they count as a blob's.

use std::io::{self, Read};

use sha2::{Digest as _, Sha256};
use trued_doors::Answer;
use trued_model::Digest;

use super::wrong;

/// Takes bytes as a blob's after comparing them with its digest.
pub(super) fn proven(bytes: Vec<u8>, digest: &Digest) -> Answer<Vec<u8>> {
    if Digest::of(&bytes) == *digest { Ok(bytes) } else { Err(wrong(digest)) }
}

/// Hands bytes on and ends with an error when they were not the blob's.
pub(super) struct Proving<R> {
    from: R,
    so_far: Sha256,
    digest: Digest,
}

impl<R: Read> Proving<R> {
    pub fn new(from: R, digest: Digest) -> Proving<R> {
        Proving { from, so_far: Sha256::new(), digest }
    }
}

impl<R: Read> Read for Proving<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(into)?;
        self.so_far.update(&into[..count]);
        if count == 0 && !into.is_empty() && self.so_far.clone().finalize()[..] != self.digest.0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, wrong(&self.digest)));
        }
        Ok(count)
    }
}
