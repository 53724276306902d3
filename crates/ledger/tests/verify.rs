//! Verifying: what was done to the record is found, and the first entry it was done to is named.

mod support;

use std::fs;

use futures::executor::block_on;
use serde_json::json;
use support::{Place, append};
use trued_doors::conformance::store::draft;
use trued_ledger::{Ledger, Mode, Verification, VerifyOptions};
use trued_model::{BlobNote, BlobRef, Draft, Kind, Link};

/// Three batches, the last checkpoint over 300 entries.
fn recorded() -> Place {
    let place = Place::new();
    let ledger = place.open(Mode::Create);
    append(&ledger, 0..10);
    append(&ledger, 10..299);
    append(&ledger, 299..300);
    place.verified();
    place
}

fn broken(place: &Place, options: &VerifyOptions) -> (Option<u64>, String) {
    match place.verify(options) {
        Verification::Broken { index, what } => (index, what),
        whole => panic!("{whole:?}"),
    }
}

fn broken_after(sql: &str) -> (Option<u64>, String) {
    let place = recorded();
    place.tamper(sql);
    broken(&place, &VerifyOptions::default())
}

/// Does it, and makes everything that follows from the record agree with it again: all but what the key signed.
fn thorough(place: &Place, sql: &str) {
    place.tamper(sql);
    place.open(Mode::Existing).rebuild_index().unwrap();
}

#[test]
fn fault_71_a_byte_edited() {
    let edited = "UPDATE entries SET leaf = CAST(replace(CAST(leaf AS TEXT), '\"n\":7', '\"n\":8') AS BLOB) WHERE idx = 7";
    let (index, what) = broken_after(edited);
    assert_eq!(index, Some(7), "{what}");

    let place = recorded();
    thorough(&place, edited);
    let (index, what) = broken(&place, &VerifyOptions::default());
    assert_eq!(index, Some(0), "with all hashes made anew only a signed head tells: {what}");
    assert!(what.contains("#0 to #9"), "{what}");

    let (index, what) = broken_after("UPDATE entries SET leaf = CAST(CAST(leaf AS TEXT) || ' ' AS BLOB) WHERE idx = 271");
    assert_eq!(index, Some(271));
    assert!(what.contains("canonical"), "{what}");
    let (index, _) = broken_after("UPDATE entries SET leaf = x'7b' WHERE idx = 12");
    assert_eq!(index, Some(12));
}

#[test]
fn fault_71_a_row_deleted() {
    let (index, what) = broken_after("DELETE FROM entries WHERE idx = 30");
    assert_eq!(index, Some(30), "{what}");
    let (index, what) = broken_after("DELETE FROM entries WHERE idx IN (0, 299)");
    assert_eq!(index, Some(0), "{what}");
    // The rows behind it moved up, as if it had never been there.
    let gone = "DELETE FROM entries WHERE idx = 30; UPDATE entries SET idx = -idx WHERE idx > 30; UPDATE entries SET idx = -idx - 1 WHERE idx < 0;";
    let (index, what) = broken_after(gone);
    assert_eq!(index, Some(30), "{what}");
    let place = recorded();
    thorough(&place, gone);
    let (index, what) = broken(&place, &VerifyOptions::default());
    assert_eq!(index, Some(299), "one is missing, and nothing says which: {what}");
}

#[test]
fn fault_71_two_rows_swapped() {
    let swapped = "UPDATE entries SET idx = -1 WHERE idx = 20; UPDATE entries SET idx = 20 WHERE idx = 31; UPDATE entries SET idx = 31 WHERE idx = -1;";
    let (index, what) = broken_after(swapped);
    assert_eq!(index, Some(20), "{what}");
}

#[test]
fn fault_71_the_tail_cut() {
    let place = recorded();
    place.tamper("DELETE FROM entries WHERE idx >= 290");
    let (index, what) = broken(&place, &VerifyOptions::default());
    assert_eq!(index, Some(290), "{what}");

    // Cut by somebody who also puts a checkpoint of the time back, and empties the folder of keys but for the keys.
    let place = recorded();
    let kept = place.open(Mode::ReadOnly).checkpoint().unwrap().unwrap();
    place.tamper("DELETE FROM checkpoints WHERE size > 256; DELETE FROM entries WHERE idx >= 256");
    fs::remove_file(place.state.join("keys/last-checkpoint")).unwrap();
    let cut = |against| broken(&place, &VerifyOptions { against, ..VerifyOptions::default() });
    assert_eq!(cut(None).0, Some(10), "no checkpoint over 256 entries was made");

    let place = Place::new();
    let ledger = place.open(Mode::Create);
    append(&ledger, 0..256);
    append(&ledger, 256..300);
    let kept_elsewhere = ledger.checkpoint().unwrap().unwrap();
    assert_ne!(kept_elsewhere, kept);
    drop(ledger);
    thorough(&place, "DELETE FROM checkpoints WHERE size > 256; DELETE FROM entries WHERE idx >= 256");
    let (index, what) = broken(&place, &VerifyOptions::default());
    assert_eq!(index, Some(256), "this folder has seen more: {what}");
    fs::remove_file(place.state.join("keys/last-checkpoint")).unwrap();
    assert!(
        matches!(place.verify(&VerifyOptions::default()), Verification::Verified { entries: 256, .. }),
        "from inside nothing is missing"
    );
    let (index, what) = broken(&place, &VerifyOptions { against: Some(kept_elsewhere), ..VerifyOptions::default() });
    assert_eq!(index, Some(256));
    assert!(what.contains("missing") && what.contains("300"), "{what}");
}

#[test]
fn an_earlier_checkpoint_is_a_beginning_of_the_record() {
    let place = Place::new();
    let ledger = place.open(Mode::Create);
    append(&ledger, 0..5);
    let earlier = ledger.checkpoint().unwrap().unwrap();
    append(&ledger, 5..400);
    let against = |note: &str| place.verify(&VerifyOptions { against: Some(note.to_owned()), ..VerifyOptions::default() });
    assert!(matches!(against(&earlier), Verification::Verified { entries: 400, checkpoints: 2, .. }));
    for (bent, says) in [
        (earlier.replace("\n5\n", "\n6\n"), "signature"),
        (recorded().open(Mode::ReadOnly).checkpoint().unwrap().unwrap(), "not signed by this key"),
        ("no checkpoint at all".to_owned(), "not a signed note"),
    ] {
        let Verification::Broken { index: None, what } = against(&bent) else { panic!("{bent}") };
        assert!(what.contains("checkpoint given") && what.contains(says), "{what}");
    }
    // The same key and name over another history: the ledger was made anew with it.
    let other = Place::at(place.state.with_file_name("other"));
    drop(other.open(Mode::Create));
    fs::copy(place.state.join("keys/log.key"), other.state.join("keys/log.key")).unwrap();
    append(&other.open(Mode::Create), 7..12);
    let (index, what) = broken(&other, &VerifyOptions { against: Some(earlier), ..VerifyOptions::default() });
    assert_eq!(index, Some(0), "{what}");
    assert!(what.contains("the checkpoint given"), "{what}");
}

#[test]
fn bent_heads_are_found() {
    for (sql, says) in [
        ("UPDATE checkpoints SET note = replace(note, 'trued/', 'trued_')", "not signed by this key"),
        ("UPDATE checkpoints SET size = size - 1 WHERE size = 256", "another number"),
        ("UPDATE meta SET value = 'trued/x+0badc0de+' WHERE name = 'key'", "not the one in keys/log.key"),
    ] {
        let place = recorded();
        append(&place.open(Mode::Existing), 300..900);
        place.tamper(&sql.replace("256", "300"));
        let (_, what) = broken(&place, &VerifyOptions::default());
        assert!(what.contains(says), "{what}");
    }
    let (index, what) = broken_after("DELETE FROM checkpoints");
    assert_eq!((index, what.contains("missing") || what.contains("under no")), (Some(0), true), "{what}");
}

#[test]
fn without_its_keys_the_record_still_verifies() {
    let place = recorded();
    fs::remove_dir_all(place.state.join("keys")).unwrap();
    assert!(matches!(place.verify(&VerifyOptions::default()), Verification::Verified { entries: 300, .. }));
}

#[test]
fn damage_to_the_index_is_told_from_damage_to_the_record() {
    for sql in [
        "UPDATE hashes SET hash = zeroblob(32) WHERE level = 0 AND n = 40",
        "DELETE FROM hashes WHERE level = 0 AND n = 40",
        "UPDATE lookup SET kind = 'intent' WHERE idx = 40",
        "UPDATE lookup SET valid_from = valid_from + 1 WHERE idx = 40",
        "UPDATE lookup SET stack = NULL WHERE idx = 40",
        "DELETE FROM lookup WHERE idx = 40",
    ] {
        let place = recorded();
        place.tamper(sql);
        let (index, what) = broken(&place, &VerifyOptions::default());
        assert_eq!(index, Some(40), "{sql}: {what}");
        assert!(what.contains("the entry is the one that was signed"), "{what}");
        place.open(Mode::Existing).rebuild_index().unwrap();
        place.verified();
    }
    for sql in [
        "UPDATE hashes SET hash = zeroblob(32) WHERE level = 1",
        "UPDATE spans SET low = low - 1",
        "INSERT INTO stacks(stack) VALUES('dev/ghost@web')",
        "INSERT INTO lookup VALUES(300, NULL, 'intent', NULL, 0, 0, NULL)",
    ] {
        assert!(broken_after(sql).1.contains("index") || broken_after(sql).1.contains("hashes above"), "{sql}");
    }
}

fn acted(kind: Kind, run: &str, rel: Option<(&str, u64)>) -> Draft {
    Draft {
        run: Some(run.to_owned()),
        links: rel.map(|(rel, to)| Link::new(rel, to)).into_iter().collect(),
        ..draft(kind, Some("prod/site@web"), 0)
    }
}

fn after(drafts: Vec<Draft>) -> Verification {
    let place = Place::new();
    block_on(place.open(Mode::Create).store.append(drafts, None)).unwrap();
    place.verify(&VerifyOptions::default())
}

#[test]
fn intents_are_paired_with_their_ends() {
    let command = |run| Draft { body: json!({ "command": "reload" }), ..acted(Kind::Intent, run, None) };
    let remarked = |drafts| match after(drafts) {
        Verification::Verified { remarks, .. } => remarks.len(),
        broken => panic!("{broken:?}"),
    };
    let ended = vec![
        acted(Kind::Intent, "1", None),
        acted(Kind::Receipt, "1", Some(("receipt-of", 0))),
        command("1"),
        acted(Kind::Receipt, "1", Some(("receipt-of", 2))),
        acted(Kind::Verdict, "1", Some(("outcome-of", 0))),
    ];
    assert_eq!(remarked(ended.clone()), 0);
    assert_eq!(remarked(ended[..2].to_vec()), 1, "the newest may still be at work");
    assert_eq!(remarked(ended[..3].to_vec()), 2);
    assert_eq!(remarked(vec![command("1"), acted(Kind::Answered, "2", Some(("answers", 0)))]), 0, "a person closed it");
    assert_eq!(remarked(vec![command("1"), acted(Kind::Intent, "2", None), acted(Kind::Verdict, "2", Some(("outcome-of", 1)))]), 1);

    let passed_over =
        vec![acted(Kind::Intent, "1", None), acted(Kind::Receipt, "1", Some(("receipt-of", 0))), acted(Kind::Intent, "2", None)];
    let Verification::Broken { index, what } = after(passed_over) else { panic!("an old intent without an end") };
    assert_eq!(index, Some(0), "{what}");
    let ahead = vec![acted(Kind::Verdict, "1", Some(("outcome-of", 0)))];
    assert!(matches!(after(ahead), Verification::Broken { index: Some(0), .. }), "nothing points to itself or to what comes");
}

#[test]
fn deep_reads_every_blob() {
    let place = Place::new();
    let Ledger { store, blobs, .. } = &place.open(Mode::Create);
    let (one, two) = (blobs.put(b"one").unwrap(), blobs.put(b"two").unwrap());
    blobs.flush().unwrap();
    let naming = |blob| Draft { blobs: vec![BlobNote::new("log", blob)], ..draft(Kind::Observed, None, 0) };
    block_on(store.append([one, two, one].map(naming).to_vec(), None)).unwrap();
    place.verified();
    let deep = VerifyOptions { deep: true, ..VerifyOptions::default() };
    let path = |blob: &BlobRef| place.state.join(format!("blobs/sha256/{}/{}", &blob.digest.hex()[..2], &blob.digest.hex()[2..]));
    fs::write(path(&two), "owt").unwrap();
    assert_eq!(broken(&place, &deep).0, Some(1));
    assert!(matches!(place.verify(&VerifyOptions::default()), Verification::Verified { .. }), "only when asked");
    fs::remove_file(path(&one)).unwrap();
    let (index, what) = broken(&place, &deep);
    assert_eq!(index, Some(0));
    assert!(what.contains("not there"), "{what}");
}

#[test]
fn no_ledger_is_whole_unless_somebody_has_its_checkpoint() {
    let place = Place::new();
    assert!(matches!(place.verify(&VerifyOptions::default()), Verification::Verified { entries: 0, .. }));
    let against = recorded().open(Mode::ReadOnly).checkpoint().unwrap();
    assert_eq!(broken(&place, &VerifyOptions { against: against.clone(), ..VerifyOptions::default() }).0, Some(0));
    drop(place.open(Mode::Create));
    assert!(matches!(place.verify(&VerifyOptions::default()), Verification::Verified { entries: 0, .. }));
    broken(&place, &VerifyOptions { against, ..VerifyOptions::default() });
}
