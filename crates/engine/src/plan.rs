//! The smallest set of changes that makes the target as desired, and why each one. Total: every address that is
//! desired, ours or in doubt is decided here, and nothing else is touched.

use std::collections::{BTreeMap, BTreeSet};

use trued_model::{
    Action, Address, Change, Deferred, Digest, DriftPolicy, Extent, Fingerprint, HoldKind, Item, OnExisting, Plan, Policy, Preview, Reason,
    Resource, Seen, StackId,
};

use crate::errands::{self, Errands};
use crate::holds::{foreseen, hold_on_drift, hold_what_is_deferred, hold_what_is_fought_over};
use crate::order::{below, order};
use crate::planted::{self, Bug};
use crate::removal::{Retention, unwanted};
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
    pub(crate) fn first(&self, address: &Address) -> Option<&StackId> {
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
