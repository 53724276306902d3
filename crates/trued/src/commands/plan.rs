//! `trued plan`: shows what would change and why; writes nothing but `cache/`.

use std::io::Read;

use crate::acting::{Acting, view};
use crate::commands::Session;
use crate::exit::Exit;
use crate::wire::Hand;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  trued plan
  trued plan prod/site
  trued plan --ref feature --output json")]
pub struct Args {
    /// Only these stacks
    pub stacks: Vec<String>,
    /// Plan this branch, tag or commit instead of the newest
    #[arg(long, alias = "ref", value_name = "REVISION")]
    pub revision: Option<String>,
}

pub async fn run(args: Args, session: &Session<'_>) -> anyhow::Result<Exit> {
    let acting = Acting::open(session, Hand::None, "plan").await?;
    let aim = acting.aim(&args.stacks, args.revision.as_deref(), false).await?;
    let report = acting.runtime.pass(&aim).await?;
    if session.screen.is_json() {
        session.screen.document(&view::plans(&report))?;
    } else {
        view::show_plans(&report, session.screen)?;
    }
    Ok(view::status(&report, true))
}

/// Desired against live, for `trued diff` without instants.
pub async fn diff(session: &Session<'_>) -> anyhow::Result<Exit> {
    let acting = Acting::open(session, Hand::None, "diff").await?;
    let aim = acting.aim(&[], None, false).await?;
    let report = acting.runtime.pass(&aim).await?;
    if session.screen.is_json() {
        session.screen.document(&view::plans(&report))?;
        return Ok(Exit::Done);
    }
    for stack in &report.stacks {
        let Some((plan, _)) = &stack.plan else { continue };
        let shown = acting.runtime.show(&stack.stack, &aim).await?.ok();
        for change in &plan.changes {
            if change.before == change.after {
                continue;
            }
            let sealed = change.content.is_some_and(|content| content.sealed);
            let live = if change.before.is_some() { acting.runtime.found_at(&stack.stack, &change.address, sealed).await? } else { None };
            if sealed || live.is_some_and(|live| live.sealed) {
                session.screen.line(format!("{} changed (sealed)", change.address))?;
                continue;
            }
            let live = match live {
                Some(live) => acting.opened.doors.blobs.get(&live.digest)?,
                None => Vec::new(),
            };
            let mut desired = Vec::new();
            if let (Some(content), Some(shown)) = (&change.content, &shown) {
                shown.contents.open(content)?.read_to_end(&mut desired)?;
            }
            session.screen.line(unified(&change.address, live, desired))?;
        }
    }
    Ok(Exit::Done)
}

/// What is there against what is wanted, as a unified diff.
fn unified(address: &trued_model::Address, live: Vec<u8>, desired: Vec<u8>) -> String {
    match (String::from_utf8(live), String::from_utf8(desired)) {
        (Ok(live), Ok(desired)) => {
            let diff = similar::TextDiff::from_lines(&live, &desired);
            diff.unified_diff().header(&format!("live/{address}"), &format!("desired/{address}")).to_string()
        }
        _ => format!("{address} differs (not text)"),
    }
}
