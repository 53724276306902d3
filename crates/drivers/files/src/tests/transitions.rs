//! What becomes what: files, links and folders in all orders, and the folders that come and go with them.

use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::sync::Arc;

use rustix::io::Errno;
use trued_model::{Action, Address, Change, Code, Fingerprint};

use super::ground::{Ground, Thing, Things, again, change, file, link, order, program, run, run_order, stack, things, whole};
use crate::probe::Moment;
use crate::tree::Tree;

#[test]
fn everything_becomes_everything() {
    everything_becomes_everything_with(|_| {});
}

#[test]
fn everything_becomes_everything_where_nothing_can_be_exchanged() {
    everything_becomes_everything_with(|tree| {
        tree.probe.step_in = Some(Arc::new(|moment| if moment == Moment::Renaming { Err(Errno::INVAL) } else { Ok(()) }));
    });
}

#[test]
fn where_nothing_can_be_exchanged_what_came_after_the_look_is_still_not_covered() {
    for (from, to) in [(things([("a", file("old"))]), things([("a", file("new"))])), (Things::new(), things([("a", file("new"))]))] {
        let ground = Ground::new();
        let owned = ground.begin(&from);
        let mut tree = ground.tree();
        let changes = ground.plan(&tree, &owned, &to);
        let theirs = ground.path("a");
        tree.probe.step_in = Some(Arc::new(move |moment| match moment {
            Moment::Renaming => {
                std::fs::write(&theirs, "of others").unwrap();
                Err(Errno::INVAL)
            }
            _ => Ok(()),
        }));
        assert_eq!(run(&tree, &changes).remove(0).unwrap_err().code, Code::Changed);
        assert_eq!(ground.everything(), things([("a", file("of others"))]));
    }
}

fn everything_becomes_everything_with(prepare: impl Fn(&mut Tree)) {
    let trees: Vec<Things> = vec![
        Things::new(),
        things([("x", file("1"))]),
        things([("x", program("1"))]),
        things([("x", file("2"))]),
        things([("x", link("y"))]),
        things([("x", link("z"))]),
        things([("x", Thing::Folder)]),
        things([("x/y", file("3"))]),
        things([("x/y", Thing::Folder), ("x/z/deep", file("4"))]),
    ];
    for from in &trees {
        for to in &trees {
            let ground = Ground::new();
            let owned = ground.begin(from);
            let mut tree = ground.tree();
            prepare(&mut tree);
            ground.bring(&tree, &owned, to);
            assert_eq!(ground.everything(), whole(to), "from {from:?}");
            let owned = to.keys().cloned().collect();
            assert_eq!(ground.plan(&tree, &owned, to), [], "from {from:?} to {to:?}");
            assert_eq!(ground.staged(), [""; 0]);
        }
    }
}

#[test]
fn the_same_in_one_batch_each() {
    let trees = [
        things([("x", file("1")), ("y/z", file("2"))]),
        things([("x/a", link("b")), ("y", link("x"))]),
        things([("x", Thing::Folder), ("y/z/deep", program("3"))]),
        things([("x", link("gone")), ("y", Thing::Folder)]),
    ];
    let ground = Ground::new();
    let mut owned = BTreeSet::new();
    for (turn, _) in trees.iter().cycle().take(9).enumerate() {
        let to = &trees[(turn * 7 + turn / 4) % 4];
        ground.bring(&ground.tree(), &owned, to);
        owned = to.keys().cloned().collect();
        assert_eq!(ground.everything(), whole(to), "turn {turn}");
    }
}

#[test]
fn folders_we_made_go_with_their_last_file_and_others_stay() {
    let ground = Ground::new();
    std::fs::create_dir_all(ground.path("theirs/deep")).unwrap();
    let owned = ground.begin(&things([("theirs/deep/ours/a", file("1")), ("made/b", file("2")), ("made/c/d", file("3"))]));
    std::fs::write(ground.path("made/foreign"), "theirs").unwrap();
    ground.bring(&ground.tree(), &owned, &Things::new());
    let left =
        things([("theirs", Thing::Folder), ("theirs/deep", Thing::Folder), ("made", Thing::Folder), ("made/foreign", file("theirs"))]);
    assert_eq!(ground.everything(), left);
}

#[test]
fn a_folder_that_became_a_resource_stays_when_it_is_empty() {
    let ground = Ground::new();
    let owned = ground.begin(&things([("a/b", file("1"))]));
    // It is there already, so it is only adopted; the driver hears of it by being asked.
    let wanted = things([("a", Thing::Folder)]);
    let tree = ground.tree();
    ground.bring(&tree, &owned, &wanted);
    assert_eq!(ground.everything(), wanted);
    ground.bring(&tree, &BTreeSet::from(["a".to_owned()]), &Things::new());
    assert_eq!(ground.everything(), Things::new());
}

#[test]
fn a_folder_resource_that_others_fill_stays_until_it_is_empty() {
    let ground = Ground::new();
    let owned = ground.begin(&things([("logs", Thing::Folder)]));
    std::fs::write(ground.path("logs/today"), "theirs").unwrap();
    let tree = ground.tree();
    ground.bring(&tree, &owned, &Things::new());
    assert_eq!(ground.everything(), things([("logs", Thing::Folder), ("logs/today", file("theirs"))]));
    let changes = ground.plan(&tree, &BTreeSet::from(["logs/today".to_owned()]), &Things::new());
    assert_eq!(run(&tree, &changes), [Ok(None)]);
    assert_eq!(ground.everything(), Things::new());
}

#[test]
fn a_folder_with_something_in_it_never_gives_way() {
    let ground = Ground::new();
    let owned = ground.begin(&things([("a", Thing::Folder)]));
    std::fs::write(ground.path("a/theirs"), "theirs").unwrap();
    for wanted in [file("1"), link("b")] {
        let tree = ground.tree();
        let changes = ground.plan(&tree, &owned, &things([("a", wanted)]));
        let outcome = run(&tree, &changes).remove(0).unwrap_err();
        assert_eq!((outcome.code, outcome.message.as_str()), (Code::Changed, "replace a: the folder there still has theirs in it"));
        assert_eq!(ground.everything(), things([("a", Thing::Folder), ("a/theirs", file("theirs"))]));
    }
}

#[test]
fn modes_are_644_and_755_whatever_the_mask() {
    // A process of its own: the mask is the whole process's.
    let masked = |program: &std::path::Path| {
        let mut command = std::process::Command::new("sh");
        command.args(["-c", "umask 077; exec \"$0\" \"$@\""]).arg(program);
        command
    };
    if !again("tests::transitions::modes_are_644_and_755_whatever_the_mask", masked) {
        return;
    }
    let ground = Ground::new();
    ground.begin(&things([("a/file", file("1")), ("a/program", program("2")), ("e", Thing::Folder)]));
    let mode = |path: &str| ground.path(path).metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!(["a/file", "a/program", "a", "e", ".trued"].map(mode), [0o644, 0o755, 0o755, 0o755, 0o700]);
}

#[test]
fn the_owners_x_bit_is_compared_and_a_tighter_mode_survives() {
    let ground = Ground::new();
    let owned = ground.begin(&things([("a", file("1")), ("b", file("1"))]));
    let chmod = |path: &str, mode| std::fs::set_permissions(ground.path(path), std::fs::Permissions::from_mode(mode)).unwrap();
    chmod("a", 0o600);
    chmod("b", 0o700);
    let tree = ground.tree();
    let unchanged = things([("a", file("1")), ("b", file("1"))]);
    let touched: Vec<String> = ground.plan(&tree, &owned, &unchanged).iter().map(|change| change.address.to_string()).collect();
    assert_eq!(touched, ["b"], "600 has the x bit that is desired, 700 has not");
    ground.bring(&tree, &owned, &things([("a", file("2")), ("b", file("1"))]));
    let mode = |path: &str| ground.path(path).metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!(["a", "b"].map(mode), [0o600, 0o644]);
}

#[test]
fn fault_53_an_update_keeps_owner_and_group() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let ground = Ground::new();
    let owned = ground.begin(&things([("a", file("1"))]));
    std::os::unix::fs::chown(ground.path("a"), Some(1234), Some(4321)).unwrap();
    ground.bring(&ground.tree(), &owned, &things([("a", file("2"))]));
    let meta = ground.path("a").metadata().unwrap();
    assert_eq!((meta.uid(), meta.gid()), (1234, 4321));
}

#[test]
fn something_special_is_seen_as_such_and_can_be_replaced() {
    let ground = Ground::new();
    rustix::fs::mknodat(rustix::fs::CWD, ground.path("pipe"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(ground.path("socket")).unwrap();
    let print = |path: &str| ground.seen(path).fingerprint().map(Fingerprint::to_string);
    assert_eq!(print("pipe").as_deref(), Some("1:other:fifo"));
    assert_eq!(print("socket").as_deref(), Some("1:other:socket"));
    let wanted = things([("pipe", file("1")), ("socket", Thing::Folder)]);
    ground.bring(&ground.tree(), &BTreeSet::new(), &wanted);
    assert_eq!(ground.everything(), wanted);
}

#[test]
fn fault_37_a_file_moves_between_stacks_and_is_not_touched() {
    for takes_first in [true, false] {
        let ground = Ground::new();
        ground.begin(&things([("shared/page", file("1"))]));
        let inode = ground.path("shared/page").metadata().unwrap().ino();
        let there = ground.seen("shared/page").fingerprint().cloned();
        let address = Address::new("shared/page");
        let taken = Change { other: Some(stack("app")), ..change(Action::Move, &address, there.clone(), there.clone(), None) };
        let take = trued_doors::Order { stack: stack("other"), ..order(&[taken]) };
        // The old owner only drops it from its inventory: nothing of that reaches the driver but its other work.
        let elsewhere = || ground.bring(&ground.tree(), &BTreeSet::new(), &things([("shared/else", file("2"))]));
        if !takes_first {
            elsewhere();
        }
        assert_eq!(run_order(&ground.tree(), &take), [Ok(there.clone())]);
        if takes_first {
            elsewhere();
        }
        assert_eq!(ground.path("shared/page").metadata().unwrap().ino(), inode);
        // A later delete by the new owner leaves the folder to the other file.
        let delete = change(Action::Delete, &address, there, None, None);
        let delete = trued_doors::Order { stack: stack("other"), ..order(&[delete]) };
        assert_eq!(run_order(&ground.tree(), &delete), [Ok(None)]);
        assert_eq!(ground.everything(), whole(&things([("shared/else", file("2"))])));
    }
}
