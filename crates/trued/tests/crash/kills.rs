//! Killed anywhere, the program comes to the same end, and its record tells how.

use crate::scene::{Scene, each_point, placed};
use crate::tracer::{Blow, nth};

/// Fewer points than this, and the tracer is blind.
const AT_LEAST: usize = 20;

fn killed_everywhere(name: &str, scene: &Scene) {
    let points = each_point(name, |n| {
        let (ground, trace) = scene.run(&mut nth(n, Blow::Kill));
        if !trace.struck {
            return match trace.status {
                Some(status) if status == scene.status => Ok(false),
                ended => Err(format!("nothing befell it, and it ended with {ended:?}: {}", trace.said)),
            };
        }
        let at = trace.calls.last().expect("the call it was killed at");
        let within = |wrong: String| format!("killed at {at}: {wrong}");
        scene.check_between(&ground).map_err(within)?;
        let written = placed(&trace) + scene.go_on(&ground).map_err(within)?;
        if written > scene.writes + 1 {
            return Err(within(format!("{written} writes, and {} without the kill", scene.writes)));
        }
        scene.check_end(&ground).map_err(within)?;
        Ok(true)
    });
    assert!(points >= AT_LEAST, "only {points} points");
    #[expect(clippy::print_stdout, reason = "a number that people ask for")]
    {
        println!("{name}: killed at each of {points} points");
    }
}

#[test]
fn fault_75_fault_41_the_first_apply_killed_at_every_call() {
    killed_everywhere("first apply", &Scene::first_apply());
}

#[test]
fn fault_75_fault_53_an_apply_of_changes_of_every_kind_killed_at_every_call() {
    killed_everywhere("change", &Scene::change());
}

#[test]
fn fault_75_an_apply_that_reverts_drift_killed_at_every_call() {
    killed_everywhere("drift", &Scene::drift());
}

#[test]
fn fault_75_a_rollback_killed_at_every_call() {
    killed_everywhere("rollback", &Scene::rollback());
}

#[test]
fn fault_75_an_answer_killed_at_every_call() {
    killed_everywhere("answer", &Scene::answer());
}

#[test]
fn fault_75_an_approval_killed_at_every_call() {
    killed_everywhere("approval", &Scene::approval());
}

#[test]
fn fault_75_fault_82_a_serve_that_works_and_is_told_to_stop_killed_at_every_call() {
    killed_everywhere("serve", &Scene::serve());
}
