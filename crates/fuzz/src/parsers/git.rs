//! Objects and references of a repository that somebody else wrote, read through the source.

use std::cell::RefCell;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use gix::objs::Kind;
use serde_json::json;
use tempfile::TempDir;
use trued_doors::conformance::SteppedClock;
use trued_doors::{Answer, Bundle, Source, SourceOpening};
use trued_model::{SourceSpec, Timestamp, Want};
use trued_sources::outside;

use super::{Nothing, wait};

/// A bare repository that is written anew for each try.
struct Ground {
    folder: TempDir,
    objects: gix::Repository,
    /// An empty blob, for trees to name.
    blob: gix::ObjectId,
}

impl Ground {
    fn new() -> Ground {
        let folder = tempfile::tempdir().expect("a folder");
        let objects = gix::init_bare(folder.path()).expect("a repository");
        let blob = objects.write_blob(b"text\n").expect("written").detach();
        Ground { folder, objects, blob }
    }

    fn write(&self, kind: Kind, bytes: &[u8]) -> gix::ObjectId {
        gix::objs::Write::write_buf(&self.objects.objects, kind, bytes).expect("written")
    }

    fn points_at(&self, commit: gix::ObjectId) {
        fs::write(self.folder.path().join("HEAD"), format!("{commit}\n")).expect("written");
    }

    fn read(&self) -> Answer<Bundle> {
        let source = open(self.folder.path())?;
        wait(async {
            let revision = source.resolve(Want::Newest).await?;
            let _ = source.commit(&revision).await;
            let _ = source.list(&revision).await;
            source.bundle(&revision, "").await
        })
    }

    fn commit(&self, tree: gix::ObjectId) -> gix::ObjectId {
        let text = format!("tree {tree}\nauthor a <a@b> 1795000000 +0000\ncommitter a <a@b> 1795000000 +0000\n\nwhy\n");
        self.write(Kind::Commit, text.as_bytes())
    }
}

fn on_ground<T>(work: impl FnOnce(&Ground) -> T) -> T {
    thread_local!(static GROUND: RefCell<Ground> = RefCell::new(Ground::new()));
    GROUND.with(|ground| work(&ground.borrow()))
}

/// A tree object: whatever it names, no path leads out of the folder or into a place of our own or Git's. A file may be
/// called as our own folder is: who writes to such a place refuses it by its path.
pub fn tree(bytes: &[u8]) {
    on_ground(|ground| {
        let named = named_blob(bytes, ground.blob);
        ground.points_at(ground.commit(ground.write(Kind::Tree, &named)));
        let Ok(bundle) = ground.read() else { return };
        for (path, entry) in bundle.entries.iter() {
            let bad = |step: &str| matches!(step, "" | "." | "..") || step.eq_ignore_ascii_case(".git");
            let into_our_own = path.split('/').rev().skip(1).any(|step| step == ".trued");
            assert!(!path.split('/').any(bad) && !into_our_own, "{path:?} was let through");
            let read = bundle.reader.read(path);
            assert!(read.is_err() || entry.bytes > 0 || entry.content.is_none(), "{path:?}");
        }
    });
}

/// `@` twenty times stands for an object that is there.
fn named_blob(bytes: &[u8], blob: gix::ObjectId) -> Vec<u8> {
    let mut named = bytes.to_vec();
    let mut at = 0;
    while let Some(found) = named.get(at..at + 20) {
        if found == [b'@'; 20] {
            named[at..at + 20].copy_from_slice(blob.as_slice());
        }
        at += 1;
    }
    named
}

/// A commit object; `{tree}` stands for a tree that is there.
pub fn commit(bytes: &[u8]) {
    on_ground(|ground| {
        let tree = ground.write(Kind::Tree, b"");
        let text = String::from_utf8_lossy(bytes).replace("{tree}", &tree.to_string());
        ground.points_at(ground.write(Kind::Commit, text.as_bytes()));
        let _ = ground.read();
    });
}

/// What names the commits: `HEAD`, and after the first empty line `packed-refs`; `{commit}` stands for one that is there.
pub fn refs(bytes: &[u8]) {
    on_ground(|ground| {
        let commit = ground.commit(ground.write(Kind::Tree, b"")).to_string();
        let text = String::from_utf8_lossy(bytes).replace("{commit}", &commit);
        let (head, packed) = text.split_once("\n\n").unwrap_or((&text, ""));
        fs::write(ground.folder.path().join("HEAD"), head).expect("written");
        fs::write(ground.folder.path().join("packed-refs"), packed).expect("written");
        if let Ok(bundle) = ground.read() {
            assert_eq!(bundle.revision.id, commit, "a commit from nowhere");
        }
        let _ = fs::remove_file(ground.folder.path().join("packed-refs"));
    });
}

/// A pack, as a server sends it: in whatever steps it comes the same is said of it, no bound is passed, and what is remembered of it
/// is less than what came.
pub fn pack(bytes: &[u8]) {
    const MOST: (u64, u64, u64) = (8, 4096, 6000);
    let (said, held) = outside::pack(bytes, bytes.len(), MOST);
    for step in [1, 13] {
        assert_eq!(outside::pack(bytes, step, MOST).0, said, "in steps of {step} it is another pack");
    }
    assert!(held <= bytes.len(), "{held} remembered of {}", bytes.len());
    if let Some([b'P', b'A', b'C', b'K', _, _, _, _, count @ ..]) = bytes.first_chunk::<12>() {
        let many = u64::from(u32::from_be_bytes(*count)) > MOST.0;
        assert_eq!(many, said.as_deref().is_some_and(|said| said.starts_with("Objects")), "{said:?}");
    } else if bytes.len() >= 12 {
        assert_eq!(said.as_deref(), Some("Malformed"));
    }
    // With less room nothing more passes.
    assert!(said.is_none() || outside::pack(bytes, bytes.len(), (4, 64, 96)).0.is_some(), "{said:?}, and with less room it passes");
}

fn open(path: &Path) -> Answer<Arc<dyn Source>> {
    let kind = trued_sources::kinds().into_iter().find(|kind| kind.describe().kind == "git").expect("Git is read");
    kind.open(SourceOpening {
        spec: SourceSpec { name: "shop".parse().expect("a name"), kind: "git".to_owned(), settings: json!({ "path": path }) },
        cache: path.join("cache"),
        secrets: Arc::new(Nothing),
        runner: Arc::new(Nothing),
        clock: Arc::new(SteppedClock::at(Timestamp(1_795_000_000_000))),
    })
}
