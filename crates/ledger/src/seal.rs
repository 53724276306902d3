//! The one stored form of secrets: authenticated encryption whose nonce follows from key and plain bytes, so that equal
//! secrets have equal sealed bytes. Whoever reads the sealed form learns its length and which ones are equal, no more.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use trued_doors::{Answer, Seal};
use trued_model::{Code, Digest, Refusal};

use crate::keys::Key;

/// `tsl` and the version of the form: 1 is XChaCha20-Poly1305, header as associated data, nonce = first 24 bytes of
/// HMAC-SHA256(nonce key, plain).
const MAGIC: [u8; 4] = *b"tsl\x01";
const KEY_ID: usize = 8;
const NONCE: usize = 24;
const HEADER: usize = MAGIC.len() + KEY_ID;

/// A [`Seal`] under a data key. Each use has a key of its own, derived by HMAC-SHA256 of the use's name.
pub struct KeyedSeal {
    header: [u8; HEADER],
    cipher: XChaCha20Poly1305,
    nonces: Hmac<Sha256>,
    identities: Hmac<Sha256>,
}

impl KeyedSeal {
    pub(crate) fn new(key: &Key) -> KeyedSeal {
        let derived = |name: &str| -> [u8; 32] { keyed(key.bytes()).chain_update(name).finalize().into_bytes().into() };
        let mut header = [0; HEADER];
        header[..MAGIC.len()].copy_from_slice(&MAGIC);
        header[MAGIC.len()..].copy_from_slice(&derived("trued seal key id")[..KEY_ID]);
        KeyedSeal {
            header,
            cipher: XChaCha20Poly1305::new(&derived("trued seal encryption").into()),
            nonces: keyed(&derived("trued seal nonce")),
            identities: keyed(&derived("trued seal identity")),
        }
    }

    /// A seal under a key that nobody keeps: for verbs that may write nothing where there is no key yet. What it
    /// seals can be opened by it alone, and its identities are not those of later runs.
    pub fn passing() -> Answer<KeyedSeal> {
        Ok(KeyedSeal::new(&Key::fresh()?))
    }
}

impl Seal for KeyedSeal {
    /// Gives header ‖ nonce ‖ cipher text with its tag.
    fn seal(&self, plain: &[u8]) -> Vec<u8> {
        let digest: [u8; 32] = self.nonces.clone().chain_update(plain).finalize().into_bytes().into();
        let mut nonce = [0; NONCE];
        nonce.copy_from_slice(&digest[..NONCE]);
        let payload = Payload { msg: plain, aad: &self.header };
        let sealed = self.cipher.encrypt(&XNonce::from(nonce), payload).expect("what fits into memory is short enough for the cipher");
        [&self.header[..], &nonce, &sealed].concat()
    }

    fn open(&self, sealed: &[u8]) -> Answer<Vec<u8>> {
        let denied = |why: &str| Refusal::new(Code::Denied, format!("open sealed bytes: {why}"));
        let Some((header, rest)) = sealed.split_first_chunk::<HEADER>() else { return Err(denied("they are too short")) };
        if header[..MAGIC.len()] != MAGIC {
            let known = header[..3] == MAGIC[..3];
            return Err(denied(if known { "a newer version of this program sealed them" } else { "they are not sealed" }));
        }
        if *header != self.header {
            return Err(denied("another data key sealed them").help("bring the data key they were sealed with back to keys/data.key"));
        }
        let Some((nonce, sealed)) = rest.split_first_chunk::<NONCE>() else { return Err(denied("they are too short")) };
        let payload = Payload { msg: sealed, aad: header };
        self.cipher.decrypt(&XNonce::from(*nonce), payload).map_err(|_| denied("they were changed"))
    }

    fn identity(&self, plain: &Digest) -> Digest {
        Digest(self.identities.clone().chain_update(plain.0).finalize().into_bytes().into())
    }
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
        let seal = KeyedSeal::new(&Key::of([7; 32]));
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
