//! `trued show #N`: one entry, whole, and the bytes it names. Secrets stay sealed.

use serde_json::{Value, json};
use trued_engine::history;
use trued_model::{Actor, Address, BlobNote, Item};

use crate::commands::Session;
use crate::commands::log::Row;
use crate::exit::Exit;
use crate::record::{self, Record};
use crate::when;

/// Text of a blob that is printed; more is named by size and digest.
const SHOWN: u64 = 256 * 1024;
/// Lines of a manifest that are printed.
const LISTED: usize = 50;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  trued show #17
  trued show 17 --output json")]
pub struct Args {
    /// The entry's number, as `log` shows it
    #[arg(value_name = "#N")]
    entry: String,
}

/// What can be shown of a blob.
enum Shown {
    Text(String),
    /// A secret is in it.
    Sealed,
    Large,
    Binary,
    Gone,
}

pub async fn run(args: Args, session: &Session<'_>) -> anyhow::Result<Exit> {
    let record = Record::open(session).await?;
    let e = record.entry(record::index(&args.entry)?).await?;
    let blobs: Vec<(&BlobNote, Shown)> =
        e.entry.blobs.iter().map(|note| Ok((note, shown(note, &record)?))).collect::<anyhow::Result<_>>()?;
    let screen = session.screen;
    if screen.is_json() {
        let mut document = serde_json::to_value(Row { index: e.index, entry: &e.entry })?;
        document["said"] = Value::String(record.sentence(&e));
        document["blobs"] = blobs.iter().map(|(note, shown)| blob_json(note, shown)).collect();
        screen.document(&document)?;
        return Ok(Exit::Done);
    }
    screen.line(record.sentence(&e))?;
    screen.line("")?;
    let entry = &e.entry;
    let mut lines = vec![
        ("entry", format!("#{} {}", e.index, entry.kind)),
        ("true since", when::date_and_clock(entry.valid_from)),
        ("recorded", when::date_and_clock(entry.recorded_at)),
        ("by", by(&entry.actor)),
        ("because of", entry.cause.clone()),
    ];
    lines.extend(entry.revision.iter().map(|revision| ("revision", revision.clone())));
    lines.extend(entry.run.iter().map(|run| ("run", run.clone())));
    lines.extend(entry.links.iter().map(|link| ("link", format!("{} #{}", link.rel, link.index))));
    for (name, value) in lines {
        screen.line(format!("{} {value}", screen.dim(&format!("{name:<11}"))))?;
    }
    screen.line("")?;
    screen.line(serde_json::to_string_pretty(&entry.body)?)?;
    for (note, shown) in &blobs {
        screen.line("")?;
        screen.line(screen.dim(&format!("--- {} {} ({} bytes)", note.role, note.blob.digest, note.blob.bytes)))?;
        if let Some(lines) = listing(note, &record) {
            lines.iter().try_for_each(|line| screen.line(line))?;
            continue;
        }
        screen.line(match shown {
            Shown::Text(text) => text.strip_suffix('\n').unwrap_or(text),
            Shown::Sealed => "sealed: there is a secret in it",
            Shown::Large => "too long to show here",
            Shown::Binary => "not text",
            Shown::Gone => "no longer stored",
        })?;
    }
    Ok(Exit::Done)
}

/// Who it was, and how that is known; a trace is never told as a name.
fn by(actor: &Actor) -> String {
    let words = history::actor_words(actor);
    match history::grade_of(&actor.evidence).is_fact() || actor.id.is_empty() {
        true => format!("{words} ({})", actor.evidence),
        false => format!("{words}; evidence {} names {}, which is no proof", actor.evidence, actor.id),
    }
}

/// The lines of a manifest, for people.
fn listing(note: &BlobNote, record: &Record) -> Option<Vec<String>> {
    if !matches!(note.role.as_str(), "observed" | "desired" | "inventory") {
        return None;
    }
    let manifest = record.manifest(&note.blob).ok()?;
    let line = |(address, item): (&Address, &Item)| format!("{address}  {}", item.fingerprint);
    let mut lines: Vec<String> = manifest.items.iter().take(LISTED).map(line).collect();
    if manifest.items.len() > LISTED {
        lines.push(format!("… and {} more; `trued at '#N'` lists all", history::count((manifest.items.len() - LISTED) as u64)));
    }
    Some(lines)
}

fn shown(note: &BlobNote, record: &Record) -> anyhow::Result<Shown> {
    if note.blob.sealed {
        return Ok(Shown::Sealed);
    }
    if note.blob.bytes > SHOWN {
        return Ok(Shown::Large);
    }
    match record.blobs.get(&note.blob.digest) {
        Ok(bytes) if bytes.contains(&0) => Ok(Shown::Binary),
        Ok(bytes) => Ok(String::from_utf8(bytes).map_or(Shown::Binary, Shown::Text)),
        Err(refusal) if refusal.code == trued_model::Code::Absent => Ok(Shown::Gone),
        Err(refusal) => Err(refusal.into()),
    }
}

fn blob_json(note: &BlobNote, shown: &Shown) -> Value {
    let mut blob = json!({ "role": note.role, "digest": note.blob.digest, "bytes": note.blob.bytes, "sealed": note.blob.sealed });
    match shown {
        Shown::Text(text) => blob["text"] = Value::String(text.clone()),
        Shown::Sealed => blob["text"] = Value::String("changed".to_owned()),
        Shown::Gone => blob["gone"] = Value::Bool(true),
        Shown::Large | Shown::Binary => {}
    }
    blob
}
