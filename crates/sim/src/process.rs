//! One simulated process: it may die at any place where it meets the world, and then does nothing any more.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;
use trued_doors::Holder;

/// So many calls at one instant of virtual time are a loop that waits for nothing.
const BUSY: u64 = 20_000;

/// Whether a process lives, and where it is to die.
pub struct Process {
    pub holder: Holder,
    alive: AtomicBool,
    /// Places passed so far.
    passed: AtomicU64,
    dies_at: AtomicU64,
    died: Notify,
    /// Whether it reaches the targets and not the record.
    cut: AtomicBool,
    /// Calls since time last went on, and since when.
    calls: Mutex<(Option<Instant>, u64)>,
}

impl Process {
    pub fn new(number: u32, verb: &str) -> Process {
        Process {
            holder: Holder { pid: 100 + number, started: u64::from(number), boot: "one".to_owned(), verb: verb.to_owned() },
            alive: AtomicBool::new(true),
            passed: AtomicU64::new(0),
            dies_at: AtomicU64::new(u64::MAX),
            died: Notify::new(),
            cut: AtomicBool::new(false),
            calls: Mutex::default(),
        }
    }

    /// Lets the process die at the nth place from now, counted from 0.
    pub fn die_after(&self, places: u64) {
        self.dies_at.store(self.passed().saturating_add(places), Ordering::Relaxed);
    }

    /// Cuts the process off from the record, or lets it there again.
    pub fn cut_off(&self, cut: bool) {
        self.cut.store(cut, Ordering::Relaxed);
    }

    pub fn is_cut_off(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }

    pub fn passed(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }

    pub fn alive(&self) -> bool {
        self.alive.load(Ordering::Relaxed)
    }

    /// Ends the process now: whatever it waits for never comes.
    pub fn kill(&self) {
        self.alive.store(false, Ordering::Relaxed);
        self.died.notify_one();
    }

    /// A place where the process may die. Nothing comes back to a dead one.
    pub async fn place(&self) {
        if self.alive() && self.passed.fetch_add(1, Ordering::Relaxed) == self.dies_at.load(Ordering::Relaxed) {
            self.kill();
        }
        self.still().await;
    }

    /// Whether it turned in a circle without waiting for anything, and was ended for it.
    pub fn was_busy(&self) -> bool {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).1 > BUSY
    }

    fn count(&self) {
        let now = Instant::now();
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        *calls = if calls.0 == Some(now) { (calls.0, calls.1 + 1) } else { (Some(now), 0) };
        if calls.1 > BUSY {
            self.kill();
        }
    }

    /// Goes on only while the process lives.
    pub async fn still(&self) {
        if self.alive() {
            self.count();
        }
        if !self.alive() {
            futures::future::pending::<()>().await;
        }
    }

    /// Ends when the process has died.
    pub async fn death(&self) {
        self.died.notified().await;
    }
}
