//! A source of a simulated world: commits with parents, a remote that may be away, and a head that may be rewound.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use trued_doors::{Answer, BoxFuture, Bundle, BundleEntry, BundleReader, Descriptor, Source, SourceKind, SourceOpening};
use trued_model::{
    Address, BlobRef, Code, Commit, Digest, Fingerprint, Name, Refusal, Relation, Revision, Shape, SharedText, Timestamp, Want,
};

/// A file that makes the folder it lies in impossible to render.
pub const BROKEN: &str = "broken";
/// A file of this name makes its renderer panic.
pub const PANICS: &str = "panics";
/// A file of this name is rendered the first time, and left out when that is repeated.
pub const UNSTEADY: &str = "unsteady";

/// What stands at a path of a tree; `None` is an empty folder.
pub type Tree = BTreeMap<String, Option<Arc<[u8]>>>;

/// All commits of one source.
pub struct History {
    name: Name,
    past: Mutex<Past>,
}

struct Past {
    commits: Vec<Made>,
    head: usize,
    /// The remote answers.
    reachable: bool,
    /// Even what was fetched can be read.
    readable: bool,
    fetches: u64,
}

struct Made {
    parent: Option<usize>,
    tree: Arc<Tree>,
}

impl History {
    /// Begins with one commit of an empty tree.
    pub fn new(name: Name) -> History {
        let first = Made { parent: None, tree: Arc::default() };
        History { name, past: Mutex::new(Past { commits: vec![first], head: 0, reachable: true, readable: true, fetches: 0 }) }
    }

    fn past(&self) -> MutexGuard<'_, Past> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tree at the head.
    pub fn tree(&self) -> Tree {
        let past = self.past();
        (*past.commits[past.head].tree).clone()
    }

    /// Commits a tree on top of the head.
    pub fn commit(&self, tree: Tree) -> String {
        let mut past = self.past();
        let parent = Some(past.head);
        past.commits.push(Made { parent, tree: Arc::new(tree) });
        past.head = past.commits.len() - 1;
        id(past.head)
    }

    /// Pushes by force: the head is another commit that does not follow it; gives false when there is none to go to.
    pub fn rewind(&self, back: usize) -> bool {
        let mut past = self.past();
        let mut to = past.head;
        for _ in 0..back {
            match past.commits[to].parent {
                Some(parent) => to = parent,
                None => break,
            }
        }
        let moved = to != past.head;
        past.head = to;
        moved
    }

    pub fn set_reachable(&self, reachable: bool) {
        self.past().reachable = reachable;
    }

    pub fn set_readable(&self, readable: bool) {
        self.past().readable = readable;
    }

    pub fn readable(&self) -> bool {
        self.past().readable
    }

    pub fn head(&self) -> String {
        id(self.past().head)
    }

    /// Whether `new` is `old` or descends from it.
    pub fn follows(&self, old: &str, new: &str) -> bool {
        let past = self.past();
        let (Some(old), Some(mut at)) = (past.find(old), past.find(new)) else { return false };
        loop {
            if at == old {
                return true;
            }
            match past.commits[at].parent {
                Some(parent) => at = parent,
                None => return false,
            }
        }
    }

    /// What a folder says at a revision, by path below it: `None` when it does not render.
    pub fn desired(&self, revision: &str, folder: &str) -> Option<BTreeMap<String, Fingerprint>> {
        let past = self.past();
        let tree = past.commits[past.find(revision)?].tree.clone();
        let below = below(&tree, folder);
        if below.contains_key(BROKEN) {
            return None;
        }
        Some(below.into_iter().map(|(path, content)| (path.to_owned(), fingerprint(content.as_deref()))).collect())
    }

    fn at(&self, revision: &Revision) -> Answer<Arc<Tree>> {
        let past = self.past();
        if !past.readable {
            return Err(Refusal::new(Code::Unreachable, format!("read {}: the source is gone", self.name)));
        }
        let at = past.find(&revision.id).ok_or_else(|| Refusal::new(Code::Absent, format!("there is no revision {}", revision.id)))?;
        Ok(past.commits[at].tree.clone())
    }
}

impl Past {
    fn find(&self, id: &str) -> Option<usize> {
        let at = id.trim_start_matches('c').trim_start_matches('0').to_owned();
        let at: usize = if at.is_empty() { 0 } else { at.parse().ok()? };
        (at < self.commits.len()).then_some(at)
    }
}

fn id(commit: usize) -> String {
    format!("c{commit:039}")
}

fn below<'a>(tree: &'a Tree, folder: &str) -> BTreeMap<&'a str, &'a Option<Arc<[u8]>>> {
    let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
    tree.iter().filter_map(|(path, content)| Some((path.strip_prefix(&prefix)?, content))).collect()
}

/// The fingerprint of content in the form that kinds of targets share; `None` is a folder.
pub fn fingerprint(content: Option<&[u8]>) -> Fingerprint {
    match content {
        Some(bytes) => Fingerprint::new(format!("1:file:644:{}", Digest::of(bytes).hex())),
        None => Fingerprint::new("1:dir"),
    }
}

/// Puts a stack's place before paths.
pub fn placed(into: &str, path: &str) -> Address {
    Address::new(if into.is_empty() { path.to_owned() } else { format!("{into}/{path}") })
}

/// Opens the one source of a world.
pub struct OpenHistory(pub Arc<History>);

impl SourceKind for OpenHistory {
    fn describe(&self) -> Descriptor {
        crate::words::descriptor("history")
    }

    fn open(&self, _opening: SourceOpening) -> Answer<Arc<dyn Source>> {
        Ok(Arc::new(Following(self.0.clone())))
    }
}

struct Following(Arc<History>);

impl Source for Following {
    fn resolve(&self, want: Want) -> BoxFuture<'_, Answer<Revision>> {
        let mut past = self.0.past();
        let found = match want {
            Want::Named(id) => Ok(id),
            Want::Newest if !past.reachable || !past.readable => Err(Refusal::new(Code::Unreachable, "ask the remote: no route")),
            _ => {
                past.fetches += 1;
                Ok(id(past.head))
            }
        };
        let name = self.0.name.clone();
        Box::pin(async move { Ok(Revision { source: name, id: found? }) })
    }

    fn bundle<'a>(&'a self, revision: &'a Revision, folder: &'a str) -> BoxFuture<'a, Answer<Bundle>> {
        Box::pin(async move {
            let tree = self.0.at(revision)?;
            let found: Tree = below(&tree, folder).into_iter().map(|(path, content)| (path.to_owned(), content.clone())).collect();
            if found.is_empty() {
                return Err(Refusal::new(Code::Absent, format!("there is no folder {folder}")));
            }
            let entries: BTreeMap<SharedText, BundleEntry> =
                found.iter().map(|(path, content)| (path.as_str().into(), entry(content))).collect();
            let ids: Vec<(&SharedText, &SharedText)> = entries.iter().map(|(path, entry)| (path, &entry.id)).collect();
            Ok(Bundle {
                revision: revision.clone(),
                folder: folder.to_owned(),
                digest: Digest::of_canonical(&ids).hex(),
                entries: Arc::new(entries),
                reader: Arc::new(Reading(found)),
            })
        })
    }

    fn read<'a>(&'a self, _revision: &'a Revision, path: &'a str) -> BoxFuture<'a, Answer<Vec<u8>>> {
        Box::pin(async move { Err(Refusal::new(Code::Absent, format!("no file {path} is read here"))) })
    }

    fn list<'a>(&'a self, revision: &'a Revision) -> BoxFuture<'a, Answer<Vec<String>>> {
        Box::pin(async move { Ok(self.0.at(revision)?.keys().cloned().collect()) })
    }

    fn relation<'a>(&'a self, old: &'a Revision, new: &'a Revision) -> BoxFuture<'a, Answer<Relation>> {
        Box::pin(async move {
            Ok(match (old.id == new.id, self.0.follows(&old.id, &new.id)) {
                (true, _) => Relation::Same,
                (false, true) => Relation::Follows,
                (false, false) => Relation::Rewinds,
            })
        })
    }

    fn commit<'a>(&'a self, revision: &'a Revision) -> BoxFuture<'a, Answer<Commit>> {
        Box::pin(async move { Ok(Commit { id: revision.id.clone(), at: Timestamp(0), ..Commit::default() }) })
    }

    fn fetches(&self) -> u64 {
        self.0.past().fetches
    }
}

fn entry(content: &Option<Arc<[u8]>>) -> BundleEntry {
    match content {
        Some(bytes) => {
            let blob = BlobRef::of(bytes);
            BundleEntry { shape: Shape::File { executable: false }, bytes: blob.bytes, id: blob.digest.hex().into(), content: Some(blob) }
        }
        None => BundleEntry { shape: Shape::Folder, bytes: 0, id: "folder".into(), content: None },
    }
}

struct Reading(Tree);

impl BundleReader for Reading {
    fn read(&self, path: &str) -> Answer<Vec<u8>> {
        let found = self.0.get(path).cloned().flatten();
        found.map(|bytes| bytes.to_vec()).ok_or_else(|| Refusal::new(Code::Absent, format!("there is no file {path}")))
    }
}
