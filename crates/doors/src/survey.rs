//! Everything that is at a place on a target, for telling what nobody manages and taking it over. Values; decide nothing.

use std::collections::BTreeMap;

use trued_model::{Address, Fingerprint, Observation, Refusal, Shape};

/// Everything at a place, as far as it can be seen.
#[derive(Clone, Debug)]
pub struct Survey {
    /// All that is there; fingerprints may be empty. Complete only where nothing is in `unseen`.
    pub seen: Observation,
    /// Of these, what nobody would write by hand, with the reason in a few words: `made by another object`.
    pub aside: BTreeMap<Address, String>,
    /// Of these, what somebody else than us says to manage, and who: `Helm release web`.
    pub theirs: BTreeMap<Address, String>,
    /// What could not be seen into (a folder, a kind of objects), with the coded no. Never the same as empty.
    pub unseen: BTreeMap<Address, Refusal>,
}

impl Survey {
    /// A look of which nothing else is known.
    pub fn of(seen: Observation) -> Survey {
        Survey { seen, aside: BTreeMap::new(), theirs: BTreeMap::new(), unseen: BTreeMap::new() }
    }
}

/// Something on a target that is to be written into a source.
pub struct Found<'a> {
    pub address: &'a Address,
    pub fingerprint: &'a Fingerprint,
    /// Its bytes as the link kept them.
    pub bytes: &'a [u8],
    /// The place on the target of the stack that will have it.
    pub into: &'a str,
}

/// How something on a target is written in a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sourced {
    /// From the stack's folder, as [`trued_model::encode_path`] writes it.
    pub path: String,
    pub shape: Shape,
    pub bytes: Vec<u8>,
}
