//! Narrow reads: the few entries that answer a question, however long the record is. Judges none of them.

use std::collections::BTreeMap;

use trued_doors::Query;
use trued_engine::history::{self, STATE_BEARING};
use trued_engine::{StackMemory, fold};
use trued_model::body::{Happened, Happenings, Landed, Looks};
use trued_model::{Address, Duration, Estate, Indexed, Kind, Plan, StackId, Timestamp};

use crate::record::Record;

/// Entries read at a time where how far to read is not known beforehand.
const PAGE: usize = 64;
/// Heartbeats whose looks are read: several processes write them, each of its own stacks.
const HEARTBEATS: usize = 8;

/// The entries around an instant that [`history::at`] needs, in index order, and the looks that heartbeats tell of.
pub async fn around(record: &Record, stack: &StackId, at: Timestamp) -> anyhow::Result<(Vec<Indexed>, Vec<Timestamp>)> {
    let of = |kinds: &[Kind]| Query { stack: Some(stack.clone()), kinds: kinds.to_vec(), ..Query::default() };
    let past = |kinds: &[Kind]| Query { until: Some(at), ..of(kinds) };
    let future = |kinds: &[Kind]| Query { from: Some(at + Duration(1)), ascending: true, ..of(kinds) };
    let shows = |e: &Indexed| e.entry.blob("observed").is_some();

    let last = record.first(past(&STATE_BEARING), shows).await?;
    let next = record.first(future(&STATE_BEARING), shows).await?;
    let landed = record.first(past(&[Kind::Verdict, Kind::Observed]), history::lands).await?;
    let intent = record.first(past(&[Kind::Intent]), |_| true).await?;
    let mut found: Vec<Indexed> = Vec::new();
    if let Some(intent) = &intent {
        let ends = Query { after: Some(intent.index), ascending: true, limit: Some(4), ..of(&[Kind::Verdict, Kind::Observed]) };
        found.extend(record.find(ends).await?);
    }
    if let Some(run) = next.as_ref().and_then(|next| next.entry.run.clone()) {
        found.extend(record.find(Query { run: Some(run), limit: Some(PAGE), ..of(&[Kind::Intent]) }).await?);
    }
    if let Some(index) = next.as_ref().and_then(|next| next.entry.link("outcome-of")) {
        found.push(record.entry(index).await?);
    }
    found.extend(record.first(past(&[Kind::BlindStart, Kind::BlindEnd]), |_| true).await?);
    found.extend(record.first(future(&[Kind::BlindStart, Kind::BlindEnd]), |_| true).await?);

    let until = next.as_ref().map(|next| next.entry.valid_from);
    let mut looks = looks(record, stack, until).await?;
    looks.extend(self::looks(record, stack, Some(at)).await?);
    found.extend([last, next, landed, intent].into_iter().flatten());
    found.sort_by_key(|e| e.index);
    found.dedup_by_key(|e| e.index);
    Ok((found, looks))
}

/// Complete looks at a stack that the newest heartbeats up to an instant tell of.
pub async fn looks(record: &Record, stack: &StackId, until: Option<Timestamp>) -> anyhow::Result<Vec<Timestamp>> {
    let beats = record.find(Query { kinds: vec![Kind::Heartbeat], until, limit: Some(HEARTBEATS), ..Query::default() }).await?;
    let key = stack.key();
    let mut looks = Vec::new();
    for beat in &beats {
        // A blob that is gone or not understood vouches for nothing.
        let Some(bytes) = beat.entry.blob("looks").and_then(|blob| record.blobs.get(&blob.digest).ok()) else { continue };
        looks.extend(serde_json::from_slice::<Looks>(&bytes).ok().and_then(|looks| looks.at.get(&key).copied()));
    }
    Ok(looks)
}

/// The configuration that was accepted last, as the record has it.
pub async fn estate(record: &Record) -> anyhow::Result<Option<Estate>> {
    let newest =
        record.first(Query { kinds: vec![Kind::ConfigChanged], ..Query::default() }, |e| e.entry.blob("configuration").is_some()).await?;
    let Some(blob) = newest.as_ref().and_then(|newest| newest.entry.blob("configuration")) else { return Ok(None) };
    Ok(Some(serde_json::from_slice(&record.blobs.get(&blob.digest)?)?))
}

/// What the record says of a stack: the runtime's last snapshot, and what came after it.
pub async fn memory(record: &Record, stack: &StackId) -> anyhow::Result<StackMemory> {
    let snapshot = record.store.note(&trued_runtime::snapshot_key(stack)).await?;
    let mut memory: StackMemory = snapshot.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    loop {
        let after = memory.through.checked_sub(1);
        let query = Query { stack: Some(stack.clone()), after, ascending: true, limit: Some(1024), ..Query::default() };
        let entries = record.find(query).await?;
        entries.iter().for_each(|e| fold(&mut memory, e));
        if entries.len() < 1024 {
            return Ok(memory);
        }
    }
}

/// What the record says of all stacks.
pub async fn memories(record: &Record, stacks: &[StackId]) -> anyhow::Result<BTreeMap<StackId, StackMemory>> {
    let mut memories = BTreeMap::new();
    for stack in stacks {
        memories.insert(stack.clone(), memory(record, stack).await?);
    }
    Ok(memories)
}

/// Incident entries that belong to no stack, in index order.
pub async fn loose_incidents(record: &Record) -> anyhow::Result<Vec<Indexed>> {
    let kinds = vec![Kind::IncidentOpened, Kind::IncidentClosed];
    let mut all = record.find(Query { kinds, ascending: true, ..Query::default() }).await?;
    all.retain(|e| e.entry.stack.is_none());
    Ok(all)
}

/// The newest change that touched an address, with its reasons; `None` when none did.
pub async fn touch(record: &Record, stack: &StackId, address: &Address) -> anyhow::Result<Option<history::Touch>> {
    let mut before = None;
    loop {
        let query = Query { stack: Some(stack.clone()), kinds: vec![Kind::Receipt], before, limit: Some(PAGE), ..Query::default() };
        let receipts = record.find(query).await?;
        for receipt in &receipts {
            if let Some(landed) = changes(record, receipt)?.into_iter().find(|landed| landed.address == *address) {
                let reasons = reasons(record, receipt, address).await?;
                return Ok(Some(history::Touch { receipt: receipt.index, landed, reasons }));
            }
        }
        match receipts.last() {
            Some(oldest) if receipts.len() == PAGE => before = Some(oldest.index),
            _ => return Ok(None),
        }
    }
}

/// The stack's entries that may have to do with a touch: its run, the drifts and answers around it, what its intent names.
pub async fn chain(record: &Record, stack: &StackId, touch: Option<&history::Touch>) -> anyhow::Result<Vec<Indexed>> {
    let of = |kinds: &[Kind]| Query { stack: Some(stack.clone()), kinds: kinds.to_vec(), limit: Some(PAGE), ..Query::default() };
    let mut found = record.find(of(&[Kind::DriftOpened, Kind::DriftUpdated, Kind::Answered])).await?;
    // What targets told belongs to no stack.
    found.extend(
        record.find(Query { kinds: vec![Kind::Observed], limit: Some(PAGE), ..Query::default() }).await?.into_iter().filter(happening),
    );
    let newest = match touch {
        Some(touch) => Some(record.entry(touch.receipt).await?),
        None => record.first(of(&[Kind::Intent]), |_| true).await?,
    };
    if let Some(newest) = newest {
        if let Some(run) = newest.entry.run.clone() {
            found.extend(record.find(Query { run: Some(run), limit: Some(1024), ..Query::default() }).await?);
        }
        found.push(newest);
    }
    let known: Vec<u64> = found.iter().map(|e| e.index).collect();
    let links = found.iter().filter(|e| e.entry.kind == Kind::Intent).flat_map(|e| &e.entry.links);
    let links: Vec<u64> = links.map(|link| link.index).filter(|index| !known.contains(index)).collect();
    for index in links {
        found.push(record.entry(index).await?);
    }
    // What signatures said of the revision belongs to no stack.
    let intent = found.iter().filter(|e| e.entry.kind == Kind::Intent).max_by_key(|e| e.index);
    if let Some(revision) = intent.and_then(|intent| intent.entry.revision.clone()) {
        let query = Query { kinds: vec![Kind::Verified], revision: Some(revision), limit: Some(1), ..Query::default() };
        found.extend(record.find(query).await?);
    }
    found.sort_by_key(|e| e.index);
    found.dedup_by_key(|e| e.index);
    Ok(found)
}

/// The same as it stood at an instant: the newest run that had begun, what it points to, and the drifts before it.
pub async fn chain_at(record: &Record, stack: &StackId, at: Timestamp) -> anyhow::Result<Vec<Indexed>> {
    let of = |kinds: &[Kind]| Query {
        stack: Some(stack.clone()),
        kinds: kinds.to_vec(),
        until: Some(at),
        limit: Some(PAGE),
        ..Query::default()
    };
    let mut found = record.find(of(&[Kind::DriftOpened, Kind::DriftUpdated, Kind::Answered])).await?;
    if let Some(intent) = record.first(of(&[Kind::Intent]), |_| true).await? {
        let run = Query { run: intent.entry.run.clone(), limit: Some(1024), ..Query::default() };
        if intent.entry.run.is_some() {
            found.extend(record.find(run).await?);
        }
        for link in &intent.entry.links {
            found.push(record.entry(link.index).await?);
        }
        if let Some(revision) = intent.entry.revision.clone() {
            let query = Query { kinds: vec![Kind::Verified], revision: Some(revision), limit: Some(1), ..Query::default() };
            found.extend(record.find(query).await?);
        }
        found.push(intent);
    }
    found.sort_by_key(|e| e.index);
    found.dedup_by_key(|e| e.index);
    Ok(found)
}

fn changes(record: &Record, receipt: &Indexed) -> anyhow::Result<Vec<Landed>> {
    let Some(blob) = receipt.entry.blob("changes") else { return Ok(Vec::new()) };
    Ok(serde_json::from_slice(&record.blobs.get(&blob.digest)?)?)
}

async fn reasons(record: &Record, receipt: &Indexed, address: &Address) -> anyhow::Result<Vec<trued_model::Reason>> {
    let Some(intent) = receipt.entry.link("receipt-of") else { return Ok(Vec::new()) };
    let intent = record.entry(intent).await?;
    let Some(bytes) = intent.entry.blob("plan").and_then(|blob| record.blobs.get(&blob.digest).ok()) else { return Ok(Vec::new()) };
    let plan: Plan = serde_json::from_slice(&bytes)?;
    Ok(plan.changes.into_iter().find(|change| change.address == *address).map(|change| change.reasons).unwrap_or_default())
}

/// Whether an entry tells what happened on a target.
fn happening(entry: &Indexed) -> bool {
    entry.entry.stack.is_none() && entry.entry.kind == Kind::Observed
}

/// What a stack's target told to have happened near an instant, oldest first.
pub async fn happened_around(record: &Record, stack: &StackId, at: Timestamp, within: Duration) -> anyhow::Result<Vec<Happened>> {
    let query =
        Query { kinds: vec![Kind::Observed], from: Some(at - within), until: Some(at + within), ascending: true, ..Query::default() };
    let entries = record.find(query).await?;
    let told = entries.iter().filter(|e| happening(e)).filter_map(|e| e.entry.body::<Happenings>().ok());
    Ok(told.filter(|told| told.target == stack.target).flat_map(|told| told.happened).collect())
}
