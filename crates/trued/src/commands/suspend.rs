//! `trued suspend` and `trued resume`: a person stops a stack, and lets it go on.

use serde_json::json;
use trued_runtime::AnswerWord;

use crate::acting::{Acting, person};
use crate::commands::Session;
use crate::exit::Exit;
use crate::wire::Hand;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  trued suspend prod/site --reason \"migration until noon\"")]
pub struct SuspendArgs {
    pub stack: String,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub reason: String,
}

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  trued resume prod/site
  trued resume prod/site --reason \"migration is done\"")]
pub struct ResumeArgs {
    pub stack: String,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub reason: String,
}

pub async fn suspend(args: SuspendArgs, session: &Session<'_>) -> anyhow::Result<Exit> {
    let acting = Acting::open(session, Hand::Records, "suspend").await?;
    let stack = acting.on_record(&args.stack).await?;
    let said = acting.runtime.suspend(&stack, &args.reason, &person()).await?;
    say(&acting, session, &format!("{} is suspended", args.stack), &said).await
}

pub async fn resume(args: ResumeArgs, session: &Session<'_>) -> anyhow::Result<Exit> {
    let acting = Acting::open(session, Hand::Records, "resume").await?;
    let stack = acting.on_record(&args.stack).await?;
    let said = acting.runtime.resume(&stack, &args.reason, &person()).await?;
    say(&acting, session, &format!("{} goes on", args.stack), &said).await
}

async fn say(acting: &Acting, session: &Session<'_>, sentence: &str, said: &AnswerWord) -> anyhow::Result<Exit> {
    acting.wake_serve().await;
    if session.screen.is_json() {
        session.screen.document(&json!({ "recorded": said }))?;
    } else {
        session.screen.line(match said.already {
            true => format!("{sentence} already, by #{}", said.index),
            false => format!("{sentence}, recorded as #{}", said.index),
        })?;
    }
    Ok(Exit::Done)
}
