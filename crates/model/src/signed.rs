//! Who signed what, and who may: as the record keeps it.

use serde::{Deserialize, Serialize};

use crate::{Digest, Name, Timestamp};

/// One signature that holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SignatureNote {
    /// The person, as the list of signers names them.
    pub name: String,
    /// The key's algorithm and fingerprint, as `ssh-keygen` and `gpg` print them.
    pub key: String,
    /// The commit it vouches for.
    pub commit: String,
    /// The signed tag it stands on; the commit itself otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
}

/// One key that may sign.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SignerNote {
    pub name: String,
    /// Other names of the same person.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<String>,
    pub key: String,
    /// Of the whole key, with what it says of its own end.
    pub digest: Digest,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_after: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_before: Option<Timestamp>,
}

/// Paths whose changes need several signers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PathNote {
    pub glob: String,
    pub threshold: u32,
    pub names: Vec<String>,
}

/// A source's whole signature policy, with the keys as they are now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignerPolicy {
    /// `head` or `all`.
    pub verify: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<PathNote>,
    pub signers: Vec<SignerNote>,
}

impl SignerPolicy {
    pub fn digest(&self) -> Digest {
        Digest::of_canonical(self)
    }

    /// What a newer policy changes, one line each.
    pub fn differences(&self, newer: &SignerPolicy) -> Vec<String> {
        self.changes(newer).into_iter().map(|change| change.line).collect()
    }

    /// Which of it lets more pass, one line each.
    pub fn loosened(&self, newer: &SignerPolicy) -> Vec<String> {
        self.changes(newer).into_iter().filter(|change| change.loosens).map(|change| change.line).collect()
    }

    fn changes(&self, newer: &SignerPolicy) -> Vec<PolicyChange> {
        let mut changes = Vec::new();
        let mut note = |loosens, line| changes.push(PolicyChange { loosens, line });
        if self.verify != newer.verify {
            note(newer.verify == "head", format!("verify {} → {}", self.verify, newer.verify));
        }
        if (&self.tags, &self.since) != (&newer.tags, &newer.since) {
            note(true, "which tags count, or where verification starts, changed".to_owned());
        }
        for signer in self.signers.iter().filter(|signer| !newer.signers.contains(signer)) {
            note(false, format!("{} may not sign any more as it could, with {}", signer.name, signer.key));
        }
        for signer in newer.signers.iter().filter(|signer| !self.signers.contains(signer)) {
            note(true, format!("{} may sign with {}", signer.name, signer.key));
        }
        let words = |path: &PathNote| format!("{} of {}", path.threshold, path.names.join(", "));
        for path in self.paths.iter().filter(|path| !newer.paths.contains(path)) {
            let kept = newer.paths.iter().any(|newer| newer.asks_as_much_as(path));
            note(!kept, format!("{} needs no longer {}", path.glob, words(path)));
        }
        for path in newer.paths.iter().filter(|path| !self.paths.contains(path)) {
            note(false, format!("{} needs {}", path.glob, words(path)));
        }
        changes
    }
}

impl PathNote {
    fn asks_as_much_as(&self, older: &PathNote) -> bool {
        self.glob == older.glob && self.threshold >= older.threshold && self.names.iter().all(|name| older.names.contains(name))
    }
}

/// One thing that a newer policy changes.
struct PolicyChange {
    loosens: bool,
    line: String,
}

/// `verified`: the signatures of a revision were judged, and hold. Blob `policy`: a [`SignerPolicy`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    pub source: Name,
    /// The digest of the policy, with the keys as they were.
    pub policy: Digest,
    /// `head` or `all`.
    pub verify: String,
    /// The commit that was verified last; what came after it was looked at. Nothing at first contact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Commits that were looked at.
    pub commits: u64,
    /// The newest signatures, at most [`crate::body::LISTED`]; that of the revision itself comes first.
    pub signatures: Vec<SignatureNote>,
    /// All of them.
    pub count: u64,
    /// Files whose change needed several signers.
    pub guarded: u64,
}
