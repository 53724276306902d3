//! The entries of a folder, made from those it gave last: the next commit's cost what its trees differ in. Whatever is out of the ordinary
//! (a link, a submodule, a name that is left out or wrong) is left to a whole reading, which says what there is to say.

use std::collections::{BTreeMap, BTreeSet};

use gix::ObjectId;
use gix::objs::tree::{EntryKind, EntryMode};
use gix::objs::{Kind, TreeRefIter};
use trued_model::{Shape, SharedText, encode_path};

use super::held::Entries;
use super::repository::{Fault, Repository};
use super::settings::Limits;
use super::tree::{self, DEEPEST, Leaf, Leaves, Sizes};
use crate::names::{self, OWN_FOLDER, Rule};

/// What is asked of a tree.
pub(super) struct Asked<'a> {
    pub(super) repository: &'a Repository,
    /// Where it lies, for words and names.
    pub(super) from: &'a [u8],
    pub(super) limits: &'a Limits,
    pub(super) sizes: &'a Sizes,
    /// Whether a path of it is no part of a bundle.
    pub(super) left_out: &'a dyn Fn(&[u8]) -> bool,
}

/// Makes the entries of a tree from those of an earlier one that is given with its own, and holds just them; `None` where it has
/// to be read whole.
pub(super) fn next(asked: &Asked<'_>, (before, known): (ObjectId, &Entries), tree: ObjectId) -> Result<Option<Entries>, Fault> {
    if !known.values().all(|entry| matches!(entry.shape, Shape::File { .. })) {
        return Ok(None);
    }
    let mut otherwise = Otherwise { asked, changed: Leaves::new(), gone: BTreeSet::new(), folders_gone: BTreeSet::new() };
    if otherwise.compare(before, tree, b"", 0)?.is_none() {
        return Ok(None);
    }
    let Otherwise { mut changed, gone, folders_gone, .. } = otherwise;
    let file = |leaf: &Leaf| matches!(leaf.kind, EntryKind::Blob | EntryKind::BlobExecutable);
    if !changed.values().all(file) || changed.keys().any(|path| (asked.left_out)(path)) {
        return Ok(None);
    }
    asked.sizes.learn(asked.repository, &mut changed)?;
    // No link is among them, so that no text is asked for.
    let assembled = tree::assemble(&changed, asked.from, asked.limits, |_, _| Ok(Vec::new()))?;
    let mut entries = known.clone();
    for folder in folders_gone {
        let inside = format!("{}/", encode_path(&folder));
        let paths: Vec<SharedText> = entries
            .range(SharedText::from(inside.as_str())..)
            .map(|(path, _)| path)
            .take_while(|path| path.starts_with(&inside))
            .cloned()
            .collect();
        paths.iter().for_each(|path| drop(entries.remove(&**path)));
    }
    gone.iter().for_each(|path| drop(entries.remove(encode_path(path).as_str())));
    entries.extend(assembled.entries);
    let bytes = entries.values().fold(0_u64, |sum, entry| sum.saturating_add(entry.bytes));
    let within = entries.len() as u64 <= asked.limits.files && bytes <= asked.limits.bytes;
    Ok(within.then_some(entries))
}

/// What stands in a tree, by name.
type Listed = BTreeMap<Vec<u8>, (EntryMode, ObjectId)>;

/// What one tree has otherwise than another.
struct Otherwise<'a> {
    asked: &'a Asked<'a>,
    changed: Leaves,
    gone: BTreeSet<Vec<u8>>,
    folders_gone: BTreeSet<Vec<u8>>,
}

impl Otherwise<'_> {
    /// Compares two trees at a path; `None` where that is not enough.
    fn compare(&mut self, before: ObjectId, now: ObjectId, path: &[u8], depth: usize) -> Result<Option<()>, Fault> {
        if before == now {
            return Ok(Some(()));
        }
        // What was may be here no more.
        let (Ok(Some(before)), Some(now)) = (self.listed(before), self.listed(now)?) else { return Ok(None) };
        if depth >= DEEPEST {
            return Ok(None);
        }
        for (name, (mode, _)) in before.iter().filter(|(name, _)| !now.contains_key(*name)) {
            self.gone(*mode, names::join_name(path, name));
        }
        for (name, (mode, id)) in &now {
            let was = before.get(name);
            if was == Some(&(*mode, *id)) {
                continue;
            }
            let here = names::join_name(path, name);
            if names::check_name(&here, name, Rule::Writable).is_err() || name == OWN_FOLDER {
                return Ok(None);
            }
            match (mode.kind(), was) {
                (EntryKind::Tree, Some((was, id_before))) if was.is_tree() => {
                    if self.compare(*id_before, *id, &here, depth + 1)?.is_none() {
                        return Ok(None);
                    }
                }
                (EntryKind::Tree, was) => {
                    was.into_iter().for_each(|(was, _)| self.gone(*was, here.clone()));
                    let Asked { repository, from, limits, .. } = self.asked;
                    let inside = tree::leaves(repository, *id, &names::join(from, &here), Rule::Writable, limits)?;
                    if tree::tree_id(&inside)? != *id {
                        return Ok(None);
                    }
                    self.changed.extend(inside.into_iter().map(|(path, leaf)| (names::join(&here, &path), leaf)));
                }
                (kind, was) => {
                    was.into_iter().filter(|(was, _)| was.is_tree()).for_each(|(was, _)| self.gone(*was, here.clone()));
                    self.changed.insert(here, Leaf { kind, id: *id, bytes: None });
                }
            }
        }
        Ok(Some(()))
    }

    fn gone(&mut self, mode: EntryMode, path: Vec<u8>) {
        if mode.is_tree() {
            self.folders_gone.insert(path)
        } else {
            self.gone.insert(path)
        };
    }

    /// What stands in a tree; `None` where it is not as trees are.
    fn listed(&self, tree: ObjectId) -> Result<Option<Listed>, Fault> {
        let bytes = self.asked.repository.object_of(tree, Kind::Tree)?;
        let mut all = Listed::new();
        for entry in TreeRefIter::from_bytes(&bytes, tree.kind()) {
            let Ok(entry) = entry else { return Ok(None) };
            if all.insert(entry.filename.to_vec(), (entry.mode, entry.oid.to_owned())).is_some() {
                return Ok(None);
            }
        }
        Ok(Some(all).filter(|all| !all.is_empty()))
    }
}
