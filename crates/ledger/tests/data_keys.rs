//! Data keys: where the first is born, what a missing one means, and rotation.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use support::{Place, append};
use trued_ledger::{Ledger, Mode};
use trued_model::{Code, Digest};

fn ids(ledger: &Ledger) -> Vec<String> {
    ledger.data_keys().unwrap().into_iter().map(|key| key.id).collect()
}

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_plan_before_any_record_tells_the_identities_of_the_first_write() {
    let place = Place::new();
    let plain = Digest::of(b"hunter2");
    let planned = place.open(Mode::Planning);
    let (identity, sealed) = (planned.seal.identity(&plain), planned.seal.seal(b"hunter2"));
    assert_eq!(place.open(Mode::Planning).seal.identity(&plain), identity, "the next plan says the same");
    assert_eq!(names(&place.state), ["cache"], "a plan writes nothing else");
    assert_eq!(fs::metadata(place.state.join("cache/data.key")).unwrap().permissions().mode() & 0o777, 0o600);
    let ledger = place.open(Mode::Create);
    assert_eq!(ledger.seal.identity(&plain), identity);
    assert_eq!(ledger.seal.open(&sealed).unwrap(), b"hunter2");
    assert_eq!(names(&place.state.join("cache")), Vec::<String>::new(), "a key has one place");
    assert_eq!(place.open(Mode::Planning).seal.identity(&plain), identity);
}

#[test]
fn a_cache_that_was_swept_or_spoiled_costs_a_plan_and_no_more() {
    let place = Place::new();
    let before = place.open(Mode::Planning).seal.identity(&Digest::of(b"x"));
    fs::remove_dir_all(place.state.join("cache")).unwrap();
    assert_ne!(place.open(Mode::Planning).seal.identity(&Digest::of(b"x")), before);
    fs::write(place.state.join("cache/data.key"), "torn").unwrap();
    place.open(Mode::Planning).seal.ready().unwrap();
    place.open(Mode::Create).seal.ready().unwrap();
}

#[test]
fn a_missing_data_key_is_not_made_again_and_makes_sealed_things_unknown() {
    let place = Place::new();
    let sealed = {
        let ledger = place.open(Mode::Create);
        append(&ledger, 0..2);
        ledger.seal.seal(b"hunter2")
    };
    let key = place.state.join("keys/data.key");
    let saved = fs::read(&key).unwrap();
    fs::remove_file(&key).unwrap();
    for mode in [Mode::Create, Mode::Existing, Mode::ReadOnly, Mode::Planning] {
        let ledger = place.open(mode);
        let refusal = ledger.seal.ready().unwrap_err();
        assert_eq!(refusal.code, Code::Denied, "{mode:?}");
        assert!(refusal.message.contains("missing") && refusal.help.contains("backup"), "{refusal:?}");
        assert_eq!(ledger.seal.open(&sealed).unwrap_err().code, Code::Denied);
        assert!(!key.exists(), "{mode:?}");
    }
    place.verified();
    // A process that runs on goes on by itself when the key is back.
    let ledger = place.open(Mode::Existing);
    fs::write(&key, saved).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    ledger.seal.ready().unwrap();
    assert_eq!(ledger.seal.open(&sealed).unwrap(), b"hunter2");
}

#[test]
fn another_records_data_key_is_told_from_ours() {
    let (place, other) = (Place::new(), Place::new());
    place.open(Mode::Create);
    other.open(Mode::Create);
    fs::copy(other.state.join("keys/data.key"), place.state.join("keys/data.key")).unwrap();
    let refusal = place.open(Mode::Existing).seal.ready().unwrap_err();
    assert!(refusal.message.contains("another record's"), "{refusal:?}");
}

#[test]
fn a_rotated_key_seals_and_the_old_ones_open_and_identities_stay() {
    let place = Place::new();
    let plain = Digest::of(b"hunter2");
    let ledger = place.open(Mode::Create);
    let before = (ledger.seal.seal(b"hunter2"), ledger.seal.identity(&plain));
    let first = ids(&ledger);
    let beside = place.open(Mode::Existing);
    let rotated = ledger.rotate(None, false).unwrap();
    assert_eq!((rotated.kept.clone(), rotated.unfinished), (first.clone(), false));
    assert_eq!(ids(&ledger), [first[0].clone(), rotated.key.clone()]);
    for seal in [&ledger.seal, &beside.seal, &place.open(Mode::ReadOnly).seal] {
        let after = seal.seal(b"hunter2");
        assert_ne!(after, before.0, "a process that was running seals with the new key too");
        assert_eq!(seal.identity(&plain), before.1);
        assert_eq!(seal.open(&before.0).unwrap(), b"hunter2");
        assert_eq!(seal.open(&after).unwrap(), b"hunter2");
    }
    let again = ledger.rotate(Some(&rotated.key), false).unwrap();
    assert_eq!(again.kept, [first[0].clone(), rotated.key]);
    assert_eq!(beside.seal.open(&ledger.seal.seal(b"x")).unwrap(), b"x");
}

#[test]
fn an_interrupted_rotation_is_finished_not_repeated() {
    let place = Place::new();
    let ledger = place.open(Mode::Create);
    let keys = place.state.join("keys");
    fs::write(keys.join(".data.key.4711.0"), "a draft of a process that was killed").unwrap();
    let rotated = ledger.rotate(None, false).unwrap();
    assert_eq!(names(&keys), ["data.key"], "drafts are swept away");
    // Killed before it was on record: the next call finds the key that no entry names.
    let finished = ledger.rotate(None, false).unwrap();
    assert_eq!((finished.key, finished.unfinished), (rotated.key.clone(), true));
    assert_eq!(ids(&ledger).len(), 2);
    assert!(!ledger.rotate(Some(&rotated.key), false).unwrap().unfinished);
}

#[test]
fn many_rotations_at_once_lose_no_key() {
    let place = Place::new();
    let ledger = place.open(Mode::Create);
    let sealed: Vec<Vec<u8>> = std::thread::scope(|scope| {
        let turn = || {
            let ledger = Ledger::open(&place.state, place.clock.clone(), Mode::Existing).unwrap();
            let newest = ids(&ledger).pop();
            ledger.rotate(newest.as_deref(), false).unwrap();
            ledger.seal.seal(b"hunter2")
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(turn)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for one in sealed {
        assert_eq!(ledger.seal.open(&one).unwrap(), b"hunter2");
    }
}

#[test]
fn a_lost_key_is_given_up_by_a_persons_word_only() {
    let place = Place::new();
    let (sealed, first) = {
        let ledger = place.open(Mode::Create);
        append(&ledger, 0..1);
        (ledger.seal.seal(b"hunter2"), ids(&ledger))
    };
    assert_eq!(place.open(Mode::Existing).rotate(None, true).unwrap_err().code, Code::Invalid, "it is there");
    fs::remove_file(place.state.join("keys/data.key")).unwrap();
    assert_eq!(place.open(Mode::Existing).rotate(None, false).unwrap_err().code, Code::Denied);
    let rotated = place.open(Mode::Existing).rotate(None, true).unwrap();
    assert_eq!((rotated.lost.as_deref(), rotated.kept.len()), (Some(&*first[0]), 0));
    let ledger = place.open(Mode::Existing);
    ledger.seal.ready().unwrap();
    assert_eq!(ledger.seal.open(&sealed).unwrap_err().code, Code::Denied);
    place.verified();
}
