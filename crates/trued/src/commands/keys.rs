//! `trued keys`: the data keys that seal secrets in the record, by name, and their rotation. Shows no key.

use serde_json::json;
use trued_doors::{Clock as _, Query};
use trued_model::body::KeyRotated;
use trued_model::{Draft, Kind};

use crate::acting::clock::SystemClock;
use crate::acting::person;
use crate::commands::Session;
use crate::exit::Exit;
use crate::wire;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  trued keys
  trued keys rotate --reason \"the disk was replaced\"")]
pub struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// Seal with a new data key from now on; older ones stay, to open what they sealed
    Rotate(Rotate),
}

#[derive(clap::Args)]
struct Rotate {
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// Begin anew where keys/data.key is lost for good; what it sealed is lost with it
    #[arg(long)]
    lost: bool,
}

pub async fn run(args: Args, session: &Session<'_>) -> anyhow::Result<Exit> {
    match args.verb {
        None => list(session),
        Some(Verb::Rotate(rotate)) => turn(rotate, session).await,
    }
}

fn list(session: &Session<'_>) -> anyhow::Result<Exit> {
    let keys = wire::ledger(&session.at.state()?)?.data_keys()?;
    let screen = session.screen;
    if screen.is_json() {
        let row = |key: &trued_ledger::DataKey| json!({ "key": key.id, "seals": key.seals });
        screen.document(&json!({ "keys": keys.iter().map(row).collect::<Vec<_>>() }))?;
        return Ok(Exit::Done);
    }
    if keys.is_empty() {
        screen.say("there is no data key yet; the first apply makes it");
    }
    for key in &keys {
        screen.line(format!("{}  {}", key.id, if key.seals { "seals and opens" } else { "opens what it sealed" }))?;
    }
    Ok(Exit::Done)
}

async fn turn(rotate: Rotate, session: &Session<'_>) -> anyhow::Result<Exit> {
    let ledger = wire::ledger_to_rotate(&session.at.state()?)?;
    let newest = Query { kinds: vec![Kind::KeyRotated], limit: Some(1), ..Query::default() };
    let newest = ledger.store.find(newest).await?;
    let recorded = newest.first().and_then(|indexed| indexed.entry.body::<KeyRotated>().ok()).map(|rotated| rotated.key);
    let rotated = ledger.rotate(recorded.as_deref(), rotate.lost)?;
    let body = KeyRotated { key: rotated.key.clone(), kept: rotated.kept.clone(), lost: rotated.lost.clone(), reason: rotate.reason };
    let draft = Draft {
        kind: Kind::KeyRotated,
        stack: None,
        run: None,
        valid_from: SystemClock.now(),
        actor: person(),
        cause: "person".to_owned(),
        revision: None,
        links: Vec::new(),
        body: serde_json::to_value(&body)?,
        blobs: Vec::new(),
    };
    let placed = ledger.store.append(vec![draft], None).await?;
    let index = placed.first().map(|indexed| indexed.index);
    let screen = session.screen;
    if screen.is_json() {
        screen.document(&json!({ "index": index, "key": rotated.key, "kept": rotated.kept, "unfinished": rotated.unfinished }))?;
        return Ok(Exit::Done);
    }
    let number = index.map(|index| format!(", recorded as #{index}")).unwrap_or_default();
    match rotated.unfinished {
        true => screen.line(format!("an earlier rotation had been interrupted and is finished: {} seals{number}", rotated.key))?,
        false => screen.line(format!("{} seals from now on{number}; back up keys/data.key", rotated.key))?,
    }
    Ok(Exit::Done)
}
