//! Random trees, random strangers: after each apply the root is exactly what was wanted, plus what was never ours.

use std::collections::BTreeSet;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::ground::{Ground, Thing, Things, file, link, program, run, whole};

/// Few names, so that paths meet: files where folders were, links where files were.
fn path() -> impl Strategy<Value = String> {
    vec(prop_oneof!["a", "b", "c"], 1..4).prop_map(|names| names.join("/"))
}

fn thing() -> impl Strategy<Value = Thing> {
    prop_oneof![
        4 => "[xyz]{0,2}".prop_map(|text| file(&text)),
        1 => "[xyz]{0,2}".prop_map(|text| program(&text)),
        1 => "[xyz]{1,2}".prop_map(|text| link(&text)),
        1 => Just(Thing::Folder),
    ]
}

/// A tree that can be: nothing lies in a file or link, and a folder that holds something is not written down.
fn tree() -> impl Strategy<Value = Things> {
    btree_map(path(), thing(), 0..8).prop_map(|all| {
        let paths: Vec<String> = all.keys().cloned().collect();
        let holds = |path: &str| paths.iter().any(|other| other.strip_prefix(path).is_some_and(|rest| rest.starts_with('/')));
        all.into_iter().filter(|(path, _)| !holds(path)).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_root_becomes_what_is_wanted(turns in vec(tree(), 1..6), batch in 1_usize..9) {
        let ground = Ground::new();
        let mut owned = BTreeSet::new();
        for wanted in &turns {
            // Each turn is another process, and a plan may be cut into several orders anywhere.
            let tree = ground.tree();
            let changes = ground.plan(&tree, &owned, wanted);
            for part in changes.chunks(batch) {
                for (outcome, change) in run(&tree, part).into_iter().zip(part) {
                    prop_assert_eq!(outcome, Ok(change.after.clone()), "{} {}", change.action.word(), &change.address);
                }
            }
            prop_assert_eq!(ground.everything(), whole(wanted));
            prop_assert_eq!(ground.staged(), Vec::<String>::new());
            owned = wanted.keys().cloned().collect();
            prop_assert_eq!(ground.plan(&tree, &owned, wanted), vec![]);
        }
    }

    #[test]
    fn what_was_never_ours_stays(from in tree(), to in tree(), theirs in btree_map("[a-c]/t[0-9]", "[xyz]{0,2}", 0..5)) {
        let ground = Ground::new();
        let owned = ground.begin(&from);
        let mut foreign = Things::new();
        for (path, text) in &theirs {
            let place = ground.path(path);
            if std::fs::create_dir_all(place.parent().unwrap()).is_ok() && std::fs::write(&place, text).is_ok() {
                foreign.insert(path.clone(), file(text));
            }
        }
        let tree = ground.tree();
        run(&tree, &ground.plan(&tree, &owned, &to));
        let now = ground.everything();
        for (path, thing) in &foreign {
            prop_assert_eq!(now.get(path), Some(thing), "{}", path);
        }
    }
}
