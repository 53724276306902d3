//! The store in memory against the suite.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use trued_doors::conformance::SteppedClock;
use trued_doors::conformance::store::{START, Subject};
use trued_doors::{Holder, Store};
use trued_ledger::MemoryStore;

trued_doors::store_suite!(fresh);

struct World {
    clock: Arc<SteppedClock>,
    store: Arc<MemoryStore>,
    processes: AtomicU32,
}

fn fresh() -> World {
    let clock = Arc::new(SteppedClock::at(START));
    World { store: Arc::new(MemoryStore::new(clock.clone())), clock, processes: AtomicU32::new(100) }
}

impl Subject for World {
    fn open(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    fn clock(&self) -> &SteppedClock {
        &self.clock
    }

    fn process(&self) -> Holder {
        let pid = self.processes.fetch_add(1, Ordering::Relaxed);
        Holder { pid, started: 1, boot: "one boot".to_owned(), verb: "serve".to_owned() }
    }

    fn kill(&self, process: &Holder) {
        self.store.kill(process);
    }
}
