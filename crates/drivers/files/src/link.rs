//! An open line to one tree: each call is moved to a thread where blocking is allowed.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::StreamExt as _;
use futures::stream;
use tokio::sync::mpsc;
use trued_doors::{Answer, Ask, Asked, BoxFuture, BoxStream, Done, Facts, Glance, Hint, Kept, Link, Order, Survey};
use trued_model::{Address, Code, Evidence, Observation, Refusal, StackId};

use crate::below::OWN;
use crate::caller::Caller;
use crate::own::OwnFolder;
use crate::rules::{self, Rules};
use crate::tree::{Standing, Tree};
use crate::{apply, keep, observe, view, watch, witness};

pub(crate) struct FilesLink {
    tree: Arc<Tree>,
    watch: bool,
    rules: Rules,
    facts: Arc<Facts>,
}

impl FilesLink {
    pub fn new(tree: Tree, watch: bool, rules: Rules) -> FilesLink {
        let reserved = vec![(OWN.to_owned(), "`.trued` at the root is Trued's own".to_owned())];
        let facts = Facts { nested: true, confirms: true, reserved, ..Facts::default() };
        FilesLink { tree: Arc::new(tree), watch, rules, facts: Arc::new(facts) }
    }

    /// Runs blocking work away from the async workers.
    fn away<T: Send + 'static>(&self, work: impl FnOnce(&Tree) -> Answer<T> + Send + 'static) -> BoxFuture<'static, Answer<T>> {
        let tree = self.tree.clone();
        async move {
            let done = tokio::task::spawn_blocking(move || work(&tree)).await;
            done.unwrap_or_else(|error| Err(Refusal::new(Code::Broken, format!("work on the files: {error}"))))
        }
        .boxed()
    }
}

impl Link for FilesLink {
    fn facts(&self) -> BoxFuture<'_, Answer<Arc<Facts>>> {
        if self.rules.is_empty() {
            return std::future::ready(Ok(self.facts.clone())).boxed();
        }
        // Users come and go: who a name is, is looked up anew.
        let (rules, facts) = (self.rules.clone(), self.facts.clone());
        self.away(move |_| Ok(Arc::new(Facts { terms: rules::resolve(&rules, &Caller::myself()), ..(*facts).clone() })))
    }

    fn observe(&self, ask: Ask) -> BoxFuture<'_, Answer<Observation>> {
        self.away(move |tree| match &ask {
            Ask::These(asked) => view::glance(tree, asked, true).map(|glance| glance.observation),
            Ask::Everything { into } => Ok(observe::survey(tree, into)?.seen),
        })
    }

    fn glance(&self, asked: Vec<Asked>) -> BoxFuture<'_, Answer<Glance>> {
        self.away(move |tree| view::glance(tree, &asked, false))
    }

    fn survey<'a>(&'a self, into: &'a str) -> BoxFuture<'a, Answer<Survey>> {
        let into = into.to_owned();
        self.away(move |tree| observe::survey(tree, &into))
    }

    fn keep<'a>(&'a self, asked: &'a Asked) -> BoxFuture<'a, Answer<Kept>> {
        let asked = asked.clone();
        self.away(move |tree| keep::keep(tree, &asked))
    }

    fn witness<'a>(&'a self, address: &'a Address) -> BoxFuture<'a, Option<Evidence>> {
        let address = address.clone();
        let told = self.away(move |tree| Ok(witness::witness(tree, &address)));
        told.map(|told| told.ok().flatten()).boxed()
    }

    fn apply(&self, order: Order) -> BoxStream<'_, Done> {
        let tree = self.tree.clone();
        let begin = async move {
            // Room for every answer, so that giving one never waits.
            let (answers, done) = mpsc::channel(order.changes.len().max(1));
            tokio::task::spawn_blocking(move || apply::apply(&tree, &order, &answers));
            stream::unfold(done, |mut done| async move { done.recv().await.map(|one| (one, done)) })
        };
        stream::once(begin).flatten().boxed()
    }

    fn epoch<'a>(&'a self, stack: &'a StackId) -> BoxFuture<'a, Answer<u64>> {
        let stack = stack.clone();
        self.away(move |tree| match tree.stand() {
            Ok(Standing::Here(root)) => OwnFolder::find(&root)?.map_or(Ok(0), |own| own.epoch(&tree.ledger, &stack)),
            // A root that is not there has no mark to be seen; every order is compared with the mark again.
            Ok(Standing::Unmade) => Ok(0),
            Err(refusal) if refusal.code == Code::Unknown => Ok(0),
            Err(refusal) => Err(refusal),
        })
    }

    fn watch(&self) -> Option<BoxStream<'static, Hint>> {
        self.watch.then(|| watch::watch(self.tree.clone()))
    }
}
