//! `trued demo`: one minute on this machine. Runs this very program with real commands on real folders, and shows each
//! with its prompt. What it says of numbers it reads from counters and the record.

mod acts;
mod stage;

use crate::commands::Session;
use crate::exit::Exit;
use crate::screen::Output;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  trued demo
  trued demo --keep")]
pub struct Args {
    /// Leave the folder there at the end
    #[arg(long)]
    pub keep: bool,
    /// How long to pause for reading, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 100, hide = true)]
    pub pace: u32,
}

pub async fn run(args: Args, session: &Session<'_>) -> anyhow::Result<Exit> {
    if session.screen.output() == Output::Json {
        return Err(crate::exit::usage("the demo is for people; it has no JSON form"));
    }
    let mut stage = stage::Stage::set(session.screen, args.pace)?;
    let played = acts::play(&mut stage);
    stage.strike(args.keep && played.is_ok())?;
    played?;
    Ok(Exit::Done)
}
