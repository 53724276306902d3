//! What a long record costs those who read it: a million entries, as years of runs leave them.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::ensure;

use super::measure::{Took, median, run};
use super::{Ground, Row};
use crate::machine;

const ENTRIES: usize = 1_000_000;
const ROUNDS: usize = 5;

/// Proving the whole record, and one question about the middle of it.
pub fn record(ground: &Ground) -> anyhow::Result<Vec<Row>> {
    let state = ground.fresh("record")?;
    let mut fill = machine::cargo();
    fill.args(["run", "--release", "--quiet", "-p", "trued-ledger", "--example", "long_record", "--"]);
    ensure!(fill.arg(&state).arg(ENTRIES.to_string()).status()?.success(), "the record was not written");
    let ask = |words: &[&str]| run(asked(ground, &state, words));
    let verified = median(1, || ask(&["verify"]))?;
    let deep = median(1, || ask(&["verify", "--deep"]))?;
    // Five days into eleven; the program by itself is taken off, for the bar is on the answer.
    let at = median(ROUNDS, || ask(&["at", "2026-01-06T12:00:00Z", "prod/site-7"]))?;
    let alone = median(ROUNDS, || run(version(ground)))?;
    let answer = at.wall.saturating_sub(alone.wall);
    Ok(vec![
        Row {
            what: format!("verify of {ENTRIES} entries"),
            measured: seconds(&verified),
            yardstick: format!("{} MiB; with every blob {}", verified.peak >> 10, seconds(&deep)),
            bar: "5 s",
            holds: verified.wall <= Duration::from_secs(5),
        },
        Row {
            what: format!("at, over {ENTRIES} entries"),
            measured: format!("{:.1} ms", millis(answer)),
            yardstick: format!("the program {:.1} ms of {:.1} ms", millis(alone.wall), millis(at.wall)),
            bar: "10 ms",
            holds: answer <= Duration::from_millis(10),
        },
    ])
}

fn asked(ground: &Ground, state: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(&ground.program);
    command.args(words).arg("--state").arg(state).current_dir(state);
    command
}

fn version(ground: &Ground) -> Command {
    let mut command = Command::new(&ground.program);
    command.arg("--version");
    command
}

fn seconds(took: &Took) -> String {
    format!("{:.2} s", took.wall.as_secs_f64())
}

fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1000.0
}
