//! Acting: bytes on record, the written intent, batches with their receipts, and looking again where nothing confirms.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use futures::StreamExt;
use trued_doors::{Asked, Done, Kept, Order};
use trued_engine::Event;
use trued_engine::planted::{self, Bug};
use trued_model::body::{Intent, LISTED, Landed, Receipt, Refused, RefusedItem};
use trued_model::{BlobRef, Change, Code, Duration, Item, Kind, Manifest, Plan, Refusal, Seen, canonical};

use super::inventory::{disown_what_went, in_place, own};
use super::{BATCH, Walk};
use crate::Counters;
use crate::record::{Drafting, draft};
use crate::runtime::blocking_on;

/// How long a target may take over one batch.
const BATCH_DEADLINE: Duration = Duration::from_secs(120);

/// How a batch came to its end.
#[derive(Clone, Copy)]
enum Ended {
    InTime,
    TooLate,
    /// The lease ran out before all was done.
    WithoutLease,
}

impl Walk<'_> {
    /// Stores every byte that is about to go and is not ours.
    pub(super) async fn keep(&mut self) -> Result<Event, Refusal> {
        let going: Vec<Change> = self.writes.iter().filter(|change| change.keep).cloned().collect();
        for change in going {
            self.keep_bytes(&change.address).await?;
        }
        Ok(Event::Done)
    }

    /// Writes the will to act: plan and bytes durable first, then the entry, then nothing but acting.
    pub(super) async fn intend(&mut self) -> Result<Event, Refusal> {
        let link = self.runtime.link(&self.stack.id.target).await?;
        let epoch = self.runtime.lease(self.cell, link.as_ref()).await?;
        self.epoch = Some(epoch);
        let writes = std::mem::take(&mut self.writes);
        let stored = self.store_contents(&writes);
        self.writes = writes;
        stored?;
        let Some((plan, decision)) = &self.plan else { return Err(Refusal::new(Code::Broken, "no plan to act on")) };
        let free = Plan { changes: self.writes.clone(), ..plan.clone() };
        let part = free.digest();
        let kept: BTreeMap<_, _> =
            self.writes.iter().filter_map(|change| Some((change.address.clone(), self.kept.get(&change.address)?.clone()))).collect();
        let (plan_blob, kept_blob) = blocking_on(self.writes.iter().map(|_| 0), || {
            let plan_blob = self.runtime.doors.blobs.put(&canonical(&free))?;
            let kept_blob = if kept.is_empty() { None } else { Some(self.runtime.store_manifest(&as_manifest(&kept))?) };
            Ok::<_, Refusal>((plan_blob, kept_blob))
        })?;
        self.runtime.flush().await?;
        let body = Intent {
            plan: decision.plan,
            part,
            changes: self.writes.len() as u64,
            epoch,
            command: None,
            desired: self.wanted.as_ref().map(|wanted| wanted.digest),
            sandbox: self.wanted.as_ref().and_then(|wanted| wanted.sandbox),
            tools: self.wanted.as_ref().map(|wanted| wanted.tools.clone()).unwrap_or_default(),
            occasion: self.course.occasion,
        };
        let mut intent = draft(Kind::Intent, Some(&self.stack.id), self.now(), self.why_now(), &body)
            .run(&self.run)
            .revision(self.report.revision.clone())
            .blob("plan", Some(plan_blob))
            .blob("kept", kept_blob);
        for approval in &decision.approvals {
            intent = intent.link("authorised-by", Some(*approval));
        }
        for (address, kept) in kept.iter().take(LISTED) {
            intent = intent.blob(&format!("kept:{address}"), kept.content);
        }
        let placed = self.runtime.record(self.cell, vec![intent], self.runtime.fence(self.cell, epoch)).await?;
        self.intent = placed.first().map(|indexed| indexed.index);
        // As it is after the entry: the first of a record gives it the name that marks carry.
        self.link = Some(self.runtime.link(&self.stack.id.target).await?);
        Ok(Event::Done)
    }

    /// What set this run going: drift where that is all there is to do, otherwise what the walk began with.
    fn why_now(&self) -> &'static str {
        use trued_model::Reason::{ChangedOutside, RemovedOutside};
        let outside = |change: &Change| change.reasons.iter().all(|reason| matches!(reason, ChangedOutside | RemovedOutside));
        if self.cause == "source" && !self.writes.is_empty() && self.writes.iter().all(outside) { "drift" } else { self.cause }
    }

    /// Puts the bytes of changes into the blob store, those that are not there yet.
    pub(super) fn store_contents(&self, changes: &[Change]) -> Result<(), Refusal> {
        let Some(wanted) = &self.wanted else { return Ok(()) };
        let contents = || changes.iter().filter_map(|change| change.content);
        blocking_on(contents().map(|content| content.bytes), || {
            for content in contents() {
                if !self.runtime.doors.blobs.has(&content.digest) {
                    let mut from = wanted.contents.open(&content)?;
                    self.runtime.doors.blobs.put_stream(&content, &mut from)?;
                }
            }
            Ok(())
        })
    }

    /// Hands one batch to the driver and takes its answers.
    pub(super) async fn apply(&mut self, batch: u32) -> Result<Event, Refusal> {
        let link = self.runtime.link(&self.stack.id.target).await?;
        let changes: Vec<Change> = self.batch(batch).to_vec();
        let epoch = match self.epoch {
            Some(epoch) => epoch,
            None => self.runtime.lease(self.cell, link.as_ref()).await?,
        };
        self.epoch = Some(epoch);
        let order = Order {
            stack: self.stack.id.clone(),
            epoch,
            key: format!("{}/{batch}", self.run),
            changes: changes.clone(),
            deadline: BATCH_DEADLINE,
        };
        let mut answers: Vec<Option<Result<Option<trued_model::Fingerprint>, Refusal>>> = changes.iter().map(|_| None).collect();
        let mut stream = link.apply(order);
        let taking = async {
            while let Some(Done { change, result }) = stream.next().await {
                if let Some(place) = answers.get_mut(change) {
                    *place = Some(result);
                }
            }
        };
        // Nobody else acts before the lease has run out, and nothing is asked of the target after.
        let ended = tokio::select! {
            biased;
            () = self.runtime.lease_over(self.cell) => Ended::WithoutLease,
            taken = tokio::time::timeout(BATCH_DEADLINE.to_std(), taking) => taken.map_or(Ended::TooLate, |()| Ended::InTime),
        };
        drop(stream);
        let unknown: Vec<&Change> = changes.iter().zip(&answers).filter(|(_, answer)| !decided(answer)).map(|(change, _)| change).collect();
        let looked = if unknown.is_empty() { BTreeMap::new() } else { self.look_again(&unknown).await };
        let (clear, unclear): (Vec<_>, Vec<_>) = changes.iter().zip(answers).partition(|(_, answer)| decided(answer));
        for (change, answer) in clear {
            self.take_answer(change, answer.unwrap_or_else(|| Err(Refusal::new(Code::Unknown, "no answer"))));
        }
        // What is there now may be told by what was made after it.
        for (change, answer) in unclear {
            let seen = |address: &trued_model::Address| looked.get(address).cloned().unwrap_or_else(|| self.observed.get(address));
            let made = looked.contains_key(&change.address) && in_place(change, &changes, self.facts.nested, &seen);
            disown_what_went(Arc::make_mut(&mut self.inventory), change, &seen(&change.address));
            let answer = if made { Ok(change.after.clone()) } else { Err(no_answer(answer, ended)) };
            self.take_answer(change, answer);
        }
        Ok(Event::Applied { refused: !self.refused.is_empty() })
    }

    fn take_answer(&mut self, change: &Change, answer: Result<Option<trued_model::Fingerprint>, Refusal>) {
        match answer {
            Ok(after) if after == change.after => self.land(change),
            Ok(_) => self.refuse(change, &Refusal::new(Code::Broken, "the driver says it made something else than was asked")),
            Err(refusal) => self.refuse(change, &refusal),
        }
    }

    fn batch(&self, batch: u32) -> &[Change] {
        self.batches.get(batch as usize).and_then(|range| self.writes.get(range.clone())).unwrap_or_default()
    }

    /// Whether what was refused ends the run here: an errand comes next, or was it.
    fn ends_here(&self, batch: u32) -> bool {
        let once = |batch: u32| self.batch(batch).iter().any(|change| change.turn.is_some());
        !self.refused.is_empty() && (once(batch) || once(batch + 1))
    }

    /// A reply that was lost, or none: looks before anything is decided.
    async fn look_again(&self, changes: &[&Change]) -> BTreeMap<trued_model::Address, Seen> {
        let asked = changes.iter().map(|change| self.asked(change, change.content.is_some_and(|content| content.sealed)));
        match self.see(asked.collect()).await {
            Ok(observation) => changes.iter().map(|change| (change.address.clone(), observation.get(&change.address))).collect(),
            Err(_) => BTreeMap::new(),
        }
    }

    fn land(&mut self, change: &Change) {
        own(Arc::make_mut(&mut self.inventory), change);
        let landed =
            Landed { address: change.address.clone(), action: change.action, before: change.before.clone(), after: change.after.clone() };
        self.batch_landed.push(landed);
        self.report.written += 1;
        Counters::add(&self.runtime.counters.target_writes, 1);
        let seen = match &change.after {
            None => Seen::Absent,
            Some(after) => Seen::Present(trued_model::State {
                fingerprint: after.clone(),
                bytes: change.content.map_or(0, |content| content.bytes),
                uid: change.uid.clone(),
                evidence: Arc::default(),
            }),
        };
        self.observed.seen.insert(change.address.clone(), seen);
    }

    fn refuse(&mut self, change: &Change, refusal: &Refusal) {
        if refusal.code == Code::Fenced {
            self.fenced = true;
            self.runtime.lost(self.cell, refusal);
        }
        if refusal.code == Code::Changed {
            // It is not as it was seen.
            self.cell.kept().whole_look = None;
        }
        // What it needs may be brought by another stack.
        let lacks = refusal.code == Code::Absent && change.action == trued_model::Action::Create;
        self.lacks = lacks && (self.refused.is_empty() || self.lacks);
        let Refusal { code, message, help, .. } = refusal.clone();
        let item = RefusedItem { address: change.address.clone(), code, message, next: help };
        self.refused.push(item.clone());
        self.batch_refused.push(item);
    }

    /// Writes what happened to the batch.
    pub(super) async fn receipt(&mut self, batch: u32) -> Result<Event, Refusal> {
        if planted::has(Bug::ReceiptFirst) {
            self.batch(batch).to_vec().iter().for_each(|change| self.land(change));
        }
        let landed = std::mem::take(&mut self.batch_landed);
        let refused = std::mem::take(&mut self.batch_refused);
        let of = self.writes.len() as u64;
        self.landed.extend(landed.iter().cloned());
        let changes: Option<BlobRef> = match landed.is_empty() {
            true => None,
            false => Some(self.runtime.put_durably(&canonical(&landed)).await?),
        };
        let there = |change: &&Change| landed.iter().any(|landed| landed.address == change.address);
        let errands: Vec<_> =
            self.batch(batch).iter().filter(|change| change.turn.is_some()).filter(there).filter_map(|change| self.begun(change)).collect();
        if let Some(ran) = errands.iter().find(|ran| ran.progress == trued_model::Progress::Begun) {
            self.awaits = format!("{}: it runs", ran.words());
            self.report.waiting = Some(self.awaits.clone());
        }
        let receipt =
            Receipt { batch: u64::from(batch) + 1, done: landed.len() as u64, so_far: self.landed.len() as u64, of, exit: None, errands };
        let id = &self.stack.id;
        let mut drafts = vec![
            draft(Kind::Receipt, Some(id), self.now(), self.cause, &receipt)
                .run(&self.run)
                .revision(self.report.revision.clone())
                .link("receipt-of", self.intent)
                .blob("changes", changes),
        ];
        if !refused.is_empty() {
            let body = Refused { count: refused.len() as u64, items: refused.into_iter().take(LISTED).collect() };
            drafts.push(
                draft(Kind::Refusal, Some(id), self.now(), self.cause, &body)
                    .run(&self.run)
                    .revision(self.report.revision.clone())
                    .link("receipt-of", self.intent),
            );
        }
        let fence = self.epoch.filter(|_| !self.fenced).and_then(|epoch| self.runtime.fence(self.cell, epoch));
        self.runtime.record(self.cell, drafts, fence).await?;
        if self.fenced || self.refused.iter().any(|item| matches!(item.code, Code::Full | Code::Broken)) {
            return Ok(Event::Failed);
        }
        let more = !self.batch(batch + 1).is_empty();
        let newer = more && (self.cell.kept().newer || self.runtime.state().stopping);
        Ok(Event::Received { newer, refused: !self.refused.is_empty(), ends: self.ends_here(batch) })
    }

    /// Looks at what was touched, where the target's receipts do not say what is there now.
    pub(super) async fn confirm(&mut self) -> Result<Event, Refusal> {
        let touched: Vec<Asked> =
            self.writes.iter().map(|change| self.asked(change, change.content.is_some_and(|content| content.sealed))).collect();
        let observation = self.see(touched).await?;
        for change in &self.writes {
            self.observed.seen.insert(change.address.clone(), observation.get(&change.address));
        }
        let seen = |address: &trued_model::Address| observation.get(address);
        let settled = self.writes.iter().all(|change| in_place(change, &self.writes, self.facts.nested, &seen));
        if !settled && !planted::has(Bug::StaleView) {
            return Err(Refusal::new(Code::Changed, "what was made is no longer there").help("the next wake looks again"));
        }
        Ok(Event::Done)
    }
}

/// How changes are handed over: at most [`BATCH`] at once, and what runs once by itself, so that nothing goes beside it.
pub(super) fn batches(writes: &[Change]) -> Vec<Range<usize>> {
    let mut all: Vec<Range<usize>> = Vec::new();
    for (at, change) in writes.iter().enumerate() {
        let apart = change.turn.is_some() || at.checked_sub(1).is_some_and(|before| writes[before].turn.is_some());
        match all.last_mut().filter(|last| !apart && last.len() < BATCH) {
            Some(last) => last.end = at + 1,
            None => all.push(at..at + 1),
        }
    }
    all
}

fn as_manifest(kept: &BTreeMap<trued_model::Address, Kept>) -> Manifest {
    Manifest {
        items: kept
            .iter()
            .map(|(address, kept)| (address.clone(), Item { fingerprint: kept.fingerprint.clone(), content: kept.content, errand: false }))
            .collect(),
    }
}

/// Whether an answer says what happened. A lost connection or a deadline does not.
fn decided(answer: &Option<Result<Option<trued_model::Fingerprint>, Refusal>>) -> bool {
    match answer {
        None => false,
        Some(Ok(_)) => true,
        Some(Err(refusal)) => !matches!(refusal.code, Code::Unknown | Code::TimedOut | Code::Unreachable),
    }
}

/// Why a change that is not in place was not made.
fn no_answer(answer: Option<Result<Option<trued_model::Fingerprint>, Refusal>>, ended: Ended) -> Refusal {
    match (answer, ended) {
        (Some(Err(refusal)), _) => refusal,
        (_, Ended::TooLate) => Refusal::new(Code::TimedOut, "no answer before the deadline"),
        (_, Ended::WithoutLease) => {
            Refusal::new(Code::Fenced, "broken off: the lease could not be renewed, so another process may act now")
        }
        (_, Ended::InTime) => Refusal::new(Code::Unknown, "no answer; it is not in place"),
    }
}
