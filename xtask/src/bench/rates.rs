//! Benches that a crate brings as an example of its own: it prints one number, things per second.

use anyhow::Context;

use super::{Ground, Row};
use crate::machine;

/// Durable appends in batches to the SQLite store.
pub fn ledger(_: &Ground) -> anyhow::Result<Vec<Row>> {
    let rate = example("trued-ledger", "append_rate")?;
    Ok(vec![Row {
        what: "ledger in SQLite, batches, durable".to_owned(),
        measured: format!("{rate:.0} entries/s"),
        yardstick: String::new(),
        bar: "5,000 entries/s",
        holds: rate >= 5_000.0,
    }])
}

/// Whole simulated worlds on one core.
pub fn simulator(_: &Ground) -> anyhow::Result<Vec<Row>> {
    let rate = example("trued-sim", "seed_rate")?;
    Ok(vec![Row {
        what: "simulator, one core".to_owned(),
        measured: format!("{rate:.0} seeds/s"),
        yardstick: String::new(),
        bar: "200 seeds/s",
        holds: rate >= 200.0,
    }])
}

fn example(package: &str, name: &str) -> anyhow::Result<f64> {
    let printed = machine::read(machine::cargo().args(["run", "--release", "--quiet", "-p", package, "--example", name]))?;
    printed.trim().parse().with_context(|| format!("{name} printed no number: {printed}"))
}
