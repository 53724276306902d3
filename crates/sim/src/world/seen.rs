//! What came of it: what was written, what is on record, what it cost, and which promises were broken.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use futures::FutureExt;
use trued_doors::{Query, Store};
use trued_model::body::Held;
use trued_model::{Indexed, Kind, StackId};

use super::World;
use crate::promise::{Promise, Violation};
use crate::verdicts;

impl World {
    /// Resources changed on all targets so far.
    pub fn writes(&self) -> u64 {
        self.universe.targets().iter().map(|target| target.ground().writes).sum()
    }

    /// Entries so far, heartbeats aside.
    pub fn rows(&self) -> u64 {
        let beats = self.entries(&[Kind::Heartbeat]).len() as u64;
        self.head() - beats
    }

    pub(super) fn head(&self) -> u64 {
        let newest = Query { limit: Some(1), ..Query::default() };
        let found = self.universe.store.find(newest).now_or_never().and_then(Result::ok).unwrap_or_default();
        found.first().map_or(0, |indexed| indexed.index + 1)
    }

    /// Entries of some kinds, oldest first.
    pub fn entries(&self, kinds: &[Kind]) -> Vec<Indexed> {
        let query = Query { kinds: kinds.to_vec(), ascending: true, ..Query::default() };
        self.universe.store.find(query).now_or_never().and_then(Result::ok).unwrap_or_default()
    }

    /// Entries of some kinds of one stack, oldest first.
    pub fn entries_of(&self, stack: &StackId, kinds: &[Kind]) -> Vec<Indexed> {
        self.entries(kinds).into_iter().filter(|indexed| indexed.entry.stack.as_ref() == Some(stack)).collect()
    }

    /// The parts that are held now, by stack, as the record says last.
    pub fn held(&self) -> Vec<(u64, StackId, Held)> {
        let mut newest = std::collections::BTreeMap::new();
        for indexed in self.entries(&[Kind::Held]) {
            if let (Some(stack), Ok(held)) = (indexed.entry.stack.clone(), indexed.entry.body::<Held>()) {
                newest.insert(stack, (indexed.index, held));
            }
        }
        newest.into_iter().filter(|(_, (_, held))| !held.parts.is_empty()).map(|(stack, (index, held))| (index, stack, held)).collect()
    }

    /// The newest entry of a kind.
    pub fn newest(&self, kind: Kind) -> Option<Indexed> {
        self.entries(&[kind]).pop()
    }

    pub fn violations(&self) -> Vec<Violation> {
        self.universe.witness().violations.clone()
    }

    /// The promises broken so far, each once.
    pub fn broken(&self) -> BTreeSet<Promise> {
        self.violations().iter().map(|violation| violation.promise).collect()
    }

    /// Fails where a promise was broken, with what led there.
    ///
    /// # Panics
    /// When a promise was broken.
    #[track_caller]
    pub fn keeps_its_promises(&self) {
        self.at_rest();
        let violations = self.violations();
        assert!(violations.is_empty(), "{}\n{}", violations[0], self.journal(60));
    }

    /// Checks what only a quiet world can promise, and what its whole record says.
    pub fn at_rest(&self) {
        self.universe.witness().at_rest(&self.universe);
        self.judge_verdicts(u64::MAX);
    }

    /// Checks what the record may say of how well things were, up to where everything was healed.
    pub fn judge_verdicts(&self, healed: u64) {
        for (promise, sentence) in verdicts::check(&self.universe, &self.entries(&[]), healed) {
            self.universe.witness().broken(promise, sentence);
        }
    }

    /// The last lines of what happened.
    pub fn journal(&self, lines: usize) -> String {
        let witness = self.universe.witness();
        let from = witness.journal.len().saturating_sub(lines);
        witness.journal[from..].join("\n")
    }

    /// What a run cost, by counter.
    pub fn counters(&self) -> Counts {
        let counters = self.runtime.counters();
        Counts {
            renders: counters.renders.load(Ordering::Relaxed),
            fetches: counters.fetches.load(Ordering::Relaxed),
            target_reads: counters.target_reads.load(Ordering::Relaxed),
            target_writes: counters.target_writes.load(Ordering::Relaxed),
            ledger_rows: counters.ledger_rows.load(Ordering::Relaxed),
            repeats: counters.repeats.load(Ordering::Relaxed),
        }
    }
}

/// Counters at one instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub renders: u64,
    pub fetches: u64,
    pub target_reads: u64,
    pub target_writes: u64,
    pub ledger_rows: u64,
    pub repeats: u64,
}

impl std::ops::Sub for Counts {
    type Output = Counts;
    fn sub(self, earlier: Counts) -> Counts {
        Counts {
            renders: self.renders - earlier.renders,
            fetches: self.fetches - earlier.fetches,
            target_reads: self.target_reads - earlier.target_reads,
            target_writes: self.target_writes - earlier.target_writes,
            ledger_rows: self.ledger_rows - earlier.ledger_rows,
            repeats: self.repeats - earlier.repeats,
        }
    }
}
