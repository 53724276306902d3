//! The tables that follow from `entries`: hashes by tile level, and what queries look up. Made with each append, and
//! made again from the record when asked.

use rusqlite::{CachedStatement, Connection, Transaction, params};
use trued_model::{Digest, Entry, StackId};

use crate::tree::{Frontier, leaf_hash};

/// How many entries one row of `spans` sums up, and over how many only the newest checkpoint is kept: a tile's width.
pub(crate) const SPAN: u64 = 256;

/// `hashes`: level 0 are leaf hashes, level `L` the roots over 256^L entries. `spans`: the earliest and the latest
/// `valid_from` among 256 entries, so that a search by time passes over those that cannot have it.
const INDEX: &str = "
    CREATE TABLE hashes(level INTEGER, n INTEGER, hash BLOB NOT NULL, PRIMARY KEY(level, n)) STRICT, WITHOUT ROWID;
    CREATE TABLE stacks(id INTEGER PRIMARY KEY, stack TEXT NOT NULL UNIQUE) STRICT;
    CREATE TABLE lookup(idx INTEGER PRIMARY KEY, stack INTEGER, kind TEXT NOT NULL, run TEXT, valid_from INTEGER NOT NULL,
        recorded_at INTEGER NOT NULL, revision TEXT) STRICT;
    CREATE INDEX lookup_stack ON lookup(stack) WHERE stack IS NOT NULL;
    CREATE INDEX lookup_stack_kind ON lookup(stack, kind) WHERE stack IS NOT NULL;
    CREATE INDEX lookup_kind ON lookup(kind);
    CREATE INDEX lookup_run ON lookup(run) WHERE run IS NOT NULL;
    CREATE INDEX lookup_revision ON lookup(revision) WHERE revision IS NOT NULL;
    CREATE TABLE spans(span INTEGER PRIMARY KEY, low INTEGER NOT NULL, high INTEGER NOT NULL) STRICT;";

const DROP: &str = "
    DROP TABLE IF EXISTS hashes; DROP TABLE IF EXISTS stacks; DROP TABLE IF EXISTS lookup; DROP TABLE IF EXISTS spans;";

/// Makes the tables and fills them from the record.
pub(super) fn make(file: &Transaction<'_>) -> rusqlite::Result<()> {
    file.execute_batch(DROP)?;
    file.execute_batch(INDEX)?;
    let mut frontier = Frontier::default();
    let mut writing = Writing::new(file)?;
    let mut entries = file.prepare("SELECT leaf FROM entries ORDER BY idx")?;
    let mut rows = entries.query([])?;
    while let Some(row) = rows.next()? {
        let leaf = row.get_ref(0)?.as_blob()?;
        let entry: Entry = serde_json::from_slice(leaf).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
        writing.entry(&mut frontier, &entry, leaf)?;
    }
    Ok(())
}

/// Statements that write an entry's rows, prepared once for a batch.
pub(super) struct Writing<'file> {
    file: &'file Connection,
    hash: CachedStatement<'file>,
    lookup: CachedStatement<'file>,
    span: CachedStatement<'file>,
    /// The stack of the entry before, and its number: batches are mostly about one.
    last_stack: Option<(StackId, i64)>,
}

impl<'file> Writing<'file> {
    pub fn new(file: &'file Connection) -> rusqlite::Result<Writing<'file>> {
        let raise = "INSERT INTO spans VALUES(?1, ?2, ?2)
            ON CONFLICT(span) DO UPDATE SET low = min(low, excluded.low), high = max(high, excluded.high)
            WHERE low > excluded.low OR high < excluded.high";
        Ok(Writing {
            file,
            hash: file.prepare_cached("INSERT INTO hashes VALUES(?, ?, ?)")?,
            lookup: file.prepare_cached("INSERT INTO lookup VALUES(?, ?, ?, ?, ?, ?, ?)")?,
            span: file.prepare_cached(raise)?,
            last_stack: None,
        })
    }

    /// Writes what follows from an entry that becomes the frontier's next.
    pub fn entry(&mut self, frontier: &mut Frontier, entry: &Entry, leaf: &[u8]) -> rusqlite::Result<()> {
        let index = frontier.size() as i64;
        let mut written = Ok(0);
        frontier.push(leaf_hash(leaf), |level, n, hash| {
            if written.is_ok() {
                written = self.hash.execute(params![level, n as i64, &hash.0[..]]);
            }
        });
        written?;
        let stack = entry.stack.as_ref().map(|stack| self.stack(stack)).transpose()?;
        let Entry { kind, run, valid_from, recorded_at, revision, .. } = entry;
        self.lookup.execute(params![index, stack, kind.word(), run, valid_from.0, recorded_at.0, revision])?;
        self.span.execute(params![index / SPAN as i64, valid_from.0])?;
        Ok(())
    }

    /// A stack's number, given to it with its first entry.
    fn stack(&mut self, stack: &StackId) -> rusqlite::Result<i64> {
        if let Some((last, id)) = &self.last_stack
            && last == stack
        {
            return Ok(*id);
        }
        let key = stack.key();
        self.file.prepare_cached("INSERT OR IGNORE INTO stacks(stack) VALUES(?)")?.execute([&key])?;
        let id = self.file.prepare_cached("SELECT id FROM stacks WHERE stack = ?")?.query_row([&key], |row| row.get(0))?;
        self.last_stack = Some((stack.clone(), id));
        Ok(id)
    }
}

/// Reads stored hashes, as [`crate::tree`] asks for them.
pub(super) fn hashes(file: &Connection, level: u32, first: u64, count: u64) -> rusqlite::Result<Vec<Digest>> {
    let mut statement = file.prepare_cached("SELECT hash FROM hashes WHERE level = ? AND n >= ? AND n < ? ORDER BY n")?;
    let mut rows = statement.query(params![level, first as i64, (first + count) as i64])?;
    let mut found = Vec::with_capacity(count as usize);
    while let Some(row) = rows.next()? {
        found.push(Digest(row.get(0)?));
    }
    // Short where rows are missing; who asked finds that the root is another.
    found.resize(count as usize, Digest([0; 32]));
    Ok(found)
}
