//! The store in SQLite against the suite, with real processes, and what only a file must hold.

mod support;

use std::process::Command;
use std::sync::{Arc, Mutex};

use futures::executor::block_on;
use support::Place;
use trued_doors::conformance::SteppedClock;
use trued_doors::conformance::store::{START, Subject, draft};
use trued_doors::{Fence, Holder, Store};
use trued_ledger::{Mode, this_process};
use trued_model::{Code, Kind};

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

/// Those who ask while another writes wait for the disk together, and each gets its own answer.
#[test]
fn who_asks_at_once_is_written_at_once_and_a_lost_lease_is_refused_alone() {
    const MANY: u64 = 50;
    let place = Place::new();
    let store = place.open(Mode::Create).store;
    let (site, holder) = (draft(Kind::Observed, Some("dev/site@web"), 0).stack.unwrap(), this_process("serve").unwrap());
    let lease = block_on(store.take(&site, &holder, 0, trued_model::Duration(60_000))).unwrap();
    block_on(store.append(vec![draft(Kind::Observed, None, 0)], None)).unwrap();
    let journal = || std::fs::metadata(place.state.join("ledger.sqlite-wal")).unwrap().len();
    let before = journal();
    let ask = |n: u64| {
        let epoch = if n == 7 { lease.epoch + 1 } else { lease.epoch };
        store.append(vec![draft(Kind::Observed, Some("dev/site@web"), n)], Some(Fence { stack: site.clone(), epoch }))
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let answers = runtime.block_on(futures::future::join_all((1..=MANY).map(ask)));
    let together = journal() - before;
    for (n, answer) in (1..).zip(&answers) {
        match answer {
            Ok(appended) => assert_eq!(appended[0].entry.body["n"], n, "each hears of its own"),
            Err(refusal) => assert_eq!((n, refusal.code), (7, Code::Fenced)),
        }
    }
    assert_eq!(answers.iter().filter(|answer| answer.is_err()).count(), 1);
    let indexes: Vec<u64> = answers.iter().flatten().map(|appended| appended[0].index).collect();
    assert_eq!(indexes, (1..MANY).collect::<Vec<u64>>(), "in the order they asked");
    // One by one each would write every page anew.
    let before = journal();
    block_on(ask(1)).unwrap();
    let alone = journal() - before;
    assert!(together < alone * MANY / 4, "{together} bytes of journal for {MANY}, {alone} for one");
    place.verified();
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
