//! Secrets: where they come from, and the one stored form they have.

use trued_model::{Digest, Name, Secret};

use crate::Answer;

/// Values by name, as the operator granted them: from files, the environment, or encrypted files of a source.
pub trait Secrets: Send + Sync {
    /// Reads a secret of this machine now; it is never cached beyond the call that needs it. `Code::Unsupported` for one
    /// that lies in a source: its bytes are asked from there first.
    fn get(&self, name: &Name) -> Answer<Secret>;

    /// Opens a secret that lies in a source, from the bytes of its encrypted file. What goes wrong names the file and
    /// the line, and no byte of the secret.
    fn open(&self, name: &Name, encrypted: &[u8]) -> Answer<Secret> {
        let _ = encrypted;
        self.get(name)
    }
}

/// Authenticated encryption under the ledger's data key, and identity by keyed digest. Equal plain bytes give equal
/// sealed bytes (the nonce is derived from them), so that plans and releases stay comparable.
pub trait Seal: Send + Sync {
    /// Whether the record's data key is here: `Code::Denied` when it is not. Then sealed things are unknown, and nothing
    /// may be sealed, opened or compared.
    fn ready(&self) -> Answer<()> {
        Ok(())
    }
    fn seal(&self, plain: &[u8]) -> Vec<u8>;
    /// `Code::Denied` when the key is not here or not the right one.
    fn open(&self, sealed: &[u8]) -> Answer<Vec<u8>>;
    /// A keyed digest of a plain SHA-256 digest: comparable, and tells nothing without the key.
    fn identity(&self, plain: &Digest) -> Digest;
}
