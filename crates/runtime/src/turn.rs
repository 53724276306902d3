//! Stacks that come after others: who waits for whom, and walks that begin in turn.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::{Shared, join_all};
use tokio::task::JoinSet;
use trued_doors::BoxFuture;
use trued_model::{Stack, StackId, turns};

use crate::report::StackReport;
use crate::runtime::{Aim, Runtime};

/// How many stacks of a pass walk at once, or in serve of one target. Waiting for a target is no work, so the number is generous.
pub(crate) const ABREAST: usize = 64;

impl Runtime {
    /// Which stack that comes first has not landed what it desires now, in a sentence; `None` when all have.
    pub(crate) async fn waits_for(&self, stack: &Stack) -> Option<String> {
        let estate = self.estate();
        for before in &stack.after {
            let name = self.names().write(before);
            let Some(configured) = estate.stacks.get(before) else { return Some(format!("blocked by {name}, which cannot be read now")) };
            let cell = self.cell(before);
            let Ok(memory) = cell.memory(self).await else { return Some(format!("blocked by {name}, whose record cannot be read")) };
            // Boxed: a render of another stack may be asked from within the walk of this one.
            let Ok(wanted) = Box::pin(self.wanted(&cell, configured)).await else {
                return Some(format!("blocked by {name}, which does not render"));
            };
            if !memory.landed.as_ref().is_some_and(|landed| landed.desired == wanted.digest && landed.verified) {
                return Some(format!("blocked by {name}, which has not landed"));
            }
        }
        None
    }

    /// Stacks that come directly after one.
    pub(crate) fn waiting_for(&self, id: &StackId) -> Vec<StackId> {
        let estate = self.estate();
        estate.stacks.values().filter(|stack| stack.after.contains(id)).map(|stack| stack.id.clone()).collect()
    }

    /// Walks some stacks, few at a time, each once those that come first have ended. Each is a task of its own: what one does
    /// with the processor or waits for of a disk holds up no other.
    pub(crate) async fn walk_in_turn(self: &Arc<Self>, ids: &BTreeSet<StackId>, aim: &Aim) -> Vec<StackReport> {
        let mut ahead = self.in_turn(ids, aim).into_iter();
        let (mut walking, mut walked) = (JoinSet::new(), Vec::new());
        loop {
            ahead.by_ref().take(ABREAST - walking.len()).for_each(|walk| drop(walking.spawn(walk)));
            match walking.join_next().await {
                Some(Ok(report)) => walked.push(report),
                // A walk's panic ends in its report; this one is of what is around it.
                Some(Err(error)) => error.try_into_panic().map_or((), |panic| std::panic::resume_unwind(panic)),
                None => return walked,
            }
        }
    }

    /// The walks of some stacks, each of which begins when those that come first have ended. They stand in an order in
    /// which nobody waits for one further back, so that however few walk at once, somebody always can.
    fn in_turn(self: &Arc<Self>, ids: &BTreeSet<StackId>, aim: &Aim) -> Vec<BoxFuture<'static, StackReport>> {
        let estate = self.estate();
        let after = |id: &StackId| estate.stacks.get(id).map_or_else(BTreeSet::new, |stack| stack.after.clone());
        let waits: BTreeMap<StackId, BTreeSet<StackId>> = ids.iter().map(|id| (id.clone(), after(id))).collect();
        let aim = Arc::new(aim.clone());
        let mut ends: BTreeMap<StackId, Shared<oneshot::Receiver<()>>> = BTreeMap::new();
        let mut walk = |id: StackId| {
            let before: Vec<_> = waits[&id].iter().filter_map(|first| ends.get(first).cloned()).collect();
            let (ended, end) = oneshot::channel();
            ends.insert(id.clone(), end.shared());
            let (runtime, aim) = (self.clone(), aim.clone());
            let walk = async move {
                join_all(before).await;
                // Boxed: whose turn has not come keeps no room for a walk.
                let report = runtime.walk_apart(&id, &aim).boxed().await;
                drop(ended);
                report
            };
            walk.boxed()
        };
        turns(&waits).order.into_iter().map(&mut walk).collect()
    }
}
