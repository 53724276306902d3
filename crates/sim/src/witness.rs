//! Sees every look, order, change and entry of a world as it happens, and says at once which promise was broken.

mod change;
mod record;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use trued_doors::{Clock, Holder, Order};
use trued_model::{Address, Change, Estate, Extent, Fingerprint, Name, Observation, Refusal, Seen, Stack, StackId};

use self::change::Scene;
use crate::books::{Account, Accounts};
use crate::history::placed;
use crate::promise::{Promise, Violation};
use crate::target::{Node, Target};
use crate::universe::Universe;

/// What a process knew when it looked.
#[derive(Clone)]
struct Glance {
    extent: Extent,
    seen: Seen,
    known: Known,
    /// What it went by shortly before, while several things run at once: the render came before the look.
    earlier: Known,
}

/// What a process goes by: configuration as it was read last, and the revision it follows.
#[derive(Clone, Default)]
struct Known {
    estate: Arc<Estate>,
    accepted: Option<String>,
    readable: bool,
}

#[derive(Default)]
pub struct Witness {
    pub violations: Vec<Violation>,
    /// What happened, in order: for people, and for comparing two runs of one seed.
    pub journal: Vec<String>,
    /// Orders' changes that arrived, made or not.
    pub orders: u64,
    /// Race windows between a person's word and a walk in hand are left out while several things run at once.
    pub lenient: bool,
    accounts: Accounts,
    read: u64,
    known: BTreeMap<u32, Known>,
    /// What a process went by before its newest change of mind.
    earlier: BTreeMap<u32, Known>,
    glances: BTreeMap<(u32, Name, Address), Glance>,
    /// Our own newest write, while nothing newer was seen.
    wrote: BTreeMap<(u32, Name, Address), (StackId, Option<Fingerprint>)>,
    sent: BTreeSet<(String, Address)>,
    newest_epoch: BTreeMap<(Name, StackId), u64>,
    /// Until when a process holds a lease, by its own clock.
    leased: BTreeMap<(u32, StackId), u64>,
    /// Commands that ran since the last change of their stack.
    ran: BTreeSet<(StackId, String)>,
    /// Addresses that may stay behind without an owner.
    let_go: BTreeSet<(Name, Address)>,
}

impl Witness {
    pub fn account(&mut self, stack: &StackId) -> &mut Account {
        self.accounts.entry(stack.clone()).or_default()
    }

    pub fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    pub fn broken(&mut self, promise: Promise, sentence: String) {
        self.journal.push(format!("BROKEN {promise:?}: {sentence}"));
        self.violations.push(Violation { promise, sentence });
    }

    pub fn say(&mut self, universe: &Universe, line: impl fmt::Display) {
        self.journal.push(format!("{} {line}", universe.clock.monotonic() - 1_000_000));
    }

    /// A process read its configuration.
    pub fn configured(&mut self, by: &Holder, estate: Arc<Estate>) {
        let known = self.known.entry(by.pid).or_default();
        if known.estate != estate {
            self.earlier.insert(by.pid, known.clone());
        }
        known.estate = estate;
    }

    /// A process took a lease, or prolonged it.
    pub fn leased(&mut self, by: &Holder, stack: &StackId, until: u64) {
        self.leased.insert((by.pid, stack.clone()), until);
    }

    /// A process accepted a revision.
    pub fn accepted(&mut self, by: &Holder, revision: Option<String>, readable: bool) {
        let known = self.known.entry(by.pid).or_default();
        if known.accepted != revision {
            self.earlier.insert(by.pid, known.clone());
        }
        known.accepted = revision;
        known.readable = readable;
    }

    pub fn looked(&mut self, by: &Holder, target: &Name, observation: &Observation) {
        let known = self.known.get(&by.pid).cloned().unwrap_or_default();
        for (address, seen) in &observation.seen {
            let key = (by.pid, target.clone(), address.clone());
            self.wrote.remove(&key);
            let earlier = if self.lenient { self.earlier.get(&by.pid).cloned().unwrap_or_default() } else { known.clone() };
            let glance = Glance { extent: observation.extent.clone(), seen: seen.clone(), known: known.clone(), earlier };
            self.glances.insert(key, glance);
        }
    }

    pub fn answered(&mut self, by: &Holder, target: &Name, change: &Change, result: &Result<Option<Fingerprint>, Refusal>) {
        let line = match result {
            Ok(_) => format!("{target}: {} {} done", change.action.word(), change.address),
            Err(refusal) => format!("{target}: {} {} refused: {:?}", change.action.word(), change.address, refusal.code),
        };
        self.journal.push(line);
        let key = (by.pid, target.clone(), change.address.clone());
        if result.is_err() {
            self.wrote.remove(&key);
        }
    }

    /// An answer got lost: what the process knows of this address is nothing.
    pub fn forgets(&mut self, by: &Holder, target: &Name, address: &Address) {
        self.wrote.remove(&(by.pid, target.clone(), address.clone()));
    }

    /// Checks a change that has arrived at its target and is not made yet.
    pub fn ordered(&mut self, universe: &Universe, by: &Holder, target: &Target, order: &Order, index: usize, there: Option<&Node>) {
        self.read_on(universe);
        self.orders += 1;
        let change = &order.changes[index];
        self.say(
            universe,
            format_args!(
                "{:?} {} {} {:?} -> {:?} epoch {}",
                order.stack,
                change.action.word(),
                change.address,
                change.before,
                change.after,
                order.epoch
            ),
        );
        let run = order.key.rsplit_once('/').map_or(order.key.as_str(), |(run, _)| run).to_owned();
        self.sent.insert((run.clone(), change.address.clone()));
        let until = self.leased.get(&(by.pid, order.stack.clone())).copied().unwrap_or(0);
        if universe.clock.monotonic() >= until {
            let sentence = format!("{:?} writes {} after its lease ran out at {until}", order.stack, change.address);
            self.broken(Promise::Leases, sentence);
        }
        let newest = self.newest_epoch.entry((target.name.clone(), order.stack.clone())).or_default();
        if order.epoch < *newest {
            let sentence = format!("{:?} writes {} under epoch {} after {newest}", order.stack, change.address, order.epoch);
            self.broken(Promise::Epochs, sentence);
        } else {
            *newest = order.epoch;
        }
        if let Some((stack, wrote)) = self.wrote.get(&(by.pid, target.name.clone(), change.address.clone()))
            && *stack == order.stack
            && *wrote != change.before
        {
            let sentence = format!("{:?} expects {:?} at {}, and wrote {wrote:?} itself", order.stack, change.before, change.address);
            self.broken(Promise::StaleWrite, sentence);
        }
        let mut found = Vec::new();
        let account = self.accounts.get(&order.stack);
        match account.and_then(|account| Some((account, account.run(&run)?))) {
            None => found.push((Promise::IntentFirst, format!("{:?} changes {} without an open intent", order.stack, change.address))),
            Some((account, open)) => {
                let same = |planned: &&Change| planned.address == change.address && planned.action == change.action;
                let planned = open.plan.as_ref().and_then(|plan| plan.changes.iter().find(same));
                if planned.is_none_or(|planned| (&planned.before, &planned.after) != (&change.before, &change.after)) {
                    found.push((
                        Promise::IntentFirst,
                        format!("the intent of {:?} does not name {} {}", order.stack, change.action.word(), change.address),
                    ));
                }
                if open.intent.epoch != order.epoch {
                    let sentence =
                        format!("{:?} writes under epoch {} what was intended under {}", order.stack, order.epoch, open.intent.epoch);
                    found.push((Promise::IntentFirst, sentence));
                }
                let scene = Scene { witness: self, universe, by, target, order, change, there, account, open };
                found.extend(scene.check());
            }
        }
        for (promise, sentence) in found {
            self.broken(promise, sentence);
        }
    }

    /// Takes note of a change that was made.
    pub fn changed(&mut self, by: &Holder, target: &Target, order: &Order, index: usize) {
        let change = &order.changes[index];
        let stack = order.stack.clone();
        self.ran.retain(|(of, _)| *of != stack);
        self.wrote.insert((by.pid, target.name.clone(), change.address.clone()), (stack, change.after.clone()));
        self.let_go.remove(&(target.name.clone(), change.address.clone()));
    }

    /// Checks that a command runs once for a set of changes.
    pub fn command(&mut self, universe: &Universe, stack: &StackId, name: &str) {
        self.say(universe, format_args!("{stack:?} runs {name}"));
        self.read_on(universe);
        let intended =
            self.accounts.get(stack).is_some_and(|account| account.open.values().any(|open| open.intent.command.as_deref() == Some(name)));
        if !intended {
            self.broken(Promise::IntentFirst, format!("{stack:?} runs {name} without an open intent"));
        }
        if !self.ran.insert((stack.clone(), name.to_owned())) {
            self.broken(Promise::CommandOnce, format!("{stack:?} runs {name} again although nothing changed since"));
        }
    }

    /// Checks what only a quiet world can promise: every run ended, nothing made is without an owner.
    pub fn at_rest(&mut self, universe: &Universe) {
        self.read_on(universe);
        let mut found = Vec::new();
        for (id, account) in &self.accounts {
            for (index, open) in account.open.iter().filter(|(_, open)| open.intent.command.is_none()) {
                found.push((Promise::IntentEnds, format!("the intent #{index} of {id:?} (run {}) has no end", open.run)));
            }
        }
        for target in universe.targets() {
            for (address, node) in &target.ground().nodes {
                let owner = self.accounts.iter().any(|(id, account)| id.target == target.name && account.inventory.contains_key(address));
                if !owner && !node.foreign && !self.let_go.contains(&(target.name.clone(), address.clone())) {
                    found.push((Promise::Remembered, format!("{address} on {} was made and is nobody's", target.name)));
                }
            }
        }
        for (promise, sentence) in found {
            self.broken(promise, sentence);
        }
    }
}

/// What a stack wishes at a revision, by address; `None` when it does not render.
pub fn wishes(universe: &Universe, stack: &Stack, revision: &str) -> Option<BTreeMap<Address, Fingerprint>> {
    let folder = stack.render.settings.get("path").and_then(|path| path.as_str()).unwrap_or_default();
    let desired = universe.history.desired(revision, folder)?;
    if desired.keys().any(|path| path.contains("..")) {
        return None;
    }
    Some(desired.into_iter().map(|(path, fingerprint)| (placed(&stack.into, &path), fingerprint)).collect())
}
