//! A folder with a configuration, a source, a root and a record, the program to work on it, and what must hold there
//! after any run, however it ended.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use trued_doors::{Clock, Query};
use trued_ledger::{Ledger, Mode, Verification, VerifyOptions};
use trued_model::body::{Intent, Landed, Verdict};
use trued_model::{Indexed, Kind, Timestamp};

pub const TRUED: &str = env!("CARGO_BIN_EXE_trued");

/// What is wrong after a run.
pub type Holds = Result<(), String>;

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Thing {
    File { text: String, runs: bool },
    Link(String),
    Folder,
}

pub type Tree = BTreeMap<String, Thing>;

pub struct Ground {
    folder: tempfile::TempDir,
}

/// Reading needs no time.
struct NoClock;

impl Clock for NoClock {
    fn now(&self) -> Timestamp {
        Timestamp(0)
    }
    fn monotonic(&self) -> u64 {
        0
    }
    fn fresh_id(&self) -> String {
        String::new()
    }
    fn chance(&self, _bound: u64) -> u64 {
        0
    }
}

impl Ground {
    /// One stack; the source has six files in two folders, one that runs, and a link.
    pub fn new() -> Ground {
        let ground = Ground { folder: tempfile::tempdir().expect("a folder") };
        fs::create_dir(ground.path("www")).expect("made");
        ground.settings("");
        for name in ["index.html", "about.html", "css/main.css", "old/gone.html"] {
            ground.write(&format!("site/{name}"), &format!("{name}, first\n"));
        }
        ground.write("site/run.sh", "first\n");
        ground.mode("site/run.sh", 0o755);
        ground.write("site/turns", "a file that becomes a folder\n");
        symlink("index.html", ground.path("site/home")).expect("linked");
        ground
    }

    /// Writes the configuration; `more` are further keys of the stack.
    pub fn settings(&self, more: &str) {
        self.write("trued.yaml", &format!("stacks:\n  homepage:\n    path: site\n    target: {{ files: {{ root: www }} }}\n{more}"));
    }

    /// The second revision: created, updated, deleted, another mode, another link, a file that is a folder now.
    pub fn edit(&self) {
        self.write("site/index.html", "index.html, second\n");
        self.write("site/deep/new.html", "new\n");
        fs::remove_dir_all(self.path("site/old")).expect("removed");
        self.mode("site/run.sh", 0o644);
        fs::remove_file(self.path("site/home")).expect("removed");
        symlink("about.html", self.path("site/home")).expect("linked");
        fs::remove_file(self.path("site/turns")).expect("removed");
        self.write("site/turns/inside.html", "inside\n");
    }

    /// Somebody else's hand.
    pub fn meddle(&self) {
        self.write("www/index.html", "by hand\n");
        fs::remove_file(self.path("www/about.html")).expect("removed");
        self.mode("www/css/main.css", 0o755);
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    pub fn write(&self, below: &str, text: &str) {
        let path = self.path(below);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(path, text).expect("written");
    }

    fn mode(&self, below: &str, mode: u32) {
        fs::set_permissions(self.path(below), fs::Permissions::from_mode(mode)).expect("changed");
    }

    /// The same ground elsewhere.
    pub fn copy(&self) -> Ground {
        let copy = Ground { folder: tempfile::tempdir().expect("a folder") };
        copy_tree(&self.path("."), &copy.path("."));
        copy
    }

    /// The program on one thread, and one more for what blocks.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(TRUED);
        command.args(words).current_dir(self.folder.path()).env("TRUED_THREADS", "1").env("TRUED_LOG", "warn");
        for name in ["TRUED_CONFIG", "TRUED_STATE", "TRUED_COUNTERS"] {
            command.env_remove(name);
        }
        command.stdin(Stdio::null());
        command
    }

    /// Runs a verb; gives its status, what it said, and how many resources it changed.
    pub fn run(&self, words: &[&str]) -> (i32, String, u64) {
        let counters = self.path("counters");
        let output = self.command(words).env("TRUED_COUNTERS", &counters).output().expect("trued starts");
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let counted: serde_json::Value = fs::read(&counters).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        (output.status.code().unwrap_or(-1), said, counted["target_writes"].as_u64().unwrap_or(0))
    }

    /// Runs a verb that must end with this status; gives how many resources it changed.
    pub fn must(&self, words: &[&str], status: i32) -> Result<u64, String> {
        match self.run(words) {
            (ended, _, written) if ended == status => Ok(written),
            (ended, said, _) => Err(format!("trued {words:?} ended with {ended}: {said}")),
        }
    }

    /// What stands below a folder, leaving out `.trued`.
    pub fn tree(&self, below: &str) -> Tree {
        let mut tree = Tree::new();
        gather(&self.path(below), "", &mut tree);
        tree
    }

    pub fn entries(&self, kinds: &[Kind]) -> Vec<Indexed> {
        let query = Query { kinds: kinds.to_vec(), ascending: true, ..Query::default() };
        let executor = tokio::runtime::Builder::new_current_thread().build().expect("an executor");
        executor.block_on(self.ledger().store.find(query)).expect("a record that can be read")
    }

    fn ledger(&self) -> Ledger {
        Ledger::open(&self.path(".trued"), Arc::new(NoClock), Mode::ReadOnly).expect("a record that can be opened")
    }

    /// Each file, link and folder is as it was before or as it is to be, and nothing else is there.
    pub fn is_whole(&self, old: &Tree, new: &Tree) -> Holds {
        for (path, there) in &self.tree("www") {
            // A folder on the way to something that is to come or to go.
            let passing = *there == Thing::Folder;
            if !passing && old.get(path) != Some(there) && new.get(path) != Some(there) {
                return Err(format!("{path} is neither old nor new: {there:?}"));
            }
        }
        Ok(())
    }

    /// Where anything of the target is not as it was, an intent is on record, and where the program said that a change
    /// landed, it did.
    pub fn is_recorded(&self, old: &Tree, intents_before: usize) -> Holds {
        let known = self.path(".trued/ledger.sqlite").exists();
        let intents = if known { self.entries(&[Kind::Intent]).len() } else { 0 };
        let files = |tree: &Tree| {
            tree.iter().filter(|(_, thing)| **thing != Thing::Folder).map(|(path, thing)| (path.clone(), thing.clone())).collect::<Tree>()
        };
        if files(&self.tree("www")) != files(old) && intents == intents_before {
            return Err("the target was changed and no intent is on record".to_owned());
        }
        Ok(())
    }

    /// Every change that a receipt of the newest run tells of is there. Intents of before count for nothing.
    pub fn tells_no_lie(&self, intents_before: usize) -> Holds {
        let known = self.path(".trued/ledger.sqlite").exists();
        let mut intents = if known { self.entries(&[Kind::Intent]).split_off(intents_before) } else { Vec::new() };
        let Some(intent) = intents.pop() else { return Ok(()) };
        let ledger = self.ledger();
        let tree = self.tree("www");
        for receipt in self.entries(&[Kind::Receipt]).iter().filter(|receipt| receipt.entry.link("receipt-of") == Some(intent.index)) {
            let Some(blob) = receipt.entry.blob("changes") else { continue };
            let bytes = ledger.blobs.get(&blob.digest).map_err(|refusal| format!("#{}: {refusal}", receipt.index))?;
            let landed: Vec<Landed> = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
            // A folder may stand where a file went: it is on the way to another file, even if that one did not land.
            let as_said = |landed: &&Landed| match tree.get(landed.address.as_str()) {
                Some(Thing::Folder) => true,
                there => there.is_some() == landed.after.is_some(),
            };
            if let Some(lie) = landed.iter().find(|landed| !as_said(landed)) {
                return Err(format!("#{} says that {} landed, and it is not so", receipt.index, lie.address));
            }
        }
        Ok(())
    }

    /// The record proves itself, every intent has its end, and epochs only grow from run to run.
    pub fn is_proven(&self) -> Holds {
        match self.ledger().verify(&VerifyOptions { deep: true, ..VerifyOptions::default() }) {
            Ok(Verification::Verified { remarks, .. }) if remarks.is_empty() => {}
            other => return Err(format!("the record does not verify: {other:?}")),
        }
        let mut last = (0, None);
        for intent in self.entries(&[Kind::Intent]) {
            let epoch = intent.entry.body::<Intent>().map_err(|error| error.to_string())?.epoch;
            if epoch < last.0 || (epoch == last.0 && intent.entry.run != last.1 && !self.served()) {
                return Err(format!("intent #{} has epoch {epoch} after {}", intent.index, last.0));
            }
            last = (epoch, intent.entry.run.clone());
        }
        let verdicts = self.entries(&[Kind::Verdict]);
        let epochs: Vec<u64> = verdicts.iter().filter_map(|verdict| verdict.entry.body::<Verdict>().ok()?.epoch).collect();
        if !epochs.is_sorted() {
            return Err(format!("the verdicts' epochs go back: {epochs:?}"));
        }
        Ok(())
    }

    /// One long-lived process makes many runs under one lease.
    fn served(&self) -> bool {
        !self.entries(&[Kind::Heartbeat]).is_empty()
    }

    /// The target is as desired, nothing of ours lies about, and there is nothing left to do.
    pub fn is_settled(&self, desired: &Tree) -> Holds {
        let there = self.tree("www");
        if there != *desired {
            return Err(format!("the target is not as desired: {there:#?}"));
        }
        let left = self.leftovers();
        if !left.is_empty() {
            return Err(format!("left lying about: {left:?}"));
        }
        Ok(())
    }

    /// Drafts and stages that nobody will look at again.
    fn leftovers(&self) -> Vec<String> {
        let below = |folder: &str| {
            let inside = fs::read_dir(self.path(folder)).into_iter().flatten().flatten();
            inside.map(|entry| format!("{folder}/{}", entry.file_name().to_string_lossy())).collect::<Vec<_>>()
        };
        let draft = |path: &String| path.rsplit('/').next().is_some_and(|name| name.starts_with('.') && name != ".gitignore");
        let mut left: Vec<String> = [below("www/.trued/stage"), below(".trued/blobs/incoming")].concat();
        left.extend(below("www/.trued").into_iter().filter(|path| path.ends_with(".new") || path.ends_with("/kept")));
        left.extend([below(".trued"), below(".trued/keys"), below(".trued/cache")].concat().into_iter().filter(draft));
        left
    }
}

fn copy_tree(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a folder").flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().expect("a kind");
        if kind.is_dir() {
            fs::create_dir(&to).expect("made");
            fs::set_permissions(&to, entry.metadata().expect("a mode").permissions()).expect("changed");
            copy_tree(&from, &to);
        } else if kind.is_symlink() {
            symlink(fs::read_link(&from).expect("a link"), &to).expect("linked");
        } else if kind.is_file() {
            fs::copy(&from, &to).expect("copied");
        }
    }
}

fn gather(folder: &Path, at: &str, tree: &mut Tree) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == ".trued" {
            continue;
        }
        let path = if at.is_empty() { name } else { format!("{at}/{name}") };
        let kind = entry.file_type().expect("a kind");
        if kind.is_dir() {
            gather(&entry.path(), &path, tree);
            tree.insert(path, Thing::Folder);
        } else if kind.is_symlink() {
            tree.insert(path, Thing::Link(fs::read_link(entry.path()).expect("a link").to_string_lossy().into_owned()));
        } else {
            let runs = entry.metadata().expect("a mode").permissions().mode() & 0o100 != 0;
            tree.insert(path, Thing::File { text: String::from_utf8_lossy(&fs::read(entry.path()).expect("read")).into_owned(), runs });
        }
    }
}
