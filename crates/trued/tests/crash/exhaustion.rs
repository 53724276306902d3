//! A machine that has no more of something: descriptors, a record that takes nothing any more. Whatever
//! ends there ends with a word, and the next run goes on.

use std::process::Command;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use trued_model::Kind;

use crate::ground::Ground;
use crate::scene::Scene;
use crate::tracer::Blow;

/// Runs a change of every kind below a limit, then without; gives how the limited run ended and what it said.
fn limited(limit: &[&str]) -> (Option<i32>, String) {
    let ground = Ground::new();
    ground.must(&["apply"], 0).expect("the first revision");
    ground.edit();
    let (old, new) = (ground.tree("www"), ground.tree("site"));
    let intents = ground.entries(&[Kind::Intent]).len();
    let plain = ground.command(&["apply"]);
    let mut command = Command::new("prlimit");
    command.args(limit).arg(plain.get_program()).args(plain.get_args()).current_dir(ground.path("."));
    command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = command.output().expect("prlimit (package util-linux) starts");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ground.is_whole(&old, &new).expect("whole");
    ground.is_recorded(&old, intents).expect("recorded");
    ground.must(&["apply"], 0).expect("it goes on");
    ground.is_settled(&new).expect("as desired");
    ground.is_proven().expect("a record that proves itself");
    (output.status.code(), said)
}

#[test]
fn fault_81_without_descriptors_it_says_so_and_the_next_run_goes_on() {
    let mut refused = 0;
    for count in 10..40 {
        let (status, said) = limited(&[&format!("--nofile={count}")]);
        assert!(matches!(status, Some(0 | 1)), "with {count} descriptors: {status:?}, {said}");
        assert!(!said.contains("panicked"), "with {count} descriptors: {said}");
        if status == Some(1) {
            refused += 1;
            assert!(said.contains("open files") || said.contains("unable to open"), "with {count} descriptors: {said}");
        }
    }
    assert!(refused > 2, "only {refused} of these limits were felt");
}

/// The record takes nothing any more, from any of its calls on: what is on the target has an intent, and what was done is
/// found and closed when the record is back.
#[test]
fn fault_64_a_record_that_takes_nothing_from_any_call_on() {
    let scene = Scene::change();
    let of_record = |call: &crate::tracer::Call| call.file.contains("/.trued/ledger.sqlite");
    let points = crate::scene::each_point("away", |n| {
        let (mut seen, errno) = (0, if n.is_multiple_of(2) { Errno::EIO } else { Errno::ENOSPC });
        let (ground, trace) = scene.run(&mut |_, call| {
            seen += usize::from(of_record(call));
            (of_record(call) && seen >= n).then_some(Blow::Fail(errno))
        });
        if !trace.struck {
            return Ok(false);
        }
        let within = |wrong: String| format!("{errno} from {n} on: {wrong}\nit said: {}", trace.said);
        scene.check_between(&ground).map_err(within)?;
        scene.go_on(&ground).map_err(within)?;
        scene.check_end(&ground).map_err(within)?;
        Ok(true)
    });
    assert!(points >= 20, "only {points} points");
}

/// Told to stop at each move of a batch: the batch ends, its run has its end on record, and the leases are given back.
#[test]
fn fault_82_a_serve_told_to_stop_in_the_middle_of_a_batch_ends_it_and_hands_over() {
    let scene = Scene::serve();
    let points = crate::scene::each_point("told to stop", |n| {
        let mut moves = 0;
        let (ground, trace) = scene.run(&mut |_, call| {
            moves += usize::from(call.places());
            (call.places() && moves == n).then_some(Blow::Signal(Signal::SIGTERM))
        });
        if !trace.struck {
            return Ok(false);
        }
        let within = |wrong: String| format!("told at move {n}: {wrong}\nit said: {}", trace.said);
        if trace.status != Some(0) {
            return Err(within(format!("it ended with {:?}", trace.status)));
        }
        let (intents, verdicts) = (ground.entries(&[Kind::Intent]), ground.entries(&[Kind::Verdict]));
        let ended = |intent: u64| verdicts.iter().any(|verdict| verdict.entry.link("outcome-of") == Some(intent));
        if let Some(open) = intents.iter().find(|intent| !ended(intent.index)) {
            return Err(within(format!("#{} has no end", open.index)));
        }
        scene.check_between(&ground).map_err(within)?;
        scene.go_on(&ground).map_err(within)?;
        scene.check_end(&ground).map_err(within)?;
        Ok(true)
    });
    assert!(points >= 3, "only {points} points");
}
