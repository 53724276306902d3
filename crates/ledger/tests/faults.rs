//! What disks, kills, upgrades and backups do to the state folder, and how it stands that.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use futures::executor::block_on;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use support::{Place, append};
use trued_doors::conformance::store::draft;
use trued_ledger::{Ledger, Mode, Verification, VerifyOptions};
use trued_model::{Code, Kind, Refusal};

fn refused(ledger: &Ledger) -> Refusal {
    block_on(ledger.store.append(vec![draft(Kind::Observed, None, 0)], None)).expect_err("a refusal")
}

/// On a file system of two megabytes, mounted for this test alone.
#[test]
fn fault_68_a_full_disk_stops_cleanly_and_goes_on() {
    const TEST: &str = "fault_68_a_full_disk_stops_cleanly_and_goes_on";
    let Some(place) = support::of_parent() else {
        let place = Place::new();
        fs::create_dir(&place.state).unwrap();
        let child = place.child(TEST);
        let mount = format!("mount -t tmpfs -o size=2m,mode=700 tmpfs {} && exec \"$0\" \"$@\"", place.state.display());
        let mut inside = Command::new("unshare");
        inside.args(["--user", "--map-root-user", "--mount", "sh", "-c", &mount]).arg(child.get_program()).args(child.get_args());
        inside.envs(child.get_envs().filter_map(|(name, value)| Some((name, value?))));
        assert!(inside.status().expect("unshare").success());
        return;
    };
    let ledger = place.open(Mode::Create);
    append(&ledger, 0..10);
    let kept = ledger.blobs.put(b"kept").unwrap();
    ledger.blobs.flush().unwrap();
    let room = place.state.join("cache");
    fs::write(&room, vec![1; 256 * 1024]).unwrap();

    let mut done = 10;
    let full = loop {
        let drafts = (0..50).map(|n| draft(Kind::Observed, None, n)).collect();
        match block_on(ledger.store.append(drafts, None)) {
            Ok(appended) => done += appended.len() as u64,
            Err(refusal) => break refusal,
        }
    };
    assert_eq!(full.code, Code::Full, "{full:?}");
    assert!(!full.help.is_empty() && full.passing());
    let full = (0..).find_map(|n: u32| ledger.blobs.put(&[n as u8; 65_536]).err()).unwrap();
    assert_eq!(full.code, Code::Full, "{full:?}");

    // Reading goes on; what was answered is there.
    assert_eq!(block_on(ledger.store.head()).unwrap().size, done);
    assert_eq!(ledger.blobs.get(&kept.digest).unwrap(), b"kept");
    // So does writing, without a restart, once there is room.
    fs::remove_file(&room).unwrap();
    append(&ledger, done..done + 5);
    let late = ledger.blobs.put(b"late").unwrap();
    ledger.blobs.flush().unwrap();
    drop(ledger);
    place.verified();
    let ledger = place.open(Mode::ReadOnly);
    assert_eq!(block_on(ledger.store.head()).unwrap().size, done + 5);
    assert_eq!(ledger.blobs.get(&late.digest).unwrap(), b"late");
}

/// Makes the disk fail for the calling thread: every sync is an input or output error from here on.
fn fail_syncs() {
    fail(&["fsync", "fdatasync", "syncfs"]);
}

/// Makes these calls fail for the calling thread.
fn fail(calls: &[&str]) {
    let calls = calls.iter().map(|call| libc_call(call));
    let rules: BTreeMap<i64, Vec<_>> = calls.map(|call| (call, Vec::new())).collect();
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let error = u32::try_from(rustix::io::Errno::IO.raw_os_error()).unwrap();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(error), arch).unwrap();
    let program: BpfProgram = filter.try_into().unwrap();
    seccompiler::apply_filter(&program).unwrap();
}

/// The number of a system call on the machines this is tested on.
fn libc_call(name: &str) -> i64 {
    match (std::env::consts::ARCH, name) {
        ("x86_64", "fsync") => 74,
        ("x86_64", "fdatasync") => 75,
        ("x86_64", "syncfs") => 306,
        ("aarch64", "fsync") => 82,
        ("aarch64", "fdatasync") => 83,
        ("aarch64", "syncfs") => 267,
        other => panic!("the number of {other:?} is not known here"),
    }
}

#[test]
fn fault_69_a_failed_sync_ends_all_writing() {
    let place = Place::new();
    let ledger = place.open(Mode::Create);
    append(&ledger, 0..3);
    let few = ledger.blobs.put(b"one").unwrap();
    // Without a runtime a call runs on the thread that waits for it, which is the one whose disk fails.
    std::thread::scope(|threads| {
        let failed = threads.spawn(|| {
            fail_syncs();
            (refused(&ledger), ledger.blobs.flush().expect_err("a refusal"))
        });
        let (append, flush) = failed.join().unwrap();
        assert_eq!((append.code, flush.code), (Code::Broken, Code::Broken), "{append:?} {flush:?}");
    });
    // The disk would do as it is told again, but what is on it is not known any more.
    assert_eq!(refused(&ledger).code, Code::Broken);
    assert_eq!(ledger.blobs.flush().unwrap_err().code, Code::Broken);
    assert_eq!(ledger.blobs.put(b"two").unwrap_err().code, Code::Broken);
    assert_eq!(block_on(ledger.store.set_note("a", b"b")).unwrap_err().code, Code::Broken);
    drop(ledger);
    let again = place.open(Mode::Existing);
    assert_eq!(again.blobs.get(&few.digest).unwrap_err().code, Code::Absent);
    let size = block_on(again.store.head()).unwrap().size;
    append(&again, size..size + 1);
    place.verified();
}

#[test]
fn small_blobs_are_durable_with_one_sync_of_the_journal() {
    let place = Place::new();
    let ledger = place.open(Mode::Create);
    ledger.blobs.put(b"the first makes the journal").unwrap();
    ledger.blobs.flush().unwrap();
    std::thread::scope(|threads| {
        let flushed = threads.spawn(|| {
            // The journal's is the one that is left.
            fail(&["fsync", "syncfs"]);
            (0..500u32).map(|n| ledger.blobs.put(&n.to_le_bytes())).collect::<Result<Vec<_>, _>>().unwrap();
            ledger.blobs.flush()
        });
        flushed.join().unwrap().unwrap();
    });
}

#[test]
fn fault_69_many_blobs_fail_as_one() {
    let place = Place::new();
    let ledger = place.open(Mode::Create);
    for n in 0..100u32 {
        ledger.blobs.put(&n.to_le_bytes()).unwrap();
    }
    std::thread::scope(|threads| {
        let failed = threads.spawn(|| {
            fail_syncs();
            ledger.blobs.flush().expect_err("a refusal")
        });
        assert_eq!(failed.join().unwrap().code, Code::Broken);
    });
    assert_eq!(ledger.blobs.flush().unwrap_err().code, Code::Broken);
}

/// A process is killed while it appends, after it said what it was answered.
#[test]
fn a_killed_appender_loses_nothing_it_was_answered() {
    const TEST: &str = "a_killed_appender_loses_nothing_it_was_answered";
    if let Some(place) = support::of_parent() {
        let ledger = place.open(Mode::Create);
        loop {
            let last = append(&ledger, 0..3).last().unwrap().index;
            std::io::stderr().write_all(format!("{last}\n").as_bytes()).unwrap();
        }
    }
    let place = Place::new();
    for rounds in [1, 7, 20] {
        let mut child = place.child(TEST).stderr(Stdio::piped()).spawn().unwrap();
        let mut answered = BufReader::new(child.stderr.take().unwrap()).lines();
        let last: u64 = answered.nth(rounds).unwrap().unwrap().parse().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let last = answered.map_while(Result::ok).filter_map(|line| line.parse().ok()).fold(last, u64::max);
        let size = block_on(place.open(Mode::ReadOnly).store.head()).unwrap().size;
        assert!(size > last && size.is_multiple_of(3), "{size} entries after #{last} was answered");
        place.verified();
    }
}

/// Nobody's business is denied, not absent. As root this runs as somebody else, who may be refused.
#[test]
fn a_folder_of_others_is_denied_not_absent() {
    const TEST: &str = "a_folder_of_others_is_denied_not_absent";
    if let Some(place) = support::of_parent() {
        for mode in [Mode::ReadOnly, Mode::Existing, Mode::Create] {
            let refusal = Ledger::open(&place.state, place.clock.clone(), mode).err().unwrap();
            assert_eq!(refusal.code, Code::Denied, "{refusal:?}");
        }
        return;
    }
    let place = Place::new();
    append(&place.open(Mode::Create), 0..1);
    let around = place.state.parent().unwrap();
    fs::set_permissions(around, fs::Permissions::from_mode(0o755)).unwrap();
    let child = place.child(TEST);
    let mut somebody = if rustix::process::geteuid().is_root() {
        let mut other = Command::new("setpriv");
        other.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(child.get_program()).args(child.get_args());
        other.envs(child.get_envs().filter_map(|(name, value)| Some((name, value?))));
        other
    } else {
        fs::set_permissions(&place.state, fs::Permissions::from_mode(0o000)).unwrap();
        child
    };
    let ended = somebody.current_dir("/").status().unwrap();
    fs::set_permissions(&place.state, fs::Permissions::from_mode(0o700)).unwrap();
    assert!(ended.success());
}

/// Bytes of the file itself, not of a row: a page that is none, and a file that is no database.
#[test]
fn fault_71_a_damaged_file_is_told() {
    let place = Place::new();
    append(&place.open(Mode::Create), 0..300);
    let whole = fs::read(place.file()).unwrap();
    let at = whole.windows(8).rposition(|bytes| bytes == b"\"n\":200}").unwrap();
    let mut bent = whole.clone();
    bent[at + 4] = b'9';
    fs::write(place.file(), &bent).unwrap();
    let found = place.verify(&VerifyOptions::default());
    assert!(matches!(found, Verification::Broken { index: Some(200), .. }), "{found:?}");

    let mut bent = whole.clone();
    bent[4096 * 3..4096 * 12].fill(0xff);
    fs::write(place.file(), &bent).unwrap();
    let found = Ledger::open(&place.state, place.clock.clone(), Mode::ReadOnly).and_then(|ledger| ledger.verify(&VerifyOptions::default()));
    match found {
        Ok(found) => assert!(matches!(found, Verification::Broken { .. }), "{found:?}"),
        Err(refusal) => assert_eq!(refusal.code, Code::Invalid, "{refusal:?}"),
    }

    fs::write(place.file(), b"no database at all, but long enough to be looked at").unwrap();
    for mode in [Mode::ReadOnly, Mode::Existing] {
        assert_eq!(Ledger::open(&place.state, place.clock.clone(), mode).err().unwrap().code, Code::Invalid);
    }
}

#[test]
fn fault_72_a_newer_ledger_is_refused_with_both_versions_named() {
    let place = Place::new();
    append(&place.open(Mode::Create), 0..3);
    let before = fs::read(place.file()).unwrap();
    place.tamper("PRAGMA user_version = 99");
    for mode in [Mode::Create, Mode::Existing, Mode::ReadOnly] {
        let refusal = Ledger::open(&place.state, place.clock.clone(), mode).err().unwrap();
        assert_eq!(refusal.code, Code::Unsupported);
        assert!(refusal.message.contains("99") && refusal.message.contains(" 2"), "{}", refusal.message);
    }
    place.tamper("PRAGMA user_version = 2");
    assert_eq!(fs::read(place.file()).unwrap().len(), before.len());
    place.verified();
}

/// A writer killed at its very first steps leaves an empty file: no record, which is not an old one.
#[test]
fn fault_72_a_record_that_was_never_begun_is_read_as_empty() {
    let place = Place::new();
    fs::create_dir(&place.state).unwrap();
    for bytes in [&b""[..], &fs::read(unbegun()).unwrap()] {
        fs::write(place.file(), bytes).unwrap();
        assert_eq!(block_on(place.open(Mode::ReadOnly).store.head()).unwrap().size, 0);
    }
    append(&place.open(Mode::Existing), 0..3);
    place.verified();
}

/// A database that has a write-ahead log and no table yet.
fn unbegun() -> std::path::PathBuf {
    let path = tempfile::tempdir().unwrap().keep().join("ledger.sqlite");
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "journal_mode", "WAL").unwrap();
    path
}

/// Drafts may hold keys that never came into use.
#[test]
fn drafts_of_the_dead_are_removed_and_those_of_the_living_stay() {
    let place = Place::new();
    append(&place.open(Mode::Create), 0..1);
    let keys = place.state.join("keys");
    let (dead, living) = (keys.join(".log.key.4194305.0"), keys.join(format!(".data.key.{}.7", std::process::id())));
    fs::write(&dead, "never used").unwrap();
    fs::write(&living, "in the making").unwrap();
    drop(place.open(Mode::Existing));
    assert!(!dead.exists() && living.exists() && keys.join("log.key").exists());
}

/// The answer to a commit is lost: the entry is there once or not at all, and whoever looks sees which.
#[test]
fn fault_66_an_append_whose_commit_is_not_answered_is_there_once_or_not_at_all() {
    let place = Place::new();
    let ledger = place.open(Mode::Create);
    append(&ledger, 0..3);
    std::thread::scope(|threads| {
        let failed = threads.spawn(|| {
            fail_syncs();
            refused(&ledger)
        });
        assert_eq!(failed.join().unwrap().code, Code::Broken);
    });
    drop(ledger);
    let again = place.open(Mode::Existing);
    let size = block_on(again.store.head()).unwrap().size;
    assert!((3..=4).contains(&size), "{size}");
    append(&again, size..size + 1);
    place.verified();
}

/// Others hold the file: an append waits for its turn, and many at once all come to theirs.
#[test]
fn fault_70_writers_in_each_others_way_wait_their_turn() {
    let place = Place::new();
    append(&place.open(Mode::Create), 0..1);
    let other = rusqlite::Connection::open(place.file()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let waiting = std::sync::atomic::AtomicBool::new(true);
    std::thread::scope(|threads| {
        let appended = threads.spawn(|| {
            append(&place.open(Mode::Existing), 1..2);
            waiting.load(std::sync::atomic::Ordering::SeqCst)
        });
        std::thread::sleep(std::time::Duration::from_millis(200));
        waiting.store(false, std::sync::atomic::Ordering::SeqCst);
        other.execute_batch("COMMIT").unwrap();
        assert!(!appended.join().unwrap(), "it did not wait");
    });
    std::thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| {
                let ledger = place.open(Mode::Existing);
                for n in 0..10 {
                    append(&ledger, n..n + 1);
                }
            });
        }
    });
    assert_eq!(block_on(place.open(Mode::ReadOnly).store.head()).unwrap().size, 42);
    place.verified();
}

/// What is larger than a row may be is refused where it comes in, and nothing of it is written.
#[test]
fn fault_74_an_entry_beyond_its_bound_is_refused_whole() {
    let place = Place::new();
    let ledger = place.open(Mode::Create);
    append(&ledger, 0..1);
    let mut large = draft(Kind::Observed, None, 1);
    large.body = serde_json::json!({ "n": "x".repeat(65_536) });
    let refusal = block_on(ledger.store.append(vec![draft(Kind::Observed, None, 1), large], None)).expect_err("too large");
    assert_eq!(refusal.code, Code::TooLarge, "{refusal:?}");
    assert_eq!(block_on(ledger.store.head()).unwrap().size, 1);
    append(&ledger, 1..2);
    place.verified();
}

#[test]
fn fault_72_an_older_ledger_is_brought_up_to_date() {
    let place = Place::new();
    append(&place.open(Mode::Create), 0..300);
    // What version 1 was: the record without what follows from it.
    place.tamper("DROP TABLE hashes; DROP TABLE lookup; DROP TABLE stacks; DROP TABLE spans; PRAGMA user_version = 1");
    let refusal = Ledger::open(&place.state, place.clock.clone(), Mode::ReadOnly).err().unwrap();
    assert_eq!(refusal.code, Code::Unsupported);
    assert!(refusal.message.contains("version 1") && refusal.message.contains("version 2"), "{}", refusal.message);
    append(&place.open(Mode::Existing), 300..310);
    place.verified();
}

#[test]
fn fault_73_a_restored_backup_is_noticed() {
    let place = Place::new();
    let saved = place.state.with_file_name("saved.sqlite");
    append(&place.open(Mode::Create), 0..20);
    fs::copy(place.file(), &saved).unwrap();
    assert!(!place.open(Mode::Existing).restored_from_backup);
    append(&place.open(Mode::Existing), 20..25);
    assert!(!place.open(Mode::Existing).restored_from_backup);

    fs::copy(&saved, place.file()).unwrap();
    for mode in [Mode::ReadOnly, Mode::Existing, Mode::Create] {
        assert!(place.open(mode).restored_from_backup, "{mode:?}");
    }
    assert!(matches!(place.verify(&VerifyOptions::default()), Verification::Broken { index: Some(20), .. }));
    let accepting = VerifyOptions { accept_backup: true, ..VerifyOptions::default() };
    assert!(matches!(place.verify(&accepting), Verification::Verified { entries: 20, .. }));
    // What is recorded until somebody looks does not hide it, not even when the record grows past the lost one.
    append(&place.open(Mode::Existing), 100..101);
    assert!(place.open(Mode::Existing).restored_from_backup);
    append(&place.open(Mode::Existing), 101..120);
    assert!(place.open(Mode::Existing).restored_from_backup);

    let mut ledger = place.open(Mode::Existing);
    ledger.accept().unwrap();
    assert!(!ledger.restored_from_backup);
    append(&ledger, 120..121);
    assert!(!place.open(Mode::Existing).restored_from_backup);
    place.verified();
}

#[test]
fn fault_73_a_lost_record_is_noticed() {
    let place = Place::new();
    append(&place.open(Mode::Create), 0..20);
    fs::remove_file(place.file()).unwrap();
    let mut ledger = place.open(Mode::Create);
    assert!(ledger.restored_from_backup);
    append(&ledger, 0..30);
    assert!(place.open(Mode::Existing).restored_from_backup, "a longer record of another name is another record");
    ledger.accept().unwrap();
    assert!(!place.open(Mode::Existing).restored_from_backup);
}
