//! What SQLite says when it fails, as refusals.

use rusqlite::{ErrorCode, ffi};
use trued_model::{Code, Refusal};

/// A failed call of SQLite as a refusal. Input and output errors are [`Code::Broken`]: the process must end.
pub(crate) fn refused(what: &str, error: rusqlite::Error) -> Refusal {
    let (code, extended) = match &error {
        rusqlite::Error::SqliteFailure(failure, _) => (Some(failure.code), failure.extended_code),
        _ => (None, 0),
    };
    let refusal = |code| Refusal::new(code, format!("{what}: {error}"));
    match code {
        // No room for the file that processes share is no room, and nothing was written.
        _ if extended == ffi::SQLITE_IOERR_SHMSIZE => full(what),
        Some(ErrorCode::DiskFull) => full(what),
        Some(ErrorCode::SystemIoFailure) => refusal(Code::Broken).help("look at the disk, then start again"),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            Refusal::new(Code::Unreachable, format!("{what}: other processes did not let go of the ledger in time"))
        }
        Some(ErrorCode::PermissionDenied | ErrorCode::ReadOnly | ErrorCode::CannotOpen) => refusal(Code::Denied),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            refusal(Code::Invalid).help("`trued verify` tells what is wrong; bring the file back from a backup")
        }
        _ => refusal(Code::Broken),
    }
}

fn full(what: &str) -> Refusal {
    Refusal::new(Code::Full, format!("{what}: the disk is full")).help("make room on this disk; nothing is lost, and it goes on by itself")
}
