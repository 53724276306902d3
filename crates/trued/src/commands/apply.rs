//! `trued apply`: one wake of what `serve` runs.

use serde_json::json;
use trued_runtime::Aim;

use crate::acting::{Acting, view};
use crate::commands::Session;
use crate::exit::Exit;
use crate::wire::{self, Hand};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  trued apply
  trued apply prod/site
  trued apply --no-wait
  trued apply --revision v1.4")]
pub struct Args {
    /// Only these stacks
    pub stacks: Vec<String>,
    /// Apply this branch, tag or commit instead of the newest
    #[arg(long, alias = "ref", value_name = "REVISION")]
    pub revision: Option<String>,
    /// Return when all is written, without waiting until it is ready
    #[arg(long)]
    pub no_wait: bool,
}

pub async fn run(args: Args, session: &Session<'_>) -> anyhow::Result<Exit> {
    let state = session.at.state()?;
    if let Some(exit) = handed_over(&args, session, &state).await? {
        return Ok(exit);
    }
    let acting = Acting::open(session, Hand::Writes, "apply").await?;
    let aim = Aim { waits: !args.no_wait, ..acting.aim(&args.stacks, args.revision.as_deref(), true).await? };
    let report = acting.runtime.pass(&aim).await;
    acting.runtime.release().await?;
    let report = report?;
    if session.screen.is_json() {
        session.screen.document(&view::applied(&report))?;
    } else {
        view::show_applied(&report, session.screen)?;
    }
    Ok(view::status(&report, false))
}

/// A running `serve` holds the leases: an apply of what it follows is handed to it, any other is refused.
async fn handed_over(args: &Args, session: &Session<'_>, state: &std::path::Path) -> anyhow::Result<Option<Exit>> {
    match wire::serving(state).await? {
        wire::Serving::Answers => {}
        wire::Serving::Nobody => return Ok(None),
        // What it still holds is refused below, stack by stack.
        wire::Serving::Silent => {
            session.screen.say("the serve on this state folder does not answer; going on without it");
            return Ok(None);
        }
    }
    let quiet = Acting::open(session, Hand::None, "apply").await?;
    quiet.runtime.look_up(&quiet.aim(&[], args.revision.as_deref(), false).await?).await?;
    let asked = json!({ "stacks": args.stacks, "revisions": quiet.runtime.revisions(), "waits": !args.no_wait });
    let Some(answer) = wire::ask_serve(state, "apply", asked).await? else { return Ok(None) };
    show_handed_over(&answer, session).map(Some)
}

/// Shows what a `serve` did with a pass that it was asked for, just as whoever asked would have.
pub fn show_handed_over(answer: &wire::Response, session: &Session<'_>) -> anyhow::Result<Exit> {
    anyhow::ensure!(answer.ok, "{}", answer.message);
    let (mut body, mut status) = (answer.body.clone(), None);
    if let Some(body) = body.as_object_mut() {
        status = body.remove("status").and_then(|status| status.as_u64());
    }
    if session.screen.is_json() {
        session.screen.document(&body)?;
    } else {
        answer.message.lines().try_for_each(|line| session.screen.line(line))?;
        answer.remarks.iter().for_each(|line| session.screen.say(line));
    }
    Ok(match status {
        Some(0) | None => Exit::Done,
        Some(1) => Exit::Failed,
        Some(2) => Exit::Input,
        Some(_) => Exit::Remain,
    })
}
