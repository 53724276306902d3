//! The end of a run: commands, checks, the verdict, and what follows from it.

use std::sync::Arc;

use trued_doors::{Checking, Program};
use trued_engine::{Event, Release, Wellness};
use trued_model::body::{Checked, Intent, Outcome, Receipt, Rollback, Verdict};
use trued_model::{Change, Code, Draft, Duration, Extent, Kind, Manifest, Otherwise, Refusal};

use super::Walk;
use super::health::HEALTH;
use super::inventory::{own, own_what_gives_way};
use crate::incidents::{self, Trouble};
use crate::record::{Drafting, draft};

/// How long a command of `on_change` may take, and how much of its output is kept.
const COMMAND_DEADLINE: Duration = Duration::from_secs(60);
const OUTPUT_CAP: usize = 64 << 10;

impl Walk<'_> {
    /// Runs the commands of `on_change`, each once, each with an intent of its own: nobody can look whether one ran.
    pub(super) async fn command(&mut self) -> Result<Event, Refusal> {
        let link = self.runtime.link(&self.stack.id.target).await?;
        let epoch = self.runtime.lease(self.cell, link.as_ref()).await?;
        self.epoch = Some(epoch);
        for command in std::mem::take(&mut self.commands) {
            let plan = self.plan.as_ref().map_or_else(|| trued_model::Digest::of(b""), |(_, decision)| decision.plan);
            let desired = self.wanted.as_ref().map(|wanted| wanted.digest);
            let body = Intent {
                plan,
                part: plan,
                changes: 0,
                epoch,
                command: Some(command.name.clone()),
                desired,
                sandbox: None,
                tools: Vec::new(),
                occasion: None,
            };
            let id = self.stack.id.clone();
            let intent =
                draft(Kind::Intent, Some(&id), self.now(), self.cause, &body).run(&self.run).revision(self.report.revision.clone());
            let fence = self.runtime.fence(self.cell, epoch);
            let placed = self.runtime.record(self.cell, vec![intent], fence.clone()).await?;
            let index = placed.first().map(|indexed| indexed.index);
            let mut env = std::collections::BTreeMap::from([("TRUED_STACK".to_owned(), self.report.name.clone())]);
            env.extend(self.report.revision.clone().map(|revision| ("TRUED_REVISION".to_owned(), revision)));
            let program =
                Program { argv: command.argv, env, folder: None, input: Vec::new(), deadline: COMMAND_DEADLINE, output_cap: OUTPUT_CAP };
            let exit = self.runtime.doors.runner.run(program).await;
            let (status, log, why) = match exit {
                Ok(exit) => {
                    let why = match exit.status {
                        Some(0) => String::new(),
                        Some(status) => format!("exit status {status}"),
                        None => "ended by a signal".to_owned(),
                    };
                    (exit.status, [exit.output, exit.error].concat(), why)
                }
                Err(refusal) => (None, Vec::new(), refusal.to_string()),
            };
            let log = if log.is_empty() { None } else { Some(self.runtime.doors.blobs.put(&log)?) };
            self.runtime.flush().await?;
            let receipt = Receipt { batch: 1, done: 0, so_far: 0, of: 0, exit: status, errands: Vec::new() };
            let receipt = draft(Kind::Receipt, Some(&id), self.now(), self.cause, &receipt)
                .run(&self.run)
                .revision(self.report.revision.clone())
                .link("receipt-of", index)
                .blob("log", log);
            self.runtime.record(self.cell, vec![receipt], fence).await?;
            self.checks.push(Checked { check: format!("on_change {}", command.name), passed: why.is_empty(), why });
        }
        Ok(Event::Done)
    }

    /// Asks whether what was applied works: first whether it is ready, where the target tells, then the checks.
    pub(super) async fn check(&mut self) -> Result<Event, Refusal> {
        match self.wellness().await? {
            Wellness::Ready if self.memory.unready.is_some() && self.facts.health && self.intent.is_none() => {
                self.checks.push(Checked { check: HEALTH.to_owned(), passed: true, why: String::new() });
            }
            Wellness::Ready => {}
            // The checks run when it is.
            Wellness::Waits(why) => {
                self.report.waiting = Some(why.clone());
                self.awaits = why;
                return Ok(Event::Checked { passed: true });
            }
            Wellness::Failed(why) => {
                self.checks.push(Checked { check: HEALTH.to_owned(), passed: false, why });
                return Ok(Event::Checked { passed: false });
            }
        }
        for check in &self.stack.checks {
            let with = Checking { runner: self.runtime.doors.runner.clone(), reach: check.reach.clone() };
            let checked = match self.runtime.doors.checks.get(&check.kind) {
                Some(kind) => kind.check(&check.settings, &with).await,
                None => Checked { check: check.kind.clone(), passed: false, why: "no such check in this build".to_owned() },
            };
            self.checks.push(checked);
        }
        self.cell.kept().checked = Some(self.stack.checks.clone());
        Ok(Event::Checked { passed: self.checks.iter().all(|check| check.passed) })
    }

    /// Writes the verdict and what follows from it, in one append.
    pub(super) async fn conclude(&mut self, outcome: Outcome) -> Result<Event, Refusal> {
        let outcome = match outcome {
            Outcome::Landed if self.checks.iter().any(|check| !check.passed) => Outcome::Failed,
            outcome => outcome,
        };
        self.report.outcome = Some(outcome);
        self.report.lacks = self.lacks;
        if self.said_before(outcome) {
            return Ok(Event::Done);
        }
        let epoch = match self.epoch {
            Some(epoch) => epoch,
            None => {
                let link = self.runtime.link(&self.stack.id.target).await?;
                self.runtime.lease(self.cell, link.as_ref()).await.inspect_err(|refusal| self.runtime.lost(self.cell, refusal))?
            }
        };
        self.report.refused.clone_from(&self.refused);
        let checked = outcome == Outcome::Failed && self.refused.is_empty() && !self.checks.is_empty();
        let in_place = outcome == Outcome::Landed || (checked && self.whole);
        let mut verdict = self.verdict(outcome, epoch, in_place);
        if !self.fenced {
            verdict = self.with_states(verdict, in_place)?;
        }
        let inventory = verdict.blobs.iter().find(|blob| blob.role == "inventory").map(|blob| blob.blob);
        let mut drafts = vec![verdict];
        if !self.fenced {
            drafts.extend(self.consequences(outcome, in_place));
        }
        let fence = if self.fenced { None } else { self.runtime.fence(self.cell, epoch) };
        self.runtime.flush().await?;
        self.runtime.record(self.cell, drafts, fence).await?;
        self.memory = self.cell.memory(self.runtime).await?;
        if inventory.is_some() && self.memory.inventory == inventory {
            self.cell.kept().inventory = Some((inventory, self.inventory.clone()));
        }
        if !self.fenced && self.report.written > 0 {
            self.runtime.wrote_to(&self.stack.id.target).await?;
        }
        if !self.fenced && self.observed.extent == Extent::Complete {
            self.cell.kept().look = Some(self.now());
        }
        Ok(Event::Done)
    }

    /// Whether a verdict would only repeat the last one: nothing was done, and the same checks failed once more.
    fn said_before(&self, outcome: Outcome) -> bool {
        let Some((_, last)) = &self.memory.last_verdict else { return false };
        let desired = self.wanted.as_ref().map(|wanted| wanted.digest);
        // A command that may have run waits for a person's word; no verdict ends that.
        let ends = self.memory.intents.values().any(|open| open.intent.command.is_none());
        let idle = self.intent.is_none() && self.bookkeeping.is_empty() && self.refused.is_empty() && !ends;
        if idle && outcome == Outcome::Landed && !self.awaits.is_empty() {
            return (last.outcome, last.desired, last.awaits.is_empty()) == (outcome, desired, false);
        }
        let same = (last.outcome, last.desired, &last.checks) == (outcome, desired, &self.checks);
        idle && same && outcome == Outcome::Failed && !self.checks.is_empty() && self.fallback().is_none()
    }

    /// Whether the last run towards the same failed too.
    fn failed_before(&self) -> bool {
        let desired = self.wanted.as_ref().map(|wanted| wanted.digest);
        self.memory.last_verdict.as_ref().is_some_and(|(_, last)| last.outcome == Outcome::Failed && last.desired == desired)
    }

    fn verdict(&self, outcome: Outcome, epoch: u64, in_place: bool) -> Draft {
        let why = match (outcome, self.refused.first(), self.checks.iter().find(|check| !check.passed)) {
            (_, Some(item), _) => format!("{}: {}", item.address, item.message),
            (_, None, Some(check)) => format!("{}: {}", check.check, check.why),
            (Outcome::Superseded, ..) => "a newer revision, or a request to stop, ended it after a batch".to_owned(),
            (Outcome::Failed, ..) => self.report.refusal.as_ref().map(ToString::to_string).unwrap_or_default(),
            _ => String::new(),
        };
        let body = Verdict {
            outcome,
            done: self.landed.len() as u64,
            of: self.writes.len() as u64,
            verified: in_place && outcome == Outcome::Landed && self.awaits.is_empty(),
            desired: self.wanted.as_ref().map(|wanted| wanted.digest),
            inputs: self.wanted.as_ref().map(|wanted| wanted.inputs),
            deletes: Some(self.stack.policy.deletes),
            checks: self.checks.clone(),
            why,
            awaits: self.awaits.clone(),
            epoch: Some(epoch),
            errands: Vec::new(),
        };
        draft(Kind::Verdict, Some(&self.stack.id), self.now(), self.cause, &body)
            .run(&self.run)
            .revision(self.report.revision.clone())
            .link("outcome-of", self.intent)
    }

    /// Adds what is ours now, what is there now, and, where it is wholly in place, what was desired.
    fn with_states(&mut self, verdict: Draft, in_place: bool) -> Result<Draft, Refusal> {
        let bookkeeping = std::mem::take(&mut self.bookkeeping);
        self.store_contents(&bookkeeping)?;
        for change in &bookkeeping {
            own(Arc::make_mut(&mut self.inventory), change);
        }
        if self.landed.len() < self.writes.len() {
            let landed: std::collections::BTreeSet<_> = self.landed.iter().map(|landed| &landed.address).collect();
            // Where the target had something else than was expected, it is somebody else's too.
            let others = |change: &&Change| self.refused.iter().any(|item| item.address == change.address && item.code == Code::Changed);
            let left = self.writes.iter().filter(|change| !landed.contains(&change.address) && !others(change));
            left.for_each(|change| own_what_gives_way(Arc::make_mut(&mut self.inventory), change));
        }
        // Once all is in place they are one and the same. What is one need not be compared, here and in the walks to come.
        let desired = self.wanted.as_ref().filter(|_| in_place).map(|wanted| Arc::new(wanted.desired.manifest()));
        self.inventory = desired.clone().filter(|desired| *desired == self.inventory).unwrap_or(self.inventory.clone());
        let observed = Some(Arc::new(self.seen_manifest())).filter(|seen| *seen != self.inventory).unwrap_or(self.inventory.clone());
        let store = |manifest: Arc<Manifest>| self.cell.store(self.runtime, manifest);
        let (inventory, observed) = (store(self.inventory.clone())?, store(observed)?);
        let desired = desired.map(store).transpose()?;
        Ok(verdict.blob("inventory", Some(inventory)).blob("observed", Some(observed)).blob("desired", desired))
    }

    /// Drift that is put back, incidents that open and close, and going back by itself.
    fn consequences(&self, outcome: Outcome, in_place: bool) -> Vec<Draft> {
        let (id, now) = (&self.stack.id, self.now());
        let mut drafts = Vec::new();
        if let Some(open) = &self.memory.drift {
            let back = |item: &trued_model::body::DriftItem| {
                self.observed.get(&item.address).fingerprint() == self.inventory.items.get(&item.address).map(|item| &item.fingerprint)
            };
            // What cannot be seen now is not back.
            let seen = self.observed.extent == Extent::Complete || open.drift.items.iter().all(back);
            if seen && self.assessment.drift.iter().all(back) {
                drafts.extend(self.drift_closed(open.index, "reverted"));
            }
        }
        match self.refused.first() {
            // What it needs may be under way: only if it still lacks that the next time, people must know.
            Some(_) if self.lacks && !self.failed_before() => {}
            Some(item) => {
                let message = format!("{}: {} ({} refused)", item.address, item.message, self.refused.len());
                let next = match item.code {
                    _ if !item.next.is_empty() => &item.next,
                    Code::Full => "make room; the rest is applied then",
                    Code::Denied => "give trued the right to write there",
                    _ => "the next wake looks and tries again",
                };
                drafts.extend(incidents::open(&self.memory, id, now, Trouble { kind: "refused", message, next, words: &[] }));
            }
            None => drafts.extend(incidents::close(&self.memory, id, now, "refused", "recovered")),
        }
        match self.checks.iter().find(|check| !check.passed) {
            Some(check) => {
                let message = format!("{}: {}", check.check, check.why);
                let next = self.mend();
                drafts.extend(incidents::open(&self.memory, id, now, Trouble { kind: "check", message, next, words: &[] }));
                if in_place {
                    drafts.extend(self.go_back());
                }
            }
            None if outcome == Outcome::Landed && self.awaits.is_empty() => {
                drafts.extend(incidents::close(&self.memory, id, now, "check", "recovered"));
                drafts.extend(incidents::close(&self.memory, id, now, "health", "recovered"));
            }
            None => {}
        }
        drafts
    }

    fn fallback(&self) -> Option<&Release> {
        let unwell = self.checks.iter().any(|check| !check.passed && check.check == HEALTH);
        let goes_back = match self.stack.health.otherwise.filter(|_| unwell) {
            Some(otherwise) => otherwise == Otherwise::Rollback,
            None => self.stack.policy.rollback,
        };
        let current = self.wanted.as_ref().filter(|_| goes_back && self.whole)?.digest;
        self.memory.fallback(&current)
    }

    /// What a person can do when what is in place does not work.
    pub(super) fn mend(&self) -> &'static str {
        let current = self.wanted.as_ref().map(|wanted| wanted.digest);
        match self.memory.release_before(current.as_ref()) {
            Some(_) => "commit a fix, or trued rollback STACK",
            None => "commit a fix",
        }
    }

    /// Goes back to the last verified release by itself, where the policy says so.
    fn go_back(&self) -> Option<Draft> {
        let current = self.wanted.as_ref()?.digest;
        let release = self.fallback()?;
        let body =
            Rollback { to: release.index, rejects: current, desired: release.desired, reason: "a check failed after apply".to_owned() };
        self.cell.kept().hinted = true;
        let rollback = draft(Kind::Rollback, Some(&self.stack.id), self.now(), "rollback", &body);
        Some(rollback.link("caused-by", self.intent).blob("desired", Some(release.manifest)))
    }
}
