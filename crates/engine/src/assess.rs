//! How what was seen differs from what we made, and where each difference comes from.

use std::collections::BTreeMap;

use trued_model::body::{Cause, DriftItem};
use trued_model::{Address, Digest, Duration, Evidence, Fingerprint, Seen, Timestamp};

use crate::sides::Sides;
use crate::{Claims, StackMemory};

/// So many episodes within [`FLAPPING_WITHIN`] are a fight, not an edit.
const FLAPPING: usize = 3;
const FLAPPING_WITHIN: Duration = Duration::from_secs(3600);

/// The outcome of a look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assessment {
    /// What differs from what we made although nobody desires it so, by address.
    pub drift: Vec<DriftItem>,
    /// Every difference between desired and seen, with its cause; drift included.
    pub causes: BTreeMap<Address, Cause>,
}

/// Compares desired, made and seen. Addresses that could not be seen are no difference; they are not known. What is no
/// longer desired here and is another stack's by now is no drift: that stack may have changed it already.
///
/// `last_look` is the newest complete look before this one: a change cannot have come before it unless the target says so.
pub fn assess(sides: &Sides, claims: &Claims, memory: &StackMemory, same_inputs: bool, last_look: Option<Timestamp>) -> Assessment {
    let mut assessment = Assessment::default();
    let Sides { desired, inventory, observed, open, made } = sides;
    for resource in open {
        let address = &resource.address;
        let seen = observed.get(address);
        if !seen.decided() || seen.fingerprint() == Some(&resource.fingerprint) {
            continue;
        }
        let cause = match inventory.items.get(address) {
            None => Cause::NeverApplied,
            Some(made) if seen.fingerprint() != Some(&made.fingerprint) => outside(memory, address, observed.at),
            Some(_) if same_inputs => Cause::RendererChanged,
            Some(_) => Cause::DesiredChanged,
        };
        assessment.causes.insert(address.clone(), cause);
    }
    // What ran once may be gone, or be as it became.
    for (address, made) in made.iter().filter(|(address, _)| !desired.errands.contains_key(*address)) {
        let seen = observed.get(address);
        let wanted = desired.resources.get(address).map(|resource| &resource.fingerprint);
        let as_made = seen.fingerprint() == Some(&made.fingerprint);
        let left = match desired.resources.contains_key(address) {
            true => claims.made_by_other(address, seen.fingerprint()),
            false => claims.elsewhere(address),
        };
        if !seen.decided() || as_made || seen.fingerprint() == wanted || left {
            continue;
        }
        let cause = outside(memory, address, observed.at);
        let evidence = match &seen {
            Seen::Present(state) => (*state.evidence).clone(),
            _ => Evidence::default(),
        };
        assessment.drift.push(DriftItem {
            address: (*address).clone(),
            cause,
            made: Some(made.fingerprint.clone()),
            found: seen.fingerprint().cloned(),
            since: since(&evidence, last_look, observed.at),
            line: None,
            evidence,
        });
    }
    assessment
}

fn outside(memory: &StackMemory, address: &Address, now: Timestamp) -> Cause {
    let recent = memory.episodes.get(address).map_or(0, |times| times.iter().filter(|at| **at > now - FLAPPING_WITHIN).count());
    if recent >= FLAPPING { Cause::Flapping } else { Cause::ChangedOutside }
}

/// Since when it is so: the target's own word if it lies between the last look and now, otherwise now.
fn since(evidence: &Evidence, last_look: Option<Timestamp>, now: Timestamp) -> Timestamp {
    match evidence.changed_at {
        Some(at) if at <= now && last_look.is_none_or(|look| at + Duration::from_secs(1) >= look) => at,
        _ => now,
    }
}

/// Names a set of differences: equal sets are the same drift.
pub fn drift_set(items: &[DriftItem]) -> Digest {
    let set: BTreeMap<&Address, &Option<Fingerprint>> = items.iter().map(|item| (&item.address, &item.found)).collect();
    Digest::of_canonical(&set)
}
