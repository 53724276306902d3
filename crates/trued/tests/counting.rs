//! What a run costs, as the program itself counts it.

mod common;

use std::fs;
use std::time::{Duration, Instant};

use common::Story;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Longer than this nothing here may take; a bound, not a measure.
const PATIENCE: Duration = Duration::from_secs(30);

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "{what} took too long");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn homepage() -> Story {
    let story = Story::empty();
    story.write("trued.yaml", "stacks: { homepage: { path: site, target: { files: { root: www } } } }\n");
    story.write("site/index.html", "one\n");
    fs::create_dir(story.folder.path().join("www")).expect("made");
    story
}

#[test]
fn a_second_apply_costs_no_render_no_write_and_no_row() {
    let story = homepage();
    let file = story.folder.path().join("counters.json");
    let apply = || -> Value {
        let done = story.command(&["apply"]).env("TRUED_COUNTERS", &file).output().expect("started");
        assert_eq!(done.status.code(), Some(0), "{done:?}");
        serde_json::from_slice(&fs::read(&file).expect("written")).expect("JSON")
    };
    assert_eq!(apply()["target_writes"], 1);
    let second = apply();
    assert_eq!((&second["renders"], &second["target_writes"], &second["ledger_rows"]), (&0.into(), &0.into(), &0.into()));
}

/// Stacks of one file each, all on roots of their own.
fn stacks(count: usize) -> Story {
    let story = Story::empty();
    let mut text = "stacks:\n".to_owned();
    for n in 0..count {
        text.push_str(&format!("  s{n}: {{ path: site/{n}, target: {{ files: {{ root: www/{n}, create: true }} }} }}\n"));
        story.write(&format!("site/{n}/file"), "one\n");
    }
    story.write("trued.yaml", &text);
    story
}

#[test]
fn ten_times_as_many_unchanged_stacks_cost_the_same() {
    let counted = |story: &Story| -> Value {
        let file = story.folder.path().join("counters.json");
        let done = story.command(&["apply"]).env("TRUED_COUNTERS", &file).output().expect("started");
        assert_eq!(done.status.code(), Some(0), "{done:?}");
        serde_json::from_slice(&fs::read(&file).expect("written")).expect("JSON")
    };
    let of_one_change = |count: usize| -> Value {
        let story = stacks(count);
        counted(&story);
        let unchanged = counted(&story);
        let keys = ["renders", "target_writes", "ledger_rows"];
        assert!(keys.iter().all(|key| unchanged[key] == 0), "{count} unchanged stacks: {unchanged}");
        story.write("site/0/file", "two\n");
        let changed = counted(&story);
        serde_json::json!(keys.map(|key| &changed[key]))
    };
    let few = of_one_change(4);
    assert_eq!(few, of_one_change(40));
    assert_eq!((&few[0], &few[1]), (&1.into(), &1.into()), "one render, one write");
}

#[test]
fn counters_are_written_when_sigusr1_asks_and_sigterm_ends_with_0() {
    let story = homepage();
    let file = story.folder.path().join("counters.json");
    let mut serve = story.command(&["serve"]).env("TRUED_COUNTERS", &file).spawn().expect("started");
    let process = Pid::from_child(&serve);
    until("the first landing", || story.folder.path().join("www/index.html").exists());
    kill_process(process, Signal::USR1).expect("asked");
    until("the counters", || {
        fs::read(&file).is_ok_and(|text| serde_json::from_slice::<Value>(&text).is_ok_and(|c| c["target_writes"] == 1))
    });
    kill_process(process, Signal::TERM).expect("asked");
    assert_eq!(serve.wait().expect("ended").code(), Some(0));
}
