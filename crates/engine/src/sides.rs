//! What is desired, what is ours and what was seen, side by side, and what of it is not in order: the only part of a stack that
//! anything is decided about. Found by one walk over all three.

use trued_model::{Address, Desired, Extent, Item, Manifest, Observation, Resource, Seen, beside};

/// The three sides of a stack, compared once for all that is decided about it.
#[derive(Debug)]
pub struct Sides<'a> {
    /// From one complete render.
    pub desired: &'a Desired,
    /// Last applied: what is ours.
    pub inventory: &'a Manifest,
    pub observed: &'a Observation,
    /// All of the desired but what was made so and is seen so.
    pub(crate) open: Vec<&'a Resource>,
    /// The same of what is ours.
    pub(crate) made: Vec<(&'a Address, &'a Item)>,
}

impl<'a> Sides<'a> {
    pub fn of(desired: &'a Desired, inventory: &'a Manifest, observed: &'a Observation) -> Sides<'a> {
        let mut sides = Sides { desired, inventory, observed, open: Vec::new(), made: Vec::new() };
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
            sides.open.extend(resource);
            sides.made.extend(item.map(|item| (address, item)));
        }
        sides
    }
}
