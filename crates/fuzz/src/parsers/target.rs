//! What stands on a target under our own name, and may be anybody's: the mark and the list of folders in `.trued/`.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::sync::Arc;

use serde_json::json;
use tempfile::tempdir;
use trued_doors::conformance::SteppedClock;
use trued_doors::{Ask, Connection};
use trued_ledger::{MemoryBlobs, NullSeal};
use trued_model::{Origin, StackId, Target, Timestamp};

use super::{Nothing, wait};

/// The mark, and after `%%` the list of folders.
pub fn mark(bytes: &[u8]) {
    let root = tempdir().expect("a folder");
    let split = bytes.windows(2).position(|pair| pair == b"%%");
    let (mark, folders) = split.map_or((bytes, &b""[..]), |at| (&bytes[..at], &bytes[at + 2..]));
    fs::DirBuilder::new().mode(0o700).create(root.path().join(".trued")).expect("made");
    fs::write(root.path().join(".trued/mark"), mark).expect("written");
    fs::write(root.path().join(".trued/made"), folders).expect("written");
    fs::write(root.path().join("theirs.txt"), "theirs\n").expect("written");
    let (name, settings) = ("web".parse().expect("a name"), json!({ "root": root.path() }));
    let target = Target { name, kind: "files".to_owned(), settings, ignore: Vec::new(), origin: Origin::default() };
    let at = Connection {
        target,
        written: false,
        ledger: "trued/ours".to_owned(),
        blobs: Arc::new(MemoryBlobs::default()),
        seal: Arc::new(NullSeal),
        secrets: Arc::new(Nothing),
        clock: Arc::new(SteppedClock::at(Timestamp(1_795_000_000_000))),
    };
    wait(async {
        let Ok(link) = trued_files::driver().connect(at).await else { return };
        let stack = StackId::from_key("default/web@web").expect("a stack");
        if link.epoch(&stack).await.is_ok_and(|epoch| epoch > 0) {
            assert!(bytes.windows(10).any(|words| words == b"trued/ours"), "another ledger's mark was taken for ours");
        }
        let _ = link.observe(Ask::Everything { into: String::new() }).await;
    });
    assert_eq!(fs::read(root.path().join("theirs.txt")).expect("it is there"), b"theirs\n", "what is not ours is left alone");
}
