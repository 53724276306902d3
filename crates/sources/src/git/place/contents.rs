//! What lies at a path of a revision: bundles, lists and single files, of a commit or of the working tree.

use std::sync::Arc;

use gix::ObjectId;
use gix::objs::Kind;
use gix::objs::tree::EntryKind;
use trued_doors::{Answer, Bundle};
use trued_model::{Revision, encode_path};

use super::{At, Place};
use crate::git::bundles;
use crate::git::held::Entries;
use crate::git::reader::Reader;
use crate::git::repository::{Fault, Repository};
use crate::git::tree::{self, Leaves};
use crate::names::{self, Rule};

/// Why a folder that somebody sees on the disk may be no folder here.
const UNRECORDED: &str = "only what Git records counts: perhaps it is ignored, or empty";

impl Place {
    pub(in crate::git) fn bundle(self: &Arc<Place>, revision: Revision, folder: &[u8]) -> Answer<Bundle> {
        let at = self.at(&revision)?;
        let from = names::join(&self.folder, folder);
        let tree = at.commit().map(|commit| self.whole(commit, |repository| self.tree_at(repository, commit, &from))).transpose()?;
        let known = tree.and_then(|tree| self.held.find(&(folder.to_vec(), tree)));
        let (digest, entries) = match known {
            Some(known) => known,
            None => {
                let next = tree.zip(at.commit()).map(|(tree, commit)| self.next(commit, folder, tree)).transpose()?.flatten();
                let (digest, entries) = next.map_or_else(|| self.assembled(&at, folder), Ok)?;
                if let Some(tree) = tree {
                    self.held.note((folder.to_vec(), tree), &digest, &entries);
                }
                (digest, entries)
            }
        };
        let reader = Reader { place: self.clone(), at, folder: folder.to_vec(), entries: entries.clone() };
        Ok(Bundle { revision, folder: encode_path(folder), digest, entries, reader: Arc::new(reader) })
    }

    /// Makes a commit's entries from those that the same folder gave before; `None` where it has to be read whole.
    fn next(&self, commit: ObjectId, folder: &[u8], tree: ObjectId) -> Answer<Option<(String, Arc<Entries>)>> {
        // Only where it held just what its tree does.
        let just_its_tree =
            |(tree, digest, _): &(ObjectId, String, Arc<Entries>)| ObjectId::from_hex(digest.as_bytes()).is_ok_and(|named| named == *tree);
        let Some((before, _, known)) = self.held.newest(folder).filter(just_its_tree) else { return Ok(None) };
        let from = names::join(&self.folder, folder);
        let left_out = |path: &[u8]| self.excluded.has(&names::join(folder, path));
        let entries = self.whole(commit, |repository| {
            let asked = bundles::Asked { repository, from: &from, limits: &self.limits, sizes: &self.sizes, left_out: &left_out };
            bundles::next(&asked, (before, &known), tree)
        })?;
        Ok(entries.map(|entries| (tree.to_string(), Arc::new(entries))))
    }

    /// Reads all that a folder holds.
    fn assembled(&self, at: &At, folder: &[u8]) -> Answer<(String, Arc<Entries>)> {
        let from = names::join(&self.folder, folder);
        let mut leaves = self.leaves(at, folder, Rule::Writable)?;
        leaves.retain(|path, _| !self.excluded.has(&names::join(folder, path)));
        let assembled = self.whole(at.commit(), |repository| {
            let mut leaves = leaves.clone();
            self.sizes.learn(repository, &mut leaves)?;
            tree::assemble(&leaves, &from, &self.limits, |path, leaf| match at {
                At::Commit(_) => repository.object_of(leaf.id, Kind::Blob),
                At::WorkTree(tree) => tree.read(repository, &names::join(&from, path), leaf),
            })
        })?;
        Ok((assembled.digest.to_string(), Arc::new(assembled.entries)))
    }

    /// The tree that lies at a path below the repository's root; `Code::Absent` when there is no such folder.
    fn tree_at(&self, repository: &Repository, commit: ObjectId, from: &[u8]) -> Result<ObjectId, Fault> {
        let absent = |why: &str| self.absent(&format!("folder {}", encode_path(from)), why);
        match tree::find(repository, tree::of_commit(repository, commit)?, from)? {
            None if self.own => Err(absent("there is no such folder").help(UNRECORDED).into()),
            None => Err(absent("there is no such folder").into()),
            Some((mode, _)) if mode.is_commit() => Err(names::refuse(from, "it is a submodule, and submodules are not followed").into()),
            Some((mode, _)) if !mode.is_tree() => Err(absent("it is a file").into()),
            Some((_, tree)) => Ok(tree),
        }
    }

    /// All leaves below a folder, by their path from there; `Code::Absent` when there is no such folder.
    fn leaves(&self, at: &At, folder: &[u8], rule: Rule) -> Answer<Leaves> {
        let from = names::join(&self.folder, folder);
        match at {
            At::Commit(commit) => self.whole(*commit, |repository| {
                let tree = self.tree_at(repository, *commit, &from)?;
                tree::leaves(repository, tree, &from, rule, &self.limits)
            }),
            At::WorkTree(tree) => {
                let begins = if from.is_empty() { Vec::new() } else { [&from[..], b"/"].concat() };
                let inside = tree.leaves.range(begins.clone()..).take_while(|(path, _)| path.starts_with(&begins));
                let leaves: Leaves = inside.map(|(path, leaf)| (path[begins.len()..].to_vec(), leaf.clone())).collect();
                if leaves.is_empty() && !from.is_empty() {
                    let absent = self.absent(&format!("folder {}", encode_path(&from)), "there is no such folder");
                    return Err(absent.help(UNRECORDED));
                }
                if rule == Rule::Writable {
                    leaves.keys().try_for_each(|path| names::check(&names::join(&from, path)))?;
                }
                Ok(leaves)
            }
        }
    }

    /// The paths of all files.
    pub(in crate::git) fn list(&self, revision: &Revision) -> Answer<Vec<String>> {
        let leaves = self.leaves(&self.at(revision)?, b"", Rule::Sound)?;
        let files = leaves.iter().filter(|(_, leaf)| matches!(leaf.kind, EntryKind::Blob | EntryKind::BlobExecutable));
        Ok(files.map(|(path, _)| encode_path(path)).collect())
    }

    pub(in crate::git) fn read(&self, revision: &Revision, path: &[u8]) -> Answer<Vec<u8>> {
        let at = self.at(revision)?;
        let full = names::join(&self.folder, path);
        let absent = |why: &str| self.absent(&encode_path(&full), why);
        self.whole(at.commit(), |repository| {
            let found = match &at {
                At::Commit(commit) => {
                    let found = tree::find(repository, tree::of_commit(repository, *commit)?, &full)?;
                    found.map(|(mode, id)| tree::Leaf { kind: mode.kind(), id, bytes: None })
                }
                At::WorkTree(tree) => tree.leaves.get(&full).cloned(),
            };
            let leaf = found.ok_or_else(|| absent("there is no such file"))?;
            match (leaf.kind, &at) {
                (EntryKind::Blob | EntryKind::BlobExecutable, At::Commit(_)) => repository.object_of(leaf.id, Kind::Blob),
                (EntryKind::Blob | EntryKind::BlobExecutable, At::WorkTree(tree)) => tree.read(repository, &full, &leaf),
                (EntryKind::Link, _) => Err(names::refuse(&full, "it is a link, and links are not followed here").into()),
                (EntryKind::Tree, _) => Err(absent("it is a folder").into()),
                (EntryKind::Commit, _) => Err(names::refuse(&full, "it is a submodule, and submodules are not followed").into()),
            }
        })
    }
}
