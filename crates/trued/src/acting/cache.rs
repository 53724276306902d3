//! `cache/` in the state folder: what may be forgotten. A full disk or a missing folder costs time, never truth.

use std::fs;
use std::path::PathBuf;

use trued_doors::Cache;

/// Files under a folder, by key.
pub struct FolderCache {
    root: PathBuf,
}

impl FolderCache {
    pub fn new(root: PathBuf) -> FolderCache {
        FolderCache { root }
    }
}

/// Remembers nothing.
pub struct NoCache;

impl Cache for NoCache {
    fn get(&self, _: &str) -> Option<Vec<u8>> {
        None
    }

    fn put(&self, _: &str, _: &[u8]) {}
}

impl Cache for FolderCache {
    fn get(&self, key: &str) -> Option<Vec<u8>> {
        fs::read(self.root.join(key)).ok()
    }

    fn put(&self, key: &str, bytes: &[u8]) {
        let path = self.root.join(key);
        let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| {
            // A name of its own, so that two processes never write into one file; the rename is the whole truth.
            let aside = path.with_extension(format!("{}.new", std::process::id()));
            fs::write(&aside, bytes)?;
            fs::rename(&aside, &path).inspect_err(|_| {
                let _ = fs::remove_file(&aside);
            })
        });
        if let Err(error) = written {
            tracing::debug!("not cached: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_is_had_again_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = FolderCache::new(folder.path().join("cache"));
        assert_eq!(cache.get("renders/ab"), None);
        cache.put("renders/ab", b"one");
        cache.put("renders/ab", b"two");
        assert_eq!(cache.get("renders/ab").as_deref(), Some(&b"two"[..]));
        let left: Vec<_> = fs::read_dir(folder.path().join("cache/renders")).expect("listed").collect();
        assert_eq!(left.len(), 1, "nothing is left beside it");
    }
}
