//! The readers of addresses and packs, as functions of bytes alone: for whoever tries them with what no operator and no server would
//! say. Nothing is asked here, and no process is started.

use std::path::PathBuf;

use trued_doors::Answer;

use super::pack::{Most, Pack};
use super::url::Address;
use super::{ssh, url};

/// Where an address leads.
pub enum Leads {
    /// To a folder of this machine.
    Folder(PathBuf),
    /// To a host over HTTP, as it is shown.
    Web(String),
    /// To a host by one `ssh`: how it is shown, and all words of the process.
    Ssh { shown: String, argv: Vec<String> },
}

/// Reads an address of a repository.
pub fn address(text: &str) -> Answer<Leads> {
    Ok(match url::parse(text)? {
        Address::Local(path) => Leads::Folder(path),
        Address::Web(url) => Leads::Web(format!("{url} {}", url.host())),
        Address::Ssh(url) => Leads::Ssh { shown: format!("{url} {}", url.host()), argv: ssh::arguments(&url, "KEY", "HOSTS") },
    })
}

/// Reads a pack that comes in steps of so many bytes, and may hold at most so many objects, bytes in one, and bytes in all. Gives
/// what stopped it, and what it still holds in memory.
pub fn pack(bytes: &[u8], step: usize, (objects, object, inflated): (u64, u64, u64)) -> (Option<String>, usize) {
    let mut pack = Pack::new(Most { objects, object, inflated }, Box::new(|id| id.as_slice() == [9; 20]));
    let seen = bytes.chunks(step.max(1)).try_for_each(|bytes| pack.see(bytes));
    (seen.err().map(|beyond| format!("{beyond:?}")), pack.held())
}
