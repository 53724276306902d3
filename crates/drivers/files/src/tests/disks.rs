//! Disks that are full, that fail, and that are read-only.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;
use trued_model::Code;

use super::ground::{Ground, Things, again, file, run, things, whole};
use crate::probe::Moment;
use crate::tree::Tree;

/// Lets every such moment fail while the switch is on.
fn failing(tree: &mut Tree, moment: Moment, errno: Errno) -> Arc<AtomicBool> {
    let switch = Arc::new(AtomicBool::new(true));
    let on = switch.clone();
    tree.probe.step_in = Some(Arc::new(move |now| if now == moment && on.load(Ordering::SeqCst) { Err(errno) } else { Ok(()) }));
    switch
}

#[test]
fn fault_68_a_full_disk_stops_before_anything_is_in_place() {
    for moment in [Moment::Staged, Moment::Settling] {
        let ground = Ground::new();
        let from = things([("a", file("1")), ("b", file("2"))]);
        let owned = ground.begin(&from);
        let to = things([("a", file("one")), ("c", file("3"))]);
        let mut tree = ground.tree();
        let switch = failing(&mut tree, moment, Errno::NOSPC);
        let changes = ground.plan(&tree, &owned, &to);
        assert!(run(&tree, &changes).iter().all(|outcome| outcome.as_ref().unwrap_err().code == Code::Full), "{moment:?}");
        assert_eq!(ground.everything(), from, "{moment:?}");
        assert_eq!(ground.staged(), [""; 0], "what was staged makes room again");
        switch.store(false, Ordering::SeqCst);
        ground.bring(&tree, &owned, &to);
        assert_eq!(ground.everything(), to, "with space again it goes on, with the same link");
    }
}

#[test]
fn fault_68_a_disk_that_fills_in_the_middle_leaves_whole_changes() {
    let ground = Ground::new();
    let owned = BTreeSet::new();
    let to = things([("a", file("1")), ("deep/b", file("2")), ("deeper/c", file("3"))]);
    let mut tree = ground.tree();
    let switch = failing(&mut tree, Moment::Folder, Errno::NOSPC);
    let changes = ground.plan(&tree, &owned, &to);
    let codes: Vec<Option<Code>> = run(&tree, &changes).iter().map(|outcome| outcome.as_ref().err().map(|refusal| refusal.code)).collect();
    assert_eq!(codes, [None, Some(Code::Full), Some(Code::Full)]);
    assert_eq!(ground.everything(), things([("a", file("1"))]));
    switch.store(false, Ordering::SeqCst);
    ground.bring(&tree, &owned, &to);
    assert_eq!(ground.everything(), whole(&to));
}

#[test]
fn fault_68_a_real_disk_without_space() {
    let in_a_namespace = |program: &Path| {
        let root = rustix::process::geteuid().is_root();
        let mut command = Command::new("unshare");
        command.args(if root { "--mount" } else { "-Urm" }.split_whitespace());
        command.args(["sh", "-c", "mount -t tmpfs -o size=512k none /mnt && exec \"$0\" \"$@\""]).arg(program);
        command
    };
    let allowed = in_a_namespace(Path::new("true")).output().is_ok_and(|output| output.status.success());
    if !allowed {
        // Not every machine lets us mount; the two tests above hold everywhere.
        return;
    }
    if !again("tests::disks::fault_68_a_real_disk_without_space", in_a_namespace) {
        return;
    }
    let ground = Ground::in_folder(tempfile::tempdir_in("/mnt").unwrap());
    let from = things([("a", file("1")), ("large", file(&"x".repeat(150_000)))]);
    let owned = ground.begin(&from);
    let to = things([("a", file("one")), ("large", file(&"y".repeat(400_000))), ("more", file("2"))]);
    let tree = ground.tree();
    let changes = ground.plan(&tree, &owned, &to);
    assert!(run(&tree, &changes).iter().all(|outcome| outcome.as_ref().unwrap_err().code == Code::Full));
    assert_eq!(ground.everything(), from);
    assert_eq!(ground.staged(), [""; 0]);
    let smaller: Things = things([("a", file("one")), ("large", file(&"y".repeat(150_000))), ("more", file("2"))]);
    ground.bring(&tree, &owned, &smaller);
    assert_eq!(ground.everything(), smaller);
}

#[test]
fn fault_69_a_failed_sync_is_told_and_nothing_more_is_written() {
    for moment in [Moment::Settling, Moment::Closing] {
        let ground = Ground::new();
        let owned = ground.begin(&things([("a", file("1"))]));
        let to = things([("a", file("one")), ("b", file("2"))]);
        let mut tree = ground.tree();
        let switch = failing(&mut tree, moment, Errno::IO);
        let changes = ground.plan(&tree, &owned, &to);
        assert!(run(&tree, &changes).iter().all(|outcome| outcome.as_ref().unwrap_err().code == Code::Broken), "{moment:?}");
        // The disk answers again: that proves nothing about the bytes that were lost.
        switch.store(false, Ordering::SeqCst);
        let before = ground.everything();
        let changes = ground.plan(&tree, &owned, &things([("a", file("other"))]));
        assert!(run(&tree, &changes).iter().all(|outcome| outcome.as_ref().unwrap_err().code == Code::Broken), "{moment:?}");
        assert_eq!(ground.everything(), before, "{moment:?}");
        let all = owned.into_iter().chain(["b".to_owned()]).collect();
        ground.bring(&ground.tree(), &all, &to);
        assert_eq!(ground.everything(), to, "a new process looks, and goes on");
    }
}
