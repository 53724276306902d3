//! The smallest set of changes that makes the target as desired, and why each one. Total: every address that is
//! desired, ours or in doubt is decided here, and nothing else is touched.

use std::collections::{BTreeMap, BTreeSet};

use globset::{Glob, GlobMatcher};
use trued_model::{
    Action, Address, Change, Deferred, Desired, Digest, DriftPolicy, Extent, Fingerprint, HoldKind, Item, OnDelete, OnExisting,
    OnImmutable, Plan, Policy, Preview, Reason, Resource, Seen, StackId,
};

use crate::errands::{self, Errands};
use crate::order::{below, order};
use crate::planted::{self, Bug};
use crate::sides::Sides;

/// Who wants what is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// The source, as configured.
    Source,
    /// A rollback that stands.
    Rollback,
    /// Nobody: the stack is no longer configured.
    Orphan,
}

/// Who else desires and owns addresses on this target. Asked for the addresses of [`candidates`] only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// Other stacks' inventories: who owns it, and what they last made it.
    pub owners: BTreeMap<Address, (StackId, Fingerprint)>,
    /// Other stacks' complete renders at the same or a newer revision: who all desires it.
    pub wanted: BTreeMap<Address, BTreeSet<StackId>>,
    /// Stacks that may use this target and have no such render, with the reason.
    pub incomplete: BTreeMap<StackId, String>,
}

impl Claims {
    /// The first of the other stacks that desire an address.
    fn first(&self, address: &Address) -> Option<&StackId> {
        self.wanted.get(address)?.first()
    }

    /// Whether what is at an address is what another stack that owns it made there.
    pub(crate) fn made_by_other(&self, address: &Address, there: Option<&Fingerprint>) -> bool {
        self.owners.get(address).is_some_and(|(_, theirs)| there == Some(theirs))
    }

    /// Whether an address is another stack's business now.
    pub(crate) fn elsewhere(&self, address: &Address) -> bool {
        self.owners.contains_key(address) || self.wanted.contains_key(address)
    }
}

/// What people settled beforehand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Addresses to leave alone.
    pub left_alone: BTreeSet<Address>,
    /// Whether a person said to put open drift back, and where.
    pub revert: Option<u64>,
    /// Addresses of open drift that nobody has answered.
    pub drifted: BTreeSet<Address>,
    /// Addresses that were put back again and again, and changed again: not put back once more before a person says so.
    pub fought: BTreeSet<Address>,
    /// What a person said of an orphaned stack (`delete`, `forget`), and where.
    pub orphan: Option<(String, u64)>,
}

/// All that a plan depends on.
#[derive(Clone, Debug)]
pub struct PlanInput<'a> {
    pub stack: &'a StackId,
    pub policy: &'a Policy,
    pub wish: Wish,
    pub sides: &'a Sides<'a>,
    pub claims: &'a Claims,
    pub settled: &'a Settled,
    /// What the target says would come of what was proposed before, where that is not just what was asked for.
    pub previews: &'a BTreeMap<Address, Preview>,
    /// The stack's place on the target: globs of the policy are written without it.
    pub into: &'a str,
    /// Whether addresses nest on this target.
    pub nested: bool,
    /// What is made early or late, by how addresses begin.
    pub ranks: &'a [(String, i32)],
    /// What is never removed without an approval, and why, by how addresses begin.
    pub guarded: &'a [(String, String)],
    /// What of the desired cannot be made yet, because the target does not know its kind: why.
    pub deferred: &'a BTreeMap<Address, Deferred>,
    /// What the record says of what runs once.
    pub errands: &'a Errands,
}

/// The addresses whose plan depends on what other stacks want and own: those to be made that are not ours or not as we
/// made them, and those of ours that are no longer desired.
pub fn candidates(sides: &Sides) -> Vec<Address> {
    let new = sides.open.iter().map(|resource| &resource.address);
    let old = sides.made.iter().map(|(address, _)| *address).filter(|address| !sides.desired.wants(address));
    let mut all: Vec<Address> = new.chain(old).chain(sides.desired.errands.keys()).cloned().collect();
    all.sort();
    all
}

/// Computes the plan. The same input gives the same plan; nothing here fails.
pub fn plan(input: &PlanInput) -> Plan {
    // Only where addresses nest is the stack's place a part of them.
    let keep = Retention::new(input.policy, if input.nested { input.into } else { "" });
    let mut changes = Vec::new();
    // What is in order may still have been made by another stack as well.
    let shared = input.claims.owners.keys().filter_map(|address| input.sides.desired.resources.get(address));
    let open: BTreeMap<&Address, &Resource> =
        input.sides.open.iter().copied().chain(shared).map(|resource| (&resource.address, resource)).collect();
    for resource in open.into_values() {
        changes.extend(wanted(input, resource).map(|change| foreseen(input, change)));
    }
    for (address, item) in &input.sides.made {
        if !input.sides.desired.wants(address) {
            changes.extend(unwanted(input, &keep, address, item));
        }
    }
    let lasting = changes.len();
    errands::propose(input, &mut changes);
    let once = changes.split_off(lasting);
    changes.extend(once.into_iter().map(|change| foreseen(input, change)));
    hold_what_is_deferred(input, &mut changes);
    hold_on_drift(input, &mut changes);
    hold_what_is_fought_over(input, &mut changes);
    order(&mut changes, input.nested, input.ranks);
    errands::note_what_follows(input, &mut changes);
    let policy = Digest::of_canonical(input.policy);
    Plan { v: 1, stack: input.stack.clone(), target: input.stack.target.clone(), policy, changes }
}

/// Decides one desired address.
fn wanted(input: &PlanInput, resource: &Resource) -> Option<Change> {
    let address = &resource.address;
    let made = input.sides.inventory.items.get(address).filter(|made| !superseded(input, address, made));
    let state = match look(input, address) {
        Ok(state) => state,
        // What was made so and cannot be seen now is not proposed again; it is only not known.
        Err(_) if made.is_some_and(|made| made.fingerprint == resource.fingerprint) => return None,
        Err(why) => return Some(unseen(resource, made, why)),
    };
    let there = state.as_ref().map(|state| &state.fingerprint);
    let base = Change {
        address: address.clone(),
        action: Action::Update,
        before: there.cloned(),
        after: Some(resource.fingerprint.clone()),
        uid: state.as_ref().and_then(|state| state.uid.clone()),
        other: None,
        content: resource.content,
        keep: false,
        reasons: Vec::new(),
        hold: None,
        turn: None,
        awaits: None,
    };
    let as_desired = there == Some(&resource.fingerprint);
    let Some(made) = made else {
        return Some(first_contact(input, base, as_desired));
    };
    if as_desired {
        let adopt = made.fingerprint != resource.fingerprint;
        return adopt.then(|| Change { action: Action::Adopt, reasons: vec![Reason::AlreadyThere], ..base });
    }
    let drifted = there != Some(&made.fingerprint);
    let commit_changes = made.fingerprint != resource.fingerprint;
    if drifted && !commit_changes {
        let alone = input.settled.left_alone.contains(address);
        let alert = input.policy.drift == DriftPolicy::Alert && input.settled.revert.is_none();
        if alone || alert {
            return None;
        }
    }
    let mut reasons = Vec::new();
    if commit_changes {
        reasons.push(if input.wish == Wish::Rollback { Reason::RolledBack } else { Reason::DesiredChanged });
    }
    if drifted {
        reasons.push(if there.is_some() { Reason::ChangedOutside } else { Reason::RemovedOutside });
        reasons.extend(input.settled.revert.map(|index| Reason::Answered { index }));
    }
    let action = match there {
        None => Action::Create,
        Some(there) if kind(there) != kind(&resource.fingerprint) => Action::Replace,
        Some(_) => Action::Update,
    };
    Some(Change { action, keep: drifted && there.is_some(), reasons, ..base })
}

/// Takes in what the target said would come of a change. What it would refuse is a finding, and no part of the plan.
fn foreseen(input: &PlanInput, change: Change) -> Change {
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

/// Whether another stack has made an address its own since we made it. That happens where we were kept from giving it
/// up, and desire it again: whoever wrote last owns it, and of two who wrote the same, who comes first and desires it.
fn superseded(input: &PlanInput, address: &Address, made: &Item) -> bool {
    let Some((owner, theirs)) = input.claims.owners.get(address) else { return false };
    if made.fingerprint == *theirs {
        return owner < input.stack && input.claims.wanted.get(address).is_some_and(|others| others.contains(owner));
    }
    input.claims.made_by_other(address, look(input, address).ok().flatten().map(|state| &state.fingerprint))
}

/// Decides a desired address that is not ours yet.
fn first_contact(input: &PlanInput, base: Change, as_desired: bool) -> Change {
    let address = &base.address;
    if let Some((owner, theirs)) = input.claims.owners.get(address) {
        let moved = Change {
            action: Action::Move,
            other: Some(owner.clone()),
            keep: base.before.is_some() && !as_desired && base.before.as_ref() != Some(theirs),
            reasons: vec![Reason::Claimed { stack: owner.clone() }],
            ..base
        };
        if input.claims.wanted.get(&moved.address).is_some_and(|others| others.contains(owner)) {
            let why = format!("belongs to {}, which still desires it", owner.key());
            return Change { hold: Some((HoldKind::Claimed, why)), ..moved };
        }
        if let Some(why) = input.claims.incomplete.get(owner) {
            let why = format!("belongs to {}, which may still desire it: {why}", owner.key());
            return Change { hold: Some((HoldKind::Waiting, why)), ..moved };
        }
        return moved;
    }
    if let Some(other) = input.claims.first(address).filter(|other| *other < input.stack) {
        let why = format!("{} desires it too, and comes first", other.key());
        let action = if base.before.is_none() { Action::Create } else { Action::Update };
        return Change { action, reasons: vec![Reason::New], hold: Some((HoldKind::Claimed, why)), ..base };
    }
    if as_desired {
        return Change { action: Action::Adopt, reasons: vec![Reason::AlreadyThere], ..base };
    }
    if base.before.is_none() {
        return Change { action: Action::Create, reasons: vec![Reason::New], ..base };
    }
    if input.nested && holds_ours(input, address) {
        return Change { action: Action::Replace, reasons: vec![Reason::DesiredChanged], ..base };
    }
    let action = if base.before.as_ref().map(kind) == base.after.as_ref().map(kind) { Action::Update } else { Action::Replace };
    let free = input.policy.on_existing == OnExisting::TakeOver || planted::has(Bug::ForeignOverwritten);
    let hold = (!free).then(|| (HoldKind::Foreign, "exists, differs and was not made from here".to_owned()));
    Change { action, keep: true, reasons: vec![Reason::Foreign], hold, ..base }
}

/// Decides an address of ours that is no longer desired.
fn unwanted(input: &PlanInput, keep: &Retention<'_>, address: &Address, item: &Item) -> Option<Change> {
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

/// What the target cannot take yet waits, and while anything does nothing is removed: the render may mean it otherwise once
/// all its kinds are known.
fn hold_what_is_deferred(input: &PlanInput, changes: &mut Vec<Change>) {
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
fn hold_on_drift(input: &PlanInput, changes: &mut [Change]) {
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
fn hold_what_is_fought_over(input: &PlanInput, changes: &mut [Change]) {
    if input.settled.revert.is_some() {
        return;
    }
    let only_back = |change: &Change| change.reasons.iter().all(|reason| matches!(reason, Reason::ChangedOutside | Reason::RemovedOutside));
    let fought = |change: &&mut Change| change.hold.is_none() && input.settled.fought.contains(&change.address) && only_back(change);
    for change in changes.iter_mut().filter(fought) {
        change.hold = Some((HoldKind::Drift, "was put back again and again, and is changed from outside each time".to_owned()));
    }
}

/// What is at an address; `Err` says why that is not known.
pub(crate) fn look<'a>(input: &PlanInput<'a>, address: &Address) -> Result<Option<&'a trued_model::State>, String> {
    if let Extent::Unknown(why) = &input.sides.observed.extent {
        return if planted::has(Bug::UnseenIsAbsent) { Ok(None) } else { Err(why.clone()) };
    }
    match input.sides.observed.seen.get(address) {
        Some(Seen::Present(state)) => Ok(Some(state)),
        Some(Seen::Absent) => Ok(None),
        _ if planted::has(Bug::UnseenIsAbsent) => Ok(None),
        Some(Seen::Unknown(why)) => Err(why.clone()),
        Some(Seen::Denied(why)) => Err(format!("may not be looked at: {why}")),
        None => Err("was not looked at".to_owned()),
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

fn unseen(resource: &Resource, made: Option<&Item>, why: String) -> Change {
    Change {
        address: resource.address.clone(),
        action: if made.is_some() { Action::Update } else { Action::Create },
        before: made.map(|item| item.fingerprint.clone()),
        after: Some(resource.fingerprint.clone()),
        uid: None,
        other: None,
        content: resource.content,
        keep: false,
        reasons: vec![if made.is_some() { Reason::DesiredChanged } else { Reason::New }],
        hold: Some((HoldKind::Unseen, why)),
        turn: None,
        awaits: None,
    }
}

/// The kind of thing a fingerprint is of: its second word (`1:file:…`).
fn kind(fingerprint: &Fingerprint) -> &str {
    fingerprint.as_str().split(':').nth(1).unwrap_or_default()
}

/// Whether something of ours lies in what is at an address: then it is our own folder, and no stranger's.
fn holds_ours(input: &PlanInput, address: &Address) -> bool {
    let from = Address::new(format!("{address}/"));
    let inside = input.sides.inventory.items.range(from..).take_while(|(inner, _)| below(inner.as_str(), address.as_str()));
    inside.map(|(inner, _)| look(input, inner)).any(|looked| matches!(looked, Ok(Some(_))))
}

fn covers_desired(desired: &Desired, address: &Address) -> bool {
    let from = Address::new(format!("{address}/"));
    desired.resources.range(from..).next().is_some_and(|(next, _)| below(next.as_str(), address.as_str()))
}

/// The globs of `on_delete`, first match wins.
struct Retention<'a> {
    rules: Vec<(GlobMatcher, OnDelete)>,
    into: &'a str,
}

impl<'a> Retention<'a> {
    fn new(policy: &Policy, into: &'a str) -> Retention<'a> {
        let rules = policy.on_delete.iter();
        Retention { rules: rules.filter_map(|(glob, what)| Some((Glob::new(glob).ok()?.compile_matcher(), *what))).collect(), into }
    }

    fn of(&self, address: &Address) -> OnDelete {
        let whole = address.as_str();
        let inner = whole.strip_prefix(self.into).map_or(whole, |rest| rest.trim_start_matches('/'));
        self.rules.iter().find(|(glob, _)| glob.is_match(inner)).map_or(OnDelete::Delete, |(_, what)| *what)
    }
}
