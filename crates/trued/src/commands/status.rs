//! `trued status`: how each stack stands, as of the record. Looks at no target.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use trued_engine::history::{self, Open, Status};
use trued_engine::{OpenDrift, OpenIncident};
use trued_model::{Health, Level, Timestamp};

use crate::commands::Session;
use crate::exit::Exit;
use crate::gather;
use crate::record::Record;
use crate::screen::Screen;
use crate::when;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  trued status
  trued status prod/site --output json

Ends with status 3 when changes or holds remain.")]
pub struct Args {
    /// Only this stack
    stack: Option<String>,
}

pub async fn run(args: Args, session: &Session<'_>) -> anyhow::Result<Exit> {
    let record = Record::open(session).await?;
    let mut rows = Vec::new();
    for stack in record.stacks(args.stack.as_deref())? {
        let memory = gather::memory(&record, &stack).await?;
        if memory.is_past() && args.stack.is_none() {
            continue;
        }
        let status = history::status(&stack, &memory);
        let since = match status.shown_by {
            Some(index) => Some(record.entry(index).await?.entry.valid_from),
            None => None,
        };
        rows.push((status, since));
    }
    let (sources, configuration): (Vec<_>, Vec<_>) = match args.stack {
        Some(_) => (Vec::new(), Vec::new()),
        None => of_no_stack(&record).await?.into_iter().partition(|(open, _)| open.source.is_some()),
    };
    let remains = !sources.is_empty() || !configuration.is_empty() || rows.iter().any(|(status, _)| status.remains());
    let exit = if remains { Exit::Remain } else { Exit::Done };
    let screen = session.screen;
    if screen.is_json() {
        let stacks: Vec<Value> = rows.iter().map(|(status, since)| row(&record, status, *since)).collect();
        let row = |(open, since): &(Open, Timestamp)| json!({ "source": open.source, "incident": open.index, "kind": open.kind, "since": since, "why": open.why, "next": open.next });
        let sources: Vec<Value> = sources.iter().map(row).collect();
        let configuration: Vec<Value> = configuration.iter().map(row).collect();
        screen.document(&json!({ "stacks": stacks, "sources": sources, "configuration": configuration }))?;
        return Ok(exit);
    }
    if rows.is_empty() {
        screen.line("nothing is on record yet; `trued plan` shows what would change")?;
    }
    for (status, since) in &rows {
        print(&record, status, *since, screen)?;
    }
    for (open, since) in sources.iter().chain(&configuration) {
        let about = open.source.as_ref().map(|source| format!("source {source}  ")).unwrap_or_default();
        let since = when::clock(*since, record.now);
        screen.line(format!("{about}{} since {since}: {}", screen.yellow(&open.kind), open.why))?;
        screen.line(format!("  incident #{}: {}", open.index, open.next))?;
    }
    Ok(exit)
}

/// Open incidents about sources and the configuration, each with its beginning: what nothing is known to be wrong with is not
/// listed.
async fn of_no_stack(record: &Record) -> anyhow::Result<Vec<(Open, Timestamp)>> {
    let mut found = Vec::new();
    for open in history::incidents(&BTreeMap::new(), &gather::loose_incidents(record).await?, &record.names) {
        let since = record.entry(open.index).await?.entry.valid_from;
        found.push((open, since));
    }
    Ok(found)
}

fn row(record: &Record, status: &Status, since: Option<Timestamp>) -> Value {
    let verdict = status.verdict.as_ref().map(|(index, verdict)| {
        json!({ "index": index, "outcome": verdict.outcome, "verified": verdict.verified, "checks": verdict.checks, "why": verdict.why })
    });
    let drift = status.drift.as_ref().map(|open| {
        json!({ "index": open.index, "since": open.since, "policy": open.drift.policy, "count": open.drift.count, "next": next(open) })
    });
    let held = status.held.iter().flat_map(|(index, parts)| {
        let part = move |part: &trued_model::body::HeldPart| {
            json!({ "index": index, "kind": part.kind, "digest": part.digest, "count": part.count, "why": part.why, "next": part.next })
        };
        parts.iter().map(part)
    });
    let mut row = json!({
        "stack": record.names.write(&status.stack),
        "revision": status.revision,
        "health": status.health,
        "why": status.why,
        "since": since,
        "verdict": verdict,
        "drift": drift,
        "held": held.collect::<Vec<_>>(),
        "suspended": status.suspended,
        "rolled_back": status.rolled_back,
        "incidents": status.incidents.iter().map(|open| &open.incident.kind).collect::<Vec<_>>(),
    });
    if let (Some(level), Some(row)) = (status.sandbox, row.as_object_mut()) {
        row.insert("sandbox".to_owned(), json!(level));
    }
    row
}

/// What a person can do about a drift, with its number filled in.
fn next(open: &OpenDrift) -> String {
    history::filled(&open.drift.next, Some(open.index), None)
}

fn print(record: &Record, status: &Status, since: Option<Timestamp>, screen: &Screen) -> anyhow::Result<()> {
    let word = status.health.word();
    let health = match status.health {
        Health::Ready => screen.green(word),
        Health::Degraded => screen.red(word),
        Health::Progressing | Health::Unknown => screen.yellow(word),
    };
    let since = since.map(|since| format!(" since {}", when::clock(since, record.now))).unwrap_or_default();
    let revision = status.revision.as_deref().map(|id| format!(", {}", history::short(id))).unwrap_or_default();
    let why = if status.why.is_empty() { String::new() } else { format!(": {}", status.why) };
    let name = record.names.write(&status.stack);
    screen.line(format!("{name}  {health}{revision}{since}{why}"))?;
    if let Some(open) = &status.drift {
        let since = when::clock(open.since, record.now);
        screen.line(format!("  drift #{} since {since}: {} drifted; {}", open.index, open.drift.count, next(open)))?;
    }
    for part in status.held.iter().flat_map(|(_, parts)| parts) {
        screen.line(format!("  held {}: {}; {}", part.kind.word(), part.why, history::filled(&part.next, None, Some(&name))))?;
    }
    for OpenIncident { index, incident, .. } in &status.incidents {
        // What did not pass stands above, as why it is not ready.
        let told = incident.kind == "check" || (!status.why.is_empty() && incident.message.starts_with(&status.why));
        let why = if told { String::new() } else { format!(" {};", incident.message) };
        let next = history::filled(&incident.next, Some(*index), Some(&name));
        screen.line(format!("  incident #{index} {}:{why} {next}", screen.yellow(&incident.kind)))?;
    }
    if status.sandbox == Some(Level::Unsafe) {
        screen.line(format!("  {}", screen.red("unsafe: the program that rendered this was not confined")))?;
    }
    if let Some(index) = status.suspended {
        screen.line(format!("  suspended by #{index}"))?;
    }
    if let Some(index) = status.rolled_back {
        screen.line(format!("  rolled back by #{index}; stays until the source renders something else, or `trued resume`"))?;
    }
    Ok(())
}
