//! Benches that a crate brings as a program of its own, which prints things per second.

use anyhow::Context;

use super::{Ground, Row};
use crate::machine;

/// Durable appends in batches to the SQLite store.
pub fn ledger(_: &Ground) -> anyhow::Result<Vec<Row>> {
    let printed = printed(&["-p", "trued-ledger", "--example", "append_rate"])?;
    let rate: f64 = printed.trim().parse().with_context(|| format!("append_rate printed no number: {printed}"))?;
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
    let printed = printed(&["-p", "trued-sim", "--bin", "seeds", "--", "1", "1000"])?;
    let rate = printed.split(" seeds/s").next().and_then(|before| before.rsplit(' ').next());
    let rate: f64 = rate.and_then(|rate| rate.parse().ok()).with_context(|| format!("seeds printed no rate: {printed}"))?;
    Ok(vec![Row {
        what: "simulator, one core".to_owned(),
        measured: format!("{rate:.0} seeds/s"),
        yardstick: String::new(),
        bar: "200 seeds/s",
        holds: rate >= 200.0,
    }])
}

fn printed(program: &[&str]) -> anyhow::Result<String> {
    machine::read(machine::cargo().args(["run", "--release", "--quiet"]).args(program))
}
