//! Passes and the long life: one pass over all stacks for `plan` and `apply`; for `serve`, following sources, each stack's life
//! between wakes, leases that are kept, and a word once a minute that we are awake.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use trued_doors::Answer;
use trued_model::body::{Heartbeat, Looks};
use trued_model::{Code, Duration, Estate, Finding, HoldKind, Kind, Name, Revision, StackId, Want, canonical};

use crate::Counters;
use crate::asking::Asking;
use crate::cell::Cell;
use crate::incidents::{self, Trouble};
use crate::record::{Drafting, draft};
use crate::report::{Report, StackReport};
use crate::runtime::{Aim, Runtime};
use crate::tasks::{Bell, Tasks};
use crate::waiting::Attending;

/// How often a pass goes round again for stacks that waited for each other.
const ROUNDS: usize = 4;
/// How often a pass walks one stack again because what it waited for was decided.
const TURNS: usize = 64;
/// The pause after a first failure of one stack is twice this, and the longest that; by chance a little longer, so that many who
/// failed together do not come back together.
const PAUSE: Duration = Duration(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
const JITTER: Duration = Duration(250);

/// How often things happen without being asked for.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How often sources are asked.
    pub poll: Duration,
    pub heartbeat: Duration,
    /// How often a render is repeated, to see whether it gives the same, if nothing else is done then.
    pub repeat: Duration,
}

/// Tells a serving runtime to stop: true once.
pub type Stop = watch::Receiver<bool>;

impl Runtime {
    /// One pass: refreshes the estate and walks each aimed stack. Writes only if the aim does.
    pub async fn pass(self: &Arc<Self>, aim: &Aim) -> Answer<Report> {
        let mut report = Report { findings: self.refresh(aim).await?, ..Report::default() };
        // Somebody asks: a build that failed is tried again.
        self.cells().iter().for_each(|cell| cell.kept().failed = None);
        report.stale = self.sources_stale();
        let mut left: BTreeSet<StackId> = self.aimed(aim).into_iter().collect();
        let mut reports: BTreeMap<StackId, StackReport> = BTreeMap::new();
        let mut waited: BTreeMap<StackId, usize> = BTreeMap::new();
        let mut attended = Attending::default();
        let mut rounds = 0;
        while rounds < ROUNDS {
            rounds += 1;
            let walked: Vec<StackReport> = tokio::select! {
                biased;
                walked = self.walk_in_turn(&left, aim) => walked,
                // Those who are waited for are attended to meanwhile: nobody keeps what it holds of the target for a whole round.
                never = attended.keep_gathering() => match never {},
                // A pass may take longer than a lease lasts.
                never = self.keep_leases(), if aim.writes => match never {},
            };
            let moved = walked.iter().any(|stack| stack.outcome.is_some());
            for stack in walked {
                merge(&mut reports, stack);
            }
            if !aim.writes {
                break;
            }
            left = if moved { self.again(aim, &reports).await? } else { BTreeSet::new() };
            if left.is_empty() && aim.waits {
                left = tokio::select! {
                    biased;
                    decided = self.until_ready(&mut attended, &reports) => decided,
                    never = self.keep_leases() => match never {},
                };
                // Whoever waits for one of them has its turn after it; one that starts over and over does not.
                rounds = 0;
                left.retain(|id| {
                    let turns = waited.entry(id.clone()).or_insert(0);
                    *turns += 1;
                    *turns <= TURNS
                });
            }
            if left.is_empty() {
                break;
            }
        }
        report.stacks = reports.into_values().collect();
        Ok(report)
    }

    /// Which stacks of a pass go round again: those that waited for something that others may have done meanwhile.
    async fn again(&self, aim: &Aim, reports: &BTreeMap<StackId, StackReport>) -> Answer<BTreeSet<StackId>> {
        let orphans = self.find_orphans_again().await?;
        let waits = |report: &StackReport| waits_for_others(report) || is_blocked(report) || is_deferred(report) || report.lacks;
        let again = |id: &&StackId| self.cell(id).kept().hinted || reports.get(*id).is_none_or(waits);
        let all: BTreeSet<StackId> = self.aimed(aim).into_iter().collect();
        let left: BTreeSet<StackId> =
            all.iter().filter(again).filter(|id| orphans.contains(*id) || self.stack(id).is_some()).cloned().collect();
        left.iter().for_each(|id| self.cell(id).kept().hinted = false);
        Ok(left)
    }

    async fn keep_leases(&self) -> std::convert::Infallible {
        loop {
            tokio::time::sleep(self.renew_every().to_std()).await;
            if let Err(refusal) = self.renew().await {
                tracing::warn!("failed to renew leases: {refusal}");
            }
        }
    }

    fn sources_stale(&self) -> bool {
        let state = self.state();
        !state.stale.is_empty()
            || state.estate.sources.keys().any(|name| !state.revisions.contains_key(name) || !state.sources.contains_key(name))
    }

    async fn find_orphans_again(&self) -> Answer<BTreeSet<StackId>> {
        let estate = self.estate();
        let orphans = self.find_orphans(&estate).await?;
        self.state().orphans = orphans.clone();
        Ok(orphans.into_iter().collect())
    }

    /// Serves until told to stop, then drains: batches in hand end, leases are given back.
    pub async fn serve(self: &Arc<Self>, pace: Pace, wake: Arc<Notify>, mut stop: Stop) -> Answer<()> {
        let bell = Arc::new(Bell::default());
        let mut tasks = Tasks::default();
        let keeper = tokio::spawn(self.clone().keep_alive(pace, stop.clone()));
        let repeater = tokio::spawn(self.clone().keep_repeating(pace, stop.clone()));
        let aim = Aim { want: Want::Newest, stacks: Vec::new(), writes: true, look: false, waits: false };
        let mut seen = None;
        let mut said = Vec::new();
        let mut asking = Asking::new(self.clone());
        while !*stop.borrow() && self.state().broken.is_none() {
            let before = self.followed_now();
            let turn = async {
                match self.refresh_by(&aim, Some(&mut asking)).await {
                    Ok(findings) => self.say_once(&mut said, findings),
                    Err(refusal) => tracing::warn!("failed to refresh: {refusal}"),
                }
            };
            tokio::select! { biased; _ = stop.changed() => break, () = turn => {} }
            tasks.follow(self, &bell);
            let moved = before != self.followed_now();
            if moved {
                self.mark_newer().await;
                bell.ring_all();
            }
            match self.concerned_since(seen).await {
                Ok((size, concerned)) => {
                    seen = Some(size);
                    bell.ring(&concerned);
                }
                Err(refusal) => tracing::warn!("failed to read what the record gained: {refusal}"),
            }
            let pause = pace.poll.as_millis() + self.doors.clock.chance(pace.poll.as_millis() / 10 + 1);
            tokio::select! {
                biased;
                _ = stop.changed() => break,
                () = wake.notified() => bell.ring_all(),
                () = tokio::time::sleep(Duration(pause).to_std()) => {}
            }
        }
        self.state().stopping = true;
        bell.ring_all();
        tasks.drain().await;
        keeper.abort();
        repeater.abort();
        let broken = self.state().broken.clone();
        if let Some(refusal) = broken {
            if refusal.code == Code::Unsupported {
                return Err(refusal);
            }
            return Err(refusal.help("the record's disk failed; look at it, then start again: what was left open is looked at and closed"));
        }
        self.heartbeat(pace).await;
        self.release().await
    }

    /// What is followed now: a change of it wakes every stack.
    fn followed_now(&self) -> (BTreeMap<Name, Revision>, Arc<Estate>) {
        let state = self.state();
        (state.revisions.clone(), state.estate.clone())
    }

    /// Walks that work towards something older end after the batch in hand.
    async fn mark_newer(&self) {
        let estate = self.estate();
        for cell in self.cells().iter() {
            let Some(working) = cell.kept().towards else { continue };
            let Some(stack) = estate.stacks.get(&cell.id) else { continue };
            if let Ok(wanted) = self.wanted(cell, stack).await
                && wanted.key != working
            {
                cell.kept().newer = true;
            }
        }
    }

    fn say_once(&self, said: &mut Vec<Finding>, findings: Vec<Finding>) {
        if *said != findings {
            findings.iter().for_each(|finding| tracing::warn!("{finding}"));
            *said = findings;
        }
    }

    /// Leases are prolonged, and once a minute one entry says that we are awake and what we saw last.
    async fn keep_alive(self: Arc<Self>, pace: Pace, mut stop: Stop) {
        let mut beat = self.doors.clock.monotonic();
        loop {
            tokio::select! { biased; _ = stop.changed() => return, () = tokio::time::sleep(self.renew_every().min(pace.heartbeat).to_std()) => {} }
            if let Err(refusal) = self.renew().await {
                tracing::warn!("failed to renew leases: {refusal}");
            }
            if self.doors.clock.monotonic() >= beat + pace.heartbeat.as_millis() {
                beat = self.doors.clock.monotonic();
                self.heartbeat(pace).await;
            }
        }
    }

    async fn heartbeat(&self, pace: Pace) {
        let cells = self.cells();
        let looks = Looks { at: cells.iter().filter_map(|cell| Some((cell.id.key(), cell.kept().look?))).collect() };
        let body = Heartbeat { stacks: looks.at.len() as u64, interval: pace.heartbeat };
        let blob = self.put_durably(&canonical(&looks)).await;
        let beat = draft(Kind::Heartbeat, None, self.doors.clock.now(), "observation", &body);
        let written = match blob {
            Ok(blob) => self.append(vec![beat.blob("looks", Some(blob))], None).await.map(|_| ()),
            Err(refusal) => Err(refusal),
        };
        if let Err(refusal) = written {
            tracing::warn!("failed to write a heartbeat: {refusal}");
        }
    }

    /// One stack's life: waits for a wake or the next due look, weighs it, walks.
    pub(crate) async fn live(self: Arc<Self>, id: StackId, bells: Arc<Bell>) {
        let bell = bells.of(&id);
        let mut failures = 0u32;
        // Somebody who attends to how well it is, anew after each walk: a task of its own, for what it holds of the target or the
        // record while it asks is given back whatever happens here.
        let mut attending = JoinSet::new();
        // Walks in a row that followed what was attended to, and came to nothing.
        let mut idle = 0u32;
        while !self.state().stopping {
            let cell = self.cell(&id);
            let interval = self.estate().stacks.get(&id).map_or(Duration::from_secs(300), |stack| stack.interval);
            let due = cell.kept().settled.as_ref().map_or(0, |settled| settled.at + interval.as_millis());
            let look = due <= self.doors.clock.monotonic();
            let turn = bells.turn(&id.target).await;
            if self.state().stopping {
                break;
            }
            // Boxed, both: a stack at rest, and most are, keeps no room for a walk.
            if self.weigh(&id, look).boxed().await {
                let aim = Aim { want: Want::Newest, stacks: vec![id.clone()], writes: true, look, waits: false };
                let hinted = std::mem::take(&mut cell.kept().hinted);
                attending = JoinSet::new();
                let report = self.walk_apart(&id, &aim).boxed().await;
                self.tell(&report);
                if report.outcome.is_some() {
                    idle = 0;
                    for after in self.waiting_for(&id) {
                        self.cell(&after).kept().hinted = true;
                        bells.of(&after).notify_one();
                    }
                }
                let failed = report.failed() || report.outcome == Some(trued_model::body::Outcome::Interrupted);
                failures = if failed { failures.saturating_add(1) } else { 0 };
                if failed && hinted {
                    cell.kept().hinted = true;
                }
            }
            drop(turn);
            let again = cell.kept().hinted && failures == 0;
            if again {
                continue;
            }
            let due = cell.kept().settled.as_ref().map(|settled| settled.at + interval.as_millis());
            let pause = match due {
                Some(due) if failures == 0 => Duration(due.saturating_sub(self.doors.clock.monotonic())),
                _ => pause_after(failures, self.doors.clock.chance(JITTER.as_millis())).min(interval),
            };
            let rest = if idle == 0 { Duration(0) } else { Duration(500u64 << idle.min(7)) };
            if attending.is_empty() {
                attending.spawn(self.clone().attend(id.clone(), rest));
            }
            tokio::select! {
                biased;
                () = bell.notified() => {}
                _ = attending.join_next() => {
                    idle = idle.saturating_add(1);
                    cell.kept().hinted = true;
                }
                () = tokio::time::sleep(pause.to_std()) => {}
            }
        }
    }

    /// Whether a wake is worth a walk. An equal desired state, no hint, nothing new on record and no look due: it is not.
    async fn weigh(&self, id: &StackId, look: bool) -> bool {
        Counters::add(&self.counters.weighed, 1);
        tracing::debug!(stack = %id.key(), look, "woken");
        let cell = self.cell(id);
        let (settled, hinted) = {
            let kept = cell.kept();
            (kept.settled.clone(), kept.hinted)
        };
        let Some(settled) = settled.filter(|_| !hinted && !look) else { return true };
        match cell.memory(self).await {
            Ok(memory) if memory.through == settled.through => {}
            _ => return true,
        }
        let estate = self.estate();
        let Some(stack) = estate.stacks.get(id) else { return true };
        if settled.blocked && self.waits_for(stack).await.is_none() {
            return true;
        }
        if settled.stack != *stack {
            return true;
        }
        if settled.revision == self.state().revisions.get(&stack.source).map(|revision| revision.id.clone()) {
            return false;
        }
        match self.wanted(&cell, stack).await {
            Ok(wanted) if wanted.key == settled.key => {
                if let Some(settled) = cell.kept().settled.as_mut() {
                    settled.revision = wanted.revision.clone();
                }
                false
            }
            _ => true,
        }
    }

    /// Walks a stack so that a panic of its walk ends nothing else.
    pub(crate) async fn walk_apart(&self, id: &StackId, aim: &Aim) -> StackReport {
        match AssertUnwindSafe(self.walk(id, aim)).catch_unwind().await {
            Ok(report) => report,
            Err(_) => self.panicked(id, aim).await,
        }
    }

    /// A panic in one stack stays there: it is an incident, and the stack tries again after a pause.
    async fn panicked(&self, id: &StackId, aim: &Aim) -> StackReport {
        let mut report = StackReport::new(id.clone(), self.names().write(id));
        let message = "a walk broke off inside trued; other stacks go on";
        report.refusal = Some(trued_model::Refusal::new(Code::Broken, message));
        self.note_panic(&self.cell(id), aim, message).await;
        report
    }

    /// Opens the incident of a panic.
    pub(crate) async fn note_panic(&self, cell: &Cell, aim: &Aim, message: &str) {
        if aim.writes
            && let Ok(memory) = cell.memory(self).await
        {
            let trouble = Trouble { kind: "panic", message: message.to_owned(), next: "report it with the log of serve", words: &[] };
            let opened = incidents::open(&memory, &cell.id, self.doors.clock.now(), trouble);
            let _ = self.record(cell, opened.into_iter().collect(), None).await;
        }
    }

    fn tell(&self, report: &StackReport) {
        for line in &report.lines {
            tracing::info!(stack = %report.name, "{line}");
        }
        for item in &report.refused {
            tracing::warn!(stack = %report.name, next = item.next, "{}", item.message);
        }
        if let Some(outcome) = report.outcome {
            tracing::info!(stack = %report.name, written = report.written, revision = report.revision, "{}", outcome.word());
        }
        report.findings.iter().for_each(|finding| tracing::warn!(stack = %report.name, "{finding}"));
    }
}

/// Whether a stack waits for what another stack may have done meanwhile.
pub(crate) fn waits_for_others(report: &StackReport) -> bool {
    let waiting = |kind: HoldKind| matches!(kind, HoldKind::Waiting | HoldKind::Claimed | HoldKind::Orphan);
    report.plan.as_ref().is_some_and(|(_, decision)| decision.held.iter().any(|part| waiting(part.kind)))
}

/// Whether a stack waits for one that comes first. It is woken when that has ended a run.
pub(crate) fn is_blocked(report: &StackReport) -> bool {
    report.plan.as_ref().is_some_and(|(_, decision)| decision.held.iter().any(|part| part.kind == HoldKind::Blocked))
}

/// Whether a stack has something of a kind that its target does not know yet. It is woken when the target does.
fn is_deferred(report: &StackReport) -> bool {
    report.plan.as_ref().is_some_and(|(_, decision)| decision.held.iter().any(|part| part.kind == HoldKind::Deferred))
}

/// A later round's report of a stack replaces the earlier one; what was done adds up.
fn merge(reports: &mut BTreeMap<StackId, StackReport>, mut newer: StackReport) {
    if let Some(older) = reports.remove(&newer.stack) {
        newer.written += older.written;
        if newer.outcome.is_none() {
            (newer.outcome, newer.refused) = (older.outcome, older.refused);
        }
        let mut lines = older.lines;
        lines.append(&mut newer.lines);
        newer.lines = lines;
    }
    reports.insert(newer.stack.clone(), newer);
}

/// How long a stack waits that failed so many times in a row.
fn pause_after(failures: u32, chance: u64) -> Duration {
    Duration((PAUSE.as_millis() << failures.min(10)).min(LONGEST_PAUSE.as_millis()) + chance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_43_pauses_grow_to_a_bound_and_chance_makes_them_no_more_than_a_little_longer() {
        let longest = (0..=64).chain([u32::MAX - 1, u32::MAX]).map(|failures| {
            let pauses: Vec<u64> = (0..JITTER.as_millis()).map(|chance| pause_after(failures, chance).as_millis()).collect();
            let (least, most) = (pauses[0], *pauses.last().expect("some"));
            assert!(least >= PAUSE.as_millis() && most < LONGEST_PAUSE.as_millis() + JITTER.as_millis(), "{failures}: {least} to {most}");
            assert!(pauses.is_sorted_by(|one, next| one < next), "whatever chance says, it is another pause");
            most
        });
        let longest: Vec<u64> = longest.collect();
        assert!(longest.is_sorted(), "{longest:?}");
        assert!(longest[..7].is_sorted_by(|one, next| one < next), "{longest:?}");
        assert_eq!(longest[7..].iter().collect::<BTreeSet<_>>().len(), 1, "the bound holds from there on: {longest:?}");
    }
}
