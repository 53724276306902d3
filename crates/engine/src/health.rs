//! How well all of a stack is: what its things say of themselves, taken together, against the time they were given.

use std::collections::BTreeMap;

use trued_model::{Address, Condition, Duration, Health, Timestamp};

use crate::planted::{self, Bug};

/// A stack's health, judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wellness {
    Ready,
    /// Not ready, and there is time left: what it waits for.
    Waits(String),
    /// Something says that it failed, or the time is over: what, and why.
    Failed(String),
}

/// Judges conditions together: one that failed fails all at once, one that is not ready is waited for as long as there is
/// time. What cannot be told is waited for too, and is never taken for ready.
pub fn wellness(conditions: &BTreeMap<Address, Condition>, since: Timestamp, within: Duration, now: Timestamp) -> Wellness {
    let named = |wanted: &dyn Fn(Health) -> bool| {
        let mut fitting = conditions.iter().filter(|(_, condition)| wanted(condition.health));
        let (address, condition) = fitting.next()?;
        let more = match fitting.count() {
            0 => String::new(),
            more => format!(" (and {more} more)"),
        };
        Some(format!("{address}: {}{more}", condition.why))
    };
    if let Some(failed) = named(&|health| health == Health::Degraded) {
        return Wellness::Failed(failed);
    }
    match named(&|health| health != Health::Ready) {
        None => Wellness::Ready,
        Some(_) if planted::has(Bug::UnreadyIsReady) => Wellness::Ready,
        Some(waits) if now >= since + within => Wellness::Failed(format!("not ready within {within}: {waits}")),
        Some(waits) => Wellness::Waits(waits),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(conditions: &[(&str, Condition)], seconds: i64) -> Wellness {
        let conditions = conditions.iter().map(|(address, condition)| (Address::new(*address), condition.clone())).collect();
        wellness(&conditions, Timestamp(0), Duration::from_secs(60), Timestamp(seconds * 1_000))
    }

    #[test]
    fn fault_46_what_is_never_ready_fails_when_its_time_is_over_and_what_failed_at_once() {
        let waits = || ("b", Condition::progressing("0 of 2"));
        let unknown = || ("c", Condition::unknown("denied"));
        let ready = || ("a", Condition::ready());
        assert_eq!(judged(&[], 0), Wellness::Ready);
        assert_eq!(judged(&[ready()], 90), Wellness::Ready, "late is not lost");
        assert_eq!(judged(&[ready(), waits(), unknown()], 59), Wellness::Waits("b: 0 of 2 (and 1 more)".to_owned()));
        assert_eq!(judged(&[ready(), unknown()], 1), Wellness::Waits("c: denied".to_owned()), "unknown is not ready");
        assert_eq!(judged(&[ready(), waits()], 60), Wellness::Failed("not ready within 1m: b: 0 of 2".to_owned()));
        assert_eq!(judged(&[waits(), ("d", Condition::degraded("no image"))], 1), Wellness::Failed("d: no image".to_owned()));
    }
}
