//! The verbs that only read, on a real state folder.

mod common;

use std::fs;
use std::io::Read;
use std::process::Stdio;

use common::{COMMIT_ONE, COMMIT_TWO, Said, Story};
use serde_json::{Value, json};

fn texts<'a>(rows: &'a Value, key: &str) -> Vec<&'a str> {
    rows.as_array().expect("a list").iter().map(|row| row[key].as_str().unwrap_or("-")).collect()
}

#[test]
fn log_is_one_entry_per_line_oldest_first_with_its_index() {
    let said = Story::new().ask(&["log", "--output", "json"]);
    let rows: Vec<Value> = said.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let indices: Vec<u64> = rows.iter().map(|row| row["index"].as_u64().expect("a number")).collect();
    assert_eq!(indices, (0..11).collect::<Vec<_>>());
    assert_eq!((said.status, rows[0]["kind"].as_str(), rows[10]["kind"].as_str()), (0, Some("intent"), Some("drift.opened")));
    assert_eq!(rows[0]["stack"], json!({ "environment": "dev", "app": "site", "target": "web" }));
}

#[test]
fn log_filters_by_stack_kind_time_revision_and_count() {
    let story = Story::new();
    let indices = |arguments: &[&str]| -> Vec<u64> {
        let said = story.ask(&[&["log", "--output", "json"], arguments].concat());
        assert_eq!(said.status, 0, "{said:?}");
        said.out.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")["index"].as_u64().expect("a number")).collect()
    };
    assert_eq!(indices(&["--stack", "dev/site"]), [0, 1, 2]);
    assert_eq!(indices(&["--kind", "verdict", "--kind", "heartbeat"]), [2, 5, 6, 9]);
    assert_eq!(indices(&["--revision", "2222"]), [7, 8, 9]);
    assert_eq!(indices(&["--run", "run-10"]), [3, 4, 5]);
    assert_eq!(indices(&["--around", "#6", "--within", "30s"]), [6, 7]);
    assert_eq!(indices(&["--since", "2026-03-19T20:01:42Z"]), [9, 10]);
    assert_eq!(indices(&["--until", "2026-03-19 20:00:01"]), [0, 1]);
    assert_eq!(indices(&["--limit", "2"]), [9, 10]);
}

#[test]
fn log_says_each_entry_in_a_sentence() {
    let said = Story::new().ask(&["log", "--limit", "2"]);
    let lines: Vec<&str> = said.out.lines().collect();
    assert_eq!(lines[0], "#9     2026-03-19 20:01:42  prod/site: landed 222222222222, verified: 2 changes");
    assert!(lines[1].contains("prod/site: drift: prod/index.html line 2 changed from outside since"), "{lines:?}");
    assert!(lines[1].ends_with("held; kept as #10"), "{lines:?}");
}

#[test]
fn at_says_what_was_there_and_how_surely() {
    let story = Story::new();
    let at = |time: &str| story.json(&["at", time, "prod/site"])["answers"][0].clone();
    let before = at("2001-01-01T00:00:00Z");
    assert_eq!((&before["certainty"], &before["files"]), (&json!("unknown"), &json!([])));
    let first = at("2026-03-19T20:00:30Z");
    assert_eq!((&first["certainty"], &first["revision"]), (&json!("known"), &json!(COMMIT_ONE)));
    // The heartbeat tells of a look at 20:01:00, and the next run looked before its intent at 20:01:40.
    assert_eq!(at("2026-03-19T20:01:20Z")["observed_at"], "2026-03-19T20:01:00.000Z");
    assert_eq!(at("2026-03-19T20:01:20Z")["certainty"], "known");
    let between = at("2026-03-19T20:03:15Z");
    assert_eq!((&between["certainty"], &between["revision"]), (&json!("inferred"), &json!(COMMIT_TWO)));
    let drifted = at("#10");
    assert_eq!(drifted["certainty"], "known");
    assert_eq!(texts(&drifted["files"], "path"), ["prod/index.html", "prod/secret.conf"]);
    assert_eq!(drifted["files"][0]["bytes"], 20);
    assert_eq!(drifted["files"][1]["sealed"], true);
}

#[test]
fn at_gives_the_bytes_that_were_there_and_keeps_secrets() {
    let story = Story::new();
    let said = story.ask(&["at", "#10", "prod/site", "index.html"]);
    assert_eq!((said.status, said.out.as_str()), (0, "two\nstray edit 7731\n"));
    let secret = story.ask(&["at", "#10", "prod/site", "prod/secret.conf"]);
    assert_eq!((secret.status, secret.out.as_str()), (1, ""));
    let out = story.folder.path().join("then");
    let said = story.ask(&["at", "~1", "prod/site", "--to", out.to_str().expect("a path")]);
    assert_eq!(said.status, 0, "{said:?}");
    assert_eq!(fs::read_to_string(out.join("prod/index.html")).expect("written"), "two\n");
    assert!(!out.join("prod/secret.conf").exists());
    assert_eq!(story.ask(&["at", "~1", "prod/site", "--to", out.to_str().expect("a path")]).status, 2, "a folder with something in it");
}

#[test]
fn show_prints_kept_bytes_and_no_secret() {
    let mut story = Story::new();
    let mut secret = story.blob("kept:prod/secret.conf", b"canary 4242");
    secret.blob.sealed = true;
    story.append(
        500,
        trued_model::Kind::Observed,
        Some(&common::stack("prod/site@web")),
        json!({ "count": 1, "why": "" }),
        vec![secret],
        vec![],
    );
    for form in ["text", "json"] {
        let shown = story.ask(&["show", "#11", "--output", form]);
        assert!(shown.status == 0 && shown.out.contains("kept:prod/secret.conf") && !shown.out.contains("4242"), "{shown:?}");
    }
    let said = story.ask(&["show", "#10"]);
    assert!(said.out.contains("stray edit 7731"), "{said:?}");
    let shown = story.json(&["show", "9"]);
    assert_eq!((&shown["index"], &shown["kind"]), (&json!(9), &json!("verdict")));
    assert_eq!(story.ask(&["show", "#12"]).status, 2);
    assert_eq!(story.ask(&["show", "x"]).status, 2);
}

#[test]
fn diff_compares_two_instants_and_two_environments() {
    let story = Story::new();
    let said = story.ask(&["diff", "#9", "#10", "prod/site"]);
    assert!(said.out.contains("+stray edit 7731\n") && said.out.contains(" two\n"), "{said:?}");
    let diffs = story.json(&["diff", "#5", "#9", "prod/site"]);
    assert_eq!(texts(&diffs["diffs"][0]["files"], "path"), ["prod/index.html", "prod/secret.conf"]);
    assert!(diffs["diffs"][0]["files"][1]["diff"].as_str().expect("words").contains("changed (sealed"), "{diffs}");
    let environments = story.json(&["diff", "dev", "prod"]);
    assert_eq!(texts(&environments["diffs"][0]["files"], "path"), ["about.html", "index.html", "secret.conf"]);
    assert_eq!(texts(&environments["diffs"][0]["files"], "change"), ["removed", "changed", "added"]);
    assert_eq!(story.ask(&["diff", "#9"]).status, 2);
}

#[test]
fn why_and_who_lead_from_an_address_to_the_commit() {
    let story = Story::new();
    let why = story.json(&["why", "prod/index.html"]);
    let told = texts(&why["answers"][0]["steps"], "said");
    assert!(told[0].starts_with("drift: prod/index.html line 2 changed from outside"), "{told:?}");
    assert!(told.contains(&"prod/index.html: update") && told.iter().any(|said| said.contains("landed 222222222222")), "{told:?}");
    assert_eq!(story.json(&["why", "prod/site", "index.html"])["answers"][0]["steps"], why["answers"][0]["steps"]);
    let who = story.ask(&["who", "prod/index.html"]);
    assert!(who.out.contains("names uid 1000 (grade C, not proof)"), "{who:?}");
    assert!(!who.out.contains("uid 1000 changed"), "a trace is not told as fact: {who:?}");
    assert_eq!(story.ask(&["why", "nowhere/x"]).status, 2);
}

#[test]
fn what_waits_for_people_is_listed_with_exit_3() {
    let mut story = Story::new();
    let said = story.json(&["incidents"]);
    let open = &said["incidents"][0];
    assert_eq!((&open["index"], &open["stack"], &open["kind"]), (&json!(10), &json!("prod/site"), &json!("drift")));
    assert_eq!(story.ask(&["incidents"]).status, 3);
    assert_eq!(story.ask(&["incidents", "dev/site"]).status, 0);
    let status = story.json(&["status"]);
    assert_eq!(texts(&status["stacks"], "stack"), ["dev/site", "prod/site"]);
    assert_eq!((&status["stacks"][0]["health"], &status["stacks"][0]["drift"]), (&json!("ready"), &Value::Null));
    assert_eq!(status["stacks"][1]["drift"]["index"], 10);
    assert_eq!((story.ask(&["status"]).status, story.ask(&["status", "dev/site"]).status), (3, 0));
    let closed = vec![trued_model::Link::new("closes", 10)];
    story.append(300, trued_model::Kind::DriftClosed, Some(&common::stack("prod/site@web")), json!({ "how": "gone" }), vec![], closed);
    assert_eq!((story.ask(&["incidents"]).status, story.ask(&["status"]).status), (0, 0));
}

#[test]
fn state_shows_desired_and_observed_of_everything() {
    let state = Story::new().json(&["state"]);
    let prod = &state["stacks"][1];
    let resource = &prod["resources"][0];
    assert_eq!(resource["address"], "prod/index.html");
    assert_ne!(resource["desired"], resource["observed"]);
    assert_eq!(prod["drift"]["index"], 10);
}

#[test]
fn fault_71_verify_names_the_entry_that_was_changed() {
    let mut story = Story::new();
    assert_eq!(story.ask(&["verify", "--deep"]).status, 0);
    story.close();
    let file = story.state().join("ledger.sqlite");
    let mut bytes = fs::read(&file).expect("read");
    let text = b"\"unchanged_until\":\"2026-03-19T20:03:10.000Z\"";
    let place = bytes.windows(text.len()).position(|window| window == text).expect("the entry lies in the file");
    bytes[place + text.len() - 6] = b'1';
    fs::write(&file, bytes).expect("written");
    let said = story.ask(&["verify"]);
    assert_eq!((said.status, said.out.contains("#10")), (1, true), "{said:?}");
}

#[test]
fn fault_71_a_checkpoint_kept_elsewhere_catches_another_past() {
    let story = Story::new();
    let tiles = story.folder.path().join("tiles");
    assert_eq!(story.ask(&["export", tiles.to_str().expect("a path")]).status, 0);
    let kept = tiles.join("checkpoint");
    let against = |story: &Story| story.ask(&["verify", "--against", kept.to_str().expect("a path")]).status;
    assert_eq!(against(&story), 0);
    assert_eq!(against(&Story::new()), 1, "a record of its own is not the one that was kept");
}

#[test]
fn readers_answer_where_there_is_nothing_and_make_nothing() {
    let story = Story::empty();
    let asked: &[&[&str]] = &[&["log"], &["status"], &["state"], &["incidents"], &["at", "now"], &["at", "now", "homepage"], &["verify"]];
    for arguments in asked {
        let said = story.ask(arguments);
        assert_eq!(said.status, 0, "{arguments:?}: {said:?}");
    }
    let at = story.json(&["at", "now", "homepage"]);
    assert_eq!(at["answers"][0]["certainty"], "unknown");
    assert!(!story.state().exists());
}

#[test]
fn wrong_input_ends_with_2_and_one_sentence() {
    let story = Story::new();
    for arguments in [&["log", "--kind", "nonsense"][..], &["at", "soonish"], &["log", "--stack", "nowhere"], &["nonsense"], &["at"]] {
        let said = story.ask(arguments);
        assert_eq!((said.status, said.out.as_str()), (2, ""), "{arguments:?}: {said:?}");
        assert!(!said.error.is_empty() && !said.error.contains("panicked"), "{said:?}");
    }
    let mut command = story.command(&["log"]);
    let said = Said::of(command.env_remove("TRUED_STATE").output().expect("started"));
    assert_eq!(said.status, 2, "no configuration and no state folder: {said:?}");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut story = Story::new();
    let lines = "x".repeat(40_000);
    for _ in 0..8 {
        let said = json!({ "reason": lines });
        story.append(400, trued_model::Kind::Suspend, Some(&common::stack("dev/site@web")), said, vec![], vec![]);
    }
    let mut child = story.command(&["log"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
    drop(child.stdout.take());
    let mut error = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut error).expect("read");
    let status = child.wait().expect("ended");
    assert_eq!((status.code(), error.as_str()), (Some(0), ""));
}

#[test]
fn counters_are_written_at_the_end() {
    let story = Story::new();
    let file = story.folder.path().join("counters.json");
    story.command(&["log"]).env("TRUED_COUNTERS", &file).output().expect("started");
    let counters: Value = serde_json::from_slice(&fs::read(file).expect("written")).expect("JSON");
    assert_eq!(counters, json!({ "renders": 0, "fetches": 0, "target_reads": 0, "target_writes": 0, "ledger_rows": 0 }));
}
