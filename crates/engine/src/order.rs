//! The order in which changes run: nothing is removed from under something, nothing is put where something still is.

use trued_model::{Action, Change};

/// Sorts changes. Where addresses nest: removals children first, then everything else parents first; otherwise by
/// address. What writes nothing comes last. The order is total, so the same set always runs the same way.
pub(crate) fn order(changes: &mut [Change], nested: bool) {
    let depth = |change: &Change| if nested { change.address.as_str().matches('/').count() } else { 0 };
    let stage = |change: &Change| match change.action {
        Action::Delete => 0,
        Action::Create | Action::Update | Action::Replace => 1,
        Action::Move => 1,
        Action::Adopt | Action::Forget => 2,
    };
    changes.sort_by(|one, other| {
        let deep = |change: &Change| match change.action {
            Action::Delete => usize::MAX - depth(change),
            _ => depth(change),
        };
        (stage(one), deep(one), &one.address).cmp(&(stage(other), deep(other), &other.address))
    });
}

/// Whether one address lies below another, where addresses nest.
pub(crate) fn below(inner: &str, outer: &str) -> bool {
    inner.len() > outer.len() && inner.starts_with(outer) && inner.as_bytes()[outer.len()] == b'/'
}
