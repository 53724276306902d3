//! What was on a target at an instant, and how surely we know it. Not a replay: it finds the look that answers.

use serde::Serialize;
use trued_model::body::{Drift, Outcome, Verdict};
use trued_model::{BlobRef, Indexed, Kind, StackId, Timestamp};

use crate::memory::gives_up;

/// Kinds that carry what was really there, as a blob `observed`.
pub const STATE_BEARING: [Kind; 5] = [Kind::Verdict, Kind::Observed, Kind::DriftOpened, Kind::DriftUpdated, Kind::DriftClosed];

/// How surely an answer about the past is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Certainty {
    /// A look before and a look after agree.
    Known,
    /// So it was at the last look before; nothing later vouches for it.
    Inferred,
    /// Nobody could have seen it.
    Unknown,
}

impl Certainty {
    pub fn word(self) -> &'static str {
        match self {
            Certainty::Known => "known",
            Certainty::Inferred => "inferred",
            Certainty::Unknown => "unknown",
        }
    }
}

/// What a stack's target held at an instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub certainty: Certainty,
    /// Why it is no more certain than that; empty when known.
    pub why: String,
    /// The revision that had landed last.
    pub revision: Option<String>,
    /// The newest look at or before the instant.
    pub observed_at: Option<Timestamp>,
    /// The interval over which this is the answer; `None` where it has no end yet.
    pub from: Option<Timestamp>,
    pub until: Option<Timestamp>,
    /// The entry that shows it. Of an unknown answer: the last that showed anything.
    pub entry: Option<u64>,
    /// The manifest of what was there; `None` when unknown.
    pub observed: Option<BlobRef>,
    /// Whether nobody wanted the stack any more then, and all that was its own had been given up.
    pub past: bool,
}

/// Answers what was there at an instant. `looks` are complete looks at this stack that heartbeats tell of.
pub fn at(entries: &[Indexed], looks: &[Timestamp], stack: &StackId, instant: Timestamp) -> Answer {
    let of_stack = || entries.iter().filter(|e| e.entry.stack.as_ref() == Some(stack));
    let bearing = || of_stack().filter(|e| STATE_BEARING.contains(&e.entry.kind) && e.entry.blob("observed").is_some());
    let last = bearing().filter(|e| e.entry.valid_from <= instant).max_by_key(|e| e.index);
    let next = bearing().filter(|e| e.entry.valid_from > instant).min_by_key(|e| e.index);
    let until = next.map(|e| e.entry.valid_from);

    let seen = last.map(|e| e.entry.valid_from);
    let agreeing = |look: &&Timestamp| seen.is_some_and(|seen| **look >= seen) && until.is_none_or(|until| **look < until);
    let observed_at = looks.iter().filter(agreeing).copied().filter(|look| *look <= instant).max().max(seen);

    let unknown = |why: String, from: Option<Timestamp>, until: Option<Timestamp>| Answer {
        certainty: Certainty::Unknown,
        why,
        revision: None,
        observed_at,
        from,
        until,
        entry: last.map(|e| e.index),
        observed: None,
        past: false,
    };
    if let Some((from, until, why)) = blind_at(of_stack(), instant) {
        return unknown(why, Some(from), until);
    }
    if let Some((intent, end)) = torn_at(of_stack(), instant) {
        let why = match end {
            Some(_) => format!("a run was interrupted after its intent #{intent}"),
            None => format!("the run of intent #{intent} has not ended"),
        };
        let began = of_stack().find(|e| e.index == intent).map(|e| e.entry.valid_from);
        return unknown(why, began, end);
    }
    let Some(last) = last else {
        return unknown("it is before the first look on record".to_owned(), None, until);
    };

    let vouched = last.entry.valid_from == instant
        || looks.iter().filter(agreeing).any(|look| *look >= instant)
        || next.is_some_and(|next| vouches(next, of_stack(), instant));
    let (certainty, why) = match vouched {
        true => (Certainty::Known, String::new()),
        false => (Certainty::Inferred, "no later look vouches for it".to_owned()),
    };
    let gives_up = |verdict: Verdict| gives_up(last.entry.revision.as_deref(), &verdict);
    let past = last.entry.kind == Kind::Verdict && last.entry.body::<Verdict>().is_ok_and(gives_up);
    let landed = of_stack().filter(|e| !past && e.entry.valid_from <= instant && lands(e)).max_by_key(|e| e.index);
    Answer {
        certainty,
        why,
        revision: landed.and_then(|e| e.entry.revision.clone()),
        observed_at,
        from: Some(last.entry.valid_from),
        until,
        entry: Some(last.index),
        observed: last.entry.blob("observed").copied(),
        past,
    }
}

/// Whether an entry says that a revision's desired state is in place.
pub fn lands(entry: &Indexed) -> bool {
    let in_place = |verdict: Verdict| match verdict.outcome {
        Outcome::Landed => true,
        // Everything was there; a check did not pass.
        Outcome::Failed => !verdict.checks.is_empty(),
        _ => false,
    };
    let landed = || entry.entry.body::<Verdict>().is_ok_and(in_place);
    match entry.entry.kind {
        Kind::Verdict => entry.entry.revision.is_some() && landed(),
        Kind::Observed => entry.entry.revision.is_some(),
        _ => false,
    }
}

/// Whether the next change on record says that until then all was as before.
fn vouches<'a>(next: &Indexed, mut of_stack: impl Iterator<Item = &'a Indexed>, instant: Timestamp) -> bool {
    match next.entry.kind {
        Kind::DriftOpened | Kind::DriftUpdated => {
            next.entry.body::<Drift>().ok().and_then(|drift| drift.unchanged_until).is_some_and(|until| until >= instant)
        }
        // A run looks before it acts, so its intent vouches for everything up to itself.
        Kind::Verdict | Kind::Observed => {
            of_stack.any(|e| e.entry.kind == Kind::Intent && ends(next, e) && e.index < next.index && e.entry.valid_from >= instant)
        }
        _ => false,
    }
}

/// Whether a verdict or look closes the run of an intent.
fn ends(end: &Indexed, intent: &Indexed) -> bool {
    let same_run = end.entry.run.is_some() && end.entry.run == intent.entry.run;
    same_run || end.entry.links.iter().any(|link| link.index == intent.index && (link.rel == "outcome-of" || link.rel == "closes"))
}

/// The blind interval around an instant: since when, until when, why.
fn blind_at<'a>(of_stack: impl Iterator<Item = &'a Indexed>, instant: Timestamp) -> Option<(Timestamp, Option<Timestamp>, String)> {
    let mut open: Option<&Indexed> = None;
    let mut end = None;
    for e in of_stack.filter(|e| matches!(e.entry.kind, Kind::BlindStart | Kind::BlindEnd)) {
        let past = e.entry.valid_from <= instant;
        match e.entry.kind {
            Kind::BlindStart if past => open = Some(e),
            Kind::BlindEnd if past => open = None,
            Kind::BlindEnd if open.is_some() => {
                end = Some(e.entry.valid_from);
                break;
            }
            _ => {}
        }
    }
    let start = open?;
    let why = start.entry.body::<trued_model::body::Blind>().map(|blind| blind.why).unwrap_or_default();
    Some((start.entry.valid_from, end, format!("the target could not be seen: {why}")))
}

/// The intent whose run was open at an instant and did not end by itself, and the instant somebody looked again.
fn torn_at<'a>(of_stack: impl Iterator<Item = &'a Indexed> + Clone, instant: Timestamp) -> Option<(u64, Option<Timestamp>)> {
    let intent = of_stack.clone().filter(|e| e.entry.kind == Kind::Intent && e.entry.valid_from <= instant).max_by_key(|e| e.index)?;
    let mut after = of_stack.filter(|e| e.index > intent.index && matches!(e.entry.kind, Kind::Verdict | Kind::Observed));
    let Some(end) = after.find(|e| ends(e, intent)) else {
        return Some((intent.index, None));
    };
    let interrupted = match end.entry.body::<Verdict>() {
        Ok(verdict) => verdict.outcome == Outcome::Interrupted,
        Err(_) => true,
    };
    (end.entry.valid_from > instant && interrupted).then_some((intent.index, Some(end.entry.valid_from)))
}
