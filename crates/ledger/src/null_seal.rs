//! A seal for simulated worlds, whose secrets are none.

use trued_doors::{Answer, Seal};
use trued_model::{Code, Digest, Refusal};

/// A [`Seal`] without a key, for worlds whose secrets are none. Sealed bytes do not show the plain ones as they are, so
/// that a search for a secret finds only what was never sealed.
#[derive(Clone, Copy, Debug, Default)]
pub struct NullSeal;

const NULL: &[u8; 4] = b"tsl\0";
const NULL_MASK: u8 = 0xA5;

impl Seal for NullSeal {
    fn seal(&self, plain: &[u8]) -> Vec<u8> {
        NULL.iter().copied().chain(plain.iter().map(|byte| byte ^ NULL_MASK)).collect()
    }

    fn open(&self, sealed: &[u8]) -> Answer<Vec<u8>> {
        let masked = sealed.strip_prefix(NULL).ok_or_else(|| Refusal::new(Code::Denied, "open sealed bytes: another seal made them"))?;
        Ok(masked.iter().map(|byte| byte ^ NULL_MASK).collect())
    }

    fn identity(&self, plain: &Digest) -> Digest {
        Digest(plain.0.map(|byte| byte ^ NULL_MASK))
    }
}
