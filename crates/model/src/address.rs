//! Where a managed thing lives on its target, and what it looks like there.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::SharedText;

/// A resource's identity on its target, as its driver writes it (files: the path below the root). Copies share the text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Address(SharedText);

impl Address {
    pub fn new(text: impl AsRef<str>) -> Address {
        Address(text.as_ref().into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, shared.
    pub fn text(&self) -> &SharedText {
        &self.0
    }

    /// Tells how early this is made in a table by how addresses begin: the longest beginning counts, 0 where none fits.
    pub fn rank<'a>(&self, table: impl IntoIterator<Item = (&'a str, i32)>) -> i32 {
        let fits = table.into_iter().filter(|(prefix, _)| self.0.starts_with(prefix));
        fits.max_by_key(|(prefix, _)| prefix.len()).map_or(0, |(_, rank)| rank)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a resource looks like, as one comparable word; starts with the version of its format (`1:`). Copies share the text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(SharedText);

impl Fingerprint {
    pub fn new(text: impl AsRef<str>) -> Fingerprint {
        Fingerprint(text.as_ref().into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Writes a path's bytes as text: valid UTF-8 without control characters and `%` as it is, all else percent-encoded.
pub fn encode_path(bytes: &[u8]) -> String {
    use fmt::Write as _;
    if let Some(same) = std::str::from_utf8(bytes).ok().filter(|_| is_plain(bytes)) {
        return same.to_owned();
    }
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c == '%' || c.is_control() {
                c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| {
                    let _ = write!(text, "%{byte:02X}");
                });
            } else {
                text.push(c);
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// Whether these are printed ASCII characters that stand for themselves, as nearly all paths are.
fn is_plain(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| matches!(byte, b' '..=b'~') && *byte != b'%')
}

/// Reads back what [`encode_path`] wrote; `None` when a `%` is not followed by two hexadecimal digits.
pub fn decode_path(text: &str) -> Option<Vec<u8>> {
    if is_plain(text.as_bytes()) {
        return Some(text.as_bytes().to_vec());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first == b'%' {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    Some(bytes)
}
