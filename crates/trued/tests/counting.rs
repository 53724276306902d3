//! What a run costs, as the program itself counts it.

mod common;

use std::fs;
use std::time::{Duration, Instant};

use common::Story;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Longer than this nothing here may take; a bound, not a measure.
const PATIENCE: Duration = Duration::from_secs(120);

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

/// A `serve` whose counters are asked for.
struct Served {
    process: std::process::Child,
    file: std::path::PathBuf,
}

impl Served {
    fn start(story: &Story) -> Served {
        let file = story.folder.path().join("served.json");
        let log = fs::File::create(story.folder.path().join("serve.log")).expect("a log");
        let mut serve = story.command(&["serve", "--poll", "100ms"]);
        serve.env("TRUED_COUNTERS", &file).stdout(std::process::Stdio::null()).stderr(log);
        Served { process: serve.spawn().expect("started"), file }
    }

    /// What it counted so far.
    fn counted(&self) -> Value {
        let _ = fs::remove_file(&self.file);
        kill_process(Pid::from_child(&self.process), Signal::USR1).expect("asked");
        let mut counted = Value::Null;
        until("the counters", || {
            counted = fs::read(&self.file).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
            !counted.is_null()
        });
        counted
    }

    /// What it counted once that no longer changes; `reached` says from when on that may be.
    fn at_rest(&self, what: &str, reached: impl Fn() -> bool) -> Value {
        until(what, &reached);
        let mut before = self.counted();
        until("it to be at rest", || {
            std::thread::sleep(Duration::from_millis(400));
            let now = self.counted();
            std::mem::replace(&mut before, now.clone()) == now
        });
        before
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Renders, keys of renders and writes, in this order, between two counts.
fn between(earlier: &Value, later: &Value) -> [u64; 3] {
    ["renders", "render_keys", "target_writes"].map(|key| later[key].as_u64().unwrap_or(0) - earlier[key].as_u64().unwrap_or(0))
}

/// So many stacks of the source `changing`, and so many of `still`, each of one file.
fn two_sources(changing: usize, still: usize) -> Story {
    let story = Story::empty();
    let folder = story.folder.path().display().to_string();
    let mut text = format!(
        "sources:\n  changing: {{ folder: {{ path: {folder}/changing }} }}\n  still: {{ folder: {{ path: {folder}/still }} }}\n\
         environments: {{ prod: {{}} }}\napps: [\"changing//*.yaml\", \"still//*.yaml\"]\ntargets:\n"
    );
    ["changing", "still", "www"].iter().for_each(|name| fs::create_dir(story.folder.path().join(name)).expect("made"));
    for (source, n) in (0..changing).map(|n| ("changing", n)).chain((0..still).map(|n| ("still", n))) {
        let name = format!("{source}-{n}");
        text.push_str(&format!("  {name}: {{ files: {{ root: {folder}/www/{name}, create: true }}, allow: [\"{source}//**\"] }}\n"));
        let app = format!("app: {name}\nrender: {{ plain: {{ path: site/{n} }} }}\nstacks: {{ prod: {{ target: {name} }} }}\n");
        story.write(&format!("{source}/{name}.yaml"), &app);
        story.write(&format!("{source}/site/{n}/file"), &format!("{name} one\n"));
    }
    story.write("trued.yaml", &text);
    story
}

/// Asserts what `serve` counts for a change of one file, once all stacks have landed. What it still had to do from before may
/// fall into the same time on a busy machine, and only ever adds to it: so there is more than one change.
#[track_caller]
fn of_one_change(changing: usize, still: usize, expected: [u64; 3]) {
    let story = two_sources(changing, still);
    let served = Served::start(&story);
    let live = |name: &str| fs::read_to_string(story.folder.path().join("www").join(name).join("file")).unwrap_or_default();
    let one = |name: String| live(&name) == format!("{name} one\n");
    let all = || (0..changing).all(|n| one(format!("changing-{n}"))) && (0..still).all(|n| one(format!("still-{n}")));
    let mut before = served.at_rest("all stacks", all);
    let mut counted = Vec::new();
    for change in 0..5 {
        let text = format!("change {change}\n");
        story.write("changing/site/0/file", &text);
        let after = served.at_rest("the change", || live("changing-0") == text);
        counted.push(between(&before, &after));
        if counted.last() == Some(&expected) {
            return;
        }
        before = after;
    }
    panic!("{changing} stacks of the source that changed, {still} of another: {counted:?} instead of {expected:?}");
}

#[test]
fn a_hands_edit_wakes_the_stack_it_is_about_and_no_other() {
    const MANY: u64 = 40;
    let story = two_sources(MANY as usize, 0);
    let served = Served::start(&story);
    let live = |n: u64| story.folder.path().join(format!("www/changing-{n}/file"));
    let as_made = |n: u64| fs::read_to_string(live(n)).unwrap_or_default() == format!("changing-{n} one\n");
    let mut before = served.at_rest("all stacks", || (0..MANY).all(as_made));
    let mut counted = Vec::new();
    // What was still to do from before only ever adds to it: so there is more than one edit.
    for n in 0..5 {
        fs::write(live(n), "by hand\n").expect("written");
        let after = served.at_rest("the edit", || as_made(n));
        let weighed = |counted: &Value| counted["weighed"].as_u64().unwrap_or(0);
        counted.push(weighed(&after) - weighed(&before));
        if counted.last().is_some_and(|count| (1..MANY).contains(count)) {
            return;
        }
        before = after;
    }
    panic!("{counted:?} were asked whether that is worth a walk, of {MANY}");
}

#[test]
fn a_change_of_one_source_renders_and_names_nothing_of_another() {
    // The key is asked for to see whether to walk, and on the walk.
    of_one_change(1, 10, [1, 2, 1]);
    of_one_change(1, 100, [1, 2, 1]);
}

#[test]
fn a_new_revision_names_each_stack_of_its_source_once_and_renders_the_one_that_changed() {
    // Whether a new revision changes a stack is what naming its inputs tells: once for each stack, and once more on the walk.
    of_one_change(10, 0, [1, 11, 1]);
    of_one_change(100, 0, [1, 101, 1]);
}

#[test]
fn counters_are_written_when_sigusr1_asks_and_sigterm_ends_with_0() {
    let story = homepage();
    let file = story.folder.path().join("counters.json");
    let mut serve = story.command(&["serve"]).env("TRUED_COUNTERS", &file).spawn().expect("started");
    let process = Pid::from_child(&serve);
    until("the first landing", || story.folder.path().join("www/index.html").exists());
    // Asked more than once: what is there is counted a moment later.
    until("the counters", || {
        kill_process(process, Signal::USR1).expect("asked");
        fs::read(&file).is_ok_and(|text| serde_json::from_slice::<Value>(&text).is_ok_and(|c| c["target_writes"] == 1))
    });
    kill_process(process, Signal::TERM).expect("asked");
    assert_eq!(serve.wait().expect("ended").code(), Some(0));
}

/// All bytes of the files below a folder.
fn bytes_below(folder: &std::path::Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| if entry.path().is_dir() { bytes_below(&entry.path()) } else { entry.metadata().map_or(0, |stat| stat.len()) })
        .sum()
}

#[test]
fn one_changed_file_of_many_costs_what_changed_and_not_what_there_is() {
    let story = Story::empty();
    let git = |words: &[&str]| {
        let mut git = std::process::Command::new("git");
        git.arg("-C").arg(story.folder.path()).args(["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]).args(words);
        let done = git.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null").output().expect("git runs");
        assert!(done.status.success(), "{done:?}");
    };
    let commit = || {
        git(&["add", "-A", "site", "trued.yaml"]);
        git(&["commit", "-q", "-m", "a change"]);
    };
    let www = |path: &str| fs::read_to_string(story.folder.path().join("www").join(path)).ok();
    story.write("trued.yaml", "stacks: { homepage: { path: site, target: { files: { root: www, create: true } } } }\n");
    for at in 0..1_500 {
        story.write(&format!("site/d{}/f{at}", at % 30), &format!("{at}\n"));
    }
    git(&["init", "-q", "-b", "main"]);
    commit();
    let served = Served::start(&story);
    served.at_rest("the first apply", || www("d29/f1499").is_some());
    // The first look at what was made is at all of it.
    story.write("site/d7/f7", "one\n");
    commit();
    let mut before = served.at_rest("the first change", || www("d7/f7").as_deref() == Some("one\n"));
    let mut stored = bytes_below(&story.state().join("blobs"));
    let mut cost = |what: &str, reached: &dyn Fn() -> bool| -> [u64; 5] {
        let now = served.at_rest(what, reached);
        let keys = ["renders", "rendered", "looked_at", "target_writes", "ledger_rows"];
        let cost = keys.map(|key| now[key].as_u64().unwrap_or(0) - before[key].as_u64().unwrap_or(0));
        let kept = bytes_below(&story.state().join("blobs"));
        let more = kept - std::mem::replace(&mut stored, kept);
        assert!(more < 100_000, "{what}: {more} bytes were stored");
        before = now;
        cost
    };
    // Looked at is what the last run wrote; all of it where somebody mounted something on the machine meanwhile.
    let costs_what_changed = (0..5).any(|turn| {
        let text = format!("two {turn}\n");
        story.write("site/d8/f8", &text);
        commit();
        let [renders, rendered, looked_at, writes, rows] = cost("one change", &|| www("d8/f8").as_ref() == Some(&text));
        assert_eq!((renders, rendered, writes, rows), (1, 1, 1, 3));
        looked_at == 1
    });
    assert!(costs_what_changed, "all is looked at for one change");
    story.write("site/d8/new", "new\n");
    fs::remove_file(story.folder.path().join("site/d9/f9")).expect("removed");
    commit();
    let replaced = || www("d8/new").is_some() && www("d9/f9").is_none();
    let few = |looked_at: u64| looked_at <= 8 || looked_at >= 1_500;
    let [renders, rendered, looked_at, writes, rows] = cost("one that comes and one that goes", &replaced);
    assert_eq!((renders, rendered, writes, rows), (1, 1, 2, 3));
    assert!(few(looked_at), "{looked_at} were looked at");
    // A hand edit is put back: what is looked at is what was changed, by us and by others.
    fs::write(story.folder.path().join("www/d3/f3"), "by hand\n").expect("written");
    let [renders, rendered, looked_at, writes, _] = cost("a hand edit", &|| www("d3/f3").as_deref() == Some("3\n"));
    assert_eq!((renders, rendered, writes), (0, 0, 1));
    assert!(few(looked_at), "{looked_at} were looked at");
    // Somebody who comes anew finds all in order, and the render as it was kept.
    let file = story.folder.path().join("anew.json");
    let plan = story.command(&["plan"]).env("TRUED_COUNTERS", &file).output().expect("started");
    assert_eq!(plan.status.code(), Some(0), "{}", String::from_utf8_lossy(&plan.stdout));
    let anew: Value = serde_json::from_slice(&fs::read(&file).expect("written")).expect("JSON");
    assert_eq!((&anew["renders"], &anew["looked_at"]), (&0.into(), &1_500.into()));
}
