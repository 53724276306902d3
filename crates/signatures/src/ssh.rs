//! SSH keys and signatures (PROTOCOL.sshsig of OpenSSH, RFC 4253, RFC 5656, PROTOCOL.u2f). The mathematics is ring's.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use sha2::{Digest as _, Sha256, Sha512};

use crate::Unproven;
use crate::wire::{Bytes, padded, plain};

const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----\n";
const END: &str = "\n-----END SSH SIGNATURE-----";
const MAGIC: &[u8] = b"SSHSIG";
/// What `git` signs under.
const NAMESPACE: &[u8] = b"git";
/// The flag of a security key's signature that says that somebody touched it.
const TOUCHED: u8 = 1;
/// Sizes of RSA keys that are accepted, in bytes.
const RSA: std::ops::RangeInclusive<usize> = 256..=1024;

/// A public key, checked.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SshKey {
    /// As it stands in key files and in signatures.
    pub(crate) blob: Vec<u8>,
    shape: Shape,
}

#[derive(Clone, PartialEq, Eq)]
enum Shape {
    Ed25519([u8; 32]),
    P256(Vec<u8>),
    P384(Vec<u8>),
    Rsa { n: Vec<u8>, e: Vec<u8> },
    TouchedEd25519 { point: [u8; 32], application: Vec<u8> },
    TouchedP256 { point: Vec<u8>, application: Vec<u8> },
}

impl SshKey {
    /// Reads the words of a key as they stand in a `.pub` file: its kind and its bytes.
    pub(crate) fn read(kind: &str, text: &str) -> Result<SshKey, String> {
        let blob = STANDARD.decode(text).map_err(|_| "it is not base64".to_owned())?;
        let key = SshKey::parse(&blob)?;
        match Bytes(&blob).string() {
            Some(inside) if inside == kind.as_bytes() => Ok(key),
            _ => Err(format!("it is written as {kind}, and its bytes are of another kind")),
        }
    }

    fn parse(blob: &[u8]) -> Result<SshKey, String> {
        let mut bytes = Bytes(blob);
        let kind = bytes.string().ok_or("it is cut short")?;
        let shape = match kind {
            b"ssh-ed25519" => bytes.string().and_then(|point| bytes.end(Shape::Ed25519(point.try_into().ok()?))),
            b"ecdsa-sha2-nistp256" => curve(&mut bytes, b"nistp256", 65).and_then(|point| bytes.end(Shape::P256(point))),
            b"ecdsa-sha2-nistp384" => curve(&mut bytes, b"nistp384", 97).and_then(|point| bytes.end(Shape::P384(point))),
            b"ssh-rsa" => {
                let (e, n) = (bytes.integer().unwrap_or_default().to_vec(), bytes.integer().unwrap_or_default().to_vec());
                if bytes.is_empty() && !n.is_empty() && !RSA.contains(&n.len()) {
                    return Err(format!("an RSA key of {} bits is not accepted: 2048 to 8192 are", n.len() * 8));
                }
                bytes.end(Shape::Rsa { n, e })
            }
            b"sk-ssh-ed25519@openssh.com" => touched(&mut bytes).and_then(|(point, application)| {
                bytes.end(Shape::TouchedEd25519 { point: point.as_slice().try_into().ok()?, application })
            }),
            b"sk-ecdsa-sha2-nistp256@openssh.com" => curve(&mut bytes, b"nistp256", 65).and_then(|point| {
                let application = bytes.string()?.to_vec();
                bytes.end(Shape::TouchedP256 { point, application })
            }),
            b"ecdsa-sha2-nistp521" => return Err("keys on the curve nistp521 are not supported: use ed25519".to_owned()),
            b"ssh-dss" => return Err("DSA keys are not accepted: use ed25519".to_owned()),
            other if other.ends_with(b"-cert-v01@openssh.com") => {
                return Err("certificates are not supported: list the key itself".to_owned());
            }
            other => return Err(format!("keys of the kind {} are not known here", plain(other))),
        };
        match shape {
            Some(Shape::Rsa { n, .. }) if n.is_empty() => Err("it is malformed".to_owned()),
            Some(shape) => Ok(SshKey { blob: blob.to_vec(), shape }),
            None => Err("it is malformed".to_owned()),
        }
    }

    /// What people compare: `SHA256:…`, as `ssh-keygen -l` prints it.
    pub(crate) fn fingerprint(&self) -> String {
        fingerprint(&self.blob)
    }

    pub(crate) fn algorithm(&self) -> &'static str {
        match self.shape {
            Shape::Ed25519(_) => "ED25519",
            Shape::P256(_) | Shape::P384(_) => "ECDSA",
            Shape::Rsa { .. } => "RSA",
            Shape::TouchedEd25519 { .. } => "ED25519-SK",
            Shape::TouchedP256 { .. } => "ECDSA-SK",
        }
    }

    /// Checks a signature over `message`: the name of its algorithm, its bytes, and what a security key adds.
    fn verify(&self, algorithm: &[u8], signature: &[u8], added: &[u8], message: &[u8]) -> Result<(), Unproven> {
        let not = |_| Unproven::new(format!("its signature does not fit: it, or the signature of {}, was changed", self.fingerprint()));
        let wrong = || Unproven::new(format!("its signature is made with {}, which does not go with the key", plain(algorithm)));
        let check = |how: &'static dyn signature::VerificationAlgorithm, key: &[u8], message: &[u8], signature: &[u8]| {
            UnparsedPublicKey::new(how, key).verify(message, signature).map_err(not)
        };
        match (&self.shape, algorithm) {
            (Shape::Ed25519(point), b"ssh-ed25519") => check(&signature::ED25519, point, message, signature),
            (Shape::P256(point), b"ecdsa-sha2-nistp256") => {
                check(&signature::ECDSA_P256_SHA256_FIXED, point, message, &pair::<32>(signature)?)
            }
            (Shape::P384(point), b"ecdsa-sha2-nistp384") => {
                check(&signature::ECDSA_P384_SHA384_FIXED, point, message, &pair::<48>(signature)?)
            }
            (Shape::Rsa { n, e }, b"rsa-sha2-256") => {
                RsaPublicKeyComponents { n, e }.verify(&signature::RSA_PKCS1_2048_8192_SHA256, message, signature).map_err(not)
            }
            (Shape::Rsa { n, e }, b"rsa-sha2-512") => {
                RsaPublicKeyComponents { n, e }.verify(&signature::RSA_PKCS1_2048_8192_SHA512, message, signature).map_err(not)
            }
            (Shape::Rsa { .. }, b"ssh-rsa") => Err(Unproven::new("its signature uses SHA-1, which can be forged")),
            (Shape::TouchedEd25519 { point, application }, b"sk-ssh-ed25519@openssh.com") => {
                check(&signature::ED25519, point, &seen_by_device(application, added, message)?, signature)
            }
            (Shape::TouchedP256 { point, application }, b"sk-ecdsa-sha2-nistp256@openssh.com") => {
                let message = seen_by_device(application, added, message)?;
                check(&signature::ECDSA_P256_SHA256_FIXED, point, &message, &pair::<32>(signature)?)
            }
            _ => Err(wrong()),
        }
    }
}

/// A signature, taken apart, with the key that it says made it.
pub(crate) struct SshSignature {
    pub(crate) key: SshKey,
    algorithm: Vec<u8>,
    signature: Vec<u8>,
    /// Flags and counter of a security key; empty otherwise.
    added: Vec<u8>,
    hash: Hash,
}

#[derive(Clone, Copy)]
enum Hash {
    Sha256,
    Sha512,
}

impl SshSignature {
    /// Reads an armoured signature. Nothing may stand before or after it.
    pub(crate) fn read(armoured: &[u8]) -> Result<SshSignature, Unproven> {
        let malformed = || Unproven::new("its signature is malformed or cut short");
        let text = std::str::from_utf8(armoured).map_err(|_| malformed())?;
        let inside = text.strip_prefix(BEGIN).and_then(|text| text.trim_end().strip_suffix(END)).ok_or_else(malformed)?;
        let packed: String = inside.lines().collect();
        let blob = STANDARD.decode(packed).map_err(|_| malformed())?;
        let mut bytes = Bytes(&blob);
        let mut fields = || -> Option<_> {
            let magic = bytes.take(MAGIC.len())? == MAGIC && bytes.u32()? == 1;
            let (key, namespace, reserved) = (bytes.string()?, bytes.string()?, bytes.string()?);
            let (hash, signature) = (bytes.string()?, bytes.string()?);
            (magic && reserved.is_empty() && bytes.is_empty()).then_some((key, namespace, hash, signature))
        };
        let (key, namespace, hash, signature) = fields().ok_or_else(malformed)?;
        if namespace != NAMESPACE {
            return Err(Unproven::new(format!("its signature was made for {:?}, not for git", plain(namespace))));
        }
        let hash = match hash {
            b"sha256" => Hash::Sha256,
            b"sha512" => Hash::Sha512,
            other => return Err(Unproven::new(format!("its signature uses the hash {}, which is not accepted", plain(other)))),
        };
        let key = SshKey::parse(key).map_err(|why| Unproven::new(format!("the key in its signature cannot be used: {why}")))?;
        let mut bytes = Bytes(signature);
        let algorithm = bytes.string().ok_or_else(malformed)?.to_vec();
        let signature = bytes.string().ok_or_else(malformed)?.to_vec();
        Ok(SshSignature { key, algorithm, signature, added: bytes.0.to_vec(), hash })
    }

    /// Checks that the key made this signature over these bytes.
    pub(crate) fn verify(&self, payload: &[u8]) -> Result<(), Unproven> {
        let with_device = matches!(self.key.shape, Shape::TouchedEd25519 { .. } | Shape::TouchedP256 { .. });
        if self.added.is_empty() == with_device {
            return Err(Unproven::new("its signature is malformed or cut short"));
        }
        let (name, digest) = match self.hash {
            Hash::Sha256 => ("sha256", Sha256::digest(payload).to_vec()),
            Hash::Sha512 => ("sha512", Sha512::digest(payload).to_vec()),
        };
        let mut message = MAGIC.to_vec();
        for field in [NAMESPACE, b"", name.as_bytes(), &digest] {
            message.extend(u32::try_from(field.len()).unwrap_or(u32::MAX).to_be_bytes());
            message.extend(field);
        }
        self.key.verify(&self.algorithm, &self.signature, &self.added, &message)
    }
}

fn fingerprint(blob: &[u8]) -> String {
    format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(blob)))
}

/// The uncompressed point of a key on a named curve.
fn curve(bytes: &mut Bytes<'_>, name: &[u8], length: usize) -> Option<Vec<u8>> {
    let named = bytes.string()? == name;
    let point = bytes.string()?;
    (named && point.len() == length && point.first() == Some(&4)).then(|| point.to_vec())
}

fn touched(bytes: &mut Bytes<'_>) -> Option<(Vec<u8>, Vec<u8>)> {
    Some((bytes.string()?.to_vec(), bytes.string()?.to_vec()))
}

/// The two integers of an ECDSA signature, side by side.
fn pair<const N: usize>(signature: &[u8]) -> Result<Vec<u8>, Unproven> {
    let mut bytes = Bytes(signature);
    let mut two = || -> Option<Vec<u8>> {
        let (r, s) = (padded::<N>(bytes.integer()?)?, padded::<N>(bytes.integer()?)?);
        bytes.is_empty().then(|| [r, s].concat())
    };
    two().ok_or_else(|| Unproven::new("its signature is malformed or cut short"))
}

/// What a security key signs: the digests of its application and of the message, with its flags and counter between.
fn seen_by_device(application: &[u8], added: &[u8], message: &[u8]) -> Result<Vec<u8>, Unproven> {
    match added {
        [flags, _, _, _, _] if flags & TOUCHED != 0 => {
            Ok([Sha256::digest(application).as_slice(), added, Sha256::digest(message).as_slice()].concat())
        }
        [_, _, _, _, _] => Err(Unproven::new("its signature was made by a security key that nobody touched")),
        _ => Err(Unproven::new("its signature is malformed or cut short")),
    }
}
