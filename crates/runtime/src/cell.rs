//! What a process keeps of one stack between walks. All of it can be rebuilt from record, source and target.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use trued_doors::{Answer, Contents, Known};
use trued_engine::planted::{self, Bug};
use trued_engine::{StackMemory, Wellness};
use trued_model::{
    Address, BlobRef, CheckSpec, Deferred, Desired, Digest, Finding, Level, Manifest, Observation, Packing, SandboxRules, Stack, StackId,
    Timestamp, Tool,
};

use crate::lease::Held;
use crate::pieces::Pieces;
use crate::render::Shown;
use crate::runtime::{Runtime, blocking_on};

/// One stack's place in memory.
pub(crate) struct Cell {
    pub id: StackId,
    /// One walk at a time.
    pub walking: tokio::sync::Mutex<()>,
    /// One render at a time, so that those who ask meanwhile find it done.
    pub rendering: tokio::sync::Mutex<()>,
    kept: Mutex<Kept>,
}

/// Of all stacks, in their order.
pub(crate) type Cells = Arc<[Arc<Cell>]>;

#[derive(Default)]
pub(crate) struct Kept {
    pub memory: Option<Arc<StackMemory>>,
    pub inventory: Option<(Option<BlobRef>, Arc<Manifest>)>,
    /// The stored form of the newest manifest, all of which is in the blob store.
    pub stored: Option<Arc<Packing>>,
    pub wanted: Option<Arc<Wanted>>,
    /// The newest render, where the next one can go on from it.
    pub pieces: Option<Arc<Pieces>>,
    /// Entry id → blob of what was copied as it is; saves reading it again.
    pub copied: Arc<Known>,
    /// The newest render that failed because of its program: it is not run again at once.
    pub failed: Option<Failed>,
    /// The checks that ran last.
    pub checked: Option<Vec<CheckSpec>>,
    /// The lease, while held.
    pub lease: Option<Held>,
    /// The newest complete look, and whether all was as made then.
    pub look: Option<Timestamp>,
    /// When all was looked at last, on the clock that never jumps; `None` where what is known must be looked at again.
    pub whole_look: Option<u64>,
    /// What the last walk worked from: an equal one need not run again before the next look is due.
    pub settled: Option<Settled>,
    /// How well what landed last was seen to be; taken by the walk that follows.
    pub judged: Option<Judged>,
    /// Set by a hint; cleared by the look that follows it.
    pub hinted: bool,
    /// What the walk in hand works towards.
    pub towards: Option<Digest>,
    /// Set by a newer revision or a request to stop; read between batches.
    pub newer: bool,
    /// Only for a planted bug; nothing in a real build.
    view: Option<Observation>,
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Settled {
    pub key: Digest,
    pub stack: Stack,
    pub revision: Option<String>,
    /// When all was looked at, on the clock that never jumps.
    pub at: u64,
    /// How much of the record was known.
    pub through: u64,
    /// Whether it waits for a stack that comes first.
    pub blocked: bool,
}

/// What somebody who follows a stack's health saw that is worth a walk.
pub(crate) struct Judged {
    /// What had landed then.
    pub desired: Digest,
    pub wellness: Wellness,
}

/// A render whose program failed.
pub(crate) struct Failed {
    pub key: Digest,
    /// How it was held: with other bounds it may end otherwise.
    pub sandbox: SandboxRules,
    /// On the clock that never jumps.
    pub at: u64,
    pub findings: Vec<Finding>,
}

/// One complete render, ready to be wanted.
pub(crate) struct Wanted {
    /// Of all inputs and the renderer's version.
    pub key: Digest,
    /// Of all inputs alone.
    pub inputs: Digest,
    pub desired: Arc<Desired>,
    /// The desired manifest's digest: what releases and rollbacks name.
    pub digest: Digest,
    pub contents: Arc<dyn Contents>,
    pub revision: Option<String>,
    /// How well the program that rendered it was confined, if one did.
    pub sandbox: Option<Level>,
    /// The programs that rendered it.
    pub tools: Vec<Tool>,
    /// What of it cannot be made yet, because its kind is not known.
    pub deferred: BTreeMap<Address, Deferred>,
    /// What is written down and never run.
    pub not_run: BTreeMap<Address, String>,
}

impl Wanted {
    /// What is desired, and the bytes of it.
    pub fn shown(&self) -> Shown {
        Shown { desired: self.desired.clone(), contents: self.contents.clone(), revision: self.revision.clone() }
    }
}

impl Kept {
    /// Keeps the tables, which own nothing but memory, from ever being freed.
    pub fn leave(&self) {
        std::mem::forget(self.inventory.clone());
        std::mem::forget(self.stored.clone());
        std::mem::forget(self.copied.clone());
        std::mem::forget(self.wanted.as_ref().map(|wanted| wanted.desired.clone()));
        // Of a bundle as it is: no program that made something of it left anything to clear away.
        std::mem::forget(self.pieces.clone());
    }

    /// An earlier view, where the bug of using one is planted.
    pub fn stale_view(&self) -> Option<Observation> {
        if planted::has(Bug::StaleView) { self.view.clone() } else { None }
    }

    /// Whether an address is the stack's business, as far as this process knows; while it knows nothing, it may be.
    pub fn may_be_about(&self, address: &Address) -> bool {
        match (&self.wanted, &self.inventory) {
            (None, None) => true,
            (wanted, inventory) => {
                wanted.as_ref().is_some_and(|wanted| wanted.desired.wants(address))
                    || inventory.as_ref().is_some_and(|(_, manifest)| manifest.items.contains_key(address))
            }
        }
    }

    pub fn remember_view(&mut self, view: &Observation) {
        if planted::has(Bug::StaleView) {
            self.view.get_or_insert_with(|| view.clone());
        }
    }
}

impl Cell {
    pub fn new(id: StackId) -> Cell {
        Cell { id, walking: tokio::sync::Mutex::default(), rendering: tokio::sync::Mutex::default(), kept: Mutex::default() }
    }

    /// Short access to what is kept; never across an await.
    pub fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the record says now: entries that others appended meanwhile are folded in.
    pub async fn memory(&self, runtime: &Runtime) -> Answer<Arc<StackMemory>> {
        let known = self.kept().memory.clone();
        let known = match known {
            Some(known) => known,
            None => Arc::new(runtime.remembered(&self.id).await?),
        };
        let memory = runtime.catch_up(&self.id, known).await?;
        self.kept().memory = Some(memory.clone());
        Ok(memory)
    }

    /// Stores a manifest; only the chunks that are not as they were in the one before cost anything.
    pub fn store(&self, runtime: &Runtime, manifest: Arc<Manifest>) -> Answer<BlobRef> {
        let before = self.kept().stored.clone();
        blocking_on(manifest.items.values().map(|_| 0), || {
            let packing = before.as_ref().map_or_else(|| Packing::of(manifest.clone()), |before| before.next(manifest.clone()));
            runtime.store_blobs(packing.blobs(before.as_deref()))?;
            let root = packing.root();
            self.kept().stored = packing.is_in_parts().then(|| Arc::new(packing));
            Ok(root)
        })
    }

    /// What is ours on the target.
    pub async fn inventory(&self, runtime: &Runtime) -> Answer<Arc<Manifest>> {
        let root = self.memory(runtime).await?.inventory;
        if let Some((known, manifest)) = &self.kept().inventory
            && *known == root
        {
            return Ok(manifest.clone());
        }
        let manifest = match root {
            Some(root) => Arc::new(runtime.manifest(&root)?),
            None => Arc::default(),
        };
        self.kept().inventory = Some((root, manifest.clone()));
        Ok(manifest)
    }
}
