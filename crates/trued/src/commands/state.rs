//! `trued state`: desired, observed and drift of every stack as of the record, for machines.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use trued_engine::history;
use trued_model::{Item, Manifest, StackId};

use crate::commands::Session;
use crate::exit::Exit;
use crate::gather;
use crate::record::Record;
use crate::when;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  trued state --output json
  trued state prod/site")]
pub struct Args {
    /// Only this stack
    stack: Option<String>,
}

/// One stack, with its manifests read.
struct Known {
    stack: StackId,
    status: history::Status,
    desired: Option<Manifest>,
    observed: Option<Manifest>,
    answer: history::Answer,
}

pub async fn run(args: Args, session: &Session<'_>) -> anyhow::Result<Exit> {
    let record = Record::open(session).await?;
    let mut all = Vec::new();
    for stack in record.stacks(args.stack.as_deref())? {
        let memory = gather::memory(&record, &stack).await?;
        if memory.is_past() && args.stack.is_none() {
            continue;
        }
        let (entries, looks) = gather::around(&record, &stack, record.now).await?;
        let answer = history::at(&entries, &looks, &stack, record.now);
        let desired = memory.landed.as_ref().filter(|_| !memory.is_past()).map(|release| record.manifest(&release.manifest)).transpose()?;
        let observed = memory.observed.as_ref().map(|(_, root)| record.manifest(root)).transpose()?;
        all.push(Known { status: history::status(&stack, &memory), stack, desired, observed, answer });
    }
    let screen = session.screen;
    if screen.is_json() {
        let stacks: Vec<Value> = all.iter().map(|known| row(&record, known)).collect();
        screen.document(&json!({ "at": record.now, "stacks": stacks }))?;
        return Ok(Exit::Done);
    }
    for known in &all {
        let seen = known.answer.observed_at.map_or("never".to_owned(), |at| when::clock(at, record.now));
        screen.line(format!("{}  {}, last looked at {seen}", record.names.write(&known.stack), known.status.health.word()))?;
        for (address, desired, observed) in resources(known) {
            let word = match (desired, observed) {
                (Some(desired), Some(observed)) if desired.fingerprint == observed.fingerprint => "as desired",
                (Some(_), Some(_)) => "differs",
                (Some(_), None) => "missing",
                (None, _) => "not desired",
            };
            screen.line(format!("  {address}  {}", screen.dim(word)))?;
        }
    }
    Ok(Exit::Done)
}

fn row(record: &Record, known: &Known) -> Value {
    let resources: Vec<Value> = resources(known)
        .into_iter()
        .map(|(address, desired, observed)| {
            json!({
                "address": address,
                "desired": desired.map(|item| &item.fingerprint),
                "observed": observed.map(|item| &item.fingerprint),
            })
        })
        .collect();
    json!({
        "stack": record.names.write(&known.stack),
        "revision": known.status.revision,
        "health": known.status.health,
        "observed_at": known.answer.observed_at,
        "certainty": known.answer.certainty,
        "drift": known.status.drift.as_ref().map(|open| json!({ "index": open.index, "since": open.since, "items": open.drift.items })),
        "held": known.status.held.as_ref().map(|(index, parts)| json!({ "index": index, "parts": parts })),
        "resources": resources,
    })
}

/// Every address that is desired or was seen, with both.
fn resources(known: &Known) -> Vec<(&str, Option<&Item>, Option<&Item>)> {
    let (desired, observed) = (known.desired.as_ref(), known.observed.as_ref());
    let addresses: BTreeSet<_> = desired.iter().chain(observed.iter()).flat_map(|manifest| manifest.items.keys()).collect();
    let of =
        |address| (desired.and_then(|manifest| manifest.items.get(address)), observed.and_then(|manifest| manifest.items.get(address)));
    addresses
        .into_iter()
        .map(|address| {
            let (desired, observed) = of(address);
            (address.as_str(), desired, observed)
        })
        .collect()
}
