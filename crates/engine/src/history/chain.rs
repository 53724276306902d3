//! Why something is as it is, and who had a hand in it: receipt, intent, revision, approvals, drifts, answers.

use trued_model::body::{Drift, Happened, Happenings, Landed, Refused};
use trued_model::{Address, Commit, Indexed, Kind, Reason, Timestamp, Verified};

use super::evidence::{Grade, grade_of, witness_words};
use super::sentence::{Voice, drift_words, refused_words, sentence, short};

/// A change that touched an address: the receipt that proves it, and why it was planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touch {
    pub receipt: u64,
    pub landed: Landed,
    pub reasons: Vec<Reason>,
}

/// All that is asked about: entries in index order, what touched the address, who made the revision.
pub struct Story<'a> {
    pub entries: &'a [Indexed],
    /// `None`: the stack as a whole.
    pub address: Option<&'a Address>,
    pub touch: Option<&'a Touch>,
    pub commit: Option<&'a Commit>,
}

/// One step of the chain, oldest cause last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Telling {
    pub index: Option<u64>,
    pub at: Timestamp,
    pub said: String,
}

/// Somebody who had a hand in it, and how we know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doer {
    pub index: Option<u64>,
    pub at: Timestamp,
    /// The name; below grade A- it is a trace, not a fact.
    pub name: String,
    pub did: String,
    pub grade: Grade,
    pub evidence: String,
    /// All that is known of an outsider, in words.
    pub known: Option<String>,
}

impl Doer {
    /// Says it without claiming more than is known.
    pub fn said(&self, voice: &Voice) -> String {
        let at = voice.time(self.at);
        if let Some(known) = &self.known {
            return format!("{known}: {} at {at} (grade {})", self.did, self.grade.word());
        }
        match self.grade.is_fact() {
            true => format!("{} {} at {at} ({}, grade {})", self.name, self.did, self.evidence, self.grade.word()),
            false if self.name.is_empty() => format!("somebody {} at {at}; nothing tells who", self.did),
            false => {
                format!("somebody {} at {at}; {} names {} (grade {}, not proof)", self.did, self.evidence, self.name, self.grade.word())
            }
        }
    }
}

/// Tells why: from the state of today back to the people and commits that caused it.
pub fn why(story: &Story, voice: &Voice) -> Vec<Telling> {
    let mut told = Vec::new();
    let tell = |e: &Indexed| Telling { index: Some(e.index), at: e.entry.valid_from, said: sentence(e, voice) };
    told.extend(episode(story).into_iter().map(|e| match (story.address, item_of(e, story)) {
        (Some(_), Some(item)) => Telling { said: format!("drift: {}", drift_words(&item, voice)), ..tell(e) },
        _ => tell(e),
    }));
    told.extend(answers(story).map(tell));
    if let (Some(touch), Some(receipt)) = (story.touch, story.touch.and_then(|touch| find(story, touch.receipt))) {
        let reasons: Vec<String> = touch.reasons.iter().map(Reason::words).collect();
        let because = if reasons.is_empty() { String::new() } else { format!(": {}", reasons.join(", ")) };
        told.push(Telling { said: format!("{}: {}{because}", touch.landed.address, touch.landed.action.word()), ..tell(receipt) });
    }
    if let Some(intent) = intent(story) {
        told.extend(ended(story, intent).map(tell));
        told.extend(refusals(story, intent).filter_map(|e| match story.address {
            None => Some(tell(e)),
            Some(address) => {
                let item = e.entry.body::<Refused>().ok()?.items.into_iter().find(|item| item.address == *address)?;
                Some(Telling { said: refused_words(&item), ..tell(e) })
            }
        }));
        told.push(tell(intent));
        if let Some(revision) = &intent.entry.revision {
            let said = match story.commit {
                Some(commit) => format!("revision {}: {} ({})", short(revision), commit.subject, commit.author),
                None => format!("revision {}", short(revision)),
            };
            told.push(Telling { index: None, at: story.commit.map_or(intent.entry.valid_from, |commit| commit.at), said });
            told.extend(verdict(story, intent).map(tell));
        }
        told.extend(causes(story, intent).map(tell));
    }
    told
}

/// Tells who, each with the evidence it rests on.
pub fn who(story: &Story) -> Vec<Doer> {
    let mut doers: Vec<Doer> = episode(story).into_iter().filter_map(|e| outsider(e, story)).collect();
    let person = |e: &Indexed, did: &str| Doer {
        index: Some(e.index),
        at: e.entry.valid_from,
        name: e.entry.actor.id.clone(),
        did: did.to_owned(),
        grade: grade_of(&e.entry.actor.evidence),
        evidence: e.entry.actor.evidence.clone(),
        known: None,
    };
    doers.extend(seen_acting(story));
    doers.extend(answers(story).map(|e| person(e, "answered")));
    let Some(intent) = intent(story) else { return doers };
    doers.push(person(intent, "applied it"));
    for e in causes(story, intent) {
        let did = match e.entry.kind {
            Kind::Approval => "approved it",
            Kind::Rollback => "went back to an earlier release",
            _ => "answered",
        };
        doers.push(person(e, did));
    }
    if let Some(verdict) = verdict(story, intent) {
        let verified = verdict.entry.body::<Verified>().map(|verified| verified.signatures).unwrap_or_default();
        doers.extend(verified.into_iter().map(|signature| Doer {
            index: Some(verdict.index),
            at: verdict.entry.valid_from,
            did: match &signature.tag {
                Some(tag) => format!("signed tag {tag} on commit {}", short(&signature.commit)),
                None => format!("signed commit {}", short(&signature.commit)),
            },
            name: signature.name,
            grade: grade_of("signature"),
            evidence: format!("signature {}", signature.key),
            known: None,
        }));
    }
    if let Some(commit) = story.commit {
        doers.push(Doer {
            index: None,
            at: commit.at,
            name: commit.author.clone(),
            did: format!("wrote revision {} ({})", short(&commit.id), commit.subject),
            grade: Grade::B,
            evidence: "the commit".to_owned(),
            known: None,
        });
    }
    doers
}

/// Those whom the target itself reported to have touched the address after us.
fn seen_acting(story: &Story) -> Vec<Doer> {
    let after = story.touch.and_then(|touch| find(story, touch.receipt)).map(|receipt| receipt.entry.valid_from);
    let told = story.entries.iter().rev().filter(|e| e.entry.kind == Kind::Observed);
    let items = told
        .filter_map(|e| Some((e, e.entry.body::<Happenings>().ok()?)))
        .flat_map(|(e, body)| body.happened.into_iter().map(move |one| (e.index, one)));
    let about = items.filter(|(_, one)| Some(&one.address) == story.address);
    let facts = about.filter_map(|(index, one)| Some((index, one.evidence.grade.as_deref().and_then(Grade::from_word)?, one)));
    let doer = |(index, grade, one): (u64, Grade, Happened)| Doer {
        index: Some(index),
        at: one.last,
        name: one.evidence.by.clone().unwrap_or_default(),
        did: format!("{} it on the target", one.what),
        grade,
        evidence: one.evidence.seen_by.clone().unwrap_or_else(|| "the target".to_owned()),
        known: witness_words(&one.evidence),
    };
    // What was before our own last write was undone by it, unless that write is what undid it.
    let since = after.map(|at| at - trued_model::Duration::from_secs(60));
    facts.filter(|(_, grade, one)| grade.is_fact() && since.is_none_or(|since| one.last >= since)).map(doer).collect()
}

fn find<'a>(story: &Story<'a>, index: u64) -> Option<&'a Indexed> {
    story.entries.iter().find(|e| e.index == index)
}

/// The verdict on the signatures of an intent's revision.
fn verdict<'a>(story: &Story<'a>, intent: &Indexed) -> Option<&'a Indexed> {
    let of_it = |e: &&Indexed| e.entry.kind == Kind::Verified && e.entry.revision == intent.entry.revision;
    story.entries.iter().rev().find(of_it)
}

/// The intent behind the touch; for a whole stack the newest.
fn intent<'a>(story: &Story<'a>) -> Option<&'a Indexed> {
    let Some(touch) = story.touch else {
        return story.entries.iter().rev().find(|e| e.entry.kind == Kind::Intent);
    };
    let receipt = find(story, touch.receipt)?;
    match receipt.entry.link("receipt-of") {
        Some(index) => find(story, index),
        None => story.entries.iter().find(|e| e.entry.kind == Kind::Intent && e.entry.run == receipt.entry.run),
    }
}

fn ended<'a>(story: &Story<'a>, intent: &'a Indexed) -> Option<&'a Indexed> {
    story.entries.iter().find(|e| e.entry.kind == Kind::Verdict && e.entry.link("outcome-of") == Some(intent.index))
}

/// What the target would not do of an intent, with what to do about it.
fn refusals<'a>(story: &Story<'a>, intent: &'a Indexed) -> impl Iterator<Item = &'a Indexed> {
    let (entries, index) = (story.entries, intent.index);
    entries.iter().filter(move |e| e.entry.kind == Kind::Refusal && e.entry.link("receipt-of") == Some(index))
}

/// What an intent points back to: approvals, answers, a rollback.
fn causes<'a>(story: &Story<'a>, intent: &'a Indexed) -> impl Iterator<Item = &'a Indexed> {
    let entries = story.entries;
    let links = intent.entry.links.iter().filter(|link| matches!(link.rel.as_str(), "authorised-by" | "caused-by" | "answers"));
    links.filter_map(move |link| entries.iter().find(|e| e.index == link.index))
}

/// The drift that is open or ended after the touch, as far as it is about the address.
fn episode<'a>(story: &Story<'a>) -> Vec<&'a Indexed> {
    let after = story.touch.map_or(0, |touch| touch.receipt);
    let drifts = story.entries.iter().filter(|e| matches!(e.entry.kind, Kind::DriftOpened | Kind::DriftUpdated));
    let about = drifts.filter(|e| story.address.is_none() || item_of(e, story).is_some());
    // The newest episode before the touch is told too: a revert is a touch that a drift caused.
    let mut about: Vec<&Indexed> = about.collect();
    let keep = about.iter().rposition(|e| e.index < after).unwrap_or(0);
    about.drain(..keep);
    about.reverse();
    about
}

fn item_of(e: &Indexed, story: &Story) -> Option<trued_model::body::DriftItem> {
    let drift = e.entry.body::<Drift>().ok()?;
    drift.items.into_iter().find(|item| Some(&item.address) == story.address)
}

/// What people said to the drifts that are told.
fn answers<'a>(story: &Story<'a>) -> impl Iterator<Item = &'a Indexed> {
    let told: Vec<u64> = episode(story).iter().map(|e| e.index).collect();
    let answers = story.entries.iter().filter(|e| e.entry.kind == Kind::Answered);
    answers.filter(move |e| e.entry.link("answers").is_some_and(|item| told.contains(&item)))
}

fn outsider(e: &Indexed, story: &Story) -> Option<Doer> {
    let item = match story.address {
        Some(_) => item_of(e, story)?,
        None => e.entry.body::<Drift>().ok()?.items.into_iter().next()?,
    };
    let grade = item.evidence.grade.as_deref().and_then(Grade::from_word).unwrap_or(Grade::C);
    Some(Doer {
        index: Some(e.index),
        at: item.evidence.changed_at.unwrap_or(item.since),
        name: item.evidence.by.clone().unwrap_or_default(),
        did: format!("{} {} on the target", if item.found.is_some() { "changed" } else { "removed" }, item.address),
        grade,
        evidence: item.evidence.seen_by.clone().unwrap_or_else(|| "the target".to_owned()),
        known: witness_words(&item.evidence),
    })
}
