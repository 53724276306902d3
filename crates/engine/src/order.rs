//! The order in which changes run: nothing is removed from under something, nothing is put where something still is.

use trued_model::{Action, Address, Change, Turn};

/// Where a change stands: stage, rank, weight and kind of an errand, depth, address.
pub(crate) type Key = (u8, i32, i32, i32, usize, Address);

/// Sorts changes. Where addresses nest: removals children first, then everything else parents first. Where they do not,
/// nothing is in the way of anything: by rank, then by address, and removals last and the other way round, so that what
/// replaces something is there before it goes. What writes nothing comes last. What runs once has a rank of its own. The order
/// is total, so the same set always runs the same way.
pub(crate) fn order(changes: &mut [Change], nested: bool, ranks: &[(String, i32)]) {
    changes.sort_by_cached_key(|change| key(change, nested, ranks));
}

pub(crate) fn key(change: &Change, nested: bool, ranks: &[(String, i32)]) -> Key {
    if let Some(turn) = &change.turn {
        return of_turn(turn, &change.address);
    }
    let rank = change.address.rank(ranks.iter().map(|(prefix, rank)| (prefix.as_str(), *rank)));
    let depth = if nested { change.address.as_str().matches('/').count() } else { 0 };
    let (stage, rank, deep) = match change.action {
        Action::Delete if nested => (0, rank.saturating_neg(), usize::MAX - depth),
        Action::Delete => (2, rank.saturating_neg(), usize::MAX - depth),
        Action::Create | Action::Update | Action::Replace | Action::Move => (1, rank, depth),
        Action::Adopt | Action::Forget => (3, rank, depth),
    };
    (stage, rank, 0, 0, deep, change.address.clone())
}

/// Where something stands that runs once.
pub(crate) fn of_turn(turn: &Turn, address: &Address) -> Key {
    (1, turn.rank, turn.weight, turn.kind, 0, address.clone())
}

/// Whether one address lies below another, where addresses nest.
pub(crate) fn below(inner: &str, outer: &str) -> bool {
    inner.len() > outer.len() && inner.starts_with(outer) && inner.as_bytes()[outer.len()] == b'/'
}

#[cfg(test)]
mod tests {
    use trued_model::Address;

    use super::*;

    fn change(action: Action, address: &str) -> Change {
        let address = Address::new(address);
        Change {
            address,
            action,
            before: None,
            after: None,
            uid: None,
            other: None,
            content: None,
            keep: false,
            reasons: Vec::new(),
            hold: None,
            turn: None,
            awaits: None,
        }
    }

    fn ordered(nested: bool) -> Vec<String> {
        let mut changes = vec![
            change(Action::Delete, "core/Namespace/-/old"),
            change(Action::Create, "apps/Deployment/shop/web"),
            change(Action::Adopt, "core/Namespace/-/kept"),
            change(Action::Delete, "apps/Deployment/shop/old"),
            change(Action::Create, "core/Namespace/-/shop"),
            change(Action::Create, "example.org/Widget/shop/one"),
        ];
        order(&mut changes, nested, &[("core/Namespace/".to_owned(), -90), ("apps/".to_owned(), -10)]);
        changes.iter().map(|change| format!("{} {}", change.action.word(), change.address)).collect()
    }

    #[test]
    fn kinds_are_made_by_rank_and_removed_last_the_other_way_round() {
        let expected = [
            "create core/Namespace/-/shop",
            "create apps/Deployment/shop/web",
            "create example.org/Widget/shop/one",
            "delete apps/Deployment/shop/old",
            "delete core/Namespace/-/old",
            "adopt core/Namespace/-/kept",
        ];
        assert_eq!(ordered(false), expected);
        assert_eq!(
            ordered(true)[0..2].iter().filter(|line| line.starts_with("delete")).count(),
            2,
            "where addresses nest, room is made first"
        );
    }
}
