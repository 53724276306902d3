//! Where desired state comes from.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;
use trued_model::{
    BlobRef, Commit, Finding, Patience, Relation, Revision, Shape, SharedText, SignerPolicy, SourceSpec, Timestamp, Verified, Want,
};

use crate::{Answer, BoxFuture, Clock, Descriptor, Runner, Secrets};

/// One kind of source, static.
pub trait SourceKind: Send + Sync {
    fn describe(&self) -> Descriptor;
    /// Checks settings beyond their schema, without asking the remote: each finding with the JSON pointer, into the
    /// settings, of what it is about. A finding may bring a place of its own, in a file that the settings name.
    fn check(&self, _settings: &Value) -> Vec<(String, Finding)> {
        Vec::new()
    }
    /// Opens a configured source. Touches no network.
    fn open(&self, opening: SourceOpening) -> Answer<Arc<dyn Source>>;
}

/// What a source may use.
pub struct SourceOpening {
    pub spec: SourceSpec,
    /// A folder of its own under `cache/`; may vanish between runs.
    pub cache: PathBuf,
    pub secrets: Arc<dyn Secrets>,
    /// Starts the one program that some ways to a remote need.
    pub runner: Arc<dyn Runner>,
    pub clock: Arc<dyn Clock>,
}

/// One configured source. Revisions are immutable: the bytes of one never change, and what is read is verified.
pub trait Source: Send + Sync {
    /// Finds a revision; asks the remote where [`Want`] says so. Each remote ask counts as one fetch.
    fn resolve(&self, want: Want) -> BoxFuture<'_, Answer<Revision>>;

    /// Reads the tree below a folder (`""` is the root) at a revision: `Code::Absent` when there is no such folder.
    /// `.git/`, `.trued/` and the configuration files named in the settings are left out. A tree with `..`, `.git` in
    /// any case, NUL or other names that cannot be written safely is `Code::Invalid`, naming the path.
    fn bundle<'a>(&'a self, revision: &'a Revision, folder: &'a str) -> BoxFuture<'a, Answer<Bundle>>;

    /// Reads one file at a revision.
    fn read<'a>(&'a self, revision: &'a Revision, path: &'a str) -> BoxFuture<'a, Answer<Vec<u8>>>;

    /// Lists all file paths at a revision, sorted (for globs over app files).
    fn list<'a>(&'a self, revision: &'a Revision) -> BoxFuture<'a, Answer<Vec<String>>>;

    /// How `new` stands to `old`. What cannot be decided is [`Relation::Rewinds`]; a refusal only says that the remote
    /// did not answer when it had to be asked, and is about this attempt.
    fn relation<'a>(&'a self, old: &'a Revision, new: &'a Revision) -> BoxFuture<'a, Answer<Relation>>;

    /// Who made a revision and why; `Code::Unsupported` where the source has no such notion.
    fn commit<'a>(&'a self, revision: &'a Revision) -> BoxFuture<'a, Answer<Commit>>;

    /// Judges the signatures of a revision and, where the source's policy asks for it, of what came after `since`, the
    /// revision that was judged good last. The verdict is about the revision's id, and `now` is what keys are valid at.
    /// A refusal is no verdict, and counts as none.
    fn verify<'a>(&'a self, _revision: &'a Revision, _since: Option<&'a str>, _now: Timestamp) -> BoxFuture<'a, Answer<Judgement>> {
        Box::pin(async { Ok(Judgement::Unasked) })
    }

    /// How long it may say nothing, or nothing new, before people must know.
    fn patience(&self) -> Patience {
        Patience::default()
    }

    /// How often the remote was asked so far.
    fn fetches(&self) -> u64;
}

/// What signatures say of a revision.
#[derive(Clone, Debug)]
pub enum Judgement {
    /// The source's policy asks for none.
    Unasked,
    /// It is the revision that was judged good last; nothing was looked at again. With the policy as it is now.
    Known(SignerPolicy),
    Verified(SignerPolicy, Box<Verified>),
    /// Why not: each names the commit or the path, and what to do.
    Refused(Vec<Finding>),
}

/// One folder of one revision.
#[derive(Clone)]
pub struct Bundle {
    pub revision: Revision,
    /// The folder, from the source's root.
    pub folder: String,
    /// Names the folder's whole content (a Git tree id, a digest of the listing): equal digests, equal bytes and modes.
    pub digest: String,
    /// By path below the folder, encoded, sorted.
    pub entries: Arc<BTreeMap<SharedText, BundleEntry>>,
    /// Reads an entry's bytes.
    pub reader: Arc<dyn BundleReader>,
}

/// One entry of a bundle: a file, a link, or an empty folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleEntry {
    pub shape: Shape,
    pub bytes: u64,
    /// The source's own name for the content (a Git blob id; a SHA-256). Equal names, equal bytes.
    pub id: SharedText,
    /// The content's blob reference where the source knows it without reading (a folder source does).
    pub content: Option<BlobRef>,
}

/// Reads entries of one bundle. Blocks.
pub trait BundleReader: Send + Sync {
    /// Reads an entry's bytes by path; verified against the entry's id.
    fn read(&self, path: &str) -> Answer<Vec<u8>>;

    /// Opens an entry's bytes, for those who need not hold them all. Verified while read: other bytes than the entry's are
    /// an error at the end of the stream, never silently used.
    fn open(&self, path: &str) -> Answer<Box<dyn Read + Send>> {
        Ok(Box::new(Cursor::new(self.read(path)?)))
    }

    /// Names an entry's bytes as they would be stored. Those who can, hold no more than a piece of them meanwhile.
    fn name(&self, path: &str) -> Answer<BlobRef> {
        Ok(BlobRef::of(&self.read(path)?))
    }
}

impl Bundle {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
