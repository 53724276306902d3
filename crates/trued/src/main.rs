//! The program: reads the command line, runs one verb, ends with its status. Decides nothing else.

mod acting;
mod arenas;
mod cli;
mod commands;
mod configured;
mod counters;
mod exit;
mod gather;
mod logs;
mod means;
mod place;
mod placed;
mod record;
mod screen;
mod tuning;
mod when;
mod wire;
mod written;

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use trued_runtime::Counters;

use crate::exit::Exit;
use crate::screen::Screen;

fn main() -> ExitCode {
    if let Some(ended) = wire::stage() {
        return ended;
    }
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(said) => {
            // Help and version are results; the rest is about wrong input.
            let status = if said.use_stderr() { Exit::Input } else { Exit::Done };
            let _ = said.print();
            return status.into();
        }
    };
    if !matches!(cli.verb, cli::Verb::Verify(_)) {
        arenas::share();
    }
    let screen = Screen::new(cli.output);
    logs::to_standard_error(matches!(cli.verb, cli::Verb::Serve(_)));
    means::say_what_breaks();
    keep_memory_private();
    let counters = Arc::new(Counters::default());
    let status = run(cli, &screen, counters.clone()).unwrap_or_else(|error| exit::report(&screen, &error));
    let written = counters::write(&counters);
    match written {
        Ok(()) => status.into(),
        Err(error) => exit::report(&screen, &error).into(),
    }
}

/// Secrets pass through this memory: no core dump holds it, and no other process of this user attaches to it. Programs that
/// are started from here are as they were.
fn keep_memory_private() {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!("this process could be dumped with the secrets it reads: {error}");
    }
}

fn run(cli: cli::Cli, screen: &Screen, counters: Arc<Counters>) -> anyhow::Result<Exit> {
    let threads = tuning::threads()?;
    let mut builder = match cli.verb.is_long_lived() {
        true => tokio::runtime::Builder::new_multi_thread(),
        false => tokio::runtime::Builder::new_current_thread(),
    };
    builder.worker_threads(means::workers(if cli.verb.is_long_lived() { threads } else { Some(1) })?);
    if let Some(threads) = threads {
        builder.max_blocking_threads(threads);
    }
    let runtime = builder.enable_all().build()?;
    let status = means::unbroken(|| {
        runtime.block_on(async {
            counters::on_signal(counters.clone())?;
            let at = place::Asked { config: cli.config, state: cli.state };
            commands::run(cli.verb, commands::Session { at, screen, counters }).await
        })
    });
    // What still runs in the background reads only; nothing is waited for.
    runtime.shutdown_background();
    status
}
