//! A root to test on, trees written as text, and the simplest planner that can be right.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use tempfile::TempDir;
use trued_doors::conformance::SteppedClock;
use trued_doors::conformance::driver::{HeldBlobs, PaperSeal};
use trued_doors::{Asked, Blobs as _, Done, Facts, Order};
use trued_model::{
    Action, Address, BlobRef, Change, Digest, Document, Duration, Fingerprint, Observation, Refusal, Resource, Seen, Shape, StackId,
    Timestamp,
};

use crate::tree::Tree;
use crate::{apply, observe, parse};

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Thing {
    File(Vec<u8>, bool),
    Link(String),
    Folder,
}

pub fn file(text: &str) -> Thing {
    Thing::File(text.as_bytes().to_vec(), false)
}

pub fn program(text: &str) -> Thing {
    Thing::File(text.as_bytes().to_vec(), true)
}

pub fn link(text: &str) -> Thing {
    Thing::Link(text.to_owned())
}

pub type Things = BTreeMap<String, Thing>;

pub fn things<const N: usize>(things: [(&str, Thing); N]) -> Things {
    things.into_iter().map(|(path, thing)| (path.to_owned(), thing)).collect()
}

pub type Outcome = Result<Option<Fingerprint>, Refusal>;

/// A root in a folder of its own, with the contents that are written from.
pub struct Ground {
    pub outside: TempDir,
    pub blobs: Arc<HeldBlobs>,
    pub facts: Facts,
}

impl Ground {
    pub fn new() -> Ground {
        Ground::in_folder(tempfile::tempdir().unwrap())
    }

    pub fn in_folder(outside: TempDir) -> Ground {
        std::fs::create_dir(outside.path().join("root")).unwrap();
        Ground { outside, blobs: Arc::default(), facts: Facts::default() }
    }

    /// Rules for owner, group and mode, as configuration has them.
    pub fn rule(&mut self, modes: serde_json::Value) {
        let rules = serde_json::from_value(modes).unwrap();
        assert_eq!(crate::rules::findings(&rules), []);
        self.facts.terms = crate::rules::resolve(&rules, &crate::caller::Caller::myself());
    }

    pub fn root(&self) -> PathBuf {
        self.outside.path().join("root")
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    /// A link's inside, as a process that has just started has it.
    pub fn tree(&self) -> Tree {
        self.tree_with(false)
    }

    pub fn tree_with(&self, create: bool) -> Tree {
        let clock = SteppedClock::at(Timestamp(1_795_000_000_000));
        Tree::new(self.root(), create, "trued/test".to_owned(), self.blobs.clone(), Arc::new(PaperSeal), Arc::new(clock))
    }

    pub fn document(&self, path: &str, thing: &Thing) -> Document {
        let (shape, content) = match thing {
            Thing::File(content, executable) => (Shape::File { executable: *executable }, content.clone()),
            Thing::Link(text) => (Shape::Link, text.as_bytes().to_vec()),
            Thing::Folder => (Shape::Folder, Vec::new()),
        };
        let blob = self.blobs.put(&content).unwrap();
        let text = (shape == Shape::Link).then(|| String::from_utf8(content.clone()).unwrap().into());
        Document { path: path.to_owned(), shape, identity: Digest::of(&content), content: blob, text }
    }

    pub fn resources(&self, wanted: &Things) -> BTreeMap<Address, Resource> {
        let documents: Vec<Document> = wanted.iter().map(|(path, thing)| self.document(path, thing)).collect();
        let parsed = parse::parse(&self.facts, "", &documents);
        assert_eq!(parsed.findings, []);
        parsed.resources.into_iter().map(|resource| (resource.address.clone(), resource)).collect()
    }

    /// Plans from what is there to what is wanted, touching only what is `owned` or wanted: removals first, children
    /// before parents; then the rest, parents first.
    pub fn plan(&self, tree: &Tree, owned: &BTreeSet<String>, wanted: &Things) -> Vec<Change> {
        let resources = self.resources(wanted);
        let addresses: BTreeSet<Address> = resources.keys().cloned().chain(owned.iter().map(Address::new)).collect();
        let asked = addresses
            .iter()
            .map(|address| Asked::new(address.clone(), false).like(resources.get(address).map(|resource| &resource.fingerprint)));
        let seen = observe::observe(tree, &asked.collect::<Vec<_>>());
        let mut changes = Vec::new();
        for address in &addresses {
            let there = match &seen.seen[address] {
                Seen::Present(state) => Some(state.fingerprint.clone()),
                Seen::Absent => None,
                other => panic!("{address}: {other:?}"),
            };
            let wanted = resources.get(address);
            let after = wanted.map(|resource| resource.fingerprint.clone());
            let kind = |fingerprint: &Fingerprint| fingerprint.as_str().split(':').nth(1).unwrap().to_owned();
            let action = match (&there, &after) {
                (there, after) if there == after => continue,
                (None, _) => Action::Create,
                (_, None) => Action::Delete,
                (Some(one), Some(other)) if kind(one) != kind(other) => Action::Replace,
                _ => Action::Update,
            };
            changes.push(change(action, address, there, after, wanted.and_then(|resource| resource.content)));
        }
        let depth = |change: &Change| change.address.as_str().matches('/').count();
        changes.sort_by_key(|change| match change.action {
            Action::Delete => (0, usize::MAX - depth(change)),
            _ => (1, depth(change)),
        });
        changes
    }

    pub fn look<'a>(&self, tree: &Tree, addresses: impl Iterator<Item = &'a Address>) -> Observation {
        let asked: Vec<Asked> = addresses.map(|address| Asked::new(address.clone(), false)).collect();
        observe::observe(tree, &asked)
    }

    pub fn seen(&self, path: &str) -> Seen {
        let address = Address::new(path);
        self.look(&self.tree(), [&address].into_iter()).seen[&address].clone()
    }

    /// Brings the root from what it is to what is wanted; every change must succeed.
    pub fn bring(&self, tree: &Tree, owned: &BTreeSet<String>, wanted: &Things) {
        let changes = self.plan(tree, owned, wanted);
        if changes.is_empty() {
            return;
        }
        for (outcome, change) in run(tree, &changes).into_iter().zip(&changes) {
            assert_eq!(outcome, Ok(change.after.clone()), "{} {}", change.action.word(), change.address);
        }
    }

    /// Begins with this tree, made by ourselves.
    pub fn begin(&self, wanted: &Things) -> BTreeSet<String> {
        self.bring(&self.tree(), &BTreeSet::new(), wanted);
        wanted.keys().cloned().collect()
    }

    /// Everything that is really below the root, folders that hold something included, without our own folder.
    pub fn everything(&self) -> Things {
        let mut all = Things::new();
        walk(&self.root(), "", &mut all);
        all
    }

    /// What the stage of our own folder holds.
    pub fn staged(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(".trued/stage")).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().into_string().unwrap()).collect()
    }
}

/// The whole tree that these things make, with the folders they lie in.
pub fn whole(wanted: &Things) -> Things {
    let mut all = wanted.clone();
    for path in wanted.keys() {
        for (at, _) in path.match_indices('/') {
            all.insert(path[..at].to_owned(), Thing::Folder);
        }
    }
    all
}

fn walk(folder: &Path, below: &str, all: &mut Things) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{below}{}", trued_model::encode_path(std::os::unix::ffi::OsStrExt::as_bytes(&*entry.file_name())));
        let kind = entry.file_type().unwrap();
        if path == ".trued" {
            continue;
        }
        let thing = if kind.is_symlink() {
            Thing::Link(std::fs::read_link(entry.path()).unwrap().to_str().unwrap().to_owned())
        } else if kind.is_dir() {
            walk(&entry.path(), &format!("{path}/"), all);
            Thing::Folder
        } else {
            let executable = entry.metadata().unwrap().permissions().mode() & 0o100 != 0;
            Thing::File(std::fs::read(entry.path()).unwrap(), executable)
        };
        all.insert(path, thing);
    }
}

pub fn change(
    action: Action,
    address: &Address,
    before: Option<Fingerprint>,
    after: Option<Fingerprint>,
    content: Option<BlobRef>,
) -> Change {
    let address = address.clone();
    Change {
        address,
        action,
        before,
        after,
        uid: None,
        other: None,
        content,
        keep: false,
        reasons: Vec::new(),
        hold: None,
        turn: None,
        awaits: None,
    }
}

pub fn stack(app: &str) -> StackId {
    StackId { environment: "default".parse().unwrap(), app: app.parse().unwrap(), target: "target".parse().unwrap() }
}

pub fn order(changes: &[Change]) -> Order {
    Order { stack: stack("app"), epoch: 1, key: "run/1".to_owned(), changes: changes.to_vec(), deadline: Duration::from_secs(60) }
}

/// Runs changes as one order, here and now.
pub fn run(tree: &Tree, changes: &[Change]) -> Vec<Outcome> {
    run_order(tree, &order(changes))
}

pub fn run_order(tree: &Tree, order: &Order) -> Vec<Outcome> {
    let (answers, mut done) = tokio::sync::mpsc::channel(order.changes.len().max(1));
    apply::apply(tree, order, &answers);
    let mut outcomes = BTreeMap::new();
    while let Ok(Done { change, result }) = done.try_recv() {
        assert!(outcomes.insert(change, result).is_none());
    }
    assert_eq!(outcomes.len(), order.changes.len());
    outcomes.into_values().collect()
}

const AGAIN: &str = "TRUED_TEST_AGAIN";

/// Runs a test once more in a process started by `wrap`, and says whether this is that process.
pub fn again(test: &str, wrap: impl FnOnce(&Path) -> Command) -> bool {
    if std::env::var_os(AGAIN).is_some() {
        return true;
    }
    let mut command = wrap(&std::env::current_exe().unwrap());
    let output = command.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(AGAIN, "1").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}{}", String::from_utf8_lossy(&output.stderr));
    false
}

/// Runs a test as a user without rights: root passes where others are refused. True in that user's process.
pub fn unprivileged(test: &str) -> bool {
    use std::os::unix::process::CommandExt as _;
    if !rustix::process::geteuid().is_root() {
        return true;
    }
    again(test, |program| {
        let mut command = Command::new(program);
        command.uid(65534).gid(65534).current_dir("/");
        command
    })
}
