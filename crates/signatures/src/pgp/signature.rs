//! A version 4 signature (RFC 9580, 5.2): what it says, and the bytes that were hashed for it.

use sha2::{Digest as _, Sha256, Sha384, Sha512};
use trued_model::Timestamp;

use super::packet::subpackets;
use crate::wire::Bytes;

/// Over a document, byte for byte: what `git` makes.
pub(super) const DOCUMENT: u8 = 0x00;
pub(super) const CERTIFICATIONS: std::ops::RangeInclusive<u8> = 0x10..=0x13;
pub(super) const SUBKEY_BINDING: u8 = 0x18;
pub(super) const PRIMARY_BINDING: u8 = 0x19;
pub(super) const DIRECT_KEY: u8 = 0x1F;
pub(super) const KEY_REVOCATION: u8 = 0x20;
pub(super) const SUBKEY_REVOCATION: u8 = 0x28;
pub(super) const CERTIFICATION_REVOCATION: u8 = 0x30;

/// Kinds of subpacket that may be marked as important and say nothing that changes what is decided here.
const HARMLESS: &[u8] = &[4, 7, 11, 21, 22, 23, 24, 25, 26, 29, 30, 33, 34];

#[derive(Clone, Debug)]
pub(crate) struct Signature {
    pub(super) kind: u8,
    pub(super) algorithm: u8,
    pub(super) hash: Hash,
    /// Seconds since 1970, as all times here.
    pub(super) made: u64,
    /// How long the signature itself counts, in seconds.
    pub(super) lasts: Option<u64>,
    /// How long the key it is about counts, from that key's making.
    pub(super) key_lasts: Option<u64>,
    /// What the key it is about may do.
    pub(super) flags: Option<u8>,
    /// A signature of the key it is about, back over the one that signs.
    pub(super) embedded: Option<Vec<u8>>,
    /// Whose it says it is: a fingerprint or the end of one. A hint, never evidence.
    hint: Vec<u8>,
    /// What is hashed after the document.
    trailer: Vec<u8>,
    /// The first two bytes of the hash.
    start: [u8; 2],
    /// The algorithm's own numbers, unread.
    pub(super) numbers: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Signature {
    /// Reads a signature's packet. Errors continue "it is refused: …".
    pub(super) fn read(body: &[u8]) -> Result<Signature, String> {
        let malformed = || "its signature is malformed or cut short".to_owned();
        let mut bytes = Bytes(body);
        match bytes.byte() {
            Some(4) => {}
            Some(version @ (2 | 3 | 5 | 6)) => return Err(format!("its signature is of OpenPGP's version {version}; only 4 is read here")),
            _ => return Err(malformed()),
        }
        let mut fixed = || Some((bytes.byte()?, bytes.byte()?, bytes.byte()?, bytes.u16()?));
        let (kind, algorithm, hash, length) = fixed().ok_or_else(malformed)?;
        let hash = match hash {
            8 => Hash::Sha256,
            9 => Hash::Sha384,
            10 => Hash::Sha512,
            1 => return Err("its signature uses MD5, which can be forged".to_owned()),
            2 => return Err("its signature uses SHA-1, which can be forged".to_owned()),
            other => return Err(format!("its signature uses hash {other} of OpenPGP, which is not accepted")),
        };
        let hashed = bytes.take(usize::from(length)).ok_or_else(malformed)?;
        let mut rest = || {
            let length = bytes.u16()?;
            let unhashed = bytes.take(usize::from(length))?;
            Some((unhashed, bytes.take(2)?.try_into().ok()?))
        };
        let (unhashed, start) = rest().ok_or_else(malformed)?;
        let mut trailer = body.get(..6 + hashed.len()).ok_or_else(malformed)?.to_vec();
        let length = u32::try_from(trailer.len()).map_err(|_| malformed())?;
        trailer.extend([4, 0xFF]);
        trailer.extend(length.to_be_bytes());
        let numbers = bytes.0.to_vec();
        let mut signature = Signature {
            kind,
            algorithm,
            hash,
            made: 0,
            lasts: None,
            key_lasts: None,
            flags: None,
            embedded: None,
            hint: Vec::new(),
            trailer,
            start,
            numbers,
        };
        let mut made = None;
        for (kind, important, content) in subpackets(hashed).ok_or_else(malformed)? {
            let seconds = || content.try_into().map(|four| u64::from(u32::from_be_bytes(four))).map_err(|_| malformed());
            match kind {
                2 if made.is_none() => made = Some(seconds()?),
                2 => return Err(malformed()),
                // Nothing is meant by a life of zero seconds but that it does not end.
                3 => signature.lasts = Some(seconds()?).filter(|lasts| *lasts > 0),
                9 => signature.key_lasts = Some(seconds()?).filter(|lasts| *lasts > 0),
                27 => signature.flags = Some(content.first().copied().unwrap_or(0)),
                16 | 32 | 33 => signature.take_hint(kind, content),
                _ if important && !HARMLESS.contains(&kind) => {
                    return Err(format!("its signature says something that must be understood and is not (subpacket {kind})"));
                }
                _ => {}
            }
        }
        signature.made = made.ok_or_else(|| "its signature does not say when it was made".to_owned())?;
        for (kind, _, content) in subpackets(unhashed).ok_or_else(malformed)? {
            signature.take_hint(kind, content);
        }
        Ok(signature)
    }

    /// What may also stand where it is not signed: who it claims to be from, and what proves itself.
    fn take_hint(&mut self, kind: u8, content: &[u8]) {
        match (kind, content) {
            (16, id) if self.hint.is_empty() && id.len() == 8 => self.hint = id.to_vec(),
            (33, [4, fingerprint @ ..]) if fingerprint.len() == 20 => self.hint = fingerprint.to_vec(),
            (32, embedded) => self.embedded = Some(embedded.to_vec()),
            _ => {}
        }
    }

    /// Whether it says that a key with this fingerprint made it.
    pub(super) fn may_be_of(&self, fingerprint: &[u8]) -> bool {
        !self.hint.is_empty() && fingerprint.ends_with(&self.hint)
    }

    /// Whose it says it is, for people.
    pub(crate) fn issuer(&self) -> String {
        match self.hint.as_slice() {
            [] => "nobody that it names".to_owned(),
            hint => super::key::hex(hint),
        }
    }

    /// Whether it counts at an instant: made before, not run out.
    pub(super) fn counts(&self, now: Timestamp) -> bool {
        let now = seconds(now);
        self.made <= now + AHEAD && self.lasts.is_none_or(|lasts| now < self.made.saturating_add(lasts))
    }

    /// What was hashed: what was signed, and what the signature says of itself.
    pub(super) fn hashed(&self, signed: &[u8]) -> Vec<u8> {
        [signed, &self.trailer].concat()
    }

    /// The hash of that; `None` when the signature itself says that it is another.
    pub(super) fn digest(&self, hashed: &[u8]) -> Option<Vec<u8>> {
        let digest = match self.hash {
            Hash::Sha256 => Sha256::digest(hashed).to_vec(),
            Hash::Sha384 => Sha384::digest(hashed).to_vec(),
            Hash::Sha512 => Sha512::digest(hashed).to_vec(),
        };
        digest.starts_with(&self.start).then_some(digest)
    }
}

/// How far another machine's clock may be ahead of ours, in seconds.
const AHEAD: u64 = 300;

pub(super) fn seconds(at: Timestamp) -> u64 {
    u64::try_from(at.0 / 1000).unwrap_or(0)
}
