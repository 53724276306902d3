//! What a run's changes make of the stack's inventory, by what was seen after them.

use trued_model::{Action, Address, Change, Item, Manifest, Reason, Seen};

/// Whether a change is in place, by what was seen since. Where addresses nest, what was removed may have given way to
/// the folder of something that was made after it.
pub(super) fn in_place(change: &Change, all: &[Change], nested: bool, seen: &dyn Fn(&Address) -> Seen) -> bool {
    let there = seen(&change.address);
    // What is made anew is another thing, also where it looks the same.
    if let (Action::Replace, Some(uid), Seen::Present(state)) = (change.action, &change.uid, &there)
        && state.uid.as_ref() == Some(uid)
    {
        return false;
    }
    if !there.decided() || there.fingerprint() == change.after.as_ref() {
        return there.decided();
    }
    let inside = |inner: &&Change| {
        let rest = inner.address.as_str().strip_prefix(change.address.as_str());
        inner.after.is_some() && rest.is_some_and(|rest| rest.starts_with('/'))
    };
    let made = |inner: &Change| seen(&inner.address).fingerprint() == inner.after.as_ref();
    nested && change.after.is_none() && there.fingerprint() != change.before.as_ref() && all.iter().filter(inside).any(made)
}

/// Where something of ours gives way to something else, and the run ended in between, it stays ours: it was emptied of what
/// told so.
pub(super) fn own_what_gives_way(inventory: &mut Manifest, change: &Change) {
    if let (Action::Replace, Some(before), Some(_)) = (change.action, &change.before, &change.after)
        && !change.reasons.contains(&Reason::Foreign)
    {
        let ours = || Item { fingerprint: before.clone(), content: None, errand: change.turn.is_some() };
        inventory.items.entry(change.address.clone()).or_insert_with(ours);
    }
}

/// Takes out of an inventory what was removed to be made anew, and was not made.
pub(super) fn disown_what_went(inventory: &mut Manifest, change: &Change, there: &Seen) {
    if change.action == Action::Replace && *there == Seen::Absent {
        inventory.items.remove(&change.address);
    }
}

/// Takes a change that is in place into an inventory.
pub(super) fn own(inventory: &mut Manifest, change: &Change) {
    match (&change.action, &change.after) {
        (Action::Delete | Action::Forget, _) | (_, None) => {
            inventory.items.remove(&change.address);
        }
        (_, Some(after)) => {
            let item = Item { fingerprint: after.clone(), content: change.content, errand: change.turn.is_some() };
            inventory.items.insert(change.address.clone(), item);
        }
    }
}
