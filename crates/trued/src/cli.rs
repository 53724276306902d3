//! The command line: every verb with its words, help and examples. Parses; does nothing.

use std::path::PathBuf;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Parser, Subcommand};

use crate::commands;
use crate::screen::Output;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default())
    .placeholder(AnsiColor::Cyan.on_default());

const AFTER: &str = "\
Exit status:
  0  done, nothing left to do
  1  failed
  2  the input is wrong: findings, usage
  3  changes or holds remain (plan, apply, rollback, status, incidents)
  Where several hold, 1 comes before 2 before 3. Verbs that answer questions give 0 when they answered, \"unknown\"
  included; verify gives 0 or 1.

TRUED_COUNTERS=FILE writes what the run cost (renders, fetches, target_reads, target_writes, ledger_rows) as JSON, at
the end and whenever SIGUSR1 comes.";

/// Keeps systems true to what their repository declares, and a provable record of what ran, when, and why.
#[derive(Parser)]
#[command(name = "trued", version, styles = STYLES, after_long_help = AFTER, max_term_width = 110, disable_help_subcommand = true)]
pub struct Cli {
    /// The operator's file [default: trued.yaml here or in a folder above]
    #[arg(long, global = true, value_name = "FILE", env = "TRUED_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,
    /// The state folder [default: .trued beside the configuration]
    #[arg(long, global = true, value_name = "DIR", env = "TRUED_STATE", hide_env_values = true)]
    pub state: Option<PathBuf>,
    /// Text for people, or JSON for machines
    #[arg(long, global = true, value_name = "FORM", default_value = "text")]
    pub output: Output,
    #[command(subcommand)]
    pub verb: Verb,
}

/// What the program can be told.
#[derive(Subcommand)]
#[command(next_help_heading = "Options")]
pub enum Verb {
    /// Write a first trued.yaml and the state folder
    Init(commands::init::Args),
    /// Check the configuration; touches nothing
    Check(commands::check::Args),
    /// Show or write out exactly what would be desired
    Render(commands::render::Args),
    /// Print the JSON Schema of the configuration files
    Schema(commands::schema::Args),
    /// Show the resolved configuration, with the origin of each value
    Config(commands::config::Args),
    /// Show what would change, and why; writes nothing
    Plan(commands::plan::Args),
    /// Bring stacks in line with the source, once
    Apply(commands::apply::Args),
    /// Keep stacks true until told to stop
    Serve(commands::serve::Args),
    /// Ask sources and targets now, through the running `serve`
    Reconcile(commands::reconcile::Args),
    /// Show how each stack stands, as of the record
    Status(commands::status::Args),
    /// Show desired, observed and drift of everything, for machines
    State(commands::state::Args),
    /// Show how far this reaches: what on each target is managed, what is not, what is ignored
    Coverage(commands::coverage::Args),
    /// Write what nobody manages into the working tree, as files that change nothing
    Import(commands::import::Args),
    /// List what happened
    Log(commands::log::Args),
    /// Show one entry and the bytes it names
    Show(commands::show::Args),
    /// Show what was on the targets at an instant
    At(commands::at::Args),
    /// Compare two instants, or two environments
    Diff(commands::diff::Args),
    /// Tell why something is as it is
    Why(commands::why::WhyArgs),
    /// Tell who had a hand in it, and how that is known
    Who(commands::why::WhoArgs),
    /// Prove the record from its stored bytes
    Verify(commands::verify::Args),
    /// Write the record as static files that any tlog client verifies
    Export(commands::export::Args),
    /// List what waits for people
    Incidents(commands::incidents::Args),
    /// Say yes to one plan digest
    Approve(commands::approve::Args),
    /// Answer an incident, a drift or a hold
    Answer(commands::answer::Args),
    /// Take what is on the target as right, and print the patch for the repository
    Adopt(commands::adopt::Args),
    /// Stop a stack
    Suspend(commands::suspend::SuspendArgs),
    /// Let a stack go on
    Resume(commands::suspend::ResumeArgs),
    /// Go back to a verified release, from stored bytes
    Rollback(commands::rollback::Args),
    /// List the data keys that seal secrets, or rotate them; shows no key
    Keys(commands::keys::Args),
    /// Check this machine and the state folder, and say what to do
    Doctor(commands::doctor::Args),
    /// Print a completion script for a shell
    Completions(commands::completions::Args),
    /// Show in a minute what this is about, on this machine only
    Demo(commands::demo::Args),
}

impl Verb {
    /// Whether work goes on beside waiting, on more than one thread.
    pub fn is_long_lived(&self) -> bool {
        matches!(
            self,
            Verb::Serve(_) | Verb::Apply(_) | Verb::Plan(_) | Verb::Render(_) | Verb::Rollback(_) | Verb::Coverage(_) | Verb::Import(_)
        )
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound_and_every_verb_has_examples() {
        let command = Cli::command();
        command.clone().debug_assert();
        for verb in command.get_subcommands() {
            let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains(&format!("trued {}", verb.get_name())), "{} has no example", verb.get_name());
        }
    }
}
