//! One OpenPGP public key of version 4 (RFC 9580, 5.5), and whether it made a signature. The mathematics is ring's.

use ring::digest;
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use trued_model::Timestamp;

use super::signature::{Hash, Signature, seconds};
use crate::Unproven;
use crate::wire::{Bytes, padded};

/// 1.3.6.1.4.1.11591.15.1, Ed25519 as GnuPG calls it.
const ED25519: &[u8] = &[0x2B, 0x06, 0x01, 0x04, 0x01, 0xDA, 0x47, 0x0F, 0x01];
const P256: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x2B, 0x81, 0x04, 0x00, 0x22];
/// Sizes of RSA keys that are accepted, in bytes.
const RSA: std::ops::RangeInclusive<usize> = 256..=1024;

#[derive(Clone, Debug)]
pub(crate) struct PgpKey {
    pub(super) body: Vec<u8>,
    pub(super) fingerprint: [u8; 20],
    pub(super) made: u64,
    pub(super) algorithm: u8,
    pub(super) shape: Shape,
    /// When it runs out, in seconds since 1970.
    pub(super) ends: Option<u64>,
    pub(super) revoked: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Shape {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    Ed25519([u8; 32]),
    P256(Vec<u8>),
    P384(Vec<u8>),
    /// One that signs nothing here: for encryption, or of a kind that is not accepted.
    Other,
}

impl PgpKey {
    /// Reads a key's packet.
    pub(super) fn read(body: &[u8]) -> Result<PgpKey, String> {
        let malformed = || "it is malformed or cut short".to_owned();
        let mut bytes = Bytes(body);
        match bytes.byte() {
            Some(4) => {}
            Some(version @ (2 | 3 | 5 | 6)) => return Err(format!("it is of OpenPGP's version {version}; only 4 is read here")),
            _ => return Err(malformed()),
        }
        let made = bytes.u32().ok_or_else(malformed)?;
        let algorithm = bytes.byte().ok_or_else(malformed)?;
        let shape = match algorithm {
            1 | 3 => rsa(bytes).ok_or_else(malformed)?,
            19 => on_curve(bytes).ok_or_else(malformed)?,
            22 => edwards(bytes).ok_or_else(malformed)?,
            27 => Shape::Ed25519(bytes.0.try_into().map_err(|_| malformed())?),
            _ => Shape::Other,
        };
        let mut of_body = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
        of_body.update(&framed(body).ok_or_else(malformed)?);
        let fingerprint = of_body.finish().as_ref().try_into().map_err(|_| malformed())?;
        let body = body.to_vec();
        Ok(PgpKey { body, fingerprint, made: u64::from(made), algorithm, shape, ends: None, revoked: false })
    }

    /// As `gpg` prints it. It names the key; what is compared is the whole key.
    pub(crate) fn fingerprint(&self) -> String {
        hex(&self.fingerprint)
    }

    pub(super) fn is_named_by(&self, signature: &Signature) -> bool {
        signature.may_be_of(&self.fingerprint)
    }

    pub(crate) fn algorithm(&self) -> &'static str {
        match self.shape {
            Shape::Rsa { .. } => "RSA",
            Shape::Ed25519(_) => "EDDSA",
            Shape::P256(_) | Shape::P384(_) => "ECDSA",
            Shape::Other => "OpenPGP",
        }
    }

    /// Why no key of this kind is accepted; nothing when it may sign.
    pub(super) fn unfit(&self) -> Option<String> {
        match &self.shape {
            Shape::Other => Some(format!("signatures of algorithm {} of OpenPGP are not accepted", self.algorithm)),
            Shape::Rsa { n, .. } if !RSA.contains(&n.len()) => Some(format!("an RSA key of {} bits is not accepted", n.len() * 8)),
            _ => None,
        }
    }

    /// The key's bytes as they are hashed in signatures over it.
    pub(super) fn framed(&self) -> Vec<u8> {
        framed(&self.body).unwrap_or_default()
    }

    /// When a signature about this key ends its use: when the key's life ends, or the signature's own.
    pub(super) fn ends_by(&self, about: &Signature) -> Option<u64> {
        let life = about.key_lasts.map(|lasts| self.made.saturating_add(lasts));
        let own = about.lasts.map(|lasts| about.made.saturating_add(lasts));
        [life, own].into_iter().flatten().min()
    }

    /// Whether it may sign at an instant. What a signature says of its own time is its maker's word, and does not count.
    pub(crate) fn usable(&self, now: Timestamp) -> Result<(), String> {
        match self.ends {
            _ if self.revoked => Err("which is revoked".to_owned()),
            Some(ends) if seconds(now) >= ends => {
                Err(format!("which has run out on {}", Timestamp(i64::try_from(ends).unwrap_or(0).saturating_mul(1000))))
            }
            _ => self.unfit().map_or(Ok(()), |why| Err(format!("and {why}"))),
        }
    }

    /// Checks a signature over a document.
    pub(crate) fn verify(&self, signature: &Signature, document: &[u8], now: Timestamp) -> Result<(), Unproven> {
        if signature.kind != super::signature::DOCUMENT {
            return Err(Unproven::new("its signature is not one over a document"));
        }
        if signature.made < self.made {
            return Err(Unproven::new("its signature claims to be older than the key that made it"));
        }
        if !signature.counts(now) {
            return Err(Unproven::new("its signature has run out, or claims to be from the future"));
        }
        match self.made_it(signature, document) {
            true => Ok(()),
            false => Err(Unproven::new(format!("its signature does not fit: it, or the signature of {}, was changed", self.fingerprint()))),
        }
    }

    /// Whether this key made this signature over these bytes. Says nothing about time or purpose.
    pub(super) fn made_it(&self, signature: &Signature, signed: &[u8]) -> bool {
        self.check(signature, signed).is_some()
    }

    fn check(&self, signature: &Signature, signed: &[u8]) -> Option<()> {
        if signature.algorithm != self.algorithm && !(self.algorithm == 1 && signature.algorithm == 3) {
            return None;
        }
        let message = signature.hashed(signed);
        let digest = signature.digest(&message)?;
        let mut numbers = Bytes(&signature.numbers);
        match &self.shape {
            Shape::Rsa { n, e } if RSA.contains(&n.len()) => {
                let number = numbers.mpi()?;
                let number = [vec![0; n.len().checked_sub(number.len())?], numbers.end(number)?.to_vec()].concat();
                let how = match signature.hash {
                    Hash::Sha256 => &signature::RSA_PKCS1_2048_8192_SHA256,
                    Hash::Sha384 => &signature::RSA_PKCS1_2048_8192_SHA384,
                    Hash::Sha512 => &signature::RSA_PKCS1_2048_8192_SHA512,
                };
                RsaPublicKeyComponents { n, e }.verify(how, &message, &number).ok()
            }
            Shape::Ed25519(point) => {
                let made = match self.algorithm {
                    27 => signature.numbers.clone(),
                    _ => pair::<32>(numbers)?,
                };
                UnparsedPublicKey::new(&signature::ED25519, point).verify(&digest, &made).ok()
            }
            Shape::P256(point) if signature.hash == Hash::Sha256 => {
                UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point).verify(&message, &pair::<32>(numbers)?).ok()
            }
            Shape::P384(point) if signature.hash == Hash::Sha384 => {
                UnparsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, point).verify(&message, &pair::<48>(numbers)?).ok()
            }
            _ => None,
        }
    }
}

fn rsa(mut bytes: Bytes<'_>) -> Option<Shape> {
    let (n, e) = (bytes.mpi()?.to_vec(), bytes.mpi()?.to_vec());
    bytes.end(Shape::Rsa { n, e })
}

fn on_curve(mut bytes: Bytes<'_>) -> Option<Shape> {
    let length = bytes.byte()?;
    let curve = bytes.take(usize::from(length))?;
    let point = bytes.mpi()?.to_vec();
    let shape = match (curve, point.len(), point.first()) {
        (P256, 65, Some(4)) => Shape::P256(point),
        (P384, 97, Some(4)) => Shape::P384(point),
        (P256 | P384, ..) => return None,
        _ => Shape::Other,
    };
    bytes.end(shape)
}

fn edwards(mut bytes: Bytes<'_>) -> Option<Shape> {
    let length = bytes.byte()?;
    if bytes.take(usize::from(length))? != ED25519 {
        return Some(Shape::Other);
    }
    let (first, point) = bytes.mpi()?.split_first()?;
    let point = (*first == 0x40).then(|| point.try_into().ok())??;
    bytes.end(Shape::Ed25519(point))
}

/// The two numbers of a signature on a curve, side by side.
fn pair<const N: usize>(mut numbers: Bytes<'_>) -> Option<Vec<u8>> {
    let (r, s) = (padded::<N>(numbers.mpi()?)?, padded::<N>(numbers.mpi()?)?);
    numbers.end([r, s].concat())
}

/// A key as it is hashed (RFC 9580, 5.2.4).
fn framed(body: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(body.len()).ok()?;
    Some([&[0x99], length.to_be_bytes().as_slice(), body].concat())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02X}");
        text
    })
}
