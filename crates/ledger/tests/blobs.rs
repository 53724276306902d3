//! Blob stores against the suite, and what only the one on disk must hold.

use std::fs;
use std::sync::Arc;

use tempfile::TempDir;
use trued_doors::{Blobs, Contents};
use trued_ledger::{DiskBlobs, MemoryBlobs, ScratchBlobs};
use trued_model::{BlobRef, Code};

mod in_memory {
    trued_doors::blob_store_suite!(super::memory);
}

mod on_disk {
    trued_doors::blob_store_suite!(super::disk);
}

mod over_a_store {
    trued_doors::blob_store_suite!(super::scratch);
}

fn memory() -> ((), Arc<dyn Blobs>) {
    ((), Arc::new(MemoryBlobs::new()))
}

fn disk() -> (TempDir, Arc<dyn Blobs>) {
    let folder = TempDir::new().unwrap();
    let blobs = DiskBlobs::create(&folder.path().join("blobs")).unwrap();
    (folder, Arc::new(blobs))
}

fn scratch() -> (TempDir, Arc<dyn Blobs>) {
    let (folder, stored) = disk();
    (folder, Arc::new(ScratchBlobs::over(stored)))
}

fn files(folder: &TempDir) -> Vec<String> {
    fn walk(path: &std::path::Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { walk(&path, found) } else { found.push(path.to_string_lossy().into_owned()) }
        }
    }
    let mut found = Vec::new();
    walk(folder.path(), &mut found);
    found
}

/// The files of blobs that have their names.
fn named(folder: &TempDir) -> Vec<String> {
    files(folder).into_iter().filter(|file| file.contains("/sha256/")).collect()
}

/// Leaves a store as a process that is killed leaves it, with a process's number that is nobody's.
fn killed(folder: &TempDir, store: Arc<dyn Blobs>) {
    std::mem::forget(store);
    let incoming = folder.path().join("blobs/incoming");
    let [ours] = &fs::read_dir(&incoming).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>()[..] else { panic!("one") };
    // The lock on the journal goes with the process.
    let dead = incoming.join("4194305.1.0");
    fs::create_dir(&dead).unwrap();
    for entry in fs::read_dir(ours).unwrap().flatten() {
        fs::copy(entry.path(), dead.join(entry.file_name())).unwrap();
    }
    fs::remove_dir_all(ours).unwrap();
}

#[test]
fn a_flushed_blob_is_there_for_others_and_an_unflushed_one_leaves_nothing() {
    let (folder, store) = disk();
    let kept = store.put(b"kept").unwrap();
    store.flush().unwrap();
    let lost = store.put(b"lost").unwrap();
    let second = DiskBlobs::open(&folder.path().join("blobs")).unwrap();
    assert_eq!(second.get(&kept.digest).unwrap(), b"kept");
    assert_eq!(second.get(&lost.digest).unwrap_err().code, Code::Absent);
    drop(store);
    let hex = kept.digest.hex();
    assert_eq!(files(&folder), [format!("{}/blobs/sha256/{}/{}", folder.path().display(), &hex[..2], &hex[2..])]);
}

#[test]
fn what_the_dead_left_is_cleared_and_the_living_keep_theirs() {
    let (folder, store) = disk();
    let pending = store.put(b"pending").unwrap();
    let dead = folder.path().join("blobs/incoming/4194305.1.0");
    fs::create_dir(&dead).unwrap();
    fs::write(dead.join("0"), "half a").unwrap();
    let second = DiskBlobs::create(&folder.path().join("blobs")).unwrap();
    second.put(b"other").unwrap();
    assert!(!dead.exists());
    store.flush().unwrap();
    assert_eq!(second.get(&pending.digest).unwrap(), b"pending");
}

#[test]
fn bent_bytes_are_never_given_out() {
    let (folder, store) = disk();
    let blob = store.put(b"twelve bytes").unwrap();
    store.flush().unwrap();
    let [file] = &named(&folder)[..] else { panic!("one file") };
    fs::write(file, "twelve bites").unwrap();
    assert_eq!(store.get(&blob.digest).unwrap_err().code, Code::Invalid);
    let mut read = Vec::new();
    let error = std::io::Read::read_to_end(&mut store.open(&blob).unwrap(), &mut read).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    fs::write(file, "torn").unwrap();
    assert_eq!(store.open(&blob).err().unwrap().code, Code::Invalid);
}

#[test]
fn a_torn_file_is_written_anew() {
    let (folder, store) = disk();
    let blob = store.put(b"twelve bytes").unwrap();
    store.flush().unwrap();
    fs::write(&named(&folder)[0], "").unwrap();
    let after_the_crash = DiskBlobs::open(&folder.path().join("blobs")).unwrap();
    assert_eq!(after_the_crash.put(b"twelve bytes").unwrap(), blob);
    after_the_crash.flush().unwrap();
    assert_eq!(after_the_crash.get(&blob.digest).unwrap(), b"twelve bytes");
}

#[test]
fn what_was_flushed_outlasts_a_machine_that_stops_before_the_store_reached_the_disk() {
    let (folder, store) = disk();
    let bytes = |n: u32| n.to_le_bytes().repeat(1 + n as usize);
    let blobs: Vec<BlobRef> = (0..40).map(|n| store.put(&bytes(n)).unwrap()).collect();
    store.flush().unwrap();
    let late = store.put_stream(&BlobRef::of(b"late"), &mut &b"late"[..]);
    late.and_then(|()| store.flush()).unwrap();
    let lost = store.put(b"never flushed").unwrap();
    killed(&folder, store);
    // Of what had its name the disk has some as it was, some torn, some not at all.
    for (n, file) in named(&folder).iter().enumerate() {
        match n % 4 {
            0 => fs::remove_file(file).unwrap(),
            1 => fs::write(file, "").unwrap(),
            2 => fs::write(file, vec![0; fs::metadata(file).unwrap().len() as usize]).unwrap(),
            _ => {}
        }
    }
    // Who only reads finds them.
    let reader = DiskBlobs::open(&folder.path().join("blobs")).unwrap();
    for (n, blob) in blobs.iter().enumerate() {
        assert_eq!(reader.get(&blob.digest).unwrap(), bytes(n as u32));
    }
    assert_eq!(reader.get(&lost.digest).unwrap_err().code, Code::Absent);
    assert!(Contents::open(&reader, &BlobRef::of(b"late")).is_ok());
    // Who writes brings them back for good.
    let writer = DiskBlobs::create(&folder.path().join("blobs")).unwrap();
    assert!(!folder.path().join("blobs/incoming/4194305.1.0").exists());
    drop(writer);
    assert_eq!(files(&folder), named(&folder));
    let after = DiskBlobs::open(&folder.path().join("blobs")).unwrap();
    for (n, blob) in blobs.iter().enumerate() {
        assert_eq!(after.get(&blob.digest).unwrap(), bytes(n as u32));
    }
    assert_eq!(after.get(&BlobRef::of(b"late").digest).unwrap(), b"late");
}

#[test]
fn a_torn_journal_tells_what_it_has_whole() {
    let (folder, store) = disk();
    let first = store.put(b"first").unwrap();
    store.flush().unwrap();
    let second = store.put(b"second").unwrap();
    store.flush().unwrap();
    killed(&folder, store);
    named(&folder).iter().for_each(|file| fs::remove_file(file).unwrap());
    let journal = folder.path().join("blobs/incoming/4194305.1.0/journal");
    let whole = fs::read(&journal).unwrap();
    fs::write(&journal, &whole[..whole.len() - 1]).unwrap();
    let after = DiskBlobs::create(&folder.path().join("blobs")).unwrap();
    assert_eq!(after.get(&first.digest).unwrap(), b"first");
    assert_eq!(after.get(&second.digest).unwrap_err().code, Code::Absent);
}

#[test]
fn a_journal_that_is_full_is_begun_anew_and_has_the_newest() {
    let (folder, store) = disk();
    let big = |n: u8| vec![n; 60 << 10];
    // Several times what a journal holds.
    let blobs: Vec<BlobRef> = (0..200)
        .map(|n| {
            let blob = store.put(&big(n)).unwrap();
            store.flush().unwrap();
            blob
        })
        .collect();
    let journal = files(&folder).into_iter().find(|file| file.ends_with("/journal")).unwrap();
    assert!(fs::metadata(&journal).unwrap().len() <= 4 << 20);
    killed(&folder, store);
    let newest = &blobs[199].digest.hex();
    fs::remove_file(named(&folder).iter().find(|file| file.ends_with(&newest[2..])).unwrap()).unwrap();
    let after = DiskBlobs::create(&folder.path().join("blobs")).unwrap();
    for (n, blob) in blobs.iter().enumerate() {
        assert_eq!(after.get(&blob.digest).unwrap(), big(n as u8));
    }
}

#[test]
fn what_lives_where_its_process_cannot_be_seen_keeps_its_journal() {
    let (folder, store) = disk();
    let blob = store.put(b"elsewhere").unwrap();
    store.flush().unwrap();
    // As it looks from another PID namespace: nobody has this number here, and the journal is locked.
    let incoming = folder.path().join("blobs/incoming");
    let ours = fs::read_dir(&incoming).unwrap().next().unwrap().unwrap().path();
    let seen = incoming.join("4194305.1.0");
    fs::rename(&ours, &seen).unwrap();
    let second = DiskBlobs::create(&folder.path().join("blobs")).unwrap();
    assert!(seen.join("journal").exists());
    assert_eq!(second.get(&blob.digest).unwrap(), b"elsewhere");
    fs::rename(&seen, &ours).unwrap();
}

#[test]
fn a_scratch_store_writes_nothing_below() {
    let (folder, stored) = disk();
    let known = stored.put(b"known").unwrap();
    stored.flush().unwrap();
    let before = files(&folder);
    let scratch = ScratchBlobs::over(stored.clone());
    let fresh = scratch.put(b"fresh").unwrap();
    scratch.put_stream(&BlobRef::of(b"more"), &mut &b"more"[..]).unwrap();
    scratch.flush().unwrap();
    assert_eq!(scratch.get(&fresh.digest).unwrap(), b"fresh");
    assert_eq!(scratch.get(&known.digest).unwrap(), b"known");
    assert!(!stored.has(&fresh.digest));
    assert_eq!(files(&folder), before);
}
