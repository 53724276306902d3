//! How people say an instant: `21:40`, `"2 hours ago"`, `@{yesterday 9:00}`, `#17`, `~2`. Parses; asks no record.

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Span, ToSpan, Zoned};
use trued_model::Timestamp;

use crate::exit::usage;

/// An instant as a person named it; the last two are looked up in the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    At(Timestamp),
    /// When that entry was true.
    Entry(u64),
    /// So many state-bearing entries of the stack back.
    Back(u64),
}

pub const FORMS: &str = "2026-11-19T21:40:00Z, \"2026-11-19 21:40\", 21:40, \"40 seconds ago\", 2.hours.ago, \"yesterday 21:40\", \
                         \"Thu 21:40\", now, #17 (when that entry was true), ~2 (two changes of that stack back)";

/// Reads what a person typed. Local times are of this machine's zone.
pub fn moment(text: &str, now: Timestamp) -> anyhow::Result<Moment> {
    moment_in(text, now, TimeZone::system())
}

/// Writes an instant for people: local time, with the date unless it is today.
pub fn clock(at: Timestamp, now: Timestamp) -> String {
    let zone = TimeZone::system();
    let (Ok(at), Ok(now)) = (zoned(at, &zone), zoned(now, &zone)) else { return at.to_string() };
    if at.date() == now.date() { at.strftime("%H:%M:%S").to_string() } else { at.strftime("%Y-%m-%d %H:%M:%S").to_string() }
}

/// Writes an instant for people, always with its date.
pub fn date_and_clock(at: Timestamp) -> String {
    zoned(at, &TimeZone::system()).map_or_else(|_| at.to_string(), |at| at.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

fn moment_in(text: &str, now: Timestamp, zone: TimeZone) -> anyhow::Result<Moment> {
    let wrapped = text.trim();
    let bare = wrapped.strip_prefix("@{").and_then(|rest| rest.strip_suffix('}')).unwrap_or(wrapped).trim();
    let wrong = || usage(format!("{text:?} is no instant; write one as {FORMS}"));
    if let Some(index) = bare.strip_prefix('#') {
        return index.parse().map(Moment::Entry).map_err(|_| wrong());
    }
    if let Some(back) = bare.strip_prefix('~') {
        return back.parse().map(Moment::Back).map_err(|_| wrong());
    }
    let here = zoned(now, &zone).map_err(|_| wrong())?;
    let found = said(bare, &here).ok_or_else(wrong)?;
    Ok(Moment::At(Timestamp(found.timestamp().as_millisecond())))
}

fn zoned(at: Timestamp, zone: &TimeZone) -> Result<Zoned, jiff::Error> {
    Ok(jiff::Timestamp::from_millisecond(at.0)?.to_zoned(zone.clone()))
}

fn said(text: &str, now: &Zoned) -> Option<Zoned> {
    if text.eq_ignore_ascii_case("now") {
        return Some(now.clone());
    }
    if let Ok(exact) = text.parse::<jiff::Timestamp>() {
        return Some(exact.to_zoned(now.time_zone().clone()));
    }
    let local = |at: DateTime| at.to_zoned(now.time_zone().clone()).ok();
    // A bare date would be read as one by the next parser; a bare time must not be taken for a date.
    if let Some(time) = clock_time(text) {
        let today = local(now.date().to_datetime(time))?;
        return if today > *now { local(now.date().yesterday().ok()?.to_datetime(time)) } else { Some(today) };
    }
    if let Ok(at) = text.parse::<DateTime>() {
        return local(at);
    }
    if let Some((date, time)) = text.split_once(' ')
        && let (Ok(date), Some(time)) = (date.parse::<Date>(), clock_time(time.trim()))
    {
        return local(date.to_datetime(time));
    }
    ago(text, now).or_else(|| {
        let (word, time) = text.split_once(' ').unwrap_or((text, "00:00"));
        let time = clock_time(time.trim())?;
        let date = day(&word.to_ascii_lowercase(), now.date(), time > now.time())?;
        local(date.to_datetime(time))
    })
}

/// Reads `9:00`, `21:40`, `21:40:07`.
fn clock_time(text: &str) -> Option<Time> {
    let mut numbers = text.split(':');
    let mut number = |required: bool| match numbers.next() {
        Some(digits) if (1..=2).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse::<i8>().ok(),
        None if !required => Some(0),
        _ => None,
    };
    let (hour, minute, second) = (number(true)?, number(true)?, number(false)?);
    if numbers.next().is_some() {
        return None;
    }
    Time::new(hour, minute, second, 0).ok()
}

/// Reads `40 seconds ago`, `2.hours.ago`, `3h ago`.
fn ago(text: &str, now: &Zoned) -> Option<Zoned> {
    let spaced = text.to_ascii_lowercase().replace('.', " ");
    let span = spaced.trim().strip_suffix("ago")?.trim();
    let split = span.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = span.split_at(split);
    let number: i64 = number.parse().ok()?;
    let span = Span::new();
    let span = match unit.trim() {
        "s" | "sec" | "secs" | "second" | "seconds" => span.try_seconds(number),
        "m" | "min" | "mins" | "minute" | "minutes" => span.try_minutes(number),
        "h" | "hour" | "hours" => span.try_hours(number),
        "d" | "day" | "days" => span.try_days(number),
        "w" | "week" | "weeks" => span.try_weeks(number),
        "month" | "months" => span.try_months(number),
        "y" | "year" | "years" => span.try_years(number),
        _ => return None,
    };
    now.checked_sub(span.ok()?).ok()
}

/// The day a word names, never in the future: a weekday is the last one there was.
fn day(word: &str, today: Date, later_than_now: bool) -> Option<Date> {
    let weekday = match word {
        "today" => return Some(today),
        "yesterday" => return today.yesterday().ok(),
        "mon" | "monday" => Weekday::Monday,
        "tue" | "tuesday" => Weekday::Tuesday,
        "wed" | "wednesday" => Weekday::Wednesday,
        "thu" | "thursday" => Weekday::Thursday,
        "fri" | "friday" => Weekday::Friday,
        "sat" | "saturday" => Weekday::Saturday,
        "sun" | "sunday" => Weekday::Sunday,
        _ => return None,
    };
    let back = i64::from(today.weekday().since(weekday));
    let back = if back == 0 && later_than_now { 7 } else { back };
    today.checked_sub(back.days()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Now is Saturday 2026-11-21 09:30:00 in a zone one hour ahead of UTC.
    fn check(text: &str, expected: &str) {
        let now = "2026-11-21T08:30:00Z".parse().expect("an instant");
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        let found = match moment_in(text, now, zone) {
            Ok(Moment::At(at)) => at.to_string(),
            Ok(Moment::Entry(index)) => format!("#{index}"),
            Ok(Moment::Back(back)) => format!("~{back}"),
            Err(_) => "wrong".to_owned(),
        };
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn exact_and_local_times() {
        check("2026-11-19T21:40:00Z", "2026-11-19T21:40:00.000Z");
        check("2026-11-19T21:40:00.123+02:00", "2026-11-19T19:40:00.123Z");
        check("2026-11-19 21:40", "2026-11-19T20:40:00.000Z");
        check("2026-11-19T21:40", "2026-11-19T20:40:00.000Z");
        check("2026-11-19", "2026-11-18T23:00:00.000Z");
        check("now", "2026-11-21T08:30:00.000Z");
    }

    #[test]
    fn a_clock_time_is_the_last_such() {
        check("09:00", "2026-11-21T08:00:00.000Z");
        check("9:29:59", "2026-11-21T08:29:59.000Z");
        check("21:40", "2026-11-20T20:40:00.000Z");
    }

    #[test]
    fn days_by_name_are_past() {
        check("yesterday 21:40", "2026-11-20T20:40:00.000Z");
        check("today 08:00", "2026-11-21T07:00:00.000Z");
        check("Thu 21:40", "2026-11-19T20:40:00.000Z");
        check("Saturday 09:00", "2026-11-21T08:00:00.000Z");
        check("sat 21:40", "2026-11-14T20:40:00.000Z");
        check("monday", "2026-11-15T23:00:00.000Z");
    }

    #[test]
    fn spans_back() {
        check("40 seconds ago", "2026-11-21T08:29:20.000Z");
        check("2.hours.ago", "2026-11-21T06:30:00.000Z");
        check("@{2.hours.ago}", "2026-11-21T06:30:00.000Z");
        check("@{yesterday 21:40}", "2026-11-20T20:40:00.000Z");
        check("3h ago", "2026-11-21T05:30:00.000Z");
        check("1 week ago", "2026-11-14T08:30:00.000Z");
    }

    #[test]
    fn places_in_the_record() {
        check("#17", "#17");
        check("@{#17}", "#17");
        check("~2", "~2");
    }

    #[test]
    fn what_is_no_instant_is_refused() {
        for text in ["", "25:00", "21:60", "soon", "#x", "~", "7", "ago", "99999999999999999999 days ago", "9 fortnights ago", "1:2:3:4"] {
            check(text, "wrong");
        }
    }
}
