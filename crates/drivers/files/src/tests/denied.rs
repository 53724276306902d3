//! What may not be looked at or written, as a user without rights.

use std::collections::BTreeSet;
use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt as _;

use trued_doors::Asked;
use trued_model::{Code, Extent, Seen};

use super::ground::{Ground, file, run, things, unprivileged};
use crate::observe::survey;

fn chmod(ground: &Ground, path: &str, mode: u32) {
    set_permissions(ground.path(path), Permissions::from_mode(mode)).unwrap();
}

#[test]
fn what_may_not_be_read_is_denied_and_never_absent() {
    if !unprivileged("tests::denied::what_may_not_be_read_is_denied_and_never_absent") {
        return;
    }
    let ground = Ground::new();
    ground.begin(&things([("file", file("1")), ("folder/inside", file("2")), ("fine", file("3"))]));
    chmod(&ground, "file", 0);
    chmod(&ground, "folder", 0);
    let addresses = ["file", "folder/inside", "folder/never", "fine", "folder/deeper/never"].map(trued_model::Address::new);
    let seen = ground.look(&ground.tree(), addresses.iter());
    let words = |address: &str| match &seen.seen[&trued_model::Address::new(address)] {
        Seen::Denied(why) => why.clone(),
        other => format!("{other:?}"),
    };
    assert_eq!(words("file"), "permission denied");
    assert_eq!(words("folder/inside"), "permission denied");
    assert_eq!(words("folder/never"), "permission denied", "what cannot be seen is not absent");
    assert_eq!(words("folder/deeper/never"), "the folder folder/deeper may not be searched");
    assert!(matches!(seen.seen[&addresses[3]], Seen::Present(_)));
    assert_eq!(seen.extent, Extent::Partial("file: permission denied; and 3 more".to_owned()));
    let listing = survey(&ground.tree(), "").unwrap().seen;
    assert_eq!(listing.extent, Extent::Partial("folder: the folder folder may not be searched".to_owned()));
    assert_eq!(crate::keep::keep(&ground.tree(), &Asked::new(addresses[0].clone(), false)).unwrap_err().code, Code::Denied);
    chmod(&ground, "folder", 0o755);
}

#[test]
fn a_folder_that_may_not_be_written_refuses_its_changes_alone() {
    if !unprivileged("tests::denied::a_folder_that_may_not_be_written_refuses_its_changes_alone") {
        return;
    }
    let ground = Ground::new();
    let from = things([("closed/a", file("1")), ("closed/b", file("2")), ("open/c", file("3"))]);
    let owned = ground.begin(&from);
    chmod(&ground, "closed", 0o555);
    let to = things([("closed/a", file("one")), ("closed/new", file("4")), ("closed/deep/new", file("5")), ("open/c", file("three"))]);
    let tree = ground.tree();
    let changes = ground.plan(&tree, &owned, &to);
    for (outcome, change) in run(&tree, &changes).into_iter().zip(&changes) {
        let denied = outcome.as_ref().is_err_and(|refusal| refusal.code == Code::Denied);
        assert_eq!(denied, change.address.as_str().starts_with("closed/"), "{}: {outcome:?}", change.address);
    }
    chmod(&ground, "closed", 0o755);
    let now = ground.everything();
    assert_eq!((&now["closed/a"], &now["closed/b"], &now["open/c"]), (&file("1"), &file("2"), &file("three")));
    assert_eq!(now.len(), 5, "nothing else came");
    assert_eq!(ground.staged(), [""; 0]);
}

#[test]
fn a_root_that_may_not_be_entered_is_unknown() {
    if !unprivileged("tests::denied::a_root_that_may_not_be_entered_is_unknown") {
        return;
    }
    let ground = Ground::new();
    ground.begin(&things([("a", file("1"))]));
    set_permissions(ground.outside.path(), Permissions::from_mode(0o000)).unwrap();
    let seen = ground.look(&ground.tree(), [trued_model::Address::new("a")].iter());
    set_permissions(ground.outside.path(), Permissions::from_mode(0o700)).unwrap();
    assert!(matches!(&seen.extent, Extent::Unknown(why) if why.contains("permission denied")), "{:?}", seen.extent);
}

#[test]
fn a_root_that_may_not_be_written_is_refused() {
    if !unprivileged("tests::denied::a_root_that_may_not_be_written_is_refused") {
        return;
    }
    let ground = Ground::new();
    set_permissions(ground.root(), Permissions::from_mode(0o555)).unwrap();
    let tree = ground.tree();
    let changes = ground.plan(&tree, &BTreeSet::new(), &things([("a", file("1"))]));
    assert_eq!(run(&tree, &changes).remove(0).unwrap_err().code, Code::Denied);
}

#[test]
fn another_users_mark_is_not_ours_to_use() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let ground = Ground::new();
    ground.begin(&things([("a", file("1"))]));
    std::os::unix::fs::chown(ground.path(".trued"), Some(1234), None).unwrap();
    let tree = ground.tree();
    let changes = ground.plan(&tree, &BTreeSet::new(), &things([("b", file("1"))]));
    let refusal = run(&tree, &changes).remove(0).unwrap_err();
    assert_eq!(refusal.code, Code::Denied);
    assert!(refusal.message.contains("it belongs to uid 1234"), "{}", refusal.message);
}
