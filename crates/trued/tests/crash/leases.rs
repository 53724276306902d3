//! Two processes on one state folder: one at a time acts, one that stood still past its lease writes nothing any more, and
//! its refusal is on record.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use trued_model::Kind;
use trued_model::body::{Intent, Refused, Verdict};

use crate::ground::Ground;
use crate::tracer::{self, Blow, Call, Outside};

/// How long leases last here.
const TERM: &str = "2s";
/// Longer than that.
const PAST: Duration = Duration::from_millis(2500);
const PATIENCE: Duration = Duration::from_secs(60);

pub fn until(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "{what} did not come about");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn leasing(command: &mut Command) -> &mut Command {
    command.env("TRUED_LEASE", TERM)
}

fn intents(ground: &Ground) -> Vec<Intent> {
    ground.entries(&[Kind::Intent]).iter().filter_map(|intent| intent.entry.body().ok()).collect()
}

/// A `serve` that ends with its test.
pub struct Serve(Child);

impl Serve {
    pub fn start(ground: &Ground) -> Serve {
        Serve::begin(ground, |command| command)
    }

    /// One whose wall clock is off by what the file `clock` says: a shim between the program and the C library tells it so.
    fn start_beside_time(ground: &Ground) -> Serve {
        let shim = fs::read_dir("/usr/lib").expect("a folder").flatten().map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
        let shim = shim.into_iter().find(|shim| shim.exists()).expect("libfaketime is installed (Debian: apt-get install faketime)");
        Serve::begin(ground, |command| {
            command.env("LD_PRELOAD", &shim).env("FAKETIME_TIMESTAMP_FILE", ground.path("clock"));
            command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        })
    }

    fn begin(ground: &Ground, how: impl Fn(&mut Command) -> &mut Command) -> Serve {
        let mut command = ground.command(&["serve", "--poll", "50ms"]);
        let said = fs::File::create(ground.path(format!("said-{}", intents(ground).len()).as_str())).expect("a file");
        Serve(how(leasing(&mut command)).stdout(Stdio::null()).stderr(said).spawn().expect("trued starts"))
    }

    pub fn process(&self) -> u32 {
        self.0.id()
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id() as i32), signal).expect("it lives");
    }

    /// Stops it while it holds no lock of the record: nobody could come after it as long as it does.
    fn stop_beside_the_record(&self, ground: &Ground) {
        until("a stop outside a write", || {
            self.signal(Signal::SIGSTOP);
            let record = rusqlite::Connection::open(ground.path(".trued/ledger.sqlite")).expect("the record");
            let free = record.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_ok();
            if !free {
                self.signal(Signal::SIGCONT);
            }
            free
        });
    }

    /// Waits until it ended by itself; gives its status.
    fn ended(&mut self) -> Option<i32> {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.0.try_wait().expect("a child") {
                Some(status) => return status.code(),
                None => assert!(Instant::now() < end, "it does not end"),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn ends_well(mut self) {
        self.signal(Signal::SIGTERM);
        assert_eq!(self.0.wait().expect("its end").code(), Some(0));
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A process is frozen at a call of its second apply until another one has taken the stack over. Gives the ground, how
/// often the frozen one moved anything afterwards, and what it said.
fn frozen_at(choose: impl Fn(&Call) -> bool + Sync) -> (Ground, usize, String) {
    let ground = Ground::new();
    ground.must(&["apply"], 0).expect("the first revision");
    ground.edit();
    let old = ground.tree("www");
    let epoch = intents(&ground).last().expect("an intent").epoch;
    let successor = std::cell::RefCell::new(None);
    let take_over = || {
        std::thread::sleep(PAST);
        ground.write("site/index.html", "index.html, third\n");
        *successor.borrow_mut() = Some(leasing(&mut ground.command(&["apply"])).spawn().expect("trued starts"));
        // Its lease is taken, and the target knows: all it waits for is the frozen one's lock.
        let marked = format!(":{}}}", epoch + 2);
        until("the successor's mark", || fs::read_to_string(ground.path("www/.trued/mark")).is_ok_and(|mark| mark.contains(&marked)));
    };
    let outside = Outside { meanwhile: Some(&take_over), ..Outside::default() };
    let (mut frozen, mut moves) = (false, 0);
    let mut command = ground.command(&["apply"]);
    let trace = tracer::run_known(
        leasing(&mut command),
        &mut |_, call| {
            moves += usize::from(frozen && call.places());
            let now = !frozen && choose(call);
            frozen |= now;
            now.then_some(Blow::Freeze)
        },
        &outside,
    );
    assert_eq!(trace.status, Some(1), "{}", trace.said);
    let mut successor = successor.into_inner().expect("somebody took over");
    assert_eq!(successor.wait().expect("its end").code(), Some(0));
    let new = ground.tree("site");
    ground.is_whole(&old, &new).expect("whole");
    ground.is_settled(&new).expect("as desired");
    ground.must(&["verify"], 0).expect("a record that proves itself");
    let epochs: Vec<u64> = intents(&ground).iter().map(|intent| intent.epoch).collect();
    assert!(epochs.is_sorted_by(|one, next| one < next), "{epochs:?}");
    (ground, moves, trace.said)
}

/// The refusal is on record: what was refused, and that the run under the old epoch failed for it.
fn refusal_is_on_record(ground: &Ground) {
    let epochs: Vec<u64> = intents(ground).iter().map(|intent| intent.epoch).collect();
    let stale = epochs[epochs.len() - 2];
    let refused = ground.entries(&[Kind::Refusal]).pop().expect("a refusal").entry.body::<Refused>().expect("its body");
    assert!(refused.items.iter().all(|item| item.code == trued_model::Code::Fenced), "{refused:?}");
    let verdicts = ground.entries(&[Kind::Verdict]);
    let verdicts = verdicts.iter().filter_map(|verdict| verdict.entry.body::<Verdict>().ok());
    // Its own clock tells it, or the mark on the target, whatever is looked at first.
    let told = |verdict: &Verdict| ["its epoch is", "the lease could not be renewed"].iter().any(|why| verdict.why.contains(why));
    assert!(verdicts.filter(|verdict| verdict.epoch == Some(stale)).any(|verdict| told(&verdict)));
}

#[test]
fn fault_76_a_process_that_stood_still_past_its_lease_before_it_moved_anything_moves_nothing() {
    let (ground, moves, said) = frozen_at(|call| call.file.ends_with("/www/.trued/stage"));
    assert_eq!(moves, 0, "{said}");
    refusal_is_on_record(&ground);
}

/// One call may be on its way already, between the last look at the epoch and the disk; its successor waits for it.
#[test]
fn fault_76_a_process_that_stood_still_in_the_middle_of_a_batch_ends_there() {
    let moved = std::sync::atomic::AtomicUsize::new(0);
    let (ground, moves, said) = frozen_at(|call| call.places() && moved.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 2);
    assert_eq!(moves, 0, "{said}");
    refusal_is_on_record(&ground);
}

#[test]
fn fault_76_of_two_serves_one_acts_and_one_that_was_stopped_does_not_come_between() {
    let ground = Ground::new();
    let is = |text: &str| {
        ground.tree("www") == ground.tree("site") && fs::read_to_string(ground.path("www/index.html")).is_ok_and(|is| is == text)
    };
    let first = Serve::start(&ground);
    until("the first revision", || is("index.html, first\n"));
    // A second one is sent away, while the first answers and while its leases hold.
    let (status, said, _) = ground.run(&["serve"]);
    assert!(status == 1 && said.contains("a serve runs on"), "{said}");
    first.stop_beside_the_record(&ground);
    ground.write("site/index.html", "index.html, second\n");
    std::thread::sleep(PAST);
    let second = Serve::start(&ground);
    until("the second revision", || is("index.html, second\n"));
    let taken = intents(&ground).len();
    first.signal(Signal::SIGCONT);
    ground.write("site/index.html", "index.html, third\n");
    until("the third revision", || is("index.html, third\n"));
    // The first may have a say again once the second is gone, and not before.
    std::thread::sleep(PAST);
    let epochs: Vec<u64> = intents(&ground).iter().map(|intent| intent.epoch).collect();
    assert_eq!((epochs.len(), epochs.is_sorted()), (taken + 1, true), "one run for one revision: {epochs:?}");
    second.ends_well();
    ground.write("site/index.html", "index.html, fourth\n");
    until("the fourth revision", || is("index.html, fourth\n"));
    first.ends_well();
    let epochs: Vec<u64> = intents(&ground).iter().map(|intent| intent.epoch).collect();
    assert!(epochs.is_sorted() && epochs.last() > epochs.first(), "{epochs:?}");
    ground.must(&["verify"], 0).expect("a record that proves itself");
    assert_eq!(ground.must(&["apply"], 0).expect("nothing is left to do"), 0);
}

/// A record that cannot be written to is no permission to go on without it.
#[test]
fn fault_77_a_serve_cut_off_from_its_record_changes_nothing_until_it_is_back() {
    let ground = Ground::new();
    let serve = Serve::start(&ground);
    until("the first revision", || ground.tree("www") == ground.tree("site"));
    let old = ground.tree("www");
    let record = rusqlite::Connection::open(ground.path(".trued/ledger.sqlite")).expect("the record");
    record.execute_batch("BEGIN IMMEDIATE").expect("held");
    ground.edit();
    std::thread::sleep(PAST * 2);
    assert_eq!(ground.tree("www"), old, "it acted without its record");
    record.execute_batch("COMMIT").expect("let go");
    drop(record);
    until("the second revision", || ground.tree("www") == ground.tree("site"));
    serve.ends_well();
    ground.is_proven().expect("a record that proves itself");
}

/// Both ran on one state folder, as in an upgrade: what the newer one made of the record is not the older one's to write to.
#[test]
fn fault_82_fault_72_a_serve_whose_record_a_newer_program_brought_up_to_date_writes_nothing_more_and_ends() {
    let ground = Ground::new();
    let mut serve = Serve::start(&ground);
    until("the first revision", || ground.tree("www") == ground.tree("site"));
    let record = rusqlite::Connection::open(ground.path(".trued/ledger.sqlite")).expect("the record");
    let written = || {
        let of = |what: &str| record.query_row(what, [], |row| row.get::<_, Option<i64>>(0)).expect("read");
        ["count(*) FROM entries", "max(until) FROM leases", "count(*) FROM notes"].map(|what| of(&format!("SELECT {what}")))
    };
    record.execute_batch("BEGIN IMMEDIATE; PRAGMA user_version = 99").expect("a newer form");
    let (before, old) = (written(), ground.tree("www"));
    record.execute_batch("COMMIT").expect("let go");
    ground.edit();
    assert_eq!(serve.ended(), Some(1));
    assert_eq!((written(), ground.tree("www")), (before, old), "it wrote");
    let said = fs::read_to_string(ground.path("said-0")).expect("said");
    assert!(said.contains("version 99 by now") && said.contains("versions up to 2") && said.contains("start the newer program"), "{said}");
    let (status, said, _) = ground.run(&["serve"]);
    assert!(status == 1 && said.contains("it has version 99"), "{said}");
    // As if that program had been this one.
    record.execute_batch("PRAGMA user_version = 2").expect("the form that is known");
    ground.must(&["apply"], 0).expect("it goes on");
    ground.is_settled(&ground.tree("site")).expect("as desired");
    ground.is_proven().expect("a record that proves itself");
}

/// Leases go by the time since the machine started, and entries by the record: neither cares what the wall clock is set to.
#[test]
fn fault_79_a_serve_whose_wall_clock_jumps_ten_years_forth_and_back_keeps_its_lease_and_lands_what_comes() {
    const YEAR: i64 = 365 * 86_400_000;
    let ground = Ground::new();
    ground.write("clock", "+0");
    let serve = Serve::start_beside_time(&ground);
    until("the first revision", || ground.tree("www") == ground.tree("site"));
    let real = ground.entries(&[Kind::Verdict]).pop().expect("a verdict").entry.recorded_at.0;
    for jump in ["-10y", "+10y", "+0"] {
        ground.write("clock", jump);
        std::thread::sleep(PAST);
        ground.write("site/index.html", jump);
        until("what comes lands", || ground.tree("www") == ground.tree("site"));
    }
    serve.ends_well();
    let epochs: Vec<u64> = intents(&ground).iter().map(|intent| intent.epoch).collect();
    assert!(epochs.len() == 4 && epochs.iter().all(|epoch| *epoch == epochs[0]), "one lease all along: {epochs:?}");
    let times: Vec<i64> = ground.entries(&[Kind::Intent]).iter().map(|intent| intent.entry.recorded_at.0).collect();
    assert!(times.is_sorted(), "{times:?}");
    assert!(times[1] - real < YEAR && times[2] - real > 9 * YEAR, "the clock was not set: {times:?}");
    ground.is_proven().expect("a record that proves itself");
    ground.must(&["verify"], 0).expect("and to whoever asks");
}
