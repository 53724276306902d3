//! `trued schema`: the JSON Schema of both configuration files, composed with what every kind says of itself.

use trued_config::Which;

use crate::commands::Session;
use crate::exit::Exit;
use crate::wire;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  trued schema > trued.schema.json
  trued schema app > app.schema.json")]
pub struct Args {
    /// Of which file
    #[arg(default_value = "operator")]
    file: File,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum File {
    /// trued.yaml
    Operator,
    /// app.yaml
    App,
}

pub fn run(args: Args, session: &Session<'_>) -> anyhow::Result<Exit> {
    let which = match args.file {
        File::Operator => Which::Operator,
        File::App => Which::App,
    };
    session.screen.document(wire::kinds()?.schema(which))?;
    Ok(Exit::Done)
}
