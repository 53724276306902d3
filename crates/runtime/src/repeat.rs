//! Rendering what is rendered already once more, now and then, to see whether it gives the same. Only while nothing else is
//! done, never for its own result, and counted apart.

use std::collections::BTreeSet;
use std::io::Read;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use trued_doors::{Answer, Contents};
use trued_model::{Address, BlobRef, Code, Digest, Duration, Refusal};

use crate::cell::Cell;
use crate::incidents::{self, Trouble};
use crate::render::{NoWish, Shown};
use crate::runtime::{BUILDING, BUSY, Runtime};
use crate::serve::{Pace, Stop};

/// The incident of a stack whose render is not the same each time.
const KIND: &str = "unsteady";

/// A repeat takes at most one part in so many of the time.
const PART: u64 = 20;

impl Runtime {
    /// Repeats one render in each interval, each of them once before any is repeated again. Which comes when follows from
    /// their inputs, not from chance.
    pub(crate) async fn keep_repeating(self: Arc<Self>, pace: Pace, mut stop: Stop) {
        let mut repeated = BTreeSet::new();
        let mut pause = pace.repeat;
        loop {
            tokio::select! { biased; _ = stop.changed() => return, () = tokio::time::sleep(pause.to_std()) => {} }
            pause = pace.repeat;
            let Some((cell, key)) = self.due(&mut repeated) else { continue };
            let begun = self.doors.clock.monotonic();
            tokio::select! {
                biased;
                _ = stop.changed() => return,
                said = AssertUnwindSafe(self.repeat(&cell, key)).catch_unwind() => match said {
                    Ok(Ok(())) => {}
                    Ok(Err(refusal)) => tracing::warn!(stack = %cell.id.key(), "a render could not be repeated: {refusal}"),
                    Err(_) => tracing::warn!(stack = %cell.id.key(), "repeating a render broke off inside trued"),
                },
            }
            let took = self.doors.clock.monotonic().saturating_sub(begun);
            pause = pace.repeat.max(Duration(took.saturating_mul(PART)));
        }
    }

    /// The stack whose render is repeated next: one of which people wait to hear, else the first by its inputs' digest.
    /// `None` while anything is done.
    fn due(&self, repeated: &mut BTreeSet<Digest>) -> Option<(Arc<Cell>, Digest)> {
        let cells = self.cells();
        let walking = cells.iter().any(|cell| cell.walking.try_lock().is_err());
        if walking || self.busy.available_permits() < BUSY || self.building.available_permits() < BUILDING {
            return None;
        }
        let settled = |cell: &Arc<Cell>| {
            let kept = cell.kept();
            let key = kept.settled.as_ref().and_then(|_| kept.wanted.as_ref()).map(|wanted| wanted.key)?;
            let open = kept.memory.as_ref().is_some_and(|memory| memory.incidents.contains_key(KIND));
            Some((!open, key, cell.clone()))
        };
        let all: Vec<(bool, Digest, Arc<Cell>)> = cells.iter().filter_map(settled).collect();
        if all.iter().all(|(_, key, _)| repeated.contains(key)) {
            repeated.clear();
        }
        let left = all.into_iter().filter(|(_, key, _)| !repeated.contains(key));
        let (_, key, cell) = left.min_by_key(|(calm, key, _)| (*calm, *key))?;
        repeated.insert(key);
        Some((cell, key))
    }

    /// Renders a stack anew from the inputs of this key, and says where the two differ. Inputs that moved meanwhile are no
    /// difference, and a render that fails says so when its own turn comes.
    async fn repeat(&self, cell: &Cell, key: Digest) -> Answer<()> {
        let (Some(stack), Some(first)) = (self.stack(&cell.id), cell.kept().wanted.clone().filter(|wanted| wanted.key == key)) else {
            return Ok(());
        };
        let again = match self.rendered_again(cell, &stack, key).await {
            Ok(Some(again)) => again,
            Ok(None) => return Ok(()),
            Err(NoWish::Refused(refusal)) => return Err(refusal),
            Err(NoWish::Findings(findings)) => {
                let why = findings.into_iter().next().map_or_else(String::new, |finding| finding.message);
                return Err(Refusal::new(Code::Invalid, why));
            }
            Err(NoWish::Panicked) => return Err(Refusal::new(Code::Broken, "it broke off inside trued")),
        };
        let difference = difference(&first.shown(), &again.shown())?;
        let (memory, now) = (cell.memory(self).await?, self.doors.clock.now());
        let draft = match difference {
            Some(message) => {
                let next = "`trued check --twice` shows it; leave out the time, random numbers and the order of listings";
                let opened = incidents::open(&memory, &cell.id, now, Trouble { kind: KIND, message: message.clone(), next, words: &[] });
                opened.inspect(|_| tracing::warn!(stack = %cell.id.key(), "{message}"))
            }
            None => incidents::close(&memory, &cell.id, now, KIND, "two renders of the same inputs were the same"),
        };
        self.record(cell, draft.into_iter().collect(), None).await?;
        Ok(())
    }
}

/// The first difference between two renders, in words.
pub fn difference(one: &Shown, other: &Shown) -> Answer<Option<String>> {
    let (left, right) = (one.desired.all(), other.desired.all());
    let addresses: BTreeSet<&Address> = left.keys().chain(right.keys()).copied().collect();
    for address in addresses {
        let (Some(left), Some(right)) = (left.get(address), right.get(address)) else {
            return Ok(Some(format!("two renders of the same inputs differ: only one of them has {address}")));
        };
        if left.fingerprint == right.fingerprint {
            continue;
        }
        let place = match (&left.content, &right.content) {
            // Where sealed bytes differ would tell something of them.
            (Some(left), Some(right)) if !left.sealed && !right.sealed => {
                let parts = offset(&read(one.contents.as_ref(), left)?, &read(other.contents.as_ref(), right)?);
                parts.map_or_else(|| " in its mode".to_owned(), |offset| format!(" from byte {offset} on"))
            }
            _ => String::new(),
        };
        return Ok(Some(format!("two renders of the same inputs differ: {address}{place}")));
    }
    Ok(None)
}

fn read(contents: &dyn Contents, blob: &BlobRef) -> Answer<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = contents.open(blob)?.read_to_end(&mut bytes);
    read.map_err(|error| Refusal::new(Code::Invalid, format!("what was rendered cannot be read: {error}")))?;
    Ok(bytes)
}

/// The first byte in which two texts differ, from 0; `None` when they do not.
fn offset(one: &[u8], other: &[u8]) -> Option<usize> {
    let differs = one.iter().zip(other).position(|(one, other)| one != other);
    differs.or_else(|| (one.len() != other.len()).then_some(one.len().min(other.len())))
}
