//! The end of a world: every fault ends, every open question gets its word, and then what is there must be what is desired.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use trued_doors::Clock;
use trued_model::body::{Approved, Incident, Outcome, Verdict};
use trued_model::{Address, Digest, DriftPolicy, Duration, HoldKind, Kind, StackId};

use super::Walk;
use crate::promise::Promise;
use crate::script::Touch;
use crate::target::{Faults, inside};
use crate::witness::wishes;
use crate::world::person;

/// So many rounds of saying yes to everything until a healed world must have nothing left to ask.
const ROUNDS: usize = 8;
/// How long a serving process has to come right.
const SERVED: u64 = 600;

impl Walk<'_> {
    /// Ends every fault, and gives every word that something waits for.
    pub(super) async fn heal(&mut self) {
        self.world.universe.witness().say(&self.world.universe, "heal");
        self.world.process.die_after(u64::MAX);
        self.world.universe.appended();
        self.healed = self.world.entries(&[]).len() as u64;
        for target in self.world.universe.targets() {
            target.ground().faults = Faults { millis: self.options.millis, ..Faults::default() };
            if let Some(wellbeing) = &target.wellbeing {
                wellbeing.heal();
                target.ground().tell_all();
            }
        }
        self.world.universe.history.set_reachable(true);
        self.world.universe.failing.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.fail_command(false);
        for stack in 0..self.stacks.len() {
            self.configure_again(stack);
        }
        self.world.universe.configure(|estate| estate.unreadable.clear());
        // A stack that renders nothing has nothing to come right to.
        for stack in 0..self.options.stacks {
            self.touch(&Touch::Break { stack, broken: false });
            let path = self.path(stack, "f");
            self.write(&path, "last");
        }
        self.world.commit();
        self.clear_the_way();
    }

    /// A stranger's things in a folder that is to be a file are beyond what can be put right from here.
    fn clear_the_way(&self) {
        let universe = &self.world.universe;
        for stack in universe.estate().stacks.values() {
            let wishes = wishes(universe, stack, &universe.history.head()).unwrap_or_default();
            let target = universe.target(&stack.id.target);
            let in_the_way = |inner: &Address| wishes.keys().any(|address| inside(inner, address));
            target.ground().nodes.retain(|inner, node| !(node.foreign && in_the_way(inner)));
        }
    }

    pub(super) async fn come_right(&mut self) {
        for _ in 0..ROUNDS {
            self.rest().await;
            if !self.world.violations().is_empty() || !self.say_yes().await {
                break;
            }
        }
        self.rest().await;
        if !self.world.violations().is_empty() {
            return;
        }
        if self.world.serves() {
            let before = (self.world.writes(), self.world.rows());
            self.world.wait(SERVED).await;
            if (self.world.writes(), self.world.rows()) != before {
                let more = self.world.rows() - before.1;
                self.world.universe.witness().broken(Promise::Idempotent, format!("{more} entries in {SERVED} quiet seconds"));
            }
        } else {
            self.world.settle().await;
        }
        self.as_desired();
        let universe = self.world.universe.clone();
        universe.witness().at_rest(&universe);
    }

    async fn rest(&mut self) {
        if self.world.serves() {
            self.world.wake();
            self.world.wait(SERVED / 4).await;
        } else {
            self.world.pass().await;
            self.world.wait(20).await;
            self.world.pass().await;
        }
        self.world.universe.appended();
    }

    /// Answers everything that is open; gives whether anything was.
    async fn say_yes(&mut self) -> bool {
        let before = self.world.rows();
        let now = self.world.universe.clock.now();
        let mut wants: Vec<(u64, &str)> = Vec::new();
        for indexed in self.world.entries(&[Kind::IncidentOpened]) {
            let words = indexed.entry.body::<Incident>().map(|incident| incident.words).unwrap_or_default();
            if words.iter().any(|word| word == "accept") {
                wants.push((indexed.index, "accept"));
            }
        }
        for indexed in self.world.entries(&[Kind::Intent]) {
            let account = indexed.entry.stack.clone();
            let open = account.is_some_and(|stack| self.world.universe.witness().account(&stack).open.contains_key(&indexed.index));
            if open {
                wants.push((indexed.index, "done"));
            }
        }
        let mut resumes = Vec::new();
        {
            let mut witness = self.world.universe.witness();
            for id in self.stacks.clone() {
                let account = witness.account(&id);
                if account.drift.as_ref().is_some_and(|open| !open.answered) {
                    wants.extend(account.drift.as_ref().map(|open| (open.index, "revert")));
                }
                if account.suspended.is_some() || account.rolled.is_some() {
                    resumes.push(id);
                }
            }
        }
        let answered: BTreeSet<u64> =
            self.world.entries(&[Kind::Answered]).iter().filter_map(|indexed| indexed.entry.link("answers")).collect();
        for (item, word) in wants {
            if word == "revert" || !answered.contains(&item) {
                let _ = self.world.answer(item, word).await;
            }
        }
        for id in resumes {
            let _ = self.world.runtime.resume(&id, "amnesty", &person()).await;
        }
        let asked: Vec<Digest> = self
            .world
            .held()
            .iter()
            .flat_map(|(_, _, held)| held.parts.iter().filter(|part| part.kind.approvable()).map(|part| part.digest))
            .collect();
        let standing: Vec<Digest> = self
            .world
            .entries(&[Kind::Approval])
            .iter()
            .filter_map(|indexed| indexed.entry.body::<Approved>().ok())
            .filter(|approved| approved.until > now)
            .map(|approved| approved.digest)
            .collect();
        for digest in asked.into_iter().filter(|digest| !standing.contains(digest)) {
            let term = Duration::from_secs(86_400);
            let _ = self.world.runtime.approve(&digest.to_string(), term, "amnesty", &person(), None).await;
        }
        self.world.universe.appended();
        self.world.rows() > before
    }

    /// What is there is what is desired, wherever nothing is held.
    fn as_desired(&mut self) {
        let universe = self.world.universe.clone();
        let estate = universe.estate();
        let head = universe.history.head();
        let held: BTreeMap<StackId, Vec<HoldKind>> =
            self.world.held().into_iter().map(|(_, id, held)| (id, held.parts.iter().map(|part| part.kind).collect())).collect();
        for stack in estate.stacks.values() {
            if let Some(kinds) = held.get(&stack.id) {
                let excused = kinds.iter().all(|kind| matches!(kind, HoldKind::Claimed | HoldKind::Waiting | HoldKind::Depends));
                if !excused || !self.options.shared {
                    let sentence = format!("{:?} is still held for {kinds:?} although everything was answered", stack.id);
                    universe.witness().broken(Promise::Converges, sentence);
                }
                continue;
            }
            let Some(wishes) = wishes(&universe, stack, &head) else { continue };
            let target = universe.target(&stack.id.target);
            let alone = stack.policy.drift == DriftPolicy::Alert;
            for (address, wish) in &wishes {
                let there = target.ground().look(address, target.nested);
                let strange = there.as_ref().is_some_and(|node| node.foreign) || target.ground().stolen.contains(address);
                if there.map(|node| node.fingerprint).as_ref() != Some(wish) && !(alone && strange) {
                    let sentence = format!("{:?} desires {wish} at {address}, and it is not there", stack.id);
                    universe.witness().broken(Promise::Converges, sentence);
                    return;
                }
            }
            let ours: Vec<Address> =
                universe.witness().account(&stack.id).inventory.keys().filter(|address| !wishes.contains_key(*address)).cloned().collect();
            let left = ours.iter().find(|address| target.ground().nodes.contains_key(*address));
            if let Some(address) = left {
                universe.witness().broken(Promise::Converges, format!("{address} is {:?}'s, not desired, and still there", stack.id));
            }
        }
        let newest = |id: &StackId| {
            let newest = self.world.entries_of(id, &[Kind::Verdict]).pop();
            newest.and_then(|verdict| verdict.entry.body::<Verdict>().ok())
        };
        for (id, verdict) in estate.stacks.keys().filter(|id| !held.contains_key(id)).filter_map(|id| Some((id, newest(id)?))) {
            if verdict.outcome == Outcome::Failed {
                universe.witness().broken(Promise::Converges, format!("the last run of {id:?} failed although nothing is wrong any more"));
            }
            if !verdict.awaits.is_empty() {
                let sentence = format!("{id:?} still waits for {} although all is ready", verdict.awaits);
                universe.witness().broken(Promise::Converges, sentence);
            }
        }
    }
}
