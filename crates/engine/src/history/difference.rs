//! Where two manifests differ. Addresses and fingerprints only; texts are compared by whoever can read them.

use trued_model::{Address, Item, Manifest};

/// One address that is not the same on both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub address: Address,
    pub before: Option<Item>,
    pub after: Option<Item>,
}

/// Compares two manifests by fingerprint; sorted by address.
pub fn differences(before: &Manifest, after: &Manifest) -> Vec<Difference> {
    let gone_or_changed = before.items.iter().filter_map(|(address, item)| {
        let now = after.items.get(address);
        let same = now.is_some_and(|now| now.fingerprint == item.fingerprint);
        (!same).then(|| Difference { address: address.clone(), before: Some(item.clone()), after: now.cloned() })
    });
    let new = after.items.iter().filter(|(address, _)| !before.items.contains_key(address));
    let new = new.map(|(address, item)| Difference { address: address.clone(), before: None, after: Some(item.clone()) });
    let mut all: Vec<Difference> = gone_or_changed.chain(new).collect();
    all.sort_by(|a, b| a.address.cmp(&b.address));
    all
}
