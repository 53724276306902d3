//! `trued completions SHELL`: a completion script.

use std::io;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::exit::Exit;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  trued completions bash > /etc/bash_completion.d/trued
  trued completions zsh > ~/.zfunc/_trued")]
pub struct Args {
    shell: Shell,
}

pub fn run(args: Args) -> anyhow::Result<Exit> {
    // Written to memory first: the generator panics when standard output is closed.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "trued", &mut script);
    io::Write::write_all(&mut io::stdout().lock(), &script)?;
    Ok(Exit::Done)
}
