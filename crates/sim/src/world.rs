//! A simulated world as a test or a script sees it: what is configured and committed, who edits, what runs and dies.

mod configured;
mod seen;

use std::sync::Arc;
use std::time::Duration as Span;

use serde_json::json;
use tokio::sync::{Notify, watch};
use trued_model::{Actor, Duration, Environment, SourceSpec, Want};
use trued_runtime::{Aim, Pace, Report, Runtime, Word};

use crate::doors::{SOURCE, doors};
use crate::history::Tree;
use crate::process::Process;
use crate::promise::Promise;
use crate::target::{Edit, Target};
use crate::universe::Universe;
use crate::words::name;

pub use seen::Counts;

/// How long a stack goes without a look.
pub const INTERVAL: Duration = Duration::from_secs(30);
/// The pace of a serving process.
pub const PACE: Pace = Pace { poll: Duration::from_secs(5), heartbeat: Duration::from_secs(60), repeat: Duration::from_secs(3600) };
/// How long an apply may wait at most: a stack is given its time anew now and then, and a bounded number of times.
const RETURNS: Span = Span::from_secs(6 * 3_600);
/// So many passes until a healed world must be quiet.
const PATIENCE: usize = 12;

/// A world with one process in it, which may die and be followed by others.
pub struct World {
    pub universe: Arc<Universe>,
    pub process: Arc<Process>,
    pub runtime: Arc<Runtime>,
    /// What is to be committed next.
    pub tree: Tree,
    processes: u32,
    serving: Option<Serving>,
}

struct Serving {
    stop: watch::Sender<bool>,
    wake: Arc<Notify>,
    task: tokio::task::JoinHandle<()>,
}

/// What one pass did.
#[derive(Debug)]
pub struct Passed {
    /// `None` when the process died on the way.
    pub report: Option<Report>,
    pub writes: u64,
    pub rows: u64,
}

impl Passed {
    /// The report of a pass that came to its end.
    ///
    /// # Panics
    /// When the process died.
    pub fn report(self) -> Report {
        self.report.expect("the process lives")
    }
}

/// Runs a world on a paused clock to its end.
///
/// # Panics
/// When no executor can be made.
pub fn simulate<T>(seed: u64, body: impl AsyncFnOnce(World) -> T) -> T {
    let executor = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("an executor");
    executor.block_on(async { body(World::new(seed)).await })
}

/// The person who speaks in every world.
pub fn person() -> Actor {
    Actor { kind: "person".to_owned(), id: "anna".to_owned(), evidence: "process".to_owned() }
}

impl World {
    pub fn new(seed: u64) -> World {
        let universe = Universe::new(seed);
        let source = SourceSpec { name: name("repo"), kind: SOURCE.to_owned(), settings: json!({}) };
        universe.configure(|estate| {
            estate.sources.insert(source.name.clone(), source);
            estate.environments.insert(name("prod"), Environment::default());
        });
        let (process, runtime) = start(&universe, 1);
        World { universe, process, runtime, tree: Tree::default(), processes: 1, serving: None }
    }

    pub fn target(&self, target: &str) -> Arc<Target> {
        self.universe.target(&name(target))
    }

    /// Writes a file into the tree that is committed next.
    pub fn put(&mut self, path: &str, text: &str) -> &mut World {
        self.tree.insert(path.to_owned(), Some(text.as_bytes().into()));
        self
    }

    /// Removes a file, or everything below a folder.
    pub fn remove(&mut self, path: &str) -> &mut World {
        let folder = format!("{path}/");
        self.tree.retain(|known, _| known != path && !known.starts_with(&folder));
        self
    }

    pub fn commit(&mut self) -> String {
        self.universe.history.commit(self.tree.clone())
    }

    /// A stranger's hand on a target.
    pub fn stranger(&self, target: &str, address: &str, edit: Edit) {
        let target = self.target(target);
        self.universe.witness().say(&self.universe, format_args!("a stranger: {address} {edit:?}"));
        target.edit(address, &edit, trued_doors::Clock::now(self.universe.clock.as_ref()));
    }

    /// One pass over all stacks, looking at everything.
    pub async fn pass(&mut self) -> Passed {
        self.pass_of(&Aim { want: Want::Newest, stacks: Vec::new(), writes: true, look: true, waits: false }).await
    }

    /// What planning gives; writes nothing.
    pub async fn plan(&mut self) -> Passed {
        self.pass_of(&Aim { want: Want::Newest, stacks: Vec::new(), writes: false, look: true, waits: false }).await
    }

    /// A pass that waits until all is ready or its time is over. That it comes back is a promise; gives nothing when it does not.
    pub async fn apply(&mut self) -> Option<Passed> {
        let aim = Aim { want: Want::Newest, stacks: Vec::new(), writes: true, look: true, waits: true };
        let passed = tokio::time::timeout(RETURNS, self.pass_of(&aim)).await.ok();
        if passed.is_none() {
            self.universe.witness().broken(Promise::Returns, format!("an apply still waits after {RETURNS:?}"));
        }
        passed
    }

    pub async fn pass_of(&mut self, aim: &Aim) -> Passed {
        let (writes, rows) = (self.writes(), self.rows());
        let report = tokio::select! {
            biased;
            () = self.process.death() => None,
            report = self.runtime.pass(aim) => Some(report),
        };
        let report = match report {
            Some(Ok(report)) => Some(report),
            Some(Err(refusal)) => {
                self.universe.witness().say(&self.universe, format_args!("the pass failed: {refusal}"));
                Some(Report::default())
            }
            None => None,
        };
        if report.is_none() {
            self.buried("died");
        }
        self.universe.appended();
        Passed { report, writes: self.writes() - writes, rows: self.rows() - rows }
    }

    /// Passes until one does nothing; gives that one.
    ///
    /// Names what still moves when that takes too long.
    pub async fn settle(&mut self) -> Passed {
        for _ in 0..PATIENCE {
            let passed = self.pass().await;
            if passed.report.is_some() && passed.writes == 0 && passed.rows == 0 {
                return passed;
            }
            self.wait(1).await;
        }
        self.universe.witness().broken(Promise::Idempotent, format!("{PATIENCE} passes, and the last one still wrote"));
        self.pass().await
    }

    /// Lets time go by.
    pub async fn wait(&self, seconds: u64) {
        tokio::time::sleep(Span::from_secs(seconds)).await;
    }

    fn buried(&mut self, how: &str) {
        if self.process.was_busy() {
            self.universe.witness().broken(Promise::Waits, "a process turns in a circle and waits for nothing".to_owned());
        }
        self.universe.witness().say(&self.universe, format_args!("process {} {how}", self.process.holder.pid));
        self.universe.blobs.crash();
        self.universe.store.kill(&self.process.holder);
        self.begin_anew();
    }

    fn begin_anew(&mut self) {
        self.processes += 1;
        (self.process, self.runtime) = start(&self.universe, self.processes);
    }

    /// Kills the process and starts another on the same record.
    pub fn crash(&mut self) {
        self.process.kill();
        self.serving = None;
        self.buried("is killed");
    }

    /// Starts a second process beside this one; gives the first.
    pub fn another(&mut self) -> (Arc<Process>, Arc<Runtime>) {
        let first = (self.process.clone(), self.runtime.clone());
        self.begin_anew();
        first
    }

    /// Goes on as an earlier process.
    pub fn act_as(&mut self, process: (Arc<Process>, Arc<Runtime>)) {
        (self.process, self.runtime) = process;
    }

    /// Starts serving.
    pub fn serve(&mut self) {
        let (stop, stopping) = watch::channel(false);
        let wake = Arc::new(Notify::new());
        let (runtime, heard) = (self.runtime.clone(), wake.clone());
        self.universe.witness().lenient = true;
        let task = tokio::spawn(async move {
            let _ = runtime.serve(PACE, heard, stopping).await;
        });
        self.serving = Some(Serving { stop, wake, task });
    }

    pub fn serves(&self) -> bool {
        self.serving.is_some()
    }

    /// What `reconcile` does.
    pub fn wake(&self) {
        if let Some(serving) = &self.serving {
            serving.wake.notify_one();
        }
    }

    /// Whether the serving process met a place to die; if so it is buried and another one serves.
    pub fn bury_if_dead(&mut self) -> bool {
        let dead = !self.process.alive();
        if dead {
            let served = self.serving.take().is_some();
            self.buried("died");
            if served {
                self.serve();
            }
        }
        dead
    }

    /// SIGTERM: ends serving and waits for it.
    pub async fn stop(&mut self) {
        if let Some(serving) = self.serving.take() {
            let _ = serving.stop.send(true);
            let _ = serving.task.await;
        }
    }

    /// Says yes to every held part that takes a yes.
    pub async fn approve_all(&self) {
        for (_, _, held) in self.held() {
            for part in held.parts.iter().filter(|part| part.kind.approvable()) {
                let _ = self.runtime.approve(&part.digest.to_string(), Duration::from_secs(86_400), "test", &person(), None).await;
            }
        }
    }

    /// Says a word on an item.
    pub async fn answer(&self, item: u64, word: &str) -> trued_doors::Answer<trued_runtime::AnswerWord> {
        let word = Word { item, word: word.to_owned(), until: None, reason: "test".to_owned() };
        self.runtime.answer(&word, &person()).await
    }
}

fn start(universe: &Arc<Universe>, number: u32) -> (Arc<Process>, Arc<Runtime>) {
    let process = Arc::new(Process::new(number, "serve"));
    let runtime = Arc::new(Runtime::new(doors(universe, &process)));
    (process, runtime)
}
