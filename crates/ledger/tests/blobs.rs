//! Blob stores against the suite, and what only the one on disk must hold.

use std::fs;
use std::sync::Arc;

use tempfile::TempDir;
use trued_doors::Blobs;
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
    let [file] = &files(&folder)[..] else { panic!("one file") };
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
    fs::write(&files(&folder)[0], "").unwrap();
    let after_the_crash = DiskBlobs::open(&folder.path().join("blobs")).unwrap();
    assert_eq!(after_the_crash.put(b"twelve bytes").unwrap(), blob);
    after_the_crash.flush().unwrap();
    assert_eq!(after_the_crash.get(&blob.digest).unwrap(), b"twelve bytes");
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
