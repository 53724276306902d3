//! `trued init`: a first configuration, something for it to keep true, and the state folder.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::json;
use trued_ledger::Mode;

use crate::commands::Session;
use crate::exit::{Exit, usage};
use crate::place::{CONFIG, STATE};
use crate::wire;

/// What stands in the folder that the example declares, where there is none yet.
const PAGE: &str = "<!doctype html>\n<title>Hello</title>\n<h1>Hello</h1>\n";

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  trued init
  trued init shop")]
pub struct Args {
    /// Where [default: here]
    folder: Option<PathBuf>,
}

pub fn run(args: Args, session: &Session<'_>) -> anyhow::Result<Exit> {
    let folder = args.folder.unwrap_or_else(|| PathBuf::from("."));
    let config = session.at.config.clone().unwrap_or_else(|| folder.join(CONFIG));
    let state = session.at.state.clone().unwrap_or_else(|| folder.join(STATE));
    fs::create_dir_all(&folder).with_context(|| format!("failed to make the folder {}", folder.display()))?;
    if !write_new(&config, trued_config::example())? {
        return Err(usage(format!("{} is there already; `trued check` reads it", config.display())));
    }
    let site = folder.join("site");
    let sample = !site.exists();
    if sample {
        fs::create_dir(&site).with_context(|| format!("failed to make the folder {}", site.display()))?;
        write_new(&site.join("index.html"), PAGE)?;
    }
    wire::make_state(&state, Mode::Create)?;
    let screen = session.screen;
    if screen.is_json() {
        screen.document(&json!({ "config": config, "state": state, "sample": sample }))?;
        return Ok(Exit::Done);
    }
    screen.line(format!("wrote {}; the record will be in {}", config.display(), state.display()))?;
    screen.line("next: `trued check`, `trued plan`, `trued apply`")?;
    Ok(Exit::Done)
}

/// Writes a file that is not there yet; says whether it did.
fn write_new(path: &Path, text: &str) -> anyhow::Result<bool> {
    let written = fs::OpenOptions::new().write(true).create_new(true).open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error).with_context(|| format!("failed to write {}", path.display())),
    }
}
