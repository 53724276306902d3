//! Decides what of ours is no longer desired: what is given up, what is deleted, and what a delete waits for.

use globset::{Glob, GlobMatcher};
use trued_model::{Action, Address, Change, Desired, Extent, HoldKind, Item, OnDelete, Policy, Reason, StackId};

use crate::order::below;
use crate::plan::{PlanInput, Wish, look};
use crate::planted::{self, Bug};

/// Decides an address of ours that is no longer desired.
pub(crate) fn unwanted(input: &PlanInput, keep: &Retention<'_>, address: &Address, item: &Item) -> Option<Change> {
    let base = Change {
        address: address.clone(),
        action: Action::Forget,
        before: None,
        after: None,
        uid: None,
        other: None,
        content: None,
        keep: false,
        reasons: vec![Reason::NotDesired],
        hold: None,
        turn: None,
        awaits: None,
    };
    if let Some((owner, _)) = input.claims.owners.get(address)
        && !planted::has(Bug::DeleteWhatMoved)
    {
        return Some(Change { other: Some(owner.clone()), reasons: vec![Reason::Claimed { stack: owner.clone() }], ..base });
    }
    if let Some(other) = input.claims.first(address)
        && !planted::has(Bug::DeleteWhatMoved)
    {
        let hold = Some((HoldKind::Waiting, format!("{} takes it over", other.key())));
        return Some(Change { other: Some(other.clone()), reasons: vec![Reason::Claimed { stack: other.clone() }], hold, ..base });
    }
    // A folder that was managed for its own sake, and now has something in it, stays; a file has to go first.
    let still_folder = item.content.is_none() && !matches!(look(input, address), Ok(Some(state)) if state.fingerprint != item.fingerprint);
    if input.nested && still_folder && covers_desired(input.sides.desired, address) {
        return Some(base);
    }
    match keep.of(address) {
        OnDelete::Retain => return Some(Change { reasons: vec![Reason::Retained], ..base }),
        OnDelete::Report => return None,
        OnDelete::Delete => {}
    }
    if input.settled.left_alone.contains(address) {
        return None;
    }
    let state = match look(input, address) {
        Ok(Some(state)) => state,
        Ok(None) => return Some(Change { reasons: vec![Reason::AlreadyGone], ..base }),
        Err(why) => {
            let hold = Some((HoldKind::Unseen, why));
            return Some(Change { action: Action::Delete, before: Some(item.fingerprint.clone()), hold, ..base });
        }
    };
    let drifted = state.fingerprint != item.fingerprint;
    let mut reasons = base.reasons.clone();
    if drifted {
        reasons.push(Reason::ChangedOutside);
    }
    let delete =
        Change { action: Action::Delete, before: Some(state.fingerprint.clone()), uid: state.uid.clone(), keep: drifted, reasons, ..base };
    if input.wish == Wish::Orphan {
        return Some(orphan(input, delete));
    }
    let waits = match complete(input) {
        Some(why) => Some((HoldKind::Unseen, why)),
        None if planted::has(Bug::DeleteWithoutWaiting) => None,
        None => input.claims.incomplete.iter().next().map(|(stack, why)| (HoldKind::Waiting, may_be_desired(input.stack, stack, why))),
    };
    Some(Change { hold: waits.or_else(|| guarded(input, address)), ..delete })
}

/// Why nobody knows yet whether something is still desired; of the stack itself, where the configuration is not whole.
fn may_be_desired(own: &StackId, stack: &StackId, why: &str) -> String {
    match own == stack {
        true => format!("may still be desired: {why}"),
        false => format!("{} shares this target and may desire it: {why}", stack.key()),
    }
}

/// Why something is not removed without an approval, where the target says so of its kind.
pub(crate) fn guarded(input: &PlanInput, address: &Address) -> Option<(HoldKind, String)> {
    let guard = input.guarded.iter().find(|(prefix, _)| address.as_str().starts_with(prefix.as_str()));
    guard.map(|(_, why)| (HoldKind::Deletes, why.clone()))
}

fn orphan(input: &PlanInput, delete: Change) -> Change {
    let mut delete = Change { reasons: vec![Reason::Orphaned], ..delete };
    match &input.settled.orphan {
        Some((word, index)) if word == "forget" => {
            let reasons = vec![Reason::Orphaned, Reason::Answered { index: *index }];
            Change { action: Action::Forget, before: None, keep: false, uid: None, reasons, ..delete }
        }
        Some((_, index)) => {
            delete.reasons.push(Reason::Answered { index: *index });
            delete
        }
        None => Change { hold: Some((HoldKind::Orphan, "its stack is no longer configured".to_owned())), ..delete },
    }
}

/// Why the observation is not complete, if it is not: then nothing is deleted.
pub(crate) fn complete(input: &PlanInput) -> Option<String> {
    match &input.sides.observed.extent {
        Extent::Complete => None,
        Extent::Partial(why) | Extent::Unknown(why) if !planted::has(Bug::UnseenIsAbsent) => Some(why.clone()),
        _ => None,
    }
}

fn covers_desired(desired: &Desired, address: &Address) -> bool {
    let from = Address::new(format!("{address}/"));
    desired.resources.range(from..).next().is_some_and(|(next, _)| below(next.as_str(), address.as_str()))
}

/// The globs of `on_delete`, first match wins.
pub(crate) struct Retention<'a> {
    rules: Vec<(GlobMatcher, OnDelete)>,
    into: &'a str,
}

impl<'a> Retention<'a> {
    pub fn new(policy: &Policy, into: &'a str) -> Retention<'a> {
        let rules = policy.on_delete.iter();
        Retention { rules: rules.filter_map(|(glob, what)| Some((Glob::new(glob).ok()?.compile_matcher(), *what))).collect(), into }
    }

    fn of(&self, address: &Address) -> OnDelete {
        let whole = address.as_str();
        let inner = whole.strip_prefix(self.into).map_or(whole, |rest| rest.trim_start_matches('/'));
        self.rules.iter().find(|(glob, _)| glob.is_match(inner)).map_or(OnDelete::Delete, |(_, what)| *what)
    }
}
