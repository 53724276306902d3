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

type Read = Vec<(u64, Vec<u8>)>;
type Looked = Vec<(u64, Result<Examined, String>)>;

/// Reads all entries in order and hands each on, examined, or with what is wrong about it (`is not …`).
pub(super) fn each(file: &Connection, mut take: impl FnMut(u64, Result<Examined, String>) -> Result<(), Ended>) -> Result<(), Ended> {
    let workers = thread::available_parallelism().map_or(1, usize::from).min(MAX_WORKERS);
    thread::scope(|scope| {
        let lines: Vec<(SyncSender<Read>, Receiver<Looked>)> = (0..workers)
            .map(|_| {
                let (to, work) = sync_channel::<Read>(WAITING);
                let (done, from) = sync_channel(WAITING);
                // Both ends close when the reader stops early; a worker then just ends.
                scope.spawn(move || work.iter().try_for_each(|read| done.send(read.into_iter().map(examined).collect())));
                (to, from)
            })
            .collect();
        // Portions go round the workers and come back in the same round, so that their order stays.
        let mut under_way: VecDeque<usize> = VecDeque::new();
        let mut next = 0;
        for worker in (0..workers).cycle() {
            let read = portion(file, next)?;
            let Some((last, _)) = read.last() else { break };
            next = *last as i64 + 1;
            if under_way.len() == workers * WAITING {
                receive(&lines, &mut under_way, &mut take)?;
            }
            lines[worker].0.send(read).expect("a worker lives as long as its line");
            under_way.push_back(worker);
        }
        while !under_way.is_empty() {
            receive(&lines, &mut under_way, &mut take)?;
        }
        Ok(())
    })
}

fn receive(
    lines: &[(SyncSender<Read>, Receiver<Looked>)],
    under_way: &mut VecDeque<usize>,
    take: &mut impl FnMut(u64, Result<Examined, String>) -> Result<(), Ended>,
) -> Result<(), Ended> {
    let Some(worker) = under_way.pop_front() else { return Ok(()) };
    let looked = lines[worker].1.recv().expect("a worker answers every portion");
    looked.into_iter().try_for_each(|(index, examined)| take(index, examined))
}

fn portion(file: &Connection, from: i64) -> Result<Read, Ended> {
    let read = || -> rusqlite::Result<Read> {
        let mut select = file.prepare_cached("SELECT idx, leaf FROM entries WHERE idx >= ? ORDER BY idx LIMIT ?")?;
        select.query_map(params![from, PORTION], |row| Ok((row.get::<_, i64>(0)? as u64, row.get(1)?)))?.collect()
    };
    Ok(read().map_err(|error| refused(&format!("read the entries from #{from} on"), error))?)
}

fn examined((index, leaf): (u64, Vec<u8>)) -> (u64, Result<Examined, String>) {
    (index, examine(&leaf))
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
