//! P8: work follows the change, not the size; and a second pass costs nothing. Counted, never timed.

use trued_sim::{Counts, World, simulate};

/// What a change of one file costs in a stack of so many, warm; and a pass after it.
fn one_change_of(files: usize) -> (Counts, Counts) {
    simulate(1, async |mut world| {
        world.stack("site", "web", "");
        for file in 0..files {
            world.put(&format!("site/{file:04}"), "text");
        }
        world.commit();
        world.settle().await;
        let before = world.counters();
        world.put("site/0003", "other").commit();
        world.pass().await;
        let changed = world.counters() - before;
        let before = world.counters();
        world.pass().await;
        let unchanged = world.counters() - before;
        world.keeps_its_promises();
        (changed, unchanged)
    })
}

#[test]
fn p8_one_change_costs_the_same_in_a_stack_ten_times_as_large() {
    let (small, quiet) = one_change_of(20);
    let (large, also_quiet) = one_change_of(200);
    assert_eq!(small, large);
    assert_eq!((small.renders, small.fetches, small.target_writes), (1, 1, 1));
    assert!(small.ledger_rows <= 3, "intent, receipt, verdict: {small:?}");
    assert_eq!(quiet, also_quiet);
}

#[test]
fn p6_a_second_pass_renders_writes_and_records_nothing() {
    let (_, quiet) = one_change_of(20);
    assert_eq!((quiet.renders, quiet.target_writes, quiet.ledger_rows), (0, 0, 0));
    assert_eq!(quiet.target_reads, 1, "the due check's look is the only read");
}

#[test]
fn p8_another_stacks_commit_costs_a_stack_nothing() {
    simulate(1, async |mut world| {
        for app in ["alpha", "beta", "gamma"] {
            world.stack(app, "web", app);
            world.put(&format!("{app}/a"), "one");
        }
        world.commit();
        world.settle().await;
        let before = world.counters();
        world.put("beta/a", "two").commit();
        world.pass().await;
        let cost = world.counters() - before;
        assert_eq!((cost.renders, cost.target_writes), (1, 1));
        world.keeps_its_promises();
    });
}

#[test]
fn p8_a_serving_process_at_rest_looks_when_due_and_writes_heartbeats_alone() {
    simulate(1, async |mut world: World| {
        world.stack("site", "web", "");
        world.put("site/a", "one").commit();
        world.serve();
        world.wait(65).await;
        let (before, rows) = (world.counters(), world.rows());
        world.wait(600).await;
        let cost = world.counters() - before;
        assert_eq!((cost.renders, cost.target_writes), (0, 0));
        assert_eq!(world.rows(), rows, "heartbeats aside, nothing is recorded");
        assert!(cost.ledger_rows <= 10, "one heartbeat a minute: {cost:?}");
        assert!(cost.target_reads <= 20, "one look an interval: {cost:?}");
        world.stop().await;
        world.keeps_its_promises();
    });
}

/// What a commit that changes one of so many stacks costs a serving process.
fn one_commit_among(stacks: usize) -> Counts {
    simulate(1, async |mut world: World| {
        for app in (0..stacks).map(|app| format!("app{app}")) {
            world.stack(&app, "web", &app);
            world.put(&format!("{app}/a"), "one");
        }
        world.commit();
        world.serve();
        world.wait(65).await;
        let before = world.counters();
        world.put("app3/a", "two").commit();
        world.wait(20).await;
        let cost = world.counters() - before;
        world.stop().await;
        world.keeps_its_promises();
        cost
    })
}

#[test]
fn p8_a_commit_to_one_stack_costs_the_same_among_ten_times_as_many() {
    let (few, many) = (one_commit_among(4), one_commit_among(40));
    assert_eq!(few, many);
    assert_eq!((few.renders, few.target_writes), (1, 1));
}
