//! Reading entries: through an index wherever one narrows the search, point by point from there.

use std::ops::Range;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Transaction, params, params_from_iter};
use trued_doors::{Answer, Query};
use trued_model::{Code, Entry, Indexed, Kind, Refusal, StackId};

use super::index::SPAN;
use super::refused;

pub(super) fn find(file: &Connection, query: &Query) -> Answer<Vec<Indexed>> {
    let indices = search(file, query).map_err(|error| refused("search the ledger", error))?;
    let mut select = file.prepare_cached("SELECT leaf FROM entries WHERE idx = ?").map_err(|error| refused("read entries", error))?;
    let read = |index: i64| {
        let leaf: Vec<u8> = select.query_row([index], |row| row.get(0)).map_err(|error| refused(&format!("read entry #{index}"), error))?;
        Ok(Indexed { index: index as u64, entry: entry(index, &leaf)? })
    };
    indices.into_iter().map(read).collect()
}

fn entry(index: i64, leaf: &[u8]) -> Answer<Entry> {
    serde_json::from_slice(leaf)
        .map_err(|error| Refusal::new(Code::Invalid, format!("read entry #{index}: {error}")).help("`trued verify` tells what is wrong"))
}

/// A condition and what it compares with.
type Condition = (&'static str, Value);

/// The places of the entries a query asks for, in its order.
fn search(file: &Connection, query: &Query) -> rusqlite::Result<Vec<i64>> {
    let bounds = bounds(query);
    let mut limit = query.limit.unwrap_or(usize::MAX);
    let Some(searches) = searches(file, query)? else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for range in ranges(file, query, bounds)? {
        if limit == 0 {
            break;
        }
        let mut here = Vec::new();
        for search in &searches {
            search.run(file, &range, query.ascending, limit, &mut here)?;
        }
        here.sort_unstable();
        // Two searches may find the same: one id begins with a prefix as it is and without its `sha256:`.
        here.dedup();
        if !query.ascending {
            here.reverse();
        }
        here.truncate(limit);
        limit -= here.len();
        found.extend(here);
    }
    Ok(found)
}

/// The places a query's index bounds leave.
fn bounds(query: &Query) -> Range<i64> {
    let first = query.after.map_or(0, |after| after.saturating_add(1));
    let end = query.before.unwrap_or(u64::MAX);
    let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    signed(first)..signed(end)
}

/// The stretches in which entries with the times that are asked for can lie, in the query's order.
fn ranges(file: &Connection, query: &Query, bounds: Range<i64>) -> rusqlite::Result<Vec<Range<i64>>> {
    if bounds.is_empty() {
        return Ok(Vec::new());
    }
    let (low, high) = match (query.from, query.until) {
        (None, None) => return Ok(vec![bounds]),
        (from, until) => (from.map_or(i64::MIN, |from| from.0), until.map_or(i64::MAX, |until| until.0)),
    };
    let span = SPAN as i64;
    let mut spans = file.prepare_cached("SELECT span FROM spans WHERE high >= ? AND low <= ? AND span BETWEEN ? AND ? ORDER BY span")?;
    let mut rows = spans.query([low, high, bounds.start / span, (bounds.end - 1) / span])?;
    let mut ranges: Vec<Range<i64>> = Vec::new();
    while let Some(row) = rows.next()? {
        let first = row.get::<_, i64>(0)? * span;
        match ranges.last_mut() {
            Some(last) if last.end == first => last.end += span,
            _ => ranges.push(first..first + span),
        }
    }
    let clamp = |range: &mut Range<i64>| *range = range.start.max(bounds.start)..range.end.min(bounds.end);
    ranges.iter_mut().for_each(clamp);
    if !query.ascending {
        ranges.reverse();
    }
    Ok(ranges)
}

/// One search: an index whose rows come in the entries' order, or few, and what else must hold.
struct Search {
    index: &'static str,
    conditions: Vec<Condition>,
}

/// The searches whose findings together answer a query; `None` when nothing can.
fn searches(file: &Connection, query: &Query) -> rusqlite::Result<Option<Vec<Search>>> {
    let mut common: Vec<Condition> = Vec::new();
    if let Some(stack) = &query.stack {
        let number = file.prepare_cached("SELECT id FROM stacks WHERE stack = ?")?.query_row([stack.key()], |row| row.get(0)).optional()?;
        let Some(number) = number else { return Ok(None) };
        common.push(("stack = ?", Value::Integer(number)));
    }
    common.extend(query.from.map(|from| ("valid_from >= ?", Value::Integer(from.0))));
    common.extend(query.until.map(|until| ("valid_from <= ?", Value::Integer(until.0))));
    if let Some(run) = &query.run {
        common.push(("run = ?", Value::Text(run.clone())));
    }
    let narrowed = |index, more: Vec<Condition>| Search { index, conditions: common.iter().cloned().chain(more).collect() };
    let kinds: Vec<Condition> = distinct(&query.kinds).into_iter().map(|kind| ("kind = ?", Value::Text(kind.word().to_owned()))).collect();
    let revisions = query.revision.as_ref().map(|prefix| prefixes(prefix));
    let each = |index: &'static str, kinds: Vec<Condition>| kinds.into_iter().map(|kind| narrowed(index, vec![kind])).collect();

    Ok(Some(match (&query.run, revisions, &query.stack, kinds.is_empty()) {
        (_, Some(revisions), ..) => {
            let kinds: Vec<Option<Condition>> = if kinds.is_empty() { vec![None] } else { kinds.into_iter().map(Some).collect() };
            let all =
                revisions.into_iter().flat_map(|range| kinds.iter().map(move |kind| range.iter().cloned().chain(kind.clone()).collect()));
            all.map(|more| narrowed("lookup_revision", more)).collect()
        }
        (Some(_), None, _, true) => vec![narrowed("lookup_run", Vec::new())],
        (Some(_), None, _, false) => each("lookup_run", kinds),
        (None, None, Some(_), true) => vec![narrowed("lookup_stack", Vec::new())],
        (None, None, Some(_), false) => each("lookup_stack_kind", kinds),
        (None, None, None, true) => vec![narrowed("", Vec::new())],
        (None, None, None, false) => each("lookup_kind", kinds),
    }))
}

fn distinct(kinds: &[Kind]) -> std::collections::BTreeSet<Kind> {
    kinds.iter().copied().collect()
}

/// The stretches of revision ids that begin with a prefix, with `sha256:` before it or not.
fn prefixes(prefix: &str) -> Vec<Vec<Condition>> {
    let stretch = |begins: String| {
        let end = format!("{begins}{}", char::MAX);
        vec![("revision >= ?", Value::Text(begins)), ("revision < ?", Value::Text(end))]
    };
    vec![stretch(prefix.to_owned()), stretch(format!("sha256:{prefix}"))]
}

impl Search {
    fn run(&self, file: &Connection, within: &Range<i64>, ascending: bool, limit: usize, found: &mut Vec<i64>) -> rusqlite::Result<()> {
        let mut select = file.prepare_cached(&self.sql(ascending))?;
        let mut rows = select.query(params_from_iter(self.values(within, limit)))?;
        while let Some(row) = rows.next()? {
            found.push(row.get(0)?);
        }
        Ok(())
    }

    fn sql(&self, ascending: bool) -> String {
        let index = if self.index.is_empty() { String::new() } else { format!(" INDEXED BY {}", self.index) };
        let conditions: String = self.conditions.iter().map(|(condition, _)| format!(" AND {condition}")).collect();
        let order = if ascending { "ASC" } else { "DESC" };
        format!("SELECT idx FROM lookup{index} WHERE idx >= ? AND idx < ?{conditions} ORDER BY idx {order} LIMIT ?")
    }

    /// What stands for the question marks of [`Search::sql`].
    fn values(&self, within: &Range<i64>, limit: usize) -> impl Iterator<Item = Value> {
        let bounds = [within.start, within.end].map(Value::Integer);
        let limit = Value::Integer(i64::try_from(limit).unwrap_or(i64::MAX));
        bounds.into_iter().chain(self.conditions.iter().map(|(_, value)| value.clone())).chain([limit])
    }
}

pub(crate) fn leaves(file: &Connection, from: u64, until: u64) -> Answer<Vec<Vec<u8>>> {
    let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let read = || -> rusqlite::Result<Vec<Vec<u8>>> {
        let mut select = file.prepare_cached("SELECT leaf FROM entries WHERE idx >= ? AND idx < ? ORDER BY idx")?;
        select.query_map([signed(from), signed(until)], |row| row.get(0))?.collect()
    };
    read().map_err(|error| refused("read entries", error))
}

pub(super) fn stacks(file: &Connection) -> Answer<Vec<StackId>> {
    let read =
        || -> rusqlite::Result<Vec<String>> { file.prepare_cached("SELECT stack FROM stacks")?.query_map([], |row| row.get(0))?.collect() };
    let keys = read().map_err(|error| refused("read the stacks", error))?;
    let unreadable = |key: &str| Refusal::new(Code::Invalid, format!("read the stacks: {key} is none"));
    let mut stacks = keys.iter().map(|key| StackId::from_key(key).ok_or_else(|| unreadable(key))).collect::<Answer<Vec<_>>>()?;
    stacks.sort();
    Ok(stacks)
}

pub(super) fn note(file: &Connection, key: &str) -> Answer<Option<Vec<u8>>> {
    let note = file.prepare_cached("SELECT value FROM notes WHERE key = ?");
    let note = note.and_then(|mut note| note.query_row([key], |row| row.get(0)).optional());
    note.map_err(|error| refused("read a note", error))
}

pub(super) fn set_note(step: &Transaction<'_>, key: &str, value: &[u8]) -> Answer<()> {
    let set = step.prepare_cached("INSERT OR REPLACE INTO notes VALUES(?, ?)");
    set.and_then(|mut set| set.execute(params![key, value])).map(|_| ()).map_err(|error| refused("write a note", error))
}

#[cfg(test)]
mod tests {
    use trued_model::Timestamp;

    use super::*;
    use crate::sqlite::schema;

    fn empty() -> Connection {
        let mut file = Connection::open_in_memory().expect("a file in memory");
        schema::migrate(&mut file, schema::STEPS).expect("tables");
        file.execute("INSERT INTO stacks(stack) VALUES('prod/site@web')", []).expect("a stack");
        file
    }

    /// Each step of SQLite's plans for a query, in its words.
    fn steps(file: &Connection, query: &Query) -> Vec<String> {
        let searches = searches(file, query).expect("a stack that is known").expect("a stack that is known");
        let explained = |search: &Search| {
            let sql = format!("EXPLAIN QUERY PLAN {}", search.sql(query.ascending));
            let mut explain = file.prepare(&sql).expect("a query");
            let steps = explain.query_map(params_from_iter(search.values(&(0..1), 1)), |row| row.get::<_, String>(3)).expect("a plan");
            steps.collect::<rusqlite::Result<Vec<_>>>().expect("a plan")
        };
        searches.iter().flat_map(explained).collect()
    }

    /// A search reads its index in the entries' order and stops at the limit: nothing is scanned, nothing sorted. Only
    /// revisions are sorted, of which there are few entries each.
    #[test]
    fn queries_stop_where_their_limit_is() {
        let file = empty();
        let stack = StackId::from_key("prod/site@web");
        let until = Some(Timestamp(0));
        let kinds = vec![Kind::Verdict, Kind::DriftOpened];
        for (query, index) in [
            (
                Query { stack: stack.clone(), kinds: kinds.clone(), until, ..Query::default() },
                "lookup_stack_kind (stack=? AND kind=? AND rowid>? AND rowid<?)",
            ),
            (Query { stack: stack.clone(), until, ..Query::default() }, "lookup_stack (stack=? AND rowid>? AND rowid<?)"),
            (Query { kinds, ascending: true, ..Query::default() }, "lookup_kind (kind=? AND rowid>? AND rowid<?)"),
            (Query { run: Some("a".to_owned()), stack, ..Query::default() }, "lookup_run (run=? AND rowid>? AND rowid<?)"),
            (Query { until, ..Query::default() }, "INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
        ] {
            for step in steps(&file, &query) {
                assert!(step.starts_with("SEARCH lookup USING") && step.ends_with(index), "{query:?}: {step}");
            }
        }
        let steps = steps(&file, &Query { revision: Some("9f1c".to_owned()), ..Query::default() });
        assert!(steps.iter().any(|step| step.contains("lookup_revision (revision>? AND revision<?")), "{steps:?}");
        assert!(!steps.iter().any(|step| step.starts_with("SCAN")), "{steps:?}");
    }
}
