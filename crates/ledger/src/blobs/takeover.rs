//! What processes left that were killed: what their journals hold is brought back, the rest goes.

use std::fs;
use std::path::PathBuf;

use rustix::fs::syncfs;
use trued_doors::{Answer, Blobs as _};
use trued_model::{BlobRef, Digest};

use super::disk::DiskBlobs;
use super::incoming::of_the_dead;
use crate::process;

impl DiskBlobs {
    pub(super) fn take_over_from_the_dead(&self) -> Answer<()> {
        // What cannot be removed is in nobody's way.
        let remove = |folder: PathBuf| drop(fs::remove_dir_all(folder));
        let mut journals = Vec::new();
        for (folder, left) in of_the_dead(&self.folder.join("incoming"), &process::this("")?) {
            match left {
                None => remove(folder),
                // What cannot be brought back now (the disk is full) is read from there, and tried again by the next to begin.
                Some(mut left) => {
                    if left.each(|digest, bytes| self.bring_back(digest, &bytes)).is_ok() {
                        journals.push((folder, left));
                    }
                }
            }
        }
        let durable = || self.flush().and_then(|()| syncfs(&self.stored).map_err(|errno| self.failed("make blobs durable", errno)));
        if !journals.is_empty() && durable().is_ok() {
            journals.into_iter().for_each(|(folder, _left)| remove(folder));
        }
        Ok(())
    }

    /// Writes a blob anew whose bytes did not reach the disk.
    fn bring_back(&self, digest: Digest, bytes: &[u8]) -> Answer<()> {
        if self.read(&digest).is_ok() {
            return Ok(());
        }
        let blob = BlobRef { digest, bytes: bytes.len() as u64, sealed: false };
        self.keep(blob, bytes)
    }

    /// What a journal of the dead has of a blob that is not there, or is torn.
    pub(super) fn left_in_journals(&self, digest: &Digest) -> Option<Vec<u8>> {
        let mut found = None;
        for mut left in of_the_dead(&self.folder.join("incoming"), &process::this("").ok()?).filter_map(|(_, left)| left) {
            // One that cannot be read to its end has told what it can.
            let _ = left.each(|of, bytes| {
                if of == *digest {
                    found = Some(bytes);
                }
                Ok(())
            });
        }
        found
    }
}
