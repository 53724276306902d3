//! P3: a process may die at every place where it meets the world, once or twice, and everything comes right.

use std::collections::BTreeMap;
use std::time::Duration;

use trued_model::{Command, Kind, StackId, Want};
use trued_runtime::Aim;
use trued_sim::{Edit, Target, World, name, simulate};

/// What a world looks like in the end, and what it took.
#[derive(Debug, PartialEq, Eq)]
struct End {
    there: BTreeMap<String, String>,
    writes: u64,
}

/// Eight changes of all kinds: creates, updates, deletes, a file that becomes a folder, a stranger's edit put back.
async fn eight(world: &mut World) -> StackId {
    let site = world.stack("site", "web", "");
    for (path, text) in [("a", "one"), ("b", "two"), ("c", "three"), ("d", "four"), ("e", "file")] {
        world.put(&format!("site/{path}"), text);
    }
    world.commit();
    world.pass().await;
    world.stranger("web", "b", Edit::Write("somebody's".to_owned()));
    world.put("site/a", "other").remove("site/c").remove("site/d").remove("site/e");
    world.put("site/e/f", "inside").put("site/g", "new").put("site/h/i", "deep").commit();
    site
}

async fn four(world: &mut World) -> StackId {
    let site = world.stack("site", "web", "");
    world.put("site/a", "one").put("site/b", "two").commit();
    world.pass().await;
    world.put("site/a", "other").remove("site/b").put("site/c", "new").put("site/d", "new").commit();
    site
}

/// A run without a crash: its end, and how many places its pass goes through.
fn reference(prepare: impl AsyncFn(&mut World) -> StackId) -> (End, u64) {
    simulate(1, async |mut world| {
        prepare(&mut world).await;
        let (writes, places) = (world.writes(), world.process.passed());
        world.pass().await;
        let places = world.process.passed() - places;
        let written = world.writes() - writes;
        world.settle().await;
        world.keeps_its_promises();
        (End { there: world.target("web").texts(), writes: written }, places)
    })
}

async fn ends_as(world: &mut World, end: &End, before: u64, crashes: u64, at: &str) {
    world.settle().await;
    world.keeps_its_promises();
    assert_eq!(world.target("web").texts(), end.there, "{at}\n{}", world.journal(60));
    let writes = world.writes() - before;
    assert!(writes <= end.writes + crashes, "{at}: {writes} writes, {} without a crash", end.writes);
    assert!(world.held().is_empty(), "{at}: something is held");
}

#[test]
fn fault_41_a_crash_at_every_place_of_eight_changes() {
    let (end, places) = reference(eight);
    assert!(places > 20, "the places are many: {places}");
    for place in 0..places {
        simulate(1, async |mut world| {
            eight(&mut world).await;
            let before = world.writes();
            world.process.die_after(place);
            assert!(world.pass().await.report.is_none(), "the process dies at place {place}");
            ends_as(&mut world, &end, before, 1, &format!("place {place}")).await;
        });
    }
}

#[test]
fn fault_41_two_crashes_at_every_pair_of_places_of_four_changes() {
    let (end, places) = reference(four);
    for first in 0..places {
        let mut second = 0;
        // The second process has other places than the first: it begins by closing what that one left.
        while simulate(1, async |mut world| {
            four(&mut world).await;
            let before = world.writes();
            world.process.die_after(first);
            world.pass().await;
            world.process.die_after(second);
            let died = world.pass().await.report.is_none();
            world.process.die_after(u64::MAX - 1_000_000);
            ends_as(&mut world, &end, before, 2, &format!("places {first} and {second}")).await;
            died
        }) {
            second += 1;
        }
    }
}

#[test]
fn fault_42_a_reply_lost_at_every_change_is_looked_for_and_nothing_is_done_twice() {
    let (end, _) = reference(eight);
    for lost in 1..=8 {
        simulate(1, async |mut world| {
            eight(&mut world).await;
            let before = world.writes();
            world.target("web").ground().faults.lost_replies = lost;
            world.pass().await;
            ends_as(&mut world, &end, before, 0, &format!("{lost} replies lost")).await;
        });
    }
}

#[test]
fn fault_57_a_command_is_begun_once_wherever_the_process_dies() {
    let prepare = async |world: &mut World| {
        let site = world.stack("site", "web", "");
        let command = |name: &str| Command { name: name.to_owned(), argv: vec![name.to_owned()] };
        world.configure(&site, |stack| stack.policy.on_change = vec![command("reload"), command("purge")]);
        world.put("site/a", "one").put("site/b", "two").commit();
        site
    };
    let (_, places) = reference(prepare);
    for place in 0..places {
        simulate(1, async |mut world| {
            let site = prepare(&mut world).await;
            world.process.die_after(place);
            world.pass().await;
            world.settle().await;
            // The checkers saw that none began twice; none may be left out either, unless a person has to say.
            let commands = |kind: Kind| {
                let entries = world.entries_of(&site, &[kind]);
                entries.iter().filter(|indexed| indexed.entry.body.get("command").is_some()).count()
            };
            assert_eq!(commands(Kind::Intent), 2, "place {place}\n{}", world.journal(40));
            world.keeps_its_promises();
        });
    }
}

#[test]
fn fault_57_a_command_that_may_have_run_waits_for_a_persons_word() {
    let prepare = async |world: &mut World| {
        let site = world.stack("site", "web", "");
        let reload = Command { name: "reload".to_owned(), argv: vec!["reload".to_owned()] };
        world.configure(&site, |stack| stack.policy.on_change = vec![reload]);
        world.put("site/a", "one").commit();
        site
    };
    let begun = |world: &World, site: &StackId| {
        let intents = world.entries_of(site, &[Kind::Intent]);
        intents.into_iter().filter(|indexed| indexed.entry.body.get("command").is_some()).map(|indexed| indexed.index).collect::<Vec<_>>()
    };
    let (_, places) = reference(prepare);
    let mut asked = 0;
    for place in 0..places {
        for (word, runs) in [("done", 1), ("not-done", 2)] {
            simulate(1, async |mut world| {
                let site = prepare(&mut world).await;
                world.process.die_after(place);
                world.pass().await;
                world.settle().await;
                let open = world.universe.witness().account(&site).open.keys().next().copied();
                let Some(open) = open else { return };
                asked += 1;
                assert_eq!(begun(&world, &site), [open], "place {place}: it is not begun again by itself");
                world.answer(open, word).await.expect("an open command takes the word");
                world.settle().await;
                assert_eq!(begun(&world, &site).len(), runs, "place {place}, {word}\n{}", world.journal(40));
                world.keeps_its_promises();
            });
        }
    }
    assert!(asked > 2, "some places lie between a command's beginning and its end");
}

/// A process reaches its target and not its record, in the middle of a long batch, while another one takes over.
#[test]
fn fault_77_who_is_cut_off_from_the_record_stops_by_its_own_clock_before_its_lease_ends() {
    for checks_epochs in [true, false] {
        simulate(1, async |mut world| {
            let mut target = Target::new(name("web"));
            target.checks_epochs = checks_epochs;
            target.ground().faults.millis = 2_000;
            world.universe.set_target(target);
            world.stack("site", "web", "");
            for file in 0..30 {
                world.put(&format!("site/{file:02}"), "from the first");
            }
            world.commit();
            let (process, runtime) = world.another();
            let aim = Aim { want: Want::Newest, stacks: Vec::new(), writes: true, look: true, waits: false };
            let of_the_first = |world: &World| world.target("web").texts().values().filter(|text| *text == "from the first").count();
            let cut_off = async {
                tokio::time::sleep(Duration::from_secs(17)).await;
                let before = of_the_first(&world);
                process.cut_off(true);
                tokio::time::sleep(Duration::from_secs(14)).await;
                let until = of_the_first(&world);
                assert!(before < until && until < 16, "{before} before, {until} in all: it goes on for a while, and then stops");
                for file in 0..30 {
                    world.put(&format!("site/{file:02}"), "from the second");
                }
                world.commit();
                world.target("web").ground().faults.millis = 0;
                world.settle().await;
            };
            let (_, ()) = tokio::join!(runtime.pass(&aim), cut_off);
            process.cut_off(false);
            assert_eq!(of_the_first(&world), 0);
            world.keeps_its_promises();
        });
    }
}
