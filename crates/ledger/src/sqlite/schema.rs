//! The tables, and how a file comes to have them. The record is `entries`, `checkpoints` and `meta`; `leases` and
//! `notes` stand beside it; all other tables follow from `entries` and can be made again.

use rusqlite::{Connection, Transaction, TransactionBehavior};
use trued_doors::Answer;
use trued_model::{Code, Refusal};

use super::index;
use super::refused;

/// What the record consists of. `meta`: `origin` and `key`, the verifier key, both fixed by the first append.
const RECORD: &str = "
    CREATE TABLE meta(name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE entries(idx INTEGER PRIMARY KEY, leaf BLOB NOT NULL) STRICT;
    CREATE TABLE checkpoints(size INTEGER PRIMARY KEY, note TEXT NOT NULL) STRICT;
    CREATE TABLE leases(stack TEXT PRIMARY KEY, epoch INTEGER NOT NULL, pid INTEGER, started INTEGER, boot TEXT, verb TEXT,
        until INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE notes(key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;";

/// One step from a version of the tables to the next.
pub(super) type Step = fn(&Transaction<'_>) -> rusqlite::Result<()>;

/// Step `n` makes version `n + 1`. A step that was released is never changed; a new one is added.
pub(super) const STEPS: &[Step] = &[|file| file.execute_batch(RECORD), index::make];

/// `TRUE`, so that `file` and people tell what this database is.
const APPLICATION: i32 = 0x5452_5545;

/// Brings a file up to the newest version, in one transaction: killed anywhere, it is as before and can be tried again.
pub(super) fn migrate(file: &mut Connection, steps: &[Step]) -> Answer<()> {
    if current(file, steps.len())? {
        return Ok(());
    }
    let failed = |error| refused("bring the ledger up to date", error);
    let step = file.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    // Another process may have been faster: what counts is the version under the lock.
    let version = version(&step)?;
    for make in steps.iter().skip(version) {
        make(&step).map_err(failed)?;
    }
    if version < steps.len() {
        step.pragma_update(None, "application_id", APPLICATION).map_err(failed)?;
        step.pragma_update(None, "user_version", i32::try_from(steps.len()).expect("steps are few")).map_err(failed)?;
    }
    step.commit().map_err(failed)
}

/// Whether the file is of the version that this program writes. A newer one is refused.
pub(super) fn current(file: &Connection, ours: usize) -> Answer<bool> {
    let theirs = version(file)?;
    if theirs <= ours {
        return Ok(theirs == ours);
    }
    let message = format!("open the ledger: it has version {theirs}, and this program knows versions up to {ours}");
    Err(Refusal::new(Code::Unsupported, message).help("use the newer program that wrote it"))
}

/// Refuses to write to a file that a newer program brought up to date since it was opened. Under the lock of a write nobody does so.
pub(super) fn writable(file: &Connection) -> Answer<()> {
    let theirs = file.prepare_cached("PRAGMA user_version").and_then(|mut asked| asked.query_row([], |row| row.get::<_, i64>(0)));
    let theirs = theirs.map_err(|error| refused("write to the ledger", error))?;
    let ours = STEPS.len();
    if usize::try_from(theirs).is_ok_and(|theirs| theirs <= ours) {
        return Ok(());
    }
    let message = format!("write to the ledger: it has version {theirs} by now, and this program knows versions up to {ours}");
    Err(Refusal::new(Code::Unsupported, message).help("start the newer program that brought it up to date; this one writes nothing more"))
}

/// Refuses to read a file of an older version, which only a writer may bring up to date.
pub(super) fn readable(file: &Connection) -> Answer<()> {
    let ours = STEPS.len();
    if current(file, ours)? {
        return Ok(());
    }
    let message = format!("read the ledger: it has version {}, and this program reads version {ours}", version(file)?);
    Err(Refusal::new(Code::Unsupported, message).help("a verb that writes, such as apply or serve, brings it up to date"))
}

/// Whether a file is of any version yet. One with tables of somebody else's is [`Code::Invalid`] for whoever reads it.
pub(super) fn is_begun(file: &Connection) -> Answer<bool> {
    let tables = || file.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get::<_, i64>(0));
    Ok(version(file)? > 0 || tables().map_err(|error| refused("open the ledger", error))? > 0)
}

fn version(file: &Connection) -> Answer<usize> {
    let version = file.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0));
    let version = version.map_err(|error| refused("open the ledger", error))?;
    usize::try_from(version).map_err(|_| Refusal::new(Code::Invalid, format!("open the ledger: version {version} is none")))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const PLACE: &str = "TRUED_TEST_MIGRATION";
    const TEST: &str = "sqlite::schema::tests::fault_72_a_migration_killed_is_as_if_never_begun";

    fn third(file: &Transaction<'_>) -> rusqlite::Result<()> {
        file.execute_batch("ALTER TABLE notes ADD COLUMN more TEXT")
    }

    fn killed(file: &Transaction<'_>) -> rusqlite::Result<()> {
        third(file)?;
        std::process::abort()
    }

    fn with(last: Step) -> Vec<Step> {
        STEPS.iter().copied().chain([last]).collect()
    }

    #[test]
    fn fault_72_a_migration_killed_is_as_if_never_begun() {
        if let Some(place) = std::env::var_os(PLACE) {
            let mut file = Connection::open(place).expect("a file");
            migrate(&mut file, &with(killed)).expect("never comes back");
        }
        let folder = tempfile::TempDir::new().expect("a folder");
        let place = folder.path().join("ledger.sqlite");
        let mut file = Connection::open(&place).expect("a file");
        file.pragma_update(None, "journal_mode", "WAL").expect("a write-ahead log");
        migrate(&mut file, STEPS).expect("today's tables");
        file.execute("INSERT INTO notes VALUES('a', x'00')", []).expect("a note");

        let program = std::env::current_exe().expect("this test");
        let child = Command::new(program).args(["--exact", TEST]).env(PLACE, &place).output().expect("this test again");
        assert!(!child.status.success());
        assert!(current(&file, STEPS.len()).expect("a version"), "still the version of before");
        assert!(file.execute("UPDATE notes SET more = 'b'", []).is_err(), "and its tables");

        migrate(&mut file, &with(third)).expect("tried again");
        file.execute("UPDATE notes SET more = 'b' WHERE key = 'a'", []).expect("the newer tables");
        assert_eq!(current(&file, STEPS.len()).expect_err("newer than these steps").code, Code::Unsupported);
        migrate(&mut file, &with(killed)).expect("nothing is left to do");
    }
}
