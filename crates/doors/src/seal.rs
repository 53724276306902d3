//! Secrets: where they come from, and the one stored form they have.

use trued_model::{Digest, Name, Secret};

use crate::Answer;

/// Values by name, from files or the environment, as the operator granted them.
pub trait Secrets: Send + Sync {
    /// Reads a secret now; it is never cached beyond the call that needs it.
    fn get(&self, name: &Name) -> Answer<Secret>;
}

/// Authenticated encryption under the ledger's data key, and identity by keyed digest. Equal plain bytes give equal
/// sealed bytes (the nonce is derived from them), so that plans and releases stay comparable.
pub trait Seal: Send + Sync {
    fn seal(&self, plain: &[u8]) -> Vec<u8>;
    /// `Code::Denied` when the key is not here or not the right one.
    fn open(&self, sealed: &[u8]) -> Answer<Vec<u8>>;
    /// A keyed digest of a plain SHA-256 digest: comparable, and tells nothing without the key.
    fn identity(&self, plain: &Digest) -> Digest;
}
