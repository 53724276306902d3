//! SHA-256 digests and the canonical JSON they are taken of (RFC 8785).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// A SHA-256 digest; written `sha256:<64 hex>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

const HEX: [u8; 16] = *b"0123456789abcdef";

/// What each byte is worth as a hexadecimal digit; more than 15 where it is none.
const VALUES: [u8; 256] = {
    let mut values = [u8::MAX; 256];
    let mut digit = 0;
    while digit < 16 {
        values[HEX[digit] as usize] = digit as u8;
        values[HEX[digit].to_ascii_uppercase() as usize] = digit as u8;
        digit += 1;
    }
    values
};

impl Digest {
    /// Hashes bytes.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(Sha256::digest(bytes).into())
    }

    /// Hashes the canonical JSON of a value.
    pub fn of_canonical<T: Serialize>(value: &T) -> Digest {
        Digest::of(&canonical(value))
    }

    /// The 64 hexadecimal digits, without the prefix.
    pub fn hex(&self) -> String {
        str::from_utf8(&self.digits()).expect("digits are text").to_owned()
    }

    /// Writes the digits of [`Digest::hex`] behind a text.
    pub fn push_hex(&self, text: &mut String) {
        text.push_str(str::from_utf8(&self.digits()).expect("digits are text"));
    }

    fn digits(&self) -> [u8; 64] {
        let mut digits = [0; 64];
        for (two, byte) in digits.chunks_exact_mut(2).zip(self.0) {
            two.copy_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
        digits
    }

    /// The first twelve digits, for people.
    pub fn short(&self) -> String {
        let mut hex = self.hex();
        hex.truncate(12);
        hex
    }

    /// Whether what a person typed (with or without `sha256:`, at least 8 digits) is a prefix of this digest.
    pub fn matches(&self, typed: &str) -> bool {
        let typed = typed.strip_prefix("sha256:").unwrap_or(typed);
        typed.len() >= 8 && self.hex().starts_with(&typed.to_ascii_lowercase())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        f.write_str(str::from_utf8(&self.digits()).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not 64 hexadecimal digits, with or without `sha256:`.
#[derive(Debug, thiserror::Error)]
#[error("not a SHA-256 digest: expected sha256: and 64 hexadecimal digits")]
pub struct NotADigest;

impl FromStr for Digest {
    type Err = NotADigest;
    fn from_str(text: &str) -> Result<Digest, NotADigest> {
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        if hex.len() != 64 {
            return Err(NotADigest);
        }
        let mut bytes = [0; 32];
        for (byte, two) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            let (high, low) = (VALUES[usize::from(two[0])], VALUES[usize::from(two[1])]);
            if (high | low) > 15 {
                return Err(NotADigest);
            }
            *byte = high << 4 | low;
        }
        Ok(Digest(bytes))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Digest, D::Error> {
        crate::text::parsed(from)
    }
}

/// Writes a value as canonical JSON (RFC 8785): sorted keys, no white space, one spelling per value.
///
/// # Panics
/// When the value has a map with keys that are not strings; none of the model's values has one.
pub fn canonical<T: Serialize>(value: &T) -> Vec<u8> {
    match serde_json::to_value(value) {
        // The common case, several times faster: a sorted tree, written as it is.
        Ok(tree) if plain(&tree) => serde_json::to_vec(&tree).expect("a tree is JSON"),
        _ => serde_json_canonicalizer::to_vec(value).expect("values of the model are JSON"),
    }
}

/// Whether a tree needs none of what RFC 8785 adds to sorted keys: numbers written as doubles, keys whose order as UTF-16
/// is another than as UTF-8.
pub(crate) fn plain(tree: &Value) -> bool {
    match tree {
        Value::Null | Value::Bool(_) | Value::String(_) => true,
        Value::Number(n) => n.as_i64().map(i64::unsigned_abs).or(n.as_u64()).is_some_and(exact),
        Value::Array(items) => items.iter().all(plain),
        Value::Object(fields) => fields.iter().all(|(key, value)| plain_key(key) && plain(value)),
    }
}

/// Whether a key stands where UTF-16 puts it too.
pub(crate) fn plain_key(key: &str) -> bool {
    key.bytes().all(|byte| byte < 0xEE)
}

/// Whether doubles, which the numbers of canonical JSON are, hold an integer exactly.
pub(crate) fn exact(n: u64) -> bool {
    n < 1 << 53
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Every shape that the fast way may get wrong, against the implementation of RFC 8785.
    #[test]
    fn canonical_bytes_are_those_of_rfc_8785() {
        let values = [
            json!({ "b": 1, "a": [null, true, -7, "é\u{1}\n\"\\/\u{7f}"], "": {}, "B": [] }),
            json!({ "\u{10000}": 1, "\u{e000}": 2, "\u{ffff}": 3, "é": 4 }),
            json!([0.1, 1.0, -0.0, 1e21, 1e-7, 123456789012345680000.0, 5e-324]),
            json!([u64::MAX, i64::MIN, 9_007_199_254_740_991u64, 9_007_199_254_740_992u64, -9_007_199_254_740_993i64]),
        ];
        for value in &values {
            let expect = serde_json_canonicalizer::to_vec(value).expect("JSON");
            assert_eq!(String::from_utf8(canonical(value)), String::from_utf8(expect));
        }
        assert_eq!(canonical(&values[1]), "{\"é\":4,\"\u{10000}\":1,\"\u{e000}\":2,\"\u{ffff}\":3}".as_bytes());
    }
}
