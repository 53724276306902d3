//! What every ledger store promises. `store_suite!(fresh)` makes a test of each promise.

mod entries;
mod leases;
mod queries;

use std::sync::Arc;

use serde_json::json;
use trued_model::{Actor, Digest, Draft, Kind, StackId, Timestamp};

use super::SteppedClock;
use crate::{Holder, Store};

pub use entries::*;
pub use leases::*;
pub use queries::*;

/// One ledger under test, with the processes and the time around it.
pub trait Subject: Sync {
    /// Another handle to the same ledger, as another process would have one.
    fn open(&self) -> Arc<dyn Store>;
    /// The clock that all handles read.
    fn clock(&self) -> &SteppedClock;
    /// A living process; another one with every call.
    fn process(&self) -> Holder;
    /// Ends a process that [`Subject::process`] gave.
    fn kill(&self, process: &Holder);
}

/// Makes a test of every promise. `$fresh` is a path to a function that gives an empty ledger: `fn() -> impl Subject`.
#[macro_export]
macro_rules! store_suite {
    ($fresh:path) => {
        $crate::store_suite!(@each $fresh:
            an_empty_ledger_has_no_origin entries_keep_their_order leaves_are_canonical the_root_is_that_of_rfc_6962
            time_never_goes_back_in_the_record an_entry_too_large_refuses_its_batch numbers_that_would_change_are_refused
            eight_appenders_make_one_tree notes_are_kept stacks_are_those_that_entries_name
            queries_answer_as_a_full_scan_would limits_and_bounds_hold_together late_records_are_found
            a_lease_is_for_one_living_process the_dead_hold_nothing a_stopped_holder_ends_after_its_term
            wall_clocks_do_not_end_leases another_boot_ends_all_leases epochs_only_rise
            a_lease_given_back_is_free_and_its_epoch_stays a_fence_that_no_longer_holds_appends_nothing);
    };
    (@each $fresh:path: $($promise:ident)+) => {
        $(#[test]
        fn $promise() {
            $crate::conformance::store::$promise(&$fresh());
        })+
    };
}

/// The instant the suites begin at.
pub const START: Timestamp = Timestamp(1_795_000_000_000);

/// A stack by its key.
pub(crate) fn stack(key: &str) -> StackId {
    StackId::from_key(key).expect("a stack's key")
}

/// A small draft of a kind, about a stack.
pub fn draft(kind: Kind, about: Option<&str>, n: u64) -> Draft {
    Draft {
        kind,
        stack: about.map(stack),
        run: None,
        valid_from: START,
        actor: Actor::engine(),
        cause: "source".to_owned(),
        revision: None,
        links: Vec::new(),
        body: json!({ "n": n }),
        blobs: Vec::new(),
    }
}

/// The Merkle tree hash as RFC 6962 section 2.1 defines it, by recursion; slow and plain on purpose.
fn root_of(leaves: &[Vec<u8>]) -> Digest {
    match leaves {
        [] => Digest::of(b""),
        [leaf] => Digest::of(&[&[0], &leaf[..]].concat()),
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            Digest::of(&[&[1], &root_of(left).0[..], &root_of(right).0[..]].concat())
        }
    }
}
