//! `trued at TIME`: what was on the targets at an instant, and how surely that is known.

use std::path::PathBuf;

use anyhow::Context;
use serde::Serialize;
use serde_json::{Value, json};
use trued_engine::history::{self, Answer};
use trued_model::{Address, Item, Manifest, StackId, Timestamp};

use crate::commands::Session;
use crate::commands::whole::Whole;
use crate::exit::{Exit, usage};
use crate::gather;
use crate::record::Record;
use crate::screen::Screen;
use crate::when;
use crate::written::write_out;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  trued at \"Thu 21:40\"
  trued at \"40 seconds ago\" prod/site
  trued at 21:40 prod/site index.html
  trued at 14:03 prod/site --whole
  trued at '#17' prod/site --to /tmp/then")]
pub struct Args {
    /// An instant: 21:40, \"2026-11-19 21:40\", \"2 hours ago\", \"yesterday 21:40\", #17, ~2, …
    time: String,
    /// Only this stack
    stack: Option<String>,
    /// Print this file's bytes
    #[arg(requires = "stack", conflicts_with = "to")]
    path: Option<String>,
    /// Show all of it: what was changed last before, by whom, what else happened around then, and every manifest in full
    #[arg(long, requires = "stack", conflicts_with_all = ["path", "to"])]
    whole: bool,
    /// Write the files into this folder, which must be empty or new
    #[arg(long, value_name = "DIR", requires = "stack")]
    to: Option<PathBuf>,
}

#[derive(Serialize)]
struct File<'a> {
    path: &'a Address,
    fingerprint: &'a str,
    digest: Option<trued_model::Digest>,
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    sealed: bool,
}

impl<'a> File<'a> {
    fn new((path, item): (&'a Address, &'a Item)) -> File<'a> {
        let content = item.content.as_ref();
        let sealed = content.is_some_and(|content| content.sealed);
        let fingerprint = item.fingerprint.as_str();
        File { path, fingerprint, digest: content.map(|content| content.digest), bytes: content.map(|content| content.bytes), sealed }
    }
}

pub async fn run(args: Args, session: &Session<'_>) -> anyhow::Result<Exit> {
    let record = Record::open(session).await?;
    let screen = session.screen;
    let stacks = match args.stack.as_deref() {
        // A stack that the record never saw is a fair question about the past; the answer is unknown.
        Some(named) if record.names.find(named).is_none() && record.names.iter().next().is_none() => Vec::new(),
        named => record.stacks(named)?,
    };
    let at = record.moment(&args.time, stacks.first().filter(|_| stacks.len() == 1)).await?;
    let mut answers = Vec::new();
    for stack in &stacks {
        let answer = answer(&record, stack, at).await?;
        if !answer.past || args.stack.is_some() {
            answers.push((stack, answer));
        }
    }
    if let (Some(path), Some((stack, answer))) = (&args.path, answers.first()) {
        return print_file(&record, stack, answer, path, screen);
    }
    if let (Some(folder), Some((stack, answer))) = (&args.to, answers.first()) {
        let manifest = manifest(&record, answer)?
            .ok_or_else(|| anyhow::anyhow!("what {} held then is unknown: {}", record.names.write(stack), answer.why))?;
        let count = write_out(&record, &manifest, folder, screen)?;
        if !screen.is_json() {
            screen.line(format!("{}: {count} files written to {}", headline(&record, stack, answer), folder.display()))?;
            return Ok(Exit::Done);
        }
    }
    if let (true, Some((stack, answer))) = (args.whole, answers.first()) {
        let whole = Whole::gather(&record, stack, answer, at).await?;
        if screen.is_json() {
            let mut row = row(&record, stack, answer)?;
            if let (Some(row), Value::Object(more)) = (row.as_object_mut(), whole.value()) {
                row.extend(more);
            }
            screen.document(&json!({ "at": at, "answers": [row] }))?;
        } else {
            screen.line(headline(&record, stack, answer))?;
            whole.show(&record, screen)?;
        }
        return Ok(Exit::Done);
    }
    if screen.is_json() {
        let answers = answers.iter().map(|(stack, answer)| row(&record, stack, answer)).collect::<anyhow::Result<Vec<_>>>()?;
        let nobody = args.stack.iter().filter(|_| answers.is_empty()).map(|named| never_seen(named));
        let answers: Vec<Value> = nobody.chain(answers.iter().cloned()).collect();
        screen.document(&json!({ "at": at, "answers": answers }))?;
        return Ok(Exit::Done);
    }
    if answers.is_empty() {
        screen.line("unknown: nothing is on record")?;
    }
    for (stack, answer) in &answers {
        screen.line(headline(&record, stack, answer))?;
        let Some(manifest) = manifest(&record, answer)? else { continue };
        for (address, item) in &manifest.items {
            let content = item.content.as_ref();
            let size = content
                .map_or_else(String::new, |content| if content.sealed { "sealed".to_owned() } else { format!("{} bytes", content.bytes) });
            let digest = content.map_or_else(String::new, |content| content.digest.short());
            screen.line(format!("  {address}  {}", screen.dim(&format!("{digest} {size}"))))?;
        }
    }
    Ok(Exit::Done)
}

/// What a stack's target held at an instant.
pub async fn answer(record: &Record, stack: &StackId, at: Timestamp) -> anyhow::Result<Answer> {
    let (entries, looks) = gather::around(record, stack, at).await?;
    Ok(history::at(&entries, &looks, stack, at))
}

/// The files of an answer; `None` when unknown.
pub fn manifest(record: &Record, answer: &Answer) -> anyhow::Result<Option<Manifest>> {
    answer.observed.as_ref().map(|root| record.manifest(root)).transpose()
}

fn row(record: &Record, stack: &StackId, answer: &Answer) -> anyhow::Result<Value> {
    let manifest = manifest(record, answer)?.unwrap_or_default();
    let files: Vec<File> = manifest.items.iter().map(File::new).collect();
    Ok(json!({
        "stack": record.names.write(stack),
        "certainty": answer.certainty,
        "why": answer.why,
        "revision": answer.revision,
        "observed_at": answer.observed_at,
        "from": answer.from,
        "until": answer.until,
        "entry": answer.entry,
        "files": files,
    }))
}

fn never_seen(named: &str) -> Value {
    json!({ "stack": named, "certainty": "unknown", "why": "nothing is on record", "revision": null, "observed_at": null, "files": [] })
}

fn headline(record: &Record, stack: &StackId, answer: &Answer) -> String {
    let name = record.names.write(stack);
    let seen = answer.observed_at.map(when::date_and_clock).map(|at| format!("last seen at {at}")).unwrap_or("never seen".to_owned());
    let revision = answer.revision.as_deref().map(|id| format!(" revision {id},")).unwrap_or_default();
    let why = if answer.why.is_empty() { String::new() } else { format!(" ({})", answer.why) };
    format!("{name}: {},{revision} {seen}{why}", answer.certainty.word())
}

fn print_file(record: &Record, stack: &StackId, answer: &Answer, path: &str, screen: &Screen) -> anyhow::Result<Exit> {
    let name = record.names.write(stack);
    let manifest = manifest(record, answer)?.ok_or_else(|| anyhow::anyhow!("what {name} held then is unknown: {}", answer.why))?;
    let (address, item) = one_file(&manifest, path).ok_or_else(|| usage(format!("{name} held no file {path} then")))?;
    let content = item.content.as_ref().with_context(|| format!("{address} has no content: {}", item.fingerprint))?;
    match record.bytes(content)? {
        Some(bytes) => screen.bytes(&bytes)?,
        None => anyhow::bail!("{address} is sealed: there is a secret in it"),
    }
    Ok(Exit::Done)
}

/// The file a person means: its address, or the one address that ends in `/PATH`.
pub fn one_file<'a>(manifest: &'a Manifest, path: &str) -> Option<(&'a Address, &'a Item)> {
    if let Some(exact) = manifest.items.get_key_value(&Address::new(path)) {
        return Some(exact);
    }
    let ends = |address: &Address| address.as_str().strip_suffix(path).is_some_and(|rest| rest.ends_with('/'));
    let mut found = manifest.items.iter().filter(|(address, _)| ends(address));
    found.next().filter(|_| found.next().is_none())
}
