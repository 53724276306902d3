//! The store in SQLite against the suite, with real processes, and what only a file must hold.

mod support;

use std::process::Command;
use std::sync::{Arc, Mutex};

use futures::executor::block_on;
use support::Place;
use trued_doors::conformance::SteppedClock;
use trued_doors::conformance::store::{START, Subject, draft};
use trued_doors::{Holder, Store};
use trued_ledger::{Mode, this_process};
use trued_model::Kind;

trued_doors::store_suite!(fresh);

struct World {
    place: Place,
    processes: Mutex<Vec<std::process::Child>>,
}

fn fresh() -> World {
    World { place: Place::new(), processes: Mutex::default() }
}

impl Subject for World {
    fn open(&self) -> Arc<dyn Store> {
        self.place.open(Mode::Create).store
    }

    fn clock(&self) -> &SteppedClock {
        &self.place.clock
    }

    fn process(&self) -> Holder {
        let child = Command::new("sleep").arg("1000").spawn().expect("sleep");
        let pid = child.id();
        self.processes.lock().unwrap().push(child);
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let started = stat.rsplit(')').next().unwrap().split_ascii_whitespace().nth(19).unwrap().parse().unwrap();
        Holder { pid, started, verb: "serve".to_owned(), ..this_process("").unwrap() }
    }

    /// Kills without looking after it: a zombie holds nothing either.
    fn kill(&self, process: &Holder) {
        let mut processes = self.processes.lock().unwrap();
        let child = processes.iter_mut().find(|child| child.id() == process.pid).unwrap();
        child.kill().unwrap();
        let ended = |pid| std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "));
        while !ended(process.pid) {
            std::thread::yield_now();
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for child in self.processes.get_mut().unwrap() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Appends from other processes: this test binary, started again with a place to append to.
#[test]
fn two_processes_make_one_tree() {
    const EACH: u64 = 40;
    if let Some(place) = support::of_parent() {
        let store = place.open(Mode::Create).store;
        for n in 0..EACH {
            block_on(store.append(vec![draft(Kind::Observed, Some("dev/site@web"), n); 1 + n as usize % 2], None)).unwrap();
        }
        return;
    }
    let place = Place::new();
    let mut children: Vec<_> = (0..2).map(|_| place.child("two_processes_make_one_tree").spawn().unwrap()).collect();
    for child in &mut children {
        assert!(child.wait().unwrap().success());
    }
    let ledger = place.open(Mode::ReadOnly);
    assert_eq!(block_on(ledger.store.head()).unwrap().size, 2 * (EACH + EACH / 2));
    place.verified();
}

#[tokio::test]
async fn a_runtime_is_not_blocked_and_not_needed() {
    let place = Place::new();
    let store = place.open(Mode::Create).store;
    let appended = store.append(vec![draft(Kind::Heartbeat, None, 0)], None).await.unwrap();
    assert_eq!((appended[0].index, appended[0].entry.recorded_at), (0, START));
    assert_eq!(store.find(Default::default()).await.unwrap(), appended);
}
