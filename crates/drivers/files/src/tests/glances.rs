//! Glances: what a live watch vouches for is not looked at again, and nothing that happened is missed for it.

use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt as _;
use rustix::fs::inotify::ReadFlags;
use trued_doors::{Asked, Glance};
use trued_model::{Address, Extent, Seen};

use super::ground::{Ground, file, link, things};
use crate::observe::observe;
use crate::tree::Tree;
use crate::view::{Shared, glance};
use crate::watch::{Watcher, watch};

/// A tree that is watched, and one that looks at everything each time.
struct Watched {
    ground: Ground,
    tree: Arc<Tree>,
    watcher: Shared,
    asked: Vec<Asked>,
}

impl Watched {
    fn new(asked: &[&str]) -> Watched {
        let ground = Ground::new();
        ground.begin(&things([
            ("a", file("1")),
            ("b/c", file("2")),
            ("b/d", file("3")),
            ("b/deep/er", file("4")),
            ("bc", file("5")),
            ("l", link("a")),
        ]));
        let tree = Arc::new(ground.tree());
        let watcher = Arc::new(Mutex::new(Watcher::start(tree.clone()).unwrap()));
        tree.watched_by(&watcher);
        let asked = asked.iter().map(|path| Asked::new(Address::new(path), false)).collect();
        Watched { ground, tree, watcher, asked }
    }

    fn all() -> Watched {
        Watched::new(&["a", "b/c", "b/d", "b/deep/er", "bc", "l"])
    }

    /// Glances; it must have seen what somebody sees who looks at all.
    fn glance(&self) -> Glance {
        let glance = glance(&self.tree, &self.asked, false).unwrap();
        let looked = observe(&self.ground.tree(), &self.asked);
        assert_eq!((&glance.observation.seen, &glance.observation.extent), (&looked.seen, &looked.extent));
        glance
    }

    /// How many were looked at.
    fn looked(&self) -> usize {
        self.glance().looked
    }
}

#[test]
fn what_nothing_happened_to_is_not_looked_at_again() {
    let watched = Watched::all();
    let first = watched.glance();
    assert_eq!((first.looked, first.whole), (6, true), "nothing was seen before");
    let second = watched.glance();
    assert_eq!((second.looked, second.whole), (0, false));
    // Nobody has been told of it yet; it has happened all the same.
    std::fs::write(watched.ground.path("b/c"), "theirs").unwrap();
    assert_eq!(watched.looked(), 1);
    assert_eq!(watched.looked(), 0);
    let whole = glance(&watched.tree, &watched.asked, true).unwrap();
    assert_eq!((whole.looked, whole.whole), (6, true), "who wants to see all does");
    assert_eq!(watched.looked(), 0);
}

#[test]
fn whatever_happens_is_seen() {
    let watched = Watched::all();
    let path = |path: &str| watched.ground.path(path);
    let steps: [(&str, &dyn Fn()); 13] = [
        ("removed", &|| std::fs::remove_file(path("b/c")).unwrap()),
        ("made again", &|| std::fs::write(path("b/c"), "2").unwrap()),
        ("a folder goes elsewhere", &|| std::fs::rename(path("b"), path("elsewhere")).unwrap()),
        ("and a link comes in its place", &|| symlink("elsewhere", path("b")).unwrap()),
        ("which goes", &|| std::fs::remove_file(path("b")).unwrap()),
        ("the folder comes back", &|| std::fs::rename(path("elsewhere"), path("b")).unwrap()),
        ("changed in the folder that came back", &|| std::fs::write(path("b/deep/er"), "theirs").unwrap()),
        ("a mode", &|| std::fs::set_permissions(path("a"), std::fs::Permissions::from_mode(0o755)).unwrap()),
        ("put in place of another", &|| std::fs::rename(path("b/d"), path("bc")).unwrap()),
        ("a link leads elsewhere", &|| {
            std::fs::remove_file(path("l")).unwrap();
            symlink("bc", path("l")).unwrap();
        }),
        ("a whole folder goes", &|| std::fs::remove_dir_all(path("b")).unwrap()),
        ("and comes anew", &|| {
            std::fs::create_dir_all(path("b/deep")).unwrap();
            std::fs::write(path("b/deep/er"), "anew").unwrap();
        }),
        ("a file in place of a folder", &|| {
            std::fs::remove_dir_all(path("b")).unwrap();
            std::fs::write(path("b"), "").unwrap();
        }),
    ];
    watched.glance();
    for (what, step) in steps {
        step();
        assert!(watched.looked() > 0, "{what}");
        watched.glance();
    }
}

#[test]
fn what_has_a_second_name_is_looked_at_each_time() {
    let watched = Watched::all();
    std::fs::hard_link(watched.ground.path("a"), watched.ground.outside.path().join("other")).unwrap();
    watched.glance();
    assert_eq!(watched.looked(), 1);
    std::fs::write(watched.ground.outside.path().join("other"), "through the other name").unwrap();
    assert_eq!(watched.looked(), 1);
}

#[test]
fn what_cannot_be_vouched_for_is_looked_at_each_time() {
    let watched = Watched::new(&["a", "b", "nothing", "b/nothing/here"]);
    watched.glance();
    assert_eq!(watched.looked(), 3, "a folder, and what is not there");
    // A secret is compared by a key, which may be another one by now.
    let sealed = [Asked::new(Address::new("a"), true)];
    assert_eq!((0..3).map(|_| glance(&watched.tree, &sealed, false).unwrap().looked).collect::<Vec<_>>(), [1, 1, 1]);
    // Another question: one that covers the mode too.
    let like = "2:file:0640:u-:g-:0".to_owned();
    let other = [Asked::new(Address::new("a"), false).like([&trued_model::Fingerprint::new(like)])];
    assert_eq!((0..2).map(|_| glance(&watched.tree, &other, false).unwrap().looked).collect::<Vec<_>>(), [1, 0]);
}

#[test]
fn events_that_were_lost_make_all_be_looked_at() {
    let watched = Watched::all();
    watched.glance();
    watched.watcher.lock().unwrap().happened(-1, ReadFlags::QUEUE_OVERFLOW, None);
    assert_eq!(watched.looked(), 6);
    assert_eq!(watched.looked(), 0);
}

#[test]
fn another_root_is_not_the_one_that_was_seen() {
    let watched = Watched::all();
    watched.glance();
    let kept = watched.ground.outside.path().join("kept");
    std::fs::rename(watched.ground.root(), &kept).unwrap();
    let gone = glance(&watched.tree, &watched.asked, false).unwrap().observation;
    assert!(matches!(gone.extent, Extent::Unknown(_)));
    std::fs::create_dir(watched.ground.root()).unwrap();
    std::fs::create_dir(watched.ground.path(".trued")).unwrap();
    let empty = glance(&watched.tree, &watched.asked, false).unwrap();
    assert!(empty.whole && empty.observation.seen.values().all(|seen| *seen == Seen::Absent));
}

#[test]
fn nobody_watches_so_all_is_looked_at() {
    let watched = Watched::all();
    watched.glance();
    drop(watched.watcher);
    let glance = glance(&watched.tree, &watched.asked, false).unwrap();
    assert_eq!((glance.looked, glance.whole), (6, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_glance_takes_in_is_still_told() {
    let ground = Ground::new();
    ground.begin(&things([("a", file("1"))]));
    let tree = Arc::new(ground.tree());
    let mut hints = watch(tree.clone());
    let asked = [Asked::new(Address::new("a"), false)];
    let told = tokio::spawn(async move {
        while let Some(hint) = hints.next().await {
            if hint.addresses == BTreeSet::from([Address::new("a")]) {
                break;
            }
        }
    });
    // Until the watch stands there is nothing to hear.
    for turn in 0.. {
        if told.is_finished() {
            break;
        }
        std::fs::write(ground.path("a"), format!("{turn}")).unwrap();
        glance(&tree, &asked, false).unwrap();
        assert!(turn < 400, "never told");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
