//! What a draft must be before it can be an entry: small, and the same after it was written and read.

use serde_json::{Number, Value};
use trued_doors::Answer;
use trued_model::{Code, Draft, Entry, MAX_ENTRY, Refusal, Timestamp};

/// The years 1 to 9999: what RFC 3339 can write.
const INSTANTS: std::ops::RangeInclusive<i64> = -62_135_596_800_000..=253_402_207_199_999;

/// The largest integer that canonical JSON's numbers, which are doubles, keep exactly.
const EXACT: u64 = (1 << 53) - 1;

/// How deep a body may nest; readers of JSON stop at 128.
const DEPTH: u32 = 64;

/// Everything of an entry but its texts, lists and body: keys, punctuation, times, a stack's three names.
const FRAME: usize = 768;

/// Refuses a draft that would not read back as it is, or is too large for an entry bundle.
pub(crate) fn check(draft: &Draft) -> Answer<()> {
    let size = bound(draft)?;
    // The bound counts every byte as if it had to be escaped; only what may really be too large is written out.
    if size > MAX_ENTRY { fits(Entry::new(draft.clone(), draft.valid_from).leaf().len()) } else { Ok(()) }
}

/// Refuses a canonical form of more than [`MAX_ENTRY`] bytes.
fn fits(bytes: usize) -> Answer<()> {
    if bytes <= MAX_ENTRY {
        return Ok(());
    }
    let message = format!("record an entry of {bytes} bytes: an entry has at most {MAX_ENTRY}");
    Err(Refusal::new(Code::TooLarge, message).help("put what is large into a blob, and its digest into the entry"))
}

/// The most bytes a draft's canonical form can have.
fn bound(draft: &Draft) -> Answer<usize> {
    if !INSTANTS.contains(&draft.valid_from.0) {
        return Err(Refusal::new(Code::Invalid, format!("record an instant that has no date: {}", draft.valid_from)));
    }
    let texts = [&draft.actor.kind, &draft.actor.id, &draft.actor.evidence, &draft.cause];
    let mut size = FRAME + texts.into_iter().chain(&draft.run).chain(&draft.revision).map(|word| text(word)).sum::<usize>();
    for link in &draft.links {
        exact(link.index)?;
        size += text(&link.rel) + 48;
    }
    for note in &draft.blobs {
        exact(note.blob.bytes)?;
        size += text(&note.role) + 160;
    }
    Ok(size + value(&draft.body, DEPTH)?)
}

fn text(text: &str) -> usize {
    text.len() * 6 + 3
}

fn value(of: &Value, depth: u32) -> Answer<usize> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(Refusal::new(Code::Invalid, format!("record a body that nests deeper than {DEPTH}")));
    };
    Ok(match of {
        Value::Null | Value::Bool(_) => 6,
        Value::Number(n) => number(n)?,
        Value::String(of) => text(of),
        Value::Array(items) => items.iter().try_fold(2, |size, item| Ok::<_, Refusal>(size + value(item, depth)?))?,
        Value::Object(fields) => fields.iter().try_fold(2, |size, (key, of)| Ok::<_, Refusal>(size + text(key) + 1 + value(of, depth)?))?,
    })
}

/// A number's largest length. Integers beyond 2^53 lose digits as doubles, and whole doubles read back as integers.
fn number(n: &Number) -> Answer<usize> {
    match (n.as_i64(), n.as_u64(), n.as_f64()) {
        (Some(n), _, _) => exact(n.unsigned_abs())?,
        (None, Some(n), _) => exact(n)?,
        (None, None, Some(n)) if n.fract() != 0.0 => {}
        _ => return Err(inexact(n)),
    }
    Ok(26)
}

fn exact(n: u64) -> Answer<()> {
    if n <= EXACT { Ok(()) } else { Err(inexact(&Number::from(n))) }
}

fn inexact(n: &Number) -> Refusal {
    Refusal::new(Code::Invalid, format!("record the number {n}, which canonical JSON does not keep")).help("write it as text")
}

/// When a new entry is recorded: now, but never before its predecessor.
pub(crate) fn recorded_at(now: Timestamp, predecessor: Option<Timestamp>) -> Timestamp {
    let now = Timestamp(now.0.clamp(*INSTANTS.start(), *INSTANTS.end()));
    predecessor.map_or(now, |earlier| earlier.max(now))
}
