//! Instructions of pure work, as callgrind counts them: the same on every run, so that two in a hundred more is a finding; and the
//! time of a plan for each resource that is in order. `xtask/counts.txt` holds what was counted last; it is of one compiler, and
//! `TRUED_WRITE_COUNTS=1` writes it anew.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail, ensure};

use super::{Ground, Row};
use crate::machine;

/// How much more counts as worse.
const MORE: f64 = 1.02;

const ITEMS: u64 = 4_000;

/// Resources of the plan that is timed, and the most that each may take.
const TIMED: u64 = 10_000;
const PLAN_BAR: f64 = 1_000.0;

/// What is counted, without what it is done on.
const WORK: [(&str, &str); 4] = [
    ("plan", "plan, per unchanged resource"),
    ("digest", "digest of a desired state, per resource"),
    ("key", "render key"),
    ("append", "entry made, hashed and appended"),
];

/// Counts, and compares with what was counted last.
pub fn counts(_: &Ground) -> anyhow::Result<Vec<Row>> {
    machine::need(&[("valgrind", "valgrind")])?;
    let built = machine::cargo().args(["build", "--release", "--quiet", "-p", "trued-sim", "--example", "count"]).status()?;
    ensure!(built.success(), "what is counted does not build");
    let program = machine::target()?.join("release/examples/count");
    let book = machine::root().join("xtask/counts.txt");
    let known = read(&book)?;
    let mut lines = String::new();
    let mut rows = Vec::new();
    let made = instructions(&program, "made", ITEMS)?;
    for (work, what) in WORK {
        let whole = instructions(&program, work, ITEMS)?;
        let each = whole.saturating_sub(made) as f64 / ITEMS as f64;
        lines.push_str(&format!("{work} {each:.0}\n"));
        let before = known.get(work).copied();
        rows.push(Row {
            what: what.to_owned(),
            measured: format!("{each:.0} instructions"),
            yardstick: before
                .map_or("not counted before".to_owned(), |before| format!("{before:.0} before: {:+.1} %", (each / before - 1.0) * 100.0)),
            bar: "+2 %",
            holds: before.is_none_or(|before| each <= before * MORE),
        });
    }
    if std::env::var_os("TRUED_WRITE_COUNTS").is_some() {
        fs::write(&book, lines)?;
    } else if let Some(row) = rows.iter().find(|row| !row.holds) {
        bail!("{}: {} ({}); if that is meant, run it with TRUED_WRITE_COUNTS=1", row.what, row.measured, row.yardstick);
    }
    rows.push(timed(&program)?);
    Ok(rows)
}

/// What a plan takes for each of many resources that are in order, as the program itself measures it.
fn timed(program: &Path) -> anyhow::Result<Row> {
    let output = Command::new(program).args(["time", &TIMED.to_string()]).output().context("failed to start what is timed")?;
    ensure!(output.status.success(), "time failed: {}", String::from_utf8_lossy(&output.stderr));
    let each: f64 = String::from_utf8_lossy(&output.stdout).trim().parse().context("failed to read what was timed")?;
    Ok(Row {
        what: "plan, time per unchanged resource".to_owned(),
        measured: format!("{each:.0} ns"),
        yardstick: format!("of {TIMED}: {:.2} of the bar", each / PLAN_BAR),
        bar: "1 \u{b5}s",
        holds: each <= PLAN_BAR,
    })
}

fn read(book: &Path) -> anyhow::Result<BTreeMap<String, f64>> {
    let text = fs::read_to_string(book).unwrap_or_default();
    let pair = |line: &str| -> anyhow::Result<(String, f64)> {
        let (work, count) = line.split_once(' ').with_context(|| format!("xtask/counts.txt: {line}"))?;
        Ok((work.to_owned(), count.parse().with_context(|| format!("xtask/counts.txt: {line}"))?))
    };
    text.lines().map(pair).collect()
}

/// All instructions of one run.
fn instructions(program: &Path, work: &str, items: u64) -> anyhow::Result<u64> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program).args([work, &items.to_string()]);
    let output = valgrind.output().context("failed to start valgrind")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "count {work} failed: {said}");
    let total = said.lines().find_map(|line| line.split_once("Collected : ")).map(|(_, total)| total.trim());
    total.and_then(|total| total.parse().ok()).with_context(|| format!("callgrind gave no total: {said}"))
}
