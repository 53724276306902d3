//! What people say: approve, answer, adopt, suspend, resume, roll back. Each is one entry with its actor; what it means
//! is the engine's.

use serde::Serialize;
use trued_doors::{Answer as Answered, Query};
use trued_model::body::{self, Approved, Held, Incident, Intent, Rollback, Said};
use trued_model::{Actor, Address, Code, Digest, Draft, Duration, HoldKind, Indexed, Kind, Refusal, StackId, Timestamp};

use crate::record::{Drafting, draft};
use crate::report::Report;
use crate::runtime::{Runtime, blocking};

/// How many statements of held parts are searched for a digest, newest first.
const SEARCHED: usize = 2000;

/// A person's word on an item.
#[derive(Clone, Debug)]
pub struct Word {
    pub item: u64,
    pub word: String,
    pub until: Option<Timestamp>,
    pub reason: String,
}

/// What became of a word: where it stands, and for which stack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answer {
    pub index: u64,
    pub stack: Option<StackId>,
    /// Whether it was said before and still stands: then nothing new is on record.
    pub already: bool,
}

/// Bytes from outside as a patch for the repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Adopted {
    pub index: u64,
    pub stack: StackId,
    /// A unified diff, paths from the source's root.
    pub patch: String,
    /// Addresses that cannot stand in a patch, with the reason.
    pub left_out: Vec<(Address, String)>,
}

/// How an item stands that a person may say a word on.
enum Standing {
    Open,
    /// It has this word, said at this entry, and nothing new since.
    Answered(String, u64),
    /// Why no word does anything any more.
    Closed(&'static str),
}

impl Runtime {
    /// Says yes to a digest: one on record, or one that `planned` gives now. A plan's digest approves all its held parts.
    pub async fn approve(
        &self,
        typed: &str,
        term: Duration,
        reason: &str,
        actor: &Actor,
        planned: Option<&Report>,
    ) -> Answered<Vec<Answer>> {
        let on_record = self.held_on_record(typed).await?;
        let found = match (on_record.is_empty(), planned) {
            (true, Some(planned)) => held_now(planned, typed),
            _ => on_record,
        };
        let mut stacks: Vec<&StackId> = found.iter().map(|(stack, ..)| stack).collect();
        stacks.dedup();
        if stacks.len() > 1 {
            return Err(Refusal::new(Code::Invalid, format!("{typed} begins more than one digest")).help("type more of it"));
        }
        let Some((stack, ..)) = found.first() else {
            let help = "take the digest from trued plan or trued incidents";
            return Err(Refusal::new(Code::Absent, format!("nothing that is held has the digest {typed}")).help(help));
        };
        let stack = stack.clone();
        if let Some((_, _, kind)) =
            found.iter().find(|(_, _, kind)| !kind.approvable()).filter(|_| found.iter().all(|(_, _, kind)| !kind.approvable()))
        {
            return Err(Refusal::new(Code::Invalid, format!("what is held as {} cannot be approved", kind.word()))
                .help("trued incidents says what ends it"));
        }
        let now = self.cell(&stack).memory(self).await?.deciding(self.doors.clock.now());
        let approvable = found.into_iter().filter(|(_, _, kind)| kind.approvable());
        let drafts = approvable.map(|(_, digest, _)| {
            let approved = Approved { digest, until: now + term, reason: reason.to_owned() };
            draft(Kind::Approval, Some(&stack), now, "person", &approved).by(actor.clone())
        });
        self.said(drafts.collect()).await
    }

    async fn held_on_record(&self, typed: &str) -> Answered<Vec<(StackId, Digest, HoldKind)>> {
        let query = Query { kinds: vec![Kind::Held], limit: Some(SEARCHED), ..Query::default() };
        for Indexed { entry, .. } in self.doors.store.find(query).await? {
            let (Some(stack), Ok(held)) = (entry.stack.clone(), entry.body::<Held>()) else { continue };
            let whole = held.plan.matches(typed);
            let parts = held.parts.iter().filter(|part| whole || part.digest.matches(typed));
            let found: Vec<_> = parts.map(|part| (stack.clone(), part.digest, part.kind)).collect();
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Ok(Vec::new())
    }

    /// Answers an item with one of the words it offers.
    pub async fn answer(&self, word: &Word, actor: &Actor) -> Answered<Answer> {
        let Indexed { entry, index } = self.entry(word.item).await?;
        let offered = offered(&entry);
        if offered.is_empty() {
            return Err(Refusal::new(Code::Invalid, format!("#{index} ({}) asks for no answer", entry.kind))
                .help("trued incidents lists what does"));
        }
        if !offered.iter().any(|known| known == &word.word) {
            let words = offered.join(", ");
            return Err(
                Refusal::new(Code::Invalid, format!("#{index} does not take the word {}", word.word)).help(format!("it takes {words}"))
            );
        }
        let item = match entry.kind {
            Kind::DriftUpdated => entry.link("caused-by").unwrap_or(index),
            _ => index,
        };
        match self.standing(&entry, item).await? {
            Standing::Closed(how) if word.word != "adopt" => {
                let help = "trued incidents lists what is open";
                return Err(Refusal::new(Code::Invalid, format!("#{item} {how}: there is nothing left to answer")).help(help));
            }
            Standing::Answered(said, at) if said == word.word && word.until.is_none() => {
                return Ok(Answer { index: at, stack: entry.stack, already: true });
            }
            _ => {}
        }
        let body = body::Answered { word: word.word.clone(), until: word.until, reason: word.reason.clone() };
        let said = draft(Kind::Answered, entry.stack.as_ref(), self.doors.clock.now(), "answer", &body);
        let mut placed = self.said(vec![said.by(actor.clone()).link("answers", Some(item))]).await?;
        placed.pop().ok_or_else(|| Refusal::new(Code::Broken, "the answer was not placed"))
    }

    /// Whether an item still waits for a word, and which it has.
    async fn standing(&self, entry: &trued_model::Entry, item: u64) -> Answered<Standing> {
        let Some(stack) = &entry.stack else { return self.standing_of_none(item).await };
        let memory = self.cell(stack).memory(self).await?;
        Ok(match entry.kind {
            Kind::DriftOpened | Kind::DriftUpdated => match memory.drift.as_ref().filter(|open| open.index == item) {
                Some(open) => open.answer.clone().map_or(Standing::Open, |(word, at)| Standing::Answered(word, at)),
                None => Standing::Closed("is closed"),
            },
            Kind::IncidentOpened if memory.incidents.values().all(|open| open.index != item) => Standing::Closed("is closed"),
            Kind::Intent if !memory.intents.contains_key(&item) => Standing::Closed("has its end"),
            Kind::Held if memory.held.as_ref().is_none_or(|(held, _)| *held != item) => Standing::Closed("is held no more, or otherwise"),
            _ => Standing::Open,
        })
    }

    async fn standing_of_none(&self, item: u64) -> Answered<Standing> {
        let query = Query { kinds: vec![Kind::IncidentClosed], after: Some(item), ..Query::default() };
        let closed = self.doors.store.find(query).await?.iter().any(|closed| closed.entry.link("closes") == Some(item));
        Ok(if closed { Standing::Closed("is closed") } else { Standing::Open })
    }

    /// Writes what was found on the target as a patch for the repository.
    pub async fn patch(&self, item: u64) -> Answered<Adopted> {
        let Indexed { entry, index } = self.entry(item).await?;
        let (Some(stack), Ok(drift)) = (entry.stack.clone(), entry.body::<body::Drift>()) else {
            return Err(Refusal::new(Code::Invalid, format!("#{index} is no drift"))
                .help("adopt takes the number of a drift; trued incidents lists them"));
        };
        let configured = self.stack(&stack);
        let into = configured.as_ref().map(|stack| stack.into.clone()).unwrap_or_default();
        let folder = configured.and_then(|stack| Some(stack.render.settings.get("path")?.as_str()?.to_owned())).unwrap_or_default();
        let inventory = self.cell(&stack).inventory(self).await?;
        let mut adopted = Adopted { index, stack, patch: String::new(), left_out: Vec::new() };
        for found in &drift.items {
            let address = &found.address;
            let inner = address.as_str().strip_prefix(into.as_str()).unwrap_or(address.as_str()).trim_start_matches('/');
            let path = if folder.is_empty() { inner.to_owned() } else { format!("{folder}/{inner}") };
            let made = inventory.items.get(address).and_then(|item| item.content);
            let kept = entry.blob(&format!("kept:{address}")).copied();
            if made.or(kept).is_some_and(|blob| blob.sealed) {
                adopted.left_out.push((address.clone(), "is sealed".to_owned()));
                continue;
            }
            let read = |blob: Option<trued_model::BlobRef>| match blob {
                None => Ok(Some(String::new())),
                Some(blob) => blocking(|| self.doors.blobs.get(&blob.digest)).map(|bytes| String::from_utf8(bytes).ok()),
            };
            match (read(made)?, read(kept)?) {
                (Some(before), Some(after)) => {
                    let new = if found.found.is_none() { "/dev/null".to_owned() } else { format!("b/{path}") };
                    let diff = similar::TextDiff::from_lines(&before, &after);
                    adopted.patch.push_str(&diff.unified_diff().header(&format!("a/{path}"), &new).to_string());
                }
                _ => adopted.left_out.push((address.clone(), "is not text".to_owned())),
            }
        }
        Ok(adopted)
    }

    pub async fn suspend(&self, stack: &StackId, reason: &str, actor: &Actor) -> Answered<Answer> {
        if let Some(index) = self.cell(stack).memory(self).await?.suspended {
            return Ok(Answer { index, stack: Some(stack.clone()), already: true });
        }
        let said = draft(Kind::Suspend, Some(stack), self.doors.clock.now(), "person", &Said { reason: reason.to_owned() });
        self.said_one(said.by(actor.clone())).await
    }

    /// Lets a suspended or rolled-back stack go on.
    pub async fn resume(&self, stack: &StackId, reason: &str, actor: &Actor) -> Answered<Answer> {
        let memory = self.cell(stack).memory(self).await?;
        if memory.suspended.is_none() && memory.rollback.is_none() {
            let refusal = Refusal::new(Code::Invalid, "it is neither suspended nor rolled back");
            return Err(refusal.help("trued status says what else it may wait for"));
        }
        let said = draft(Kind::Resume, Some(stack), self.doors.clock.now(), "person", &Said { reason: reason.to_owned() });
        self.said_one(said.by(actor.clone())).await
    }

    /// Goes back to a verified release: the one named, or the newest whose rendered digest is not the current one.
    pub async fn roll_back(&self, stack: &StackId, to: Option<&str>, reason: &str, actor: &Actor) -> Answered<Answer> {
        let memory = self.cell(stack).memory(self).await?;
        let current = memory.landed.as_ref().map(|landed| landed.desired);
        let release = match to {
            Some(named) => memory.releases.iter().rev().find(|release| names_release(named, release)),
            None => memory.release_before(current.as_ref()),
        };
        let Some(release) = release else {
            let known: Vec<String> = memory.releases.iter().map(|release| format!("#{}", release.index)).collect();
            let (message, help) = match (to, known.is_empty()) {
                (None, false) => ("there is no verified release but the one that is in place", "commit a fix".to_owned()),
                (_, true) => ("there is no verified release to go back to yet", "commit a fix".to_owned()),
                (Some(_), false) => ("no such verified release to go back to", format!("verified releases: {}", known.join(", "))),
            };
            return Err(Refusal::new(Code::Absent, message).help(help));
        };
        let rejects = current.ok_or_else(|| Refusal::new(Code::Absent, "nothing of this stack has landed yet"))?;
        let body = Rollback { to: release.index, rejects, desired: release.desired, reason: reason.to_owned() };
        let said = draft(Kind::Rollback, Some(stack), self.doors.clock.now(), "person", &body);
        self.said_one(said.by(actor.clone()).revision(release.revision.clone()).blob("desired", Some(release.manifest))).await
    }

    /// Reads one entry by its index.
    async fn entry(&self, index: u64) -> Answered<Indexed> {
        let query = Query { after: index.checked_sub(1), before: Some(index + 1), limit: Some(1), ..Query::default() };
        let found = self.doors.store.find(query).await?.pop().filter(|found| found.index == index);
        found.ok_or_else(|| {
            Refusal::new(Code::Absent, format!("there is no entry #{index}")).help("trued incidents lists open items with their numbers")
        })
    }

    async fn said_one(&self, said: Draft) -> Answered<Answer> {
        let mut placed = self.said(vec![said]).await?;
        placed.pop().ok_or_else(|| Refusal::new(Code::Broken, "the entry was not placed"))
    }

    async fn said(&self, drafts: Vec<Draft>) -> Answered<Vec<Answer>> {
        let placed = self.append(drafts, None).await?;
        Ok(placed.into_iter().map(|indexed| Answer { index: indexed.index, stack: indexed.entry.stack, already: false }).collect())
    }
}

/// Whether a person's word means a release: its verdict's entry (`#12`), its revision, or its digest, at least 8 digits.
fn names_release(named: &str, release: &trued_engine::Release) -> bool {
    let number = named.strip_prefix('#').unwrap_or(named);
    let revision = release.revision.as_deref().is_some_and(|revision| named.len() >= 8 && revision.starts_with(named));
    number.parse() == Ok(release.index) || revision || release.desired.matches(named)
}

/// The held parts of a fresh plan that a digest names.
fn held_now(planned: &Report, typed: &str) -> Vec<(StackId, Digest, HoldKind)> {
    let mut found = Vec::new();
    for stack in &planned.stacks {
        let Some((_, decision)) = &stack.plan else { continue };
        let whole = decision.plan.matches(typed);
        let parts = decision.held.iter().filter(|part| whole || part.digest.matches(typed));
        found.extend(parts.map(|part| (stack.stack.clone(), part.digest, part.kind)));
    }
    found
}

/// The words an entry offers to be answered with.
fn offered(entry: &trued_model::Entry) -> Vec<String> {
    let words: &[&str] = match entry.kind {
        Kind::DriftOpened | Kind::DriftUpdated => &["revert", "adopt", "ignore"],
        Kind::Intent if entry.body::<Intent>().is_ok_and(|intent| intent.command.is_some()) => &["done", "not-done"],
        Kind::IncidentOpened => return entry.body::<Incident>().map(|incident| incident.words).unwrap_or_default(),
        Kind::Held => {
            let kinds: Vec<HoldKind> =
                entry.body::<Held>().map(|held| held.parts.iter().map(|part| part.kind).collect()).unwrap_or_default();
            let mut words = Vec::new();
            if kinds.contains(&HoldKind::Orphan) {
                words.extend(["delete", "forget"]);
            }
            if kinds.iter().any(|kind| matches!(kind, HoldKind::Foreign | HoldKind::Marked)) {
                words.push("take-over");
            }
            if kinds.contains(&HoldKind::Drift) {
                words.push("revert");
            }
            return words.into_iter().map(str::to_owned).collect();
        }
        _ => &[],
    };
    words.iter().map(|word| (*word).to_owned()).collect()
}
