//! The tasks of a serving runtime: one per stack and one watcher per target, and the bells that wake them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::StreamExt;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use trued_model::{Address, Duration, Estate, Name, StackId, Target};

use crate::cell::Cells;
use crate::gained::Concerned;
use crate::happenings;
use crate::runtime::Runtime;
use crate::turn::ABREAST;

/// How long stopping waits for batches in hand.
const DRAIN: Duration = Duration::from_secs(30);

/// One bell per stack, and for each target the turns of those who walk there.
#[derive(Default)]
pub(crate) struct Bell {
    stacks: std::sync::Mutex<BTreeMap<StackId, Arc<Notify>>>,
    turns: std::sync::Mutex<BTreeMap<Name, Arc<Semaphore>>>,
}

impl Bell {
    pub(crate) fn of(&self, id: &StackId) -> Arc<Notify> {
        let mut stacks = self.stacks.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        stacks.entry(id.clone()).or_default().clone()
    }

    /// Waits until fewer than [`ABREAST`] weigh or walk on a target: a thousand that wake at once would otherwise each hold what
    /// a walk needs.
    pub(crate) async fn turn(&self, target: &Name) -> Option<OwnedSemaphorePermit> {
        let turns = {
            let mut turns = self.turns.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            turns.entry(target.clone()).or_insert_with(|| Arc::new(Semaphore::new(ABREAST))).clone()
        };
        turns.acquire_owned().await.ok()
    }

    pub(crate) fn ring(&self, concerned: &Concerned) {
        match concerned {
            Concerned::Everybody => self.ring_all(),
            Concerned::These(stacks) => stacks.iter().for_each(|id| self.of(id).notify_one()),
        }
    }

    pub(crate) fn ring_all(&self) {
        let stacks = self.stacks.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        stacks.values().for_each(|bell| bell.notify_one());
    }
}

/// The tasks of a serving runtime: one per stack, one watcher per target.
#[derive(Default)]
pub(crate) struct Tasks {
    stacks: BTreeMap<StackId, JoinHandle<()>>,
    /// With the target each watches: one whose settings changed is watched anew.
    watchers: BTreeMap<Name, (Target, JoinHandle<()>)>,
    /// For whom all of them were started.
    followed: Option<(Arc<Estate>, Cells)>,
}

impl Tasks {
    /// Starts what is new and ends what is gone.
    pub(crate) fn follow(&mut self, runtime: &Arc<Runtime>, bell: &Arc<Bell>) {
        let (estate, cells) = (runtime.estate(), runtime.cells());
        if self.all_run_for(&estate, &cells) {
            return;
        }
        let ids: BTreeSet<&StackId> = cells.iter().map(|cell| &cell.id).collect();
        // A stack that is gone ends after its walk in hand; it is dropped from here only once it has ended.
        self.stacks.retain(|id, task| ids.contains(id) || !task.is_finished());
        for cell in cells.iter() {
            let running = self.stacks.get(&cell.id).is_some_and(|task| !task.is_finished());
            if !running {
                let task = tokio::spawn(runtime.clone().live(cell.id.clone(), bell.clone()));
                self.stacks.insert(cell.id.clone(), task);
            }
        }
        let targets: BTreeSet<&Name> = cells.iter().map(|cell| &cell.id.target).collect();
        for target in targets.into_iter().filter_map(|name| estate.targets.get(name)) {
            let running = self.watchers.get(&target.name).is_some_and(|(watched, task)| watched == target && !task.is_finished());
            if !running {
                let (watching, hearing) = (runtime.clone(), runtime.clone());
                let (name, bell) = (target.name.clone(), bell.clone());
                // What happens is heard as long as changes are watched: both use one line, and get a new one together.
                let task = tokio::spawn(async move {
                    let hearing = async {
                        happenings::hear(hearing, name.clone()).await;
                        futures::future::pending::<()>().await;
                    };
                    tokio::select! { () = watch_target(watching, name.clone(), bell) => {}, () = hearing => {} }
                });
                if let Some((_, old)) = self.watchers.insert(target.name.clone(), (target.clone(), task)) {
                    old.abort();
                }
            }
        }
        self.followed = Some((estate, cells));
    }

    /// Whether everybody there is has its task, and it runs.
    fn all_run_for(&self, estate: &Arc<Estate>, cells: &Cells) -> bool {
        let same = self.followed.as_ref().is_some_and(|known| Arc::ptr_eq(&known.0, estate) && Arc::ptr_eq(&known.1, cells));
        let mut tasks = self.stacks.values().chain(self.watchers.values().map(|(_, task)| task));
        same && tasks.all(|task| !task.is_finished())
    }

    /// Waits for walks in hand to end at a batch.
    pub(crate) async fn drain(self) {
        self.watchers.values().for_each(|(_, task)| task.abort());
        let stacks: Vec<JoinHandle<()>> = self.stacks.into_values().collect();
        let aborts: Vec<_> = stacks.iter().map(JoinHandle::abort_handle).collect();
        if tokio::time::timeout(DRAIN.to_std(), futures::future::join_all(stacks)).await.is_err() {
            tracing::warn!("some stacks did not stop in time; the next start looks and closes their runs");
            aborts.iter().for_each(tokio::task::AbortHandle::abort);
        }
    }
}

/// Turns a target's hints into wakes of the stacks they are about.
async fn watch_target(runtime: Arc<Runtime>, target: Name, bell: Arc<Bell>) {
    let Ok(link) = runtime.link(&target).await else {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        return;
    };
    let Some(mut hints) = link.watch() else {
        // No hints here: looks at intervals are all there is. The task stays, so that it is not started again.
        return futures::future::pending().await;
    };
    let nested = link.facts().await.is_ok_and(|facts| facts.nested);
    while let Some(hint) = hints.next().await {
        let estate = runtime.estate();
        for cell in runtime.cells().iter().filter(|cell| cell.id.target == target) {
            let into = estate.stacks.get(&cell.id).map_or("", |stack| stack.into.as_str());
            let inside = |inner: &str, outer: &str| inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            // A hint about a folder above the stack's place may be about the place itself. Where addresses do not nest, a
            // stack's place is no part of them: what counts is what it desires and has.
            let near = |address: &Address| match nested {
                true => into.is_empty() || inside(address.as_str(), into) || inside(into, address.as_str()),
                false => cell.kept().may_be_about(address),
            };
            if hint.addresses.is_empty() || hint.addresses.iter().any(near) {
                cell.kept().hinted = true;
                bell.of(&cell.id).notify_one();
            }
        }
    }
    runtime.hang_up(&target);
}
