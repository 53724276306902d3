//! Whether a plan may run: splits it into what is free and what is held, each with its digest. Never fails.

use std::collections::BTreeMap;

use trued_model::{Action, Approval, Change, Decision, Digest, HoldKind, Part, Plan, Policy, Reason, Timestamp};

use crate::bounds::Bounds;
use crate::errands::hold_around;
use crate::limits::over_limit;
use crate::order::below;
use crate::planted::{self, Bug};

/// What a gate needs to know beside the plan.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'a> {
    /// How many resources are ours now.
    pub resources: usize,
    /// Whether the render is empty and something was ours before.
    pub empty: bool,
    /// Whether a person suspended the stack.
    pub suspended: bool,
    /// What has to land before anything of this plan may: the sentence that says so.
    pub blocked: Option<&'a str>,
    pub nested: bool,
}

/// Splits a plan. A part that was approved, by its own digest or the whole plan's, is free.
pub fn gate(plan: &Plan, policy: &Policy, standing: Standing<'_>, approvals: &[Approval], now: Timestamp) -> Decision {
    let whole = plan.digest();
    let mut holds: Vec<Option<(HoldKind, String)>> = plan.changes.iter().map(|change| change.hold.clone()).collect();
    hold_out_of_bounds(plan, policy, &mut holds);
    hold_deletes(plan, policy, standing, &mut holds);
    let mut used = Vec::new();
    for (digest, changes) in parts(plan, &holds).into_values().map(|(digest, changes, _)| (digest, changes)) {
        let kind = holds[changes[0]].as_ref().map(|(kind, _)| *kind);
        let good = |approval: &&Approval| {
            approval.until > now && (approval.digest == digest || approval.digest == whole || planted::has(Bug::ForeignApproval))
        };
        if let Some(approval) = approvals.iter().find(good).filter(|_| kind.is_some_and(HoldKind::approvable)) {
            used.push(approval.index);
            changes.iter().for_each(|change| holds[*change] = None);
        }
    }
    // Last, because a yes to a part is no word on the whole stack. What is gone or another stack's is given up all the
    // same: that touches nothing, and keeping it would make two owners.
    let whole_stack = match (standing.suspended, standing.blocked) {
        (true, _) => Some((HoldKind::Suspended, "a person suspended the stack")),
        (false, Some(why)) => Some((HoldKind::Blocked, why)),
        (false, None) => None,
    };
    if let Some((kind, why)) = whole_stack {
        used.clear();
        for (hold, _) in holds.iter_mut().zip(&plan.changes).filter(|(_, change)| !given_up(change)) {
            hold.get_or_insert((kind, why.to_owned()));
        }
    }
    if standing.nested {
        hold_dependents(plan, &mut holds);
    }
    hold_around(&plan.changes, &mut holds);
    let held = parts(plan, &holds).into_iter().map(|(kind, (digest, changes, why))| {
        let next = next(kind, &digest, &changes.iter().map(|change| &plan.changes[*change]).collect::<Vec<_>>());
        Part { kind, digest, changes, why, next }
    });
    let held = held.collect();
    let free = (0..plan.changes.len()).filter(|change| holds[*change].is_none()).collect();
    used.sort_unstable();
    used.dedup();
    Decision { plan: whole, free, held, approvals: used }
}

fn given_up(change: &Change) -> bool {
    change.action == Action::Forget && (change.other.is_some() || change.reasons.contains(&Reason::AlreadyGone))
}

type Parts = BTreeMap<HoldKind, (Digest, Vec<usize>, String)>;

/// Groups held changes by kind. A part's sentence is its changes' own where they agree.
fn parts(plan: &Plan, holds: &[Option<(HoldKind, String)>]) -> Parts {
    let mut grouped: BTreeMap<HoldKind, Vec<usize>> = BTreeMap::new();
    for (change, hold) in holds.iter().enumerate() {
        if let Some((kind, _)) = hold {
            grouped.entry(*kind).or_default().push(change);
        }
    }
    let part = |(kind, changes): (HoldKind, Vec<usize>)| {
        let digest = plan.digest_of(changes.iter().map(|change| &plan.changes[*change]));
        let words = |change: &usize| holds[*change].as_ref().map_or("", |(_, why)| why.as_str());
        let first = words(&changes[0]);
        let same = changes.iter().all(|change| words(change) == first);
        let why = match same {
            true => first.to_owned(),
            false => format!("{first} (and {} more)", changes.len() - 1),
        };
        (kind, (digest, changes, why))
    };
    grouped.into_iter().map(part).collect()
}

/// What the operator does not let the stack manage waits for the operator, whatever else it might wait for: no yes lifts that.
fn hold_out_of_bounds(plan: &Plan, policy: &Policy, holds: &mut [Option<(HoldKind, String)>]) {
    let bounds = Bounds::of(policy);
    for (hold, change) in holds.iter_mut().zip(&plan.changes).filter(|(_, change)| change.action != Action::Forget) {
        if let Some(why) = bounds.refuse(&change.address).filter(|_| !planted::has(Bug::OutOfBounds)) {
            *hold = Some((HoldKind::OutOfBounds, why));
        }
    }
}

/// Deletes are held when the render is empty, or when they are more than the limits allow.
fn hold_deletes(plan: &Plan, policy: &Policy, standing: Standing<'_>, holds: &mut [Option<(HoldKind, String)>]) {
    // What ran once and goes as declared is no part of what the limits guard.
    let counts = |change: &Change| change.action == Action::Delete && !change.reasons.contains(&Reason::Spent);
    let deletes: Vec<usize> = (0..plan.changes.len()).filter(|change| counts(&plan.changes[*change])).collect();
    let fresh = |change: &&usize| holds[**change].is_none();
    if standing.empty && !planted::has(Bug::EmptyDeletes) {
        let why = format!("the render is empty; {} were there before", standing.resources);
        for change in deletes.iter().filter(fresh).copied().collect::<Vec<_>>() {
            holds[change] = Some((HoldKind::Empty, why.clone()));
        }
        return;
    }
    if over_limit(&policy.deletes, deletes.len(), standing.resources) && !planted::has(Bug::NoDeleteLimit) {
        let limit = policy.deletes;
        // A bound of zero leaves the other one.
        let over = match (limit.count, limit.percent) {
            (count, 0) => format!("more than {count}"),
            (0, percent) => format!("more than {percent} %"),
            (count, percent) => format!("more than {count} and more than {percent} %"),
        };
        let why = format!("deletes {} of {}, {over}", deletes.len(), standing.resources);
        for change in deletes.iter().filter(fresh).copied().collect::<Vec<_>>() {
            holds[change] = Some((HoldKind::Deletes, why.clone()));
        }
    }
}

/// What lies above or below a held change waits for it.
fn hold_dependents(plan: &Plan, holds: &mut [Option<(HoldKind, String)>]) {
    let by_address: BTreeMap<&str, usize> =
        plan.changes.iter().enumerate().map(|(index, change)| (change.address.as_str(), index)).collect();
    let held: Vec<usize> = (0..holds.len()).filter(|change| holds[*change].is_some()).collect();
    for change in held {
        let address = plan.changes[change].address.as_str();
        let inside = by_address.range(address..).skip(1).take_while(|(inner, _)| inner.starts_with(address));
        let inside = inside.filter(|(inner, _)| below(inner, address)).map(|(_, index)| *index);
        let above = address.match_indices('/').filter_map(|(end, _)| by_address.get(&address[..end]).copied());
        for dependent in inside.chain(above).collect::<Vec<_>>() {
            if holds[dependent].is_none() && plan.changes[dependent].action.writes() {
                holds[dependent] = Some((HoldKind::Depends, format!("waits for {address}, which is held")));
            }
        }
    }
}

/// What a person can do about a held part: the one sentence that every listing shows.
fn next(kind: HoldKind, digest: &Digest, changes: &[&Change]) -> String {
    let (digest, count) = (digest.short(), changes.len());
    match kind {
        HoldKind::Deletes | HoldKind::Empty => format!("to delete {count}: trued approve {digest}"),
        HoldKind::Foreign => format!("to take over {count} and keep their bytes on record: trued approve {digest}"),
        HoldKind::Drift => format!("answer the drift (trued incidents), or {}: trued approve {digest}", deeds(changes)),
        HoldKind::Orphan => format!("to delete {count}: trued approve {digest}; to leave them there: trued answer #N forget"),
        HoldKind::Claimed => "let one stack desire it".to_owned(),
        HoldKind::Waiting => "waits; runs by itself once that is in order".to_owned(),
        HoldKind::Unseen => "waits until the target can be seen".to_owned(),
        HoldKind::Depends => "waits for the held change it depends on".to_owned(),
        HoldKind::Suspended => "trued resume STACK".to_owned(),
        HoldKind::RolledBack => "commit a fix, or trued resume STACK".to_owned(),
        // The open incident is what takes the word.
        HoldKind::Undecided => "commit a fix, or answer it: trued incidents".to_owned(),
        HoldKind::Blocked => "runs by itself once that has landed: trued status".to_owned(),
        HoldKind::Deferred => "runs by itself once somebody brings it".to_owned(),
        HoldKind::Immutable => format!("to remove {count} and make them anew: trued approve {digest}"),
        HoldKind::Conflict => format!("leave these fields out, or take them over: trued approve {digest}"),
        HoldKind::OutOfBounds => "waits until the operator widens the target's `manage`".to_owned(),
        HoldKind::Awaits => "runs by itself once that is done".to_owned(),
        HoldKind::Marked => format!("to take over {count} from there: trued answer #N take-over, or trued approve {digest}"),
    }
}

/// All that a yes to a part lets happen: what is put back, and what else waits with it.
fn deeds(changes: &[&Change]) -> String {
    let (back, others): (Vec<&Change>, Vec<&Change>) = changes.iter().partition(|change| change.puts_back());
    if others.is_empty() {
        return "put back".to_owned();
    }
    let mut counted: BTreeMap<Action, usize> = BTreeMap::new();
    others.iter().for_each(|change| *counted.entry(change.action).or_default() += 1);
    let back = (!back.is_empty()).then(|| format!("put back {}", back.len()));
    let others = counted.into_iter().map(|(action, count)| format!("{} {count}", action.word()));
    back.into_iter().chain(others).collect::<Vec<_>>().join(", ")
}
