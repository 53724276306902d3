//! Settings from the environment for tests and for unusual machines: how many threads, how long a lease lasts, how often a
//! render is repeated.
//! Nothing that decides what is done to a target.

use std::ffi::OsString;

use trued_model::Duration;

use crate::exit::usage;

/// The shortest lease: renewed every third of it, it must outlast a busy machine.
const SHORTEST: Duration = Duration(500);

/// The shortest pause between repeated renders.
const MOST_OFTEN: Duration = Duration(100);

/// `TRUED_THREADS`: so many threads to work on, and as many again to wait for disks. `None`: as many as suit the machine.
pub fn threads() -> anyhow::Result<Option<usize>> {
    let Some(text) = read("TRUED_THREADS") else { return Ok(None) };
    let count = text.to_str().and_then(|text| text.parse().ok()).filter(|count| (1..=1024).contains(count));
    count.map(Some).ok_or_else(|| usage("TRUED_THREADS is no number from 1 to 1024"))
}

/// `TRUED_LEASE`: how long a lease lasts without renewal, such as `2s`. `None`: as long as it usually does.
pub fn lease() -> anyhow::Result<Option<Duration>> {
    let Some(text) = read("TRUED_LEASE") else { return Ok(None) };
    let term = text.to_str().and_then(|text| text.parse().ok()).filter(|term| (SHORTEST..=Duration::from_secs(3600)).contains(term));
    term.map(Some).ok_or_else(|| usage("TRUED_LEASE is no span from 500ms to 1h"))
}

/// `TRUED_REPEAT`: how often `serve` repeats a render to see whether it gives the same, such as `10m`. `None`: as it usually does.
pub fn repeat() -> anyhow::Result<Option<Duration>> {
    let Some(text) = read("TRUED_REPEAT") else { return Ok(None) };
    let span = text.to_str().and_then(|text| text.parse().ok()).filter(|span| *span >= MOST_OFTEN);
    span.map(Some).ok_or_else(|| usage("TRUED_REPEAT is no span from 100ms on"))
}

fn read(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|text| !text.is_empty())
}
