//! Every point at which an apply can die, and what the next one finds: old or new, and the way to the end.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::ground::{Ground, Thing, Things, file, link, program, run, things, whole};
use crate::probe::Moment;
use crate::tree::Tree;

struct Crash;

/// Makes a tree whose process dies at the `nth` moment; counts moments when it lives.
fn mortal(tree: &mut Tree, nth: usize) -> Arc<AtomicUsize> {
    let count = Arc::new(AtomicUsize::new(0));
    let seen = count.clone();
    tree.probe.step_in = Some(Arc::new(move |_: Moment| {
        if seen.fetch_add(1, Ordering::SeqCst) == nth {
            std::panic::resume_unwind(Box::new(Crash));
        }
        Ok(())
    }));
    count
}

/// Dies at every moment of the way from one tree to another, looks, and goes on.
fn at_every_moment(from: &Things, to: &Things) {
    for nth in 0.. {
        let ground = Ground::new();
        let mut owned = ground.begin(from);
        let mut tree = ground.tree();
        let changes = ground.plan(&tree, &owned, to);
        let count = mortal(&mut tree, nth);
        let died = catch_unwind(AssertUnwindSafe(|| run(&tree, &changes))).is_err();
        if !died {
            assert!(count.load(Ordering::SeqCst) <= nth && nth > 5, "there are moments");
            assert_eq!(ground.everything(), whole(to));
            return;
        }
        old_or_new(&ground.everything(), from, to, nth);
        drop(tree);
        owned.extend(to.keys().cloned());
        ground.bring(&ground.tree(), &owned, to);
        // What an interrupted batch left is cleared by the next that writes, so one more is needed where none was left to do.
        let extra: Things = to.clone().into_iter().chain([("zz-next".to_owned(), file("next"))]).collect();
        ground.bring(&ground.tree(), &owned, &extra);
        assert_eq!(ground.everything(), whole(&extra), "after dying at moment {nth}");
        assert_eq!(ground.staged(), [""; 0], "after dying at moment {nth}");
        let owned: BTreeSet<String> = extra.keys().cloned().collect();
        assert_eq!(ground.plan(&ground.tree(), &owned, &extra), [], "the second plan is empty");
    }
}

/// Each path is as it was or as it shall be. One that is there before and after is there all the time.
fn old_or_new(now: &Things, from: &Things, to: &Things, nth: usize) {
    let (old, new) = (whole(from), whole(to));
    for path in now.keys().chain(old.keys()) {
        let (now, old, new) = (now.get(path), old.get(path), new.get(path));
        // On the way from a file to a folder of files (or back) there is a moment with nothing: two changes, not one.
        let two_changes = from.contains_key(path) != to.contains_key(path);
        assert!(
            now == old || now == new || (two_changes && now.is_none()),
            "{path} is {now:?} after dying at moment {nth}: was {old:?}, shall be {new:?}"
        );
    }
}

#[test]
fn fault_41_fault_53_a_crash_between_any_two_steps_leaves_old_or_new() {
    let from = things([("a", file("1")), ("b/c", program("2")), ("b/d/e", file("3")), ("gone/far/f", file("4")), ("l", link("a"))]);
    let to = things([
        ("a", file("one")),
        ("b/c", file("2")),
        ("b/d/e", file("3")),
        ("new/near/g", file("5")),
        ("l", link("b/c")),
        ("empty", Thing::Folder),
    ]);
    at_every_moment(&from, &to);
}

#[test]
fn fault_41_a_crash_while_kinds_change() {
    let from = things([("a", file("1")), ("b", Thing::Folder), ("c", link("a")), ("d/e", file("2")), ("f", file("3"))]);
    let to = things([("a", Thing::Folder), ("b", link("a")), ("c", file("3")), ("d", file("4")), ("f/g", file("5"))]);
    at_every_moment(&from, &to);
    at_every_moment(&to, &from);
}

#[test]
fn a_crash_while_everything_is_removed() {
    let from = things([("a/b/c", file("1")), ("a/b/d", file("2")), ("a/e", file("3")), ("f", Thing::Folder)]);
    at_every_moment(&from, &Things::new());
}

#[test]
fn fault_53_nothing_is_in_sight_before_it_is_durable_and_nothing_is_answered_before_it_is() {
    let ground = Ground::new();
    let owned = ground.begin(&things([("a", file("1"))]));
    let mut tree = ground.tree();
    let changes = ground.plan(&tree, &owned, &things([("a", file("2")), ("b/c", file("3"))]));
    let moments = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = moments.clone();
    tree.probe.step_in = Some(Arc::new(move |moment| {
        seen.lock().unwrap().push(moment);
        Ok(())
    }));
    run(&tree, &changes);
    use Moment::*;
    let expected = [
        Marking, Staged, Staged, Settling, Checked, Renaming, Swapped, Placed, Folder, Renaming, Checked, Renaming, Placed, Closing,
        Sweeping,
    ];
    assert_eq!(*moments.lock().unwrap(), expected);
}

#[test]
fn a_dead_process_holds_no_lock() {
    let ground = Ground::new();
    let mut tree = ground.tree();
    let changes = ground.plan(&tree, &BTreeSet::new(), &things([("a", file("1"))]));
    mortal(&mut tree, 3);
    assert!(catch_unwind(AssertUnwindSafe(|| run(&tree, &changes))).is_err());
    ground.bring(&ground.tree(), &BTreeSet::new(), &things([("a", file("1"))]));
}
