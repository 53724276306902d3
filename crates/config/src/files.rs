//! Where app files come from.

use std::collections::BTreeMap;

use trued_model::{Code, Name, Refusal};

/// The files of each source at the revision that is loaded. Paths start at the source's root, as the source spells them.
pub trait Files {
    /// All files of a source. A refusal means its apps are not known: then no stack is gone.
    fn list(&self, source: &Name) -> Result<Vec<String>, Refusal>;
    fn read(&self, source: &Name, path: &str) -> Result<Vec<u8>, Refusal>;
}

/// No source has been asked yet.
pub struct NoFiles;

impl Files for NoFiles {
    fn list(&self, source: &Name) -> Result<Vec<String>, Refusal> {
        Err(Refusal::new(Code::Unknown, format!("list source {source}: it has not been asked yet")))
    }

    fn read(&self, source: &Name, path: &str) -> Result<Vec<u8>, Refusal> {
        Err(Refusal::new(Code::Unknown, format!("read {path} of source {source}: it has not been asked yet")))
    }
}

/// Files that were gathered beforehand; sources that were not gathered are not known.
#[derive(Clone, Debug, Default)]
pub struct Gathered {
    sources: BTreeMap<Name, BTreeMap<String, Result<Vec<u8>, Refusal>>>,
}

impl Gathered {
    /// Says that a source was listed, even if it has no files.
    pub fn source(&mut self, source: Name) {
        self.sources.entry(source).or_default();
    }

    /// Whether a source was listed, and all its files were read.
    pub fn is_whole(&self, source: &Name) -> bool {
        self.sources.get(source).is_some_and(|files| files.values().all(Result::is_ok))
    }

    pub fn file(&mut self, source: Name, path: impl Into<String>, bytes: Result<Vec<u8>, Refusal>) {
        self.sources.entry(source).or_default().insert(path.into(), bytes);
    }
}

impl Files for Gathered {
    fn list(&self, source: &Name) -> Result<Vec<String>, Refusal> {
        let files = self.sources.get(source).map(|files| files.keys().cloned().collect());
        files.ok_or_else(|| Refusal::new(Code::Unknown, format!("list source {source}: it could not be asked")))
    }

    fn read(&self, source: &Name, path: &str) -> Result<Vec<u8>, Refusal> {
        let absent = || Err(Refusal::new(Code::Absent, format!("read {path} of source {source}: there is no such file")));
        self.sources.get(source).and_then(|files| files.get(path)).cloned().unwrap_or_else(absent)
    }
}
