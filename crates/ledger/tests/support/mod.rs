//! A state folder for a test, and this test binary as another process that works on it.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use futures::executor::block_on;
use tempfile::TempDir;
use trued_doors::conformance::SteppedClock;
use trued_doors::conformance::store::{START, draft};
use trued_ledger::{Ledger, Mode, Verification, VerifyOptions};
use trued_model::{Draft, Indexed, Kind};

const PLACE: &str = "TRUED_TEST_PLACE";

/// A state folder and a clock.
pub struct Place {
    pub state: PathBuf,
    pub clock: Arc<SteppedClock>,
    _folder: Option<TempDir>,
}

impl Place {
    pub fn new() -> Place {
        let folder = TempDir::new().unwrap();
        Place { state: folder.path().join("state"), _folder: Some(folder), ..Place::at(PathBuf::new()) }
    }

    pub fn at(state: PathBuf) -> Place {
        Place { state, clock: Arc::new(SteppedClock::at(START)), _folder: None }
    }

    pub fn open(&self, mode: Mode) -> Ledger {
        Ledger::open(&self.state, self.clock.clone(), mode).unwrap()
    }

    pub fn file(&self) -> PathBuf {
        self.state.join("ledger.sqlite")
    }

    /// A line of its own to the file, for doing what nobody may.
    pub fn tamper(&self, sql: &str) {
        let file = rusqlite::Connection::open(self.file()).unwrap();
        file.execute_batch(sql).unwrap();
    }

    pub fn verify(&self, options: &VerifyOptions) -> Verification {
        self.open(Mode::ReadOnly).verify(options).unwrap()
    }

    pub fn verified(&self) {
        let found = self.verify(&VerifyOptions { deep: true, ..VerifyOptions::default() });
        assert!(matches!(&found, Verification::Verified { remarks, .. } if remarks.is_empty()), "{found:?}");
    }

    /// This test again, in a process of its own that [`of_parent`] tells the place to.
    pub fn child(&self, test: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(PLACE, &self.state);
        command
    }
}

/// The place a parent gave to this process.
pub fn of_parent() -> Option<Place> {
    std::env::var_os(PLACE).map(|state| Place::at(state.into()))
}

/// Appends numbered drafts, one batch.
pub fn append(ledger: &Ledger, numbers: std::ops::Range<u64>) -> Vec<Indexed> {
    let drafts: Vec<Draft> = numbers.map(|n| draft(Kind::Observed, Some("prod/site@web"), n)).collect();
    block_on(ledger.store.append(drafts, None)).unwrap()
}
