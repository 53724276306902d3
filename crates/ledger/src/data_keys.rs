//! The data keys of a record: which of them a verb seals with, what their absence means, and their rotation.

use std::path::Path;

use trued_doors::Answer;
use trued_model::{Code, Refusal};

use crate::folder::Ledger;
use crate::keys::{self, Ring, Turned};
use crate::seal::{self, KeyedSeal};
use crate::sqlite::SqliteStore;

/// The note that holds the id of the record's oldest data key: other keys than that one's ring tell other identities.
const REMEMBERED: &str = "keys/data";

/// A data key, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataKey {
    /// 16 hexadecimal digits that sealed bytes carry; they tell nothing of the key.
    pub id: String,
    /// Whether it seals; the others only open what they sealed.
    pub seals: bool,
}

/// What a rotation did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotated {
    /// The key that seals now.
    pub key: String,
    /// Older keys, kept to open what they sealed; oldest first.
    pub kept: Vec<String>,
    /// An earlier rotation had got this far and was interrupted before it was on record; nothing was changed now.
    pub unfinished: bool,
    /// The key that was lost; what it sealed cannot be opened any more.
    pub lost: Option<String>,
}

/// For verbs that write: makes the first key. A key that was there once and is missing is never made again.
pub(crate) fn seal_to_write(record: &SqliteStore, folder: &Path, cache: &Path) -> Answer<KeyedSeal> {
    let expected = remembered(record)?;
    let ring = match expected {
        Some(_) => keys::ring(folder)?,
        None => Some(keys::ring_or_make(folder, cache)?),
    };
    let Some(ring) = ring else { return absent(folder, expected) };
    if expected.is_none() {
        record.set_small_note(REMEMBERED, seal::id(ring.oldest()).as_bytes())?;
    }
    Ok(KeyedSeal::new(&ring, folder, expected))
}

/// For verbs that plan: where there is no key yet, the one that the first write will take.
pub(crate) fn seal_to_plan(record: Option<&SqliteStore>, folder: &Path, cache: &Path) -> Answer<KeyedSeal> {
    let expected = record.map(remembered).transpose()?.flatten();
    match (keys::ring(folder)?, &expected) {
        (Some(ring), _) => Ok(KeyedSeal::new(&ring, folder, expected)),
        (None, Some(_)) => absent(folder, expected),
        (None, None) => match keys::planned_ring(folder, cache) {
            Ok(ring) => Ok(KeyedSeal::kept_in_memory(&ring)),
            // Nothing can be kept here: this plan's digests hold for sealed files only as long as this process.
            Err(refusal) if refusal.code != Code::Denied || !cache.join("data.key").exists() => KeyedSeal::passing(),
            Err(refusal) => Err(refusal),
        },
    }
}

/// For verbs that read the record, which need no key for it.
pub(crate) fn seal_to_read(record: Option<&SqliteStore>, folder: &Path) -> Answer<KeyedSeal> {
    let expected = record.map(remembered).transpose()?.flatten();
    match (keys::ring(folder), &expected) {
        (Ok(Some(ring)), _) => Ok(KeyedSeal::new(&ring, folder, expected)),
        (Ok(None), None) => KeyedSeal::passing(),
        (Ok(None), Some(_)) => absent(folder, expected),
        (Err(refusal), _) => KeyedSeal::without(folder, expected, refusal),
    }
}

fn absent(folder: &Path, expected: Option<String>) -> Answer<KeyedSeal> {
    KeyedSeal::without(folder, expected, keys::missing(&keys::data_file(folder)))
}

fn remembered(record: &SqliteStore) -> Answer<Option<String>> {
    let note = record.small_note(REMEMBERED)?;
    Ok(note.and_then(|bytes| String::from_utf8(bytes).ok()).filter(|id| !id.is_empty()))
}

impl Ledger {
    /// The data keys here, oldest first; none where nothing was recorded yet. Blocks.
    pub fn data_keys(&self) -> Answer<Vec<DataKey>> {
        let expected = self.record.as_ref().map(remembered).transpose()?.flatten();
        let Some(ring) = keys::ring(&self.keys)? else {
            return if expected.is_some() { Err(keys::missing(&keys::data_file(&self.keys))) } else { Ok(Vec::new()) };
        };
        let ids = ids(&ring);
        let last = ids.len() - 1;
        Ok(ids.into_iter().enumerate().map(|(place, id)| DataKey { id, seals: place == last }).collect())
    }

    /// Adds a data key, which seals from now on; the older ones stay, to open what they sealed. `recorded`: the key of the
    /// newest `key.rotated` entry. With `lost` a ring that is gone is begun anew. The caller puts it on record. Blocks.
    pub fn rotate(&self, recorded: Option<&str>, lost: bool) -> Answer<Rotated> {
        let record = self.record.as_ref().ok_or_else(|| Refusal::new(Code::Absent, "rotate the data key: there is no record yet"))?;
        let before = remembered(record)?;
        if lost && keys::ring(&self.keys)?.is_none() {
            // From here on a key is made by whoever writes next, this call or another.
            record.set_small_note(REMEMBERED, b"")?;
        }
        let on_record = |ring: &Ring| ring.keys().len() == 1 || ring.keys().last().map(seal::id).as_deref() == recorded;
        let (ring, unfinished) = match keys::turn(&self.keys, on_record, lost)? {
            Turned::Added(ring) => (ring, false),
            Turned::Unfinished(ring) => (ring, true),
        };
        if lost {
            record.set_small_note(REMEMBERED, seal::id(ring.oldest()).as_bytes())?;
        }
        let mut kept = ids(&ring);
        let key = kept.pop().unwrap_or_default();
        Ok(Rotated { key, kept, unfinished, lost: before.filter(|_| lost) })
    }
}

fn ids(ring: &Ring) -> Vec<String> {
    ring.keys().iter().map(seal::id).collect()
}
