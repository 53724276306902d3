//! A state folder with a small story in it, written through the ledger itself, and the program to ask about it.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use serde_json::{Value, json};
use trued_doors::Clock;
use trued_ledger::{Ledger, Mode};
use trued_model::body::Looks;
use trued_model::{Actor, Address, BlobNote, BlobRef, Digest, Draft, Fingerprint, Item, Kind, Link, Manifest, StackId, Timestamp};

/// 2026-03-19T20:00:00Z: when the story begins.
pub const BEGIN: i64 = 1_773_950_400_000;
pub const COMMIT_ONE: &str = "1111111111111111111111111111111111111111";
pub const COMMIT_TWO: &str = "2222222222222222222222222222222222222222";

/// A clock that stands where it is put.
struct Standing(AtomicI64);

impl Clock for Standing {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
    fn monotonic(&self) -> u64 {
        0
    }
    fn fresh_id(&self) -> String {
        "0195ad5e-0000-7000-8000-000000000000".to_owned()
    }
    fn chance(&self, _bound: u64) -> u64 {
        0
    }
}

/// A folder that vanishes at the end, with a record in it.
pub struct Story {
    pub folder: tempfile::TempDir,
    clock: Arc<Standing>,
    ledger: Option<Ledger>,
}

pub fn stack(key: &str) -> StackId {
    StackId::from_key(key).expect("a stack")
}

pub fn seconds(after: i64) -> Timestamp {
    Timestamp(BEGIN + after * 1000)
}

impl Story {
    pub fn empty() -> Story {
        Story { folder: tempfile::tempdir().expect("a folder"), clock: Arc::new(Standing(AtomicI64::new(BEGIN))), ledger: None }
    }

    /// Two stacks. `dev` is as it was made; `prod` got two revisions, and then a stray line that is held.
    pub fn new() -> Story {
        let mut story = Story::empty();
        let (dev, prod) = (stack("dev/site@web"), stack("prod/site@web"));
        story.run(&dev, 0, COMMIT_ONE, &[("dev/index.html", "one\n"), ("dev/about.html", "about\n")]);
        story.run(&prod, 10, COMMIT_ONE, &[("prod/index.html", "one\n")]);
        let looks = Looks { at: [(prod.key(), seconds(60)), (dev.key(), seconds(61))].into() };
        let looks = story.blob("looks", &serde_json::to_vec(&looks).expect("JSON"));
        story.append(70, Kind::Heartbeat, None, json!({ "stacks": 2, "interval": "1m" }), vec![looks], vec![]);
        story.run(&prod, 100, COMMIT_TWO, &[("prod/index.html", "two\n"), ("prod/secret.conf", "sealed")]);
        let observed = story.manifest("observed", &[("prod/index.html", "two\nstray edit 7731\n"), ("prod/secret.conf", "sealed")]);
        let kept = story.blob("kept:prod/index.html", b"two\nstray edit 7731\n");
        let item = json!({
            "address": "prod/index.html", "cause": "changed-outside", "made": "1:file:644:a", "found": "1:file:644:b",
            "since": seconds(200), "line": 2, "evidence": { "by": "uid 1000", "grade": "C" },
        });
        let drift = json!({
            "policy": "hold", "count": 1, "items": [item], "unchanged_until": seconds(190), "set": Digest::of(b"set"),
            "next": "answer it: trued answer #N revert|adopt|ignore --reason TEXT",
        });
        story.append(200, Kind::DriftOpened, Some(&prod), drift, vec![observed, kept], vec![]);
        story
    }

    /// A run that landed: intent, receipt, verdict. Content `sealed` stands for a secret.
    pub fn run(&mut self, stack: &StackId, at: i64, revision: &str, files: &[(&str, &str)]) -> u64 {
        let run = Some(format!("run-{at}"));
        let plan = Digest::of(revision.as_bytes());
        let count = files.len() as u64;
        let intent = json!({ "plan": plan, "part": plan, "changes": count, "epoch": "1" });
        let mut draft = self.draft(at, Kind::Intent, Some(stack), intent, vec![], vec![]);
        (draft.run, draft.revision) = (run.clone(), Some(revision.to_owned()));
        let intent = self.put(draft);
        let landed: Vec<Value> =
            files.iter().map(|(path, _)| json!({ "address": path, "action": "update", "before": null, "after": null })).collect();
        let changes = self.blob("changes", &serde_json::to_vec(&landed).expect("JSON"));
        let receipt = json!({ "batch": 1, "done": count, "so_far": count, "of": count });
        let mut draft = self.draft(at + 1, Kind::Receipt, Some(stack), receipt, vec![changes], vec![Link::new("receipt-of", intent)]);
        (draft.run, draft.revision) = (run.clone(), Some(revision.to_owned()));
        self.put(draft);
        let blobs = ["observed", "desired", "inventory"].map(|role| self.manifest(role, files));
        let desired = blobs[1].blob.digest;
        let verdict = json!({ "outcome": "landed", "done": count, "of": count, "verified": true, "desired": desired });
        let mut draft = self.draft(at + 2, Kind::Verdict, Some(stack), verdict, blobs.to_vec(), vec![Link::new("outcome-of", intent)]);
        (draft.run, draft.revision) = (run, Some(revision.to_owned()));
        self.put(draft)
    }

    pub fn append(&mut self, at: i64, kind: Kind, stack: Option<&StackId>, body: Value, blobs: Vec<BlobNote>, links: Vec<Link>) -> u64 {
        let draft = self.draft(at, kind, stack, body, blobs, links);
        self.put(draft)
    }

    pub fn draft(&self, at: i64, kind: Kind, stack: Option<&StackId>, body: Value, blobs: Vec<BlobNote>, links: Vec<Link>) -> Draft {
        Draft {
            kind,
            stack: stack.cloned(),
            run: None,
            valid_from: seconds(at),
            actor: Actor::engine(),
            cause: "source".to_owned(),
            revision: None,
            links,
            body,
            blobs,
        }
    }

    pub fn put(&mut self, draft: Draft) -> u64 {
        self.clock.0.store(draft.valid_from.0, Ordering::Relaxed);
        let store = self.ledger().store.clone();
        let executor = tokio::runtime::Builder::new_current_thread().build().expect("an executor");
        executor.block_on(store.append(vec![draft], None)).expect("appended")[0].index
    }

    pub fn blob(&mut self, role: &str, bytes: &[u8]) -> BlobNote {
        BlobNote::new(role, self.ledger().blobs.put(bytes).expect("stored"))
    }

    pub fn manifest(&mut self, role: &str, files: &[(&str, &str)]) -> BlobNote {
        let mut item = |text: &str| {
            let stored = self.ledger().blobs.put(text.as_bytes()).expect("stored");
            let sealed = text == "sealed";
            Item {
                fingerprint: Fingerprint::new(format!("1:file:644:{}", stored.digest.hex())),
                content: Some(BlobRef { sealed, ..stored }),
                errand: false,
            }
        };
        let items = files.iter().map(|(path, text)| (Address::new(*path), item(text))).collect();
        let packed = Manifest { items }.pack();
        for (_, bytes) in &packed.blobs {
            self.ledger().blobs.put(bytes).expect("stored");
        }
        self.ledger().blobs.flush().expect("flushed");
        BlobNote::new(role, packed.root)
    }

    fn ledger(&mut self) -> &Ledger {
        let (state, clock) = (self.state(), self.clock.clone());
        self.ledger.get_or_insert_with(|| Ledger::open(&state, clock, Mode::Create).expect("a ledger"))
    }

    /// Lets go of the ledger, so that its file is whole by itself.
    pub fn close(&mut self) {
        self.ledger = None;
    }

    /// Writes a file below the folder.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.folder.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    }

    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trued"));
        command.args(arguments).current_dir(self.folder.path());
        command.env_remove("TRUED_CONFIG").env_remove("TRUED_COUNTERS").env("TRUED_STATE", self.state()).env("TZ", "UTC");
        command
    }

    pub fn ask(&self, arguments: &[&str]) -> Said {
        Said::of(self.command(arguments).output().expect("started"))
    }

    pub fn json(&self, arguments: &[&str]) -> Value {
        let said = self.ask(&[arguments, &["--output", "json"]].concat());
        serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{arguments:?} gives no JSON: {error}: {said:?}"))
    }
}

/// What the program said.
#[derive(Debug)]
pub struct Said {
    pub status: i32,
    pub out: String,
    pub error: String,
}

impl Said {
    pub fn of(output: Output) -> Said {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        Said { status: output.status.code().unwrap_or(-1), out: text(output.stdout), error: text(output.stderr) }
    }
}
