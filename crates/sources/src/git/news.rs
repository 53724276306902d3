//! What is new between two commits: which commits came, and which files differ. Both are read from verified objects, and
//! what cannot be decided counts as new.

use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet};

use gix::ObjectId;
use gix::objs::tree::EntryMode;
use gix::objs::{Kind, TreeRefIter};
use trued_model::{Code, Refusal, encode_path};

use super::history;
use super::repository::{Fault, Repository};
use super::settings::Limits;
use super::tree;
use crate::names;

/// Most commits that may be new at once.
const MOST: usize = 100_000;
/// Deepest folder in a tree.
const DEEPEST: usize = 256;

/// The commits that came.
pub(super) struct News {
    /// Newest first; at least the head.
    pub(super) commits: Vec<ObjectId>,
    /// Those the branch itself went through: the head, its first parent, and so on.
    pub(super) line: HashSet<ObjectId>,
    /// Whether the head has the old commit among its ancestors. If not, only the head is looked at.
    pub(super) follows: bool,
}

/// Collects the commits that lead to `head` and not to `since`. An ancestor of `since` that cannot be told to be one, as
/// when times are out of order, counts as new: that can only ask for more signatures, never for fewer.
pub(super) fn commits(repository: &Repository, head: ObjectId, since: Option<ObjectId>) -> Result<News, Fault> {
    let alone = News { commits: vec![head], line: HashSet::from([head]), follows: false };
    let Some(since) = since.filter(|since| *since != head) else { return Ok(alone) };
    let mut walk = Walk { repository, known: HashMap::new(), ahead: BinaryHeap::new(), new: 0 };
    walk.reach(head, FROM_HEAD)?;
    walk.reach(since, OLD)?;
    while let (true, Some((.., id))) = (walk.new > 0, walk.ahead.pop()) {
        walk.pass(id)?;
    }
    let known = walk.known;
    if known.get(&since).is_none_or(|since| since.reached & FROM_HEAD == 0) {
        return Ok(alone);
    }
    let is_new = |id: &ObjectId| known.get(id).filter(|known| known.reached & OLD == 0);
    let mut commits: Vec<(i64, ObjectId)> = known.keys().filter_map(|id| is_new(id).map(|known| (known.time, *id))).collect();
    commits.sort_by_key(|(time, id)| (*id != head, std::cmp::Reverse(*time), *id));
    let mut line = HashSet::new();
    let mut at = Some(head);
    while let Some((id, known)) = at.and_then(|id| Some((id, is_new(&id)?))) {
        line.insert(id);
        at = known.parents.first().copied();
    }
    Ok(News { commits: commits.into_iter().map(|(_, id)| id).collect(), line, follows: true })
}

/// The head leads to it.
const FROM_HEAD: u8 = 1;
/// The old commit leads to it, or is it.
const OLD: u8 = 2;

/// A walk over ancestors, newest first, that ends when nothing that waits can be new.
struct Walk<'a> {
    repository: &'a Repository,
    known: HashMap<ObjectId, Known>,
    /// By time; of one second, what is old comes first, so that what it leads to is not taken for new.
    ahead: BinaryHeap<(i64, bool, ObjectId)>,
    /// How many wait that are not old as far as is known.
    new: usize,
}

struct Known {
    reached: u8,
    waits: bool,
    parents: Vec<ObjectId>,
    time: i64,
}

impl Walk<'_> {
    /// Notes from where a commit is reached; it waits to tell its parents if that is news.
    fn reach(&mut self, id: ObjectId, from: u8) -> Result<(), Fault> {
        if !self.known.contains_key(&id) {
            if self.known.len() >= MOST {
                return Err(too_many().into());
            }
            let (time, parents) = match history::step(self.repository, id) {
                // Before what was verified the history may end: nothing there is asked for.
                Err(Fault::Torn(torn)) if from & OLD != 0 && torn.is_missing(id) && self.known.len() > 1 => (i64::MIN, Vec::new()),
                read => read?,
            };
            self.known.insert(id, Known { reached: 0, waits: false, parents, time });
        }
        let Some(known) = self.known.get_mut(&id) else { return Ok(()) };
        if known.reached | from == known.reached {
            return Ok(());
        }
        let counted = known.waits && known.reached & OLD == 0;
        known.reached |= from;
        let counts = known.reached & OLD == 0;
        if !known.waits || from & OLD != 0 {
            known.waits = true;
            self.ahead.push((known.time, known.reached & OLD != 0, id));
        }
        self.new = self.new + usize::from(counts) - usize::from(counted);
        Ok(())
    }

    /// Tells the parents of a commit that waited from where it is reached.
    fn pass(&mut self, id: ObjectId) -> Result<(), Fault> {
        let Some(known) = self.known.get_mut(&id).filter(|known| known.waits) else { return Ok(()) };
        known.waits = false;
        self.new -= usize::from(known.reached & OLD == 0);
        let (parents, reached) = (known.parents.clone(), known.reached);
        parents.into_iter().try_for_each(|parent| self.reach(parent, reached))
    }
}

fn too_many() -> Refusal {
    let message = format!("verify what is new: more than {MOST} commits came at once, or their times are out of order");
    Refusal::new(Code::TooLarge, message).help("name a newer commit that you vouch for: since: COMMIT")
}

/// What lies at a path: its mode and its object; nothing when it is not there.
pub(super) type There = Option<(u16, ObjectId)>;

/// Finds the files below `folder` that differ between two commits, and what each is in the newer one. Without an older
/// one everything differs. Folders that are equal are not entered.
pub(super) fn files(
    repository: &Repository,
    old: Option<ObjectId>,
    new: ObjectId,
    folder: &[u8],
    limits: &Limits,
) -> Result<BTreeMap<String, There>, Fault> {
    let below = |commit: ObjectId| {
        let root = tree::of_commit(repository, commit)?;
        let found = tree::find(repository, root, folder)?;
        Ok::<_, Fault>(found.filter(|(mode, _)| mode.is_tree()).map(|(_, id)| id))
    };
    let old = old.map(below).transpose()?.flatten();
    let mut comparison = Comparison { repository, limits, trees: 0, differ: BTreeMap::new() };
    comparison.trees(old, below(new)?, b"", 0)?;
    Ok(comparison.differ)
}

/// What lies at a path, as [`files`] gives it, in one commit.
pub(super) fn file(repository: &Repository, commit: ObjectId, folder: &[u8], path: &[u8]) -> Result<There, Fault> {
    let root = tree::of_commit(repository, commit)?;
    let found = tree::find(repository, root, &names::join(folder, path))?;
    Ok(found.filter(|(mode, _)| !mode.is_tree()).map(|(mode, id)| (mode.value(), id)))
}

struct Comparison<'a> {
    repository: &'a Repository,
    limits: &'a Limits,
    trees: u64,
    differ: BTreeMap<String, There>,
}

impl Comparison<'_> {
    fn trees(&mut self, old: Option<ObjectId>, new: Option<ObjectId>, path: &[u8], depth: usize) -> Result<(), Fault> {
        if old == new {
            return Ok(());
        }
        self.trees += 1;
        if depth > DEEPEST || self.trees > self.limits.files {
            let message = "compare two commits: their folders are too many, or nested too deep";
            return Err(Refusal::new(Code::TooLarge, message).help("raise limits.files of the source").into());
        }
        let (old, new) = (self.entries(old, path)?, self.entries(new, path)?);
        for name in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
            let (before, after) = (old.get(name).copied(), new.get(name).copied());
            if before == after {
                continue;
            }
            let here = names::join_name(path, name);
            let folder = |entry: Option<(EntryMode, ObjectId)>| entry.filter(|(mode, _)| mode.is_tree()).map(|(_, id)| id);
            let leaf =
                |entry: Option<(EntryMode, ObjectId)>| entry.filter(|(mode, _)| !mode.is_tree()).map(|(mode, id)| (mode.value(), id));
            self.trees(folder(before), folder(after), &here, depth + 1)?;
            if leaf(before) != leaf(after) {
                self.differ.insert(encode_path(&here), leaf(after));
            }
        }
        Ok(())
    }

    fn entries(&self, tree: Option<ObjectId>, path: &[u8]) -> Result<BTreeMap<Vec<u8>, (EntryMode, ObjectId)>, Fault> {
        let mut entries = BTreeMap::new();
        let Some(tree) = tree else { return Ok(entries) };
        let bytes = self.repository.object_of(tree, Kind::Tree)?;
        for entry in TreeRefIter::from_bytes(&bytes, tree.kind()) {
            let entry = entry.map_err(|_| names::refuse(path, "the folder is malformed"))?;
            if entries.insert(entry.filename.to_vec(), (entry.mode, entry.oid.to_owned())).is_some() {
                return Err(names::refuse(&names::join_name(path, entry.filename), "the name stands twice in its folder").into());
            }
        }
        Ok(entries)
    }
}
