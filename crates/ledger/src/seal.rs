//! The one stored form of secrets: authenticated encryption whose nonce follows from key and plain bytes, so that equal
//! secrets have equal sealed bytes. Whoever reads the sealed form learns its length and which ones are equal, no more.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use trued_doors::{Answer, Seal};
use trued_model::{Code, Digest, Refusal};
use zeroize::Zeroizing;

use crate::keys::{self, Key, Ring};

/// `tsl` and the version of the form: 1 is XChaCha20-Poly1305, header as associated data, nonce = first 24 bytes of
/// HMAC-SHA256(nonce key, plain).
const MAGIC: [u8; 4] = *b"tsl\x01";
const KEY_ID: usize = 8;
const NONCE: usize = 24;
const HEADER: usize = MAGIC.len() + KEY_ID;

/// A [`Seal`] under the data keys of a state folder. Each use of a key has a key of its own, derived by HMAC-SHA256 of
/// the use's name. A key that another process adds is noticed.
pub struct KeyedSeal {
    held: RwLock<Arc<Held>>,
    /// Where the keys come from; `None` for keys that nobody keeps.
    folder: Option<PathBuf>,
    /// The oldest key's id, as the state folder remembers it: other keys would tell other identities.
    expected: Option<String>,
}

/// Keys as they were read last.
struct Held {
    /// Oldest first, never none.
    wax: Vec<Wax>,
    identities: Hmac<Sha256>,
    /// Why these keys are not the record's; then nothing they say is comparable.
    without: Option<Refusal>,
    stamp: Option<Stamp>,
}

/// One key's ways to seal and open.
struct Wax {
    header: [u8; HEADER],
    cipher: XChaCha20Poly1305,
    nonces: Hmac<Sha256>,
}

/// Tells one state of the key file from the next.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp(u64, u64, i64, i64);

impl Stamp {
    fn of(folder: &Path) -> Option<Stamp> {
        let found = fs::metadata(keys::data_file(folder)).ok()?;
        Some(Stamp(found.dev(), found.ino(), found.mtime(), found.mtime_nsec()))
    }
}

impl KeyedSeal {
    /// A seal under keys that were just read from a folder.
    pub(crate) fn new(ring: &Ring, folder: &Path, expected: Option<String>) -> KeyedSeal {
        let held = Held::new(ring, Stamp::of(folder), wrong(ring, folder, expected.as_deref()));
        KeyedSeal { held: RwLock::new(Arc::new(held)), folder: Some(folder.to_owned()), expected }
    }

    /// A seal whose keys are not here, and why. It looks for them again when it is asked whether it is ready.
    pub(crate) fn without(folder: &Path, expected: Option<String>, why: Refusal) -> Answer<KeyedSeal> {
        let held = Held::new(&Ring::fresh()?, None, Some(why));
        Ok(KeyedSeal { held: RwLock::new(Arc::new(held)), folder: Some(folder.to_owned()), expected })
    }

    /// A seal under a key that nobody keeps: for verbs that may write nothing where there is no key yet. What it
    /// seals can be opened by it alone, and its identities are not those of later runs.
    pub fn passing() -> Answer<KeyedSeal> {
        Ok(KeyedSeal::kept_in_memory(&Ring::fresh()?))
    }

    /// A seal under keys that have no file of their own yet.
    pub(crate) fn kept_in_memory(ring: &Ring) -> KeyedSeal {
        KeyedSeal { held: RwLock::new(Arc::new(Held::new(ring, None, None))), folder: None, expected: None }
    }

    fn held(&self) -> Arc<Held> {
        self.held.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The keys, read again if their file is another one now. What is held stays while the file cannot be read.
    fn newest(&self) -> Arc<Held> {
        let held = self.held();
        let Some(folder) = &self.folder else { return held };
        let stamp = Stamp::of(folder);
        if stamp.is_none() || stamp == held.stamp {
            return held;
        }
        let Ok(Some(ring)) = keys::ring(folder) else { return held };
        let without = wrong(&ring, folder, self.expected.as_deref());
        if without.is_some() && held.without.is_none() {
            // Another record's keys lie there now; those in hand are still the right ones.
            return held;
        }
        let fresh = Arc::new(Held::new(&ring, stamp, without));
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = fresh.clone();
        fresh
    }
}

impl Held {
    fn new(ring: &Ring, stamp: Option<Stamp>, without: Option<Refusal>) -> Held {
        let identities = keyed(&derived(ring.oldest(), "trued seal identity"));
        Held { wax: ring.keys().iter().map(Wax::new).collect(), identities, without, stamp }
    }
}

impl Wax {
    fn new(key: &Key) -> Wax {
        let mut header = [0; HEADER];
        header[..MAGIC.len()].copy_from_slice(&MAGIC);
        header[MAGIC.len()..].copy_from_slice(&derived(key, "trued seal key id")[..KEY_ID]);
        Wax {
            header,
            cipher: XChaCha20Poly1305::new((&*derived(key, "trued seal encryption")).into()),
            nonces: keyed(&derived(key, "trued seal nonce")),
        }
    }

    /// Gives header ‖ nonce ‖ cipher text with its tag.
    fn seal(&self, plain: &[u8]) -> Vec<u8> {
        let digest: [u8; 32] = self.nonces.clone().chain_update(plain).finalize().into_bytes().into();
        let mut nonce = [0; NONCE];
        nonce.copy_from_slice(&digest[..NONCE]);
        let payload = Payload { msg: plain, aad: &self.header };
        let sealed = self.cipher.encrypt(&XNonce::from(nonce), payload).expect("what fits into memory is short enough for the cipher");
        [&self.header[..], &nonce, &sealed].concat()
    }
}

impl Seal for KeyedSeal {
    fn ready(&self) -> Answer<()> {
        let held = self.held();
        match &held.without {
            None => Ok(()),
            Some(_) => self.newest().without.clone().map_or(Ok(()), Err),
        }
    }

    fn seal(&self, plain: &[u8]) -> Vec<u8> {
        let held = self.newest();
        held.wax.last().expect("a ring has a key").seal(plain)
    }

    fn open(&self, sealed: &[u8]) -> Answer<Vec<u8>> {
        let denied = |why: &str| Refusal::new(Code::Denied, format!("open sealed bytes: {why}"));
        let Some((header, rest)) = sealed.split_first_chunk::<HEADER>() else { return Err(denied("they are too short")) };
        if header[..MAGIC.len()] != MAGIC {
            let known = header[..3] == MAGIC[..3];
            return Err(denied(if known { "a newer version of this program sealed them" } else { "they are not sealed" }));
        }
        let knows = |held: &Arc<Held>| held.wax.iter().any(|wax| wax.header == *header);
        let held = Some(self.held()).filter(knows).unwrap_or_else(|| self.newest());
        let Some(wax) = held.wax.iter().find(|wax| wax.header == *header) else {
            if let Some(why) = &held.without {
                return Err(why.clone());
            }
            return Err(denied("another data key sealed them").help("bring the data key they were sealed with back to keys/data.key"));
        };
        let Some((nonce, sealed)) = rest.split_first_chunk::<NONCE>() else { return Err(denied("they are too short")) };
        let payload = Payload { msg: sealed, aad: header };
        wax.cipher.decrypt(&XNonce::from(*nonce), payload).map_err(|_| denied("they were changed"))
    }

    fn identity(&self, plain: &Digest) -> Digest {
        Digest(self.held().identities.clone().chain_update(plain.0).finalize().into_bytes().into())
    }
}

/// A data key's name, as `trued keys` lists it and sealed bytes carry it: 16 digits that tell nothing of the key.
pub(crate) fn id(key: &Key) -> String {
    derived(key, "trued seal key id")[..KEY_ID].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Why keys are not those of this record.
fn wrong(ring: &Ring, folder: &Path, expected: Option<&str>) -> Option<Refusal> {
    let expected = expected.filter(|expected| *expected != id(ring.oldest()))?;
    let file = keys::data_file(folder);
    let message = format!("{} is another record's: its oldest key is {}, ours is {expected}", file.display(), id(ring.oldest()));
    Some(Refusal::new(Code::Denied, message).help("bring our own back from a backup"))
}

fn derived(key: &Key, name: &str) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(keyed(key.bytes()).chain_update(name).finalize().into_bytes().into())
}

fn keyed(key: &[u8; 32]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NullSeal;

    fn refused(seal: &dyn Seal, sealed: &[u8]) -> Refusal {
        let refusal = seal.open(sealed).expect_err("a refusal");
        assert_eq!(refusal.code, Code::Denied);
        refusal
    }

    #[test]
    fn sealed_bytes_open_again_and_equal_ones_are_equal() {
        for seal in [&KeyedSeal::passing().unwrap() as &dyn Seal, &NullSeal] {
            for plain in [&b""[..], b"hunter2", &[0; 100_000]] {
                let sealed = seal.seal(plain);
                assert_eq!(seal.open(&sealed).unwrap(), plain);
                assert_eq!(seal.seal(plain), sealed);
                assert!(plain.is_empty() || !sealed.windows(plain.len()).any(|window| window == plain));
            }
            assert_ne!(seal.seal(b"one"), seal.seal(b"two"));
        }
    }

    #[test]
    fn identities_compare_and_tell_nothing_without_the_key() {
        let (one, two) = (KeyedSeal::passing().unwrap(), KeyedSeal::passing().unwrap());
        let plain = Digest::of(b"hunter2");
        assert_eq!(one.identity(&plain), one.identity(&plain));
        assert_ne!(one.identity(&plain), plain);
        assert_ne!(one.identity(&plain), two.identity(&plain));
        assert_ne!(one.identity(&plain), one.identity(&Digest::of(b"hunter3")));
    }

    #[test]
    fn wrong_keys_and_bent_bytes_are_denied() {
        let (seal, other) = (KeyedSeal::passing().unwrap(), KeyedSeal::passing().unwrap());
        let sealed = seal.seal(b"hunter2");
        assert!(refused(&other, &sealed).message.contains("another data key"));
        for place in 0..sealed.len() {
            let mut bent = sealed.clone();
            bent[place] ^= 1;
            refused(&seal, &bent);
            refused(&seal, &sealed[..place]);
        }
        assert!(refused(&seal, b"tsl\x02 and something of the future").message.contains("newer"));
        assert!(refused(&seal, b"plain bytes, never sealed").message.contains("not sealed"));
        refused(&NullSeal, &sealed);
    }

    /// What was sealed once must open for ever: the form may be added to, never changed.
    #[test]
    fn the_stored_form_is_fixed() {
        let seal = KeyedSeal::kept_in_memory(&Ring::of(vec![Key::of([7; 32])]));
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        // Key id, nonce and identity were computed with another HMAC as well.
        let form = [
            "74736c01",
            "4fa5a473e00a05e8",
            "892c0d3e14f17317864a3665dda12100c80bfbe3607a489e",
            "41ef66a664c7f92613baff2c7671265a8ced9fcbf85fb1",
        ];
        assert_eq!(hex(&seal.seal(b"hunter2")), form.concat());
        assert_eq!(seal.identity(&Digest::of(b"hunter2")).hex(), "3662ccdc164f525a02ef7b65e69f2baa472230d5ec7d52e47e8a7cdf1409b0fd");
    }
}
