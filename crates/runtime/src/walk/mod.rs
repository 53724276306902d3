//! One walk of one stack: performs the effects that `engine::step` asks for, one after the other.

mod act;
mod conclude;
mod decide;
mod errands;
pub(crate) mod health;
mod inventory;
mod look;
mod note;
mod recover;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use trued_doors::{Facts, Link};
use trued_engine::{Assessment, Course, Effect, Event, Phase, StackMemory, Wellness, Wish, step};
use trued_model::body::{Checked, Landed, Outcome, RefusedItem};
use trued_model::{
    Address, BlobRef, Change, Code, Command, Decision, Desired, Extent, Finding, Manifest, Observation, Plan, Ran, Refusal, Stack, StackId,
    Timestamp,
};

use crate::cell::{Cell, Wanted};
use crate::render::{BROKE_OFF, NoWish};
use crate::report::{Pending, StackReport};
use crate::runtime::{Aim, Runtime};

/// The most changes in one batch: one order to the driver, one receipt.
const BATCH: usize = 256;

/// What a walk gathers on its way.
pub(crate) struct Walk<'a> {
    runtime: &'a Runtime,
    cell: &'a Cell,
    aim: &'a Aim,
    /// As configured; an orphan stands in with nothing to render.
    stack: Stack,
    orphan: bool,
    /// Old identities whose inventory counts as ours.
    inherits: Vec<StackId>,
    memory: Arc<StackMemory>,
    run: String,
    cause: &'static str,
    link: Option<Arc<dyn Link>>,
    facts: Arc<Facts>,
    wish: Wish,
    wanted: Option<Arc<Wanted>>,
    desired: Arc<Desired>,
    /// What is ours; kept up to date as changes land.
    inventory: Arc<Manifest>,
    observed: Observation,
    assessment: Assessment,
    plan: Option<(Plan, Decision)>,
    /// Changes that write to the target and may run now, in order.
    writes: Vec<Change>,
    /// How they are handed over.
    batches: Vec<Range<usize>>,
    /// Changes to the inventory alone that may be made now.
    bookkeeping: Vec<Change>,
    /// Commands of `on_change` that are due in this run.
    commands: Vec<Command>,
    /// Whether all that is desired is in place once the free part has run.
    whole: bool,
    /// Bytes found on the target and now on record, by address.
    kept: BTreeMap<Address, trued_doors::Kept>,
    epoch: Option<u64>,
    intent: Option<u64>,
    landed: Vec<Landed>,
    batch_landed: Vec<Landed>,
    refused: Vec<RefusedItem>,
    batch_refused: Vec<RefusedItem>,
    fenced: bool,
    /// Whether an earlier run of the stack did not come to its end, so that it may have left things lying about.
    unfinished: bool,
    checks: Vec<Checked>,
    /// How well what landed was seen to be before this walk.
    judged: Option<Wellness>,
    /// What is in place and not ready yet: why.
    awaits: String,
    /// How far what runs once is, before the changes of this walk.
    course: Course,
    /// What of it has ended since the last walk, and is not on record yet.
    ended: Vec<Ran>,
    /// Whether all that was refused lacks something that somebody else may bring.
    lacks: bool,
    report: StackReport,
}

impl Runtime {
    /// Walks one stack once. What it finds wrong stands in the report; other stacks notice nothing.
    pub(crate) async fn walk(&self, id: &StackId, aim: &Aim) -> StackReport {
        let cell = self.cell(id);
        let _one_at_a_time = cell.walking.lock().await;
        let name = self.names().write(id);
        let mut report = StackReport::new(id.clone(), name);
        let memory = match cell.memory(self).await {
            Ok(memory) => memory,
            Err(refusal) => {
                report.refusal = Some(refusal);
                return report;
            }
        };
        let configured = self.stack(id);
        let orphan = configured.is_none();
        let stack = configured.unwrap_or_else(|| nothing_to_render(id));
        let inherits = stack.previously.iter().filter(|old| self.stack(old).is_none()).cloned().collect();
        cell.kept().newer = false;
        let walk = Walk {
            runtime: self,
            cell: &cell,
            aim,
            orphan,
            inherits,
            run: self.doors.clock.fresh_id(),
            cause: if orphan { "configuration" } else { "source" },
            link: None,
            facts: Arc::default(),
            wish: if orphan { Wish::Orphan } else { Wish::Source },
            wanted: None,
            desired: Arc::default(),
            inventory: Arc::default(),
            observed: Observation { at: Timestamp(0), extent: Extent::Unknown("was not looked at".to_owned()), seen: BTreeMap::new() },
            assessment: Assessment::default(),
            plan: None,
            writes: Vec::new(),
            batches: Vec::new(),
            bookkeeping: Vec::new(),
            commands: Vec::new(),
            whole: false,
            kept: BTreeMap::new(),
            epoch: None,
            intent: None,
            landed: Vec::new(),
            batch_landed: Vec::new(),
            refused: Vec::new(),
            batch_refused: Vec::new(),
            fenced: false,
            unfinished: unfinished(&memory),
            checks: Vec::new(),
            judged: None,
            awaits: String::new(),
            course: Course::default(),
            ended: Vec::new(),
            lacks: false,
            report,
            stack,
            memory,
        };
        walk.go().await
    }
}

impl Walk<'_> {
    /// The loop: what the engine says comes next is done, and what came of it decides what comes after.
    async fn go(mut self) -> StackReport {
        let open_intents = self.memory.intents.values().any(|open| open.intent.command.is_none());
        let mut phase = Phase::Woken;
        let mut event = Event::Begun { open_intents: open_intents && self.aim.writes };
        loop {
            let (next, effect) = step(phase, event);
            tracing::debug!(stack = %self.report.name, ?phase, ?event, ?effect, "step");
            phase = next;
            let outcome = match effect {
                Effect::Recover => self.recover().await,
                Effect::Render => self.render().await,
                Effect::Observe => self.observe().await,
                Effect::Plan => self.plan().await,
                Effect::Note => self.note().await,
                Effect::Keep => self.keep().await,
                Effect::Intend => self.intend().await,
                Effect::Apply(batch) => self.apply(batch).await,
                Effect::Receipt(batch) => self.receipt(batch).await,
                Effect::Confirm => self.confirm().await,
                Effect::Command => self.command().await,
                Effect::Check => self.check().await,
                Effect::Conclude(outcome) => self.conclude(outcome).await,
                Effect::End => break,
            };
            event = match outcome {
                Ok(event) => event,
                Err(refusal) => {
                    self.failed(refusal);
                    Event::Failed
                }
            };
            // A look without a hand: nothing may be written, so the walk ends at its plan.
            if !self.aim.writes && matches!(event, Event::Planned(_)) {
                break;
            }
        }
        self.settle();
        self.report
    }

    fn failed(&mut self, refusal: Refusal) {
        tracing::warn!(stack = %self.report.name, "{refusal}");
        if refusal.code == Code::Fenced {
            self.fenced = true;
        }
        self.runtime.lost(self.cell, &refusal);
        // What of the stored forms has arrived is not known.
        self.cell.kept().stored = None;
        self.cell.kept().whole_look = None;
        if matches!(refusal.code, Code::Unreachable | Code::TimedOut) {
            self.runtime.hang_up(&self.stack.id.target);
        }
        self.report.refusal.get_or_insert(refusal);
    }

    fn now(&self) -> Timestamp {
        self.runtime.doors.clock.now()
    }

    /// Finds what is desired: rendered from the source, or stored, where a rollback stands or the source is gone.
    async fn render(&mut self) -> Result<Event, Refusal> {
        self.link = Some(self.runtime.link(&self.stack.id.target).await?);
        if let Some(link) = &self.link {
            self.facts = link.facts().await?;
        }
        // Before what is ours is read: often it is what is desired.
        let rendered = if self.orphan { None } else { Some(self.runtime.wanted(self.cell, &self.stack).await) };
        self.inventory = self.cell.inventory(self.runtime).await?;
        for old in &self.inherits {
            for (address, item) in &self.runtime.cell(old).inventory(self.runtime).await?.items {
                Arc::make_mut(&mut self.inventory).items.entry(address.clone()).or_insert_with(|| item.clone());
            }
        }
        let Some(rendered) = rendered else { return Ok(Event::Done) };
        let rolled = self.memory.rollback.clone().filter(|_| !trued_engine::planted::has(trued_engine::planted::Bug::RetakeRejected));
        match (rendered, rolled) {
            (Ok(wanted), Some(rolled)) if rolled.rejected.contains(&wanted.digest) => {
                self.go_back_to(&rolled.manifest, rolled.rollback.desired)?
            }
            (Err(_), Some(rolled)) => self.go_back_to(&rolled.manifest, rolled.rollback.desired)?,
            (Ok(wanted), _) => {
                self.report.revision = wanted.revision.clone();
                self.desired = wanted.desired.clone();
                self.report.not_run = wanted.not_run.clone();
                self.wanted = Some(wanted);
            }
            (Err(NoWish::Findings(findings)), None) => {
                self.does_not_render(findings).await?;
                return Ok(Event::Failed);
            }
            (Err(NoWish::Panicked), None) => {
                self.runtime.note_panic(self.cell, self.aim, BROKE_OFF).await;
                return Err(Refusal::new(Code::Broken, BROKE_OFF));
            }
            (Err(NoWish::Refused(refusal)), None) => {
                // The source cannot be read; what last landed is still what it said.
                let Some(landed) = self.memory.landed.clone() else { return Err(refusal) };
                self.report
                    .findings
                    .push(Finding::new(format!("{refusal}; what landed last stays"), refusal.help).of(self.report.name.clone()));
                self.stored(&landed.manifest, landed.desired)?;
            }
        }
        self.report.desired = self.wanted.as_ref().map(|wanted| wanted.digest);
        self.report.sandbox = self.wanted.as_ref().and_then(|wanted| wanted.sandbox);
        self.cell.kept().towards = self.wanted.as_ref().map(|wanted| wanted.key);
        Ok(Event::Done)
    }

    fn go_back_to(&mut self, manifest: &BlobRef, desired: trued_model::Digest) -> Result<(), Refusal> {
        self.wish = Wish::Rollback;
        self.cause = "rollback";
        self.report.pending.push(Pending::RolledBack);
        self.stored(manifest, desired)
    }

    /// Wants what a stored manifest says; its bytes are in the blob store.
    fn stored(&mut self, manifest: &BlobRef, digest: trued_model::Digest) -> Result<(), Refusal> {
        let desired = Arc::new(Desired::from_manifest(&self.runtime.manifest(manifest)?));
        self.desired = desired.clone();
        let revision =
            self.memory.releases.iter().rev().find(|release| release.desired == digest).and_then(|release| release.revision.clone());
        self.report.revision = revision.clone();
        self.wanted = Some(Arc::new(Wanted {
            key: digest,
            inputs: digest,
            desired,
            digest,
            contents: Arc::new(crate::render::FromBlobs(self.runtime.doors.blobs.clone())),
            revision,
            sandbox: None,
            tools: Vec::new(),
            deferred: BTreeMap::new(),
            not_run: BTreeMap::new(),
        }));
        Ok(())
    }

    /// Remembers what was settled, so that an equal state of things need not be walked again before a look is due.
    fn settle(&mut self) {
        self.report.unpassed = self.checks.iter().filter(|check| !check.passed).cloned().collect();
        self.report.mend = self.mend();
        let waits = crate::serve::waits_for_others(&self.report);
        // What was refused is tried again after a pause that grows, not at the next look.
        let quiet = self.report.refusal.is_none() && self.report.findings.is_empty() && self.refused.is_empty() && !waits;
        let blocked = crate::serve::is_blocked(&self.report);
        let mut kept = self.cell.kept();
        kept.towards = None;
        kept.settled = match (&self.wanted, quiet && self.aim.writes) {
            (Some(wanted), true) => Some(crate::cell::Settled {
                key: wanted.key,
                stack: self.stack.clone(),
                revision: wanted.revision.clone(),
                at: kept.whole_look.unwrap_or_else(|| self.runtime.doors.clock.monotonic()),
                through: kept.memory.as_ref().map_or(0, |memory| memory.through),
                blocked,
            }),
            _ => None,
        };
    }
}

fn unfinished(memory: &StackMemory) -> bool {
    let ended_early = |outcome| matches!(outcome, Outcome::Failed | Outcome::Superseded | Outcome::Interrupted);
    !memory.intents.is_empty() || memory.last_verdict.as_ref().is_some_and(|(_, verdict)| ended_early(verdict.outcome))
}

fn nothing_to_render(id: &StackId) -> Stack {
    Stack {
        id: id.clone(),
        source: id.app.clone(),
        render: trued_model::RenderStep {
            kind: String::new(),
            settings: serde_json::Value::Null,
            vars: BTreeMap::new(),
            secrets: BTreeMap::new(),
            limits: None,
            pulls: Vec::new(),
        },
        into: String::new(),
        policy: trued_model::Policy::default(),
        checks: Vec::new(),
        previously: Vec::new(),
        health: trued_model::HealthPolicy::default(),
        after: std::collections::BTreeSet::new(),
        interval: trued_model::Duration::from_secs(300),
        origin: trued_model::Origin::default(),
    }
}
