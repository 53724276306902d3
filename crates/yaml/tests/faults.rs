//! Hostile texts, by their number in the fault catalogue. Memory is measured in a process of its own.

use std::fmt::Write as _;
use std::process::Command;

use expect_test::expect;
use trued_yaml::{Budget, read};

/// What the findings of a refused text say.
fn refusal(text: &str) -> String {
    match read("t.yaml", text, &Budget::default()) {
        Ok(node) => format!("accepted: {}", node.to_json()),
        Err(refused) => refused.findings.iter().map(|finding| format!("{finding}\n")).collect(),
    }
}

fn laughs() -> String {
    let mut text = String::from("a: &a [\"lol\",\"lol\",\"lol\",\"lol\",\"lol\",\"lol\",\"lol\",\"lol\",\"lol\"]\n");
    for (name, of) in ["b", "c", "d", "e", "f", "g", "h", "i"].into_iter().zip(["a", "b", "c", "d", "e", "f", "g", "h"]) {
        let _ = writeln!(text, "{name}: &{name} [{}]", vec![format!("*{of}"); 9].join(","));
    }
    text
}

fn quadratic(scalars: bool) -> String {
    let size = 5_000;
    let anchored = if scalars { format!("\"{}\"", "x".repeat(size)) } else { format!("[{}]", vec!["x"; size / 2].join(",")) };
    format!("a: &a {anchored}\nb: [{}]\n", vec!["*a"; 900].join(","))
}

#[test]
fn fault_16_billion_laughs_are_refused_by_budget() {
    expect![[r#"
        t.yaml:5:23: this text has more than 50000 values, aliases expanded; make it smaller; aliases count as what they repeat
    "#]]
    .assert_eq(&refusal(&laughs()));
}

#[test]
fn fault_17_quadratic_aliases_are_refused_by_budget() {
    expect![[r#"
        t.yaml:2:59: this text has more than 50000 values, aliases expanded; make it smaller; aliases count as what they repeat
    "#]]
    .assert_eq(&refusal(&quadratic(false)));
    expect![[r#"
        t.yaml:2:2516: this text has more than 4194304 bytes of values, aliases expanded; make it smaller; aliases count as what they repeat
    "#]]
    .assert_eq(&refusal(&quadratic(true)));
    expect![[r#"
        t.yaml:2:3005: this text has more than 1000 aliases; write the values out, or generate fewer
    "#]]
    .assert_eq(&refusal(&format!("a: &a x\nb: [{}]\n", vec!["*a"; 2_000].join(","))));
}

#[test]
fn fault_18_deep_nesting_is_refused_early() {
    let deep = |open: &str, count: usize| open.repeat(count);
    expect![[r#"
        t.yaml:1:66: this text has more than 64 levels inside each other; make it smaller; aliases count as what they repeat
    "#]]
    .assert_eq(&refusal(&deep("[", 100_000)));
    expect![[r#"
        t.yaml:1:1: this text has 2000000 bytes, more than the 1048576 that are read; split it into several files
    "#]]
    .assert_eq(&refusal(&deep("[", 2_000_000)));
    assert!(refusal(&deep("- ", 100_000)).contains("t.yaml:1:"), "block sequences");
    assert!(refusal(&deep("{a: ", 100_000)).contains("64 levels"), "flow mappings");
    let lines: String = (0..2_000).map(|depth| format!("{}a:\n", " ".repeat(depth))).take(600).collect();
    assert!(refusal(&lines).contains("64 levels"), "block mappings");
    // An alias can be deeper than what is written around it.
    let stacked: String = (0..40).fold("a0: &a0 x\n".to_owned(), |text, n| format!("{text}a{}: &a{} [[*a{n}]]\n", n + 1, n + 1));
    assert!(refusal(&stacked).contains("64 levels"), "aliases");
}

#[test]
fn fault_18_an_alias_cannot_stand_in_itself() {
    expect![[r#"
        t.yaml:1:5: this alias stands inside what it repeats; an alias can only repeat what is complete above it
    "#]]
    .assert_eq(&refusal("&x [*x]"));
    expect![[r#"
        t.yaml:1:8: this alias stands inside what it repeats; an alias can only repeat what is complete above it
    "#]]
    .assert_eq(&refusal("&x {a: *x}"));
    assert!(refusal("a: *nobody").contains("t.yaml:1:4"));
}

#[test]
fn fault_19_every_duplicate_key_is_refused_with_both_places() {
    expect![[r#"
        t.yaml:3:1: the key `a` stands here a second time; the first is on line 1; remove one of them
        t.yaml:4:11: the key `c` stands here a second time; the first is on line 4; remove one of them
        t.yaml:6:1: the key `true` stands here a second time; the first is on line 5; remove one of them
    "#]]
    .assert_eq(&refusal("a: 1\nb: 2\n\"a\": 3\nd: {c: 1, c: 2}\non: 1\nyes: 2\n"));
}

#[test]
fn fault_16_to_18_cost_little_memory() {
    const CHILD: &str = "TRUED_YAML_HOSTILE";
    if let Ok(which) = std::env::var(CHILD) {
        let text = match which.as_str() {
            "laughs" => laughs(),
            "lists" => quadratic(false),
            "scalars" => quadratic(true),
            "nested" => "[".repeat(1_000_000),
            _ => "a: [".repeat(100_000),
        };
        assert!(read("t.yaml", &text, &Budget::default()).is_err());
        let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
        assert!(peak.expect("the peak is there") < 50_000, "{which} took {peak:?} kB");
        return;
    }
    for which in ["laughs", "lists", "scalars", "nested", "mixed"] {
        let program = std::env::current_exe().expect("a test knows itself");
        let child = Command::new(program)
            .args(["--exact", "fault_16_to_18_cost_little_memory", "--nocapture", "--test-threads=1"])
            .env(CHILD, which)
            .output()
            .expect("starts");
        let said = String::from_utf8_lossy(&child.stdout).into_owned() + &String::from_utf8_lossy(&child.stderr);
        assert!(child.status.success() && said.contains("1 passed"), "{which}: {said}");
    }
}
