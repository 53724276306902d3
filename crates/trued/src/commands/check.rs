//! `trued check`: all errors of the configuration at once, each with its place. Touches nothing; with `--twice` it renders,
//! and writes nothing but `cache/`.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use trued_engine::history;
use trued_model::{Finding, Place};

use crate::commands::Session;
use crate::configured;
use crate::exit::Exit;
use crate::place;
use crate::screen::Screen;
use crate::wire;

mod twice;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  trued check
  trued check --output json
  trued check --twice

Ends with status 2 when there are findings.")]
pub struct Args {
    /// Also render every stack twice, and say where two renders of the same inputs differ; writes nothing but `cache/`
    #[arg(long)]
    twice: bool,
}

pub async fn run(args: Args, session: &Session<'_>) -> anyhow::Result<Exit> {
    let operator = wire::operator(&session.at)?;
    let (stacks, mut findings) = match configured::load(&operator).await {
        Ok(loaded) => (loaded.estate.stacks.len(), loaded.findings),
        Err(findings) => (0, findings),
    };
    if args.twice && findings.is_empty() {
        findings = twice::findings(session).await?;
    }
    let screen = session.screen;
    let exit = if findings.is_empty() { Exit::Done } else { Exit::Input };
    if screen.is_json() {
        let rows: Vec<Value> = findings.iter().map(row).collect();
        screen.document(&json!({ "findings": rows }))?;
        return Ok(exit);
    }
    let folder = place::folder_of(&operator.path);
    for finding in &findings {
        print(finding, folder, screen)?;
    }
    match findings.len() {
        0 => screen.line(format!("{}: {}, nothing to remark", operator.shown, history::things(stacks as u64, "stack")))?,
        count => screen.say(&history::things(count as u64, "finding")),
    }
    Ok(exit)
}

fn row(finding: &Finding) -> Value {
    let place = finding.place.as_ref();
    json!({
        "file": place.map(|place| &place.file),
        "line": place.map(|place| place.line),
        "column": place.map(|place| place.column),
        "stack": finding.stack,
        "message": finding.message,
        "help": finding.help,
    })
}

/// Prints a finding with the line it is about, where that line can be read.
fn print(finding: &Finding, folder: &Path, screen: &Screen) -> anyhow::Result<()> {
    let stack = finding.stack.as_ref().map(|stack| format!("{stack}: ")).unwrap_or_default();
    screen.line(format!("{}: {stack}{}", screen.red("finding"), finding.message))?;
    if let Some(place) = &finding.place {
        screen.line(format!("  {} {}:{}:{}", screen.dim("-->"), place.file, place.line, place.column))?;
        if let Some(text) = excerpt(place, folder) {
            let number = place.line.to_string();
            let before: String =
                text.chars().take(place.column.saturating_sub(1) as usize).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            screen.line(format!("  {} {text}", screen.dim(&format!("{number} |"))))?;
            screen.line(format!("  {} {before}{}", screen.dim(&format!("{:width$} |", "", width = number.len())), screen.red("^")))?;
        }
    }
    if !finding.help.is_empty() {
        screen.line(format!("  {} {}", screen.green("help:"), finding.help))?;
    }
    Ok(())
}

/// The line a finding is about: of a file named from here, or from the operator's folder.
fn excerpt(place: &Place, folder: &Path) -> Option<String> {
    let text = fs::read_to_string(&place.file).or_else(|_| fs::read_to_string(folder.join(&place.file))).ok()?;
    let line = text.lines().nth(usize::try_from(place.line).ok()?.checked_sub(1)?)?;
    Some(line.chars().take(200).filter(|c| !c.is_control() || *c == '\t').collect())
}
