//! An open line to one cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _, stream};
use tokio::sync::{broadcast, mpsc};
use trued_doors::{
    Answer, Ask, Asked, BoxFuture, BoxStream, Candidate, Contents, Done, Facts, HealthAsk, Hint, Kept, Link, Misfit, Order, Secrets,
    Survey, Told,
};
use trued_model::{Address, Condition, Digest, Evidence, Name, Observation, Preview, Resource, Secret, StackId};

use crate::cluster::Cluster;
use crate::served::Served;
use crate::{apply, follow, happen, keep, observe, preview, ranks, survey, validate};

/// How long hints are gathered before they are told together.
const GATHERED: Duration = Duration::from_millis(100);
/// Hints told together at most; more are told as anywhere.
const TOLD: usize = 2_000;

pub(crate) struct ClusterLink {
    cluster: Arc<Cluster>,
    /// What facts were told last, and of what: everybody asks, and they are long.
    facts: Mutex<Option<(Arc<Served>, Arc<Facts>)>>,
    /// Whether what happens is told.
    tells: bool,
    /// The secret that whoever reports must have.
    reports: Option<(Name, Arc<dyn Secrets>)>,
}

impl ClusterLink {
    pub fn new(cluster: Cluster, tells: bool, reports: Option<(Name, Arc<dyn Secrets>)>) -> ClusterLink {
        ClusterLink { cluster: Arc::new(cluster), facts: Mutex::default(), tells, reports }
    }
}

impl Link for ClusterLink {
    fn facts(&self) -> BoxFuture<'_, Answer<Arc<Facts>>> {
        async {
            let served = self.cluster.served_lately().await?;
            let mut told = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, facts)) = told.as_ref().filter(|(of, _)| Arc::ptr_eq(of, &served)) {
                return Ok(facts.clone());
            }
            let facts = Arc::new(Facts {
                confirms: true,
                marks: true,
                compares: true,
                health: true,
                previews: true,
                ranks: ranks::ranks(),
                guarded: ranks::guarded(),
                terms: served.terms(),
                ..Facts::default()
            });
            *told = Some((served, facts.clone()));
            Ok(facts)
        }
        .boxed()
    }

    fn observe(&self, ask: Ask) -> BoxFuture<'_, Answer<Observation>> {
        async {
            match ask {
                Ask::These(asked) => {
                    let seen = observe::these(&self.cluster, asked).await;
                    let unseen = self.cluster.take_unseen();
                    if !unseen.is_empty() {
                        self.cluster.expect(&unseen);
                    }
                    seen
                }
                Ask::Everything { into } => Ok(survey::survey(&self.cluster, &into).await?.seen),
            }
        }
        .boxed()
    }

    fn survey<'a>(&'a self, into: &'a str) -> BoxFuture<'a, Answer<Survey>> {
        survey::survey(&self.cluster, into).boxed()
    }

    fn validate<'a>(&'a self, resources: &'a [Resource], contents: Arc<dyn Contents>) -> BoxFuture<'a, Answer<Vec<Misfit>>> {
        validate::validate(&self.cluster, resources, contents).boxed()
    }

    fn preview<'a>(&'a self, stack: &'a StackId, candidates: Vec<Candidate>) -> BoxFuture<'a, Answer<BTreeMap<Address, Preview>>> {
        preview::preview(&self.cluster, stack, candidates).boxed()
    }

    fn keep<'a>(&'a self, asked: &'a Asked) -> BoxFuture<'a, Answer<Kept>> {
        keep::keep(&self.cluster, asked).boxed()
    }

    fn witness<'a>(&'a self, address: &'a Address) -> BoxFuture<'a, Option<Evidence>> {
        async move {
            let fields = keep::witness(&self.cluster, address).await;
            let at = fields.as_ref().and_then(|evidence| evidence.changed_at);
            self.cluster.trail.of(address, at).or(fields)
        }
        .boxed()
    }

    fn happenings(&self, after: Option<String>) -> Option<BoxStream<'static, Told>> {
        (self.tells || self.reports.is_some()).then(|| happen::happenings(&self.cluster, self.tells, after))
    }

    fn admits(&self, token: &str) -> bool {
        let expected = self.reports.as_ref().and_then(|(name, secrets)| secrets.get(name).ok());
        // Digests are compared, so that the time it takes tells nothing of the token.
        let trimmed = |secret: &Secret| Digest::of(secret.reveal().trim_ascii());
        expected.is_some_and(|secret| !secret.reveal().trim_ascii().is_empty() && trimmed(&secret) == Digest::of(token.as_bytes()))
    }

    fn testimony(&self, address: &Address) -> Option<Evidence> {
        self.cluster.trail.of(address, None)
    }

    fn hear<'a>(&'a self, said: &'a [u8]) -> BoxFuture<'a, Answer<u64>> {
        async move {
            let served = self.cluster.served_lately().await?;
            let acts = self.cluster.trail.hear(said, &served, self.cluster.api.audit_prefix())?;
            let count = acts.len() as u64;
            for act in acts {
                // Nobody may be listening.
                let _ = self.cluster.hints.send(act.address.clone());
                let _ = self.cluster.acts.send(act);
            }
            Ok(count)
        }
        .boxed()
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
