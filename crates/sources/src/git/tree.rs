//! From a commit's tree to the entries of a bundle: tree objects are walked, names and links are judged, nothing is
//! checked out. The same rules hold for a working tree, which arrives here as leaves too.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use gix::ObjectId;
use gix::objs::tree::{EntryKind, EntryMode};
use gix::objs::{Kind, TreeRefIter, WriteTo as _};
use trued_doors::{Answer, BundleEntry};
use trued_model::{Code, Refusal, Shape, SharedText, encode_path};

use super::repository::{Fault, LARGEST_OBJECT, Repository};
use super::settings::Limits;
use crate::names::{self, OWN_FOLDER, Rule};
use crate::{disk, links};

/// Deepest folder in a tree.
pub(super) const DEEPEST: usize = 256;
/// Sizes remembered by blob, so that the next commit's bundle asks only for those that are new.
const SIZES: usize = 1 << 20;

/// One file, link or submodule of a tree.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Leaf {
    pub(super) kind: EntryKind,
    pub(super) id: ObjectId,
    /// The size where it is known without asking the objects.
    pub(super) bytes: Option<u64>,
}

/// Leaves by their path.
pub(super) type Leaves = BTreeMap<Vec<u8>, Leaf>;

/// What a folder of a tree holds, ready to be a bundle.
pub(super) struct Assembled {
    pub(super) entries: BTreeMap<SharedText, BundleEntry>,
    /// The id of the tree that holds exactly these entries.
    pub(super) digest: ObjectId,
}

/// Finds the tree of a commit.
pub(super) fn of_commit(repository: &Repository, commit: ObjectId) -> Result<ObjectId, Fault> {
    let bytes = repository.leading(commit, Kind::Commit)?;
    let parsed = gix::objs::CommitRef::from_bytes(&bytes, commit.kind());
    let parsed = parsed.map_err(|_| Refusal::new(Code::Invalid, format!("read commit {commit}: it is malformed")))?;
    Ok(parsed.tree())
}

/// Finds what lies at a path of a tree; `None` when there is nothing.
pub(super) fn find(repository: &Repository, tree: ObjectId, path: &[u8]) -> Result<Option<(EntryMode, ObjectId)>, Fault> {
    let mut at = (EntryKind::Tree.into(), tree);
    for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
        let (mode, id): (EntryMode, ObjectId) = at;
        if !mode.is_tree() {
            return Ok(None);
        }
        let bytes = repository.leading(id, Kind::Tree)?;
        let mut next = None;
        for entry in TreeRefIter::from_bytes(&bytes, id.kind()) {
            let entry = entry.map_err(|_| malformed(path))?;
            if entry.filename == name {
                next = Some((entry.mode, entry.oid.to_owned()));
                break;
            }
        }
        let Some(next) = next else { return Ok(None) };
        at = next;
    }
    Ok(Some(at))
}

/// Collects all leaves below a tree that lies at `base`. Names that break the rule are refused by their path; `.trued`
/// folders are left out.
pub(super) fn leaves(repository: &Repository, tree: ObjectId, base: &[u8], rule: Rule, limits: &Limits) -> Result<Leaves, Fault> {
    let mut walk = Walk { repository, base, rule, limits, trees: 0, found: Leaves::new() };
    walk.collect(tree, b"", 0)?;
    Ok(walk.found)
}

struct Walk<'a> {
    repository: &'a Repository,
    base: &'a [u8],
    rule: Rule,
    limits: &'a Limits,
    trees: u64,
    found: Leaves,
}

impl Walk<'_> {
    fn collect(&mut self, tree: ObjectId, path: &[u8], depth: usize) -> Result<(), Fault> {
        self.trees += 1;
        if depth > DEEPEST {
            return Err(names::refuse(&names::join(self.base, path), "folders are nested deeper than 256").into());
        }
        if self.trees > self.limits.files {
            return Err(too_many(self.limits).into());
        }
        let bytes = self.repository.object_of(tree, Kind::Tree)?;
        let mut seen = BTreeSet::new();
        for entry in TreeRefIter::from_bytes(&bytes, tree.kind()) {
            let entry = entry.map_err(|_| malformed(&names::join(self.base, path)))?;
            let here = names::join_name(path, entry.filename);
            let full = || names::join_name(self.base, &here);
            if names::check_name(&here, entry.filename, self.rule).is_err() {
                names::check_name(&full(), entry.filename, self.rule)?;
            }
            if !seen.insert(entry.filename) {
                return Err(names::refuse(&full(), "the name stands twice in its folder").into());
            }
            match entry.mode.kind() {
                EntryKind::Tree if entry.filename == OWN_FOLDER => {}
                EntryKind::Tree => self.collect(entry.oid.to_owned(), &here, depth + 1)?,
                kind => {
                    if self.found.len() as u64 >= self.limits.files {
                        return Err(too_many(self.limits).into());
                    }
                    self.found.insert(here, Leaf { kind, id: entry.oid.to_owned(), bytes: None });
                }
            }
        }
        Ok(())
    }
}

/// Makes leaves below one folder, whose sizes are known, into a bundle's entries. `folder` is where they lie, for
/// words; `text` reads a link. A submodule is refused by its path.
pub(super) fn assemble(
    leaves: &Leaves,
    folder: &[u8],
    limits: &Limits,
    text: impl Fn(&[u8], &Leaf) -> Result<Vec<u8>, Fault>,
) -> Result<Assembled, Fault> {
    let mut entries = BTreeMap::new();
    let mut texts = BTreeMap::new();
    let mut sum = 0_u64;
    for (path, leaf) in leaves {
        let here = || names::join(folder, path);
        let shape = match leaf.kind {
            EntryKind::Blob => Shape::File { executable: false },
            EntryKind::BlobExecutable => Shape::File { executable: true },
            EntryKind::Link => Shape::Link,
            EntryKind::Commit => return Err(names::refuse(&here(), "it is a submodule, and submodules are not followed").into()),
            EntryKind::Tree => return Err(Refusal::new(Code::Broken, "read a tree: a folder among its leaves").into()),
        };
        let bytes = leaf.bytes.unwrap_or(0);
        if bytes > LARGEST_OBJECT {
            let message = format!("read {}: it holds {bytes} bytes, more than {LARGEST_OBJECT}", encode_path(&here()));
            return Err(Refusal::new(Code::TooLarge, message).into());
        }
        sum = sum.saturating_add(bytes);
        if shape == Shape::Link {
            if bytes > links::LONGEST_TEXT {
                return Err(names::refuse(&here(), "the link's text is longer than 4,095 bytes").into());
            }
            texts.insert(path.clone(), text(path, leaf)?);
        }
        entries.insert(encode_path(path).into(), BundleEntry { shape, bytes, id: leaf.id.to_string().into(), content: None });
    }
    if sum > limits.bytes {
        let message = format!("read {}: its files hold {sum} bytes, more than {}", encode_path(folder), limits.bytes);
        return Err(Refusal::new(Code::TooLarge, message).help("raise limits.bytes of the source if that is right").into());
    }
    links::check(&texts)?;
    Ok(Assembled { entries, digest: tree_id(leaves)? })
}

/// The id of the tree that holds these leaves, as Git would name it if it were committed.
pub(super) fn tree_id(leaves: &Leaves) -> Answer<ObjectId> {
    let all: Vec<(&[u8], &Leaf)> = leaves.iter().map(|(path, leaf)| (path.as_slice(), leaf)).collect();
    subtree_id(&all, 0)
}

/// `leaves` share their first `cut` bytes: the folder's path with its slash.
fn subtree_id(leaves: &[(&[u8], &Leaf)], cut: usize) -> Answer<ObjectId> {
    let broken = |_| Refusal::new(Code::Broken, "name a tree: its objects cannot be written");
    let mut tree = gix::objs::Tree::empty();
    let mut place = 0;
    while let Some((path, leaf)) = leaves.get(place) {
        let rest = &path[cut..];
        let (mode, name, oid, next) = match rest.iter().position(|byte| *byte == b'/') {
            None => (leaf.kind.into(), rest, leaf.id, place + 1),
            Some(slash) => {
                let prefix = &path[..cut + slash + 1];
                let until = place + leaves[place..].partition_point(|(path, _)| path.starts_with(prefix));
                (EntryKind::Tree.into(), &rest[..slash], subtree_id(&leaves[place..until], prefix.len())?, until)
            }
        };
        tree.entries.push(gix::objs::tree::Entry { mode, filename: name.into(), oid });
        place = next;
    }
    tree.entries.sort();
    let mut bytes = Vec::new();
    tree.write_to(&mut bytes).map_err(|_| Refusal::new(Code::Broken, "name a tree: its objects cannot be written"))?;
    gix::objs::compute_hash(gix::hash::Kind::Sha1, Kind::Tree, &bytes).map_err(broken)
}

fn malformed(path: &[u8]) -> Refusal {
    names::refuse(path, "its tree object is malformed")
}

fn too_many(limits: &Limits) -> Refusal {
    let message = format!("read a tree: it holds more than {} files or folders", limits.files);
    Refusal::new(Code::TooLarge, message).help("raise limits.files of the source if that is right")
}

/// Sizes of blobs that were asked for before.
#[derive(Default)]
pub(super) struct Sizes(Mutex<HashMap<ObjectId, u64>>);

impl Sizes {
    /// Learns the sizes of all leaves that do not know theirs, from object headers.
    pub(super) fn learn(&self, repository: &Repository, leaves: &mut Leaves) -> Result<(), Fault> {
        let mut unknown: Vec<ObjectId> = Vec::new();
        {
            let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            for leaf in leaves.values_mut().filter(|leaf| leaf.bytes.is_none() && leaf.kind != EntryKind::Commit) {
                leaf.bytes = known.get(&leaf.id).copied();
                if leaf.bytes.is_none() {
                    unknown.push(leaf.id);
                }
            }
        }
        unknown.sort_unstable();
        unknown.dedup();
        // A fault is carried through as a value: readers keep the order, and the first one counts.
        let sizes = disk::spread(&unknown, |id| Ok(repository.size(*id)))?;
        let mut learned = HashMap::with_capacity(unknown.len());
        for (id, size) in unknown.into_iter().zip(sizes) {
            learned.insert(id, size?);
        }
        for leaf in leaves.values_mut().filter(|leaf| leaf.bytes.is_none()) {
            leaf.bytes = learned.get(&leaf.id).copied();
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() + learned.len() > SIZES {
            known.clear();
        }
        known.extend(learned);
        Ok(())
    }
}
