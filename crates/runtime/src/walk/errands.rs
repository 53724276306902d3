//! What runs once for a release: where it stands is asked of the target before a plan, what ended is put on record before
//! anything follows it, and what failed asks a person. Waits for nothing.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt;
use trued_doors::HealthAsk;
use trued_engine::{Course, ERRAND, Errands, Wellness, wellness};
use trued_model::body::{Observed, Outcome, Verdict};
use trued_model::{Address, Change, Condition, Digest, Draft, Kind, Progress, Ran, Refusal, Seen};

use super::Walk;
use super::look::LOOK_DEADLINE;
use crate::incidents::{self, Trouble};
use crate::record::{Drafting, draft};

/// Whatever does not end may be gone before anybody saw how it ended.
const LOST: &str = "it is gone, and nobody saw how it ended";

impl Walk<'_> {
    fn release(&self) -> Option<Digest> {
        self.wanted.as_ref().map(|wanted| wanted.digest)
    }

    /// What the record says, and what is seen of those that were under way. Only what is in the plan's own look counts as gone.
    pub(super) async fn errands(&mut self) -> Result<Errands, Refusal> {
        let release = self.release();
        let running: Vec<Ran> = self.memory.errands.values().filter(|ran| ran.progress == Progress::Begun).cloned().collect();
        let running: Vec<Ran> = running.into_iter().filter(|ran| Some(ran.of) == release).collect();
        self.ended = if running.is_empty() { Vec::new() } else { self.ended_of(running).await? };
        let mut ran = self.memory.errands.clone();
        ran.extend(self.ended.iter().map(|ended| (ended.address.clone(), ended.clone())));
        let landed = self.memory.landed.as_ref().map(|landed| landed.desired);
        Ok(Errands { release, landed, begun: self.memory.begun, ran })
    }

    async fn ended_of(&mut self, running: Vec<Ran>) -> Result<Vec<Ran>, Refusal> {
        let mut conditions = self.conditions(running.iter().map(|ran| ran.address.clone()).collect()).await?;
        let mut ended = Vec::new();
        for ran in running {
            if self.observed.get(&ran.address) == Seen::Absent {
                ended.push(Ran { progress: Progress::Failed, why: LOST.to_owned(), ..ran });
                continue;
            }
            let Some(condition) = conditions.remove(&ran.address) else { continue };
            let one = BTreeMap::from([(ran.address.clone(), condition.clone())]);
            match wellness(&one, ran.since, self.stack.health.within, self.now()) {
                Wellness::Ready => ended.push(Ran { progress: Progress::Done, ..ran }),
                Wellness::Failed(_) if condition.health == trued_model::Health::Degraded => {
                    ended.push(Ran { progress: Progress::Failed, why: condition.why, ..ran });
                }
                Wellness::Failed(_) => {
                    let why = format!("not done within {}: {}", self.stack.health.within, condition.why);
                    ended.push(Ran { progress: Progress::Failed, why, ..ran });
                }
                Wellness::Waits(_) => self.report.waiting = Some(format!("{}: {}", ran.words(), condition.why)),
            }
        }
        Ok(ended)
    }

    async fn conditions(&self, addresses: BTreeSet<Address>) -> Result<BTreeMap<Address, Condition>, Refusal> {
        let link = self.runtime.link(&self.stack.id.target).await?;
        let ends = addresses.iter().filter_map(|address| self.desired.errands.get(address)).flat_map(|errand| &errand.ends);
        let ask = HealthAsk { rules: ends.cloned().collect(), addresses, read: true };
        let told = tokio::time::timeout(LOOK_DEADLINE.to_std(), link.health(ask).next()).await;
        Ok(told.ok().flatten().unwrap_or_default())
    }

    /// Whether every errand that is left is over once these changes are made.
    pub(super) fn errands_over(&self, course: &Course, writes: &[Change]) -> bool {
        let over = |address: &Address| {
            writes.iter().any(|change| change.address == *address && change.turn.as_ref().is_some_and(|turn| !turn.ends))
        };
        course.left.iter().all(over)
    }

    /// Puts on record what has ended, and has people told of what failed.
    pub(super) fn note_errands(&mut self, drafts: &mut Vec<Draft>) {
        let (id, now) = (self.stack.id.clone(), self.now());
        let (failed, done): (Vec<Ran>, Vec<Ran>) = self.ended.drain(..).partition(|ran| ran.progress == Progress::Failed);
        if let Some(first) = done.first() {
            let more = if done.len() > 1 { format!(" (and {} more)", done.len() - 1) } else { String::new() };
            let body = Observed { count: done.len() as u64, why: format!("{} is done{more}", first.words()), errands: done };
            drafts.push(draft(Kind::Observed, Some(&id), now, self.cause, &body).revision(self.report.revision.clone()));
        }
        if let Some(first) = failed.first() {
            let why = format!("{} failed: {}", first.words(), first.why);
            let body = Verdict {
                outcome: Outcome::Failed,
                done: 0,
                of: 0,
                verified: false,
                desired: self.release(),
                inputs: None,
                deletes: None,
                checks: Vec::new(),
                why,
                awaits: String::new(),
                epoch: None,
                errands: failed,
            };
            drafts.push(draft(Kind::Verdict, Some(&id), now, self.cause, &body).run(&self.run).revision(self.report.revision.clone()));
        }
        let open = self.memory.incidents.get(ERRAND);
        let message = self.course.failed.as_ref().map(|ran| format!("{} failed: {}", ran.words(), ran.why));
        let known = open.map(|open| &open.incident.message);
        if known.is_some() && known != message.as_ref() {
            drafts.extend(incidents::settle(&self.memory, &id, now, ERRAND, "recovered"));
        }
        if let Some(message) = message.filter(|message| known != Some(message)) {
            let next = "commit a fix; or trued answer #N not-done to run it again, done to go on without it";
            let mut memory = (*self.memory).clone();
            memory.incidents.remove(ERRAND);
            drafts.extend(incidents::open(&memory, &id, now, Trouble { kind: ERRAND, message, next, words: &["done", "not-done"] }));
        }
    }

    /// What a landed change began, where it runs once.
    pub(super) fn begun(&self, change: &Change) -> Option<Ran> {
        begun_by(change, self.release(), true, self.now())
    }
}

/// What a change began, where it runs once, for the release it worked towards; one that is not in place may have gone.
pub(super) fn begun_by(change: &Change, of: Option<Digest>, in_place: bool, now: trued_model::Timestamp) -> Option<Ran> {
    let (turn, of) = (change.turn.as_ref()?, of?);
    let (address, called) = (change.address.clone(), turn.called.clone());
    let ran = Ran { address, called, of, progress: Progress::Done, since: now, why: String::new() };
    match in_place {
        true if turn.ends => Some(Ran { progress: Progress::Begun, ..ran }),
        true => Some(ran),
        // It may have run, and have gone.
        false if turn.vanishes => Some(Ran { progress: Progress::Failed, why: LOST.to_owned(), ..ran }),
        false => None,
    }
}

#[cfg(test)]
mod tests {
    use trued_model::{Action, Fingerprint, Timestamp, Turn};

    use super::super::act::batches;
    use super::*;

    fn change(turn: Option<(bool, bool)>) -> Change {
        let turn = turn.map(|(ends, vanishes)| Turn { called: "before".to_owned(), rank: -75, weight: 0, kind: 0, ends, vanishes });
        Change {
            address: Address::new("kind/one"),
            action: Action::Create,
            before: None,
            after: Some(Fingerprint::new("1:object:1")),
            uid: None,
            other: None,
            content: None,
            keep: false,
            reasons: Vec::new(),
            hold: None,
            turn,
            awaits: None,
        }
    }

    #[test]
    fn fault_57_what_an_interrupted_run_made_was_begun_and_what_may_have_gone_by_itself_asks_a_person() {
        let told = |turn, in_place| begun_by(&change(turn), Some(Digest::of(b"release")), in_place, Timestamp(0)).map(|ran| ran.progress);
        assert_eq!(told(Some((true, false)), true), Some(Progress::Begun));
        assert_eq!(told(Some((false, false)), true), Some(Progress::Done), "being there is its end");
        assert_eq!(told(Some((true, false)), false), None, "nobody made it");
        assert_eq!(told(Some((true, true)), false), Some(Progress::Failed), "it may have run");
        assert_eq!(told(None, true), None);
    }

    #[test]
    fn what_runs_once_is_handed_over_by_itself() {
        let (lasts, once) = (|| change(None), || change(Some((false, false))));
        let writes = [once(), once(), lasts(), lasts(), once(), lasts()];
        assert_eq!(batches(&writes), [0..1, 1..2, 2..4, 4..5, 5..6]);
        let many: Vec<Change> = (0..super::super::BATCH + 1).map(|_| lasts()).collect();
        assert_eq!(batches(&many), [0..super::super::BATCH, super::super::BATCH..super::super::BATCH + 1]);
    }
}
