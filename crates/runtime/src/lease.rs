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

impl Runtime {
    /// Makes sure this process holds the stack's lease, and gives its epoch: never below what the target has seen.
    pub(crate) async fn lease(&self, cell: &Cell, link: &dyn Link) -> Answer<u64> {
        let held = cell.kept().epoch;
        if let Some(epoch) = held {
            return Ok(epoch);
        }
        let seen = link.epoch(&cell.id).await?;
        let lease = self.doors.store.take(&cell.id, &self.doors.holder, seen, self.term).await?;
        cell.kept().epoch = Some(lease.epoch);
        Ok(lease.epoch)
    }

    /// The condition on entries that only the lease's holder may write.
    pub(crate) fn fence(&self, cell: &Cell, epoch: u64) -> Option<Fence> {
        (!planted::has(Bug::NoFence)).then(|| Fence { stack: cell.id.clone(), epoch })
    }

    /// Forgets a lease that turned out to be lost; the next walk takes a new one.
    pub(crate) fn lost(&self, cell: &Cell, refusal: &Refusal) {
        if refusal.code == Code::Fenced {
            cell.kept().epoch = None;
        }
    }

    /// How often leases are prolonged.
    pub(crate) fn renew_every(&self) -> Duration {
        Duration(self.term.as_millis() / RENEWALS)
    }

    /// Prolongs all leases; called by whoever lives long.
    pub(crate) async fn renew(&self) -> Answer<()> {
        self.doors.store.renew(&self.doors.holder, self.term).await
    }

    /// Gives all leases back.
    pub async fn release(&self) -> Answer<()> {
        for cell in self.cells().iter() {
            cell.kept().epoch = None;
        }
        self.doors.store.release(&self.doors.holder).await
    }
}
