//! The catalogue's faults, by number, as far as they are simulated: what must hold, in the smallest world that shows it.

use trued_model::body::{Held, Incident, Outcome, Verdict};
use trued_model::{Address, Code, DriftPolicy, Duration, HoldKind, Kind, OnExisting, StackId};
use trued_runtime::Report;
use trued_sim::{BROKEN, Edit, PANICS, UNSTEADY, World, name, person, simulate};

/// A world with one stack of three files, in place.
fn site(body: impl AsyncFnOnce(&mut World, StackId)) {
    simulate(1, async |mut world| {
        let site = world.stack("site", "web", "");
        world.put("site/a", "one").put("site/b", "two").put("site/c", "three").commit();
        world.settle().await;
        body(&mut world, site).await;
        world.keeps_its_promises();
    });
}

fn texts(world: &World) -> Vec<(String, String)> {
    world.target("web").texts().into_iter().collect()
}

fn held_kinds(report: &Report, stack: &StackId) -> Vec<HoldKind> {
    let of = report.stacks.iter().find(|report| report.stack == *stack);
    of.and_then(|report| report.plan.as_ref()).map(|(_, decision)| decision.held.iter().map(|part| part.kind).collect()).unwrap_or_default()
}

fn incidents(world: &World) -> Vec<String> {
    let opened = world.entries(&[Kind::IncidentOpened]);
    opened.iter().filter_map(|indexed| indexed.entry.body::<Incident>().ok()).map(|incident| incident.kind).collect()
}

fn last_verdict(world: &World, stack: &StackId) -> Verdict {
    let verdict = world.entries_of(stack, &[Kind::Verdict]).pop().expect("a verdict");
    verdict.entry.body().expect("a verdict's body")
}

#[test]
fn fault_01_a_source_that_does_not_answer_changes_nothing_and_is_an_incident_after_a_while() {
    site(async |world, _| {
        let before = texts(world);
        world.put("site/a", "newer").remove("site/b").commit();
        world.universe.history.set_reachable(false);
        for turn in 0..3 {
            let passed = world.pass().await;
            assert_eq!(passed.writes, 0);
            let findings = passed.report().findings;
            assert!(findings[0].message.contains("stale since"), "{:?}", findings[0]);
            assert_eq!(incidents(world).len(), usize::from(turn == 2));
        }
        assert_eq!(texts(world), before);
        world.universe.history.set_reachable(true);
        world.settle().await;
        assert_eq!(world.target("web").text("a").as_deref(), Some("newer"));
        assert_eq!(world.entries(&[Kind::IncidentClosed]).len(), 1);
    });
}

#[test]
fn fault_02_an_emptied_folder_deletes_nothing_without_a_yes() {
    site(async |world, site| {
        let before = texts(world);
        world.remove("site").commit();
        let report = world.pass().await.report();
        assert_eq!(held_kinds(&report, &site), [HoldKind::Empty]);
        assert_eq!(texts(world), before);
        world.approve_all().await;
        world.settle().await;
        assert_eq!(texts(world), []);
    });
}

#[test]
fn fault_02_a_path_that_never_was_there_is_a_finding() {
    simulate(1, async |mut world| {
        world.stack("site", "web", "");
        world.put("other/a", "one").commit();
        let report = world.pass().await.report();
        assert!(report.stacks[0].findings[0].message.contains("does not exist"), "{:?}", report.stacks[0].findings);
        assert_eq!(report.status(false), 2);
    });
}

#[test]
fn fault_04_a_rewound_source_is_followed_only_by_a_persons_word() {
    site(async |world, _| {
        world.put("site/a", "newer").commit();
        world.settle().await;
        world.universe.history.rewind(1);
        let passed = world.settle().await;
        assert_eq!(world.target("web").text("a").as_deref(), Some("newer"));
        assert!(passed.report().findings[0].message.contains("history was rewritten"));
        assert_eq!(incidents(world), ["rewind"]);
        let item = world.newest(Kind::IncidentOpened).expect("the incident").index;
        world.answer(item, "accept").await.expect("a rewind takes the word");
        world.settle().await;
        assert_eq!(world.target("web").text("a").as_deref(), Some("one"));
        assert_eq!(world.entries(&[Kind::IncidentClosed]).len(), 1);
    });
}

#[test]
fn fault_14_a_failed_render_is_tried_again_and_an_empty_one_is_no_success() {
    site(async |world, _| {
        world.put(&format!("site/{BROKEN}"), "").put("site/a", "newer").commit();
        let before = world.counters().renders;
        world.pass().await;
        world.pass().await;
        assert_eq!(world.counters().renders - before, 2, "a failure is not kept");
        world.remove(&format!("site/{BROKEN}")).commit();
        world.settle().await;
        assert_eq!(world.target("web").text("a").as_deref(), Some("newer"));
    });
}

#[test]
fn fault_15_a_wake_told_many_times_costs_the_target_nothing() {
    simulate(1, async |mut world| {
        world.stack("site", "web", "");
        world.put("site/a", "one").commit();
        world.serve();
        world.wait(20).await;
        let before = world.counters();
        for _ in 0..10 {
            world.wake();
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        let cost = world.counters() - before;
        assert_eq!((cost.target_reads, cost.target_writes, cost.renders, cost.ledger_rows), (0, 0, 0, 0));
        // A wake that was lost is made up for by asking.
        world.put("site/a", "two").commit();
        world.wait(10).await;
        assert_eq!(world.target("web").text("a").as_deref(), Some("two"));
        world.stop().await;
        world.keeps_its_promises();
    });
}

#[test]
fn fault_26_a_render_that_fails_changes_nothing_of_that_stack_and_no_other_notices() {
    simulate(1, async |mut world| {
        let (site, shop) = (world.stack("site", "web", "site"), world.stack("shop", "web", "shop"));
        world.put("site/a", "one").put("shop/a", "one").commit();
        world.settle().await;
        world.put("site/a", "two").put(&format!("site/{BROKEN}"), "").put("shop/a", "two").commit();
        let report = world.pass().await.report();
        assert_eq!(texts(&world), [("shop/a".to_owned(), "two".to_owned()), ("site/a".to_owned(), "one".to_owned())]);
        let of = |id: &StackId| report.stacks.iter().find(|report| report.stack == *id).expect("a report").clone();
        assert_eq!((of(&site).outcome, of(&shop).outcome), (None, Some(Outcome::Landed)));
        assert_eq!(incidents(&world), ["render"]);
        world.settle().await;
        assert_eq!(incidents(&world), ["render"], "it is said once");
        world.keeps_its_promises();
    });
}

#[test]
fn fault_27_a_document_that_cannot_be_read_as_a_resource_holds_the_whole_stack() {
    site(async |world, site| {
        let before = texts(world);
        world.put("site/..", "outside").remove("site/b").put("site/a", "newer").commit();
        let report = world.pass().await.report();
        assert_eq!(report.stacks[0].stack, site);
        assert!(report.stacks[0].findings[0].message.contains("outside"));
        assert_eq!(texts(world), before);
    });
}

#[test]
fn fault_28_what_lies_outside_of_a_stacks_place_is_refused_before_anything_is_planned() {
    simulate(1, async |mut world| {
        world.stack("site", "web", "site");
        world.put("site/../other", "outside").put("site/a", "inside").commit();
        let report = world.pass().await.report();
        assert_eq!(report.stacks[0].findings.len(), 1);
        assert!(report.stacks[0].plan.is_none());
        assert_eq!(texts(&world), []);
    });
}

#[test]
fn fault_28_what_the_operator_does_not_let_a_stack_manage_is_refused_before_the_plan_and_held_in_it() {
    site(async |world, site| {
        let before = texts(world);
        let lets = |globs: &[&str]| Some(globs.iter().map(|glob| (*glob).to_owned()).collect::<Vec<_>>());
        world.put("site/in/a", "inside").put("site/d", "outside").commit();
        world.configure(&site, |stack| stack.policy.manage = lets(&["in/**"]));
        let report = world.pass().await.report();
        assert_eq!(report.stacks[0].findings.len(), 3 + 1, "what is out of bounds now, and what is new there");
        assert!(report.stacks[0].plan.is_none());
        assert_eq!(texts(world), before, "nothing at all, the part that is in bounds neither");

        // What is no longer desired would be a delete: of what is out of bounds that waits, and no yes helps.
        for file in ["a", "b", "c", "d"] {
            world.remove(&format!("site/{file}"));
        }
        world.commit();
        for _ in 0..2 {
            let report = world.pass().await.report();
            assert_eq!(held_kinds(&report, &site), [HoldKind::OutOfBounds]);
            let whole = report.stacks[0].plan.as_ref().expect("a plan").1.plan;
            let _ = world.runtime.approve(&whole.to_string(), Duration::from_secs(60), "test", &person(), None).await;
        }
        let mut with_new = before.clone();
        with_new.push(("in/a".to_owned(), "inside".to_owned()));
        assert_eq!(texts(world), with_new);
        world.configure(&site, |stack| stack.policy.manage = None);
        world.settle().await;
        assert_eq!(texts(world), [("in/a".to_owned(), "inside".to_owned())]);
    });
}

#[test]
fn fault_30_a_delete_looks_again_at_the_target_itself() {
    site(async |world, _| {
        world.remove("site/a").commit();
        world.target("web").ground().faults.meddling = vec![("a".to_owned(), Edit::Write("written after the look".to_owned()))];
        world.pass().await;
        assert_eq!(world.target("web").text("a").as_deref(), Some("written after the look"), "refused, not deleted");
        world.settle().await;
        assert_eq!(world.target("web").text("a"), None, "the next look kept the bytes and deleted it");
    });
}

#[test]
fn fault_31_states_between_two_looks_do_not_matter() {
    site(async |world, _| {
        for text in ["x", "y", "z"] {
            world.put("site/a", text).put("site/d", text).commit();
            world.stranger("web", "b", Edit::Write(text.to_owned()));
        }
        world.remove("site/d").commit();
        world.stranger("web", "b", Edit::Write("two".to_owned()));
        let passed = world.settle().await;
        assert_eq!((passed.writes, passed.rows), (0, 0));
        assert_eq!(world.target("web").text("a").as_deref(), Some("z"));
        assert_eq!(world.target("web").text("d"), None);
    });
}

#[test]
fn fault_36_a_yes_to_one_plan_is_no_yes_to_another() {
    simulate(1, async |mut world| {
        let site = world.stack("site", "web", "");
        for file in 0..9 {
            world.put(&format!("site/{file}"), "text");
        }
        world.commit();
        world.settle().await;
        for file in 0..6 {
            world.remove(&format!("site/{file}"));
        }
        world.commit();
        assert_eq!(held_kinds(&world.settle().await.report(), &site), [HoldKind::Deletes]);
        world.approve_all().await;
        // The desired state moves on.
        world.remove("site/6").commit();
        assert_eq!(held_kinds(&world.pass().await.report(), &site), [HoldKind::Deletes]);
        // So does the target, under the plan that was approved.
        world.put("site/6", "text").commit();
        world.stranger("web", "0", Edit::Write("changed since".to_owned()));
        assert_eq!(held_kinds(&world.pass().await.report(), &site), [HoldKind::Deletes]);
        assert_eq!(texts(&world).len(), 9);
        // A commit that renders the same keeps a yes.
        world.approve_all().await;
        world.put("elsewhere", "new").commit();
        world.settle().await;
        assert_eq!(texts(&world).len(), 3);
        world.keeps_its_promises();
    });
}

#[test]
fn fault_37_a_file_moves_between_stacks_in_both_orders_and_is_never_gone() {
    for (from, to) in [("alpha", "omega"), ("omega", "alpha")] {
        for content in ["same", "other"] {
            simulate(1, async |mut world| {
                let old = world.stack(from, "web", "");
                let new = world.stack(to, "web", "");
                world.put(&format!("{from}/deep/x"), "same").put(&format!("{from}/y"), "y").put(&format!("{to}/z"), "z").commit();
                world.settle().await;
                let uid = |world: &World| world.target("web").ground().nodes[&Address::new("deep/x")].uid;
                let before = uid(&world);
                world.remove(&format!("{from}/deep/x")).put(&format!("{to}/deep/x"), content).commit();
                world.settle().await;
                assert_eq!(world.target("web").text("deep/x").as_deref(), Some(content));
                if content == "same" {
                    assert_eq!(uid(&world), before, "it was not written");
                }
                assert!(world.entries(&[Kind::DriftOpened]).is_empty(), "a move is no drift");
                let owns = |id: &StackId| world.universe.witness().account(id).inventory.contains_key(&Address::new("deep/x"));
                assert!(owns(&new) && !owns(&old));
                world.keeps_its_promises();
            });
        }
    }
}

#[test]
fn fault_37_a_move_waits_while_either_stack_does_not_render() {
    for broken in ["alpha", "omega"] {
        for (from, to) in [("alpha", "omega"), ("omega", "alpha")] {
            simulate(1, async |mut world| {
                world.stack(from, "web", "");
                world.stack(to, "web", "");
                world.put(&format!("{from}/x"), "same").put(&format!("{from}/y"), "y").put(&format!("{to}/z"), "z").commit();
                world.settle().await;
                world.remove(&format!("{from}/x")).put(&format!("{to}/x"), "same").put(&format!("{broken}/{BROKEN}"), "").commit();
                world.settle().await;
                assert_eq!(world.target("web").text("x").as_deref(), Some("same"), "{broken} does not render");
                world.remove(&format!("{broken}/{BROKEN}")).commit();
                world.settle().await;
                assert_eq!(world.target("web").text("x").as_deref(), Some("same"));
                assert_eq!(world.held().len(), 0);
                world.keeps_its_promises();
            });
        }
    }
}

#[test]
fn fault_37_a_renamed_stack_deletes_nothing_and_writes_nothing() {
    site(async |world, old| {
        let known = world.universe.estate().stacks[&old].clone();
        let id = StackId { app: name("home"), ..old.clone() };
        world.universe.configure(|estate| {
            estate.stacks.clear();
            estate.stacks.insert(id.clone(), trued_model::Stack { id: id.clone(), previously: vec![old.clone()], ..known });
        });
        let writes = world.writes();
        world.settle().await;
        assert_eq!(world.writes(), writes);
        assert_eq!(texts(world).len(), 3);
        assert!(world.held().is_empty(), "{:?}", world.held());
    });
}

#[test]
fn fault_38_the_second_stack_that_wants_an_address_is_refused_and_the_owner_named() {
    simulate(1, async |mut world| {
        let first = world.stack("alpha", "web", "");
        let second = world.stack("omega", "web", "");
        let third = world.stack("zulu", "web", "");
        world.put("omega/x", "omega's").put("omega/o", "o").put("alpha/a", "a").put("zulu/z", "z").commit();
        world.settle().await;
        world.put("alpha/x", "alpha's").put("zulu/x", "zulu's").commit();
        let report = world.settle().await.report();
        for later in [&first, &third] {
            assert_eq!(held_kinds(&report, later), [HoldKind::Claimed]);
        }
        assert_eq!(held_kinds(&report, &second), []);
        let why = world.held()[0].2.parts[0].why.clone();
        assert!(why.contains("prod/omega@web"), "{why}");
        assert_eq!(world.target("web").text("x").as_deref(), Some("omega's"));
        world.keeps_its_promises();
    });
}

#[test]
fn fault_38_of_three_that_want_a_new_address_the_first_gets_it() {
    simulate(1, async |mut world| {
        for app in ["alpha", "beta", "gamma"] {
            world.stack(app, "web", "");
            world.put(&format!("{app}/x"), app).put(&format!("{app}/{app}"), "own");
        }
        world.commit();
        world.settle().await;
        assert_eq!(world.target("web").text("x").as_deref(), Some("alpha"));
        assert_eq!(world.held().len(), 2);
        world.remove("alpha/x").commit();
        world.settle().await;
        assert_eq!(world.target("web").text("x").as_deref(), Some("beta"));
        assert!(world.entries(&[Kind::DriftOpened]).is_empty());
        world.keeps_its_promises();
    });
}

#[test]
fn fault_40_more_deletes_than_the_limits_allow_wait_for_a_yes() {
    simulate(1, async |mut world| {
        let site = world.stack("site", "web", "");
        for file in 0..10 {
            world.put(&format!("site/{file}"), "text");
        }
        world.commit();
        world.settle().await;
        for file in 0..5 {
            world.remove(&format!("site/{file}"));
        }
        world.commit();
        world.settle().await;
        assert_eq!(texts(&world).len(), 5, "five are allowed");
        for file in 10..20 {
            world.put(&format!("site/{file}"), "text");
        }
        world.commit();
        world.settle().await;
        for file in 10..16 {
            world.remove(&format!("site/{file}"));
        }
        world.put("site/19", "changed").commit();
        let report = world.settle().await.report();
        assert_eq!(held_kinds(&report, &site), [HoldKind::Deletes]);
        assert_eq!(world.target("web").text("19").as_deref(), Some("changed"), "what is not held goes on");
        assert_eq!(texts(&world).len(), 15);
        world.approve_all().await;
        world.settle().await;
        assert_eq!(texts(&world).len(), 9);
        world.keeps_its_promises();
    });
}

#[test]
fn fault_42_a_reply_that_is_lost_is_looked_for_and_the_run_lands() {
    site(async |world, site| {
        world.put("site/a", "newer").remove("site/b").commit();
        world.target("web").ground().faults.lost_replies = 2;
        let passed = world.pass().await;
        assert_eq!(passed.writes, 2);
        assert_eq!(last_verdict(world, &site).outcome, Outcome::Landed);
    });
}

#[test]
fn fault_43_a_passing_refusal_is_tried_again_with_growing_pauses() {
    simulate(1, async |mut world| {
        let site = world.stack("site", "web", "");
        world.put("site/a", "one").commit();
        world.target("web").ground().faults.refusals = Some((Code::Unreachable, 4));
        world.serve();
        world.wait(60).await;
        assert_eq!(world.target("web").text("a").as_deref(), Some("one"), "{}", world.journal(80));
        let tries: Vec<i64> = world.entries_of(&site, &[Kind::Intent]).iter().map(|intent| intent.entry.valid_from.0).collect();
        assert_eq!(tries.len(), 5);
        let pauses: Vec<i64> = tries.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(pauses.windows(2).all(|pair| pair[0] < pair[1]), "{pauses:?}");
        assert_eq!(last_verdict(&world, &site).outcome, Outcome::Landed);
        world.stop().await;
        world.keeps_its_promises();
    });
}

#[test]
fn fault_44_one_refused_resource_holds_up_no_other() {
    site(async |world, site| {
        world.target("web").ground().faults.forbidden.insert(Address::new("b"), Code::Invalid);
        world.put("site/a", "newer").put("site/b", "newer").put("site/d", "new").commit();
        world.pass().await;
        assert_eq!(world.target("web").text("a").as_deref(), Some("newer"));
        assert_eq!(world.target("web").text("b").as_deref(), Some("two"));
        assert_eq!(world.target("web").text("d").as_deref(), Some("new"));
        let verdict = last_verdict(world, &site);
        assert_eq!((verdict.outcome, verdict.done, verdict.of), (Outcome::Failed, 2, 3));
        assert!(verdict.why.starts_with("b: "), "{}", verdict.why);
        assert_eq!(incidents(world), ["refused"]);
        world.target("web").ground().faults.forbidden.clear();
        world.settle().await;
        assert_eq!(last_verdict(world, &site).outcome, Outcome::Landed);
    });
}

#[test]
fn fault_45_a_newer_revision_ends_a_run_after_the_batch_in_hand() {
    simulate(1, async |mut world| {
        let site = world.stack("site", "web", "");
        world.target("web").ground().faults.millis = 100;
        for file in 0..600 {
            world.put(&format!("site/{file:03}"), "old");
        }
        world.commit();
        world.serve();
        world.wait(10).await;
        for file in 0..600 {
            world.put(&format!("site/{file:03}"), "new");
        }
        world.commit();
        world.wait(300).await;
        let outcomes: Vec<Outcome> = world
            .entries_of(&site, &[Kind::Verdict])
            .iter()
            .filter_map(|indexed| indexed.entry.body::<Verdict>().ok())
            .map(|verdict| verdict.outcome)
            .collect();
        assert_eq!(outcomes, [Outcome::Superseded, Outcome::Landed]);
        assert!(texts(&world).iter().all(|(_, text)| text == "new"));
        world.stop().await;
        world.keeps_its_promises();
    });
}

#[test]
fn fault_45_a_revision_that_cannot_land_does_not_stop_its_fix() {
    simulate(1, async |mut world| {
        let site = world.stack("site", "web", "");
        world.target("web").ground().faults.forbidden.insert(Address::new("bad"), Code::Invalid);
        world.put("site/a", "one").put("site/bad", "never").commit();
        world.serve();
        world.wait(120).await;
        assert_eq!(last_verdict(&world, &site).outcome, Outcome::Failed);
        world.remove("site/bad").put("site/a", "two").commit();
        world.wait(10).await;
        assert_eq!(world.target("web").text("a").as_deref(), Some("two"));
        assert_eq!(last_verdict(&world, &site).outcome, Outcome::Landed);
        world.stop().await;
        world.keeps_its_promises();
    });
}

#[test]
fn fault_79_a_wall_clock_that_is_set_back_or_forth_moves_neither_leases_nor_the_order_of_entries() {
    const TEN_YEARS: i64 = 10 * 365 * 86_400_000;
    for years in [TEN_YEARS, -TEN_YEARS] {
        site(async |world, site| {
            let first = world.another();
            world.universe.clock.jump(years);
            world.put("site/a", "two").commit();
            assert_eq!(world.pass().await.writes, 0, "the first still holds the lease");
            world.act_as(first);
            assert_eq!(world.pass().await.writes, 1, "and works under it");
            world.universe.clock.jump(-years);
            world.put("site/a", "three").commit();
            world.settle().await;
            assert_eq!(world.target("web").text("a").as_deref(), Some("three"));
            let entries = world.entries_of(&site, &[]);
            assert!(entries.is_sorted_by_key(|indexed| indexed.entry.recorded_at));
        });
    }
}

#[test]
fn fault_79_a_yes_that_has_ended_stays_ended_when_the_clock_is_set_back() {
    const DAY: i64 = 86_400_000;
    site(async |world, site| {
        world.remove("site").commit();
        assert_eq!(held_kinds(&world.pass().await.report(), &site), [HoldKind::Empty]);
        world.approve_all().await;
        // The yes ends unused; something is recorded after its end; then the clock is set back into its term.
        world.universe.clock.jump(2 * DAY);
        world.put("site/a", "newer").commit();
        world.settle().await;
        world.universe.clock.jump(-2 * DAY);
        world.remove("site").commit();
        assert_eq!(held_kinds(&world.pass().await.report(), &site), [HoldKind::Empty], "the same plan, and no yes to it any more");
        // A new one is given by the record's time, so that it is one.
        world.approve_all().await;
        world.settle().await;
        assert_eq!(texts(world), []);
    });
}

#[test]
fn fault_80_a_stack_that_panics_at_each_start_is_an_incident_and_stops_none_on_the_same_target() {
    simulate(1, async |mut world| {
        let (bad, _good) = (world.stack("bad", "web", "bad"), world.stack("good", "web", "good"));
        world.put("bad/a", "one").put("good/a", "one").commit();
        world.settle().await;
        world.put(&format!("bad/{PANICS}"), "").put("good/a", "two").commit();
        for start in 0..3 {
            let report = world.pass().await.report();
            let of = report.stacks.iter().find(|report| report.stack == bad).expect("a report");
            assert_eq!(of.refusal.as_ref().map(|refusal| refusal.code), Some(Code::Broken), "start {start}");
            assert_eq!(report.status(false), 1);
            world.crash();
        }
        assert_eq!(world.target("web").text("good/a").as_deref(), Some("two"));
        assert_eq!(world.target("web").text("bad/a").as_deref(), Some("one"), "the last good state stays");
        assert_eq!(incidents(&world), ["panic"], "one incident, however often");
        // Under a serve it is tried again after pauses that grow, and others go on.
        let before = world.counters().renders;
        world.serve();
        world.wait(600).await;
        let tried = world.counters().renders - before;
        assert!(tried < 60, "{tried} times in ten minutes");
        world.put("good/a", "three").commit();
        world.wait(10).await;
        assert_eq!(world.target("web").text("good/a").as_deref(), Some("three"));
        world.remove(&format!("bad/{PANICS}")).put("bad/a", "two").commit();
        world.wait(120).await;
        assert_eq!(world.target("web").text("bad/a").as_deref(), Some("two"), "what was mended lands");
        world.stop().await;
    });
}

#[test]
fn fault_25_serve_repeats_a_render_now_and_then_and_says_where_it_differs() {
    simulate(1, async |mut world| {
        let (bad, good) = (world.stack("bad", "web", "bad"), world.stack("good", "web", "good"));
        world.put("bad/a", "one").put(&format!("bad/{UNSTEADY}"), "").put("good/a", "one").commit();
        world.serve();
        world.wait(600).await;
        assert_eq!((incidents(&world).len(), world.counters().repeats), (0, 0), "not before an interval has passed");
        let before = world.counters();
        world.wait(3 * 3600).await;
        let cost = world.counters() - before;
        assert_eq!((cost.repeats, cost.renders, cost.target_writes), (3, 0, 0), "one in an hour, and none of it is a render");
        assert_eq!(incidents(&world), ["unsteady"]);
        let opened = world.newest(Kind::IncidentOpened).expect("an incident").entry;
        assert_eq!(opened.stack, Some(bad.clone()));
        assert_eq!(opened.body["message"], format!("two renders of the same inputs differ: only one of them has bad/{UNSTEADY}"));
        assert!(world.entries_of(&good, &[Kind::IncidentOpened]).is_empty());
        // What was mended is looked at again, and the incident ends.
        world.remove(&format!("bad/{UNSTEADY}")).commit();
        world.wait(2 * 3600).await;
        assert_eq!(world.entries_of(&bad, &[Kind::IncidentClosed]).len(), 1);
        world.stop().await;
    });
}

#[test]
fn fault_48_another_thing_of_the_same_name_is_not_deleted() {
    site(async |world, site| {
        world.remove("site/b").commit();
        world.target("web").ground().faults.meddling = vec![("b".to_owned(), Edit::Recreate)];
        world.pass().await;
        assert_eq!(world.target("web").text("b").as_deref(), Some("two"));
        assert_eq!(last_verdict(world, &site).outcome, Outcome::Failed);
        let refusal = world.newest(Kind::Refusal).expect("a refusal");
        assert_eq!(refusal.entry.body["items"][0]["code"], "changed");
    });
}

#[test]
fn invariant_13_every_strangers_bytes_are_on_record_before_they_go() {
    for drift in [DriftPolicy::Revert, DriftPolicy::Alert, DriftPolicy::Hold] {
        site(async |world, site| {
            world.configure(&site, |stack| stack.policy.drift = drift);
            world.stranger("web", "a", Edit::Write("first hand".to_owned()));
            world.settle().await;
            world.stranger("web", "a", Edit::Write("second hand".to_owned()));
            world.settle().await;
            if drift != DriftPolicy::Revert {
                let item = world.newest(Kind::DriftOpened).expect("drift").index;
                world.answer(item, "revert").await.expect("drift takes the word");
                world.settle().await;
            }
            assert_eq!(world.target("web").text("a").as_deref(), Some("one"), "{drift:?}");
            let kept = world.entries(&[]).into_iter().flat_map(|indexed| indexed.entry.blobs).filter(|note| note.role == "kept:a");
            let kept: std::collections::BTreeSet<_> = kept.map(|note| note.blob.digest).collect();
            assert!(kept.contains(&trued_model::Digest::of(b"first hand")) && kept.contains(&trued_model::Digest::of(b"second hand")));
        });
    }
}

#[test]
fn first_contact_takes_what_is_the_same_and_holds_what_differs() {
    simulate(1, async |mut world| {
        let site = world.stack("site", "web", "");
        world.stranger("web", "a", Edit::Write("one".to_owned()));
        world.stranger("web", "b", Edit::Write("somebody's".to_owned()));
        world.put("site/a", "one").put("site/b", "two").put("site/c", "three").commit();
        let report = world.settle().await.report();
        assert_eq!(held_kinds(&report, &site), [HoldKind::Foreign]);
        assert_eq!(world.target("web").text("b").as_deref(), Some("somebody's"));
        assert_eq!(world.target("web").text("c").as_deref(), Some("three"));
        world.configure(&site, |stack| stack.policy.on_existing = OnExisting::TakeOver);
        world.settle().await;
        assert_eq!(world.target("web").text("b").as_deref(), Some("two"));
        world.keeps_its_promises();
    });
}

#[test]
fn a_suspended_stack_does_nothing_even_with_a_yes_and_a_new_commit_does_not_wake_it() {
    site(async |world, site| {
        world.put("site/a", "two").commit();
        world.settle().await;
        world.runtime.roll_back(&site, None, "test", &person()).await.expect("a release to go back to");
        world.settle().await;
        assert_eq!(world.target("web").text("a").as_deref(), Some("one"));
        world.runtime.suspend(&site, "test", &person()).await.expect("said");
        let before = texts(world);
        world.remove("site").commit();
        world.settle().await;
        world.approve_all().await;
        world.put("site/a", "three").commit();
        world.settle().await;
        assert_eq!(texts(world), before, "{}", world.journal(40));
        world.runtime.resume(&site, "test", &person()).await.expect("said");
        world.settle().await;
        assert_eq!(world.target("web").text("a").as_deref(), Some("three"));
    });
}

#[test]
fn a_partial_look_keeps_the_answer_and_the_hold() {
    site(async |world, site| {
        world.configure(&site, |stack| stack.policy.drift = DriftPolicy::Hold);
        world.stranger("web", "a", Edit::Write("strange".to_owned()));
        world.stranger("web", "b", Edit::Write("strange".to_owned()));
        world.settle().await;
        world.put("site/c", "newer").commit();
        let hide = |world: &World, hidden: bool| {
            let target = world.target("web");
            let mut ground = target.ground();
            ground.faults.hidden = if hidden { [Address::new("a"), Address::new("b")].into() } else { Default::default() };
        };
        hide(world, true);
        world.settle().await;
        assert_eq!(world.target("web").text("c").as_deref(), Some("three"), "drift that is out of sight still holds");
        let item = world.newest(Kind::DriftOpened).expect("drift").index;
        world.answer(item, "revert").await.expect("drift takes the word");
        world.settle().await;
        hide(world, false);
        world.settle().await;
        assert_eq!(texts(world).iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(), ["one", "two", "newer"]);
        assert!(world.entries(&[Kind::DriftUpdated]).is_empty(), "not seeing is no news");
    });
}

#[test]
fn p7_a_rollback_works_with_the_source_gone_and_reproduces_the_bytes() {
    site(async |world, site| {
        let first = texts(world);
        world.put("site/a", "bad").remove("site/b").put("site/d", "bad").commit();
        world.settle().await;
        world.universe.history.set_readable(false);
        world.crash();
        world.runtime.roll_back(&site, None, "bad", &person()).await.expect("a release to go back to");
        world.settle().await;
        assert_eq!(texts(world), first);
        // The source comes back with what was left: it is not taken again.
        world.universe.history.set_readable(true);
        world.settle().await;
        assert_eq!(texts(world), first);
        world.put("site/a", "fixed").commit();
        world.settle().await;
        assert_eq!(world.target("web").text("a").as_deref(), Some("fixed"));
    });
}

#[test]
fn p7_going_back_twice_takes_nothing_that_was_left() {
    site(async |world, site| {
        world.configure(&site, |stack| stack.policy.rollback = true);
        world.check(&site);
        world.put("site/a", "second").commit();
        world.settle().await;
        world.fail_check(&site, true);
        world.put("site/a", "third").commit();
        world.settle().await;
        world.settle().await;
        assert_ne!(world.target("web").text("a").as_deref(), Some("third"), "{}", world.journal(40));
        world.fail_check(&site, false);
        world.put("site/a", "fourth").commit();
        world.settle().await;
        assert_eq!(world.target("web").text("a").as_deref(), Some("fourth"));
    });
}

#[test]
fn a_file_becomes_a_folder_and_a_folder_a_file() {
    site(async |world, _| {
        world.remove("site/a").put("site/a/inner", "deep").put("site/a/other", "deep").commit();
        world.settle().await;
        assert_eq!(world.target("web").text("a/inner").as_deref(), Some("deep"));
        world.remove("site/a").put("site/a", "a file again").commit();
        world.settle().await;
        assert_eq!(world.target("web").text("a").as_deref(), Some("a file again"));
        assert!(world.held().is_empty());
    });
}

#[test]
fn deletes_wait_while_an_app_cannot_be_read() {
    site(async |world, site| {
        world.stack("shop", "web", "");
        world.put("shop/s", "s").commit();
        world.settle().await;
        world.universe.configure(|estate| estate.unreadable.push(name("shop")));
        world.remove("site/a").commit();
        let report = world.settle().await.report();
        assert_eq!(held_kinds(&report, &site), [HoldKind::Waiting]);
        assert_eq!(world.target("web").text("a").as_deref(), Some("one"));
        world.universe.configure(|estate| estate.unreadable.clear());
        world.settle().await;
        assert_eq!(world.target("web").text("a"), None);
        assert!(world.held().is_empty());
    });
}

#[test]
fn a_stack_gone_from_configuration_waits_for_delete_or_forget() {
    for (word, left) in [("delete", 0), ("forget", 3)] {
        site(async |world, site| {
            world.unconfigure(&site);
            world.settle().await;
            assert_eq!(texts(world).len(), 3);
            let (item, _, held) = world.held().remove(0);
            assert!(matches!(&held, Held { parts, .. } if parts[0].kind == HoldKind::Orphan));
            world.answer(item, word).await.expect("an orphan takes the word");
            world.settle().await;
            assert_eq!(texts(world).len(), left);
            assert!(world.held().is_empty());
        });
    }
}

#[test]
fn a_full_target_stops_the_run_loses_nothing_and_goes_on_by_itself() {
    site(async |world, site| {
        world.put("site/a", "newer").put("site/d", "new").put("site/e", "new").commit();
        world.target("web").ground().faults.room = Some(1);
        world.pass().await;
        assert_eq!(last_verdict(world, &site).outcome, Outcome::Failed);
        assert_eq!(world.target("web").text("b").as_deref(), Some("two"));
        world.target("web").ground().faults.room = None;
        world.settle().await;
        assert_eq!(texts(world).len(), 5);
        assert_eq!(last_verdict(world, &site).outcome, Outcome::Landed);
    });
}
