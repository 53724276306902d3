//! Writing down what a look and a plan found: drift, holds, blindness, incidents. One append, nothing when nothing is new.

use std::collections::BTreeMap;

use trued_doors::{Answer, Asked, Kept};
use trued_engine::history::witness_words;
use trued_engine::planted::{self, Bug};
use trued_engine::{Event, drift_set};
use trued_model::body::{Blind, Cause, Closed, Drift, DriftItem, Held, HeldPart, LISTED, Said};
use trued_model::{Address, BlobRef, Code, Draft, DriftPolicy, Extent, Finding, Kind, Refusal, Seen};

use super::Walk;
use crate::incidents::{self, Trouble};
use crate::record::{Drafting, draft};
use crate::runtime::blocking;

/// Texts up to this size are compared to find the first line that differs.
const COMPARED: u64 = 1 << 20;

impl Walk<'_> {
    pub(super) async fn note(&mut self) -> Result<Event, Refusal> {
        let now = self.now();
        let id = self.stack.id.clone();
        let mut drafts = Vec::new();
        drafts.extend(incidents::close(&self.memory, &id, now, "render", "recovered"));
        drafts.extend(incidents::close(&self.memory, &id, now, "panic", "recovered"));
        self.note_blindness(&mut drafts);
        self.note_rollback(&mut drafts);
        self.note_drift(&mut drafts).await?;
        self.note_holds(&mut drafts);
        self.note_health(&mut drafts);
        self.note_errands(&mut drafts);
        if let Some(closed) = incidents::close(&self.memory, &id, now, "unexplained", "answered") {
            drafts.push(closed);
        }
        if !drafts.is_empty() {
            self.runtime.flush().await?;
            self.runtime.record(self.cell, drafts, None).await?;
            self.memory = self.cell.memory(self.runtime).await?;
        }
        if self.observed.extent == Extent::Complete {
            self.cell.kept().look = Some(self.observed.at);
        }
        Ok(Event::Done)
    }

    /// A render that failed: said once, and the last good state stays.
    pub(super) async fn does_not_render(&mut self, findings: Vec<Finding>) -> Result<(), Refusal> {
        let message = match findings.split_first() {
            Some((first, [])) => first.to_string(),
            Some((first, rest)) => format!("{first} (and {} more)", rest.len()),
            None => "does not render".to_owned(),
        };
        self.report.findings.extend(findings);
        if !self.aim.writes {
            return Ok(());
        }
        let trouble = Trouble { kind: "render", message, next: "correct the source; the last good state stays", words: &[] };
        let opened = incidents::open(&self.memory, &self.stack.id, self.now(), trouble);
        self.runtime.record(self.cell, opened.into_iter().collect(), None).await?;
        Ok(())
    }

    /// The target as a whole cannot be seen, or can again.
    fn note_blindness(&self, drafts: &mut Vec<Draft>) {
        let (id, now) = (&self.stack.id, self.now());
        match (&self.observed.extent, self.memory.blind) {
            (Extent::Unknown(why), None) => {
                let body = Blind { why: why.clone(), last_seen: self.cell.kept().look };
                drafts.push(draft(Kind::BlindStart, Some(id), now, "observation", &body));
                let next = "bring the target back; nothing is changed or deleted meanwhile";
                let trouble = Trouble { kind: "unseen", message: why.clone(), next, words: &[] };
                drafts.extend(incidents::open(&self.memory, id, now, trouble));
            }
            (Extent::Complete | Extent::Partial(_), Some(start)) => {
                let body = Blind { why: "seen again".to_owned(), last_seen: None };
                drafts.push(draft(Kind::BlindEnd, Some(id), now, "observation", &body).link("closes", Some(start)));
                drafts.extend(incidents::close(&self.memory, id, now, "unseen", "recovered"));
            }
            _ => {}
        }
    }

    /// A rollback ends when the source wants something else than what was left.
    fn note_rollback(&self, drafts: &mut Vec<Draft>) {
        let Some(rolled) = &self.memory.rollback else { return };
        if self.wish == trued_engine::Wish::Source && !self.orphan {
            let said = Said { reason: "the source wants something else now".to_owned() };
            drafts.push(draft(Kind::Resume, Some(&self.stack.id), self.now(), "source", &said).link("closes", Some(rolled.index)));
        }
    }

    async fn note_drift(&mut self, drafts: &mut Vec<Draft>) -> Answer<()> {
        let mut items = self.assessment.drift.clone();
        let open = self.memory.drift.clone();
        // What drifted and cannot be seen now has not changed as far as anybody knows: the statement stands.
        let out_of_sight = |item: &&DriftItem| !self.observed.get(&item.address).decided();
        let unseen: Vec<DriftItem> = open.iter().flat_map(|open| &open.drift.items).filter(out_of_sight).cloned().collect();
        if open.as_ref().is_some_and(|open| open.drift.count > LISTED as u64) && self.observed.extent != Extent::Complete {
            return Ok(());
        }
        items.extend(unseen);
        let set = drift_set(&items);
        if items.is_empty() {
            if let Some(open) = open
                && self.observed.extent == Extent::Complete
            {
                let adopted = open.drift.items.iter().all(|item| self.observed.get(&item.address).fingerprint() == item.found.as_ref());
                let how = if adopted { "adopted" } else { "gone" };
                drafts.extend(self.drift_closed(open.index, how));
            }
            return Ok(());
        }
        if let Some(open) = &open {
            for (address, blob) in &open.kept {
                // Only the bytes that were found then; what was written over them since is kept anew.
                let stated = open.drift.items.iter().find(|item| item.address == *address).and_then(|item| item.found.as_ref());
                if let Some(found) = self.observed.get(address).fingerprint().filter(|found| Some(*found) == stated) {
                    self.kept.insert(address.clone(), Kept { fingerprint: found.clone(), content: Some(*blob) });
                }
            }
            // Whoever writes again and again gets no entry for each time: one statement stands for all of it.
            let same = open.drift.set == set || (fights(&open.drift.items) && fights(&items) && open.covers(&items, open.drift.count));
            if same && !self.better_known(&open.drift.items).await {
                return Ok(());
            }
        }
        for item in items.iter().filter(|item| item.found.is_some()) {
            self.keep_bytes(&item.address).await?;
        }
        for item in items.iter_mut().take(LISTED) {
            item.line = self.first_difference(item);
            self.ask_who(item).await;
        }
        let count = items.len() as u64;
        let first = items.iter().map(|item| item.since).min().unwrap_or(self.observed.at);
        items.truncate(LISTED);
        let body = Drift {
            policy: self.stack.policy.drift,
            count,
            unchanged_until: self.cell.kept().look,
            set,
            next: self.drift_next(&items).to_owned(),
            items,
        };
        if let Some(fought) = body.items.iter().find(|item| item.cause == Cause::Flapping) {
            drafts.extend(self.fight(fought));
        }
        let kind = if open.is_some() { Kind::DriftUpdated } else { Kind::DriftOpened };
        let observed = self.runtime.store_manifest(&self.seen_manifest())?;
        let valid_from = if open.is_some() { self.observed.at } else { first };
        let mut opened = draft(kind, Some(&self.stack.id), valid_from, "observation", &body)
            .revision(self.report.revision.clone())
            .link("caused-by", open.map(|open| open.index))
            .blob("observed", Some(observed));
        opened.actor = trued_model::Actor {
            kind: "outside".to_owned(),
            id: outside(&body.items),
            // As good as the weakest: one name that is known does not make the others known.
            evidence: body.items.iter().filter_map(|item| item.evidence.grade.clone()).max().unwrap_or_else(|| "none".to_owned()),
        };
        for (address, kept) in self.kept.iter().take(LISTED) {
            opened = opened.blob(&format!("kept:{address}"), kept.content);
        }
        drafts.push(opened);
        Ok(())
    }

    /// Asks the target who did it, as long as it can still tell.
    async fn ask_who(&self, item: &mut DriftItem) {
        if let Some(link) = &self.link
            && let Some(evidence) = link.witness(&item.address).await
        {
            item.evidence = evidence;
        }
    }

    /// Whether somebody who saw it has come forward since: an audit log tells later than a watch.
    async fn better_known(&self, stated: &[DriftItem]) -> bool {
        const ASKED: usize = 8;
        let Some(link) = &self.link else { return false };
        let weak = |item: &&DriftItem| item.evidence.grade.as_deref().is_none_or(|grade| grade > "A-");
        for item in stated.iter().filter(weak).take(ASKED) {
            if link.testimony(&item.address).is_some_and(|evidence| evidence.grade < item.evidence.grade) {
                return true;
            }
        }
        false
    }

    /// Says that something else undoes what we do, and who, where that is known.
    fn fight(&self, item: &DriftItem) -> Option<Draft> {
        let who = witness_words(&item.evidence).unwrap_or_else(|| "somebody who is not known".to_owned());
        let message = format!("{} was put back again and again, and is changed each time by {who}", item.address);
        let next = "stop what writes there, then answer the drift: revert, adopt, or ignore";
        incidents::open(&self.memory, &self.stack.id, self.now(), Trouble { kind: "flapping", message, next, words: &[] })
    }

    fn drift_next(&self, items: &[DriftItem]) -> &'static str {
        match self.stack.policy.drift {
            DriftPolicy::Revert if fights(items) => "put back again and again: held; trued answer #N revert, adopt, or ignore",
            DriftPolicy::Revert => "it is put back",
            DriftPolicy::Alert => "left alone; trued answer #N revert, adopt, or ignore",
            DriftPolicy::Hold => "held; trued answer #N revert, adopt, or ignore",
        }
    }

    /// Closes a drift episode, and asks for a reason where the environment wants one.
    pub(super) fn drift_closed(&self, index: u64, how: &str) -> Vec<Draft> {
        let (id, now) = (&self.stack.id, self.now());
        let closed = draft(Kind::DriftClosed, Some(id), now, "observation", &Closed { how: how.to_owned() }).link("closes", Some(index));
        let mut drafts = vec![closed];
        drafts.extend(incidents::close(&self.memory, id, now, "flapping", how));
        let answered = self.memory.drift.as_ref().is_some_and(|drift| drift.answer.is_some());
        if self.stack.policy.explain && !answered {
            let trouble = Trouble {
                kind: "unexplained",
                message: format!("a change from outside (#{index}) was not made through the repository: why?"),
                next: "trued answer #N accept --reason TEXT",
                words: &["accept"],
            };
            drafts.extend(incidents::open(&self.memory, id, now, trouble).map(|draft| draft.link("caused-by", Some(index))));
        }
        drafts
    }

    /// Puts what is at an address into the blob store, once: before anything of ours goes over it.
    pub(super) async fn keep_bytes(&mut self, address: &Address) -> Answer<()> {
        let Seen::Present(state) = self.observed.get(address) else { return Ok(()) };
        if planted::has(Bug::KeepNothing) || self.kept.get(address).is_some_and(|kept| kept.fingerprint == state.fingerprint) {
            return Ok(());
        }
        let Some(link) = self.link.clone() else { return Ok(()) };
        let content = |blob: Option<BlobRef>| blob.is_some_and(|blob| blob.sealed);
        let sealed = content(self.inventory.items.get(address).and_then(|item| item.content))
            || content(self.desired.all_at(address).and_then(|resource| resource.content));
        let compared = if self.facts.compares { self.compared(address) } else { Vec::new() };
        match link.keep(&Asked { compared, ..Asked::new(address.clone(), sealed).like([&state.fingerprint]) }).await {
            Ok(kept) if kept.fingerprint == state.fingerprint => {
                self.kept.insert(address.clone(), kept);
                Ok(())
            }
            Ok(_) => Err(Refusal::new(Code::Changed, format!("{address} changed while it was looked at"))),
            Err(refusal) if refusal.code == Code::Absent => {
                Err(Refusal::new(Code::Changed, format!("{address} went while it was looked at")))
            }
            // What has no bytes to keep (a socket, a device) is named by its fingerprint.
            Err(refusal) if refusal.code == Code::Unsupported => Ok(()),
            Err(refusal) => Err(refusal),
        }
    }

    /// The first line in which the bytes found differ from the bytes we made.
    fn first_difference(&self, item: &DriftItem) -> Option<u32> {
        let made = self.inventory.items.get(&item.address)?.content?;
        let found = self.kept.get(&item.address)?.content?;
        if made.digest == found.digest || made.sealed || found.sealed || made.bytes.max(found.bytes) > COMPARED {
            return None;
        }
        let read =
            |blob: &BlobRef| blocking(|| self.runtime.doors.blobs.get(&blob.digest)).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let (made, found) = (read(&made)?, read(&found)?);
        let same = made.lines().zip(found.lines()).take_while(|(made, found)| made == found).count();
        u32::try_from(same + 1).ok()
    }

    /// States what is held, when that is another set than was stated last.
    fn note_holds(&mut self, drafts: &mut Vec<Draft>) {
        let Some((plan, decision)) = &self.plan else { return };
        let parts: Vec<HeldPart> = decision
            .held
            .iter()
            .map(|part| HeldPart {
                kind: part.kind,
                digest: part.digest,
                count: part.changes.len() as u64,
                addresses: part.changes.iter().take(LISTED).map(|index| plan.changes[*index].address.clone()).collect(),
                why: part.why.clone(),
                next: part.next.clone(),
            })
            .collect();
        let digests = |parts: &[HeldPart]| parts.iter().map(|part| (part.kind, part.digest)).collect::<BTreeMap<_, _>>();
        let before = self.memory.held.as_ref().map(|(_, held)| digests(&held.parts)).unwrap_or_default();
        if before == digests(&parts) {
            return;
        }
        let mut held = draft(Kind::Held, Some(&self.stack.id), self.now(), self.cause, &Held { plan: decision.plan, parts });
        held = held.revision(self.report.revision.clone());
        drafts.push(held);
    }
}

fn outside(items: &[DriftItem]) -> String {
    let named: std::collections::BTreeSet<&str> = items.iter().filter_map(|item| item.evidence.by.as_deref()).collect();
    match named.len() {
        0 => "unknown".to_owned(),
        _ => named.into_iter().collect::<Vec<_>>().join(", "),
    }
}

/// Tells a fight from an edit, for reports.
fn fights(items: &[DriftItem]) -> bool {
    items.iter().any(|item| item.cause == Cause::Flapping)
}
