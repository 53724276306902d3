//! Finds the configuration and the state folder. Reads neither.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::exit::usage;

/// The operator's file, as it is called when nobody says otherwise.
pub const CONFIG: &str = "trued.yaml";
/// The state folder beside it.
pub const STATE: &str = ".trued";

/// What the command line and the environment say.
pub struct Asked {
    pub config: Option<PathBuf>,
    pub state: Option<PathBuf>,
}

impl Asked {
    /// The configuration file: as named, or `trued.yaml` found upward from here.
    pub fn config(&self) -> anyhow::Result<PathBuf> {
        self.config_if_any()?.ok_or_else(|| {
            usage(format!("no {CONFIG} here or in any folder above; name one with --config, or write one with `trued init`"))
        })
    }

    /// Like [`Asked::config`]; `None` when there is none to be found. A named one that is missing is an error.
    pub fn config_if_any(&self) -> anyhow::Result<Option<PathBuf>> {
        if let Some(named) = &self.config {
            let whole = absolute(named)?;
            if !whole.is_file() {
                return Err(usage(format!("there is no configuration file {}", named.display())));
            }
            return Ok(Some(whole));
        }
        let here = env::current_dir().context("failed to find the current folder")?;
        Ok(here.ancestors().map(|folder| folder.join(CONFIG)).find(|file| file.is_file()))
    }

    /// Like [`Asked::config`], for verbs that may go on without: a named file or record is enough, for a rollback works
    /// with the repository gone.
    pub fn config_to_act(&self) -> anyhow::Result<PathBuf> {
        match (&self.config, &self.state) {
            (Some(named), _) => absolute(named),
            (None, Some(state)) if state.is_dir() && self.config_if_any()?.is_none() => absolute(Path::new(CONFIG)),
            _ => self.config(),
        }
    }

    /// The state folder: as named, or `.trued` beside the configuration. It need not exist.
    pub fn state(&self) -> anyhow::Result<PathBuf> {
        match &self.state {
            Some(named) => absolute(named),
            None => Ok(beside(&self.config_to_act()?)),
        }
    }
}

/// The folder a file lies in.
pub fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn beside(config: &Path) -> PathBuf {
    folder_of(config).join(STATE)
}

fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("failed to find {}", path.display()))
}

/// A path without links in what exists of it.
pub fn canonical(path: &Path) -> PathBuf {
    for above in path.ancestors() {
        if let (Ok(real), Ok(rest)) = (above.canonicalize(), path.strip_prefix(above)) {
            return if rest.as_os_str().is_empty() { real } else { real.join(rest) };
        }
    }
    path.to_owned()
}

/// A file as people here would write it: relative where it lies below the current folder.
pub fn shown(file: &Path) -> String {
    let here = env::current_dir().ok();
    let below = here.as_deref().and_then(|here| file.strip_prefix(here).ok());
    below.unwrap_or(file).display().to_string()
}
