//! Fault 46: what is not ready is waited for by nobody who holds anything; its time ends once, and what follows is what the stack
//! says. Whether a thing is well is decided by what is written, so a release is good or bad by itself.

use trued_model::body::{Rollback, Verdict};
use trued_model::{Address, Duration, HealthPolicy, Kind, Otherwise, StackId};
use trued_sim::{Temper, Wellbeing, World, simulate};

/// So many worlds when nobody says otherwise.
const WORLDS: u64 = 300;

fn unwell(part: u64) {
    let asked = |name: &str, otherwise: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise);
    let from = asked("TRUED_SIM_FROM", 0);
    for seed in (from..from + asked("TRUED_SIM_UNWELL", WORLDS)).filter(|seed| seed % 2 == part) {
        if let Err(failure) = trued_sim::run_unwell(seed) {
            panic!("unwell {failure}");
        }
    }
}

#[test]
fn fault_46_worlds_in_which_things_are_unwell_keep_their_promises_first_half() {
    unwell(0);
}

#[test]
fn fault_46_worlds_in_which_things_are_unwell_keep_their_promises_second_half() {
    unwell(1);
}

fn content(address: &str, fits: impl Fn(Temper) -> bool) -> String {
    Wellbeing::new(7).content(address, fits)
}

fn given(world: &World, id: &StackId, seconds: u64, otherwise: Otherwise) {
    world.configure(id, |stack| {
        stack.health = HealthPolicy { within: Duration::from_secs(seconds), otherwise: Some(otherwise), rules: Vec::new() };
    });
}

fn verdicts(world: &World, id: &StackId) -> Vec<Verdict> {
    world.entries_of(id, &[Kind::Verdict]).iter().map(|indexed| indexed.entry.body().expect("a verdict")).collect()
}

#[test]
fn t04_more_than_may_walk_at_once_that_are_never_ready_hold_up_nobody() {
    simulate(1, async |mut world| {
        world.tells("t", Wellbeing::new(7));
        for number in 0..150 {
            let app = format!("sick{number}");
            let id = world.stack(&app, "t", &app);
            given(&world, &id, 3_600, Otherwise::Hold);
            let never = content(&format!("{app}/a"), |temper| temper == Temper::Never);
            world.put(&format!("{app}/a"), &never);
        }
        let well = world.stack("well", "t", "well");
        let at_once = |text: &str| content("well/a", |temper| temper == Temper::AtOnce) + text;
        world.put("well/a", &at_once("")).commit();
        world.serve();
        world.wait(60).await;
        assert_eq!(verdicts(&world, &well).len(), 1);
        let mut more = (0..)
            .map(|number| format!("more {number}"))
            .filter(|text| Wellbeing::new(7).temper(&Address::new("well/a"), text.as_bytes()) == Temper::AtOnce);
        for turn in 2..6 {
            world.put("well/a", &more.next().expect("one")).commit();
            // The source is asked every five seconds; nothing else may be waited for.
            world.wait(7).await;
            let verdicts = verdicts(&world, &well);
            assert_eq!(verdicts.len(), turn, "while 150 wait");
            assert!(verdicts.last().is_some_and(|verdict| verdict.verified));
        }
        world.stop().await;
        world.keeps_its_promises();
    });
}

#[test]
fn fault_46_a_deadline_is_said_once_and_held_or_rolled_back_as_the_stack_says() {
    for otherwise in [Otherwise::Hold, Otherwise::Rollback] {
        simulate(1, async |mut world| {
            world.tells("t", Wellbeing::new(7));
            let id = world.stack("app", "t", "");
            given(&world, &id, 20, otherwise);
            let (good, never) = (content("a", |temper| temper == Temper::AtOnce), content("a", |temper| temper == Temper::Never));
            world.put("app/a", &good).commit();
            world.apply().await.expect("it comes back").report();
            let before = world.universe.clock.clone();
            let began = trued_doors::Clock::monotonic(before.as_ref());
            world.put("app/a", &never).commit();
            let report = world.apply().await.expect("it comes back").report();
            let took = (trued_doors::Clock::monotonic(before.as_ref()) - began) / 1_000;
            assert!((20..40).contains(&took), "it comes back at the deadline: {took} s");
            // Failed; or gone back, and waiting for something else to be wanted.
            assert_eq!(report.status(false), if otherwise == Otherwise::Hold { 1 } else { 3 });
            for _ in 0..5 {
                world.wait(30).await;
                world.pass().await;
            }
            let failed: Vec<Verdict> =
                verdicts(&world, &id).into_iter().filter(|verdict| verdict.checks.iter().any(|check| !check.passed)).collect();
            assert_eq!(failed.len(), 1, "said once: {failed:?}");
            assert!(failed[0].checks[0].why.contains("not ready within 20s: a: it never comes up"), "{failed:?}");
            let back: Vec<Rollback> =
                world.entries_of(&id, &[Kind::Rollback]).iter().map(|indexed| indexed.entry.body().expect("one")).collect();
            let there = world.target("t").text("a");
            match otherwise {
                Otherwise::Hold => assert_eq!((back.len(), there), (0, Some(never.clone()))),
                Otherwise::Rollback => assert_eq!((back.len(), there), (1, Some(good.clone()))),
            }
            world.keeps_its_promises();
        });
    }
}
