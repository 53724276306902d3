//! `trued rollback`: goes back to a verified release, from stored bytes.

use serde_json::json;
use trued_runtime::Aim;

use crate::acting::{Acting, person, view};
use crate::commands::Session;
use crate::exit::Exit;
use crate::wire::{self, Hand};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  trued rollback prod/site
  trued rollback prod/site #12 --reason \"checkout is broken\"")]
pub struct Args {
    pub stack: String,
    /// The release: its verdict's entry, its revision, or its digest [default: the newest that differs]
    pub to: Option<String>,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub reason: String,
}

pub async fn run(args: Args, session: &Session<'_>) -> anyhow::Result<Exit> {
    let acting = Acting::open(session, Hand::Writes, "rollback").await?;
    let stack = acting.on_record(&args.stack).await?;
    let to = args.to.as_deref();
    let said = acting.runtime.roll_back(&stack, to, &args.reason, &person()).await?;
    if !session.screen.is_json() {
        session.screen.line(format!("{} goes back, recorded as #{}", args.stack, said.index))?;
    }
    let served = wire::ask_serve(&acting.opened.state, "apply", json!({ "stacks": [args.stack], "revision": null })).await?;
    if let Some(answer) = served {
        if session.screen.is_json() {
            session.screen.document(&json!({ "recorded": said, "applied": answer.body }))?;
        } else {
            session.screen.line(&answer.message)?;
        }
        return Ok(if answer.ok { Exit::Remain } else { Exit::Failed });
    }
    let aim = Aim { want: trued_model::Want::WorkTree, stacks: vec![stack], writes: true, look: true, waits: true };
    let report = acting.runtime.pass(&aim).await;
    acting.runtime.release().await?;
    let report = report?;
    if session.screen.is_json() {
        session.screen.document(&json!({ "recorded": said, "applied": view::applied(&report) }))?;
    } else {
        view::show_applied(&report, session.screen)?;
    }
    // It works with source and configuration gone: what is wrong there is said, and is not this verb's failure.
    let failed = report.stacks.is_empty() || report.stacks.iter().any(trued_runtime::StackReport::failed);
    Ok(if failed { Exit::Failed } else { Exit::Remain })
}
