//! What the record says of one stack so far: a fold over its entries, the same for a cold start and after each append.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use trued_model::body::{Answered, Approved, Cause, Drift, DriftItem, Held, Incident, Intent, Outcome, Receipt, Rollback, Verdict};
use trued_model::{Address, Approval, BlobRef, Deletes, Digest, Entry, Indexed, Kind, Level, Occasion, Progress, Ran, Timestamp};

use crate::assess::drift_set;
use crate::planted::{self, Bug};

/// How many verified releases and drift episodes are remembered here; the record keeps all.
const REMEMBERED: usize = 64;

/// One stack, as the record tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackMemory {
    /// All entries below this index are folded in.
    pub through: u64,
    /// When the newest entry was recorded: a clock that was set back does not bring back what had ended by then.
    #[serde(default)]
    pub latest: Timestamp,
    /// How many entries were folded in since this was last read back from a snapshot.
    #[serde(skip)]
    pub folded: u64,
    /// What is ours on the target: last applied, by address.
    pub inventory: Option<BlobRef>,
    /// The newest entry that says what was there, and what it said.
    pub observed: Option<(u64, BlobRef)>,
    /// The newest run that put the whole desired state in place.
    pub landed: Option<Release>,
    /// Since when what landed is waited for to become ready; stays while it is not.
    #[serde(default)]
    pub unready: Option<Timestamp>,
    /// Verified releases, oldest first.
    pub releases: Vec<Release>,
    /// Intents without an end, by index.
    pub intents: BTreeMap<u64, OpenIntent>,
    pub drift: Option<OpenDrift>,
    /// Open incidents by kind.
    pub incidents: BTreeMap<String, OpenIncident>,
    /// The newest statement of what is held, if anything is.
    pub held: Option<(u64, Held)>,
    pub suspended: Option<u64>,
    pub rollback: Option<Rolled>,
    pub approvals: Vec<StoredApproval>,
    /// Addresses left alone until an instant, by a person's answer.
    pub ignored: BTreeMap<Address, Leave>,
    /// A person's word on an orphaned stack: `delete` or `forget`, and where it was said.
    pub orphan_word: Option<(String, u64)>,
    /// Since when the target cannot be seen.
    pub blind: Option<u64>,
    /// When drift was seen on an address, for telling a single edit from a fight.
    pub episodes: BTreeMap<Address, Vec<Timestamp>>,
    /// Whether a driver ever confirmed that it wrote something.
    #[serde(default)]
    pub wrote: bool,
    /// Whether changes landed in a run that did not come to its end: commands of `on_change` may be owed.
    pub owed: bool,
    /// Commands that were begun since the newest intent to change something. Each is begun once.
    pub ran: BTreeSet<String>,
    pub last_verdict: Option<(u64, Verdict)>,
    /// Whether that verdict ended it: nobody wanted it, and what was its own was deleted, given up or taken over.
    #[serde(default)]
    pub given_up: bool,
    /// What ran once for what has not landed yet, by address.
    #[serde(default)]
    pub errands: BTreeMap<Address, Ran>,
    /// The release that was begun and has not landed, where something runs once for it.
    #[serde(default)]
    pub begun: Option<(Digest, Occasion)>,
    /// How well the program was confined that rendered what was last begun to be made, if one did.
    #[serde(default)]
    pub sandbox: Option<Level>,
    /// Incidents by kind that were opened before, with when: for recurrence.
    pub recurrences: BTreeMap<String, Vec<Timestamp>>,
}

/// A rendered digest that once was wholly in place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Of the verdict.
    pub index: u64,
    pub desired: Digest,
    /// The desired state's manifest.
    pub manifest: BlobRef,
    pub inputs: Option<Digest>,
    pub revision: Option<String>,
    pub at: Timestamp,
    pub verified: bool,
    /// The limit on deletes it landed under.
    pub deletes: Option<Deletes>,
}

/// A written will to act whose end is not on record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenIntent {
    pub run: Option<String>,
    pub revision: Option<String>,
    pub intent: Intent,
    pub plan: Option<BlobRef>,
    /// Changes that have receipts.
    pub received: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenDrift {
    /// Of `drift.opened`.
    pub index: u64,
    pub since: Timestamp,
    /// The newest statement of it.
    pub drift: Drift,
    /// A person's word on it: `revert`, `adopt`, `ignore`.
    pub answer: Option<(String, u64)>,
    /// Blobs of the bytes found, by address.
    pub kept: BTreeMap<Address, BlobRef>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenIncident {
    pub index: u64,
    pub incident: Incident,
    pub answered: bool,
}

/// A rollback that stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rolled {
    pub index: u64,
    pub rollback: Rollback,
    /// The manifest gone back to.
    pub manifest: BlobRef,
    /// All rendered digests left by rollbacks since the source was followed last: none is taken again.
    pub rejected: BTreeSet<Digest>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredApproval {
    pub index: u64,
    pub digest: Digest,
    pub by: String,
    pub until: Timestamp,
}

/// Leave an address alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leave {
    pub until: Option<Timestamp>,
    pub index: u64,
}

/// The incident of something that runs once and failed; a person says whether it is done, or runs again.
pub const ERRAND: &str = "errand";

fn done_instead(progress: Progress) -> Progress {
    if progress == Progress::Failed { Progress::Done } else { progress }
}

impl StackMemory {
    /// Approvals that are still good.
    pub fn approvals(&self, now: Timestamp) -> Vec<Approval> {
        let good = self.approvals.iter().filter(|approval| approval.until > now);
        good.map(|a| Approval { index: a.index, digest: a.digest, by: a.by.clone(), until: a.until }).collect()
    }

    /// The instant by which it is decided whether something still holds.
    pub fn deciding(&self, now: Timestamp) -> Timestamp {
        now.max(self.latest)
    }

    /// Addresses that a person said to leave alone, now.
    pub fn left_alone(&self, now: Timestamp) -> BTreeSet<Address> {
        let standing = self.ignored.iter().filter(|(_, leave)| leave.until.is_none_or(|until| until > now));
        standing.map(|(address, _)| address.clone()).collect()
    }

    /// Whether nobody wants the stack any more, and what was its own was deleted, given up or taken over: it is past.
    pub fn is_past(&self) -> bool {
        let waits = self.held.is_some() || self.drift.is_some() || !self.incidents.is_empty() || !self.intents.is_empty();
        self.given_up && !waits
    }

    /// The newest verified release to go back to by itself: none that is in place or was left before.
    pub fn fallback(&self, current: &Digest) -> Option<&Release> {
        let left = |desired: &Digest| self.rollback.as_ref().is_some_and(|rolled| rolled.rejected.contains(desired));
        self.releases.iter().rev().find(|release| release.desired != *current && !left(&release.desired))
    }

    /// The newest verified release whose rendered digest is not this one.
    pub fn release_before(&self, current: Option<&Digest>) -> Option<&Release> {
        self.releases.iter().rev().find(|release| Some(&release.desired) != current)
    }
}

impl OpenDrift {
    /// Whether all of these differences were stated already, so that an answer to that statement is one to them.
    pub fn covers(&self, items: &[DriftItem], count: u64) -> bool {
        // Where somebody writes again and again, what exactly is there just now is nothing new.
        let same = |known: &DriftItem, item: &DriftItem| known.found == item.found || item.cause == Cause::Flapping;
        let stated = |item: &DriftItem| self.drift.items.iter().any(|known| known.address == item.address && same(known, item));
        items.len() as u64 == count && items.iter().all(stated)
    }

    /// The word that lets drift be put back, where it was said of no less than this.
    pub fn revert(&self, items: &[DriftItem]) -> Option<u64> {
        let (_, index) = self.answer.as_ref().filter(|(word, _)| word == "revert")?;
        let same = drift_set(items) == self.drift.set;
        (same || self.covers(items, items.len() as u64)).then_some(*index)
    }
}

/// Folds one entry of the stack into what is known of it. Entries come in order; one that is folded already is skipped.
pub fn fold(memory: &mut StackMemory, indexed: &Indexed) {
    let Indexed { index, entry } = indexed;
    if *index < memory.through {
        return;
    }
    memory.through = index + 1;
    memory.latest = memory.latest.max(entry.recorded_at);
    memory.folded += 1;
    if let Some(inventory) = entry.blob("inventory") {
        memory.inventory = Some(*inventory);
    }
    if let Some(observed) = entry.blob("observed") {
        memory.observed = Some((*index, *observed));
    }
    let told = entry.body.get("errands").cloned().map(serde_json::from_value::<Vec<Ran>>);
    for ran in told.and_then(Result::ok).into_iter().flatten() {
        memory.errands.insert(ran.address.clone(), ran);
    }
    // A body of the wrong form was written by another version; `verify` reports it, the fold goes on.
    let _ = fold_kind(memory, *index, entry);
}

fn fold_kind(memory: &mut StackMemory, index: u64, entry: &Entry) -> Option<()> {
    match entry.kind {
        Kind::Intent => {
            let intent: Intent = entry.body().ok()?;
            let plan = entry.blob("plan").copied();
            match &intent.command {
                Some(command) => memory.ran.insert(command.clone()),
                None => std::mem::take(&mut memory.ran).is_empty(),
            };
            if intent.command.is_none() {
                memory.sandbox = intent.sandbox;
                memory.begun = intent.desired.zip(intent.occasion).or(memory.begun);
            }
            let open = OpenIntent { run: entry.run.clone(), revision: entry.revision.clone(), intent, plan, received: 0 };
            memory.intents.insert(index, open);
        }
        Kind::Receipt => {
            let receipt: Receipt = entry.body().ok()?;
            let of = entry.link("receipt-of")?;
            memory.wrote |= receipt.done > 0;
            if memory.intents.get(&of)?.intent.command.is_some() {
                memory.intents.remove(&of);
            } else {
                memory.intents.get_mut(&of)?.received = receipt.so_far;
            }
        }
        Kind::Refusal => {
            let of = entry.link("receipt-of")?;
            if memory.intents.get(&of)?.intent.command.is_some() {
                memory.intents.remove(&of);
            }
        }
        Kind::Verdict => fold_verdict(memory, index, entry)?,
        Kind::Held => {
            let held: Held = entry.body().ok()?;
            memory.held = if held.parts.is_empty() { None } else { Some((index, held)) };
        }
        Kind::Answered => fold_answer(memory, index, entry)?,
        Kind::DriftOpened => {
            let drift: Drift = entry.body().ok()?;
            for item in &drift.items {
                let seen = memory.episodes.entry(item.address.clone()).or_default();
                seen.push(entry.valid_from);
                if seen.len() > REMEMBERED {
                    seen.remove(0);
                }
            }
            memory.drift = Some(OpenDrift { index, since: entry.valid_from, drift, answer: None, kept: kept(entry) });
        }
        Kind::DriftUpdated => {
            let drift: Drift = entry.body().ok()?;
            let open = memory.drift.as_mut()?;
            // An answer was given to what was known then; more drift asks anew.
            if !open.covers(&drift.items, drift.count) {
                open.answer = None;
            }
            open.drift = drift;
            open.kept.extend(kept(entry));
        }
        Kind::DriftClosed => {
            memory.drift = None;
            memory.ignored.retain(|_, leave| leave.until.is_some());
        }
        Kind::IncidentOpened => {
            let incident: Incident = entry.body().ok()?;
            let times = memory.recurrences.entry(incident.kind.clone()).or_default();
            times.push(entry.valid_from);
            if times.len() > REMEMBERED {
                times.remove(0);
            }
            memory.incidents.insert(incident.kind.clone(), OpenIncident { index, incident, answered: false });
        }
        Kind::IncidentClosed => {
            let closes = entry.link("closes")?;
            memory.incidents.retain(|_, open| open.index != closes);
        }
        Kind::Rollback => {
            let rollback: Rollback = entry.body().ok()?;
            let mut rejected = memory.rollback.take().map(|rolled| rolled.rejected).unwrap_or_default();
            rejected.insert(rollback.rejects);
            rejected.remove(&rollback.desired);
            memory.rollback = Some(Rolled { index, rollback, manifest: *entry.blob("desired")?, rejected });
        }
        Kind::Approval => {
            let approved: Approved = entry.body().ok()?;
            let by = entry.actor.id.clone();
            memory.approvals.push(StoredApproval { index, digest: approved.digest, by, until: approved.until });
            if memory.approvals.len() > REMEMBERED {
                memory.approvals.remove(0);
            }
        }
        Kind::Suspend => memory.suspended = Some(index),
        Kind::Resume => {
            memory.rollback = None;
            // The engine ends a rollback when the source moves on; what a person suspended only a person lets go on.
            if entry.actor.kind != "engine" {
                memory.suspended = None;
            }
        }
        Kind::BlindStart => memory.blind = Some(index),
        Kind::BlindEnd => memory.blind = None,
        _ => {}
    }
    Some(())
}

fn kept(entry: &Entry) -> BTreeMap<Address, BlobRef> {
    let notes = entry.blobs.iter();
    notes.filter_map(|note| Some((Address::new(note.role.strip_prefix("kept:")?), note.blob))).collect()
}

fn fold_verdict(memory: &mut StackMemory, index: u64, entry: &Entry) -> Option<()> {
    let verdict: Verdict = entry.body().ok()?;
    if let Some(of) = entry.link("outcome-of") {
        memory.intents.remove(&of);
    }
    memory.owed = match verdict.outcome {
        Outcome::Landed | Outcome::Blocked => false,
        _ if verdict.done > 0 => true,
        _ => memory.owed,
    };
    let in_place = matches!(verdict.outcome, Outcome::Landed) || (verdict.outcome == Outcome::Failed && !verdict.checks.is_empty());
    if in_place && let (Some(desired), Some(manifest)) = (verdict.desired, entry.blob("desired")) {
        let release = Release {
            index,
            desired,
            manifest: *manifest,
            inputs: verdict.inputs,
            revision: entry.revision.clone(),
            at: entry.valid_from,
            verified: verdict.verified,
            deletes: verdict.deletes,
        };
        let goes_on = verdict.done == 0 && memory.landed.as_ref().is_some_and(|landed| landed.desired == desired && !landed.verified);
        memory.unready = match (release.verified, goes_on) {
            (true, _) => None,
            (false, true) => memory.unready.or(Some(entry.valid_from)),
            (false, false) => Some(entry.valid_from),
        };
        if release.verified || planted::has(Bug::UnprovenRelease) {
            memory.releases.retain(|known| known.desired != desired);
            memory.releases.push(release.clone());
            if memory.releases.len() > REMEMBERED {
                memory.releases.remove(0);
            }
        }
        memory.landed = Some(release);
        memory.errands.clear();
        memory.begun = None;
        // A rollback ends when the source's own new wish is in place.
        if memory.rollback.as_ref().is_some_and(|rolled| rolled.rollback.desired != desired && !rolled.rejected.contains(&desired)) {
            memory.rollback = None;
        }
    }
    memory.given_up = gives_up(entry.revision.as_deref(), &verdict);
    memory.last_verdict = Some((index, verdict));
    Some(())
}

/// Whether a verdict ends a stack that nobody wanted: it landed, and was of no revision and towards nothing.
pub(crate) fn gives_up(revision: Option<&str>, verdict: &Verdict) -> bool {
    verdict.outcome == Outcome::Landed && verdict.desired.is_none() && revision.is_none()
}

fn fold_answer(memory: &mut StackMemory, index: u64, entry: &Entry) -> Option<()> {
    let answered: Answered = entry.body().ok()?;
    let item = entry.link("answers")?;
    if let Some(drift) = memory.drift.as_mut().filter(|drift| drift.index == item) {
        drift.answer = Some((answered.word.clone(), index));
        let drifted = drift.drift.items.iter().map(|drifted| &drifted.address);
        match answered.word.as_str() {
            "ignore" | "adopt" => {
                let leave = Leave { until: answered.until, index };
                memory.ignored.extend(drifted.map(|address| (address.clone(), leave.clone())));
            }
            // Who left it alone before has changed their mind.
            _ => memory.ignored.retain(|address, _| !drifted.clone().any(|left| left == address)),
        }
        return Some(());
    }
    if let Some(open) = memory.incidents.values_mut().find(|open| open.index == item) {
        open.answered = true;
        if open.incident.kind == ERRAND {
            match answered.word.as_str() {
                "not-done" => memory.errands.retain(|_, ran| ran.progress != Progress::Failed),
                _ => memory.errands.values_mut().for_each(|ran| ran.progress = done_instead(ran.progress)),
            }
        }
        return Some(());
    }
    if let Some(command) = memory.intents.get(&item).and_then(|open| open.intent.command.clone()) {
        memory.intents.remove(&item);
        if answered.word == "not-done" {
            memory.ran.remove(&command);
            memory.owed = true;
        }
        return Some(());
    }
    if memory.held.as_ref().is_some_and(|(held, _)| *held == item) {
        match answered.word.as_str() {
            "delete" | "forget" => memory.orphan_word = Some((answered.word, index)),
            "take-over" | "revert" => {
                // The same yes as an approval of each part that was held.
                let digests: Vec<Digest> = memory.held.as_ref()?.1.parts.iter().map(|part| part.digest).collect();
                let until = answered.until.unwrap_or(Timestamp(i64::MAX));
                let by = entry.actor.id.clone();
                memory.approvals.extend(digests.into_iter().map(|digest| StoredApproval { index, digest, by: by.clone(), until }));
            }
            _ => {}
        }
    }
    Some(())
}
