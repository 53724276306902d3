//! How many deletes are too many.

use trued_model::Deletes;

/// Whether a number of deletes exceeds both bounds: the count, and the share of all resources.
///
/// With the default (5, 20 %): 6 of 10 is over, 5 of 5 is not, 6 of 100 is not.
pub fn over_limit(limit: &Deletes, deletes: usize, resources: usize) -> bool {
    let share = deletes.saturating_mul(100) > (limit.percent as usize).saturating_mul(resources);
    deletes > limit.count as usize && share
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_bounds_must_be_exceeded() {
        let limit = Deletes::default();
        assert!(over_limit(&limit, 6, 10));
        assert!(!over_limit(&limit, 5, 5), "five are always allowed");
        assert!(!over_limit(&limit, 6, 100), "six percent are allowed");
        assert!(over_limit(&limit, 21, 100));
        assert!(!over_limit(&limit, 20, 100));
    }

    #[test]
    fn a_bound_of_zero_leaves_the_other_one() {
        assert!(over_limit(&Deletes { count: 0, percent: 20 }, 1, 3));
        assert!(over_limit(&Deletes { count: 2, percent: 0 }, 3, 1000));
    }
}
