//! Everything that outlives a process: record, bytes, source, configuration, targets, and the witness who sees it all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use trued_doors::{Clock, Holder, Order};
use trued_ledger::MemoryStore;
use trued_model::{Estate, Name, Observation};

use crate::blobs::SimBlobs;
use crate::clock::SimClock;
use crate::history::History;
use crate::target::{Node, Target};
use crate::witness::Witness;

pub struct Universe {
    pub clock: Arc<SimClock>,
    pub store: Arc<MemoryStore>,
    pub blobs: Arc<SimBlobs>,
    pub history: Arc<History>,
    estate: Mutex<Arc<Estate>>,
    targets: Mutex<BTreeMap<Name, Arc<Target>>>,
    /// Apps whose checks fail now.
    pub failing: Mutex<BTreeSet<Name>>,
    /// Programs that fail now, by name.
    pub broken_programs: Mutex<BTreeSet<String>>,
    /// Whether the operator's own file can be read.
    pub readable: Mutex<bool>,
    witness: Mutex<Witness>,
}

impl Universe {
    pub fn new(seed: u64) -> Arc<Universe> {
        let clock = Arc::new(SimClock::new(seed));
        let store = Arc::new(MemoryStore::new(clock.clone() as Arc<dyn Clock>));
        Arc::new(Universe {
            clock,
            store,
            blobs: Arc::default(),
            history: Arc::new(History::new(crate::words::name("repo"))),
            estate: Mutex::default(),
            targets: Mutex::default(),
            failing: Mutex::default(),
            broken_programs: Mutex::default(),
            readable: Mutex::new(true),
            witness: Mutex::default(),
        })
    }

    pub fn estate(&self) -> Arc<Estate> {
        self.estate.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes what is configured.
    pub fn configure(&self, change: impl FnOnce(&mut Estate)) {
        let mut estate = (*self.estate()).clone();
        change(&mut estate);
        *self.estate.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(estate);
    }

    /// The target of a name; made when first asked for.
    pub fn target(&self, name: &Name) -> Arc<Target> {
        let mut targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        targets.entry(name.clone()).or_insert_with(|| Arc::new(Target::new(name.clone()))).clone()
    }

    /// Puts a target of special make in place.
    pub fn set_target(&self, target: Target) {
        let mut targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        targets.insert(target.name.clone(), Arc::new(target));
    }

    pub fn targets(&self) -> Vec<Arc<Target>> {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Short access; never across an await, and never while a target's ground is held.
    pub fn witness(&self) -> MutexGuard<'_, Witness> {
        self.witness.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn looked(&self, by: &Holder, target: &Target, observation: &Observation) {
        self.witness().looked(by, &target.name, observation);
    }

    /// An order's change has arrived and nothing is done yet.
    pub fn ordered(&self, by: &Holder, target: &Target, order: &Order, index: usize, there: Option<&Node>) {
        self.witness().ordered(self, by, target, order, index, there);
    }

    /// An order's change was made.
    pub fn changed(&self, by: &Holder, target: &Target, order: &Order, index: usize) {
        self.witness().changed(by, target, order, index);
    }

    /// Something was appended to the record.
    pub fn appended(&self) {
        self.witness().read_on(self);
    }
}
