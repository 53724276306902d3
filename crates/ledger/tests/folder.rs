//! The state folder: what opening makes, and what it leaves alone.

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use futures::executor::block_on;
use support::{Place, append};
use trued_doors::conformance::store::draft;
use trued_doors::{Query, Store};
use trued_ledger::{Ledger, Mode, this_process};
use trued_model::{Code, Duration, Kind, StackId};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn opening_makes_a_private_folder_that_git_ignores() {
    let place = Place::new();
    fs::create_dir(&place.state).unwrap();
    fs::set_permissions(&place.state, fs::Permissions::from_mode(0o755)).unwrap();
    let ledger = place.open(Mode::Create);
    append(&ledger, 0..1);
    assert_eq!(mode(&place.state), 0o700);
    assert_eq!(mode(&place.state.join("keys")), 0o700);
    assert_eq!(names(&place.state.join("keys")), ["data.key", "last-checkpoint", "log.key"]);
    for file in ["keys/data.key", "keys/log.key", "keys/last-checkpoint", "ledger.sqlite", "ledger.sqlite-wal"] {
        assert_eq!(mode(&place.state.join(file)), 0o600, "{file}");
    }
    assert_eq!(fs::read_to_string(place.state.join(".gitignore")).unwrap(), "*\n");
    drop(ledger);
    assert_eq!(names(&place.state), [".gitignore", "blobs", "keys", "ledger.sqlite"]);
}

#[test]
fn reading_a_fresh_project_works_and_makes_nothing() {
    let place = Place::new();
    let ledger = place.open(Mode::ReadOnly);
    assert!(block_on(ledger.store.find(Query::default())).unwrap().is_empty());
    assert_eq!(block_on(ledger.store.origin()).unwrap(), None);
    assert_eq!(ledger.checkpoint().unwrap(), None);
    assert_eq!(ledger.export(&place.state.join("x")).unwrap_err().code, Code::Absent);
    let blob = ledger.blobs.put(b"planned").unwrap();
    ledger.blobs.flush().unwrap();
    assert_eq!(ledger.blobs.get(&blob.digest).unwrap(), b"planned");
    let sealed = ledger.seal.seal(b"secret");
    assert_eq!(ledger.seal.open(&sealed).unwrap(), b"secret");
    writes_are_refused(&*ledger.store);
    drop(ledger);
    assert!(!place.state.exists());
}

#[test]
fn reading_leaves_the_folder_as_it_is() {
    let place = Place::new();
    append(&place.open(Mode::Create), 0..3);
    let look = |path: &Path| {
        let mut seen: Vec<_> = names(path)
            .into_iter()
            .map(|name| (name.clone(), fs::metadata(path.join(&name)).unwrap().mtime_nsec(), fs::read(path.join(name)).ok()))
            .collect();
        seen.push((String::new(), fs::metadata(path).unwrap().len() as i64, None));
        seen
    };
    let before = (look(&place.state), look(&place.state.join("keys")), look(&place.state.join("blobs")));
    let ledger = place.open(Mode::ReadOnly);
    assert_eq!(block_on(ledger.store.head()).unwrap().size, 3);
    ledger.blobs.put(b"planned").unwrap();
    ledger.blobs.flush().unwrap();
    writes_are_refused(&*ledger.store);
    drop(ledger);
    // The folder's own time moves: SQLite makes and removes the files its processes share.
    let after = (look(&place.state), look(&place.state.join("keys")), look(&place.state.join("blobs")));
    assert_eq!(before, after);
}

fn writes_are_refused(store: &dyn Store) {
    let stack = StackId::from_key("dev/site@web").unwrap();
    let holder = this_process("plan").unwrap();
    let term = Duration::from_secs(15);
    assert_eq!(block_on(store.append(vec![draft(Kind::Observed, None, 0)], None)).unwrap_err().code, Code::Denied);
    assert_eq!(block_on(store.take(&stack, &holder, 0, term)).unwrap_err().code, Code::Denied);
    assert_eq!(block_on(store.renew(&holder, term)).unwrap_err().code, Code::Denied);
    assert_eq!(block_on(store.release(&holder)).unwrap_err().code, Code::Denied);
    assert_eq!(block_on(store.set_note("a", b"b")).unwrap_err().code, Code::Denied);
}

#[test]
fn an_existing_ledger_is_not_made() {
    let place = Place::new();
    let refusal = Ledger::open(&place.state, place.clock.clone(), Mode::Existing).err().unwrap();
    assert_eq!(refusal.code, Code::Absent);
    assert!(!place.state.exists());
}

#[test]
fn sealed_bytes_open_in_the_next_run_and_under_no_other_key() {
    let place = Place::new();
    let sealed = place.open(Mode::Create).seal.seal(b"secret");
    assert_eq!(place.open(Mode::ReadOnly).seal.open(&sealed).unwrap(), b"secret");
    fs::remove_file(place.state.join("keys/data.key")).unwrap();
    assert_eq!(place.open(Mode::ReadOnly).seal.open(&sealed).unwrap_err().code, Code::Denied);
    assert_eq!(place.open(Mode::Existing).seal.open(&sealed).unwrap_err().code, Code::Denied);
}

#[test]
fn keys_that_others_may_read_or_that_are_none_are_refused() {
    let place = Place::new();
    append(&place.open(Mode::Create), 0..1);
    let key = place.state.join("keys/data.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    let refusal = Ledger::open(&place.state, place.clock.clone(), Mode::Existing).err().unwrap();
    assert_eq!(refusal.code, Code::Denied);
    assert!(refusal.help.contains("chmod 600"), "{}", refusal.help);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let text = fs::read_to_string(&key).unwrap();
    for bent in ["", "trued data key 1\n", &text.replace("data", "log"), &text[..text.len() - 6], &text.repeat(2)] {
        fs::write(&key, bent).unwrap();
        assert_eq!(Ledger::open(&place.state, place.clock.clone(), Mode::Existing).err().unwrap().code, Code::Invalid, "{bent:?}");
    }
}

#[test]
fn another_key_signs_nothing() {
    let (place, other) = (Place::new(), Place::new());
    append(&place.open(Mode::Create), 0..5);
    append(&other.open(Mode::Create), 0..5);
    let ours = fs::read(place.state.join("keys/log.key")).unwrap();
    fs::copy(other.state.join("keys/log.key"), place.state.join("keys/log.key")).unwrap();
    let refused = |ledger: Ledger| block_on(ledger.store.append(vec![draft(Kind::Observed, None, 0)], None)).unwrap_err().code;
    assert_eq!(refused(place.open(Mode::Existing)), Code::Denied);
    fs::remove_file(place.state.join("keys/log.key")).unwrap();
    assert_eq!(refused(place.open(Mode::Create)), Code::Denied);
    assert!(!place.state.join("keys/log.key").exists(), "a new key would sign another log");
    fs::write(place.state.join("keys/log.key"), ours).unwrap();
    fs::set_permissions(place.state.join("keys/log.key"), fs::Permissions::from_mode(0o600)).unwrap();
    append(&place.open(Mode::Existing), 5..6);
    place.verified();
}

#[test]
fn a_bent_record_is_not_appended_to() {
    for sql in [
        "DELETE FROM entries WHERE idx = 4",
        "DELETE FROM checkpoints",
        "UPDATE hashes SET hash = zeroblob(32) WHERE n = 3",
        "UPDATE checkpoints SET note = replace(note, char(10) || '5' || char(10), char(10) || '4' || char(10))",
        "DELETE FROM entries; DELETE FROM checkpoints; DELETE FROM meta",
    ] {
        let place = Place::new();
        let ledger = place.open(Mode::Create);
        append(&ledger, 0..5);
        place.tamper(sql);
        let refused =
            |ledger: &Ledger| block_on(ledger.store.append(vec![draft(Kind::Observed, None, 0)], None)).map_err(|refusal| refusal.code);
        // A process that knew the record refuses; one that did not refuses what cannot be told from a fresh start.
        if !sql.contains("hashes") {
            assert_eq!(refused(&ledger), Err(Code::Broken), "{sql}");
        }
        if !sql.contains("meta") {
            assert_eq!(refused(&place.open(Mode::Existing)), Err(Code::Broken), "{sql}");
        }
    }
}
