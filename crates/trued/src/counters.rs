//! Writes the cost of this process where `TRUED_COUNTERS` says: at the end, and whenever SIGUSR1 asks.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use trued_runtime::Counters;

fn file() -> Option<PathBuf> {
    std::env::var_os("TRUED_COUNTERS").filter(|name| !name.is_empty()).map(PathBuf::from)
}

/// Overwrites the counters' file, if one is named; readers see the old text or the new, never half of it.
pub fn write(counters: &Counters) -> anyhow::Result<()> {
    let Some(file) = file() else { return Ok(()) };
    let mut fresh = OsString::from(&file);
    fresh.push(format!(".{}", std::process::id()));
    let fresh = PathBuf::from(fresh);
    let text = format!("{}\n", counters.report());
    fs::write(&fresh, text).and_then(|()| fs::rename(&fresh, &file)).with_context(|| format!("failed to write {}", file.display()))
}

/// Writes the counters whenever SIGUSR1 comes, as long as the process lives.
pub fn on_signal(counters: Arc<Counters>) -> anyhow::Result<()> {
    if file().is_none() {
        return Ok(());
    }
    let mut asked = signal(SignalKind::user_defined1())?;
    tokio::spawn(async move {
        while asked.recv().await.is_some() {
            if let Err(error) = write(&counters) {
                tracing::warn!("{error:#}");
            }
        }
    });
    Ok(())
}
