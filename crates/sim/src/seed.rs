//! One seed, from its first commit to its last promise: trouble first, then everything is healed and must come right.

mod amends;

use std::collections::BTreeMap;
use std::fmt;
use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use trued_doors::Store;
use trued_model::{Digest, DriftPolicy, Duration, HealthPolicy, Kind, Otherwise, StackId};

use crate::chance::Chance;
use crate::history::BROKEN;
use crate::promise::{Promise, Violation};
use crate::script::{self, FILES, Fault, Options, Step, Touch, script};
use crate::target::{Faults, Target};
use crate::wellbeing::Wellbeing;
use crate::words::name;
use crate::world::{World, person, simulate};

/// The most lines of a failed world's history that are shown.
const SHOWN: usize = 400;
/// What became of one seed.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Of all that happened, in order.
    pub history: Digest,
    pub entries: u64,
    pub writes: u64,
    pub orders: u64,
}

/// A world that broke a promise.
#[derive(Clone, Debug)]
pub struct Failure {
    pub seed: u64,
    pub violation: Violation,
    pub options: Options,
    pub journal: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: {}", self.seed, self.violation)?;
        writeln!(f, "{:?}", self.options)?;
        f.write_str(&self.journal)
    }
}

/// Runs one world.
pub fn run(seed: u64) -> Result<Seen, Box<Failure>> {
    run_as(seed, None)
}

/// Runs one world in which things become ready, late, never, or for a while.
pub fn run_unwell(seed: u64) -> Result<Seen, Box<Failure>> {
    run_as(seed, Some(Chance::new(seed ^ 0x7e1b)))
}

fn run_as(seed: u64, mut unwell: Option<Chance>) -> Result<Seen, Box<Failure>> {
    let mut chance = Chance::new(seed);
    let options = Options::new(&mut chance);
    let mut steps = script(&mut chance, &options);
    if let Some(unwell) = &mut unwell {
        steps = script::unwell(unwell, steps);
    }
    let kept = options.clone();
    simulate(seed, async move |mut world| {
        let mut walk = Walk::new(&mut world, &options, chance);
        if let Some(unwell) = unwell {
            walk.give_tempers(seed, unwell);
        }
        let done = AssertUnwindSafe(walk.whole(&steps)).catch_unwind().await;
        let mut world = world;
        if done.is_err() {
            world.universe.witness().broken(Promise::Record, "the world broke off in a panic".to_owned());
        }
        let panicked = |incident: &trued_model::Indexed| incident.entry.body.get("kind").is_some_and(|kind| kind == "panic");
        if world.entries(&[Kind::IncidentOpened]).iter().any(panicked) {
            world.universe.witness().broken(Promise::Record, "a walk broke off in a panic".to_owned());
        }
        match world.violations().first() {
            Some(violation) => Err(Box::new(Failure { seed, violation: violation.clone(), options: kept, journal: world.journal(SHOWN) })),
            None => Ok(seen(&mut world).await),
        }
    })
}

async fn seen(world: &mut World) -> Seen {
    let entries = world.entries(&[]).len() as u64;
    let witness = world.universe.witness();
    let history = Digest::of(witness.journal.join("\n").as_bytes());
    Seen { history, entries, writes: world.writes(), orders: witness.orders }
}

/// The root of the record's tree: two runs of one seed write the same bytes.
pub fn record(seed: u64) -> (Digest, Digest) {
    let mut chance = Chance::new(seed);
    let options = Options::new(&mut chance);
    let steps = script(&mut chance, &options);
    simulate(seed, async move |mut world| {
        Walk::new(&mut world, &options, chance).whole(&steps).await;
        let root = world.universe.store.head().await.map_or(Digest::of(b""), |head| head.root);
        (seen(&mut world).await.history, root)
    })
}

struct Walk<'a> {
    world: &'a mut World,
    options: &'a Options,
    chance: Chance,
    stacks: Vec<StackId>,
    /// Stacks that are taken out of the configuration, as they were.
    away: BTreeMap<usize, trued_model::Stack>,
    renamed: u32,
    /// How much was on record when everything was healed.
    healed: u64,
}

impl<'a> Walk<'a> {
    fn new(world: &'a mut World, options: &'a Options, chance: Chance) -> Walk<'a> {
        for target in 0..options.targets {
            let mut target = Target::new(name(&format!("t{target}")));
            target.confirms = options.confirms;
            target.checks_epochs = options.checks_epochs;
            target.ground().faults.millis = options.millis;
            world.universe.set_target(target);
        }
        let mut stacks = Vec::new();
        for stack in 0..options.stacks {
            let into = if options.shared { String::new() } else { format!("in{stack}") };
            let id = world.stack(&format!("s{stack}"), &format!("t{}", stack % options.targets), &into);
            let drift = if stack == 0 { options.drift } else { DriftPolicy::Revert };
            world.configure(&id, |stack| {
                stack.policy.drift = drift;
                stack.policy.on_existing = options.on_existing();
                stack.policy.on_change = options.on_change();
                stack.policy.rollback = options.rolls_back;
            });
            if options.checks {
                world.check(&id);
            }
            stacks.push(id);
        }
        Walk { world, options, chance, stacks, away: BTreeMap::new(), renamed: 0, healed: 0 }
    }

    /// Has every target tell how its things are, and gives each stack a time to be ready in.
    fn give_tempers(&mut self, seed: u64, mut chance: Chance) {
        for target in self.world.universe.targets() {
            self.world.tells(target.name.as_str(), Wellbeing::new(seed));
        }
        for id in &self.stacks {
            let within = Duration::from_secs([5, 20, 60][chance.below(3) as usize]);
            let otherwise = [None, Some(Otherwise::Hold), Some(Otherwise::Rollback)][chance.below(3) as usize];
            self.world.configure(id, |stack| stack.health = HealthPolicy { within, otherwise, rules: Vec::new() });
        }
    }

    async fn whole(&mut self, steps: &[Step]) {
        if self.options.serves {
            self.world.serve();
        }
        for step in steps {
            self.world.universe.witness().say(&self.world.universe, format_args!("step {step:?}"));
            self.step(step).await;
            if !self.world.violations().is_empty() {
                return;
            }
        }
        self.heal().await;
        if self.world.violations().is_empty() {
            self.come_right().await;
        }
        self.world.judge_verdicts(self.healed);
        self.world.stop().await;
    }

    async fn step(&mut self, step: &Step) {
        match step {
            Step::Commit(touches) => {
                touches.iter().for_each(|touch| self.touch(touch));
                self.world.commit();
            }
            Step::Rewind(back) => {
                self.world.universe.history.rewind(*back as usize);
                self.world.tree = self.world.universe.history.tree();
            }
            Step::Reachable(reachable) => self.world.universe.history.set_reachable(*reachable),
            Step::Stranger { target, stack, file, edit } => {
                let address = self.address(*stack, *file);
                self.world.stranger(&format!("t{target}"), &address, edit.clone());
            }
            Step::Fault { target, fault } => self.fault(*target, fault),
            Step::Pass => self.pass().await,
            Step::Apply if self.world.serves() => self.pass().await,
            Step::Apply => drop(self.world.apply().await),
            Step::PassAndDie(places) => {
                self.world.process.die_after(*places);
                self.pass().await;
                self.world.process.die_after(u64::MAX);
            }
            Step::Kill => {
                let served = self.world.serves();
                self.world.crash();
                if served {
                    self.world.serve();
                }
            }
            Step::Wait(seconds) => self.world.wait(*seconds).await,
            Step::Jump(millis) => self.world.universe.clock.jump(*millis),
            Step::Approve(which) => {
                let held = self.world.held();
                let parts: Vec<Digest> = held.iter().flat_map(|(_, _, held)| held.parts.iter().map(|part| part.digest)).collect();
                if let Some(digest) = parts.get((*which as usize).checked_rem(parts.len()).unwrap_or(0)) {
                    let term = trued_model::Duration::from_secs(3600);
                    let _ = self.world.runtime.approve(&digest.to_string(), term, "why not", &person(), None).await;
                }
            }
            Step::Answer(which, word) => self.answer_something(*which, *word).await,
            Step::Suspend(stack) => {
                let _ = self.world.runtime.suspend(&self.stacks[*stack as usize], "test", &person()).await;
            }
            Step::Resume(stack) => {
                let _ = self.world.runtime.resume(&self.stacks[*stack as usize], "test", &person()).await;
            }
            Step::RollBack(stack) => {
                let _ = self.world.runtime.roll_back(&self.stacks[*stack as usize], None, "test", &person()).await;
            }
            Step::Rename(stack) => self.rename(*stack as usize),
            Step::Unconfigure(stack) => {
                let estate = self.world.universe.estate();
                if let Some(known) = estate.stacks.get(&self.stacks[*stack as usize]) {
                    self.away.insert(*stack as usize, known.clone());
                    self.world.unconfigure(&known.id.clone());
                }
            }
            Step::Configure(stack) => self.configure_again(*stack as usize),
            Step::Unreadable(stack, unreadable) => {
                let app = self.stacks[*stack as usize].app.clone();
                self.world.universe.configure(|estate| {
                    estate.unreadable.retain(|known| *known != app);
                    if *unreadable {
                        estate.unreadable.push(app);
                    }
                });
            }
            Step::FailCheck(stack, fails) => self.world.fail_check(&self.stacks[*stack as usize].clone(), *fails),
            Step::FailCommand(fails) => self.fail_command(*fails),
            Step::Second => {
                if !self.world.serves() {
                    let first = self.world.another();
                    let passed = self.world.pass().await;
                    if passed.report.is_some() && self.chance.one_in(2) {
                        let _ = self.world.runtime.release().await;
                    }
                    // The first goes on where it was stopped, at times after its leases have ended.
                    if self.chance.one_in(2) {
                        self.world.wait(20).await;
                    }
                    self.world.act_as(first);
                }
            }
        }
        self.world.bury_if_dead();
        self.world.universe.appended();
    }

    async fn pass(&mut self) {
        if self.world.serves() {
            self.world.wake();
            self.world.wait(30).await;
        } else {
            self.world.pass().await;
        }
    }

    fn fail_command(&mut self, fails: bool) {
        let mut broken = self.world.universe.broken_programs.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if fails {
            broken.insert("reload".to_owned())
        } else {
            broken.remove("reload")
        };
    }

    /// The app gets another name; it says which one it had.
    fn rename(&mut self, stack: usize) {
        let old = self.stacks[stack].clone();
        let Some(known) = self.world.universe.estate().stacks.get(&old).cloned() else { return };
        self.renamed += 1;
        let id = StackId { app: name(&format!("r{}", self.renamed)), ..old.clone() };
        let mut previously = vec![old.clone()];
        previously.extend(known.previously.clone());
        self.world.universe.configure(|estate| {
            estate.stacks.remove(&old);
            estate.stacks.insert(id.clone(), trued_model::Stack { id: id.clone(), previously, ..known });
        });
        self.stacks[stack] = id;
    }

    fn configure_again(&mut self, stack: usize) {
        if let Some(known) = self.away.remove(&stack) {
            self.world.universe.configure(|estate| {
                estate.stacks.insert(known.id.clone(), known);
            });
        }
    }

    fn folder(&self, stack: u64) -> String {
        format!("s{stack}")
    }

    /// Where a file of a stack lies on its target. Stacks that share a root want some of the same addresses.
    fn address(&self, stack: u64, file: u64) -> String {
        let file = FILES[file as usize];
        if self.options.shared { self.shared(stack, file) } else { format!("in{stack}/{file}") }
    }

    /// In a shared root the second half of the files has a folder for each stack, the first half is for everybody.
    fn shared(&self, stack: u64, file: &str) -> String {
        let everybodys = FILES.iter().position(|known| *known == file).is_some_and(|place| place < 2);
        if everybodys { file.to_owned() } else { format!("own{stack}/{file}") }
    }

    fn path(&self, stack: u64, file: &str) -> String {
        let inner = if self.options.shared { self.shared(stack, file) } else { file.to_owned() };
        format!("{}/{inner}", self.folder(stack))
    }

    fn touch(&mut self, touch: &Touch) {
        match touch {
            Touch::Write { stack, file, text } => {
                let path = self.path(*stack, FILES[*file as usize]);
                self.write(&path, &format!("text {text}"));
            }
            Touch::Remove { stack, file } => {
                let path = self.path(*stack, FILES[*file as usize]);
                self.world.remove(&path);
            }
            Touch::Empty { stack } => {
                let folder = self.folder(*stack);
                self.world.remove(&folder);
            }
            Touch::Fill { stack } => {
                for file in FILES.iter().skip(if self.options.shared && *stack > 0 { 2 } else { 0 }) {
                    let path = self.path(*stack, file);
                    self.write(&path, "text 0");
                }
            }
            Touch::Break { stack, broken } => {
                let path = format!("{}/{BROKEN}", self.folder(*stack));
                if *broken {
                    self.world.put(&path, "yes");
                } else {
                    self.world.remove(&path);
                }
            }
            Touch::Move { from, to, file } => {
                let file = FILES[(*file % 2) as usize];
                let (old, new) = (self.path(*from, file), self.path(*to, file));
                if old != new
                    && let Some(content) = self.world.tree.remove(&old)
                {
                    self.world.tree.insert(new, content);
                }
            }
            Touch::Turn { stack } => {
                let folder = format!("{}/c", self.folder(*stack));
                if self.world.tree.contains_key(&folder) {
                    self.write(&format!("{folder}/d"), "text 1");
                } else {
                    self.world.remove(&folder);
                    self.write(&folder, "text 2");
                }
            }
            Touch::EmptyFolder { stack, there } => {
                let folder = format!("{}/k", self.folder(*stack));
                if *there {
                    self.world.tree.insert(folder, None);
                } else {
                    self.world.remove(&folder);
                }
            }
        }
    }

    /// Writes a file; what it would lie in gives way.
    fn write(&mut self, path: &str, text: &str) {
        for (end, _) in path.match_indices('/') {
            self.world.tree.remove(&path[..end]);
        }
        self.world.remove(path);
        self.world.put(path, text);
    }

    fn fault(&mut self, target: u64, fault: &Fault) {
        let addressed = |stack: &u64, file: &u64| self.address(*stack, *file);
        let mut faults = Faults { millis: self.options.millis, ..Faults::default() };
        match fault {
            Fault::None => {}
            Fault::Away => faults.away = true,
            Fault::Unseen => faults.unseen = true,
            Fault::Hidden { stack, file } => {
                faults.hidden.insert(trued_model::Address::new(addressed(stack, file)));
            }
            Fault::LostReplies(count) => faults.lost_replies = *count,
            Fault::Refusals(code, count) => faults.refusals = Some((*code, *count)),
            Fault::Forbidden { stack, file } => {
                faults.forbidden.insert(trued_model::Address::new(addressed(stack, file)), trued_model::Code::Denied);
            }
            Fault::Room(room) => faults.room = Some(*room),
            Fault::Hangs => faults.hangs = true,
            Fault::Meddling { stack, file, edit } => faults.meddling.push((addressed(stack, file), edit.clone())),
        }
        self.world.target(&format!("t{target}")).ground().faults = faults;
    }

    async fn answer_something(&mut self, which: u64, word: u64) {
        const WORDS: [&str; 8] = ["revert", "adopt", "ignore", "delete", "forget", "take-over", "accept", "done"];
        let kinds = [Kind::Held, Kind::DriftOpened, Kind::DriftUpdated, Kind::IncidentOpened, Kind::Intent];
        let items: Vec<u64> = self.world.entries(&kinds).iter().rev().take(8).map(|indexed| indexed.index).collect();
        let Some(item) = items.get((which as usize).checked_rem(items.len()).unwrap_or(0)) else { return };
        for turn in 0..WORDS.len() {
            let word = WORDS[(word as usize + turn) % WORDS.len()];
            if self.world.answer(*item, word).await.is_ok() {
                break;
            }
        }
    }
}
