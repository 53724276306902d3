//! What every blob store promises. `blob_store_suite!(fresh)` makes a test of each promise; `fresh` gives an empty store.

use std::io::Read;
use std::sync::Arc;

use trued_model::{BlobRef, Code, Digest};

use crate::{Answer, Blobs};

/// Makes a test of every promise. `$fresh` is a path to a function that gives an empty store: `fn() -> (T, Arc<dyn Blobs>)`,
/// where `T` is kept alive for as long as the test runs.
#[macro_export]
macro_rules! blob_store_suite {
    ($fresh:path) => {
        $crate::blob_store_suite!(@each $fresh:
            what_is_put_is_got what_is_not_there_is_absent streams_are_held_to_their_digest
            streams_of_unknown_digest_are_named opened_bytes_end_with_their_digest many_threads_put_the_same
            flushing_keeps_everything);
    };
    (@each $fresh:path: $($promise:ident)+) => {
        $(#[test]
        fn $promise() {
            let (_alive, store) = $fresh();
            $crate::conformance::blobs::$promise(store);
        })+
    };
}

fn code<T>(answer: Answer<T>) -> Code {
    answer.err().expect("a refusal").code
}

fn large() -> Vec<u8> {
    (0..300_000u32).flat_map(|n| n.to_le_bytes()).collect()
}

pub fn what_is_put_is_got(store: Arc<dyn Blobs>) {
    for bytes in [b"".to_vec(), b"one".to_vec(), large()] {
        let blob = store.put(&bytes).expect("put");
        assert_eq!(blob, BlobRef::of(&bytes));
        assert!(store.has(&blob.digest));
        assert_eq!(store.put(&bytes).expect("put again"), blob);
        assert_eq!(store.get(&blob.digest).expect("get"), bytes);
    }
}

pub fn what_is_not_there_is_absent(store: Arc<dyn Blobs>) {
    let blob = BlobRef::of(b"never put");
    assert!(!store.has(&blob.digest));
    assert_eq!(code(store.get(&blob.digest)), Code::Absent);
    assert_eq!(code(store.open(&blob).map(|_| ())), Code::Absent);
    store.flush().expect("flush of nothing");
}

pub fn streams_are_held_to_their_digest(store: Arc<dyn Blobs>) {
    let bytes = large();
    let blob = BlobRef::of(&bytes);
    let other = [&bytes[..bytes.len() - 1], b"?"].concat();
    let longer = [&bytes[..], b"?"].concat();
    for wrong in [&other[..], &bytes[..10], &longer[..]] {
        assert_eq!(code(store.put_stream(&blob, &mut &wrong[..])), Code::Invalid);
        assert!(!store.has(&blob.digest));
        assert!(!store.has(&Digest::of(wrong)));
    }
    store.put_stream(&blob, &mut &bytes[..]).expect("right bytes");
    store.put_stream(&blob, &mut &bytes[..]).expect("right bytes again");
    assert_eq!(store.get(&blob.digest).expect("get"), bytes);
}

pub fn streams_of_unknown_digest_are_named(store: Arc<dyn Blobs>) {
    for bytes in [b"".to_vec(), b"found".to_vec(), large()] {
        let blob = store.take(&mut &bytes[..]).expect("take");
        assert_eq!(blob, BlobRef::of(&bytes));
        assert_eq!(store.get(&blob.digest).expect("get"), bytes);
    }
}

pub fn opened_bytes_end_with_their_digest(store: Arc<dyn Blobs>) {
    let bytes = large();
    let blob = store.put(&bytes).expect("put");
    for _ in 0..2 {
        let mut read = Vec::new();
        store.open(&blob).expect("open").read_to_end(&mut read).expect("read");
        assert_eq!(read, bytes);
        store.flush().expect("flush");
    }
    let other_length = BlobRef { bytes: blob.bytes - 1, ..blob };
    assert_eq!(code(store.open(&other_length).map(|_| ())), Code::Invalid);
}

pub fn many_threads_put_the_same(store: Arc<dyn Blobs>) {
    std::thread::scope(|threads| {
        for _ in 0..8 {
            threads.spawn(|| {
                for n in 0..50u32 {
                    let blob = store.put(&n.to_le_bytes()).expect("put");
                    assert_eq!(store.get(&blob.digest).expect("get"), n.to_le_bytes());
                    if n % 16 == 0 {
                        store.flush().expect("flush");
                    }
                }
            });
        }
    });
}

pub fn flushing_keeps_everything(store: Arc<dyn Blobs>) {
    let blobs: Vec<BlobRef> = (0..300u32).map(|n| store.put(&n.to_le_bytes()).expect("put")).collect();
    store.flush().expect("flush");
    for (n, blob) in (0..300u32).zip(&blobs) {
        assert_eq!(store.get(&blob.digest).expect("get"), n.to_le_bytes());
        assert_eq!(store.put(&n.to_le_bytes()).expect("put again"), *blob);
    }
    store.flush().expect("flush again");
}
