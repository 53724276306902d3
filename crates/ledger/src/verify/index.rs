//! The tables that follow from the record, row by row against what the record says they hold.

use std::collections::{BTreeSet, HashMap, VecDeque};

use rusqlite::{Connection, params};
use trued_doors::Answer;
use trued_model::{Digest, StackId};

use super::examine::Examined;
use super::{Ended, Flaw};
use crate::sqlite::{SPAN, refused};

/// How many rows are read at once.
const PORTION: u64 = 4096;

/// The tables, read along with the entries.
pub(super) struct Index {
    stacks: HashMap<i64, StackId>,
    /// Numbers of stacks that some entry names.
    named: BTreeSet<i64>,
    rows: VecDeque<Row>,
    /// `None`: what stands there is no hash.
    hashes: VecDeque<(u64, Option<Digest>)>,
    /// The first place that was not read yet.
    ahead: u64,
    spans: Vec<(i64, i64)>,
}

struct Row {
    index: u64,
    stack: Option<i64>,
    kind: String,
    run: Option<String>,
    valid_from: i64,
    recorded_at: i64,
    revision: Option<String>,
}

fn failed(error: rusqlite::Error) -> trued_model::Refusal {
    refused("read the index", error)
}

impl Index {
    pub fn open(file: &Connection) -> Answer<Index> {
        let stacks = || -> rusqlite::Result<Vec<(i64, String)>> {
            file.prepare("SELECT id, stack FROM stacks")?.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        };
        let stacks = stacks().map_err(failed)?;
        Ok(Index {
            stacks: stacks.into_iter().filter_map(|(id, key)| Some((id, StackId::from_key(&key)?))).collect(),
            named: BTreeSet::new(),
            rows: VecDeque::new(),
            hashes: VecDeque::new(),
            ahead: 0,
            spans: Vec::new(),
        })
    }

    /// Compares what is stored about an entry with the entry; the inner error says what differs.
    pub fn take(&mut self, file: &Connection, index: u64, entry: &Examined) -> Answer<Result<(), String>> {
        if index >= self.ahead {
            self.read(file, index).map_err(failed)?;
        }
        let time = entry.valid_from.0;
        match self.spans.get_mut((index / SPAN) as usize) {
            Some((low, high)) => (*low, *high) = ((*low).min(time), (*high).max(time)),
            None => self.spans.push((time, time)),
        }
        let hash = next(&mut self.hashes, index, |(n, _)| *n);
        if hash.is_none_or(|(_, hash)| hash != Some(entry.hash)) {
            return Ok(Err(format!("entry #{index} is not what was hashed when it was recorded")));
        }
        let Some(row) = next(&mut self.rows, index, |row| row.index) else {
            return Ok(Err(format!("entry #{index} is not in the index")));
        };
        let stack = row.stack.and_then(|number| self.stacks.get(&number));
        self.named.extend(row.stack);
        let same = stack == entry.stack.as_ref()
            && row.kind == entry.kind.word()
            && row.run == entry.run
            && row.valid_from == time
            && row.recorded_at == entry.recorded_at.0
            && row.revision == entry.revision;
        Ok(if same { Ok(()) } else { Err(format!("entry #{index} is not what the index says of it")) })
    }

    fn read(&mut self, file: &Connection, from: u64) -> rusqlite::Result<()> {
        self.ahead = from + PORTION;
        let within = params![from as i64, self.ahead as i64];
        let mut select = file.prepare_cached("SELECT n, hash FROM hashes WHERE level = 0 AND n >= ? AND n < ? ORDER BY n")?;
        self.hashes = select
            .query_map(within, |row| Ok((row.get::<_, i64>(0)? as u64, row.get_ref(1)?.as_blob()?.try_into().ok().map(Digest))))?
            .collect::<Result<_, _>>()?;
        let columns = "SELECT idx, stack, kind, run, valid_from, recorded_at, revision FROM lookup WHERE idx >= ? AND idx < ? ORDER BY idx";
        let row = |row: &rusqlite::Row<'_>| {
            Ok(Row {
                index: row.get::<_, i64>(0)? as u64,
                stack: row.get(1)?,
                kind: row.get(2)?,
                run: row.get(3)?,
                valid_from: row.get(4)?,
                recorded_at: row.get(5)?,
                revision: row.get(6)?,
            })
        };
        self.rows = file.prepare_cached(columns)?.query_map(within, row)?.collect::<Result<_, _>>()?;
        Ok(())
    }

    /// Compares what sums up many entries, and finds rows about entries that are none.
    pub fn end(mut self, file: &Connection, size: u64, upper: &mut [(u32, u64, Digest)]) -> Result<(), Ended> {
        let beyond = |table: &str, column: &str| -> Answer<bool> {
            let sql = format!("SELECT EXISTS(SELECT 1 FROM {table} WHERE {column} >= ?)");
            file.query_row(&sql, [size as i64], |row| row.get(0)).map_err(failed)
        };
        if beyond("lookup", "idx")? || beyond("hashes", "level = 0 AND n")? {
            return Err(Flaw::at(size, format!("the index speaks of entries from #{size} on, which are none")).into());
        }
        let spans = || -> rusqlite::Result<Vec<(i64, i64, i64)>> {
            let mut select = file.prepare("SELECT span, low, high FROM spans ORDER BY span")?;
            select.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect()
        };
        let stored = spans().map_err(failed)?;
        let expected = self.spans.iter().zip(0..).map(|((low, high), span)| (span, *low, *high));
        if !expected.eq(stored) {
            return Err(Flaw::of_all("the times that the index gives for spans of entries are not theirs").into());
        }
        let hashes = || -> rusqlite::Result<Vec<(u32, i64, Vec<u8>)>> {
            let mut select = file.prepare("SELECT level, n, hash FROM hashes WHERE level > 0 ORDER BY level, n")?;
            select.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect()
        };
        upper.sort_unstable();
        let stored = hashes().map_err(failed)?;
        if !upper.iter().map(|(level, n, hash)| (*level, *n as i64, hash.0.to_vec())).eq(stored) {
            return Err(Flaw::of_all("hashes above the entries are not theirs").into());
        }
        self.stacks.retain(|number, _| !self.named.contains(number));
        if self.stacks.is_empty() {
            return Ok(());
        }
        Err(Flaw::of_all("the index names a stack that no entry names").into())
    }
}

/// Takes the row about an entry from those read ahead; rows about earlier places have no entry any more.
fn next<T>(rows: &mut VecDeque<T>, index: u64, place: impl Fn(&T) -> u64) -> Option<T> {
    while rows.front().is_some_and(|row| place(row) < index) {
        rows.pop_front();
    }
    rows.front().is_some_and(|row| place(row) == index).then(|| rows.pop_front())?
}
