//! P5, P9: one applier for a stack, and trouble that stays where it is.

use std::collections::BTreeMap;

use trued_model::body::Intent;
use trued_model::{Address, Code, Kind};
use trued_sim::{BROKEN, Promise, Target, World, name, simulate};

/// What a stack's history comes to, without numbers that depend on others: kinds and times, in order.
fn history(world: &World, app: &str) -> Vec<(Kind, i64)> {
    let entries = world.entries(&[]);
    let of = entries.iter().filter(|indexed| indexed.entry.stack.as_ref().is_some_and(|stack| stack.app.as_str() == app));
    of.map(|indexed| (indexed.entry.kind, indexed.entry.valid_from.0)).collect()
}

/// Two stacks on two targets, one of them in the given trouble; the history of the other.
fn beside(trouble: impl Fn(&mut World)) -> (Vec<(Kind, i64)>, BTreeMap<String, String>) {
    simulate(1, async |mut world| {
        world.stack("sick", "t-sick", "");
        world.stack("well", "t-well", "");
        world.put("sick/a", "one").put("well/a", "one").commit();
        world.pass().await;
        trouble(&mut world);
        for text in ["two", "three"] {
            world.put("sick/a", text).put("well/a", text).commit();
            world.pass().await;
        }
        (history(&world, "well"), world.target("t-well").texts())
    })
}

#[test]
fn p9_a_fault_in_one_stack_changes_nothing_for_another() {
    let (reference, there) = beside(|_| ());
    type Trouble = fn(&mut World);
    let troubles: [(&str, Trouble); 6] = [
        ("it does not render", |world| {
            world.put(&format!("sick/{BROKEN}"), "");
        }),
        ("its target is away", |world| world.target("t-sick").ground().faults.away = true),
        ("its target cannot be seen", |world| world.target("t-sick").ground().faults.unseen = true),
        ("its target refuses", |world| {
            world.target("t-sick").ground().faults.forbidden.insert(Address::new("a"), Code::Denied);
        }),
        ("its target is full", |world| world.target("t-sick").ground().faults.room = Some(0)),
        ("its replies are lost", |world| world.target("t-sick").ground().faults.lost_replies = 9),
    ];
    for (what, trouble) in troubles {
        let (history, texts) = beside(trouble);
        assert_eq!((&history, &texts), (&reference, &there), "{what}");
    }
}

#[test]
fn p9_a_target_that_hangs_delays_none_of_fifty_others() {
    simulate(1, async |mut world| {
        world.stack("hung", "t-hung", "");
        world.put("hung/a", "one");
        for number in 0..50 {
            let app = format!("s{number}");
            world.stack(&app, &format!("t{number}"), "");
            world.put(&format!("{app}/a"), "one");
        }
        world.commit();
        world.target("t-hung").ground().faults.hangs = true;
        world.serve();
        world.wait(2).await;
        let done =
            |world: &World, text: &str| (0..50).filter(|n| world.target(&format!("t{n}")).text("a").as_deref() == Some(text)).count();
        assert_eq!(done(&world, "one"), 50);
        for number in 0..50 {
            world.put(&format!("s{number}/a"), "two");
        }
        world.commit();
        world.wait(7).await;
        assert_eq!(done(&world, "two"), 50, "one poll later all have the new revision");
        world.target("t-hung").ground().faults.hangs = false;
        world.stop().await;
    });
}

#[test]
fn p5_epochs_rise_with_every_lease_and_a_stopped_process_is_fenced() {
    for checks_epochs in [true, false] {
        simulate(1, async |mut world| {
            let mut target = Target::new(name("web"));
            target.checks_epochs = checks_epochs;
            world.universe.set_target(target);
            let site = world.stack("site", "web", "");
            world.put("site/a", "one").commit();
            world.pass().await;
            let second = {
                let first = world.another();
                world.put("site/a", "two").commit();
                assert_eq!(world.pass().await.writes, 0, "the first holds the lease");
                world.wait(20).await;
                assert_eq!(world.pass().await.writes, 1, "a stopped holder's lease ends by itself");
                let second = (world.process.clone(), world.runtime.clone());
                world.act_as(first);
                second
            };
            // The first wakes up with an old epoch: nothing of it gets through.
            world.put("site/a", "three").commit();
            assert_eq!(world.pass().await.writes, 0);
            world.act_as(second);
            assert_eq!(world.pass().await.writes, 1);
            let epochs: Vec<u64> = world
                .entries_of(&site, &[Kind::Intent])
                .iter()
                .filter_map(|indexed| indexed.entry.body::<Intent>().ok())
                .map(|intent| intent.epoch)
                .collect();
            assert_eq!(epochs, [1, 2, 2]);
            world.keeps_its_promises();
        });
    }
}

#[test]
fn p5_a_dead_holders_lease_is_free_at_once_and_a_released_one_too() {
    simulate(1, async |mut world| {
        world.stack("site", "web", "");
        world.put("site/a", "one").commit();
        world.pass().await;
        world.crash();
        world.put("site/a", "two").commit();
        assert_eq!(world.pass().await.writes, 1);
        world.runtime.release().await.expect("released");
        let _first = world.another();
        world.put("site/a", "three").commit();
        assert_eq!(world.pass().await.writes, 1);
        assert!(!world.broken().contains(&Promise::Epochs));
        world.keeps_its_promises();
    });
}

#[test]
fn p5_a_store_that_lost_its_epochs_goes_on_above_the_targets_mark() {
    simulate(1, async |mut world| {
        let site = world.stack("site", "web", "");
        world.target("web").ground().epochs.insert(site.clone(), 41);
        world.put("site/a", "one").commit();
        world.settle().await;
        assert_eq!(world.target("web").ground().epochs[&site], 42);
        world.keeps_its_promises();
    });
}
