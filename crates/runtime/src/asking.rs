//! Asking sources again and again: all at once, and a turn goes on without those that do not answer soon. What they answer later
//! counts from the turn after it.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, timeout_at};
use trued_doors::BoxFuture;
use trued_model::{Duration, Finding, Name, Revision, SourceSpec};

use crate::runtime::{Aim, Runtime};

/// How long a turn waits for sources that were asked in it. Others have news meanwhile.
const PATIENCE: Duration = Duration::from_secs(5);

/// What came of asking one source.
pub(crate) struct Told {
    pub spec: SourceSpec,
    pub revision: Option<Revision>,
    pub findings: Vec<Finding>,
}

/// The sources that were asked and have not answered.
pub(crate) struct Asking {
    runtime: Arc<Runtime>,
    open: BTreeMap<Name, SourceSpec>,
    asked: FuturesUnordered<BoxFuture<'static, Told>>,
}

impl Asking {
    pub fn new(runtime: Arc<Runtime>) -> Asking {
        Asking { runtime, open: BTreeMap::new(), asked: FuturesUnordered::new() }
    }

    /// Asks each source that is not being asked yet; of those that do not answer in time, gives what was accepted last.
    pub async fn turn(&mut self, specs: &BTreeMap<Name, SourceSpec>, aim: &Aim) -> Vec<Told> {
        self.open.retain(|name, spec| specs.get(name) == Some(spec));
        let new: Vec<&SourceSpec> = specs.values().filter(|spec| !self.open.contains_key(&spec.name)).collect();
        let until = Instant::now() + if new.is_empty() { Duration(0) } else { PATIENCE }.to_std();
        for spec in new {
            self.open.insert(spec.name.clone(), spec.clone());
            let (runtime, spec, aim) = (self.runtime.clone(), spec.clone(), aim.clone());
            self.asked.push(Box::pin(async move { runtime.ask(spec, aim).await }));
        }
        let mut all = Vec::new();
        while !self.open.is_empty()
            && let Ok(Some(told)) = timeout_at(until, self.asked.next()).await
        {
            // Asked under other settings than now, its answer is another source's.
            if self.open.get(&told.spec.name) == Some(&told.spec) {
                self.open.remove(&told.spec.name);
                all.push(told);
            }
        }
        for spec in self.open.values() {
            let accepted = self.runtime.followed(&spec.name).await.accepted;
            let revision = accepted.map(|id| Revision { source: spec.name.clone(), id });
            all.push(Told { spec: spec.clone(), revision, findings: Vec::new() });
        }
        all
    }
}

impl Runtime {
    /// Asks one source and follows it.
    pub(crate) async fn ask(&self, spec: SourceSpec, aim: Aim) -> Told {
        let mut findings = Vec::new();
        let revision = self.follow(&spec, &aim, &mut findings).await;
        Told { spec, revision, findings }
    }
}
