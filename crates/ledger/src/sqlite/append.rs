//! One append: compare the head, write the entries and what follows from them, sign the next head.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use trued_doors::{Answer, Clock, Fence, TreeHead};
use trued_model::{Code, Draft, Entry, Indexed, Refusal, Timestamp};

use super::index::{SPAN, Writing};
use super::line::begin;
use super::{hashes, leases, meta, newest_checkpoint, refused};
use crate::checkpoint;
use crate::draft::recorded_at;
use crate::keys::{self, Key, Purpose};
use crate::note::Signer;
use crate::seen::Seen;
use crate::tree::Frontier;

/// What a process keeps from one append to the next.
pub(super) struct Appending {
    /// The folder of keys. The log's key is made by the first append, and read by the first of a process.
    keys: PathBuf,
    seen: Seen,
    /// The tree as this process last saw it, and who signs it.
    known: Option<Known>,
}

/// What one asks to have appended.
pub(super) struct Asked {
    pub drafts: Vec<Draft>,
    pub fence: Option<Fence>,
}

struct Known {
    frontier: Frontier,
    signer: Signer,
}

const WHAT: &str = "append to the ledger";

fn failed(error: rusqlite::Error) -> Refusal {
    refused(WHAT, error)
}

impl Appending {
    pub fn new(keys: &Path) -> Appending {
        Appending { keys: keys.to_owned(), seen: Seen::at(keys), known: None }
    }

    /// Whether the record is older than, or another than, the one that was seen here before.
    pub fn is_behind(&mut self, file: &Connection) -> Answer<bool> {
        let behind = is_behind(file, &self.seen)?;
        if behind {
            self.seen.suspend();
        }
        Ok(behind)
    }

    pub fn accept(&mut self, file: &Connection) -> Answer<()> {
        self.seen.accept(newest_checkpoint(file)?.as_deref())
    }

    /// Appends the drafts of several who ask at once, in their order: one transaction, one checkpoint, one wait for the disk.
    /// Whoever's fence no longer holds is refused alone; what else fails, fails for all, and nothing is written.
    pub fn append(&mut self, file: &mut Connection, asked: Vec<Asked>, clock: &dyn Clock) -> Answer<Vec<Answer<Vec<Indexed>>>> {
        let step = begin(file, WHAT)?;
        let mut passed = Vec::with_capacity(asked.len());
        for Asked { drafts, fence } in asked {
            let passes = fence.as_ref().map_or(Ok(()), |fence| leases::passes(&step, fence));
            match passes {
                Err(refusal) if refusal.code == Code::Broken => return Err(refusal),
                passes => passed.push(passes.map(|()| drafts)),
            }
        }
        if passed.iter().all(Result::is_err) {
            return Ok(passed.into_iter().map(|refused| refused.map(|_: Vec<Draft>| Vec::new())).collect());
        }
        // Kept aside until the commit: what fails leaves nothing behind, here as there.
        let Known { mut frontier, signer } = self.take_known(&step, clock)?;
        let before = frontier.clone();
        let appended = write(&step, &mut frontier, &signer, passed, clock.now())
            .and_then(|(appended, note)| step.commit().map_err(failed).map(|()| (appended, note)));
        let frontier = if appended.is_ok() { frontier } else { before };
        self.known = Some(Known { frontier, signer });
        let (appended, note) = appended?;
        self.seen.keep(&note);
        Ok(appended)
    }

    /// The tree as the file has it now, after finding that it extends the one this process knew. A head that went back
    /// or is another is refused, never forked from.
    fn take_known(&mut self, step: &Transaction<'_>, clock: &dyn Clock) -> Answer<Known> {
        let (origin, newest) = (meta(step, "origin")?, newest_checkpoint(step)?);
        let Some(origin) = origin else { return self.first(step, clock) };
        let entries: Option<i64> = step.query_row("SELECT max(idx) FROM entries", [], |row| row.get(0)).map_err(failed)?;
        let head = newest.as_deref().and_then(checkpoint::read).map(|(_, head)| head);
        let Some(head) = head.filter(|head| entries.is_some_and(|last| last as u64 + 1 == head.size)) else {
            return Err(bent("its newest checkpoint is not that of its newest entry"));
        };
        let load = |size| Frontier::load(size, |level, first, count| hashes(step, level, first, count));
        match self.known.take() {
            Some(known) if head == (TreeHead { size: known.frontier.size(), root: known.frontier.root() }) => Ok(known),
            Some(known) => {
                let size = known.frontier.size();
                let extends = size < head.size && load(size)? == known.frontier;
                self.known = Some(known);
                let frontier = load(head.size)?;
                if !extends || frontier.root() != head.root {
                    return Err(bent("it no longer begins with what this process appended to"));
                }
                let Some(Known { signer, .. }) = self.known.take() else { unreachable!("put there above") };
                Ok(Known { frontier, signer })
            }
            None => {
                let signer = signer(&origin, keys::read(&self.keys, Purpose::Log)?)?;
                if meta(step, "key")? != Some(signer.verifier().to_string()) {
                    let message = format!("{WHAT}: keys/log.key is not the key of {origin}");
                    return Err(Refusal::new(Code::Denied, message).help("bring the key that signed this ledger back from a backup"));
                }
                let frontier = load(head.size)?;
                let signed = newest.as_deref().map(|note| checkpoint::open(note, signer.verifier()));
                if signed != Some(Ok(TreeHead { size: head.size, root: frontier.root() })) {
                    return Err(bent("its newest checkpoint is not that of its entries"));
                }
                Ok(Known { frontier, signer })
            }
        }
    }

    /// Fixes origin and key, which the first append does.
    fn first(&mut self, step: &Transaction<'_>, clock: &dyn Clock) -> Answer<Known> {
        if self.known.take().is_some_and(|known| known.frontier.size() > 0) {
            return Err(bent("it is empty, and was not"));
        }
        let origin = format!("trued/{}", clock.fresh_id());
        let signer = signer(&origin, Some(keys::read_or_make(&self.keys, Purpose::Log)?))?;
        for (name, value) in [("origin", &origin), ("key", &signer.verifier().to_string())] {
            step.execute("INSERT INTO meta VALUES(?, ?)", [name, value]).map_err(failed)?;
        }
        Ok(Known { frontier: Frontier::default(), signer })
    }
}

/// Whether a record does not extend what was seen of it.
pub(super) fn is_behind(file: &Connection, seen: &Seen) -> Answer<bool> {
    let Some((origin, seen)) = seen.read() else { return Ok(false) };
    let head = super::head(file)?;
    if meta(file, "origin")? != Some(origin) || head.size < seen.size {
        return Ok(true);
    }
    Ok(Frontier::load(seen.size, |level, first, count| hashes(file, level, first, count))?.root() != seen.root)
}

fn signer(origin: &str, key: Option<Key>) -> Answer<Signer> {
    let missing = || Refusal::new(Code::Denied, format!("{WHAT}: there is no keys/log.key to sign with"));
    let key = key.ok_or_else(|| missing().help("bring the key that signed this ledger back from a backup"))?;
    Signer::new(origin, key.bytes()).ok_or_else(|| Refusal::new(Code::Invalid, format!("{WHAT}: {origin} is no name for a key")))
}

/// Writes entries and the checkpoint over them.
fn write(
    step: &Transaction<'_>,
    frontier: &mut Frontier,
    signer: &Signer,
    passed: Vec<Answer<Vec<Draft>>>,
    now: Timestamp,
) -> Answer<(Vec<Answer<Vec<Indexed>>>, String)> {
    let last = frontier.size() as i64 - 1;
    let predecessor = step.prepare_cached("SELECT recorded_at FROM lookup WHERE idx = ?").map_err(failed)?;
    let predecessor = { predecessor }.query_row([last], |row| row.get(0)).optional().map_err(failed)?;
    let recorded_at = recorded_at(now, predecessor.map(Timestamp));

    let mut appended = Vec::with_capacity(passed.len());
    let mut writing = Writing::new(step).map_err(failed)?;
    let mut insert = step.prepare_cached("INSERT INTO entries VALUES(?, ?)").map_err(failed)?;
    let mut place = |draft: Draft| {
        let entry = Entry::new(draft, recorded_at);
        let (index, leaf) = (frontier.size(), entry.leaf());
        insert.execute(params![index as i64, leaf]).map_err(failed)?;
        writing.entry(frontier, &entry, &leaf).map_err(failed)?;
        Ok(Indexed { index, entry })
    };
    for drafts in passed {
        appended.push(match drafts {
            Ok(drafts) => Ok(drafts.into_iter().map(&mut place).collect::<Answer<Vec<Indexed>>>()?),
            Err(refusal) => Err(refusal),
        });
    }

    let head = TreeHead { size: frontier.size(), root: frontier.root() };
    let note = checkpoint::sign(&head, signer);
    let size = head.size as i64;
    // Inside one span the newest covers those before it.
    let span = (size - 1) / SPAN as i64 * SPAN as i64;
    step.prepare_cached("DELETE FROM checkpoints WHERE size > ?").and_then(|mut older| older.execute([span])).map_err(failed)?;
    step.prepare_cached("INSERT INTO checkpoints VALUES(?, ?)")
        .and_then(|mut newest| newest.execute(params![size, note]))
        .map_err(failed)?;
    Ok((appended, note))
}

fn bent(why: &str) -> Refusal {
    Refusal::new(Code::Broken, format!("{WHAT}: {why}")).help("`trued verify` tells what is wrong; nothing was written")
}
