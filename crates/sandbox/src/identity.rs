//! What a program is, by its bytes: two builds with different programs are different builds.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use trued_doors::Answer;
use trued_model::{Code, Digest, Refusal};

use crate::lookup::find_among;

/// Digests of programs, read again only when their file has changed.
#[derive(Default)]
pub struct Identities {
    known: Mutex<BTreeMap<PathBuf, (Seen, Digest)>>,
}

/// What of a file changes with its bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Seen {
    file: (u64, u64),
    bytes: u64,
    changed: (i64, i64),
}

impl Identities {
    pub fn of(&self, name: &str, tools: &[PathBuf]) -> Answer<Digest> {
        let file = find_among(name, tools)?;
        let refused = |error: std::io::Error| Refusal::new(Code::Unknown, format!("read `{name}` to know it by: {error}"));
        let file = file.canonicalize().map_err(refused)?;
        let meta = fs::metadata(&file).map_err(refused)?;
        let seen = Seen { file: (meta.dev(), meta.ino()), bytes: meta.size(), changed: (meta.ctime(), meta.ctime_nsec()) };
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&file).copied();
        let digest = match known {
            Some((then, digest)) if then == seen => digest,
            _ => {
                let digest = Digest::of(&fs::read(&file).map_err(refused)?);
                self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(file, (seen, digest));
                digest
            }
        };
        Ok(digest)
    }
}
