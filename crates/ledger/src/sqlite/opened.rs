//! An opened ledger: the one line that writes, the one that reads, and what is known of the disk below them.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rusqlite::{Connection, Transaction};
use trued_doors::{Answer, Clock};
use trued_model::{Code, Indexed, Refusal};

use super::append::{Appending, Asked};
use super::line::{Snapshot, leave_as_it_is, transact};
use super::query;
use super::refused::refused;
use super::turns::{Turns, Waiting};
use crate::memory::opened_for_reading;

pub(super) struct Opened {
    pub path: PathBuf,
    pub clock: Arc<dyn Clock>,
    /// `None`: opened for reading.
    pub writer: Option<Mutex<Writer>>,
    pub reader: Mutex<Connection>,
    /// A write or sync failed: what reached the disk is not known, and trying again could hide that.
    broken: AtomicBool,
    /// Whether the blobs beside it are broken in this way: who cannot record what it does holds no leases.
    pub blobs_broken: OnceLock<Arc<AtomicBool>>,
    pub turns: Turns,
    pub waiting: Waiting,
}

pub(super) struct Writer {
    pub file: Connection,
    pub appending: Appending,
}

impl Opened {
    pub fn new(path: &Path, writer: Option<Writer>, reader: Connection, clock: Arc<dyn Clock>) -> Opened {
        Opened {
            path: path.to_owned(),
            clock,
            writer: writer.map(Mutex::new),
            reader: Mutex::new(reader),
            broken: AtomicBool::new(false),
            blobs_broken: OnceLock::new(),
            turns: Turns::default(),
            waiting: Waiting::default(),
        }
    }

    pub fn writer(&self) -> Answer<MutexGuard<'_, Writer>> {
        let writer = self.writer.as_ref().ok_or_else(opened_for_reading)?;
        if self.broken.load(Ordering::Acquire) {
            let message = "write to the ledger: an earlier write did not reach the disk";
            return Err(Refusal::new(Code::Broken, message).help("look at the disk, then start again"));
        }
        Ok(writer.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// After an input or output error nothing more is written by this process, not even when it closes the file: a sync
    /// that is tried again may succeed without the bytes of the one that failed.
    fn noting<T>(&self, file: &Connection, answer: Answer<T>) -> Answer<T> {
        if answer.as_ref().is_err_and(|refusal| refusal.code == Code::Broken) {
            self.broken.store(true, Ordering::Release);
            let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
            [file, &*reader].into_iter().for_each(leave_as_it_is);
        }
        answer
    }

    /// Runs one immediate transaction; it is committed when the work succeeds, and durable then.
    pub fn writing<T>(&self, what: &str, work: impl FnOnce(&Transaction<'_>) -> Answer<T>) -> Answer<T> {
        let file = &mut self.writer()?.file;
        let done = transact(file, what, work);
        self.noting(file, done)
    }

    /// [`Opened::writing`] without waiting for the disk: durable with the next append, which comes before anything is done
    /// in the lease's name. A power cut takes leases and all their holders at once.
    pub fn writing_lightly<T>(&self, what: &str, work: impl FnOnce(&Transaction<'_>) -> Answer<T>) -> Answer<T> {
        let file = &mut self.writer()?.file;
        let synchronous =
            |file: &Connection, mode: &str| file.pragma_update(None, "synchronous", mode).map_err(|error| refused(what, error));
        synchronous(file, "NORMAL")?;
        let done = transact(file, what, work);
        synchronous(file, "FULL")?;
        self.noting(file, done)
    }

    pub fn reading<T>(&self, what: &str, work: impl FnOnce(&Connection) -> Answer<T>) -> Answer<T> {
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshot = Snapshot::of(&reader).map_err(|error| refused(what, error))?;
        work(snapshot.0)
    }

    /// Writes a note; what stands there already costs no write.
    pub fn set_note(&self, key: &str, value: &[u8]) -> Answer<()> {
        if self.reading("read a note", |file| query::note(file, key))?.as_deref() == Some(value) {
            return Ok(());
        }
        self.writing("write a note", |step| query::set_note(step, key, value))
    }

    /// Appends what waits to be appended, and answers everybody who waits.
    pub fn append_waiting(&self) {
        let waiting = self.waiting.take();
        if waiting.is_empty() {
            return;
        }
        let (asked, answers): (Vec<_>, Vec<_>) = waiting.into_iter().map(|one| (one.asked, one.answer)).unzip();
        match self.append(asked) {
            // Whoever does not listen any more has been served all the same.
            Ok(appended) => answers.into_iter().zip(appended).for_each(|(to, answer)| drop(to.send(answer))),
            Err(refusal) => answers.into_iter().for_each(|to| drop(to.send(Err(refusal.clone())))),
        }
    }

    fn append(&self, asked: Vec<Asked>) -> Answer<Vec<Answer<Vec<Indexed>>>> {
        let mut writer = self.writer()?;
        let Writer { file, appending } = &mut *writer;
        let done = appending.append(file, asked, &*self.clock);
        self.noting(file, done)
    }
}
