//! `trued approve`: a person's yes to one plan digest.

use serde_json::json;

use crate::acting::{Acting, person};
use crate::commands::Session;
use crate::exit::Exit;
use crate::wire::Hand;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  trued approve sha256:6f1c0a33
  trued approve 6f1c0a33 --for 1h --reason \"ticket 42\"")]
pub struct Args {
    /// The digest that a plan or a hold shows; at least 8 digits of it
    pub digest: String,
    /// How long the yes is good
    #[arg(long = "for", value_name = "SPAN", default_value = "24h")]
    pub term: trued_model::Duration,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub reason: String,
}

pub async fn run(args: Args, session: &Session<'_>) -> anyhow::Result<Exit> {
    let acting = Acting::open(session, Hand::Records, "approve").await?;
    let aim = acting.aim(&[], None, false).await?;
    // A digest that only a plan of now gives may be approved too; what cannot be planned is looked for on record alone.
    let planned = acting.runtime.pass(&aim).await.ok();
    let said = acting.runtime.approve(&args.digest, args.term, &args.reason, &person(), planned.as_ref()).await?;
    acting.wake_serve().await;
    if session.screen.is_json() {
        session.screen.document(&json!({ "approved": said }))?;
    } else {
        for answer in &said {
            session.screen.line(format!("approved for {}, recorded as #{}", args.term, answer.index))?;
        }
    }
    Ok(Exit::Done)
}
