//! `trued verify`: proves the record from its stored bytes, and against a checkpoint kept elsewhere.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use serde_json::json;
use trued_engine::history::{count, things};
use trued_ledger::{Verification, VerifyOptions};

use crate::commands::Session;
use crate::exit::Exit;
use crate::wire;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  trued verify
  trued verify --deep
  trued verify --against /elsewhere/checkpoint

Ends with status 1 when anything is wrong, and names the first entry that is.")]
pub struct Args {
    /// A checkpoint that was kept elsewhere: the record must extend it
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// Read every blob that an entry names, too
    #[arg(long)]
    deep: bool,
    /// Take the record as it is for the true one, although a newer one was seen here: it comes from a backup
    #[arg(long)]
    accept_backup: bool,
}

pub async fn run(args: Args, session: &Session<'_>) -> anyhow::Result<Exit> {
    let read = |file: &PathBuf| fs::read_to_string(file).with_context(|| format!("failed to read {}", file.display()));
    let options =
        VerifyOptions { deep: args.deep, against: args.against.as_ref().map(read).transpose()?, accept_backup: args.accept_backup };
    let found = wire::ledger(&session.at.state()?)?.verify(&options)?;
    let screen = session.screen;
    if args.accept_backup && matches!(found, Verification::Verified { .. }) {
        wire::accept_backup(&session.at.state()?)?;
        screen.say("the record is taken as it is");
    }
    if screen.is_json() {
        screen.document(&match &found {
            Verification::Verified { entries, checkpoints, remarks } => {
                json!({ "verified": true, "entries": entries, "checkpoints": checkpoints, "remarks": remarks })
            }
            Verification::Broken { index, what } => json!({ "verified": false, "index": index, "what": what }),
        })?;
    }
    match found {
        Verification::Verified { entries, checkpoints, remarks } => {
            if !screen.is_json() {
                for remark in remarks {
                    screen.line(format!("{}: {remark}", screen.yellow("remark")))?;
                }
                let against = if args.against.is_some() { ", and they extend the one kept elsewhere" } else { "" };
                let proven = {
                    let entries = if entries == 1 { "1 entry".to_owned() } else { format!("{} entries", count(entries)) };
                    format!("{entries} agree with {}{against}", things(checkpoints, "signed checkpoint"))
                };
                screen.line(format!("{}: {proven}", screen.green("proven")))?;
            }
            Ok(Exit::Done)
        }
        Verification::Broken { what, .. } => {
            if !screen.is_json() {
                screen.line(format!("{}: {what}", screen.red("broken")))?;
            }
            Ok(Exit::Failed)
        }
    }
}
