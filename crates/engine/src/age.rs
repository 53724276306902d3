//! How old what is known of a source may get before people must know: nobody answers, or what answers never moves. A mirror
//! that somebody froze looks like one of which nobody changes anything, so only time tells.

use trued_model::{Duration, Patience, Timestamp};

/// Failed asks in a row after which people must know, where no span is written.
const FAILURES: u32 = 3;

/// Whether a source that has not answered since then, so many times in a row, has done so for too long.
pub fn unanswered(since: Timestamp, failures: u32, patience: Patience, now: Timestamp) -> bool {
    match patience.unanswered {
        Some(span) => over(since, span, now),
        None => failures >= FAILURES,
    }
}

/// Whether what a source follows has stayed where it is for too long.
pub fn unmoved(since: Timestamp, patience: Patience, now: Timestamp) -> bool {
    patience.unmoved.is_some_and(|span| over(since, span, now))
}

/// A clock that was set back makes nothing older.
fn over(since: Timestamp, span: Duration, now: Timestamp) -> bool {
    now >= since + span
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(hours: i64) -> Timestamp {
        Timestamp(hours * 3_600_000)
    }

    #[test]
    fn r20_who_does_not_answer_has_a_span_or_three_asks() {
        let spanned = Patience { unanswered: Some(HOUR), unmoved: None };
        assert!(!unanswered(at(0), 100, spanned, at(1) - Duration::from_secs(1)), "the operator's span counts, not how often was asked");
        assert!(unanswered(at(0), 1, spanned, at(1)));
        let unspoken = Patience::default();
        assert!(!unanswered(at(0), 2, unspoken, at(1000)));
        assert!(unanswered(at(0), 3, unspoken, at(0)));
    }

    #[test]
    fn r20_what_never_moves_is_told_after_its_span_and_only_where_there_is_one() {
        let spanned = Patience { unanswered: None, unmoved: Some(HOUR) };
        assert!(!unmoved(at(0), spanned, at(1) - Duration::from_secs(1)));
        assert!(unmoved(at(0), spanned, at(1)));
        assert!(!unmoved(at(0), spanned, at(-24)), "the clock was set back");
        assert!(!unmoved(at(0), Patience::default(), at(1_000_000)));
    }
}
