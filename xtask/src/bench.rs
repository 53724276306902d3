//! `cargo xtask bench`: the numbers we hold ourselves to, against a yardstick of the same run where one exists. Times
//! are measured here and nowhere else; tests count.
#![expect(clippy::print_stdout, reason = "a table for people")]

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use crate::machine;

mod builds;
mod chart;
mod counts;
mod files;
mod kubernetes;
mod measure;
mod peers;
mod rates;
mod record;

/// One measured line of the table.
pub struct Row {
    what: String,
    measured: String,
    /// What it is compared with, and the ratio to it.
    yardstick: String,
    bar: &'static str,
    holds: bool,
}

impl Row {
    fn show(&self) {
        let missed = if self.holds { "" } else { "  MISSED" };
        println!("{:<44} {:>18}   {:<38} {:<22}{missed}", self.what, self.measured, self.yardstick, self.bar);
    }
}

/// Gives its rows at its end; one that takes many minutes shows each when it has it, and gives none.
type Bench = fn(&Ground) -> anyhow::Result<Vec<Row>>;

const BENCHES: &[(&str, Bench)] = &[
    ("no-op", files::no_op),
    ("cold", files::cold),
    ("large", files::large),
    ("one", files::one_change),
    ("warm", files::warm),
    ("seen", files::seen),
    ("peers", peers::peers),
    ("build", builds::overhead),
    ("counts", counts::counts),
    ("record", record::record),
    ("kubernetes", kubernetes::kubernetes),
    ("ledger", rates::ledger),
    ("sim", rates::simulator),
];

/// Where benches run: the built program, and a scratch folder on the disk of the build folder (not in memory).
pub struct Ground {
    program: PathBuf,
    scratch: PathBuf,
}

impl Ground {
    /// Makes an empty folder.
    fn fresh(&self, name: &str) -> anyhow::Result<PathBuf> {
        let folder = self.scratch.join(name);
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }
}

/// Runs the named benches, or all, and prints a table.
pub fn bench(names: &[String]) -> anyhow::Result<()> {
    for name in names {
        ensure!(BENCHES.iter().any(|(known, _)| known == name), "there is no bench {name}");
    }
    let built =
        machine::cargo().args(["build", "--profile", "dist", "--quiet", "-p", "trued"]).status().context("failed to start cargo")?;
    ensure!(built.success(), "the program does not build");
    let target = machine::target()?;
    let ground = Ground { program: target.join("dist/trued"), scratch: target.join("bench") };
    println!("{:<44} {:>18}   {:<38} {:<22}", "what", "measured", "yardstick", "bar");
    for (name, bench) in BENCHES.iter().filter(|(name, _)| names.is_empty() || names.iter().any(|named| named == name)) {
        let rows = bench(&ground).with_context(|| format!("failed to measure {name}"))?;
        rows.iter().for_each(Row::show);
    }
    clear(&ground.scratch)
}

fn clear(scratch: &Path) -> anyhow::Result<()> {
    if scratch.exists() {
        std::fs::remove_dir_all(scratch).with_context(|| format!("failed to clear {}", scratch.display()))?;
    }
    Ok(())
}
