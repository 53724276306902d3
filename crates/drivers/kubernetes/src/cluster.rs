//! One cluster as it is known: what it serves, and a table of each kind that somebody asked about. Shared by all stacks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, broadcast};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use trued_doors::{Answer, Blobs, Clock, Happening, Seal};
use trued_model::{Address, Code, Refusal};

use crate::address::{Kind, Spot};
use crate::aggregated::{self, Away};
use crate::api::{Api, collection, said};
use crate::audit::Trail;
use crate::entry::Entry;
use crate::schema::Schemas;
use crate::served::{Served, Serving};
use crate::table::{Standing, Table};

/// After how long a cluster is asked anew what it serves, where nothing else tells that this changed.
const DISCOVERED_FOR: Duration = Duration::from_secs(300);
/// The same where a kind is asked for that it did not serve.
const MISSED_FOR: Duration = Duration::from_secs(2);
/// How long a first list of one kind may take.
const LISTED_WITHIN: Duration = Duration::from_secs(45);
/// Reads for the sake of health under way at once.
const READING: usize = 16;
/// Hints that may wait for whoever listens.
const HINTS: usize = 4096;

pub(crate) struct Cluster {
    pub api: Api,
    pub ledger: String,
    pub blobs: Arc<dyn Blobs>,
    pub seal: Arc<dyn Seal>,
    pub clock: Arc<dyn Clock>,
    pub hints: broadcast::Sender<Address>,
    /// Acts of others that were reported, and what is remembered of them.
    pub acts: broadcast::Sender<Happening>,
    pub trail: Trail,
    pub schemas: Schemas,
    known: Mutex<Known>,
    /// One discovery at a time.
    discovering: tokio::sync::Mutex<()>,
    /// Reads for the sake of health that are under way at once.
    pub reading: Semaphore,
    /// What waits for its kind to be served.
    expected: Mutex<BTreeSet<Address>>,
    /// What could not be looked at because its kind is not known.
    unseen: Mutex<BTreeSet<Address>>,
    /// What was said last of servers behind groups.
    pub away: Mutex<Away>,
}

#[derive(Default)]
struct Known {
    served: Option<(Instant, Arc<Served>)>,
    discovered: [Arc<Discovered>; 2],
    tables: BTreeMap<(Kind, Option<String>), (Arc<Table>, AbortHandle)>,
    /// Kinds that we may list in single namespaces only.
    by_namespace: BTreeSet<Kind>,
}

/// The documents that say what a cluster serves: its own kinds, and those of groups.
const DOCUMENTS: [&str; 2] = ["/api", "/apis"];

/// What one of them said last, and its hash.
#[derive(Default)]
struct Discovered {
    hash: Option<String>,
    served: Served,
}

/// Where an object is or would be.
#[derive(Clone)]
pub(crate) struct Place {
    pub serving: Serving,
    pub table: Arc<Table>,
    pub entry: Option<Entry>,
}

/// What is known of a place.
pub(crate) enum Looked {
    Found(Box<Place>),
    /// The cluster serves no such kind: nothing of it is there.
    NotServed,
    Denied(String),
    Unknown(Refusal),
}

impl Cluster {
    pub fn new(api: Api, ledger: String, blobs: Arc<dyn Blobs>, seal: Arc<dyn Seal>, clock: Arc<dyn Clock>) -> Cluster {
        let (hints, acts) = (broadcast::Sender::new(HINTS), broadcast::Sender::new(HINTS));
        Cluster {
            api,
            ledger,
            blobs,
            seal,
            clock,
            hints,
            acts,
            trail: Trail::default(),
            schemas: Schemas::default(),
            known: Mutex::default(),
            discovering: tokio::sync::Mutex::default(),
            reading: Semaphore::new(READING),
            expected: Mutex::default(),
            unseen: Mutex::default(),
            away: Mutex::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the cluster serves, asked anew where the last answer is older than this. An answer that was had once stays good
    /// while a new one cannot be had.
    pub async fn served(&self, no_older_than: Duration) -> Answer<Arc<Served>> {
        let _one_at_a_time = self.discovering.lock().await;
        let known = self.known().served.clone();
        if let Some((at, served)) = &known
            && at.elapsed() < no_older_than
        {
            return Ok(served.clone());
        }
        match (self.discover().await, known) {
            (Ok(mut served), _) => {
                if let Some((_, before)) = &self.known().served {
                    served.remember(before);
                }
                // What did not change stays the very same: facts are made of it.
                let before = self.known().served.take().map(|(_, before)| before).filter(|before| **before == served);
                let served = before.unwrap_or_else(|| Arc::new(served));
                self.known().served = Some((Instant::now(), served.clone()));
                Ok(served)
            }
            (Err(refusal), Some((_, served))) => {
                tracing::debug!("{refusal}; what it served before still counts");
                Ok(served)
            }
            (Err(refusal), None) => Err(refusal),
        }
    }

    /// Asks for the documents, of which one comes again only if it is another one by its hash.
    async fn discover(&self) -> Answer<Served> {
        let ask = async |document: usize| {
            let before = self.known().discovered[document].clone();
            let answer = self.api.discover(DOCUMENTS[document], before.hash.as_deref()).await?;
            Ok(answer.map_or(before, |(said, hash)| Arc::new(Discovered { hash, served: Served::of_discovery(&[said]) })))
        };
        let (own, groups) = futures::join!(ask(0), ask(1));
        let both = own.and_then(|own| Ok([own, groups?]));
        let both = said(both, "ask the cluster what it serves")?;
        let served = both.iter().fold(Served::default(), |all, document| all.and(&document.served));
        self.known().discovered = both;
        Ok(served)
    }

    /// What the cluster serves, as far as it was ever asked; asked now and then.
    pub async fn served_lately(&self) -> Answer<Arc<Served>> {
        self.served(DISCOVERED_FOR).await
    }

    /// Whether the cluster answers at all.
    pub async fn reach(&self) -> Answer<()> {
        self.discover().await.map(drop)
    }

    /// How a kind is served; asked anew for one that was not served lately.
    async fn serving(&self, kind: &Kind) -> Result<Serving, Looked> {
        let mut served = self.served_lately().await.map_err(Looked::Unknown)?;
        if served.get(kind).is_none() {
            served = self.served(MISSED_FOR).await.map_err(Looked::Unknown)?;
        }
        match served.get(kind) {
            Some(serving) => Ok(serving.clone()),
            None if served.silent.contains_key(&kind.group) => {
                Err(Looked::Unknown(self.away(&kind.group).await.unwrap_or_else(|| aggregated::silent(&kind.group))))
            }
            None => Err(Looked::NotServed),
        }
    }

    /// Finds what is known of an object; lists and watches its kind if nobody asked before.
    pub async fn look(&self, spot: &Spot) -> Looked {
        let serving = match self.serving(&spot.kind).await {
            Ok(serving) => serving,
            Err(looked) => {
                let silent = |(_, served): &(Instant, Arc<Served>)| served.silent.contains_key(&spot.kind.group);
                if matches!(looked, Looked::Unknown(_)) && self.known().served.as_ref().is_some_and(silent) {
                    self.unseen().insert(spot.address());
                }
                return looked;
            }
        };
        if !self.known().by_namespace.contains(&spot.kind) {
            let table = self.table(&spot.kind, &serving, None);
            match table.standing(LISTED_WITHIN).await {
                Standing::Complete => return found(spot, serving, table),
                Standing::Lost(refusal) if refusal.code == Code::Denied && spot.namespace.is_some() => {
                    self.forget(&spot.kind, None);
                    self.known().by_namespace.insert(spot.kind.clone());
                }
                standing => return self.lost(spot, &table, standing).await,
            }
        }
        let table = self.table(&spot.kind, &serving, spot.namespace.as_deref());
        match table.standing(LISTED_WITHIN).await {
            Standing::Complete => found(spot, serving, table),
            standing => self.lost(spot, &table, standing).await,
        }
    }

    /// What waits for its kind; short access, never across an await.
    pub fn expected(&self) -> MutexGuard<'_, BTreeSet<Address>> {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has somebody told of every change of any object of a kind, where it is served.
    pub async fn look_on(&self, kind: &Kind, onlooker: &Arc<Notify>) {
        if let Ok(serving) = self.serving(kind).await {
            self.table(kind, &serving, None).look_on(onlooker);
        }
    }

    /// What could not be looked at since the last call, because its kind is not known.
    pub fn take_unseen(&self) -> BTreeSet<Address> {
        std::mem::take(&mut self.unseen())
    }

    fn unseen(&self) -> MutexGuard<'_, BTreeSet<Address>> {
        self.unseen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn lost(&self, spot: &Spot, table: &Table, standing: Standing) -> Looked {
        // Told of when it can be seen again.
        table.ask(spot);
        match standing {
            Standing::Lost(refusal) if refusal.code == Code::Denied => Looked::Denied(refusal.message),
            // The kind itself went.
            Standing::Lost(refusal) if refusal.code == Code::Absent => {
                self.forget(&spot.kind, spot.namespace.as_deref());
                self.forget(&spot.kind, None);
                match self.served(Duration::ZERO).await {
                    Ok(served) if served.get(&spot.kind).is_none() && !served.silent.contains_key(&spot.kind.group) => Looked::NotServed,
                    _ => Looked::Unknown(refusal),
                }
            }
            Standing::Lost(refusal) if refusal.code == Code::Unreachable => {
                Looked::Unknown(self.away(&spot.kind.group).await.unwrap_or(refusal))
            }
            Standing::Lost(refusal) => Looked::Unknown(refusal),
            _ => Looked::Unknown(Refusal::new(Code::Unknown, format!("look at {}: not listed yet", spot.address()))),
        }
    }

    fn table(&self, kind: &Kind, serving: &Serving, namespace: Option<&str>) -> Arc<Table> {
        let mut known = self.known();
        let key = (kind.clone(), namespace.map(str::to_owned));
        let open = || {
            let path = collection(kind, serving, None, namespace);
            let table = Table::new(kind.clone(), serving.namespaced, path, self.hints.clone());
            let current = tokio::spawn(table.clone().keep_current(self.api.clone()));
            (table, current.abort_handle())
        };
        known.tables.entry(key).or_insert_with(open).0.clone()
    }

    fn forget(&self, kind: &Kind, namespace: Option<&str>) {
        let key = (kind.clone(), namespace.map(str::to_owned));
        if let Some((_, task)) = self.known().tables.remove(&key) {
            task.abort();
        }
    }

    /// The highest epoch of a stack on any object that is known.
    pub fn epoch(&self, stack: &str) -> u64 {
        let tables: Vec<Arc<Table>> = self.known().tables.values().map(|(table, _)| table.clone()).collect();
        tables.iter().map(|table| table.epoch(&self.ledger, stack)).max().unwrap_or(0)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.known().tables.values().for_each(|(_, task)| task.abort());
    }
}

fn found(spot: &Spot, serving: Serving, table: Arc<Table>) -> Looked {
    let entry = table.get(spot);
    Looked::Found(Box::new(Place { serving, table, entry }))
}
