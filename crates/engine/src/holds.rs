//! What holds a proposed change: what the target said of it, a kind it does not know yet, drift that nobody has answered.

use trued_model::{Action, Address, Change, DriftPolicy, HoldKind, OnImmutable, Preview, Reason};

use crate::plan::{PlanInput, Wish, look};

/// Takes in what the target said would come of a change. What it would refuse is a finding, and no part of the plan.
pub(crate) fn foreseen(input: &PlanInput, change: Change) -> Change {
    let taken = |change: &Change| change.reasons.iter().any(|reason| !matches!(reason, Reason::DesiredChanged | Reason::Claimed { .. }));
    let held = |mut change: Change, reason: Reason, kind: HoldKind, why: &str| {
        change.reasons.push(reason);
        // What nobody can say yes to stays as it is.
        if change.hold.as_ref().is_none_or(|(kind, _)| kind.approvable()) {
            change.hold = Some((kind, why.to_owned()));
        }
        change
    };
    match input.previews.get(&change.address) {
        Some(Preview::Anew { why, guarded }) if matches!(change.action, Action::Update | Action::Move) => {
            // Whoever takes an address over brings nothing of the other stack's to an end.
            let action = if change.action == Action::Update { Action::Replace } else { change.action };
            let change = Change { action, ..change };
            match guarded {
                Some(guard) => held(change, Reason::Immutable, HoldKind::Immutable, &format!("{why}; {guard}")),
                None if input.policy.on_immutable == OnImmutable::Replace && action == Action::Replace => {
                    Change { reasons: change.reasons.into_iter().chain([Reason::Immutable]).collect(), ..change }
                }
                None if change.hold.is_some() => {
                    Change { reasons: change.reasons.into_iter().chain([Reason::Immutable]).collect(), ..change }
                }
                None => held(change, Reason::Immutable, HoldKind::Immutable, why),
            }
        }
        Some(Preview::Conflict(why)) if change.action == Action::Update && !taken(&change) => {
            held(change, Reason::Conflict, HoldKind::Conflict, why)
        }
        Some(Preview::Marked(why)) => held(change, Reason::Marked, HoldKind::Marked, why),
        _ => change,
    }
}

/// What the target cannot take yet waits, and while anything does nothing is removed: the render may mean it otherwise once
/// all its kinds are known.
pub(crate) fn hold_what_is_deferred(input: &PlanInput, changes: &mut Vec<Change>) {
    let Some(first) = input.deferred.values().next() else { return };
    // Where its kind is not known it cannot be seen, and is not gone for that.
    let of_such_a_kind = |address: &Address| input.deferred.values().any(|waits| address.as_str().starts_with(&waits.kind));
    changes.retain(|change| change.action != Action::Forget || !of_such_a_kind(&change.address));
    for change in changes.iter_mut().filter(|change| change.hold.is_none()) {
        match input.deferred.get(&change.address) {
            Some(deferred) => change.hold = Some((HoldKind::Deferred, deferred.why.clone())),
            None if change.action == Action::Delete => {
                change.hold = Some((HoldKind::Deferred, format!("nothing is removed while {}", first.why)));
            }
            None => {}
        }
    }
}

/// Under the policy `hold`, drift that nobody has answered stops the whole stack.
pub(crate) fn hold_on_drift(input: &PlanInput, changes: &mut [Change]) {
    if input.policy.drift != DriftPolicy::Hold || input.settled.revert.is_some() || input.wish == Wish::Orphan {
        return;
    }
    let outside = |change: &Change| change.puts_back() && !input.settled.left_alone.contains(&change.address);
    let out_of_sight = |address: &&Address| !input.settled.left_alone.contains(*address) && look(input, address).is_err();
    let unseen = input.settled.drifted.iter().filter(|address| input.sides.inventory.items.contains_key(*address)).find(out_of_sight);
    let Some(first) = changes.iter().find(|change| outside(change)).map(|change| &change.address).or(unseen).cloned() else {
        return;
    };
    // What another stack has taken over is given up all the same: nothing is touched by that.
    let given_up = |change: &Change| change.action == Action::Forget && change.other.is_some();
    for change in changes.iter_mut().filter(|change| change.hold.is_none() && !given_up(change)) {
        let why = if outside(change) { "changed from outside".to_owned() } else { format!("{first} was changed from outside") };
        change.hold = Some((HoldKind::Drift, why));
    }
}

/// Where somebody else undoes every revert, one more would change nothing: it waits for a person. A commit that changes the
/// address is no revert.
pub(crate) fn hold_what_is_fought_over(input: &PlanInput, changes: &mut [Change]) {
    if input.settled.revert.is_some() {
        return;
    }
    let only_back = |change: &Change| change.reasons.iter().all(|reason| matches!(reason, Reason::ChangedOutside | Reason::RemovedOutside));
    let fought = |change: &&mut Change| change.hold.is_none() && input.settled.fought.contains(&change.address) && only_back(change);
    for change in changes.iter_mut().filter(fought) {
        change.hold = Some((HoldKind::Drift, "was put back again and again, and is changed from outside each time".to_owned()));
    }
}
