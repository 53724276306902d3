//! Leases and fences in the file. The rule for them is the same for all stores.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use trued_doors::{Answer, Fence, Holder, Lease};
use trued_model::{Duration, StackId};

use super::refused;
use crate::lease::{self, Held, Moment};
use crate::process;

const COLUMNS: &str = "epoch, pid, started, boot, verb, until";

fn held(row: &Row<'_>) -> rusqlite::Result<Held> {
    let pid: Option<u32> = row.get(1)?;
    let holder = match pid {
        Some(pid) => Some(Holder { pid, started: row.get::<_, i64>(2)? as u64, boot: row.get(3)?, verb: row.get(4)? }),
        None => None,
    };
    Ok(Held { epoch: row.get::<_, i64>(0)? as u64, holder, until: row.get::<_, i64>(5)? as u64 })
}

fn of(file: &Connection, stack: &StackId) -> rusqlite::Result<Option<Held>> {
    let mut select = file.prepare_cached(&format!("SELECT {COLUMNS} FROM leases WHERE stack = ?"))?;
    select.query_row([stack.key()], held).optional()
}

/// Refuses when a fence no longer holds.
pub(super) fn passes(file: &Connection, fence: &Fence) -> Answer<()> {
    let newest = of(file, &fence.stack).map_err(|error| refused("read the leases", error))?;
    lease::passes(fence.epoch, newest.map(|held| held.epoch), &fence.stack)
}

pub(super) fn take(step: &Transaction<'_>, stack: StackId, holder: Holder, at_least: u64, now: u64, term: Duration) -> Answer<Lease> {
    let failed = |error| refused("take a lease", error);
    let held = of(step, &stack).map_err(failed)?;
    let epoch = Moment { since_boot: now, alive: &process::alive }.take(held.as_ref(), &stack, &holder, at_least)?;
    let until = signed(now.saturating_add(term.0));
    let insert = format!("INSERT OR REPLACE INTO leases(stack, {COLUMNS}) VALUES(?, ?, ?, ?, ?, ?, ?)");
    let row = params![stack.key(), epoch as i64, holder.pid, signed(holder.started), holder.boot, holder.verb, until];
    step.prepare_cached(&insert).and_then(|mut insert| insert.execute(row)).map_err(failed)?;
    Ok(Lease { stack, epoch, holder })
}

pub(super) fn renew(step: &Transaction<'_>, holder: &Holder, until: u64) -> Answer<Vec<StackId>> {
    let renewed = || -> rusqlite::Result<Vec<String>> {
        let mut update = step.prepare_cached("UPDATE leases SET until = ? WHERE pid = ? AND started = ? AND boot = ? RETURNING stack")?;
        update.query_map(params![signed(until), holder.pid, signed(holder.started), holder.boot], |row| row.get(0))?.collect()
    };
    let renewed = renewed().map_err(|error| refused("renew the leases", error))?;
    Ok(renewed.iter().filter_map(|key| StackId::from_key(key)).collect())
}

pub(super) fn release(step: &Transaction<'_>, holder: &Holder) -> Answer<()> {
    let released = step
        .prepare_cached("UPDATE leases SET pid = NULL WHERE pid = ? AND started = ? AND boot = ?")
        .and_then(|mut update| update.execute(params![holder.pid, signed(holder.started), holder.boot]));
    released.map(|_| ()).map_err(|error| refused("give the leases back", error))
}

/// Living holders, each once.
pub(super) fn holders(file: &Connection, now: u64) -> Answer<Vec<Holder>> {
    let all = || -> rusqlite::Result<Vec<Held>> {
        let mut select = file.prepare_cached(&format!("SELECT {COLUMNS} FROM leases WHERE pid IS NOT NULL ORDER BY pid, started"))?;
        select.query_map([], held)?.collect()
    };
    let all = all().map_err(|error| refused("read the leases", error))?;
    let moment = Moment { since_boot: now, alive: &process::alive };
    let mut living: Vec<Holder> = all.iter().filter_map(|held| moment.holder(held).cloned()).collect();
    living.dedup_by(|one, other| lease::same(one, other));
    Ok(living)
}

/// SQLite's integers are signed; no clock and no process counts that far.
fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
