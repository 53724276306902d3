//! What others wrote into the record since this process looked: who has to be woken for it. What its own walks wrote wakes
//! nobody, for a stack that fails would cut its own pause short with it.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use trued_doors::{Answer, Query};
use trued_model::{Indexed, Kind, StackId};

use crate::runtime::Runtime;

/// Entries of this process's own walks that were not passed over yet; none are kept while nobody looks.
#[derive(Default)]
pub(crate) struct Own(Mutex<Option<BTreeSet<u64>>>);

impl Own {
    pub fn note(&self, placed: &[Indexed]) {
        if let Some(own) = self.0.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            own.extend(placed.iter().map(|indexed| indexed.index));
        }
    }

    /// The stretches of `from..until` that others wrote.
    fn between(&self, from: u64, until: u64) -> Vec<(u64, u64)> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = kept.get_or_insert_default();
        let later = own.split_off(&until);
        let passed = std::mem::replace(own, later);
        let ends = passed.range(from..).copied().chain([until]);
        let mut stretches = Vec::new();
        let mut begins = from;
        for end in ends {
            if begins < end {
                stretches.push((begins, end));
            }
            begins = end + 1;
        }
        stretches
    }
}

/// Who is concerned by what others wrote.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Concerned {
    Everybody,
    These(BTreeSet<StackId>),
}

impl Runtime {
    /// Who is concerned by what others wrote since the record had `seen` entries, and how many it has now. `None` was never.
    pub(crate) async fn concerned_since(&self, seen: Option<u64>) -> Answer<(u64, Concerned)> {
        let size = self.doors.store.head().await?.size;
        let stretches = self.own.between(seen.unwrap_or(size), size);
        let Some(seen) = seen else { return Ok((size, Concerned::Everybody)) };
        if size < seen {
            return Ok((size, Concerned::Everybody));
        }
        let mut these = BTreeSet::new();
        for (from, until) in stretches {
            let query = Query { after: from.checked_sub(1), before: Some(until), ascending: true, ..Query::default() };
            for indexed in self.doors.store.find(query).await? {
                match indexed.entry.stack {
                    Some(stack) => drop(these.insert(stack)),
                    None if indexed.entry.kind == Kind::Heartbeat => {}
                    None => return Ok((size, Concerned::Everybody)),
                }
            }
        }
        let waiting: Vec<StackId> = these.iter().flat_map(|stack| self.waiting_for(stack)).collect();
        these.extend(waiting);
        Ok((size, Concerned::These(these)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(indices: &[u64]) -> Own {
        Own(Mutex::new(Some(indices.iter().copied().collect())))
    }

    #[test]
    fn what_others_wrote_lies_between_what_was_written_here() {
        assert_eq!(own(&[]).between(3, 6), [(3, 6)]);
        assert_eq!(own(&[3, 4, 5]).between(3, 6), []);
        assert_eq!(own(&[4, 7]).between(3, 9), [(3, 4), (5, 7), (8, 9)]);
        assert_eq!(own(&[1, 4]).between(6, 6), []);
    }

    #[test]
    fn what_was_passed_over_is_forgotten_and_what_comes_later_is_not() {
        let own = own(&[3, 8]);
        assert_eq!(own.between(3, 5), [(4, 5)]);
        assert_eq!(own.between(5, 9), [(5, 8)]);
        assert_eq!(own.between(3, 5), [(3, 5)]);
    }
}
