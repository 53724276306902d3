//! A simulated world as a test or a script sees it: what is configured and committed, who edits, what runs and dies.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration as Span;

use futures::FutureExt;
use serde_json::json;
use tokio::sync::{Notify, watch};
use trued_doors::{Query, Store};
use trued_model::body::Held;
use trued_model::{
    Actor, App, CheckSpec, Duration, Environment, Indexed, Kind, Origin, Policy, RenderStep, SourceSpec, Stack, StackId, Want,
};
use trued_runtime::{Aim, Pace, Report, Runtime, Word};

use crate::doors::{CHECK, SOURCE, doors};
use crate::driver::KIND;
use crate::history::Tree;
use crate::process::Process;
use crate::target::{Edit, Target};
use crate::universe::Universe;
use crate::verdicts;
use crate::wellbeing::Wellbeing;
use crate::witness::{Promise, Violation};
use crate::words::name;

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

    /// Configures a stack: the folder of its app's name, put into a place on a target.
    pub fn stack(&self, app: &str, target: &str, into: &str) -> StackId {
        self.stack_of(app, app, target, into)
    }

    /// Configures a stack that renders a folder of another name.
    pub fn stack_of(&self, app: &str, folder: &str, target: &str, into: &str) -> StackId {
        let id = StackId { environment: name("prod"), app: name(app), target: name(target) };
        let stack = Stack {
            id: id.clone(),
            source: name("repo"),
            render: RenderStep {
                kind: "plain".to_owned(),
                settings: json!({ "path": folder }),
                vars: Default::default(),
                secrets: Default::default(),
                pulls: Vec::new(),
                limits: None,
            },
            into: into.to_owned(),
            policy: Policy::default(),
            checks: Vec::new(),
            previously: Vec::new(),
            health: Default::default(),
            after: std::collections::BTreeSet::new(),
            interval: INTERVAL,
            origin: Origin::default(),
        };
        self.universe.configure(|estate| {
            let target = trued_model::Target {
                name: id.target.clone(),
                kind: KIND.to_owned(),
                settings: json!({}),
                ignore: Vec::new(),
                origin: Default::default(),
            };
            estate.targets.entry(id.target.clone()).or_insert(target);
            estate.apps.insert(id.app.clone(), App { name: id.app.clone(), owner: None, origin: Origin::default() });
            estate.stacks.insert(id.clone(), stack);
        });
        self.target(target);
        id
    }

    /// Changes a stack's configuration.
    pub fn configure(&self, id: &StackId, change: impl FnOnce(&mut Stack)) {
        self.universe.configure(|estate| {
            if let Some(stack) = estate.stacks.get_mut(id) {
                change(stack);
            }
        });
    }

    /// Adds a check to a stack that passes while [`World::fail_check`] does not say otherwise.
    pub fn check(&self, id: &StackId) {
        let settings = json!({ "app": id.app.as_str() });
        self.configure(id, |stack| stack.checks.push(CheckSpec { kind: CHECK.to_owned(), settings, reach: None }));
    }

    pub fn fail_check(&self, id: &StackId, fails: bool) {
        let mut failing = self.universe.failing.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if fails {
            failing.insert(id.app.clone())
        } else {
            failing.remove(&id.app)
        };
    }

    pub fn unconfigure(&self, id: &StackId) {
        self.universe.configure(|estate| {
            estate.stacks.remove(id);
        });
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

    /// Has a target, on which nothing is yet, tell how its things are.
    pub fn tells(&self, target: &str, wellbeing: Arc<Wellbeing>) {
        let target = self.target(target);
        let mut telling = Target::new(target.name.clone());
        (telling.confirms, telling.checks_epochs) = (target.confirms, target.checks_epochs);
        telling.ground().faults = target.ground().faults.clone();
        telling.wellbeing = Some(wellbeing);
        self.universe.set_target(telling);
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

    /// Resources changed on all targets so far.
    pub fn writes(&self) -> u64 {
        self.universe.targets().iter().map(|target| target.ground().writes).sum()
    }

    /// Entries so far, heartbeats aside.
    pub fn rows(&self) -> u64 {
        let beats = self.entries(&[Kind::Heartbeat]).len() as u64;
        self.head() - beats
    }

    fn head(&self) -> u64 {
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

    /// The newest entry of a kind.
    pub fn newest(&self, kind: Kind) -> Option<Indexed> {
        self.entries(&[kind]).pop()
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

    pub fn violations(&self) -> Vec<Violation> {
        self.universe.witness().violations.clone()
    }

    /// The promises broken so far, each once.
    pub fn broken(&self) -> std::collections::BTreeSet<Promise> {
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

fn start(universe: &Arc<Universe>, number: u32) -> (Arc<Process>, Arc<Runtime>) {
    let process = Arc::new(Process::new(number, "serve"));
    let runtime = Arc::new(Runtime::new(doors(universe, &process)));
    (process, runtime)
}
