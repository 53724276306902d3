//! Looking: at the target before a plan, at what an interrupted run left, and the plan itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::StreamExt;
use trued_doors::{Ask, Asked, Candidate, Compared, Order};
use trued_engine::planted::{self, Bug};
use trued_engine::{Event, OpenIntent, PlanInput, Planned, Settled, Sides, Standing, Wish, assess, candidates, course, gate, plan};
use trued_model::body::{Cause, Outcome, Verdict};
use trued_model::{
    Action, Address, Change, Code, Command, Deletes, Duration, Extent, Finding, Item, Kind, Manifest, Observation, Plan, Policy, Preview,
    Reason, Refusal, Resource, Seen, beside,
};

use super::Walk;
use super::act::batches;
use super::errands::begun_by;
use crate::Counters;
use crate::record::{Drafting, draft};
use crate::render::FromBlobs;
use crate::report::Pending;
use crate::runtime::blocking;

/// How long a look may take.
pub(super) const LOOK_DEADLINE: Duration = Duration::from_secs(60);

impl Walk<'_> {
    /// Closes what an earlier process began and did not end: reads its plan, looks, and writes down how far it came.
    pub(super) async fn recover(&mut self) -> Result<Event, Refusal> {
        let link = self.runtime.link(&self.stack.id.target).await?;
        self.facts = link.facts().await?;
        let nested = self.facts.nested;
        let intents: Vec<(u64, OpenIntent)> = self.memory.intents.iter().map(|(index, open)| (*index, open.clone())).collect();
        for (index, open) in intents.into_iter().filter(|(_, open)| open.intent.command.is_none()) {
            let epoch = self.runtime.lease(self.cell, link.as_ref()).await?;
            let changes = self.intended(&open)?;
            let mut made = (*self.cell.inventory(self.runtime).await?).clone();
            let seen = self.see(self.addresses(&changes, &made)).await?;
            let look = |address: &Address| seen.get(address);
            let mut found = 0;
            let mut errands = Vec::new();
            for change in &changes {
                let seen = look(&change.address);
                if !seen.decided() {
                    let why = format!("run #{index} was interrupted, and {} cannot be seen to close it", change.address);
                    return Err(Refusal::new(Code::Unknown, why).help("make the target reachable; the run is closed then"));
                }
                let made_so = in_place(change, &changes, nested, &look);
                if self.memory.errands.get(&change.address).is_none_or(|ran| Some(ran.of) != open.intent.desired) {
                    errands.extend(begun_by(change, open.intent.desired, made_so, self.now()));
                }
                if made_so {
                    found += 1;
                    own(&mut made, change);
                } else if seen.fingerprint() == change.before.as_ref() {
                    own_what_gives_way(&mut made, change);
                }
                disown_what_went(&mut made, change, &seen);
            }
            let of = open.intent.changes;
            let why = format!("{} on record, {found} in place", open.received);
            self.report.lines.push(format!("run #{index} stopped after {} of {of}; looked; closed: {why}", open.received));
            let inventory = self.runtime.store_manifest(&made)?;
            self.runtime.flush().await?;
            let verdict = Verdict {
                outcome: Outcome::Interrupted,
                done: found,
                of,
                verified: false,
                desired: open.intent.desired,
                inputs: None,
                deletes: None,
                checks: Vec::new(),
                why,
                awaits: String::new(),
                epoch: Some(epoch),
                errands,
            };
            let draft = draft(Kind::Verdict, Some(&self.stack.id), self.now(), "recovery", &verdict)
                .run(open.run.as_deref().unwrap_or(&self.run))
                .revision(open.revision.clone())
                .link("outcome-of", Some(index))
                .blob("inventory", Some(inventory));
            self.runtime.record(self.cell, vec![draft], self.runtime.fence(self.cell, epoch)).await?;
        }
        self.memory = self.cell.memory(self.runtime).await?;
        Ok(Event::Done)
    }

    fn intended(&self, open: &OpenIntent) -> Result<Vec<Change>, Refusal> {
        let blob = open.plan.ok_or_else(|| Refusal::new(Code::Broken, "an intent names no plan"))?;
        let bytes = blocking(|| self.runtime.doors.blobs.get(&blob.digest))?;
        let plan: Plan = serde_json::from_slice(&bytes)
            .map_err(|error| Refusal::new(Code::Invalid, format!("a stored plan cannot be read: {error}")))?;
        Ok(plan.changes)
    }

    /// Looks at all that is desired or ours.
    pub(super) async fn observe(&mut self) -> Result<Event, Refusal> {
        let sealed = |item: &Item| item.content.is_some_and(|content| content.sealed);
        let keyed = |resource: &Resource| resource.content.is_some_and(|content| content.sealed);
        let ask = |(address, desired, made): (&Address, Option<&Resource>, Option<&Item>)| {
            let compared = desired.map(|resource| &resource.fingerprint).into_iter().chain(made.map(|item| &item.fingerprint));
            let asked = Asked::new(address.clone(), desired.is_some_and(keyed) || made.is_some_and(sealed)).like(compared);
            if self.facts.compares { Asked { compared: self.compared(address), ..asked } } else { asked }
        };
        let asked = beside(self.desired.each(), &self.inventory.items).map(ask).collect();
        let stale = self.cell.kept().stale_view();
        self.observed = match stale {
            Some(stale) => stale,
            None => self.glance(asked).await?,
        };
        self.cell.kept().remember_view(&self.observed);
        if let Extent::Unknown(why) = &self.observed.extent
            && !planted::has(Bug::UnseenIsAbsent)
        {
            let help = "bring the target back; nothing is changed or deleted meanwhile";
            self.report.refusal = Some(Refusal::new(Code::Unknown, why.clone()).help(help));
        }
        if self.unfinished && self.aim.writes && self.observed.extent == Extent::Complete {
            self.clear_up().await;
        }
        Ok(Event::Done)
    }

    /// What is at an address may be as this, with its bytes: as it is desired, as we made it.
    pub(super) fn compared(&self, address: &Address) -> Vec<Compared> {
        let desired = self.wanted.as_ref().and_then(|wanted| {
            let resource = self.desired.all_at(address)?;
            Some(Compared { fingerprint: resource.fingerprint.clone(), content: resource.content?, from: wanted.contents.clone() })
        });
        let made = self.inventory.items.get(address).and_then(|item| {
            let from = Arc::new(FromBlobs(self.runtime.doors.blobs.clone()));
            Some(Compared { fingerprint: item.fingerprint.clone(), content: item.content?, from })
        });
        let mut all: Vec<Compared> = desired.into_iter().chain(made).collect();
        all.dedup_by(|one, other| one.fingerprint == other.fingerprint);
        all
    }

    fn addresses(&self, changes: &[Change], made: &Manifest) -> Vec<Asked> {
        let sealed = |change: &Change| {
            let before = made.items.get(&change.address).and_then(|item| item.content);
            change.content.or(before).is_some_and(|content| content.sealed)
        };
        changes.iter().map(|change| self.asked(change, sealed(change))).collect()
    }

    /// Asks what is at a change's address, to be compared with what it makes and what it expects.
    pub(super) fn asked(&self, change: &Change, sealed: bool) -> Asked {
        let asked = Asked::new(change.address.clone(), sealed).like(change.after.iter().chain(&change.before));
        let (Some(fingerprint), Some(content), true) = (&change.after, change.content, self.facts.compares) else { return asked };
        let from = Arc::new(FromBlobs(self.runtime.doors.blobs.clone()));
        let compared = vec![Compared { fingerprint: fingerprint.clone(), content, from }];
        Asked { compared, ..asked }
    }

    /// Has the target clear away what a run left that did not come to its end. After the look, so that the target knows
    /// what is a resource. What fails here is tried again: the next order clears up too.
    async fn clear_up(&mut self) {
        let cleared = async {
            let link = self.runtime.link(&self.stack.id.target).await?;
            let epoch = self.runtime.lease(self.cell, link.as_ref()).await?;
            let key = format!("{}/clear", self.run);
            let order = Order { stack: self.stack.id.clone(), epoch, key, changes: Vec::new(), deadline: LOOK_DEADLINE };
            tokio::time::timeout(LOOK_DEADLINE.to_std(), link.apply(order).count())
                .await
                .map(|_| ())
                .map_err(|_| Refusal::new(Code::TimedOut, format!("target {} did not clear up in {LOOK_DEADLINE}", self.stack.id.target)))
        };
        if let Err(refusal) = cleared.await {
            tracing::debug!(stack = %self.report.name, "what an earlier run left stays for now: {refusal}");
        }
    }

    /// Looks at all when that is due, or in doubt; otherwise where something may have happened.
    async fn glance(&self, asked: Vec<Asked>) -> Result<Observation, Refusal> {
        let now = self.runtime.doors.clock.monotonic();
        let fresh = |at: u64| now < at + self.stack.interval.as_millis();
        let last = self.cell.kept().whole_look.filter(|at| fresh(*at) && !self.aim.look && !self.unfinished);
        let link = self.runtime.link(&self.stack.id.target).await?;
        if last.is_none() {
            let count = asked.len();
            let observation = self.see(asked).await?;
            Counters::add(&self.runtime.counters.looked_at, count as u64);
            self.cell.kept().whole_look = Some(now);
            return Ok(observation);
        }
        Counters::add(&self.runtime.counters.target_reads, 1);
        let glance = self.in_time(link.glance(asked)).await?;
        Counters::add(&self.runtime.counters.looked_at, glance.looked as u64);
        if glance.whole {
            self.cell.kept().whole_look = Some(now);
        }
        Ok(glance.observation)
    }

    async fn in_time<T>(&self, looking: impl Future<Output = Result<T, Refusal>>) -> Result<T, Refusal> {
        let late = || Refusal::new(Code::TimedOut, format!("target {} did not answer in {LOOK_DEADLINE}", self.stack.id.target));
        tokio::time::timeout(LOOK_DEADLINE.to_std(), looking).await.unwrap_or_else(|_| Err(late()))
    }

    pub(super) async fn see(&self, asked: Vec<Asked>) -> Result<Observation, Refusal> {
        let link = self.runtime.link(&self.stack.id.target).await?;
        Counters::add(&self.runtime.counters.target_reads, 1);
        self.in_time(link.observe(Ask::These(asked))).await
    }

    /// Decides: what differs, what to change, what of it may run.
    pub(super) async fn plan(&mut self) -> Result<Event, Refusal> {
        let now = self.memory.deciding(self.now());
        let errands = self.errands().await?;
        let sides = Sides::of(&self.desired, &self.inventory, &self.observed);
        let asked = candidates(&sides);
        let claims = self.runtime.claims(&self.stack.id, &self.inherits, &asked, self.wish == Wish::Rollback).await?;
        let same_inputs = match (&self.wanted, &self.memory.landed) {
            (Some(wanted), Some(landed)) => landed.inputs == Some(wanted.inputs),
            _ => false,
        };
        let last_look = self.cell.kept().look;
        self.assessment = assess(&sides, &claims, &self.memory, same_inputs, last_look);
        let settled = Settled {
            left_alone: self.memory.left_alone(now),
            revert: self.memory.drift.as_ref().and_then(|open| open.revert(&self.assessment.drift)),
            drifted: self
                .memory
                .drift
                .iter()
                .filter(|drift| drift.answer.is_none())
                .flat_map(|drift| drift.drift.items.iter().map(|item| item.address.clone()))
                .collect(),
            fought: self.assessment.drift.iter().filter(|item| item.cause == Cause::Flapping).map(|item| item.address.clone()).collect(),
            orphan: self.memory.orphan_word.clone().filter(|_| self.orphan),
        };
        let nothing = BTreeMap::new();
        self.expect();
        self.judged = self.seen_health();
        let unforeseen = BTreeMap::new();
        let input = PlanInput {
            stack: &self.stack.id,
            policy: &self.stack.policy,
            wish: self.wish,
            sides: &sides,
            claims: &claims,
            settled: &settled,
            previews: &unforeseen,
            into: &self.stack.into,
            nested: self.facts.nested,
            ranks: &self.facts.ranks,
            guarded: &self.facts.guarded,
            deferred: self.wanted.as_ref().map_or(&nothing, |wanted| &wanted.deferred),
            errands: &errands,
        };
        let propose = |previews: &BTreeMap<Address, Preview>| plan(&PlanInput { previews, ..input.clone() });
        let course = course(&input);
        let mut plan = self.busily(|| propose(&BTreeMap::new())).await;
        let previews = self.previews(&plan).await?;
        if !previews.is_empty() {
            let refused = self.would_be_refused(&previews);
            if !refused.is_empty() {
                self.does_not_render(refused).await?;
                return Ok(Event::Failed);
            }
            plan = self.busily(|| propose(&previews)).await;
        }
        // Before there is a place on the processor: a stack that comes first may have to be rendered, which needs one too.
        let blocked = self.blocked().await;
        let _busy = self.runtime.busy.acquire().await;
        let standing = Standing {
            resources: self.inventory.items.len(),
            empty: !self.orphan && self.desired.resources.is_empty() && self.desired.errands.is_empty() && !self.inventory.items.is_empty(),
            suspended: self.memory.suspended.is_some(),
            blocked: blocked.as_deref(),
            nested: self.facts.nested,
        };
        let decision = gate(&plan, &self.guarding_policy(), standing, &self.memory.approvals(now), now);
        let free = decision.free.iter().map(|index| plan.changes[*index].clone());
        let marks = self.facts.marks;
        let writes = |change: &Change| match change.action {
            Action::Move => marks || change.before != change.after,
            Action::Adopt => marks,
            action => action.writes(),
        };
        let (writes, bookkeeping): (Vec<Change>, Vec<Change>) = free.partition(writes);
        let in_place: BTreeSet<&Address> = writes.iter().chain(&bookkeeping).map(|change| &change.address).collect();
        let drift_left = self.assessment.drift.iter().any(|item| !in_place.contains(&item.address));
        let blind = matches!(self.observed.extent, Extent::Unknown(_)) && !self.desired.resources.is_empty();
        let undecided =
            |(_, wanted, seen): (&Address, Option<&Resource>, Option<&Seen>)| wanted.is_some() && !seen.is_some_and(Seen::decided);
        let unseen = blind || beside(&self.desired.resources, &self.observed.seen).any(undecided);
        let proven = match (&self.wanted, &self.memory.landed) {
            (Some(wanted), Some(landed)) => landed.desired == wanted.digest && landed.verified,
            _ => false,
        };
        let over = self.errands_over(&course, &writes);
        let commands = if over { self.commands_due(!writes.is_empty(), blocked.is_some()) } else { Vec::new() };
        self.batches = batches(&writes);
        let planned = Planned {
            batches: self.batches.len() as u32,
            bookkeeping: !bookkeeping.is_empty(),
            keeps: writes.iter().any(|change| change.keep),
            unproven: !proven
                && !self.orphan
                && (self.judged.is_some() || !self.recently_checked() || !writes.is_empty() || !bookkeeping.is_empty()),
            whole: decision.held.is_empty() && over && (self.orphan || (!drift_left && !unseen)),
            commands: !commands.is_empty(),
            confirms: self.facts.confirms,
        };
        if !self.assessment.drift.is_empty() && drift_left {
            self.report.pending.push(Pending::Drift);
        }
        if self.memory.suspended.is_some() {
            self.report.pending.push(Pending::Suspended);
        }
        if self.memory.intents.values().any(|open| open.intent.command.is_some()) {
            self.report.pending.push(Pending::Undecided);
        }
        if let Some(ran) = course.failed.as_ref().filter(|_| self.aim.writes) {
            let help = "commit a fix, or answer it: trued incidents";
            self.report.refusal.get_or_insert(Refusal::new(Code::Unknown, format!("{} failed: {}", ran.words(), ran.why)).help(help));
        }
        self.course = course;
        self.writes = writes;
        self.bookkeeping = bookkeeping;
        self.commands = commands;
        self.whole = planned.whole;
        self.report.drift = self.assessment.drift.clone();
        if let Ok(driver) = self.runtime.driver(&self.stack.id.target) {
            let differs = |change: &Change| driver.differs(change.before.as_ref()?, change.after.as_ref()?);
            self.report.differs = plan.changes.iter().filter_map(|change| Some((change.address.clone(), differs(change)?))).collect();
        }
        self.report.plan = Some((plan.clone(), decision.clone()));
        self.plan = Some((plan, decision));
        Ok(Event::Planned(planned))
    }

    async fn busily<T>(&self, work: impl FnOnce() -> T) -> T {
        let _busy = self.runtime.busy.acquire().await;
        work()
    }

    /// Asks the target what would come of what is proposed, as far as that is a change to something that is there.
    async fn previews(&self, plan: &Plan) -> Result<BTreeMap<Address, Preview>, Refusal> {
        let Some(wanted) = self.wanted.as_ref().filter(|_| self.facts.previews) else { return Ok(BTreeMap::new()) };
        let free = |change: &&Change| change.hold.as_ref().is_none_or(|(kind, _)| kind.approvable());
        let there = plan.changes.iter().filter(|change| change.before.is_some() && change.after.is_some());
        let candidate = |change: &Change| Candidate { change: change.clone(), from: wanted.contents.clone() };
        let candidates: Vec<Candidate> = there.filter(free).map(candidate).collect();
        if candidates.is_empty() {
            return Ok(BTreeMap::new());
        }
        let link = self.runtime.link(&self.stack.id.target).await?;
        self.in_time(link.preview(&self.stack.id, candidates)).await
    }

    /// What the target would refuse as it is written, each where it is written.
    fn would_be_refused(&self, previews: &BTreeMap<Address, Preview>) -> Vec<Finding> {
        let finding = |(address, preview): (&Address, &Preview)| {
            let Preview::Refused { why, help } = preview else { return None };
            let finding = Finding::new(why.clone(), help.clone()).of(self.report.name.clone());
            let origin = &self.desired.resources.get(address)?.origin;
            Some(match origin.line {
                Some(line) => finding.at(origin.file.clone(), line, 1),
                None => finding,
            })
        };
        previews.iter().filter_map(finding).collect()
    }

    /// What keeps anything new from landing, while a stack that comes first has not landed. What landed already is kept
    /// as it is all the same.
    async fn blocked(&self) -> Option<String> {
        let wanted = self.wanted.as_ref().filter(|_| self.wish == Wish::Source)?.digest;
        match &self.memory.landed {
            Some(landed) if landed.desired == wanted => None,
            _ => self.runtime.waits_for(&self.stack).await,
        }
    }

    /// The commands that run after this plan: all of them after changes; those that an interrupted run did not begin
    /// otherwise. One that was begun is never begun again without a person's word: nobody can look whether it ran.
    fn commands_due(&self, changes: bool, blocked: bool) -> Vec<Command> {
        if self.memory.suspended.is_some() || (blocked && !changes) {
            return Vec::new();
        }
        let due = |command: &&Command| changes || (self.memory.owed && !self.memory.ran.contains(&command.name));
        self.stack.policy.on_change.iter().filter(due).cloned().collect()
    }

    /// The policy that guards this plan: a limit that was loosened counts only once a run has landed under it.
    fn guarding_policy(&self) -> Policy {
        let mut policy = self.stack.policy.clone();
        if self.wish == Wish::Rollback {
            // Going back to a verified release is the decision; what goes with it was made by what is left.
            policy.deletes = Deletes { count: u32::MAX, percent: 100 };
            return policy;
        }
        if let Some(before) = self.memory.landed.as_ref().and_then(|landed| landed.deletes) {
            policy.deletes = policy.deletes.stricter(before);
        }
        policy
    }

    /// Whether this very desired state is in place and its checks, as they are now, failed already: they are tried again
    /// when a look is due, not at every wake.
    fn recently_checked(&self) -> bool {
        let failed = self.memory.landed.as_ref().zip(self.wanted.as_ref()).is_some_and(|(landed, wanted)| landed.desired == wanted.digest);
        let same = self.cell.kept().checked.as_ref().is_none_or(|checks| *checks == self.stack.checks);
        failed && same && !self.aim.look
    }

    /// What is on the target of all that is desired or ours, as far as it was seen: what `at` answers from.
    pub(super) fn seen_manifest(&self) -> Manifest {
        let mut items = BTreeMap::new();
        let known = beside(self.desired.each(), &self.inventory.items).map(|(address, desired, made)| (address, (desired, made)));
        for (address, seen, known) in beside(&self.observed.seen, known) {
            let Some(Seen::Present(state)) = seen else { continue };
            let (desired, made) = known.unwrap_or_default();
            let known = [desired.map(|r| (&r.fingerprint, r.content)), made.map(|i| (&i.fingerprint, i.content))];
            // What was given up is not ours to tell of: another stack's, or nobody's.
            if known.iter().all(Option::is_none) {
                continue;
            }
            let content =
                known.into_iter().flatten().find(|(fingerprint, _)| **fingerprint == state.fingerprint).and_then(|(_, content)| content);
            let kept = self.kept.get(address).filter(|kept| kept.fingerprint == state.fingerprint).and_then(|kept| kept.content);
            items.insert(address.clone(), Item { fingerprint: state.fingerprint.clone(), content: content.or(kept), errand: false });
        }
        Manifest { items }
    }
}

/// Whether a change is in place, by what was seen since. Where addresses nest, what was removed may have given way to
/// the folder of something that was made after it.
pub(super) fn in_place(change: &Change, all: &[Change], nested: bool, seen: &dyn Fn(&Address) -> Seen) -> bool {
    let there = seen(&change.address);
    // What is made anew is another thing, also where it looks the same.
    if let (Action::Replace, Some(uid), Seen::Present(state)) = (change.action, &change.uid, &there)
        && state.uid.as_ref() == Some(uid)
    {
        return false;
    }
    if !there.decided() || there.fingerprint() == change.after.as_ref() {
        return there.decided();
    }
    let inside = |inner: &&Change| {
        let rest = inner.address.as_str().strip_prefix(change.address.as_str());
        inner.after.is_some() && rest.is_some_and(|rest| rest.starts_with('/'))
    };
    let made = |inner: &Change| seen(&inner.address).fingerprint() == inner.after.as_ref();
    nested && change.after.is_none() && there.fingerprint() != change.before.as_ref() && all.iter().filter(inside).any(made)
}

/// Where something of ours gives way to something else, and the run ended in between, it stays ours: it was emptied of what
/// told so.
pub(super) fn own_what_gives_way(inventory: &mut Manifest, change: &Change) {
    if let (Action::Replace, Some(before), Some(_)) = (change.action, &change.before, &change.after)
        && !change.reasons.contains(&Reason::Foreign)
    {
        let ours = || Item { fingerprint: before.clone(), content: None, errand: change.turn.is_some() };
        inventory.items.entry(change.address.clone()).or_insert_with(ours);
    }
}

/// Takes out of an inventory what was removed to be made anew, and was not made.
pub(super) fn disown_what_went(inventory: &mut Manifest, change: &Change, there: &Seen) {
    if change.action == Action::Replace && *there == Seen::Absent {
        inventory.items.remove(&change.address);
    }
}

/// Takes a change that is in place into an inventory.
pub(super) fn own(inventory: &mut Manifest, change: &Change) {
    match (&change.action, &change.after) {
        (Action::Delete | Action::Forget, _) | (_, None) => {
            inventory.items.remove(&change.address);
        }
        (_, Some(after)) => {
            let item = Item { fingerprint: after.clone(), content: change.content, errand: change.turn.is_some() };
            inventory.items.insert(change.address.clone(), item);
        }
    }
}
