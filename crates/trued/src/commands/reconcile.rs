//! `trued reconcile`: asks the running `serve` to look now.

use serde_json::json;

use crate::commands::Session;
use crate::commands::apply::show_handed_over;
use crate::exit::{Exit, usage};
use crate::wire;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  trued reconcile
  trued reconcile prod/site")]
pub struct Args {
    /// Only this stack
    pub stack: Option<String>,
}

pub async fn run(args: Args, session: &Session<'_>) -> anyhow::Result<Exit> {
    let state = session.at.state()?;
    let stacks: Vec<String> = args.stack.into_iter().collect();
    let Some(answer) = wire::ask_serve(&state, "reconcile", json!({ "stacks": stacks })).await? else {
        return Err(usage("no `trued serve` runs on this state folder; start one, or use `trued apply`"));
    };
    let exit = show_handed_over(&answer, session)?;
    // That something waits for a person is no failure of looking.
    Ok(if exit == Exit::Remain { Exit::Done } else { exit })
}
