//! Who may have a stack's lease: one rule for all stores. Knows no storage and no process.

use trued_doors::{Answer, Holder};
use trued_model::{Code, Refusal, StackId};

/// A stack's lease as a store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub epoch: u64,
    /// `None` once it was given back.
    pub holder: Option<Holder>,
    /// When its term ends, in milliseconds since boot.
    pub until: u64,
}

/// Where leases are kept, the present moment of the boot clock, and who lives.
pub(crate) struct Moment<'a> {
    pub since_boot: u64,
    pub alive: &'a dyn Fn(&Holder) -> bool,
}

impl Moment<'_> {
    /// The holder, if its lease still holds: it lives, and its term has not ended.
    pub fn holder<'h>(&self, held: &'h Held) -> Option<&'h Holder> {
        held.holder.as_ref().filter(|holder| self.since_boot < held.until && (self.alive)(holder))
    }

    /// Decides a wish for a stack's lease: the epoch it is given under.
    pub fn take(&self, held: Option<&Held>, stack: &StackId, wishes: &Holder, at_least: u64) -> Answer<u64> {
        let known = held.map_or(0, |held| held.epoch);
        let own = held.and_then(|held| held.holder.as_ref()).is_some_and(|holder| same(holder, wishes));
        if own && known >= at_least {
            return Ok(known);
        }
        let in_the_way = |holder: &&Holder| !same(holder, wishes) && boot(holder) == boot(wishes);
        if let Some(holder) = held.and_then(|held| self.holder(held)).filter(in_the_way) {
            let message = format!("take the lease of {stack:?}: process {} ({}) has it", holder.pid, holder.verb);
            return Err(Refusal::new(Code::Denied, message).help("wait until it ends, or stop that process"));
        }
        // One bit is left free: stores keep epochs as signed integers.
        let epoch = known.max(at_least).checked_add(1).filter(|epoch| i64::try_from(*epoch).is_ok());
        epoch.ok_or_else(|| Refusal::new(Code::Invalid, format!("take the lease of {stack:?}: the target claims epoch {at_least}")))
    }
}

/// The boot a process belongs to; what may follow it (a PID namespace) tells processes apart, not boots.
pub(crate) fn boot(holder: &Holder) -> &str {
    holder.boot.split(' ').next().unwrap_or_default()
}

/// Whether two name the same process; what it does there may differ.
pub(crate) fn same(one: &Holder, other: &Holder) -> bool {
    (one.pid, one.started, &one.boot) == (other.pid, other.started, &other.boot)
}

/// Whether an append may pass a fence: the stack's newest lease is the one the fence names.
pub(crate) fn passes(epoch: u64, newest: Option<u64>, stack: &StackId) -> Answer<()> {
    match newest {
        Some(newest) if newest == epoch => Ok(()),
        _ => {
            let newest = newest.unwrap_or(0);
            let message = format!("record for {stack:?} under epoch {epoch}: the newest is {newest}");
            Err(Refusal::new(Code::Fenced, message).help("another process owns this stack now"))
        }
    }
}
