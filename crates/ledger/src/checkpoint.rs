//! Checkpoints (c2sp.org/tlog-checkpoint): the text that says how large a log is and what its root is, and its signature.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use trued_doors::TreeHead;
use trued_model::Digest;

use crate::note::{NoteError, Signer, VerifierKey};

/// Why a checkpoint is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    #[error(transparent)]
    Note(#[from] NoteError),
    #[error("not a checkpoint: expected lines with origin, size and root")]
    Malformed,
    #[error("a checkpoint of another log")]
    OtherOrigin,
}

/// Signs a tree head; origin and key name are the same.
pub fn sign(head: &TreeHead, signer: &Signer) -> String {
    signer.sign(&format!("{}\n{}\n{}\n", signer.verifier().name(), head.size, BASE64.encode(head.root.0)))
}

/// Reads a signed checkpoint of the log whose key this is.
pub fn open(note: &str, key: &VerifierKey) -> Result<TreeHead, CheckpointError> {
    let (origin, head) = read(key.open(note)?).ok_or(CheckpointError::Malformed)?;
    if origin == key.name() { Ok(head) } else { Err(CheckpointError::OtherOrigin) }
}

/// Reads origin and tree head without looking at signatures: for what a trusted place already holds.
pub fn read(text: &str) -> Option<(&str, TreeHead)> {
    let mut lines = text.split_terminator('\n');
    let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
    let root = BASE64.decode(root).ok()?.try_into().ok()?;
    let canonical = !size.starts_with('0') || size == "0";
    let size: u64 = size.bytes().all(|byte| byte.is_ascii_digit()).then(|| size.parse().ok())??;
    (canonical && !origin.is_empty()).then_some((origin, TreeHead { size, root: Digest(root) }))
}
