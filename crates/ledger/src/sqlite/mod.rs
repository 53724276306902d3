//! The ledger in one SQLite file: WAL, full synchronous, any number of processes.
//!
//! Appending is one immediate transaction, so reading the head and writing the next one cannot be torn apart; those who ask
//! while another writes are written together. Calls block and are moved off the async worker; without a runtime they run
//! where they are awaited.

mod append;
mod index;
mod leases;
mod line;
mod opened;
mod query;
mod refused;
mod schema;
mod turns;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::{Connection, OptionalExtension};
use trued_doors::{Answer, BoxFuture, Clock, Fence, Holder, Lease, Query, Store, TreeHead};
use trued_model::{Code, Digest, Draft, Duration, Indexed, Refusal, StackId};

use crate::seen::Seen;
use append::{Appending, Asked};
use line::{connect, leave_as_it_is, write_ahead};
use opened::{Opened, Writer};
use turns::For;

pub(crate) use index::SPAN;
pub(crate) use line::is_begun;
pub(crate) use query::leaves;
pub(crate) use refused::refused;

/// Up to so many entries of one stack are read where they are asked for.
const LITTLE: usize = 64;

/// A [`Store`] in an SQLite file.
#[derive(Clone)]
pub struct SqliteStore(Arc<Opened>);

impl SqliteStore {
    /// Opens a ledger for writing, making it where there is none. `keys`: the folder with the key that signs its
    /// checkpoints, which the first append makes.
    pub(crate) fn open(path: &Path, keys: &Path, clock: Arc<dyn Clock>) -> Answer<SqliteStore> {
        // Made beforehand for its mode, which SQLite gives to the files beside it too.
        crate::disk::make_private(path)?;
        let mut file = connect(path)?;
        let failed = |error| refused("open the ledger", error);
        // SQLite opens for reading what it cannot open for writing, for whatever reason, and never tries again.
        if file.is_readonly("main").map_err(failed)? {
            let message = format!("open the ledger: {} cannot be written to", path.display());
            return Err(
                Refusal::new(Code::Denied, message).help("give the state folder to the user who works with it, and look at its disk")
            );
        }
        let made = write_ahead(&file)
            .and_then(|()| file.pragma_update(None, "synchronous", "FULL").map_err(failed))
            .and_then(|()| schema::migrate(&mut file, schema::STEPS));
        made.inspect_err(|_| leave_as_it_is(&file))?;
        let writer = Writer { file, appending: Appending::new(keys) };
        SqliteStore::with(path, Some(writer), clock)
    }

    /// Opens an existing ledger for reading.
    pub(crate) fn read(path: &Path, clock: Arc<dyn Clock>) -> Answer<SqliteStore> {
        SqliteStore::with(path, None, clock)
    }

    fn with(path: &Path, writer: Option<Writer>, clock: Arc<dyn Clock>) -> Answer<SqliteStore> {
        let reader = line::connect_to_read(path)?;
        Ok(SqliteStore(Arc::new(Opened::new(path, writer, reader, clock))))
    }

    /// Reads from one state of the file, where blocking is allowed.
    pub(crate) fn reading<T>(&self, what: &str, work: impl FnOnce(&Connection) -> Answer<T>) -> Answer<T> {
        self.0.reading(what, work)
    }

    /// Another line to the same file, for long reads.
    pub(crate) fn connect_to_read(&self) -> Answer<Connection> {
        line::connect_to_read(&self.0.path)
    }

    /// Whether the record is older than, or another than, the one that was seen here before: it came from a backup.
    pub(crate) fn is_behind(&self, keys: &Path) -> Answer<bool> {
        match self.0.writer {
            Some(_) => {
                let mut writer = self.0.writer()?;
                let Writer { file, appending } = &mut *writer;
                appending.is_behind(file)
            }
            None => self.reading("compare the ledger with what was seen", |file| append::is_behind(file, &Seen::at(keys))),
        }
    }

    /// Has leases not renewed any more once this is set.
    pub(crate) fn keeps_leases_unless(&self, blobs_broken: Arc<AtomicBool>) {
        let _ = self.0.blobs_broken.set(blobs_broken);
    }

    /// Takes the record as it is for the true one, although a larger one was seen.
    pub(crate) fn accept(&self) -> Answer<()> {
        let mut writer = self.0.writer()?;
        let Writer { file, appending } = &mut *writer;
        appending.accept(file)
    }

    /// [`Store::note`], where blocking is allowed.
    pub(crate) fn small_note(&self, key: &str) -> Answer<Option<Vec<u8>>> {
        self.0.reading("read a note", |file| query::note(file, key))
    }

    /// [`Store::set_note`], where blocking is allowed.
    pub(crate) fn set_small_note(&self, key: &str, value: &[u8]) -> Answer<()> {
        self.0.set_note(key, value)
    }

    /// Makes the tables that follow from the record anew.
    pub(crate) fn rebuild(&self) -> Answer<()> {
        self.0.writing("make the index anew", |step| index::make(step).map_err(|error| refused("make the index anew", error)))
    }

    fn reads<'a, T: Send + 'static>(&self, work: impl FnOnce(&Opened) -> Answer<T> + Send + 'static) -> BoxFuture<'a, Answer<T>> {
        Box::pin(turns::in_turn(self.0.clone(), For::Reading, work))
    }

    fn reads_at_once<'a, T: Send + 'static>(&self, work: impl FnOnce(&Opened) -> Answer<T> + Send + 'static) -> BoxFuture<'a, Answer<T>> {
        Box::pin(turns::at_once(self.0.clone(), work))
    }

    fn writes<'a, T: Send + 'static>(&self, work: impl FnOnce(&Opened) -> Answer<T> + Send + 'static) -> BoxFuture<'a, Answer<T>> {
        Box::pin(turns::in_turn(self.0.clone(), For::Writing, work))
    }
}

/// The newest signed checkpoint; `None` before the first append.
pub(crate) fn newest_checkpoint(file: &Connection) -> Answer<Option<String>> {
    let newest = file.prepare_cached("SELECT note FROM checkpoints ORDER BY size DESC LIMIT 1");
    let newest = newest.and_then(|mut newest| newest.query_row([], |row| row.get(0)).optional());
    newest.map_err(|error| refused("read the newest checkpoint", error))
}

/// The tree head that the newest checkpoint signs.
pub(crate) fn head(file: &Connection) -> Answer<TreeHead> {
    match newest_checkpoint(file)? {
        None => Ok(TreeHead { size: 0, root: Digest::of(b"") }),
        Some(note) => crate::checkpoint::read(&note).map(|(_, head)| head).ok_or_else(|| {
            Refusal::new(Code::Invalid, "read the newest checkpoint: it is not one").help("`trued verify` tells what is wrong")
        }),
    }
}

/// A value that the first append fixed: `origin` or `key`.
pub(crate) fn meta(file: &Connection, name: &str) -> Answer<Option<String>> {
    let value = file.prepare_cached("SELECT value FROM meta WHERE name = ?");
    let value = value.and_then(|mut value| value.query_row([name], |row| row.get(0)).optional());
    value.map_err(|error| refused(&format!("read the ledger's {name}"), error))
}

/// Stored hashes, as the tree's mathematics asks for them.
pub(crate) fn hashes(file: &Connection, level: u32, first: u64, count: u64) -> Answer<Vec<Digest>> {
    index::hashes(file, level, first, count).map_err(|error| refused("read stored hashes", error))
}

impl Store for SqliteStore {
    fn origin(&self) -> BoxFuture<'_, Answer<Option<String>>> {
        self.reads(|opened| opened.reading("read the origin", |file| meta(file, "origin")))
    }

    fn head(&self) -> BoxFuture<'_, Answer<TreeHead>> {
        self.reads_at_once(|opened| opened.reading("read the tree head", head))
    }

    fn append(&self, drafts: Vec<Draft>, fence: Option<Fence>) -> BoxFuture<'_, Answer<Vec<Indexed>>> {
        if let Err(refusal) = drafts.iter().try_for_each(crate::draft::check) {
            return Box::pin(async { Err(refusal) });
        }
        if drafts.is_empty() {
            let Some(fence) = fence else { return Box::pin(async { Ok(Vec::new()) }) };
            return self.reads(move |opened| opened.reading("read the leases", |file| leases::passes(file, &fence)).map(|()| Vec::new()));
        }
        Box::pin(turns::append(self.0.clone(), Asked { drafts, fence }))
    }

    fn find(&self, query: Query) -> BoxFuture<'_, Answer<Vec<Indexed>>> {
        // Whoever follows a stack asks again and again for what is new, and mostly nothing is.
        let little = query.stack.is_some() && query.ascending && query.limit.is_some_and(|limit| limit <= LITTLE);
        let work = move |opened: &Opened| opened.reading("read entries", |file| query::find(file, &query));
        if little { self.reads_at_once(work) } else { self.reads(work) }
    }

    fn leaves(&self, from: u64, until: u64) -> BoxFuture<'_, Answer<Vec<Vec<u8>>>> {
        self.reads(move |opened| opened.reading("read entries", |file| query::leaves(file, from, until)))
    }

    fn stacks(&self) -> BoxFuture<'_, Answer<Vec<StackId>>> {
        self.reads(|opened| opened.reading("read the stacks", query::stacks))
    }

    fn take<'a>(&'a self, stack: &'a StackId, holder: &'a Holder, at_least: u64, term: Duration) -> BoxFuture<'a, Answer<Lease>> {
        let lease = (stack.clone(), holder.clone());
        self.writes(move |opened| {
            let now = opened.clock.monotonic();
            opened.writing_lightly("take a lease", |step| leases::take(step, lease.0, lease.1, at_least, now, term))
        })
    }

    fn renew<'a>(&'a self, holder: &'a Holder, term: Duration) -> BoxFuture<'a, Answer<Vec<StackId>>> {
        let holder = holder.clone();
        self.writes(move |opened| {
            if opened.blobs_broken.get().is_some_and(|broken| broken.load(Ordering::Acquire)) {
                let message = "renew the leases: an earlier write of a blob did not reach the disk";
                return Err(Refusal::new(Code::Broken, message).help("look at the disk, then start again"));
            }
            let until = opened.clock.monotonic().saturating_add(term.0);
            opened.writing_lightly("renew the leases", |step| leases::renew(step, &holder, until))
        })
    }

    fn release<'a>(&'a self, holder: &'a Holder) -> BoxFuture<'a, Answer<()>> {
        let holder = holder.clone();
        self.writes(move |opened| opened.writing_lightly("give the leases back", |step| leases::release(step, &holder)))
    }

    fn holders(&self) -> BoxFuture<'_, Answer<Vec<Holder>>> {
        self.reads(|opened| {
            let now = opened.clock.monotonic();
            opened.reading("read the leases", |file| leases::holders(file, now))
        })
    }

    fn note<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Answer<Option<Vec<u8>>>> {
        let key = key.to_owned();
        self.reads_at_once(move |opened| opened.reading("read a note", |file| query::note(file, &key)))
    }

    fn set_note<'a>(&'a self, key: &'a str, value: &'a [u8]) -> BoxFuture<'a, Answer<()>> {
        let (key, value) = (key.to_owned(), value.to_vec());
        self.writes(move |opened| opened.set_note(&key, &value))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration as Span;

    use futures::executor::block_on;
    use trued_doors::conformance::SteppedClock;
    use trued_doors::conformance::store::draft;
    use trued_model::{Kind, Timestamp};

    use super::line::PATIENCE;
    use super::*;

    #[test]
    fn fault_70_who_waits_for_another_writer_gives_up_at_a_bound_and_can_try_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, keys) = (folder.path().join("ledger.sqlite"), folder.path().join("keys"));
        std::fs::create_dir(&keys).expect("made");
        let store = SqliteStore::open(&path, &keys, Arc::new(SteppedClock::at(Timestamp(0)))).expect("opened");
        let patience = |file: &Connection| file.pragma_query_value(None, "busy_timeout", |row| row.get::<_, i64>(0)).expect("told");
        let bounded = |file: &Connection| u128::try_from(patience(file)).is_ok_and(|bound| bound == PATIENCE.as_millis());
        assert!(bounded(&store.0.writer().expect("whole").file) && bounded(&store.0.reader.lock().expect("free")));
        // Not the whole of it, here.
        store.0.writer().expect("whole").file.busy_timeout(Span::from_millis(50)).expect("set");
        let other = connect(&path).expect("opened");
        other.execute_batch("BEGIN IMMEDIATE").expect("held");
        let append = || block_on(store.append(vec![draft(Kind::Observed, None, 0)], None));
        for _ in 0..2 {
            let refusal = append().expect_err("another one writes all the time");
            assert!(refusal.code == Code::Unreachable && refusal.passing(), "{refusal:?}");
            assert!(refusal.message.contains("did not let go of the ledger in time"), "{refusal}");
        }
        other.execute_batch("COMMIT").expect("let go");
        assert_eq!(append().expect("its turn").len(), 1);
    }
}
