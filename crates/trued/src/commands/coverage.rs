//! `trued coverage`: what on a target is managed, what is not, what nobody need manage.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use trued_engine::Unmanaged;
use trued_engine::history::count;
use trued_model::{Address, Code, Extent, Name, StackId, Want};
use trued_runtime::{Aim, Reach};

use crate::acting::Acting;
use crate::commands::Session;
use crate::exit::{Exit, usage};
use crate::screen::Screen;
use crate::when;
use crate::wire::Hand;

/// How many unmanaged things of a target people are shown.
const SHOWN: usize = 40;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  trued coverage
  trued coverage web-1
  trued coverage prod-cluster --output json")]
pub struct Args {
    /// Only this target
    pub target: Option<String>,
}

pub async fn run(args: Args, session: &Session<'_>) -> anyhow::Result<Exit> {
    let acting = Acting::open(session, Hand::None, "coverage").await?;
    let aim = Aim { want: Want::WorkTree, stacks: Vec::new(), writes: false, look: true, waits: false };
    acting.runtime.look_up(&aim).await?;
    let only = args.target.as_deref().map(|named| target(&acting, named)).transpose()?;
    let (reaches, findings) = acting.runtime.reach(&aim, only.as_ref(), "").await?;
    let screen = session.screen;
    findings.iter().for_each(|finding| screen.say(&format!("{}: {finding}", screen.red("finding"))));
    let names = acting.runtime.names();
    let write = |id: &StackId| names.write(id);
    if screen.is_json() {
        let targets: Vec<Value> = reaches.iter().map(|reach| row(reach, &write)).collect();
        screen.document(&json!({ "targets": targets }))?;
        return Ok(Exit::Done);
    }
    for reach in &reaches {
        show(reach, &write, screen)?;
    }
    Ok(Exit::Done)
}

/// The target a person named.
pub fn target(acting: &Acting, named: &str) -> anyhow::Result<Name> {
    let estate = acting.runtime.estate();
    estate.targets.keys().find(|name| name.as_str() == named).cloned().ok_or_else(|| {
        let known: Vec<&str> = estate.targets.keys().map(Name::as_str).collect();
        usage(format!("there is no target {named}; there are {}", known.join(", ")))
    })
}

fn row(reach: &Reach, write: &dyn Fn(&StackId) -> String) -> Value {
    let Reach { target, kind, at, extent, coverage, theirs, unseen, unread } = reach;
    let (word, why) = match extent {
        Extent::Complete => ("complete", None),
        Extent::Partial(why) => ("partial", Some(why)),
        Extent::Unknown(why) => ("unknown", Some(why)),
    };
    let of_stack = |(address, stack): (&Address, &StackId)| json!({ "address": address, "stack": write(stack) });
    let loose = |(address, loose): (&Address, &Unmanaged)| {
        json!({
            "address": address,
            "by": loose.evidence.by,
            "grade": loose.evidence.grade,
            "changed_at": loose.evidence.changed_at,
            "managed_by": theirs.get(address),
            "wanted_by": loose.wanted.iter().map(write).collect::<Vec<_>>(),
        })
    };
    json!({
        "target": target, "kind": kind, "at": at, "extent": word, "why": why,
        "counts": {
            "managed": coverage.managed.len(), "unmanaged": coverage.unmanaged.len(), "ignored": coverage.ignored.len(),
            "missing": coverage.missing.len(), "unseen": unseen.len(),
        },
        "managed": coverage.managed.iter().map(of_stack).collect::<Vec<_>>(),
        "missing": coverage.missing.iter().map(of_stack).collect::<Vec<_>>(),
        "unmanaged": coverage.unmanaged.iter().map(loose).collect::<Vec<_>>(),
        "ignored": coverage.ignored.iter().map(|(address, why)| json!({ "address": address, "why": why })).collect::<Vec<_>>(),
        "unseen": unseen.iter().map(|(place, no)| json!({ "place": place, "code": no.code, "why": no.message })).collect::<Vec<_>>(),
        "unread": unread.iter().map(|(stack, why)| json!({ "stack": write(stack), "why": why })).collect::<Vec<_>>(),
    })
}

fn show(reach: &Reach, write: &dyn Fn(&StackId) -> String, screen: &Screen) -> anyhow::Result<()> {
    let coverage = &reach.coverage;
    if let Extent::Unknown(why) = &reach.extent {
        screen.line(format!("{}: unknown: {why}", reach.target))?;
        return Ok(());
    }
    let number = |many: usize| count(many as u64);
    let (managed, unmanaged) = (coverage.managed.len(), coverage.unmanaged.len());
    let partly = if reach.unseen.is_empty() { "" } else { ", of what can be seen" };
    screen.line(format!(
        "{}: {} managed, {} unmanaged, {} ignored{partly}",
        reach.target,
        number(managed),
        number(unmanaged),
        number(coverage.ignored.len())
    ))?;
    let stacks = tally(coverage.managed.values().map(write));
    for (stack, many) in &stacks {
        screen.line(format!("  {:<10} {stack}: {}", "managed", number(*many)))?;
    }
    let warning = |word: &str| screen.yellow(&format!("{word:<10}"));
    for (address, stack) in coverage.missing.iter().take(SHOWN) {
        screen.line(format!("  {} {address}, which {} made", warning("missing"), write(stack)))?;
    }
    for (address, loose) in coverage.unmanaged.iter().take(SHOWN) {
        screen.line(format!("  {:<10} {address}{}", "unmanaged", screen.dim(&about(reach, address, loose, write))))?;
    }
    if unmanaged > SHOWN {
        screen.line(format!("  … and {} more unmanaged; --output json lists all", number(unmanaged - SHOWN)))?;
    }
    for (why, many) in tally(coverage.ignored.values().cloned()) {
        screen.line(format!("  {:<10} {}: {why}", "ignored", number(many)))?;
    }
    for (word, denied) in [("denied", true), ("unseen", false)] {
        let places: Vec<_> = reach.unseen.iter().filter(|(_, no)| (no.code == Code::Denied) == denied).collect();
        let Some((_, first)) = places.first() else { continue };
        let named: Vec<&str> = places.iter().map(|(place, _)| place.as_str()).collect();
        screen.line(format!("  {} {}", warning(word), named.join(", ")))?;
        screen.line(format!("  {:<10} {}", "", screen.dim(&first.message)))?;
    }
    for (stack, why) in &reach.unread {
        screen.line(format!("  {} what {} desires: {why}", warning("unknown"), write(stack)))?;
    }
    Ok(())
}

/// What is known of something unmanaged, for people.
fn about(reach: &Reach, address: &Address, loose: &Unmanaged, write: &dyn Fn(&StackId) -> String) -> String {
    let mut words = Vec::new();
    words.extend(reach.theirs.get(address).cloned());
    let by = loose.evidence.by.as_ref().map(|by| format!("perhaps by {by}"));
    let changed = loose.evidence.changed_at.map(|at| format!("changed {}", when::clock(at, reach.at)));
    match (changed, by) {
        (Some(changed), Some(by)) => words.push(format!("{changed}, {by}")),
        (one, other) => words.extend(one.or(other)),
    }
    words.extend(loose.wanted.iter().map(|stack| format!("desired by {}", write(stack))));
    if words.is_empty() { String::new() } else { format!("  {}", words.join("; ")) }
}

fn tally(words: impl Iterator<Item = String>) -> BTreeMap<String, usize> {
    let mut tally = BTreeMap::new();
    words.for_each(|word| *tally.entry(word).or_default() += 1);
    tally
}
