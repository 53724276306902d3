//! A machine that has no more of something: descriptors, memory, threads, a record that takes nothing any more. Whatever
//! ends there ends with a word, and the next run goes on.

use std::fs;
use std::process::Command;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use trued_model::Kind;

use crate::ground::Ground;
use crate::leases::{Serve, until};
use crate::scene::Scene;
use crate::tracer::{self, Blow, Call};

/// Who works below a limit: root, or somebody who has no process but these; root may have as many as it likes.
const NOBODY_ELSE: u32 = 61_234;

/// The longest a run below a limit may take: one that reaches it stands still.
const PATIENCE: &str = "150";

fn give(ground: &Ground, user: u32) {
    let given = Command::new("chown").args(["--no-dereference", "-R", &format!("{user}:{user}")]).arg(ground.path(".")).status();
    assert!(given.expect("chown (package coreutils) starts").success(), "this test needs root");
}

/// Runs a verb below a limit; gives how it ended and what it said.
fn below(ground: &Ground, limit: &str, user: Option<u32>, words: &[&str]) -> (Option<i32>, String) {
    let plain = ground.command(words);
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", PATIENCE]);
    if let Some(user) = user {
        give(ground, user);
        command.args(["setpriv", &format!("--reuid={user}"), &format!("--regid={user}"), "--clear-groups"]);
    }
    command.args(["prlimit", limit]).arg(plain.get_program()).args(plain.get_args()).current_dir(ground.path("."));
    command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = command.output().expect("prlimit (package util-linux) starts");
    if user.is_some() {
        give(ground, 0);
    }
    (output.status.code(), format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
}

/// Runs a change of every kind below a limit, then without; gives how the limited run ended and what it said.
fn limited(limit: &str, user: Option<u32>) -> (Option<i32>, String) {
    let ground = Ground::new();
    ground.must(&["apply"], 0).expect("the first revision");
    ground.edit();
    let (old, new) = (ground.tree("www"), ground.tree("site"));
    let intents = ground.entries(&[Kind::Intent]).len();
    let ended = below(&ground, limit, user, &["apply"]);
    ground.is_whole(&old, &new).expect("whole");
    ground.is_recorded(&old, intents).expect("recorded");
    ground.must(&["apply"], 0).expect("it goes on");
    ground.is_settled(&new).expect("as desired");
    ground.is_proven().expect("a record that proves itself");
    ended
}

/// Runs below each of these limits: it works, or it says in one of these words that it does not. Some must be felt.
fn felt(limits: impl Iterator<Item = String>, user: Option<u32>, words: &[&str]) {
    let mut refused = 0;
    for limit in limits {
        let (status, said) = limited(&limit, user);
        assert!(matches!(status, Some(0 | 1)), "with {limit}: {status:?}, {said}");
        assert!(!said.contains("panicked"), "with {limit}: {said}");
        if status == Some(1) {
            refused += 1;
            assert!(words.iter().any(|word| said.contains(word)), "with {limit}: {said}");
        }
    }
    assert!(refused > 2, "only {refused} of these limits were felt");
}

#[test]
fn fault_81_without_descriptors_it_says_so_and_the_next_run_goes_on() {
    felt((10..40).map(|count| format!("--nofile={count}")), None, &["open files", "unable to open"]);
}

#[test]
fn fault_81_without_memory_it_says_so_and_the_next_run_goes_on() {
    let limits = [3, 4, 6, 8, 12, 20, 24, 26, 28, 32, 64];
    felt(limits.into_iter().map(|mib| format!("--data={}", mib << 20)), None, &["of memory cannot be had", "threads can be had"]);
}

#[test]
fn fault_81_without_threads_it_says_so_and_the_next_run_goes_on() {
    felt((1..9).map(|count| format!("--nproc={count}")), Some(NOBODY_ELSE), &["threads can be had"]);
}

#[test]
fn fault_81_a_serve_that_has_not_what_it_needs_ends_with_a_word() {
    for (limit, user) in [("--data=4194304", None), ("--data=8388608", None), ("--nproc=2", Some(NOBODY_ELSE + 1))] {
        let ground = Ground::new();
        let (status, said) = below(&ground, limit, user, &["serve"]);
        assert!(status == Some(1) && said.contains("error: start: "), "with {limit}: {status:?}, {said}");
    }
}

/// Lowers how many files a running process may have open, below what it has or a little above; or gives all of it back.
fn leave_open(serve: &Serve, more: Option<usize>) {
    let open = fs::read_dir(format!("/proc/{}/fd", serve.process())).expect("it lives").count();
    let limit = more.map_or("--nofile=1024:".to_owned(), |more| format!("--nofile={}:", (open + more).saturating_sub(4)));
    let set = Command::new("prlimit").args([&format!("--pid={}", serve.process()), &limit]).status();
    assert!(set.expect("prlimit (package util-linux) starts").success());
}

/// What cannot be opened is not absent: a source that cannot be read has lost no file, and a target that cannot be looked at none
/// either.
#[test]
fn fault_81_a_serve_that_loses_its_descriptors_deletes_nothing_says_so_and_goes_on_once_they_are_back() {
    let ground = Ground::new();
    let serve = Serve::start(&ground);
    until("the first revision", || ground.tree("www") == ground.tree("site"));
    let said = || fs::read_to_string(ground.path("said-0")).expect("said");
    for more in 0..12 {
        let (before, heard) = (ground.tree("www"), said().len());
        leave_open(&serve, Some(more));
        ground.write("site/index.html", &format!("index.html, with {more} more\n"));
        let desired = ground.tree("site");
        until("a word, or the work", || said().len() > heard || ground.tree("www") == desired);
        let there = ground.tree("www");
        let lost: Vec<_> = before.keys().filter(|path| !there.contains_key(*path)).collect();
        assert!(lost.is_empty(), "with {more} more, it deleted {lost:?}: {}", said());
        leave_open(&serve, None);
        until("the work", || ground.tree("www") == desired);
    }
    assert!(said().contains("Too many open files") && !said().contains("panicked"), "{}", said());
    serve.ends_well();
    // A blob that it could not finish is cleared away by whoever writes next.
    ground.write("site/index.html", "index.html, with all again\n");
    ground.must(&["apply"], 0).expect("it goes on");
    ground.is_settled(&ground.tree("site")).expect("as desired");
    ground.is_proven().expect("a record that proves itself");
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

/// A blob that did not reach the disk: nothing can be recorded any more, so it ends and gives its place to whoever has a good one.
#[test]
fn fault_69_a_serve_whose_blobs_do_not_reach_the_disk_ends_with_a_word() {
    let ground = Ground::new();
    let mut command = ground.command(&["serve", "--poll", "50ms"]);
    let mut blob = |_: usize, call: &Call| (call.file.contains("/.trued/blobs") && call.name == "write").then_some(Blow::Fail(Errno::EIO));
    let trace = tracer::run(command.env("TRUED_LEASE", "1s"), &mut blob);
    assert!(trace.struck && trace.status == Some(1), "{:?}: {}", trace.status, trace.said);
    assert!(trace.said.contains("did not reach the disk") && trace.said.contains("then start again"), "{}", trace.said);
    assert!(ground.tree("www").is_empty(), "it acted without a record of it");
    ground.must(&["apply"], 0).expect("it goes on");
    ground.is_settled(&ground.tree("site")).expect("as desired");
    ground.is_proven().expect("a record that proves itself");
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
