//! The root itself: missing, made, replaced; and who may write below it.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use trued_doors::Order;
use trued_model::{Address, Code, Extent, Seen};

use super::ground::{Ground, Things, again, file, order, run, run_order, stack, things, whole};
use crate::observe::survey;
use crate::own::OwnFolder;
use crate::root::Root;

#[test]
fn a_missing_root_is_unknown_because_an_unmounted_disk_looks_so() {
    let ground = Ground::new();
    let wanted = things([("a", file("1"))]);
    let changes = ground.plan(&ground.tree(), &BTreeSet::new(), &wanted);
    std::fs::remove_dir(ground.root()).unwrap();
    let seen = ground.look(&ground.tree(), [Address::new("a")].iter());
    assert!(matches!(&seen.extent, Extent::Unknown(why) if why.contains("it is not there")), "{:?}", seen.extent);
    assert!(matches!(survey(&ground.tree(), "").unwrap().seen.extent, Extent::Unknown(_)));
    assert_eq!(run(&ground.tree(), &changes).remove(0).unwrap_err().code, Code::Unknown);
    assert!(!ground.root().exists(), "nothing was made");
}

#[test]
fn a_missing_root_that_may_be_made_is_empty_and_made() {
    let ground = Ground::new();
    std::fs::remove_dir(ground.root()).unwrap();
    let tree = ground.tree_with(true);
    let seen = ground.look(&tree, [Address::new("a")].iter());
    assert_eq!((seen.extent, &seen.seen[&Address::new("a")]), (Extent::Complete, &Seen::Absent));
    assert!(!ground.root().exists(), "looking makes nothing");
    let wanted = things([("a", file("1")), ("b/c", file("2"))]);
    ground.bring(&tree, &BTreeSet::new(), &wanted);
    assert_eq!(ground.everything(), whole(&wanted));
}

#[test]
fn an_unmounted_disk_that_leaves_its_mount_point_is_unknown() {
    let mount = |ground: &Ground| Command::new("mount").args(["-t", "tmpfs", "none"]).arg(ground.root()).status().unwrap().success();
    let in_a_namespace = |program: &std::path::Path| {
        let mut command = Command::new("unshare");
        command.args(if rustix::process::geteuid().is_root() { "--mount" } else { "-Urm" }.split_whitespace()).arg(program);
        command
    };
    if !in_a_namespace(std::path::Path::new("true")).output().is_ok_and(|output| output.status.success()) {
        // Not every machine lets us mount.
        return;
    }
    if !again("tests::roots::an_unmounted_disk_that_leaves_its_mount_point_is_unknown", in_a_namespace) {
        return;
    }
    let ground = Ground::new();
    assert!(mount(&ground));
    let wanted = things([("a", file("1"))]);
    let tree = ground.tree();
    ground.bring(&tree, &BTreeSet::new(), &wanted);
    let changes = ground.plan(&tree, &BTreeSet::new(), &things([("a", file("2"))]));
    assert!(Command::new("umount").arg(ground.root()).status().unwrap().success());
    let seen = ground.look(&tree, [Address::new("a")].iter());
    assert!(matches!(&seen.extent, Extent::Unknown(why) if why.contains("another file system")), "{:?}", seen.extent);
    assert_eq!(run(&tree, &changes).remove(0).unwrap_err().code, Code::Unknown);
    assert_eq!(ground.everything(), Things::new());
}

#[test]
fn a_root_that_is_a_file_is_unknown() {
    let ground = Ground::new();
    std::fs::remove_dir(ground.root()).unwrap();
    std::fs::write(ground.root(), "").unwrap();
    for create in [false, true] {
        let seen = ground.look(&ground.tree_with(create), [Address::new("a")].iter());
        assert!(matches!(seen.extent, Extent::Unknown(_)));
    }
}

#[test]
fn a_root_may_be_reached_through_a_link() {
    let ground = Ground::new();
    let real = ground.outside.path().join("real");
    std::fs::rename(ground.root(), &real).unwrap();
    std::os::unix::fs::symlink(&real, ground.root()).unwrap();
    let wanted = things([("a/b", file("1"))]);
    ground.begin(&wanted);
    assert_eq!(ground.everything(), whole(&wanted));
}

#[test]
fn an_order_that_writes_nothing_leaves_no_mark() {
    let ground = Ground::new();
    std::fs::write(ground.path("a"), "1").unwrap();
    let there = ground.seen("a").fingerprint().cloned();
    let adopted = super::ground::change(trued_model::Action::Move, &Address::new("a"), there.clone(), there.clone(), None);
    assert_eq!(run(&ground.tree(), &[adopted]), [Ok(there)]);
    assert!(!ground.path(".trued").exists());
}

#[test]
fn a_lock_that_another_process_holds_ends_with_the_deadline() {
    let ground = Ground::new();
    ground.begin(&things([("a", file("1"))]));
    let own = OwnFolder::find(&Root::open(&ground.root()).unwrap()).unwrap().unwrap();
    let lock = own.lock(std::time::Instant::now(), || true).unwrap();
    let tree = ground.tree();
    let changes = ground.plan(&tree, &BTreeSet::new(), &things([("b", file("2"))]));
    let hurried = Order { deadline: trued_model::Duration(30), ..order(&changes) };
    assert_eq!(run_order(&tree, &hurried).remove(0).unwrap_err().code, Code::TimedOut);
    let waiting = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| run(&tree, &changes));
        std::thread::sleep(Duration::from_millis(30));
        drop(lock);
        waiting.join().unwrap()
    });
    assert!(waiting[0].is_ok());
}

#[test]
fn many_stacks_write_below_one_root_at_once() {
    let ground = Ground::new();
    std::thread::scope(|scope| {
        for app in 0..8 {
            let ground = &ground;
            scope.spawn(move || {
                for turn in 1..6 {
                    let tree = ground.tree();
                    let wanted = Things::from([
                        (format!("app{app}/page"), file(&format!("{turn}"))),
                        (format!("shared/{app}"), file(&format!("{turn}"))),
                    ]);
                    let owned = wanted.keys().cloned().collect();
                    let changes = ground.plan(&tree, &owned, &wanted);
                    let order = Order { stack: stack(&format!("app{app}")), epoch: turn, ..order(&changes) };
                    assert!(run_order(&tree, &order).iter().all(Result::is_ok));
                }
            });
        }
    });
    let all = ground.everything();
    assert_eq!(all.len(), 8 * 3 + 1);
    assert!(all.iter().all(|(path, thing)| !path.contains(char::is_numeric) || !path.contains("page") || *thing == file("5")));
}

#[test]
fn a_batch_that_was_stopped_writes_nothing_more() {
    let ground = Ground::new();
    let tree = ground.tree();
    let changes = ground.plan(&tree, &BTreeSet::new(), &things([("a", file("1")), ("b", file("2"))]));
    let (answers, done) = tokio::sync::mpsc::channel(2);
    drop(done);
    crate::apply::apply(&tree, &order(&changes), &answers);
    assert_eq!(ground.everything(), Things::new());
    let late = Order { deadline: trued_model::Duration(0), ..order(&changes) };
    assert!(run_order(&tree, &late).iter().all(|outcome| outcome.as_ref().unwrap_err().code == Code::TimedOut));
    assert_eq!(ground.everything(), Things::new());
}
