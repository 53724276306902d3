//! `trued why` and `trued who`: the chain from what is there back to commits and people, with the evidence.

use serde_json::{Value, json};
use trued_engine::history::{self, Story, Touch};
use trued_model::{Address, Commit, Indexed, Revision, StackId};

use crate::commands::Session;
use crate::commands::at::one_file;
use crate::exit::{Exit, usage};
use crate::gather;
use crate::record::Record;
use crate::screen::Screen;
use crate::when;
use crate::wire;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  trued why prod/index.html
  trued why prod/site
  trued why prod/site index.html")]
pub struct WhyArgs {
    /// An address on a target, or a stack
    #[arg(value_name = "ADDRESS|STACK")]
    subject: String,
    /// An address of that stack, or the end of one
    #[arg(value_name = "ADDRESS")]
    address: Option<String>,
}

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  trued who prod/index.html
  trued who prod/site index.html")]
pub struct WhoArgs {
    /// An address on a target, or a stack
    #[arg(value_name = "ADDRESS|STACK")]
    subject: String,
    /// An address of that stack, or the end of one
    #[arg(value_name = "ADDRESS")]
    address: Option<String>,
}

/// What is asked about on one stack, with all that bears on it.
struct Found {
    stack: StackId,
    address: Option<Address>,
    touch: Option<Touch>,
    entries: Vec<Indexed>,
    commit: Option<Commit>,
}

impl Found {
    fn story(&self) -> Story<'_> {
        Story { entries: &self.entries, address: self.address.as_ref(), touch: self.touch.as_ref(), commit: self.commit.as_ref() }
    }

    fn name(&self, record: &Record) -> String {
        match &self.address {
            Some(address) => format!("{address} in {}", record.names.write(&self.stack)),
            None => record.names.write(&self.stack),
        }
    }
}

pub async fn why(args: WhyArgs, session: &Session<'_>) -> anyhow::Result<Exit> {
    let record = Record::open(session).await?;
    let found = find(&record, &args.subject, args.address.as_deref()).await?;
    let told: Vec<_> = found.iter().map(|found| (found, record.speak(|voice| history::why(&found.story(), voice)))).collect();
    let screen = session.screen;
    if screen.is_json() {
        let steps = |told: &[history::Telling]| -> Value {
            told.iter().map(|step| json!({ "index": step.index, "at": step.at, "said": step.said })).collect()
        };
        let answers: Vec<Value> = told.iter().map(|(found, told)| answer(&record, found, "steps", steps(told))).collect();
        screen.document(&json!({ "subject": args.subject, "answers": answers }))?;
        return Ok(Exit::Done);
    }
    for (found, told) in told {
        let lines = told.iter().map(|step| (step.index, step.at, step.said.clone()));
        print(screen, &found.name(&record), lines.collect())?;
    }
    Ok(Exit::Done)
}

pub async fn who(args: WhoArgs, session: &Session<'_>) -> anyhow::Result<Exit> {
    let record = Record::open(session).await?;
    let found = find(&record, &args.subject, args.address.as_deref()).await?;
    let screen = session.screen;
    if screen.is_json() {
        let doers = |found: &Found| -> Value {
            let doer = |doer: &history::Doer| {
                json!({
                    "index": doer.index, "at": doer.at, "name": doer.name, "did": doer.did, "evidence": doer.evidence,
                    "grade": doer.grade.word(), "fact": doer.grade.is_fact(),
                })
            };
            history::who(&found.story()).iter().map(doer).collect()
        };
        let answers: Vec<Value> = found.iter().map(|found| answer(&record, found, "doers", doers(found))).collect();
        screen.document(&json!({ "subject": args.subject, "answers": answers }))?;
        return Ok(Exit::Done);
    }
    for found in &found {
        let doers = history::who(&found.story());
        let lines = doers.iter().map(|doer| (doer.index, doer.at, record.speak(|voice| doer.said(voice))));
        print(screen, &found.name(&record), lines.collect())?;
    }
    Ok(Exit::Done)
}

/// The stack a person named, one address of it, or every stack on whose target the address was seen or touched.
async fn find(record: &Record, subject: &str, of_stack: Option<&str>) -> anyhow::Result<Vec<Found>> {
    if let Some(named) = of_stack {
        let stack = record.stack(subject)?;
        let address = meant(record, &stack, named).await?;
        let touch = gather::touch(record, &stack, &address).await?;
        return Ok(vec![tell(record, stack, Some(address), touch).await?]);
    }
    if let Some(stack) = record.names.find(subject) {
        return Ok(vec![tell(record, stack.clone(), None, None).await?]);
    }
    let address = Address::new(subject);
    let mut found = Vec::new();
    for stack in record.stacks(None)? {
        let touch = gather::touch(record, &stack, &address).await?;
        let seen = touch.is_some() || {
            let observed = gather::memory(record, &stack).await?.observed;
            observed.map(|(_, root)| record.manifest(&root)).transpose()?.is_some_and(|manifest| manifest.items.contains_key(&address))
        };
        if seen {
            found.push(tell(record, stack, Some(address.clone()), touch).await?);
        }
    }
    if found.is_empty() {
        return Err(usage(format!("the record knows no stack and no address {subject}; `trued state` lists both")));
    }
    Ok(found)
}

/// The address a person means: as written, or the one address seen last that ends so.
async fn meant(record: &Record, stack: &StackId, named: &str) -> anyhow::Result<Address> {
    let exact = Address::new(named);
    let Some((_, root)) = gather::memory(record, stack).await?.observed else { return Ok(exact) };
    let manifest = record.manifest(&root)?;
    Ok(one_file(&manifest, named).map_or(exact, |(address, _)| address.clone()))
}

async fn tell(record: &Record, stack: StackId, address: Option<Address>, touch: Option<Touch>) -> anyhow::Result<Found> {
    let entries = gather::chain(record, &stack, touch.as_ref()).await?;
    let intent = |e: &&Indexed| e.entry.kind == trued_model::Kind::Intent;
    let revision = match &touch {
        Some(touch) => entries.iter().find(|e| e.index == touch.receipt),
        None => entries.iter().rev().find(intent),
    };
    let commit = match revision.and_then(|e| e.entry.revision.as_deref()) {
        Some(revision) => commit(record, &stack, revision).await,
        None => None,
    };
    Ok(Found { stack, address, touch, entries, commit })
}

/// Who made a revision, as its source says; `None` when the source is gone or has no such notion.
pub async fn commit(record: &Record, stack: &StackId, revision: &str) -> Option<Commit> {
    let estate = gather::estate(record).await.ok()??;
    let stack = estate.stacks.get(stack)?;
    let source = wire::source(estate.sources.get(&stack.source)?, record.state()).ok()?;
    let id = revision.split_once('+').map_or(revision, |(commit, _)| commit);
    source.commit(&Revision { source: stack.source.clone(), id: id.to_owned() }).await.ok()
}

fn answer(record: &Record, found: &Found, what: &str, rows: Value) -> Value {
    json!({ "stack": record.names.write(&found.stack), "address": found.address, what: rows })
}

fn print(screen: &Screen, name: &str, lines: Vec<(Option<u64>, trued_model::Timestamp, String)>) -> anyhow::Result<()> {
    screen.line(name)?;
    if lines.is_empty() {
        screen.line("  nothing on record says more; it was there at first contact")?;
    }
    for (index, at, said) in lines {
        let place = index.map_or_else(String::new, |index| format!("#{index}"));
        screen.line(format!("  {}  {said}", screen.dim(&format!("{place:<6} {}", when::date_and_clock(at)))))?;
    }
    Ok(())
}
