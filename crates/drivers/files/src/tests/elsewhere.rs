//! What leads elsewhere from below the root: other names of a file, and what is mounted. Named, and never written to.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

use trued_doors::Asked;
use trued_model::{Address, Code, Extent, Seen};

use super::ground::{Ground, again, file, run, things};
use crate::observe::survey;

#[test]
fn a_file_with_another_name_is_named_and_not_written() {
    let ground = Ground::new();
    ground.begin(&things([("a", file("1")), ("b", file("1"))]));
    let elsewhere = ground.outside.path().join("elsewhere");
    std::fs::hard_link(ground.path("a"), &elsewhere).unwrap();
    let tree = ground.tree();
    let changes = ground.plan(&tree, &BTreeSet::new(), &things([("a", file("2")), ("b", file("2"))]));
    let outcomes = run(&tree, &changes);
    let refusal = outcomes[0].as_ref().unwrap_err();
    assert_eq!((refusal.code, refusal.message.as_str()), (Code::Unsupported, "update a: the file there has 2 names (hard links)"));
    assert!(outcomes[1].is_ok(), "the others go on");
    assert_eq!(std::fs::read_to_string(&elsewhere).unwrap(), "1");
    assert_eq!(std::fs::metadata(&elsewhere).unwrap().ino(), std::fs::metadata(ground.path("a")).unwrap().ino());
    // Its bytes may be anybody's: they are not copied into the record.
    assert_eq!(crate::keep::keep(&tree, &Asked::new(Address::new("a"), false)).unwrap_err().code, Code::Unsupported);
    std::fs::remove_file(&elsewhere).unwrap();
    ground.bring(&tree, &BTreeSet::new(), &things([("a", file("2"))]));
}

#[test]
fn one_name_of_several_can_be_removed() {
    let ground = Ground::new();
    let owned = ground.begin(&things([("a", file("1"))]));
    let elsewhere = ground.outside.path().join("elsewhere");
    std::fs::hard_link(ground.path("a"), &elsewhere).unwrap();
    ground.bring(&ground.tree(), &owned, &things([]));
    assert_eq!(std::fs::read_to_string(&elsewhere).unwrap(), "1");
    assert!(!ground.path("a").exists());
}

/// Runs a test again in a mount namespace of its own; true in there. Fails where that cannot be had.
fn in_a_mount_namespace(test: &str) -> bool {
    again(test, |program| {
        let mut command = Command::new("unshare");
        command.args(if rustix::process::geteuid().is_root() { "--mount" } else { "-Urm" }.split_whitespace()).arg(program);
        command
    })
}

fn mount(words: &[&str]) {
    assert!(Command::new("mount").args(words).status().unwrap().success(), "mount {words:?}");
}

#[test]
fn what_is_mounted_below_the_root_is_named_and_never_crossed() {
    if !in_a_mount_namespace("tests::elsewhere::what_is_mounted_below_the_root_is_named_and_never_crossed") {
        return;
    }
    let ground = Ground::new();
    ground.begin(&things([("disk/a", file("1")), ("bound/a", file("1")), ("one", file("1")), ("free/a", file("1"))]));
    let other = ground.outside.path().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("a"), "theirs").unwrap();
    let path = |name: &str| ground.path(name).to_str().unwrap().to_owned();
    mount(&["-t", "tmpfs", "none", &path("disk")]);
    std::fs::write(ground.path("disk/a"), "theirs").unwrap();
    // Of the same file system: nothing but the mount tells them apart.
    mount(&["--bind", other.to_str().unwrap(), &path("bound")]);
    mount(&["--bind", other.join("a").to_str().unwrap(), &path("one")]);
    let addresses = ["bound/a", "disk/a", "free/a", "one"].map(Address::new);
    let seen = ground.look(&ground.tree(), addresses.iter());
    for (address, at) in [("disk/a", "disk"), ("bound/a", "bound"), ("one", "")] {
        match &seen.seen[&Address::new(address)] {
            Seen::Unknown(why) => assert!(why.contains("mounted") && why.contains(at), "{address}: {why}"),
            other => panic!("{address}: {other:?}"),
        }
    }
    assert!(matches!(seen.seen[&Address::new("free/a")], Seen::Present(_)));
    assert!(matches!(&seen.extent, Extent::Partial(_)));
    let everything = survey(&ground.tree(), "").unwrap().seen;
    assert!(matches!(&everything.extent, Extent::Partial(why) if why.contains("mounted")), "{:?}", everything.extent);
    assert!(!everything.seen.contains_key(&Address::new("disk/a")));
    let resources = ground.resources(&things([("disk/a", file("2")), ("bound/new", file("2")), ("one", file("2"))]));
    for resource in resources.values() {
        let there = ground.resources(&things([(resource.address.as_str(), file("theirs"))]))[&resource.address].fingerprint.clone();
        for before in [None, Some(there)] {
            let action = if before.is_some() { trued_model::Action::Update } else { trued_model::Action::Create };
            let change = super::ground::change(action, &resource.address, before, Some(resource.fingerprint.clone()), resource.content);
            let refusal = run(&ground.tree(), &[change]).remove(0).unwrap_err();
            assert!(refusal.message.contains("mounted"), "{}: {refusal}", resource.address);
        }
    }
    assert_eq!(std::fs::read_to_string(other.join("a")).unwrap(), "theirs");
    assert_eq!(std::fs::read_to_string(ground.path("disk/a")).unwrap(), "theirs");
    assert!(!ground.path("bound/new").exists());
}

#[test]
fn a_root_without_our_mark_where_things_were_made_is_not_seen() {
    if !in_a_mount_namespace("tests::elsewhere::a_root_without_our_mark_where_things_were_made_is_not_seen") {
        return;
    }
    let ground = Ground::new();
    mount(&["-t", "tmpfs", "none", ground.root().to_str().unwrap()]);
    let wanted = things([("a", file("1"))]);
    ground.begin(&wanted);
    assert!(Command::new("umount").arg(ground.root()).status().unwrap().success());
    // A new process, told by the record that something was written here.
    let a = Address::new("a");
    let tree = ground.tree();
    tree.expect_mark();
    let seen = ground.look(&tree, [&a].into_iter());
    assert!(matches!(&seen.extent, Extent::Unknown(why) if why.contains("does not carry our mark")), "{:?}", seen.extent);
    assert!(!seen.get(&a).decided(), "unknown, not absent");
    let create = ground.plan(&ground.tree(), &BTreeSet::new(), &wanted);
    assert_eq!(run(&tree, &create).remove(0).unwrap_err().code, Code::Unknown);
    assert_eq!(std::fs::read_dir(ground.root()).unwrap().count(), 0, "nothing was written beside the disk");
    // On purpose.
    std::fs::create_dir(ground.path(".trued")).unwrap();
    assert_eq!(ground.look(&tree, [&a].into_iter()).seen[&a], Seen::Absent);
}
