//! One encrypted value: `ENC[AES256_GCM,data:…,iv:…,tag:…,type:…]`.

use aes_gcm::aead::consts::U32;
use aes_gcm::aead::{AeadInPlace, KeyInit};
use aes_gcm::aes::Aes256;
use aes_gcm::{AesGcm, Nonce, Tag};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use zeroize::Zeroizing;

use super::KEY;

/// What the plain value was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Bool,
    Comment,
    /// A number, bytes or a time: kept as it is spelled.
    Other,
}

/// A value, still encrypted.
pub struct Leaf {
    data: Vec<u8>,
    iv: [u8; 32],
    tag: [u8; 16],
    pub kind: Kind,
}

/// Reads an encrypted value; `None` when the text is none.
pub fn read(text: &str) -> Option<Leaf> {
    let inner = text.strip_prefix("ENC[AES256_GCM,data:")?.strip_suffix(']')?;
    let (data, rest) = inner.split_once(",iv:")?;
    let (iv, rest) = rest.split_once(",tag:")?;
    let (tag, kind) = rest.split_once(",type:")?;
    let kind = match kind {
        "str" => Kind::Text,
        "bool" => Kind::Bool,
        "comment" => Kind::Comment,
        "int" | "float" | "bytes" | "time" => Kind::Other,
        _ => return None,
    };
    let decode = |text: &str| BASE64.decode(text).ok();
    Some(Leaf { data: decode(data)?, iv: decode(iv)?.try_into().ok()?, tag: decode(tag)?.try_into().ok()?, kind })
}

impl Leaf {
    /// Opens it, as the MAC sees it; `None` when anything of it was changed, or its place.
    pub fn open(&self, key: &[u8; KEY], path: &str) -> Option<Zeroizing<Vec<u8>>> {
        let cipher = AesGcm::<Aes256, U32>::new(key.into());
        let mut plain = Zeroizing::new(self.data.clone());
        let nonce = Nonce::<U32>::from_slice(&self.iv);
        cipher.decrypt_in_place_detached(nonce, path.as_bytes(), &mut plain, Tag::from_slice(&self.tag)).ok()?;
        // SOPS reads a truth in any spelling, and hashes it in one.
        match (self.kind, plain.as_slice()) {
            (Kind::Bool, b"true") => Some(Zeroizing::new(b"True".to_vec())),
            (Kind::Bool, b"false") => Some(Zeroizing::new(b"False".to_vec())),
            _ => Some(plain),
        }
    }
}
