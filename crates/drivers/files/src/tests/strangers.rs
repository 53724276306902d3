//! Somebody else writes at the worst moment: between our look and our change, between our change and our second look.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use trued_model::{Code, Seen};

use super::ground::{Ground, Outcome, Thing, Things, file, link, run, things, whole};
use crate::probe::Moment;
use crate::tree::Tree;

/// Lets a stranger act once, at the first such moment.
fn stranger(tree: &mut Tree, moment: Moment, act: impl Fn() + Send + Sync + 'static) {
    let acted = AtomicBool::new(false);
    tree.probe.step_in = Some(Arc::new(move |now| {
        if now == moment && !acted.swap(true, Ordering::SeqCst) {
            act();
        }
        Ok(())
    }));
}

/// Goes from one tree to another while a stranger acts on the root; gives the outcomes.
fn with_stranger(ground: &Ground, from: &Things, to: &Things, moment: Moment, act: impl Fn(&Path) + Send + Sync + 'static) -> Vec<Outcome> {
    let owned = ground.begin(from);
    let mut tree = ground.tree();
    let changes = ground.plan(&tree, &owned, to);
    let root = ground.root();
    stranger(&mut tree, moment, move || act(&root));
    run(&tree, &changes)
}

fn code(outcome: &Outcome) -> Option<Code> {
    outcome.as_ref().err().map(|refusal| refusal.code)
}

#[test]
fn an_update_never_loses_bytes_that_came_after_the_look() {
    let ground = Ground::new();
    let (from, to) = (things([("a", file("old"))]), things([("a", file("new"))]));
    // In place, as long as the old one, and with its time: only the bytes tell.
    let outcomes = with_stranger(&ground, &from, &to, Moment::Checked, |root| {
        let file = std::fs::File::options().write(true).open(root.join("a")).unwrap();
        let before = file.metadata().unwrap().modified().unwrap();
        std::io::Write::write_all(&mut &file, b"wow").unwrap();
        file.set_modified(before).unwrap();
    });
    assert_eq!(code(&outcomes[0]), Some(Code::Changed));
    assert_eq!(ground.everything(), things([("a", file("wow"))]));
}

#[test]
fn a_delete_never_loses_bytes_that_came_after_the_look() {
    let ground = Ground::new();
    let from = things([("a", file("old"))]);
    let outcomes = with_stranger(&ground, &from, &Things::new(), Moment::Checked, |root| std::fs::write(root.join("a"), "wow").unwrap());
    assert_eq!(code(&outcomes[0]), Some(Code::Changed));
    assert_eq!(ground.everything(), things([("a", file("wow"))]));
}

#[test]
fn a_create_never_covers_what_came_after_the_look() {
    let ground = Ground::new();
    let outcomes = with_stranger(&ground, &Things::new(), &things([("a", file("new"))]), Moment::Checked, |root| {
        std::fs::write(root.join("a"), "theirs").unwrap();
    });
    assert_eq!(code(&outcomes[0]), Some(Code::Changed));
    assert_eq!(ground.everything(), things([("a", file("theirs"))]));
}

#[test]
fn a_folder_that_fills_after_the_look_comes_back() {
    let ground = Ground::new();
    let (from, to) = (things([("a", Thing::Folder)]), things([("a", file("new"))]));
    let outcomes = with_stranger(&ground, &from, &to, Moment::Checked, |root| std::fs::write(root.join("a/theirs"), "theirs").unwrap());
    // The look had gone by, the check for emptiness had not.
    assert_eq!(code(&outcomes[0]), Some(Code::Changed));
    assert_eq!(ground.everything(), things([("a", Thing::Folder), ("a/theirs", file("theirs"))]));
}

#[test]
fn a_folder_that_fills_while_it_is_exchanged_comes_back() {
    let ground = Ground::new();
    let (from, to) = (things([("a", Thing::Folder)]), things([("a", file("new"))]));
    let outcomes =
        with_stranger(&ground, &from, &to, Moment::Swapped, |root| std::fs::write(root.join(".trued/stage/0/theirs"), "theirs").unwrap());
    assert_eq!(code(&outcomes[0]), Some(Code::Changed));
    assert_eq!(ground.everything(), things([("a", Thing::Folder), ("a/theirs", file("theirs"))]));
}

#[test]
fn bytes_of_a_third_are_kept_when_they_come_between_two_exchanges() {
    let ground = Ground::new();
    let (from, to) = (things([("a", file("old"))]), things([("a", file("new"))]));
    let outcomes = with_stranger(&ground, &from, &to, Moment::Swapped, |root| {
        std::fs::write(root.join(".trued/stage/0"), "one").unwrap();
        std::fs::remove_file(root.join("a")).unwrap();
        std::fs::write(root.join("a"), "two").unwrap();
    });
    assert_eq!(code(&outcomes[0]), Some(Code::Changed));
    assert_eq!(ground.everything(), things([("a", file("one"))]));
    assert_eq!(std::fs::read_to_string(ground.path(".trued/kept/1")).unwrap(), "two");
}

#[test]
fn fault_54_a_folder_swapped_for_a_link_before_the_look_is_refused() {
    let ground = Ground::new();
    let secret = ground.outside.path().join("secret");
    std::fs::create_dir(&secret).unwrap();
    std::fs::write(secret.join("page"), "secret").unwrap();
    let owned = ground.begin(&things([("site/page", file("1"))]));
    let tree = ground.tree();
    let changes = ground.plan(&tree, &owned, &things([("site/page", file("2")), ("site/more", file("3"))]));
    std::fs::rename(ground.path("site"), ground.path("was")).unwrap();
    std::os::unix::fs::symlink(&secret, ground.path("site")).unwrap();
    for outcome in run(&tree, &changes) {
        let refusal = outcome.unwrap_err();
        assert_eq!(refusal.code, Code::Denied);
        assert!(refusal.message.contains("site is a symbolic link"), "{}", refusal.message);
    }
    assert_eq!(std::fs::read_to_string(secret.join("page")).unwrap(), "secret");
    assert_eq!(std::fs::read_dir(&secret).unwrap().count(), 1);
    assert_eq!(ground.seen("site/page"), Seen::Unknown("site is a symbolic link, which is not followed".to_owned()));
    let kept = crate::keep::keep(&tree, &trued_doors::Asked::new(changes[0].address.clone(), false));
    assert_eq!(kept.unwrap_err().code, Code::Denied);
}

#[test]
fn fault_54_a_folder_swapped_for_a_link_while_it_is_written_to() {
    for moment in [Moment::Folder, Moment::Checked, Moment::Swapped] {
        let ground = Ground::new();
        let secret = ground.outside.path().join("secret");
        std::fs::create_dir(&secret).unwrap();
        std::fs::write(secret.join("page"), "secret").unwrap();
        let (from, to) = (things([("site/page", file("1"))]), things([("site/page", file("2")), ("site/deep/more", file("3"))]));
        let away = secret.clone();
        let outcomes = with_stranger(&ground, &from, &to, moment, move |root| {
            std::fs::rename(root.join("site"), root.join("was")).unwrap();
            std::os::unix::fs::symlink(&away, root.join("site")).unwrap();
        });
        assert!(outcomes.iter().any(|outcome| outcome.is_err()), "{moment:?}");
        assert!(outcomes.iter().all(|outcome| matches!(code(outcome), None | Some(Code::Denied | Code::Changed))), "{outcomes:?}");
        assert_eq!(std::fs::read_to_string(secret.join("page")).unwrap(), "secret", "{moment:?}");
        assert_eq!(std::fs::read_dir(&secret).unwrap().count(), 1, "{moment:?}");
    }
}

#[test]
fn a_folder_moved_away_while_it_is_written_to_is_no_success() {
    let ground = Ground::new();
    let (from, to) = (things([("site/page", file("1"))]), things([("site/page", file("2"))]));
    let outcomes =
        with_stranger(&ground, &from, &to, Moment::Checked, |root| std::fs::rename(root.join("site"), root.join("was")).unwrap());
    assert!(outcomes[0].is_err());
    assert!(!ground.path("site").exists());
}

#[test]
fn our_own_folder_is_not_taken_from_strangers() {
    use std::os::unix::fs::PermissionsExt as _;
    let ground = Ground::new();
    let wanted = things([("a", file("1"))]);
    let refused = |ground: &Ground| {
        let tree = ground.tree();
        let changes = ground.plan(&tree, &BTreeSet::new(), &wanted);
        run(&tree, &changes).remove(0).unwrap_err()
    };
    std::os::unix::fs::symlink(ground.outside.path(), ground.path(".trued")).unwrap();
    assert_eq!(refused(&ground).code, Code::Denied);
    std::fs::remove_file(ground.path(".trued")).unwrap();
    std::fs::create_dir(ground.path(".trued")).unwrap();
    std::fs::set_permissions(ground.path(".trued"), std::fs::Permissions::from_mode(0o777)).unwrap();
    assert!(refused(&ground).message.contains("others may write in it"));
    std::fs::set_permissions(ground.path(".trued"), std::fs::Permissions::from_mode(0o700)).unwrap();
    std::os::unix::fs::symlink(ground.outside.path(), ground.path(".trued/stage")).unwrap();
    assert_eq!(refused(&ground).code, Code::Denied);
    assert_eq!(std::fs::read_dir(ground.outside.path()).unwrap().count(), 1, "nothing was written through it");
}

#[test]
fn a_link_as_target_is_replaced_and_not_followed() {
    let ground = Ground::new();
    let victim = ground.outside.path().join("victim");
    std::fs::write(&victim, "secret").unwrap();
    std::os::unix::fs::symlink(&victim, ground.path("a")).unwrap();
    let wanted = things([("a", file("1"))]);
    ground.bring(&ground.tree(), &BTreeSet::new(), &wanted);
    assert_eq!(ground.everything(), wanted);
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "secret");
}

#[test]
fn a_mark_that_cannot_be_read_is_never_overwritten() {
    let ground = Ground::new();
    ground.begin(&things([("a", file("1"))]));
    for bad in ["", "{", r#"{"v":2,"ledger":"trued/test","epochs":{}}"#] {
        std::fs::write(ground.path(".trued/mark"), bad).unwrap();
        let tree = ground.tree();
        let changes = ground.plan(&tree, &BTreeSet::new(), &things([("b", file("1"))]));
        assert_eq!(run(&tree, &changes).remove(0).unwrap_err().code, Code::Unknown, "{bad}");
        assert_eq!(std::fs::read_to_string(ground.path(".trued/mark")).unwrap(), bad);
    }
    assert_eq!(ground.everything(), whole(&things([("a", file("1"))])));
}

#[test]
fn a_link_out_of_the_root_is_not_made_even_if_nobody_looked_before() {
    let ground = Ground::new();
    for text in ["/etc/passwd", "../x"] {
        let document = trued_model::Document { text: None, ..ground.document("a", &link(text)) };
        let parsed = crate::parse::parse(&trued_doors::Facts::default(), "", &[document]);
        let resource = &parsed.resources[0];
        let create = super::ground::change(
            trued_model::Action::Create,
            &resource.address,
            None,
            Some(resource.fingerprint.clone()),
            resource.content,
        );
        assert_eq!(run(&ground.tree(), &[create]).remove(0).unwrap_err().code, Code::Invalid);
        assert_eq!(ground.everything(), Things::new());
    }
}
