//! Rules that other programs check: rustfmt and cargo-deny.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;

use super::Remark;
use super::tree::Tree;
use crate::machine;

/// How long the advisory database may take to answer before it counts as out of reach.
const DATABASE: Duration = Duration::from_secs(60);

/// rustfmt would change nothing.
pub fn formatted(tree: &Tree) -> anyhow::Result<Vec<Remark>> {
    let output =
        machine::cargo().args(["fmt", "--all", "--check", "--", "--files-with-diff"]).output().context("failed to start cargo fmt")?;
    let listed = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut remarks: Vec<_> = listed.lines().map(|path| Remark::fault(below(tree, path), "run cargo fmt")).collect();
    if !output.status.success() && remarks.is_empty() {
        remarks.push(Remark::fault("cargo fmt", String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(remarks)
}

fn below<'a>(tree: &Tree, path: &'a str) -> &'a str {
    Path::new(path).strip_prefix(&tree.root).ok().and_then(Path::to_str).unwrap_or(path)
}

/// deny.toml holds: licences, banned crates, sources; duplicates are only listed.
pub fn denied(tree: &Tree) -> anyhow::Result<Vec<Remark>> {
    let output = deny(tree)?.args(["check", "--hide-inclusion-graph", "licenses", "bans", "sources"]).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let twice: Vec<_> = said.lines().filter_map(|line| line.strip_prefix("warning[duplicate]: ")?.split('\'').nth(1)).collect();
    let mut remarks = Vec::new();
    if !twice.is_empty() {
        remarks.push(Remark::advice("Cargo.lock", format!("in several versions: {}", twice.join(", "))));
    }
    if !output.status.success() {
        remarks.push(Remark::fault("deny.toml", errors_of(&said)));
    }
    Ok(remarks)
}

/// No crate in the tree has an open advisory. Without the database there is nothing to say.
pub fn advisories(tree: &Tree) -> anyhow::Result<Vec<Remark>> {
    let mut fetch = deny(tree)?;
    fetch.args(["fetch", "db"]).stdout(Stdio::null()).stderr(Stdio::null());
    if !ends_well(fetch)? {
        return Ok(vec![Remark::advice("advisories", "not checked: the database cannot be reached")]);
    }
    let output = deny(tree)?.args(["check", "--hide-inclusion-graph", "--disable-fetch", "advisories"]).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok(if output.status.success() { Vec::new() } else { vec![Remark::fault("advisories", errors_of(&said))] })
}

/// The errors among cargo-deny's messages, which are separated by blank lines; all of it when none is marked.
fn errors_of(said: &str) -> String {
    let errors: Vec<_> = said.split("\n\n").filter(|message| message.starts_with("error")).collect();
    if errors.is_empty() { said.trim().to_owned() } else { errors.join("\n") }
}

fn deny(tree: &Tree) -> anyhow::Result<Command> {
    let mut deny = Command::new(machine::cargo_deny()?);
    deny.args(["--color", "never", "--log-level", "warn"]).current_dir(&tree.root).stdin(Stdio::null());
    Ok(deny)
}

fn ends_well(mut command: Command) -> anyhow::Result<bool> {
    let started = Instant::now();
    let mut child = command.spawn().with_context(|| format!("failed to start {}", machine::spelled(&command)))?;
    while started.elapsed() < DATABASE {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill()?;
    child.wait()?;
    Ok(false)
}
