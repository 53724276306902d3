//! Whether what Git holds was signed by somebody who may: bytes in, verdict out. Reads SSH and OpenPGP signatures,
//! lists of signers and the policy over them; no file, no clock, no process, and no secret key.

mod allowed;
mod object;
mod pgp;
mod policy;
mod signers;
mod ssh;
mod wire;

pub use allowed::read_allowed_signers;
pub use object::{Scheme, Signed, Tag, commit, tag};
pub use policy::{Approvals, Lack, Policy, Scope, Written, WrittenRule, WrittenSigners, Wrong, parse};
pub use signers::{Listed, Proof, Signers, read_key, read_keyring};

/// Why a signature proves nothing: words that continue "commit X is refused: …".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unproven(String);

impl Unproven {
    pub fn new(why: impl Into<String>) -> Unproven {
        Unproven(why.into())
    }
}
