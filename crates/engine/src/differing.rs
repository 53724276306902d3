//! What is not in order: the only part of a stack that anything is decided about. Found by one walk over all that is desired,
//! ours and seen, side by side.

use trued_model::{Address, Desired, Extent, Item, Manifest, Observation, Resource, Seen, beside};

/// All but what is desired, was made so and is seen so.
pub(crate) struct Differing<'a> {
    pub desired: Vec<&'a Resource>,
    pub made: Vec<(&'a Address, &'a Item)>,
}

impl<'a> Differing<'a> {
    pub fn of(desired: &'a Desired, inventory: &'a Manifest, observed: &'a Observation) -> Differing<'a> {
        let mut differing = Differing { desired: Vec::new(), made: Vec::new() };
        let mut seen = match observed.extent {
            Extent::Unknown(_) => None,
            Extent::Complete | Extent::Partial(_) => Some(observed.seen.iter().peekable()),
        };
        for (address, resource, item) in beside(&desired.resources, &inventory.items) {
            let there = seen.as_mut().and_then(|seen| {
                while seen.next_if(|(other, _)| *other < address).is_some() {}
                match seen.next_if(|(other, _)| *other == address) {
                    Some((_, Seen::Present(state))) => Some(&state.fingerprint),
                    _ => None,
                }
            });
            let made = item.map(|item| &item.fingerprint);
            if made.is_some() && resource.map(|resource| &resource.fingerprint) == made && there == made {
                continue;
            }
            differing.desired.extend(resource);
            differing.made.extend(item.map(|item| (address, item)));
        }
        differing
    }
}
