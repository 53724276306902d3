//! Writes a record of a given number of entries into a state folder, as years of runs leave one: intents, receipts,
//! verdicts with what was seen, and heartbeats, of 200 stacks, one entry a second. `long_record FOLDER ENTRIES`

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use kit::Counting;
use serde_json::{Value, json};
use trued_ledger::{Ledger, Mode};
use trued_model::{Actor, Address, BlobNote, BlobRef, Digest, Draft, Fingerprint, Item, Kind, Link, Manifest, StackId, Timestamp};

mod kit;

/// Runs that are appended at once, and entries of a run: intent, receipt, verdict.
const RUNS: usize = 200;
const OF_A_RUN: usize = 3;

/// 2026-01-01T00:00:00Z.
const BEGIN: i64 = 1_767_225_600_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let (folder, entries) = (words.next().ok_or("which folder?")?, words.next().ok_or("how many entries?")?.parse::<usize>()?);
    let ledger = Ledger::open(Path::new(&folder), Arc::new(Counting::default()), Mode::Create)?;
    let manifest = manifest();
    for (_, bytes) in &manifest.blobs {
        ledger.blobs.put(bytes)?;
    }
    let looks = ledger.blobs.put(json!({ "at": {} }).to_string().as_bytes())?;
    ledger.blobs.flush()?;
    let (mut written, mut runs) = (0, 0);
    while written < entries {
        let mut drafts = Vec::new();
        for _ in 0..RUNS.min((entries - written).div_ceil(OF_A_RUN)) {
            let first = written + drafts.len();
            drafts.extend(of_a_run(runs, first, manifest.root));
            runs += 1;
        }
        drafts.push(heartbeat(written + drafts.len(), looks));
        written += drafts.len();
        ledger.store.append(drafts, None).await?;
    }
    Ok(())
}

fn of_a_run(run: usize, first: usize, observed: BlobRef) -> [Draft; OF_A_RUN] {
    let digest = Digest::of(&run.to_le_bytes());
    let intent = json!({ "plan": digest, "part": digest, "changes": 3, "epoch": "1", "desired": digest });
    let receipt = json!({ "batch": 1, "done": 3, "so_far": 3, "of": 3 });
    let verdict = json!({ "outcome": "landed", "done": 3, "of": 3, "verified": true, "desired": digest, "inputs": digest, "epoch": "1" });
    let link = |rel: &str| vec![Link::new(rel, first as u64)];
    let blobs = |roles: &[&str]| roles.iter().map(|role| BlobNote::new(*role, observed)).collect();
    [
        draft(run, first, Kind::Intent, intent, Vec::new(), blobs(&["plan"])),
        draft(run, first + 1, Kind::Receipt, receipt, link("receipt-of"), blobs(&["changes"])),
        draft(run, first + 2, Kind::Verdict, verdict, link("outcome-of"), blobs(&["inventory", "desired", "observed"])),
    ]
}

fn draft(run: usize, at: usize, kind: Kind, body: Value, links: Vec<Link>, blobs: Vec<BlobNote>) -> Draft {
    Draft {
        kind,
        stack: StackId::from_key(&format!("prod/site-{}@web-1", run % 200)),
        run: Some(kit::run(run)),
        valid_from: time(at),
        actor: Actor::engine(),
        cause: "source".to_owned(),
        revision: Some(Digest::of(&(run / 200).to_le_bytes()).hex()[..40].to_owned()),
        links,
        body,
        blobs,
    }
}

fn heartbeat(at: usize, looks: BlobRef) -> Draft {
    let blobs = vec![BlobNote::new("looks", looks)];
    Draft {
        stack: None,
        run: None,
        revision: None,
        ..draft(0, at, Kind::Heartbeat, json!({ "stacks": 0, "interval": "1m" }), Vec::new(), blobs)
    }
}

fn time(at: usize) -> Timestamp {
    Timestamp(BEGIN + at as i64 * 1000)
}

fn manifest() -> trued_model::PackedManifest {
    let item = |at: usize| {
        let content = BlobRef::of(at.to_string().as_bytes());
        let fingerprint = Fingerprint::new(format!("1:644:{}", content.digest));
        (Address::new(format!("page-{at}.html")), Item { fingerprint, content: Some(content), errand: false })
    };
    Manifest { items: (0..10).map(item).collect() }.pack()
}
