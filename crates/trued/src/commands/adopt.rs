//! `trued adopt`: takes what is on the target as right, and prints the patch.

use crate::commands::Session;
use crate::exit::Exit;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  trued adopt #17 > hotfix.patch")]
pub struct Args {
    /// The drift that `incidents` shows
    #[arg(value_name = "#N")]
    pub item: String,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub reason: String,
}

pub async fn run(args: Args, session: &Session<'_>) -> anyhow::Result<Exit> {
    super::answer::answer(session, &args.item, "adopt", None, &args.reason).await
}
