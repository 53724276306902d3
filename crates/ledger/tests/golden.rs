//! The canonical bytes of a full entry and of a checkpoint, which leave the house: added to, never changed. The files
//! were made by other programs than this one: another JSON writer, another SHA-256, another Ed25519.

mod support;

use std::fs;

use futures::executor::block_on;
use serde_json::json;
use support::Place;
use trued_doors::conformance::store::{START, draft};
use trued_ledger::Mode;
use trued_model::{Actor, BlobNote, BlobRef, Draft, Entry, Kind, Link};

fn full() -> Draft {
    Draft {
        kind: Kind::DriftOpened,
        stack: trued_model::StackId::from_key("prod/site@web-1"),
        run: Some("0192c0de-0000-7000-8000-000000000001".to_owned()),
        actor: Actor { kind: "person".to_owned(), id: "ada".to_owned(), evidence: "peer-credentials".to_owned() },
        cause: "drift".to_owned(),
        revision: Some("9f1c5e0a7d1f4c0f8f7b0a6c2d3e4f5061728394".to_owned()),
        links: vec![Link::new("caused-by", 0)],
        body: json!({ "policy": "hold", "count": 1, "next": "trued answer #1 WORD", "text": "é \u{1F600} \" \\ \n \u{1}", "share": 0.25 }),
        blobs: vec![
            BlobNote::new("observed", BlobRef::of(b"observed")),
            BlobNote::new("kept:prod/index.html", BlobRef { sealed: true, ..BlobRef::of(b"kept") }),
        ],
        ..draft(Kind::Observed, None, 0)
    }
}

fn golden(name: &str) -> Vec<u8> {
    fs::read(format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

#[test]
fn an_entry_is_written_as_it_always_was() {
    let leaf = Entry::new(full(), START).leaf();
    assert_eq!(String::from_utf8(leaf), String::from_utf8(golden("entry.json")));
    let read: Entry = serde_json::from_slice(&golden("entry.json")).unwrap();
    assert_eq!(read, Entry::new(full(), START));
}

/// A whole ledger of that entry and one before it, under a fixed key: origin, root and signature.
#[test]
fn a_checkpoint_is_signed_as_it_always_was() {
    let place = Place::new();
    drop(place.open(Mode::Create));
    let key = place.state.join("keys/log.key");
    fs::write(&key, golden("log.key")).unwrap();
    fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let ledger = place.open(Mode::Existing);
    block_on(ledger.store.append(vec![draft(Kind::Intent, None, 0), full()], None)).unwrap();
    assert_eq!(block_on(ledger.store.leaves(1, 2)).unwrap(), [golden("entry.json")]);
    assert_eq!(ledger.checkpoint().unwrap(), String::from_utf8(golden("checkpoint")).ok());
}
