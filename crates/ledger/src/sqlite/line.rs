//! Lines to the file: how one is opened, and how it is read from in one state and written to in one step.

use std::path::Path;
use std::time::Duration as Span;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};
use trued_doors::Answer;
use trued_model::{Code, Refusal};

use super::refused::refused;
use super::schema;

/// How long a process waits for others that write before it gives up.
pub(super) const PATIENCE: Span = Span::from_secs(30);

/// How long it sleeps between two tries, where SQLite does not wait by itself.
const PAUSE: Span = Span::from_millis(5);

/// The file as it is at the first reading, until this ends. Its statements are compiled once for a line, unlike those of
/// [`Transaction`].
pub(super) struct Snapshot<'line>(pub &'line Connection);

impl Snapshot<'_> {
    pub fn of(line: &Connection) -> rusqlite::Result<Snapshot<'_>> {
        line.prepare_cached("BEGIN")?.execute([]).map(|_| Snapshot(line))
    }
}

impl Drop for Snapshot<'_> {
    fn drop(&mut self) {
        // Nothing was written; where it cannot be ended, the next one cannot begin and says so.
        let _ = self.0.prepare_cached("ROLLBACK").and_then(|mut end| end.execute([]));
    }
}

/// Has closing a line not tidy the write-ahead log away, which would sync it once more.
pub(super) fn leave_as_it_is(file: &Connection) {
    // Where it cannot be set, the process ends as it always did.
    let _ = file.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
}

pub(super) fn transact<T>(file: &mut Connection, what: &str, work: impl FnOnce(&Transaction<'_>) -> Answer<T>) -> Answer<T> {
    let step = begin(file, what)?;
    let done = work(&step)?;
    step.commit().map_err(|error| refused(what, error))?;
    Ok(done)
}

/// Begins a write: nobody else writes until it ends, and the tables are those that this program knows.
pub(super) fn begin<'file>(file: &'file mut Connection, what: &str) -> Answer<Transaction<'file>> {
    let step = file.transaction_with_behavior(TransactionBehavior::Immediate).map_err(|error| refused(what, error))?;
    schema::writable(&step)?;
    Ok(step)
}

pub(super) fn connect(path: &Path) -> Answer<Connection> {
    // A read-write line even for reading: the last one to close tidies the write-ahead log away. SQLite falls back to
    // reading where writing is not allowed.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let opened = Connection::open_with_flags(path, flags).and_then(|file| {
        file.busy_timeout(PATIENCE)?;
        // Statements are compiled once: without it a `LIMIT ?` with another number would have them compiled again.
        file.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        file.set_prepared_statement_cache_capacity(64);
        Ok(file)
    });
    opened.map_err(|error| refused(&format!("open {}", path.display()), error))
}

pub(super) fn connect_to_read(path: &Path) -> Answer<Connection> {
    let file = connect(path)?;
    file.pragma_update(None, "query_only", true).map_err(|error| refused("open the ledger", error))?;
    schema::readable(&file)?;
    Ok(file)
}

/// Has the file written through a write-ahead log, from its first opening on.
pub(super) fn write_ahead(file: &Connection) -> Answer<()> {
    let mut waited = Span::ZERO;
    let mode: String = loop {
        // To its end: the mode is told in a row before the step is committed, and the commit may fail.
        let mode = file.prepare("PRAGMA journal_mode = WAL").and_then(|mut step| step.query_map([], |row| row.get(0))?.last().transpose());
        let mode = mode.and_then(|mode| mode.ok_or(rusqlite::Error::QueryReturnedNoRows));
        match mode {
            // This one step SQLite does not wait for by itself: others may be opening the new file as well.
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && waited < PATIENCE => {
                std::thread::sleep(PAUSE);
                waited += PAUSE;
            }
            mode => break mode.map_err(|error| refused("open the ledger", error))?,
        }
    };
    if mode == "wal" {
        return Ok(());
    }
    let message = format!("open the ledger: no write-ahead log on this file system (journal mode {mode})");
    Err(Refusal::new(Code::Unsupported, message).help("keep the state folder on a local disk"))
}

/// Whether a file has tables; one that has none is what a writer leaves that is killed at its very first steps.
pub(crate) fn is_begun(path: &Path) -> Answer<bool> {
    schema::is_begun(&connect(path)?)
}
