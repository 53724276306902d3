//! What runs once for a release: when it is due, where it stands among the changes, and what waits for it. Pure: what ran is
//! what the record says, and an errand that is gone from the target has run all the same.

use std::collections::BTreeMap;

use trued_model::{Action, Address, Change, Digest, Errand, HoldKind, Item, Occasion, OnExisting, Progress, Ran, Reason, Turn};

use crate::order;
use crate::plan::{PlanInput, Wish, look};
use crate::removal::{complete, guarded};

/// What the record says of the errands of a stack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Errands {
    /// What is desired now, by its digest; without it nothing is due.
    pub release: Option<Digest>,
    /// What was wholly in place last.
    pub landed: Option<Digest>,
    /// The release that was begun and has not landed, and what it was then.
    pub begun: Option<(Digest, Occasion)>,
    /// What became of each, last.
    pub ran: BTreeMap<Address, Ran>,
}

/// How far the errands of a release are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Course {
    /// `None` where no errand is due.
    pub occasion: Option<Occasion>,
    /// Those that are due and not done, in their order.
    pub left: Vec<Address>,
    /// The one that failed and keeps everything else waiting.
    pub failed: Option<Ran>,
    /// The one that is under way.
    pub running: Option<Ran>,
}

/// Tells how far the errands of a release are.
pub fn course(input: &PlanInput) -> Course {
    let due = due(input);
    let unfinished = || due.list.iter().filter(|(errand, _)| progress(input, errand) != Some(Progress::Done));
    let first = unfinished().find_map(|(errand, _)| ran(input, errand).cloned());
    Course {
        occasion: due.occasion,
        left: unfinished().map(|(errand, _)| errand.resource.address.clone()).collect(),
        failed: first.clone().filter(|ran| ran.progress == Progress::Failed),
        running: first.filter(|ran| ran.progress == Progress::Begun),
    }
}

/// The errands that this release has, in their order.
struct Due<'a> {
    occasion: Option<Occasion>,
    list: Vec<(&'a Errand, &'a Turn)>,
}

fn due<'a>(input: &PlanInput<'a>) -> Due<'a> {
    let Some(occasion) = occasion(input) else { return Due { occasion: None, list: Vec::new() } };
    let turn = |errand: &'a Errand| match occasion {
        Occasion::First => errand.first.as_ref(),
        Occasion::Next => errand.next.as_ref(),
    };
    let mut list: Vec<_> = input.sides.desired.errands.values().filter_map(|errand| Some((errand, turn(errand)?))).collect();
    list.sort_by_key(|(errand, turn)| order::of_turn(turn, &errand.resource.address));
    Due { occasion: Some(occasion), list }
}

/// What a release is to the stack. What has landed is no release any more; nor is going back to one, and what is there as
/// desired when we first see it.
fn occasion(input: &PlanInput) -> Option<Occasion> {
    let release = input.errands.release.filter(|_| input.wish == Wish::Source && !input.sides.desired.errands.is_empty())?;
    if let Some((_, occasion)) = input.errands.begun.filter(|(begun, _)| *begun == release) {
        return Some(occasion);
    }
    let lasting = &input.sides.desired.resources;
    let fresh = !lasting.is_empty() && !lasting.keys().any(|address| input.sides.inventory.items.contains_key(address));
    match input.errands.landed.filter(|_| !fresh) {
        Some(landed) if landed == release => return None,
        Some(_) => return Some(Occasion::Next),
        None => {}
    }
    let there = |address: &Address| matches!(look(input, address), Ok(Some(_)));
    if lasting.is_empty() || !lasting.keys().all(there) {
        return Some(Occasion::First);
    }
    // Somebody else installed it, or it was ours under another name.
    let as_desired = lasting.values().all(|one| input.sides.observed.get(&one.address).fingerprint() == Some(&one.fingerprint));
    (!as_desired).then_some(Occasion::Next)
}

/// What the record says of an errand in this release.
fn ran<'a>(input: &PlanInput<'a>, errand: &Errand) -> Option<&'a Ran> {
    input.errands.ran.get(&errand.resource.address).filter(|ran| Some(ran.of) == input.errands.release)
}

fn progress(input: &PlanInput, errand: &Errand) -> Option<Progress> {
    ran(input, errand).map(|ran| ran.progress)
}

/// Proposes what is due, and what goes.
pub(crate) fn propose(input: &PlanInput, changes: &mut Vec<Change>) {
    if input.sides.desired.errands.is_empty() || input.wish == Wish::Orphan {
        return;
    }
    let due = due(input);
    changes
        .extend(due.list.iter().filter(|(errand, _)| progress(input, errand).is_none()).map(|(errand, turn)| begin(input, errand, turn)));
    let all_done = due.list.iter().all(|(errand, _)| progress(input, errand) == Some(Progress::Done));
    for errand in input.sides.desired.errands.values() {
        let failed = progress(input, errand) == Some(Progress::Failed);
        if (errand.clears.done && all_done) || (errand.clears.failed && failed) {
            changes.extend(spent(input, &errand.resource.address));
        }
    }
}

/// One that begins. What an earlier run left goes before.
fn begin(input: &PlanInput, errand: &Errand, turn: &Turn) -> Change {
    let address = &errand.resource.address;
    let base = Change {
        address: address.clone(),
        action: Action::Create,
        before: None,
        after: Some(errand.resource.fingerprint.clone()),
        uid: None,
        other: None,
        content: errand.resource.content,
        keep: false,
        reasons: vec![Reason::Errand { called: turn.called.clone() }],
        hold: None,
        turn: Some(turn.clone()),
        awaits: None,
    };
    if let Some((owner, _)) = input.claims.owners.get(address) {
        return Change { hold: Some((HoldKind::Claimed, format!("belongs to {}", owner.key()))), ..base };
    }
    let state = match look(input, address) {
        Ok(None) => return base,
        Ok(Some(state)) => state,
        Err(why) => return Change { hold: Some((HoldKind::Unseen, why)), ..base },
    };
    let mut again = Change { action: Action::Replace, before: Some(state.fingerprint.clone()), uid: state.uid.clone(), ..base };
    if !input.sides.inventory.items.contains_key(address) {
        let free = input.policy.on_existing == OnExisting::TakeOver;
        again.keep = true;
        again.reasons.push(Reason::Foreign);
        again.hold = (!free).then(|| (HoldKind::Foreign, "exists and was not made from here".to_owned()));
    } else if !errand.clears.before {
        again.hold = Some((HoldKind::Immutable, "is there from an earlier run, and is declared to stay".to_owned()));
    }
    again
}

/// What an errand left, where that is still there and ours.
fn spent(input: &PlanInput, address: &Address) -> Option<Change> {
    let item: &Item = input.sides.inventory.items.get(address).filter(|_| !input.claims.owners.contains_key(address))?;
    let Ok(Some(state)) = look(input, address) else { return None };
    let hold = complete(input).map(|why| (HoldKind::Unseen, why)).or_else(|| guarded(input, address));
    Some(Change {
        address: address.clone(),
        action: Action::Delete,
        before: Some(state.fingerprint.clone()),
        after: None,
        uid: state.uid.clone(),
        other: None,
        content: None,
        keep: state.fingerprint != item.fingerprint,
        reasons: vec![Reason::Spent],
        hold,
        turn: None,
        awaits: None,
    })
}

/// Notes what comes after an errand that is not done. Changes are in their order.
pub(crate) fn note_what_follows(input: &PlanInput, changes: &mut [Change]) {
    let due = due(input);
    let barrier = due.list.iter().find_map(|(errand, turn)| {
        let address = &errand.resource.address;
        let hold = match ran(input, errand) {
            Some(Ran { progress: Progress::Done, .. }) => return None,
            Some(ran) if ran.progress == Progress::Failed => (HoldKind::Undecided, format!("{} failed: {}", ran.words(), ran.why)),
            Some(ran) => (HoldKind::Awaits, format!("waits for {}", ran.words())),
            None if turn.ends => (HoldKind::Awaits, format!("comes after {} {address}", turn.called)),
            None => return None,
        };
        Some((order::of_turn(turn, address), hold))
    });
    let Some((barrier, hold)) = barrier else { return };
    let after = |change: &Change| follows(change) && order::key(change, input.nested, input.ranks) > barrier;
    for change in changes.iter_mut().filter(|change| after(change)) {
        change.awaits = Some(hold.clone());
    }
}

/// Whether a change waits for errands at all: taking note of something does not, nor does what a failed one left.
fn follows(change: &Change) -> bool {
    (change.action.writes() || change.action == Action::Move) && !change.reasons.contains(&Reason::Spent)
}

/// Has errands and what lasts wait for each other where either is held: a release that needs a person's word does not begin, and
/// nothing goes past an errand.
pub(crate) fn hold_around(changes: &[Change], holds: &mut [Option<(HoldKind, String)>]) {
    if changes.iter().all(|change| change.turn.is_none() && change.awaits.is_none()) {
        return;
    }
    for (hold, change) in holds.iter_mut().zip(changes).filter(|(hold, _)| hold.is_none()) {
        hold.clone_from(&change.awaits);
    }
    let lasting = |change: &Change| change.turn.is_none() && follows(change) && change.action != Action::Delete;
    let waits = |address: &Address| Some((HoldKind::Depends, format!("waits for {address}, which is held")));
    let undecided = |hold: &Option<(HoldKind, String)>| {
        use HoldKind::{Claimed, Conflict, Drift, Foreign, Immutable, Marked, Unseen};
        matches!(hold, Some((Claimed | Conflict | Drift | Foreign | Immutable | Marked | Unseen, _)))
    };
    let word = (0..changes.len()).find(|at| lasting(&changes[*at]) && undecided(&holds[*at]));
    let (mut before, mut errand) = (word, None);
    for at in 0..changes.len() {
        let change = &changes[at];
        let waited_for = if change.turn.is_some() { errand.or(before) } else { errand };
        if let Some(first) = waited_for.filter(|_| holds[at].is_none() && follows(change)) {
            let first: &Change = &changes[first];
            holds[at] = waits(&first.address);
        }
        if holds[at].is_some() && change.turn.is_some() {
            errand = errand.or(Some(at));
        } else if holds[at].is_some() && lasting(change) {
            before = before.or(Some(at));
        }
    }
}
