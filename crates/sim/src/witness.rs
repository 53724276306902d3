//! Sees every look, order, change and entry of a world as it happens, and says at once which promise was broken.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use futures::FutureExt;
use trued_doors::{Clock, Holder, Order, Query, Store};
use trued_engine::over_limit;
use trued_model::body::{Answered, Drift, Intent, Outcome, Verdict};
use trued_model::{
    Action, Address, Change, Digest, DriftPolicy, Estate, Extent, Fingerprint, Indexed, Kind, Name, Observation, OnDelete, OnExisting,
    Refusal, Seen, Stack, StackId,
};

use crate::books::{self, Account, Accounts, OpenRun};
use crate::history::placed;
use crate::target::{Node, Target, inside};
use crate::universe::Universe;

/// The promises that are checked, by the names of the reliability reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// P1: once faults stop, what is there is what is desired.
    Converges,
    /// P2: an act has its intent on record, with the same run, epoch and change.
    IntentFirst,
    /// P2: a receipt says only what was ordered.
    ReceiptAfter,
    /// P2: every intent has an end.
    IntentEnds,
    /// P2: what an entry names survives a crash.
    Durable,
    /// P2: a run that landed did all of it, and it is there.
    Landed,
    /// P4: a delete has positive evidence.
    Deletes,
    /// P5: epochs never go back.
    Epochs,
    /// P6: the second pass does nothing.
    Idempotent,
    /// P7: revisions move forward, or by a person's word.
    Revisions,
    /// P7: what a rollback left is not taken again.
    Rejected,
    /// P10: no write from a view older than our own last write.
    StaleWrite,
    /// Invariant 13: what is overwritten is on record.
    Kept,
    /// Invariant 13: what was never ours is not touched without a word.
    FirstContact,
    /// A suspended stack does nothing.
    Suspended,
    /// Under the policy `hold`, drift waits for an answer; under `alert` it is left alone.
    DriftWaits,
    /// What is called drift was done by somebody else.
    DriftIsForeign,
    /// What we made is ours until it is gone or somebody lets it go.
    Remembered,
    /// A command runs at most once for a set of changes.
    CommandOnce,
    /// Whatever runs on and on waits for something.
    Waits,
    /// What is not ready in time is said once, until something is done about it.
    SaidOnce,
    /// What is called verified was ready.
    Proven,
    /// By itself a stack goes back to what was verified and was well when it was there last.
    GoesBack,
    /// An apply that waits comes back.
    Returns,
    /// The record contradicts itself.
    Record,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub promise: Promise,
    pub sentence: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.promise, self.sentence)
    }
}

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

    /// Reads the record on and checks each new entry.
    pub fn read_on(&mut self, universe: &Universe) {
        let query = Query { after: self.read.checked_sub(1), ascending: true, ..Query::default() };
        let Some(Ok(entries)) = universe.store.find(query).now_or_never() else { return };
        for indexed in entries {
            if indexed.index != self.read {
                self.broken(Promise::Record, format!("entry #{} stands where #{} is due", indexed.index, self.read));
            }
            self.read = indexed.index + 1;
            self.entry(universe, &indexed);
        }
    }

    fn entry(&mut self, universe: &Universe, indexed: &Indexed) {
        let entry = &indexed.entry;
        self.say(universe, format_args!("#{} {} {:?} {}", indexed.index, entry.kind, entry.stack, brief(indexed)));
        for note in &entry.blobs {
            if !universe.blobs.durable(&note.blob.digest) {
                self.broken(Promise::Durable, format!("#{} names {}, which a crash would lose", indexed.index, note.role));
            }
        }
        let Some(id) = entry.stack.clone() else {
            // A person accepted a rewound source: every stack may follow.
            if entry.kind == Kind::Answered {
                self.accounts.values_mut().for_each(|account| account.follows_anything = true);
            }
            return;
        };
        if entry.kind == Kind::Answered
            && entry.body::<Answered>().is_ok_and(|answered| answered.word == "not-done")
            && let Some(open) = entry.link("answers").and_then(|of| self.accounts.get(&id)?.open.get(&of))
            && let Some(command) = open.intent.command.clone()
        {
            self.ran.remove(&(id.clone(), command));
        }
        let mut found = self.before_entry(universe, &id, indexed);
        let account = self.accounts.entry(id.clone()).or_default();
        let owned = account.inventory.clone();
        let claimed = books::take(account, &universe.blobs, indexed);
        for claim in claimed {
            if !self.sent.contains(&(claim.run.clone(), claim.address.clone())) {
                let sentence = format!("#{} says that {} of {id:?} happened, and nobody ordered it", indexed.index, claim.address);
                found.push((Promise::ReceiptAfter, sentence));
            }
        }
        if entry.kind == Kind::Verdict {
            found.extend(self.after_verdict(universe, &id, indexed, &owned));
        }
        for (promise, sentence) in found {
            self.broken(promise, sentence);
        }
    }

    /// What an entry must not say, given what stands before it.
    fn before_entry(&mut self, universe: &Universe, id: &StackId, indexed: &Indexed) -> Vec<(Promise, String)> {
        let mut found = Vec::new();
        let entry = &indexed.entry;
        let at = indexed.index;
        let lenient = self.lenient;
        let account = self.accounts.entry(id.clone()).or_default();
        match entry.kind {
            Kind::Intent => {
                let Ok(intent) = entry.body::<Intent>() else { return vec![(Promise::Record, format!("#{at} is no intent"))] };
                if intent.epoch < account.epoch {
                    found.push((Promise::Epochs, format!("#{at} intends under epoch {} after {}", intent.epoch, account.epoch)));
                }
                let old = |since: trued_model::Timestamp| !lenient || entry.recorded_at.since(since).0 > 200_000;
                if account.suspended.is_some_and(|(_, since)| old(since)) && intent.command.is_none() {
                    found.push((Promise::Suspended, format!("#{at} acts for {id:?}, which is suspended")));
                }
                let rejected = intent.desired.and_then(|desired| account.rejected.get(&desired).copied());
                if rejected.is_some_and(old) {
                    found.push((Promise::Rejected, format!("#{at} works towards what a rollback of {id:?} left")));
                }
                if let (Some(before), Some(now)) = (&account.revision, &entry.revision)
                    && !universe.history.follows(before, now)
                    && !account.word
                    && !std::mem::take(&mut account.follows_anything)
                    && account.rolled.is_none()
                {
                    found.push((Promise::Revisions, format!("#{at} goes from revision {before} to {now}, and nobody said so")));
                }
                account.revision = entry.revision.clone().or(account.revision.take());
                account.word = false;
            }
            Kind::Rollback if entry.actor.kind != "person" => {
                let desired = entry.body::<trued_model::body::Rollback>().map(|rollback| rollback.desired);
                if desired.is_ok_and(|desired| account.rejected.contains_key(&desired)) {
                    found.push((Promise::Rejected, format!("#{at} goes back by itself to what {id:?} had left")));
                }
            }
            Kind::DriftOpened if account.drift.is_some() => {
                found.push((Promise::Record, format!("#{at} opens drift of {id:?} twice")));
            }
            Kind::IncidentOpened => {
                let kind = entry.body::<trued_model::body::Incident>().map(|incident| incident.kind).unwrap_or_default();
                if account.incidents.insert(kind.clone(), at).is_some() {
                    found.push((Promise::Record, format!("#{at} opens the incident {kind} of {id:?} twice")));
                }
            }
            Kind::IncidentClosed => {
                let closes = entry.link("closes");
                account.incidents.retain(|_, open| Some(*open) != closes);
            }
            _ => {}
        }
        if matches!(entry.kind, Kind::DriftOpened | Kind::DriftUpdated)
            && let Ok(drift) = entry.body::<Drift>()
        {
            let target = universe.target(&id.target);
            let ground = target.ground();
            let known = account
                .drift
                .as_ref()
                .map(|open| open.items.iter().map(|(address, _)| address.clone()).collect::<BTreeSet<_>>())
                .unwrap_or_default();
            for item in drift.items.iter().filter(|item| !known.contains(&item.address)) {
                let foreign = match ground.look(&item.address, target.nested) {
                    Some(node) => node.foreign,
                    None => {
                        let above = |address: &Address| *address == item.address;
                        ground.stolen.iter().any(above)
                    }
                };
                let wiped = ground.nodes.iter().any(|(inner, node)| node.foreign && inside(inner, &item.address));
                if !foreign && !wiped {
                    found.push((
                        Promise::DriftIsForeign,
                        format!("#{at} calls {} drift of {id:?}, and no stranger touched it", item.address),
                    ));
                }
            }
        }
        found
    }

    fn after_verdict(
        &mut self,
        universe: &Universe,
        id: &StackId,
        indexed: &Indexed,
        owned: &BTreeMap<Address, Fingerprint>,
    ) -> Vec<(Promise, String)> {
        let mut found = Vec::new();
        let at = indexed.index;
        let Ok(verdict) = indexed.entry.body::<Verdict>() else { return vec![(Promise::Record, format!("#{at} is no verdict"))] };
        let target = universe.target(&id.target);
        if verdict.outcome == Outcome::Landed {
            if verdict.done != verdict.of {
                found.push((Promise::Landed, format!("#{at} landed {} of {}", verdict.done, verdict.of)));
            }
            let desired = indexed.entry.blob("desired").and_then(|blob| books::manifest(&universe.blobs, blob));
            let ground = target.ground();
            for (address, item) in desired.iter().flat_map(|desired| &desired.items) {
                let there = ground.look(address, target.nested);
                let strange = there.as_ref().is_some_and(|node| node.foreign) || ground.stolen.contains(address);
                if !strange && there.map(|node| node.fingerprint).as_ref() != Some(&item.fingerprint) {
                    found.push((Promise::Landed, format!("#{at} says that {id:?} landed, and {address} is not as desired")));
                    break;
                }
            }
        }
        let stack = universe.estate().stacks.get(id).cloned();
        let account = self.accounts.get(id);
        let forgotten = owned.keys().filter(|address| account.is_none_or(|account| !account.inventory.contains_key(*address)));
        let mut let_go = Vec::new();
        for address in forgotten {
            let ground = target.ground();
            let Some(node) = ground.nodes.get(address) else { continue };
            let others = self
                .accounts
                .iter()
                .any(|(other, account)| other != id && other.target == id.target && account.inventory.contains_key(address));
            let wanted = universe.estate().stacks.values().any(|other| {
                other.id.target == id.target
                    && wishes(universe, other, &universe.history.head()).is_none_or(|wishes| wishes.contains_key(address))
            });
            let retained = stack.as_ref().is_none_or(|stack| stack.policy.on_delete.iter().any(|(_, what)| *what == OnDelete::Retain));
            let word = account.and_then(|account| account.orphan_word.as_deref()) == Some("forget");
            let_go.push(address.clone());
            if !node.foreign && !others && !wanted && !retained && !word {
                found.push((Promise::Remembered, format!("#{at} forgets {address} of {id:?}, which is still there")));
            }
        }
        self.let_go.extend(let_go.into_iter().map(|address| (id.target.clone(), address)));
        found
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

/// One change on its way into its target, with all that is needed to judge it.
struct Scene<'a> {
    witness: &'a Witness,
    universe: &'a Universe,
    by: &'a Holder,
    target: &'a Target,
    order: &'a Order,
    change: &'a Change,
    there: Option<&'a Node>,
    account: &'a Account,
    open: &'a OpenRun,
}

impl Scene<'_> {
    fn check(&self) -> Vec<(Promise, String)> {
        let mut found = Vec::new();
        // What is not as expected is refused by the target itself.
        let as_expected = self.there.map(|node| &node.fingerprint) == self.change.before.as_ref();
        if as_expected && self.change.before != self.change.after {
            found.extend(self.kept());
            found.extend(self.first_contact());
            found.extend(self.drift());
        }
        if self.change.action == Action::Delete {
            found.extend(
                self.delete()
                    .into_iter()
                    .map(|why| (Promise::Deletes, format!("{:?} deletes {}: {why}", self.order.stack, self.change.address))),
            );
        }
        found
    }

    fn ours(&self) -> Option<&Fingerprint> {
        let address = &self.change.address;
        self.account.inventory.get(address).or_else(|| {
            let stack = self.universe.estate().stacks.get(&self.order.stack).cloned()?;
            stack.previously.iter().find_map(|old| self.witness.accounts.get(old)?.inventory.get(address))
        })
    }

    /// Whoever's it is, if it is any stack's.
    fn anybodys(&self) -> Option<&Fingerprint> {
        let same = self.witness.accounts.iter().filter(|(id, _)| id.target == self.target.name);
        self.ours().or_else(|| same.into_iter().find_map(|(_, account)| account.inventory.get(&self.change.address)))
    }

    /// Bytes of strangers are on record before they go.
    fn kept(&self) -> Option<(Promise, String)> {
        let node = self.there.filter(|node| node.foreign)?;
        let bytes = node.content.as_ref()?;
        let known = self.anybodys() == Some(&node.fingerprint);
        let kept = self.witness.accounts.values().any(|account| account.kept.contains(&Digest::of(bytes)));
        (!known && !kept).then(|| {
            (
                Promise::Kept,
                format!("{:?} overwrites {} of a stranger, and no entry names the bytes", self.order.stack, self.change.address),
            )
        })
    }

    fn first_contact(&self) -> Option<(Promise, String)> {
        self.there.filter(|node| node.foreign && node.content.is_some())?;
        if self.anybodys().is_some() || self.policy()?.on_existing == OnExisting::TakeOver {
            return None;
        }
        let alone = BTreeSet::from([&self.change.address]);
        (!self.account.approved(self.open, &alone))
            .then(|| (Promise::FirstContact, format!("{:?} overwrites {}, which was never ours", self.order.stack, self.change.address)))
    }

    fn policy(&self) -> Option<trued_model::Policy> {
        self.universe.estate().stacks.get(&self.order.stack).map(|stack| stack.policy.clone())
    }

    fn drift(&self) -> Option<(Promise, String)> {
        let policy = self.policy()?;
        let address = &self.change.address;
        let answered = self.account.drift.as_ref().is_none_or(|open| open.answered);
        let approved = self.account.approved(self.open, &BTreeSet::from([address]));
        let ours = self.account.inventory.get(address);
        let drifted = ours.is_some() && ours != self.change.before.as_ref();
        let goes_back = drifted && ours == self.change.after.as_ref();
        let broken = match policy.drift {
            DriftPolicy::Revert => false,
            DriftPolicy::Alert => goes_back && !answered && !approved,
            DriftPolicy::Hold => (self.account.drift.is_some() || drifted) && !answered && !approved && !self.witness.lenient,
        };
        broken.then(|| (Promise::DriftWaits, format!("{:?} changes {address} while drift waits for an answer", self.order.stack)))
    }

    /// Why a delete has not the evidence it needs: the rule, written down a second time.
    fn delete(&self) -> Option<String> {
        let address = &self.change.address;
        let id = &self.order.stack;
        if self.ours().is_none() {
            return Some("it is not in the inventory".to_owned());
        }
        let key = (self.by.pid, self.target.name.clone(), address.clone());
        let Some(glance) = self.witness.glances.get(&key) else { return Some("nobody looked".to_owned()) };
        if glance.extent != Extent::Complete {
            return Some("the look was not complete".to_owned());
        }
        if glance.seen.fingerprint() != self.change.before.as_ref() {
            return Some("it was seen to be something else".to_owned());
        }
        let now = self.witness.known.get(&self.by.pid).cloned().unwrap_or_default();
        let claims = [&glance.earlier, &glance.known, &now].map(|known| self.claimed(known));
        if let [Some(_), Some(then), Some(now)] = claims {
            return Some(format!("{then}; {now}"));
        }
        let plan = self.open.plan.as_ref()?;
        let deletes: BTreeSet<&Address> =
            plan.changes.iter().filter(|change| change.action == Action::Delete).map(|change| &change.address).collect();
        let Some(stack) = glance.known.estate.stacks.get(id).or_else(|| now.estate.stacks.get(id)) else {
            let word = self.account.orphan_word.as_deref() == Some("delete");
            return (!word && !self.account.approved(self.open, &deletes))
                .then(|| "its stack is not configured, and nobody said delete".to_owned());
        };
        let approved = self.account.approved(self.open, &deletes);
        let standing = self.standing(stack);
        if over_limit(&stack.policy.deletes, deletes.len(), standing) && !approved {
            return Some(format!("{} of {standing} are too many, and nobody said yes", deletes.len()));
        }
        let wished = |known: &Known| known.accepted.as_deref().and_then(|revision| wishes(self.universe, stack, revision));
        if self.account.rolled.is_none()
            && let (Some(before), Some(then), Some(now)) = (wished(&glance.earlier), wished(&glance.known), wished(&now))
        {
            if [&before, &then, &now].iter().all(|wishes| wishes.contains_key(address)) {
                return Some("it is desired".to_owned());
            }
            if [&before, &then, &now].iter().all(|wishes| wishes.is_empty()) && !approved {
                return Some("the render is empty, and nobody said yes".to_owned());
            }
        }
        None
    }

    /// How many resources the stack had when the run began.
    fn standing(&self, stack: &Stack) -> usize {
        let inherited = stack.previously.iter().filter_map(|old| self.witness.accounts.get(old)).flat_map(|old| old.inventory.keys());
        let all: BTreeSet<&Address> = self.account.inventory.keys().chain(inherited).collect();
        let run = self.open.plan.as_ref();
        let gone =
            run.iter().flat_map(|plan| &plan.changes).filter(|change| change.action == Action::Delete && !all.contains(&change.address));
        all.len() + gone.count()
    }

    /// Who else desires the address, or might.
    fn claimed(&self, known: &Known) -> Option<String> {
        if known.estate.incomplete || !known.estate.unreadable.is_empty() {
            return Some("a part of the configuration cannot be read".to_owned());
        }
        let revision = known.accepted.as_deref()?;
        let orphan = !known.estate.stacks.contains_key(&self.order.stack);
        known.estate.stacks.values().filter(|other| other.id.target == self.target.name && other.id != self.order.stack).find_map(|other| {
            match wishes(self.universe, other, revision) {
                None if orphan => None,
                None => Some(format!("{:?} does not render", other.id)),
                Some(wishes) if wishes.contains_key(&self.change.address) => Some(format!("{:?} desires it", other.id)),
                Some(_) => None,
            }
        })
    }
}

/// The part of an entry that people look for first.
fn brief(indexed: &Indexed) -> String {
    let body = &indexed.entry.body;
    let word = |key: &str| body.get(key).map(|value| format!(" {key}={value}")).unwrap_or_default();
    ["command", "epoch", "outcome", "done", "of", "why", "kind", "count", "word", "how", "message", "parts"].map(word).concat()
}
