//! An open line to one cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _, stream};
use tokio::sync::{broadcast, mpsc};
use trued_doors::{Answer, Ask, Asked, BoxFuture, BoxStream, Done, Facts, HealthAsk, Hint, Kept, Link, Order, Survey};
use trued_model::{Address, Condition, Evidence, Observation, StackId};

use crate::cluster::Cluster;
use crate::{apply, follow, keep, observe, ranks, survey};

/// How long hints are gathered before they are told together.
const GATHERED: Duration = Duration::from_millis(100);
/// Hints told together at most; more are told as anywhere.
const TOLD: usize = 2_000;

pub(crate) struct ClusterLink {
    cluster: Arc<Cluster>,
}

impl ClusterLink {
    pub fn new(cluster: Cluster) -> ClusterLink {
        ClusterLink { cluster: Arc::new(cluster) }
    }
}

impl Link for ClusterLink {
    fn facts(&self) -> BoxFuture<'_, Answer<Arc<Facts>>> {
        async {
            let served = self.cluster.served_lately().await?;
            Ok(Arc::new(Facts {
                confirms: true,
                marks: true,
                compares: true,
                health: true,
                ranks: ranks::ranks(),
                guarded: ranks::guarded(),
                terms: served.terms(),
                ..Facts::default()
            }))
        }
        .boxed()
    }

    fn observe(&self, ask: Ask) -> BoxFuture<'_, Answer<Observation>> {
        async {
            match ask {
                Ask::These(asked) => observe::these(&self.cluster, asked).await,
                Ask::Everything { into } => Ok(survey::survey(&self.cluster, &into).await?.seen),
            }
        }
        .boxed()
    }

    fn survey<'a>(&'a self, into: &'a str) -> BoxFuture<'a, Answer<Survey>> {
        survey::survey(&self.cluster, into).boxed()
    }

    fn keep<'a>(&'a self, asked: &'a Asked) -> BoxFuture<'a, Answer<Kept>> {
        keep::keep(&self.cluster, asked).boxed()
    }

    fn witness<'a>(&'a self, address: &'a Address) -> BoxFuture<'a, Option<Evidence>> {
        keep::witness(&self.cluster, address).boxed()
    }

    fn apply(&self, order: Order) -> BoxStream<'_, Done> {
        // Room for every answer, so that giving one never waits.
        let (answers, done) = mpsc::channel(order.changes.len().max(1));
        let work = async move { apply::apply(&self.cluster, &order, &answers).await };
        let work = stream::once(work).filter_map(|()| std::future::ready(None));
        let answers = stream::unfold(done, |mut done| async move { done.recv().await.map(|one| (one, done)) });
        stream::select(answers, work).boxed()
    }

    fn epoch<'a>(&'a self, stack: &'a StackId) -> BoxFuture<'a, Answer<u64>> {
        std::future::ready(Ok(self.cluster.epoch(&stack.key()))).boxed()
    }

    fn health(&self, ask: HealthAsk) -> BoxStream<'static, BTreeMap<Address, Condition>> {
        follow::follow(&self.cluster, &ask)
    }

    fn expect(&self, deferred: &BTreeSet<Address>) {
        self.cluster.expect(deferred);
    }

    fn watch(&self) -> Option<BoxStream<'static, Hint>> {
        let heard = self.cluster.hints.subscribe();
        Some(stream::unfold(heard, next).boxed())
    }
}

/// Gathers what comes within a moment into one hint; ends with the line.
async fn next(mut heard: broadcast::Receiver<Address>) -> Option<(Hint, broadcast::Receiver<Address>)> {
    let mut addresses = BTreeSet::new();
    let mut anywhere = false;
    match heard.recv().await {
        Ok(address) => drop(addresses.insert(address)),
        Err(broadcast::error::RecvError::Lagged(_)) => anywhere = true,
        Err(broadcast::error::RecvError::Closed) => return None,
    }
    tokio::time::sleep(GATHERED).await;
    loop {
        match heard.try_recv() {
            Ok(address) => drop(addresses.insert(address)),
            Err(broadcast::error::TryRecvError::Lagged(_)) => anywhere = true,
            Err(_) => break,
        }
        anywhere |= addresses.len() > TOLD;
    }
    Some((if anywhere { Hint::default() } else { Hint { addresses } }, heard))
}
