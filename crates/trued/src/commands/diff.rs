//! `trued diff A B`: two instants, or two environments. Without instants, desired against live.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use similar::TextDiff;
use trued_engine::history::{Answer, Difference, differences};
use trued_model::{Address, BlobRef, Item, Manifest, StackId};

use crate::commands::Session;
use crate::commands::at::{answer, manifest};
use crate::exit::{Exit, usage};
use crate::gather;
use crate::record::Record;
use crate::screen::Screen;

/// Texts longer than this are told by digest.
const COMPARED: u64 = 1024 * 1024;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  trued diff
  trued diff \"2 hours ago\" now prod/site
  trued diff '#12' '#17'
  trued diff ~1 now prod/site
  trued diff dev prod")]
pub struct Args {
    /// An instant or an environment; without any, desired is compared with live
    #[arg(requires = "b")]
    a: Option<String>,
    /// Another of the same kind
    b: Option<String>,
    /// Only this stack (of two instants), or this app (of two environments)
    stack: Option<String>,
}

/// What is compared: two sides of one thing, with their names.
struct Pair {
    stack: String,
    before: Side,
    after: Side,
}

struct Side {
    name: String,
    answer: Option<Answer>,
    manifest: Manifest,
}

pub async fn run(args: Args, session: &Session<'_>) -> anyhow::Result<Exit> {
    let (Some(a), Some(b)) = (&args.a, &args.b) else {
        return crate::commands::plan::diff(session).await;
    };
    let record = Record::open(session).await?;
    let environment = |name: &str| record.names.iter().any(|(stack, _)| stack.environment.as_str() == name);
    let pairs = match environment(a) && environment(b) {
        true => environments(&record, a, b, args.stack.as_deref()).await?,
        false => instants(&record, a, b, args.stack.as_deref()).await?,
    };
    let screen = session.screen;
    if screen.is_json() {
        let rows = pairs.iter().map(|pair| row(&record, pair)).collect::<anyhow::Result<Vec<_>>>()?;
        screen.document(&json!({ "diffs": rows }))?;
        return Ok(Exit::Done);
    }
    let mut same = true;
    for pair in &pairs {
        for difference in differences(&pair.before.manifest, &pair.after.manifest) {
            same = false;
            let (before, after) = (name(&pair.before, &difference), name(&pair.after, &difference));
            print(&text(&record, &difference, &before, &after)?, screen)?;
        }
    }
    if same {
        screen.say("no difference");
    }
    Ok(Exit::Done)
}

async fn instants(record: &Record, a: &str, b: &str, stack: Option<&str>) -> anyhow::Result<Vec<Pair>> {
    let stacks = record.stacks(stack)?;
    let only = stacks.first().filter(|_| stacks.len() == 1);
    let (from, to) = (record.moment(a, only).await?, record.moment(b, only).await?);
    let mut pairs = Vec::new();
    for id in &stacks {
        let stack = record.names.write(id);
        let side = async |name: &str, at| -> anyhow::Result<Side> {
            let answer = answer(record, id, at).await?;
            let manifest = manifest(record, &answer)?.unwrap_or_default();
            Ok(Side { name: format!("{stack}@{{{name}}}"), answer: Some(answer), manifest })
        };
        pairs.push(Pair { before: side(a, from).await?, after: side(b, to).await?, stack });
    }
    Ok(pairs)
}

/// What differs between two manifests, one unified difference each, by address.
pub fn texts(record: &Record, before: (&str, &Manifest), after: (&str, &Manifest)) -> anyhow::Result<Vec<(Address, String)>> {
    let one = |difference: Difference| -> anyhow::Result<(Address, String)> {
        let name = |side: &str| format!("{side}/{}", difference.address);
        let text = text(record, &difference, &name(before.0), &name(after.0))?;
        Ok((difference.address, text))
    };
    differences(before.1, after.1).into_iter().map(one).collect()
}

/// Compares what was last seen in two environments, app by app; addresses are taken below each stack's own folder.
async fn environments(record: &Record, a: &str, b: &str, app: Option<&str>) -> anyhow::Result<Vec<Pair>> {
    let estate = gather::estate(record).await?.unwrap_or_default();
    let side = async |stack: &StackId| -> anyhow::Result<Side> {
        let answer = answer(record, stack, record.now).await?;
        let manifest = manifest(record, &answer)?.unwrap_or_default();
        let manifest = match estate.stacks.get(stack) {
            Some(configured) => below(&manifest, &configured.into),
            None => below(&manifest, &common_folder(&manifest)),
        };
        Ok(Side { name: record.names.write(stack), answer: Some(answer), manifest })
    };
    let of = |environment: &str| -> Vec<StackId> {
        let stacks = record.names.iter().map(|(stack, _)| stack);
        stacks.filter(|s| s.environment.as_str() == environment && app.is_none_or(|app| s.app.as_str() == app)).cloned().collect()
    };
    let (left, right) = (of(a), of(b));
    let mut pairs = Vec::new();
    for before in &left {
        // The same target where both have it; otherwise the first of the same app.
        let same_app = || right.iter().filter(|after| after.app == before.app);
        let Some(after) = same_app().find(|after| after.target == before.target).or_else(|| same_app().next()) else { continue };
        pairs.push(Pair { stack: before.app.to_string(), before: side(before).await?, after: side(after).await? });
    }
    if pairs.is_empty() {
        return Err(usage(format!("{a} and {b} have no app in common")));
    }
    Ok(pairs)
}

/// The folder that all addresses lie in; empty when there is none.
fn common_folder(manifest: &Manifest) -> String {
    let mut folders = manifest.items.keys().map(|address| address.as_str().rsplit_once('/').map_or("", |(folder, _)| folder));
    let Some(first) = folders.next() else { return String::new() };
    let mut common: Vec<&str> = first.split('/').collect();
    for folder in folders {
        let same = common.iter().zip(folder.split('/')).take_while(|(a, b)| **a == *b).count();
        common.truncate(same);
    }
    common.join("/")
}

fn below(manifest: &Manifest, folder: &str) -> Manifest {
    let folder = folder.trim_matches('/');
    let inside = |address: &Address| match folder.is_empty() {
        true => Some(address.clone()),
        false => address.as_str().strip_prefix(folder)?.strip_prefix('/').map(Address::new),
    };
    let items: BTreeMap<Address, Item> =
        manifest.items.iter().filter_map(|(address, item)| Some((inside(address)?, item.clone()))).collect();
    Manifest { items }
}

fn name(side: &Side, difference: &Difference) -> String {
    format!("{}/{}", side.name, difference.address)
}

fn row(record: &Record, pair: &Pair) -> anyhow::Result<Value> {
    let side = |side: &Side| {
        let answer = side.answer.as_ref();
        json!({
            "name": side.name,
            "certainty": answer.map(|answer| answer.certainty),
            "revision": answer.and_then(|answer| answer.revision.clone()),
            "observed_at": answer.and_then(|answer| answer.observed_at),
        })
    };
    let file = |difference: &Difference| -> anyhow::Result<Value> {
        let change = match (&difference.before, &difference.after) {
            (None, _) => "added",
            (_, None) => "removed",
            _ => "changed",
        };
        let text = text(record, difference, &name(&pair.before, difference), &name(&pair.after, difference))?;
        let fingerprint = |item: &Option<Item>| item.as_ref().map(|item| item.fingerprint.clone());
        Ok(json!({
            "path": difference.address, "change": change, "diff": text,
            "before": fingerprint(&difference.before), "after": fingerprint(&difference.after),
        }))
    };
    let differences = differences(&pair.before.manifest, &pair.after.manifest);
    let files = differences.iter().map(file).collect::<anyhow::Result<Vec<_>>>()?;
    Ok(json!({ "stack": pair.stack, "before": side(&pair.before), "after": side(&pair.after), "files": files }))
}

/// One side's text; `Err` holds the words for what is no text to show.
fn side_text(record: &Record, item: Option<&Item>) -> anyhow::Result<Result<String, &'static str>> {
    let Some(content) = item.and_then(|item| item.content.as_ref()) else { return Ok(Ok(String::new())) };
    if content.sealed {
        return Ok(Err("changed (sealed: there is a secret in it)"));
    }
    if content.bytes > COMPARED {
        return Ok(Err("changed (too long to compare here)"));
    }
    Ok(readable(record, content)?.ok_or("changed (not text)"))
}

fn readable(record: &Record, content: &BlobRef) -> anyhow::Result<Option<String>> {
    let bytes = record.bytes(content)?.unwrap_or_default();
    Ok(if bytes.contains(&0) { None } else { String::from_utf8(bytes).ok() })
}

/// The unified difference of one address.
fn text(record: &Record, difference: &Difference, before: &str, after: &str) -> anyhow::Result<String> {
    let header = |item: &Option<Item>, name: &str| if item.is_some() { name.to_owned() } else { "/dev/null".to_owned() };
    let (from, to) = (header(&difference.before, before), header(&difference.after, after));
    let (old, new) = (side_text(record, difference.before.as_ref())?, side_text(record, difference.after.as_ref())?);
    let (old, new) = match (old, new) {
        (Ok(old), Ok(new)) => (old, new),
        (Err(words), _) | (_, Err(words)) => return Ok(format!("--- {from}\n+++ {to}\n{words}\n")),
    };
    if old == new {
        let fingerprint = |item: &Option<Item>| item.as_ref().map_or("absent".to_owned(), |item| item.fingerprint.to_string());
        let (old, new) = (fingerprint(&difference.before), fingerprint(&difference.after));
        return Ok(format!("--- {from}\n+++ {to}\n{old} becomes {new}\n"));
    }
    Ok(TextDiff::from_lines(&old, &new).unified_diff().context_radius(3).header(&from, &to).to_string())
}

/// Prints a difference in its colours.
pub fn print(text: &str, screen: &Screen) -> anyhow::Result<()> {
    for line in text.lines() {
        let painted = match line.as_bytes().first() {
            Some(b'+') => screen.green(line),
            Some(b'-') => screen.red(line),
            _ => line.to_owned(),
        };
        screen.line(painted)?;
    }
    Ok(())
}
