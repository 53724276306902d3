//! `trued incidents`: what waits for people.

use serde_json::{Value, json};
use trued_engine::history;

use crate::commands::Session;
use crate::exit::Exit;
use crate::gather;
use crate::record::Record;
use crate::when;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  trued incidents
  trued incidents prod/site --output json

Ends with status 3 when something is open.")]
pub struct Args {
    /// Only this stack's
    stack: Option<String>,
}

pub async fn run(args: Args, session: &Session<'_>) -> anyhow::Result<Exit> {
    let record = Record::open(session).await?;
    let memories = gather::memories(&record, &record.stacks(args.stack.as_deref())?).await?;
    let loose = if args.stack.is_some() { Vec::new() } else { gather::loose_incidents(&record).await? };
    let mut open = Vec::new();
    for incident in history::incidents(&memories, &loose, &record.names) {
        let since = record.entry(incident.index).await?.entry.valid_from;
        open.push((incident, since));
    }
    let exit = if open.is_empty() { Exit::Done } else { Exit::Remain };
    let screen = session.screen;
    let stack = |open: &history::Open| open.stack.as_ref().map(|stack| record.names.write(stack));
    if screen.is_json() {
        let row = |(open, since): &(history::Open, _)| json!({ "index": open.index, "stack": stack(open), "source": open.source, "kind": open.kind, "since": since, "why": (!open.why.is_empty()).then_some(&open.why), "next": open.next, "who": (!open.who.is_empty()).then_some(&open.who) });
        let rows: Vec<Value> = open.iter().map(row).collect();
        screen.document(&json!({ "incidents": rows }))?;
        return Ok(exit);
    }
    if open.is_empty() {
        screen.line("nothing waits for people")?;
    }
    for (incident, since) in &open {
        let whose = stack(incident).or_else(|| incident.source.as_ref().map(|source| format!("source {source}")));
        let whose = whose.map(|whose| format!("{whose}: ")).unwrap_or_default();
        let kind = screen.yellow(&incident.kind);
        let since = when::clock(*since, record.now);
        let why = if incident.why.is_empty() { String::new() } else { format!(": {}", incident.why) };
        let who = if incident.who.is_empty() { String::new() } else { format!(" {};", incident.who) };
        screen.line(format!("#{:<5} {whose}{kind} since {since}{why};{who} {}", incident.index, incident.next))?;
    }
    Ok(exit)
}
