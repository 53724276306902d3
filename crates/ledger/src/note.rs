//! Signed notes (c2sp.org/signed-note) with Ed25519: a text, and lines of signatures below it. Knows nothing of trees.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};

/// The signature type of plain Ed25519, the first byte of encoded keys and of what key ids are taken of.
const ED25519: u8 = 0x01;

/// The most bytes and signature lines that are looked at; a note from elsewhere may be anything.
const MAX_NOTE: usize = 1 << 20;
const MAX_SIGNATURES: usize = 100;

/// Why a note or a verifier key is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    #[error("not a signed note: expected a text, an empty line, and lines that begin with an em dash")]
    Malformed,
    #[error("not a verifier key: expected NAME+HASH+KEY")]
    MalformedKey,
    #[error("not signed by this key")]
    NotSigned,
    #[error("the signature is wrong")]
    WrongSignature,
}

/// What checks signatures: a name and a public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    key: VerifyingKey,
}

impl VerifierKey {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The first four bytes of SHA-256(name ‖ 0x0A ‖ 0x01 ‖ public key).
    fn id(&self) -> [u8; 4] {
        let hash = Sha256::new().chain_update(&self.name).chain_update([b'\n', ED25519]).chain_update(self.key.as_bytes()).finalize();
        [hash[0], hash[1], hash[2], hash[3]]
    }

    /// Gives the text of a note, after finding this key's signature on it. Signatures of other keys are passed over.
    pub fn open<'a>(&self, note: &'a str) -> Result<&'a str, NoteError> {
        let (text, signatures) = parts(note)?;
        let id = self.id();
        let mut found = Err(NoteError::NotSigned);
        for line in signatures {
            let line = line?;
            if line.name != self.name || line.id != id {
                continue;
            }
            let signature = Signature::from_slice(&line.signature).map_err(|_| NoteError::WrongSignature)?;
            self.key.verify_strict(text.as_bytes(), &signature).map_err(|_| NoteError::WrongSignature)?;
            found = Ok(text);
        }
        found
    }
}

/// Writes the signed-note form: `NAME+HEX8+BASE64(0x01 ‖ key)`.
impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encoded = BASE64.encode([&[ED25519], &self.key.as_bytes()[..]].concat());
        write!(f, "{}+{:08x}+{encoded}", self.name, u32::from_be_bytes(self.id()))
    }
}

impl FromStr for VerifierKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<VerifierKey, NoteError> {
        let mut parts = text.trim_end().splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else { return Err(NoteError::MalformedKey) };
        let key = BASE64.decode(key).map_err(|_| NoteError::MalformedKey)?;
        let Some((&ED25519, key)) = key.split_first() else { return Err(NoteError::MalformedKey) };
        let key = key.try_into().map_err(|_| NoteError::MalformedKey)?;
        let key = VerifyingKey::from_bytes(key).map_err(|_| NoteError::MalformedKey)?;
        let key = VerifierKey { name: name.to_owned(), key };
        let right_id = id.len() == 8 && u32::from_str_radix(id, 16).is_ok_and(|id| id.to_be_bytes() == key.id());
        if name_is_valid(name) && right_id { Ok(key) } else { Err(NoteError::MalformedKey) }
    }
}

/// What signs: a name and a private key. Has no `Debug`.
pub struct Signer {
    verifier: VerifierKey,
    key: SigningKey,
}

impl Signer {
    /// Takes a private key's 32 bytes under a name; `None` when notes cannot carry the name.
    pub fn new(name: &str, seed: &[u8; 32]) -> Option<Signer> {
        let key = SigningKey::from_bytes(seed);
        name_is_valid(name).then(|| Signer { verifier: VerifierKey { name: name.to_owned(), key: key.verifying_key() }, key })
    }

    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// Signs a text; the answer is the whole note.
    ///
    /// # Panics
    /// When the text does not end its last line.
    pub fn sign(&self, text: &str) -> String {
        assert!(text.ends_with('\n'), "a note's text ends its last line");
        let signature = self.key.sign(text.as_bytes()).to_bytes();
        let encoded = BASE64.encode([&self.verifier.id()[..], &signature].concat());
        format!("{text}\n\u{2014} {} {encoded}\n", self.verifier.name)
    }
}

struct SignatureLine<'a> {
    name: &'a str,
    id: [u8; 4],
    signature: Vec<u8>,
}

/// Splits a note into its text, last line break included, and its signatures.
fn parts(note: &str) -> Result<(&str, impl Iterator<Item = Result<SignatureLine<'_>, NoteError>>), NoteError> {
    let plain = |c: char| c == '\n' || !c.is_ascii_control();
    if note.len() > MAX_NOTE || !note.ends_with('\n') || !note.chars().all(plain) {
        return Err(NoteError::Malformed);
    }
    let end = note.rfind("\n\n").ok_or(NoteError::Malformed)? + 1;
    let (text, signatures) = (&note[..end], &note[end + 1..]);
    if signatures.is_empty() || signatures.lines().count() > MAX_SIGNATURES {
        return Err(NoteError::Malformed);
    }
    Ok((text, signatures.lines().map(|line| signature_line(line).ok_or(NoteError::Malformed))))
}

fn signature_line(line: &str) -> Option<SignatureLine<'_>> {
    let (name, encoded) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
    let bytes = BASE64.decode(encoded).ok()?;
    let (id, signature) = bytes.split_first_chunk::<4>()?;
    name_is_valid(name).then(|| SignatureLine { name, id: *id, signature: signature.to_vec() })
}

fn name_is_valid(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '+')
}
