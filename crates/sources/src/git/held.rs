//! Bundles that somebody still holds: the same folder of the same tree is not put together twice.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use gix::ObjectId;
use trued_doors::BundleEntry;
use trued_model::SharedText;

/// A bundle's entries by their path.
pub(super) type Entries = BTreeMap<SharedText, BundleEntry>;

/// What says what a bundle holds: the folder it is made for, by whose path names are judged, and the tree that lies there.
pub(super) type Folder = (Vec<u8>, ObjectId);

/// How many may be forgotten by those who held them before they are looked for.
const FORGOTTEN: usize = 64;

/// Keeps nothing alive.
#[derive(Default)]
pub(super) struct Held(Mutex<Known>);

#[derive(Default)]
struct Known {
    bundles: HashMap<Folder, Bundled>,
    /// The tree that each folder was put together from last.
    newest: HashMap<Vec<u8>, ObjectId>,
    /// At how many those that nobody holds any more are cleared away.
    full: usize,
}

struct Bundled {
    digest: String,
    entries: Weak<Entries>,
}

impl Held {
    pub(super) fn find(&self, folder: &Folder) -> Option<(String, Arc<Entries>)> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bundled = known.bundles.get(folder)?;
        Some((bundled.digest.clone(), bundled.entries.upgrade()?))
    }

    /// What a folder gave last, and of which tree.
    pub(super) fn newest(&self, folder: &[u8]) -> Option<(ObjectId, String, Arc<Entries>)> {
        let tree = self.0.lock().unwrap_or_else(PoisonError::into_inner).newest.get(folder).copied()?;
        self.find(&(folder.to_vec(), tree)).map(|(digest, entries)| (tree, digest, entries))
    }

    pub(super) fn note(&self, folder: Folder, digest: &str, entries: &Arc<Entries>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.bundles.len() >= known.full {
            known.bundles.retain(|_, bundled| bundled.entries.strong_count() > 0);
            let Known { bundles, newest, .. } = &mut *known;
            newest.retain(|folder, tree| bundles.contains_key(&(folder.clone(), *tree)));
            known.full = known.bundles.len() * 2 + FORGOTTEN;
        }
        known.newest.insert(folder.0.clone(), folder.1);
        known.bundles.insert(folder, Bundled { digest: digest.to_owned(), entries: Arc::downgrade(entries) });
    }
}
