//! Signed objects, and lists of those who may sign.

use std::sync::OnceLock;

use trued_model::Timestamp;
use trued_signatures::{Signed, Signers, commit, read_allowed_signers, read_key, read_keyring, tag};

const ALLOWED: &[u8] = include_bytes!("../../corpus/signers/allowed_signers");
const KEYRING: &[u8] = include_bytes!("../../corpus/signers/key.asc");

/// What these people signed: one commit for each kind of key, and a tag.
const COMMITS: [&[u8]; 4] = [
    include_bytes!("../../corpus/signed/ssh-commit"),
    include_bytes!("../../corpus/signed/ec-commit"),
    include_bytes!("../../corpus/signed/pgp-commit"),
    include_bytes!("../../corpus/signed/rsa-commit"),
];
const TAG: &[u8] = include_bytes!("../../corpus/signed/ssh-tag");

/// 2028-01-01: all of the corpus' keys are valid.
const NOW: Timestamp = Timestamp(1_830_297_600_000);

/// A commit or tag: nothing is proven but what was signed.
pub fn signed(bytes: &[u8]) {
    let found = [commit(bytes).ok().flatten(), tag(bytes).ok().and_then(|tag| tag.signed)];
    for found in found.into_iter().flatten() {
        if signers().judge(&found, NOW).is_ok() {
            assert!(originals().iter().any(|original| original.payload == found.payload), "a signature for what nobody signed");
        }
    }
}

/// A list of signers in any form.
pub fn signers_list(bytes: &[u8]) {
    let (mut listed, findings) = read_allowed_signers(bytes, "allowed_signers");
    assert!(findings.iter().all(|finding| !finding.message.is_empty()));
    listed.extend(read_keyring(bytes, "keyring").0);
    if let Ok(text) = std::str::from_utf8(bytes) {
        listed.extend(read_key("kim", text).unwrap_or_default());
    }
    let (signers, _) = Signers::assemble(listed);
    assert_eq!(signers.is_empty(), signers.notes().is_empty());
}

fn signers() -> &'static Signers {
    static SIGNERS: OnceLock<Signers> = OnceLock::new();
    SIGNERS.get_or_init(|| {
        let listed = [read_allowed_signers(ALLOWED, "allowed").0, read_keyring(KEYRING, "keyring").0].concat();
        Signers::assemble(listed).0
    })
}

/// What was signed, after each was found proven: a parser that proves nothing would keep every promise.
fn originals() -> &'static [Signed] {
    static ORIGINALS: OnceLock<Vec<Signed>> = OnceLock::new();
    ORIGINALS.get_or_init(|| {
        let commits = COMMITS.iter().map(|bytes| commit(bytes).expect("a commit").expect("signed"));
        let originals: Vec<Signed> = commits.chain([tag(TAG).expect("a tag").signed.expect("signed")]).collect();
        for original in &originals {
            signers().judge(original, NOW).expect("it proves who signed");
        }
        originals
    })
}
