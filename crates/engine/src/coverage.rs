//! How far we reach on one target: what is managed, what nobody manages, what nobody need manage. Pure.

use std::collections::{BTreeMap, BTreeSet};

use trued_model::{Address, Evidence, Extent, Observation, Seen, StackId};

use crate::bounds::Globs;

/// What coverage is told from.
pub struct Ground<'a> {
    /// Everything that is there, as far as it was seen.
    pub seen: &'a Observation,
    /// What the driver takes for nobody's to manage, with the reason.
    pub aside: &'a BTreeMap<Address, String>,
    /// Whose inventory an address is in.
    pub owners: &'a BTreeMap<Address, StackId>,
    /// Which stacks desire an address now.
    pub wanted: &'a BTreeMap<Address, BTreeSet<StackId>>,
    /// The operator's globs of what nobody need manage.
    pub ignore: &'a [String],
    /// Whether addresses are paths, so that a folder is there when something in it is.
    pub nested: bool,
}

/// How far we reach. Every address that was seen stands in exactly one of `managed`, `unmanaged` and `ignored`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    pub managed: BTreeMap<Address, StackId>,
    /// Ours by the record, and certainly not there now. Told from complete views only.
    pub missing: BTreeMap<Address, StackId>,
    pub unmanaged: BTreeMap<Address, Unmanaged>,
    /// With the reason.
    pub ignored: BTreeMap<Address, String>,
}

/// Something that nobody manages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unmanaged {
    /// Who changed it last, as far as the target tells.
    pub evidence: Evidence,
    /// Stacks that desire it, and do not have it yet.
    pub wanted: BTreeSet<StackId>,
}

/// Tells how far we reach.
pub fn coverage(ground: &Ground<'_>) -> Coverage {
    let ignore = Globs::new(ground.ignore);
    let mut coverage = Coverage::default();
    for (address, seen) in &ground.seen.seen {
        let Seen::Present(state) = seen else { continue };
        let reason =
            || ignore.first(address).map(|glob| format!("the operator ignores {glob}")).or_else(|| ground.aside.get(address).cloned());
        if let Some(stack) = ground.owners.get(address) {
            coverage.managed.insert(address.clone(), stack.clone());
        } else if let Some(why) = reason() {
            coverage.ignored.insert(address.clone(), why);
        } else {
            let wanted = ground.wanted.get(address).cloned().unwrap_or_default();
            coverage.unmanaged.insert(address.clone(), Unmanaged { evidence: (*state.evidence).clone(), wanted });
        }
    }
    for (address, stack) in ground.owners {
        if coverage.managed.contains_key(address) {
            continue;
        }
        if ground.nested && holds_something(ground.seen, address) {
            coverage.managed.insert(address.clone(), stack.clone());
        } else if ground.seen.extent == Extent::Complete {
            coverage.missing.insert(address.clone(), stack.clone());
        }
    }
    coverage
}

fn holds_something(seen: &Observation, folder: &Address) -> bool {
    let from = Address::new(format!("{folder}/"));
    seen.seen.range(from.clone()..).next().is_some_and(|(inner, _)| inner.as_str().starts_with(from.as_str()))
}

#[cfg(test)]
mod tests {
    use trued_model::{Fingerprint, State, Timestamp};

    use super::*;

    fn stack(app: &str) -> StackId {
        StackId::from_key(&format!("default/{app}@web")).expect("a stack")
    }

    /// Every address with the word for where it stands.
    fn check(seen: &[&str], extent: Extent, owned: &[&str], ignore: &[&str], nested: bool, expected: &str) {
        let present = |address: &&str| {
            let state = State { fingerprint: Fingerprint::new(""), bytes: 1, uid: None, evidence: Default::default() };
            (Address::new(*address), Seen::Present(state))
        };
        let seen = Observation { at: Timestamp(1), extent, seen: seen.iter().map(present).collect() };
        let aside = BTreeMap::from([(Address::new("socket"), "no file".to_owned())]);
        let owners = owned.iter().map(|address| (Address::new(*address), stack("site"))).collect();
        let wanted = BTreeMap::from([(Address::new("wanted"), BTreeSet::from([stack("site")]))]);
        let ignore: Vec<String> = ignore.iter().map(|glob| (*glob).to_owned()).collect();
        let told = coverage(&Ground { seen: &seen, aside: &aside, owners: &owners, wanted: &wanted, ignore: &ignore, nested });
        let mut words = Vec::new();
        words.extend(told.managed.keys().map(|address| format!("{address} managed")));
        words.extend(told.missing.keys().map(|address| format!("{address} missing")));
        let wanted = |loose: &Unmanaged| if loose.wanted.is_empty() { "" } else { ", wanted" };
        words.extend(told.unmanaged.iter().map(|(address, loose)| format!("{address} unmanaged{}", wanted(loose))));
        words.extend(told.ignored.iter().map(|(address, why)| format!("{address} ignored: {why}")));
        words.sort();
        assert_eq!(words.join("\n"), expected);
    }

    #[test]
    fn each_thing_is_managed_or_unmanaged_or_ignored_with_a_reason() {
        let expected =
            "a managed\ncache/x ignored: the operator ignores cache/**\nnew unmanaged\nsocket ignored: no file\nwanted unmanaged, wanted";
        check(&["a", "new", "socket", "cache/x", "wanted"], Extent::Complete, &["a"], &["cache/**"], true, expected);
        check(&["cache/x"], Extent::Complete, &["cache/x"], &["cache/**"], true, "cache/x managed");
        check(&["a/b"], Extent::Complete, &[], &["*"], true, "a/b unmanaged");
    }

    #[test]
    fn what_was_not_seen_is_missing_only_in_a_complete_view() {
        check(&["a"], Extent::Complete, &["a", "gone"], &[], true, "a managed\ngone missing");
        check(&["a"], Extent::Partial("folder: denied".to_owned()), &["a", "gone"], &[], true, "a managed");
        check(&[], Extent::Unknown("no root".to_owned()), &["a"], &[], true, "");
    }

    #[test]
    fn a_folder_that_holds_something_is_there() {
        check(&["docs/a"], Extent::Complete, &["docs", "docs/a"], &[], true, "docs managed\ndocs/a managed");
        check(&["docs/a"], Extent::Complete, &["docs"], &[], false, "docs missing\ndocs/a unmanaged");
    }
}
