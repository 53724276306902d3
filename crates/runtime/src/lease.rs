//! One applier per stack: taking, keeping and giving back leases.

use trued_doors::{Answer, Fence, Link};
use trued_engine::planted::{self, Bug};
use trued_model::{Code, Duration, Refusal};

use crate::cell::Cell;
use crate::runtime::Runtime;

/// How long a lease lasts without renewal.
pub(crate) const TERM: Duration = Duration::from_secs(15);
/// In how many parts of its term a long-lived process renews a lease: two renewals may fail before it is lost.
const RENEWALS: u64 = 3;
/// The last part of a term is left to whoever comes next: a holder that could not renew does nothing any more by then.
const MARGIN: u64 = 5;

/// A lease, as its holder knows of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub epoch: u64,
    /// When it was asked for or renewed last, in milliseconds of the clock that never jumps: its term began no earlier.
    since: u64,
}

impl Runtime {
    /// Makes sure this process holds the stack's lease, and gives its epoch: never below what the target has seen.
    pub(crate) async fn lease(&self, cell: &Cell, link: &dyn Link) -> Answer<u64> {
        let since = self.doors.clock.monotonic();
        let held = cell.kept().lease;
        if let Some(held) = held.filter(|held| since < self.safe_until(held)) {
            return Ok(held.epoch);
        }
        let seen = link.epoch(&cell.id).await?;
        let lease = self.doors.store.take(&cell.id, &self.doors.holder, seen, self.term).await?;
        cell.kept().lease = Some(Held { epoch: lease.epoch, since });
        Ok(lease.epoch)
    }

    /// Until when a holder may act on a lease that it cannot renew.
    fn safe_until(&self, held: &Held) -> u64 {
        let term = if planted::has(Bug::NoFence) { u64::MAX } else { self.term.as_millis() };
        held.since.saturating_add(term - term / MARGIN)
    }

    /// Comes back once nothing may be done any more under the stack's lease: it is lost, or was not renewed for too long.
    pub(crate) async fn lease_over(&self, cell: &Cell) {
        loop {
            let now = self.doors.clock.monotonic();
            let left = cell.kept().lease.map_or(0, |held| self.safe_until(&held).saturating_sub(now));
            if left == 0 {
                return;
            }
            tokio::time::sleep(Duration(left).to_std()).await;
        }
    }

    /// The condition on entries that only the lease's holder may write.
    pub(crate) fn fence(&self, cell: &Cell, epoch: u64) -> Option<Fence> {
        (!planted::has(Bug::NoFence)).then(|| Fence { stack: cell.id.clone(), epoch })
    }

    /// Forgets a lease that turned out to be lost; the next walk takes a new one.
    pub(crate) fn lost(&self, cell: &Cell, refusal: &Refusal) {
        if refusal.code == Code::Fenced {
            cell.kept().lease = None;
        }
    }

    /// How often leases are prolonged.
    pub(crate) fn renew_every(&self) -> Duration {
        Duration(self.term.as_millis() / RENEWALS)
    }

    /// Prolongs all leases; called by whoever lives long. One that is not ours any more runs out where it is.
    pub(crate) async fn renew(&self) -> Answer<()> {
        let since = self.doors.clock.monotonic();
        let renewed = self.doors.store.renew(&self.doors.holder, self.term).await.inspect_err(|refusal| self.end_for(refusal))?;
        for stack in renewed {
            let cell = self.cell(&stack);
            let mut kept = cell.kept();
            if let Some(held) = &mut kept.lease {
                held.since = since;
            }
        }
        Ok(())
    }

    /// Gives all leases back.
    pub async fn release(&self) -> Answer<()> {
        for cell in self.cells().iter() {
            cell.kept().lease = None;
        }
        self.doors.store.release(&self.doors.holder).await
    }
}
