//! `trued export DIR`: the record as static files (C2SP tlog-tiles) that any client of such logs verifies.

use std::path::PathBuf;

use serde_json::json;

use crate::commands::Session;
use crate::exit::Exit;
use crate::wire;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  trued export tiles
  trued export tiles && cp tiles/checkpoint /elsewhere")]
pub struct Args {
    /// Where to write checkpoint, key.pub and tile/
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

pub async fn run(args: Args, session: &Session<'_>) -> anyhow::Result<Exit> {
    let count = wire::ledger(&session.at.state()?)?.export(&args.folder)?;
    let screen = session.screen;
    match screen.is_json() {
        true => screen.document(&json!({ "folder": args.folder, "entries": count }))?,
        false => screen.line(format!("{count} entries written to {}", args.folder.display()))?,
    }
    Ok(Exit::Done)
}
