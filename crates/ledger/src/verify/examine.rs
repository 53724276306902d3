//! What can be said of each entry alone: read, hashed and compared with its canonical form, on all cores at once.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use rusqlite::{Connection, params};
use trued_model::{BlobRef, Digest, Entry, Kind, MAX_ENTRY, StackId, Timestamp};

use super::Ended;
use crate::sqlite::refused;
use crate::tree::leaf_hash;

/// How many entries are read at once, and how many such portions wait for each core.
const PORTION: i64 = 1024;
const WAITING: usize = 2;

/// More workers than this wait for the one reader.
const MAX_WORKERS: usize = 8;

/// What the rest of verifying needs of an entry.
pub(super) struct Examined {
    pub hash: Digest,
    pub kind: Kind,
    pub stack: Option<StackId>,
    pub run: Option<String>,
    pub valid_from: Timestamp,
    pub recorded_at: Timestamp,
    pub revision: Option<String>,
    pub links: Vec<(String, u64)>,
    pub blobs: Vec<BlobRef>,
    /// An intent to run a command rather than to make changes.
    pub command: bool,
}

/// Entries as they are stored, one after the other: each place, and where its bytes end.
#[derive(Default)]
struct Read {
    leaves: Vec<u8>,
    ends: Vec<(u64, usize)>,
}

/// The same, examined.
type Looked = Vec<(u64, Result<Examined, String>)>;

/// A portion on its way: what was read of it, and what was found. It goes back to who made it once it was taken in, so that memory is
/// given back where it comes from, and used again.
#[derive(Default)]
struct Portion {
    read: Read,
    looked: Looked,
}

/// A worker, and what came back from it last.
struct Line {
    to: SyncSender<Portion>,
    from: Receiver<Portion>,
    spare: Option<Portion>,
}

/// Reads all entries in order and hands each on, examined, or with what is wrong about it (`is not …`).
pub(super) fn each(file: &Connection, mut take: impl FnMut(u64, &Result<Examined, String>) -> Result<(), Ended>) -> Result<(), Ended> {
    let workers = thread::available_parallelism().map_or(1, usize::from).min(MAX_WORKERS);
    thread::scope(|scope| {
        let mut lines: Vec<Line> = (0..workers)
            .map(|_| {
                let (to, work) = sync_channel::<Portion>(WAITING);
                let (done, from) = sync_channel(WAITING);
                // Both ends close when the reader stops early; a worker then just ends.
                scope.spawn(move || work.iter().try_for_each(|portion| done.send(portion.examined())));
                Line { to, from, spare: None }
            })
            .collect();
        // Portions go round the workers and come back in the same round, so that their order stays.
        let mut under_way: VecDeque<usize> = VecDeque::new();
        let mut next = 0;
        for worker in (0..workers).cycle() {
            let mut portion = lines[worker].spare.take().unwrap_or_default();
            portion.read.fill(file, next)?;
            let Some((last, _)) = portion.read.ends.last() else { break };
            next = *last as i64 + 1;
            if under_way.len() == workers * WAITING {
                receive(&mut lines, &mut under_way, &mut take)?;
            }
            lines[worker].to.send(portion).expect("a worker lives as long as its line");
            under_way.push_back(worker);
        }
        while !under_way.is_empty() {
            receive(&mut lines, &mut under_way, &mut take)?;
        }
        Ok(())
    })
}

fn receive(
    lines: &mut [Line],
    under_way: &mut VecDeque<usize>,
    take: &mut impl FnMut(u64, &Result<Examined, String>) -> Result<(), Ended>,
) -> Result<(), Ended> {
    let Some(line) = under_way.pop_front().and_then(|worker| lines.get_mut(worker)) else { return Ok(()) };
    let portion = line.from.recv().expect("a worker answers every portion");
    portion.looked.iter().try_for_each(|(index, examined)| take(*index, examined))?;
    line.spare = Some(portion);
    Ok(())
}

impl Read {
    /// Reads the next entries, in place of those that were here.
    fn fill(&mut self, file: &Connection, from: i64) -> Result<(), Ended> {
        self.leaves.clear();
        self.ends.clear();
        let mut read = || -> rusqlite::Result<()> {
            let mut select = file.prepare_cached("SELECT idx, leaf FROM entries WHERE idx >= ? ORDER BY idx LIMIT ?")?;
            let mut rows = select.query(params![from, PORTION])?;
            while let Some(row) = rows.next()? {
                self.leaves.extend_from_slice(row.get_ref(1)?.as_blob()?);
                self.ends.push((row.get::<_, i64>(0)? as u64, self.leaves.len()));
            }
            Ok(())
        };
        Ok(read().map_err(|error| refused(&format!("read the entries from #{from} on"), error))?)
    }
}

impl Portion {
    fn examined(mut self) -> Portion {
        self.looked.clear();
        let mut begin = 0;
        for (index, end) in &self.read.ends {
            self.looked.push((*index, examine(&self.read.leaves[begin..*end])));
            begin = *end;
        }
        self
    }
}

fn examine(leaf: &[u8]) -> Result<Examined, String> {
    if leaf.len() > MAX_ENTRY {
        return Err(format!("has {} bytes, more than {MAX_ENTRY}", leaf.len()));
    }
    let entry: Entry = serde_json::from_slice(leaf).map_err(|error| format!("is not an entry: {error}"))?;
    if !entry.has_leaf(leaf) {
        return Err("is not in canonical form".to_owned());
    }
    let Entry { kind, stack, run, valid_from, recorded_at, revision, links, body, blobs, .. } = entry;
    Ok(Examined {
        hash: leaf_hash(leaf),
        command: kind == Kind::Intent && body.get("command").is_some_and(|command| !command.is_null()),
        kind,
        stack,
        run,
        valid_from,
        recorded_at,
        revision,
        links: links.into_iter().map(|link| (link.rel, link.index)).collect(),
        blobs: blobs.into_iter().map(|note| note.blob).collect(),
    })
}
