//! A local user who may rename below the root swaps folders for links all the while: whoever wins a race, nothing lands
//! outside, and nothing outside is read into the record or removed.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, OFlags, RenameFlags, renameat_with};
use trued_doors::Asked;
use trued_model::{Action, Address, Change, Code, Seen};

use super::ground::{Ground, change, file, run, things};
use crate::keep::keep;
use crate::tree::Tree;

/// How often we must have won, and how often the stranger, before the race is over.
const ENOUGH: usize = 25;
const PATIENCE: Duration = Duration::from_secs(120);

/// Everything in a folder, with what changes when anybody writes there: inode, content, and the folder's own times.
fn inside(folder: &Path) -> BTreeMap<String, (u64, i64, i64, Vec<u8>)> {
    let mut all = BTreeMap::new();
    let mut ahead = vec![folder.to_owned()];
    while let Some(at) = ahead.pop() {
        let meta = at.metadata().unwrap();
        let content = if meta.is_dir() { Vec::new() } else { std::fs::read(&at).unwrap() };
        all.insert(at.to_str().unwrap().to_owned(), (meta.ino(), meta.ctime(), meta.ctime_nsec(), content));
        if meta.is_dir() {
            ahead.extend(std::fs::read_dir(&at).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    all
}

/// Ends the stranger, also when the test fails while it runs.
struct Stopping<'a>(&'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What to ask of each address in one round, by what can be seen of it just now.
fn changes(ground: &Ground, tree: &Tree, round: usize) -> Vec<Change> {
    let text = format!("ours {round}");
    let mut wanted = things([("site/page", file(&text)), ("site/deep/page", file(&text)), ("site/new/page", file(&text))]);
    if round.is_multiple_of(2) {
        wanted.insert("site/deep/gone".to_owned(), file(&text));
    }
    let resources = ground.resources(&wanted);
    let addresses: BTreeSet<Address> = resources.keys().cloned().chain([Address::new("site/deep/gone")]).collect();
    let seen = ground.look(tree, addresses.iter());
    let one = |address: &Address| {
        let before = seen.get(address).fingerprint().cloned();
        let wanted = resources.get(address);
        let action = match (&before, wanted) {
            (None, _) => Action::Create,
            (Some(_), None) => Action::Delete,
            _ => Action::Update,
        };
        change(action, address, before, wanted.map(|wanted| wanted.fingerprint.clone()), wanted.and_then(|wanted| wanted.content))
    };
    addresses.iter().map(one).filter(|change| change.before != change.after).collect()
}

#[test]
fn fault_54_a_stranger_who_swaps_folders_for_links_all_the_while_never_wins() {
    let ground = Ground::new();
    let outside = ground.outside.path().join("outside");
    std::fs::create_dir_all(outside.join("deep")).unwrap();
    for path in ["page", "deep/page", "deep/gone"] {
        std::fs::write(outside.join(path), "theirs").unwrap();
    }
    let site = [("site/page", "0"), ("site/deep/page", "0"), ("site/deep/gone", "0")].map(|(path, text)| (path, file(text)));
    ground.begin(&things(site));
    std::os::unix::fs::symlink(&outside, ground.path("decoy")).unwrap();
    std::os::unix::fs::symlink(outside.join("deep"), ground.path("site/decoy")).unwrap();
    let before = inside(&outside);
    // By descriptor: whatever stands at the path `site`, the stranger swaps in the true folder.
    let inner = rustix::fs::openat(CWD, ground.path("site"), OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap();
    let root = rustix::fs::openat(CWD, ground.root(), OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap();
    let stop = AtomicBool::new(false);
    let (mut ours, mut theirs) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for turn in 0_u32.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let (at, name) = if turn % 3 == 0 { (&inner, "deep") } else { (&root, "site") };
                let _ = renameat_with(at, name, at, "decoy", RenameFlags::EXCHANGE);
                // Now and then it stays for a while, so that each side gets somewhere.
                (0..(turn % 64) * 40).for_each(|_| std::hint::spin_loop());
            }
        });
        let _stopping = Stopping(&stop);
        let end = Instant::now() + PATIENCE;
        let tree = ground.tree();
        for round in 1.. {
            for outcome in run(&tree, &changes(&ground, &tree, round)) {
                match outcome {
                    Ok(_) => ours += 1,
                    Err(refusal) => {
                        assert!(matches!(refusal.code, Code::Denied | Code::Changed | Code::Unknown), "{refusal}");
                        theirs += 1;
                    }
                }
            }
            if let Ok(kept) = keep(&tree, &Asked::new(Address::new("site/page"), false)) {
                let bytes = trued_doors::Blobs::get(&*ground.blobs, &kept.content.unwrap().digest).unwrap();
                assert_ne!(bytes, b"theirs", "nothing outside is read");
            }
            if (ours.min(theirs) >= ENOUGH && round >= ENOUGH) || Instant::now() >= end {
                break;
            }
        }
    });
    assert_eq!(inside(&outside), before, "nothing outside was written, made or removed");
    assert!(ours >= ENOUGH && theirs >= ENOUGH, "the race was none: {ours} changes landed, {theirs} were refused");
    // The stranger gives up: what is wanted arrives.
    if ground.path("site").is_symlink() {
        renameat_with(&root, "site", &root, "decoy", RenameFlags::EXCHANGE).unwrap();
    }
    if ground.path("site/deep").is_symlink() {
        renameat_with(&inner, "deep", &inner, "decoy", RenameFlags::EXCHANGE).unwrap();
    }
    let tree = ground.tree();
    assert!(run(&tree, &changes(&ground, &tree, 0)).iter().all(Result::is_ok));
    assert!(matches!(ground.seen("site/page"), Seen::Present(_)));
    assert_eq!(std::fs::read_to_string(ground.path("site/page")).unwrap(), "ours 0");
}
