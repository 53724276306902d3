//! A process's doors onto its universe: each passes through the places where the process may die.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use trued_doors::{
    Answer, BoxFuture, Cache, Check, Checking, Clock, Configuration, Configured, Descriptor, Exit, Fence, Holder, Lease, Program, Query,
    Runner, Secrets, Source, Store, TreeHead,
};
use trued_ledger::NullSeal;
use trued_model::body::Checked;
use trued_model::{Code, Digest, Draft, Duration, Estate, Finding, Indexed, Name, Refusal, Revision, Secret, SourceSpec, StackId};
use trued_runtime::Doors;

use crate::driver::{FakeDriver, KIND};
use crate::history::OpenHistory;
use crate::process::Process;
use crate::render::AsItIs;
use crate::universe::Universe;

/// The kind of the one source.
pub const SOURCE: &str = "history";
/// The kind of the one check: passes unless its app is told to fail.
pub const CHECK: &str = "probe";

/// Everything a process may touch.
pub fn doors(universe: &Arc<Universe>, process: &Arc<Process>) -> Doors {
    let way = || Way { universe: universe.clone(), process: process.clone() };
    Doors {
        store: Arc::new(way()),
        blobs: universe.blobs.clone(),
        seal: Arc::new(NullSeal),
        secrets: Arc::new(NoSecrets),
        clock: universe.clock.clone() as Arc<dyn Clock>,
        cache: Arc::new(ShortCache::default()),
        configuration: Arc::new(way()),
        runner: Arc::new(way()),
        sources: BTreeMap::from([(SOURCE.to_owned(), Arc::new(OpenHistory(universe.history.clone())) as _)]),
        renderers: BTreeMap::from([("plain".to_owned(), Arc::new(AsItIs) as _)]),
        drivers: BTreeMap::from([(KIND.to_owned(), Arc::new(FakeDriver { universe: universe.clone(), process: process.clone() }) as _)]),
        puller: Arc::new(trued_doors::NoPuller),
        checks: BTreeMap::from([(CHECK.to_owned(), Arc::new(way()) as _)]),
        holder: process.holder.clone(),
        source_cache: PathBuf::from("cache"),
    }
}

/// One process's way to the universe.
struct Way {
    universe: Arc<Universe>,
    process: Arc<Process>,
}

impl Way {
    /// The way to the record, which a process may be cut off from.
    async fn to_the_record(&self) -> Answer<()> {
        self.process.still().await;
        match self.process.is_cut_off() {
            true => Err(Refusal::new(Code::Unreachable, "reach the record: cut off")),
            false => Ok(()),
        }
    }
}

impl Store for Way {
    fn origin(&self) -> BoxFuture<'_, Answer<Option<String>>> {
        self.universe.store.origin()
    }

    fn head(&self) -> BoxFuture<'_, Answer<TreeHead>> {
        Box::pin(async {
            self.to_the_record().await?;
            self.universe.store.head().await
        })
    }

    fn append(&self, drafts: Vec<Draft>, fence: Option<Fence>) -> BoxFuture<'_, Answer<Vec<Indexed>>> {
        Box::pin(async {
            self.process.place().await;
            self.to_the_record().await?;
            let placed = self.universe.store.append(drafts, fence).await;
            self.universe.appended();
            self.process.place().await;
            placed
        })
    }

    fn find(&self, query: Query) -> BoxFuture<'_, Answer<Vec<Indexed>>> {
        Box::pin(async {
            self.to_the_record().await?;
            self.universe.store.find(query).await
        })
    }

    fn leaves(&self, from: u64, until: u64) -> BoxFuture<'_, Answer<Vec<Vec<u8>>>> {
        self.universe.store.leaves(from, until)
    }

    fn stacks(&self) -> BoxFuture<'_, Answer<Vec<StackId>>> {
        self.universe.store.stacks()
    }

    fn take<'a>(&'a self, stack: &'a StackId, holder: &'a Holder, at_least: u64, term: Duration) -> BoxFuture<'a, Answer<Lease>> {
        Box::pin(async move {
            self.process.place().await;
            self.to_the_record().await?;
            let since = self.universe.clock.monotonic();
            let lease = self.universe.store.take(stack, holder, at_least, term).await;
            if lease.is_ok() {
                self.universe.witness().leased(holder, stack, since + term.as_millis());
            }
            self.process.place().await;
            lease
        })
    }

    fn renew<'a>(&'a self, holder: &'a Holder, term: Duration) -> BoxFuture<'a, Answer<Vec<StackId>>> {
        Box::pin(async move {
            self.to_the_record().await?;
            let until = self.universe.clock.monotonic() + term.as_millis();
            let renewed = self.universe.store.renew(holder, term).await?;
            renewed.iter().for_each(|stack| self.universe.witness().leased(holder, stack, until));
            Ok(renewed)
        })
    }

    fn release<'a>(&'a self, holder: &'a Holder) -> BoxFuture<'a, Answer<()>> {
        Box::pin(async move {
            self.to_the_record().await?;
            self.universe.store.release(holder).await
        })
    }

    fn holders(&self) -> BoxFuture<'_, Answer<Vec<Holder>>> {
        self.universe.store.holders()
    }

    fn note<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Answer<Option<Vec<u8>>>> {
        Box::pin(async move {
            self.to_the_record().await?;
            self.universe.store.note(key).await
        })
    }

    fn set_note<'a>(&'a self, key: &'a str, value: &'a [u8]) -> BoxFuture<'a, Answer<()>> {
        Box::pin(async move {
            self.process.place().await;
            self.to_the_record().await?;
            self.universe.store.set_note(key, value).await?;
            self.process.place().await;
            Ok(())
        })
    }
}

impl Configuration for Way {
    fn sources(&self) -> Result<BTreeMap<Name, SourceSpec>, Vec<Finding>> {
        if *self.universe.readable.lock().unwrap_or_else(PoisonError::into_inner) {
            Ok(self.universe.estate().sources.clone())
        } else {
            Err(vec![Finding::new("trued.yaml cannot be read", "correct it")])
        }
    }

    fn load<'a>(&'a self, at: &'a BTreeMap<Name, (Arc<dyn Source>, Revision)>) -> BoxFuture<'a, Configured> {
        Box::pin(async move {
            self.process.still().await;
            let mut estate = (*self.universe.estate()).clone();
            let revision = at.values().next().map(|(_, revision)| revision.id.clone());
            {
                let mut witness = self.universe.witness();
                witness.accepted(&self.process.holder, revision, self.universe.history.readable());
                witness.configured(&self.process.holder, Arc::new(estate.clone()));
            }
            let unreadable = estate.unreadable.clone();
            estate.stacks.retain(|id, _| !unreadable.contains(&id.app));
            let digest = Digest::of_canonical(&estate);
            Configured { estate: Some(Arc::new(estate)), findings: Vec::new(), digest }
        })
    }

    fn differences(&self, old: &Estate, new: &Estate) -> Vec<String> {
        let gone = old.stacks.keys().filter(|id| !new.stacks.contains_key(id)).map(|id| format!("{id:?} is gone"));
        let come = new.stacks.keys().filter(|id| !old.stacks.contains_key(id)).map(|id| format!("{id:?} is new"));
        gone.chain(come).collect()
    }

    fn loosened(&self, _old: &Estate, _new: &Estate) -> Vec<String> {
        Vec::new()
    }
}

impl Runner for Way {
    fn run(&self, program: Program) -> BoxFuture<'_, Answer<Exit>> {
        Box::pin(async move {
            self.process.place().await;
            let name = program.argv.first().cloned().unwrap_or_default();
            let written = program.env.get("TRUED_STACK").cloned().unwrap_or_default();
            let estate = self.universe.estate();
            let names = trued_model::StackNames::new(estate.stacks.keys());
            if let Some(stack) = names.find(&written) {
                self.universe.witness().command(&self.universe, stack, &name);
            }
            self.process.place().await;
            let broken = self.universe.broken_programs.lock().unwrap_or_else(PoisonError::into_inner).contains(&name);
            Ok(Exit { status: Some(i32::from(broken)), output: Vec::new(), error: Vec::new() })
        })
    }
}

impl Check for Way {
    fn describe(&self) -> Descriptor {
        crate::words::descriptor(CHECK)
    }

    fn check<'a>(&'a self, settings: &'a Value, _with: &'a Checking) -> BoxFuture<'a, Checked> {
        Box::pin(async move {
            self.process.place().await;
            let app = settings.get("app").and_then(Value::as_str).unwrap_or_default();
            let failing = self.universe.failing.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|name| name.as_str() == app);
            let why = if failing { "status 503".to_owned() } else { String::new() };
            Checked { check: format!("probe {app}"), passed: !failing, why }
        })
    }
}

struct NoSecrets;

impl Secrets for NoSecrets {
    fn get(&self, name: &Name) -> Answer<Secret> {
        Err(Refusal::new(Code::Absent, format!("there is no secret {name}")))
    }
}

/// A cache that ends with its process.
#[derive(Default)]
struct ShortCache {
    kept: Mutex<BTreeMap<String, Vec<u8>>>,
}

impl Cache for ShortCache {
    fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    fn put(&self, key: &str, bytes: &[u8]) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned(), bytes.to_vec());
    }
}
