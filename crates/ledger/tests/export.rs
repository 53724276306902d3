//! The exported log, read as an outsider reads it: by the format alone.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::{Place, append};
use trued_ledger::checkpoint;
use trued_ledger::note::VerifierKey;
use trued_ledger::tree::{Frontier, leaf_hash};
use trued_ledger::{Ledger, Mode};
use trued_model::{Code, Digest};

fn exported(place: &Place) -> (PathBuf, Ledger) {
    let (to, ledger) = (place.state.with_file_name("tiles"), place.open(Mode::ReadOnly));
    ledger.export(&to).unwrap();
    (to, ledger)
}

fn files(of: &Path) -> Vec<String> {
    fn walk(at: &Path, of: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { walk(&path, of, found) } else { found.push(path.strip_prefix(of).unwrap().to_string_lossy().into_owned()) }
        }
    }
    let mut found = Vec::new();
    walk(of, of, &mut found);
    found.sort();
    found
}

/// Splits a bundle at its 16-bit lengths.
fn entries(bundle: &[u8]) -> Vec<&[u8]> {
    let (mut rest, mut found) = (bundle, Vec::new());
    while let [high, low, tail @ ..] = rest {
        let (entry, after) = tail.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        found.push(entry);
        rest = after;
    }
    assert!(rest.is_empty());
    found
}

#[test]
fn tiles_hold_the_log_that_the_checkpoint_signs() {
    let place = Place::new();
    let ledger = place.open(Mode::Create);
    append(&ledger, 0..600);
    let (to, _) = exported(&place);
    let expect = [
        "checkpoint",
        "key.pub",
        "tile/0/000",
        "tile/0/001",
        "tile/0/002.p/88",
        "tile/1/000.p/2",
        "tile/entries/000",
        "tile/entries/001",
        "tile/entries/002.p/88",
    ];
    assert_eq!(files(&to), expect);
    let read = |path: &str| fs::read(to.join(path)).unwrap();
    let key: VerifierKey = String::from_utf8(read("key.pub")).unwrap().parse().unwrap();
    let head = checkpoint::open(&String::from_utf8(read("checkpoint")).unwrap(), &key).unwrap();

    let mut frontier = Frontier::default();
    let mut upper: Vec<Digest> = Vec::new();
    for name in ["000", "001", "002.p/88"] {
        let (bundle, hashes) = (read(&format!("tile/entries/{name}")), read(&format!("tile/0/{name}")));
        let leaves: Vec<Digest> = entries(&bundle).into_iter().map(leaf_hash).collect();
        assert_eq!(leaves.iter().flat_map(|leaf| leaf.0).collect::<Vec<u8>>(), hashes);
        leaves.into_iter().for_each(|leaf| frontier.push(leaf, |level, _, hash| upper.extend((level == 1).then_some(*hash))));
    }
    assert_eq!((frontier.size(), frontier.root()), (head.size, head.root));
    assert_eq!(upper.iter().flat_map(|hash| hash.0).collect::<Vec<u8>>(), read("tile/1/000.p/2"));
}

#[test]
fn a_folder_is_exported_to_again_as_the_log_grows_and_only_then() {
    let place = Place::new();
    let ledger = place.open(Mode::Create);
    append(&ledger, 0..10);
    let (to, _) = exported(&place);
    append(&ledger, 10..300);
    exported(&place);
    let later = fs::read(to.join("checkpoint")).unwrap();
    assert_eq!(String::from_utf8(later.clone()).ok(), ledger.checkpoint().unwrap());

    let other = Place::new();
    append(&other.open(Mode::Create), 0..5);
    let refusal = other.open(Mode::ReadOnly).export(&to).unwrap_err();
    assert_eq!(refusal.code, Code::Invalid, "a smaller log of the same name");
    assert_eq!(fs::read(to.join("checkpoint")).unwrap(), later);
}

#[test]
fn a_bent_record_is_not_exported() {
    for sql in ["UPDATE entries SET leaf = x'7b7d' WHERE idx = 3", "DELETE FROM entries WHERE idx = 3", "DELETE FROM entries WHERE idx > 3"]
    {
        let place = Place::new();
        append(&place.open(Mode::Create), 0..10);
        place.tamper(sql);
        let to = place.state.with_file_name("tiles");
        assert_eq!(place.open(Mode::ReadOnly).export(&to).unwrap_err().code, Code::Invalid);
        assert!(!to.join("checkpoint").exists(), "without a checkpoint it is no log");
    }
}
