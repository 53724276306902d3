//! Deciding: what differs, what to change, and what of it may run.

use std::collections::{BTreeMap, BTreeSet};

use trued_doors::Candidate;
use trued_engine::{Event, PlanInput, Planned, Settled, Sides, Standing, Wish, assess, candidates, course, gate, plan};
use trued_model::body::Cause;
use trued_model::{
    Action, Address, Change, Code, Command, Deletes, Extent, Finding, Plan, Policy, Preview, Ran, Refusal, Resource, Seen, Timestamp,
    beside,
};

use super::Walk;
use super::act::batches;
use crate::report::Pending;

impl Walk<'_> {
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
        let settled = self.settled(now);
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
        self.tell_what_waits(drift_left, course.failed.as_ref());
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

    /// What people settled beforehand, and what they have not.
    fn settled(&self, now: Timestamp) -> Settled {
        Settled {
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
        }
    }

    fn tell_what_waits(&mut self, drift_left: bool, failed: Option<&Ran>) {
        if !self.assessment.drift.is_empty() && drift_left {
            self.report.pending.push(Pending::Drift);
        }
        if self.memory.suspended.is_some() {
            self.report.pending.push(Pending::Suspended);
        }
        if self.memory.intents.values().any(|open| open.intent.command.is_some()) {
            self.report.pending.push(Pending::Undecided);
        }
        if let Some(ran) = failed.filter(|_| self.aim.writes) {
            let help = "commit a fix, or answer it: trued incidents";
            self.report.refusal.get_or_insert(Refusal::new(Code::Unknown, format!("{} failed: {}", ran.words(), ran.why)).help(help));
        }
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
}
