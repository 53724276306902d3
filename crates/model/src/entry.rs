//! One fact in the ledger, and what is known of it before it has a place.

use std::{fmt, io};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::digest::{exact, plain};
use crate::{BlobRef, Digest, Name, StackId, Timestamp, canonical};

/// The most bytes an entry's canonical form may have (C2SP tlog-tiles entry bundles: a 16-bit length).
pub const MAX_ENTRY: usize = 65_535;

macro_rules! kinds {
    ($($name:ident = $word:literal),+ $(,)?) => {
        /// What an entry says.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Kind {
            $(#[serde(rename = $word)] $name,)+
        }

        impl Kind {
            pub const ALL: &'static [Kind] = &[$(Kind::$name),+];

            pub fn word(self) -> &'static str {
                match self { $(Kind::$name => $word),+ }
            }

            pub fn from_word(word: &str) -> Option<Kind> {
                match word { $($word => Some(Kind::$name),)+ _ => None }
            }
        }
    };
}

kinds! {
    Intent = "intent",
    Receipt = "receipt",
    Refusal = "refusal",
    Verdict = "verdict",
    Held = "held",
    Answered = "answered",
    Observed = "observed",
    DriftOpened = "drift.opened",
    DriftUpdated = "drift.updated",
    DriftClosed = "drift.closed",
    IncidentOpened = "incident.opened",
    IncidentClosed = "incident.closed",
    Promotion = "promotion",
    Rollback = "rollback",
    Approval = "approval",
    Denial = "denial",
    Freeze = "freeze",
    Suspend = "suspend",
    Resume = "resume",
    ConfigChanged = "config.changed",
    Verified = "verified",
    BlindStart = "blind.start",
    BlindEnd = "blind.end",
    Heartbeat = "heartbeat",
    KeyRotated = "key.rotated",
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Who acted, and how we know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// `engine`, `person`, `outside`.
    pub kind: String,
    pub id: String,
    /// `self`, `peer-credentials`, `process`, `mtime`, …: what the id rests on.
    pub evidence: String,
}

impl Actor {
    pub fn engine() -> Actor {
        Actor { kind: "engine".to_owned(), id: "trued".to_owned(), evidence: "self".to_owned() }
    }
}

/// A pointer to an earlier entry. `rel`: `outcome-of`, `receipt-of`, `authorised-by`, `closes`, `answers`, `caused-by`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    pub rel: String,
    pub index: u64,
}

impl Link {
    pub fn new(rel: &str, index: u64) -> Link {
        Link { rel: rel.to_owned(), index }
    }
}

/// Bytes an entry names. `role`: `plan`, `changes`, `desired`, `inventory`, `observed`, `kept:ADDRESS`, `log`, `targets`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobNote {
    pub role: String,
    #[serde(flatten)]
    pub blob: BlobRef,
}

impl BlobNote {
    pub fn new(role: impl Into<String>, blob: BlobRef) -> BlobNote {
        BlobNote { role: role.into(), blob }
    }
}

/// An entry before it is appended: everything but the version and the time of recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    pub kind: Kind,
    pub stack: Option<StackId>,
    /// The run it belongs to, a UUIDv7.
    pub run: Option<String>,
    /// When it was true in the world.
    pub valid_from: Timestamp,
    pub actor: Actor,
    /// `source`, `drift`, `rollback`, `recovery`, `approval`, `answer`, `configuration`, `observation`, `person`.
    pub cause: String,
    pub revision: Option<String>,
    pub links: Vec<Link>,
    pub body: Value,
    pub blobs: Vec<BlobNote>,
}

/// One fact, as stored. Its index is its place and stands nowhere in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub v: u32,
    pub kind: Kind,
    pub stack: Option<StackId>,
    pub run: Option<String>,
    pub valid_from: Timestamp,
    pub recorded_at: Timestamp,
    pub actor: Actor,
    pub cause: String,
    pub revision: Option<String>,
    pub links: Vec<Link>,
    pub body: Value,
    pub blobs: Vec<BlobNote>,
}

impl Entry {
    /// Fixes a draft at the instant of recording.
    pub fn new(draft: Draft, recorded_at: Timestamp) -> Entry {
        let Draft { kind, stack, run, valid_from, actor, cause, revision, links, body, blobs } = draft;
        Entry { v: 1, kind, stack, run, valid_from, recorded_at, actor, cause, revision, links, body, blobs }
    }

    /// The canonical bytes: the leaf of the tree.
    pub fn leaf(&self) -> Vec<u8> {
        // What is written and verified by the million is not sorted each time.
        match self.is_plain() {
            true => serde_json::to_vec(&Sorted::from(self)).expect("an entry is JSON"),
            false => canonical(self),
        }
    }

    /// Whether these are the canonical bytes; they are compared as they come and not written anywhere.
    pub fn has_leaf(&self, bytes: &[u8]) -> bool {
        if !self.is_plain() {
            return self.leaf() == bytes;
        }
        let mut against = Against { rest: bytes };
        serde_json::to_writer(&mut against, &Sorted::from(self)).is_ok() && against.rest.is_empty()
    }

    /// Whether the order of fields is all that canonical form asks for.
    fn is_plain(&self) -> bool {
        let integers = self.links.iter().map(|link| link.index).chain(self.blobs.iter().map(|note| note.blob.bytes));
        plain(&self.body) && integers.into_iter().all(exact)
    }

    /// The first blob with a role.
    pub fn blob(&self, role: &str) -> Option<&BlobRef> {
        self.blobs.iter().find(|note| note.role == role).map(|note| &note.blob)
    }

    /// The index of the first link with a relation.
    pub fn link(&self, rel: &str) -> Option<u64> {
        self.links.iter().find(|link| link.rel == rel).map(|link| link.index)
    }

    /// Reads the body as the typed form of its kind.
    pub fn body<T: serde::de::DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        T::deserialize(&self.body)
    }

    pub fn names_blob(&self, digest: &Digest) -> bool {
        self.blobs.iter().any(|note| note.blob.digest == *digest)
    }
}

/// Takes only what it expects.
struct Against<'a> {
    rest: &'a [u8],
}

impl io::Write for Against<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.rest = self.rest.strip_prefix(bytes).ok_or(io::ErrorKind::InvalidData)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An entry with its fields in the order of their names, as canonical JSON wants them.
#[derive(Serialize)]
struct Sorted<'a> {
    actor: SortedActor<'a>,
    blobs: Vec<SortedBlob<'a>>,
    body: &'a Value,
    cause: &'a str,
    kind: Kind,
    links: Vec<SortedLink<'a>>,
    recorded_at: Timestamp,
    revision: Option<&'a str>,
    run: Option<&'a str>,
    stack: Option<SortedStack<'a>>,
    v: u32,
    valid_from: Timestamp,
}

#[derive(Serialize)]
struct SortedActor<'a> {
    evidence: &'a str,
    id: &'a str,
    kind: &'a str,
}

#[derive(Serialize)]
struct SortedBlob<'a> {
    bytes: u64,
    digest: &'a Digest,
    role: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    sealed: bool,
}

#[derive(Serialize)]
struct SortedLink<'a> {
    index: u64,
    rel: &'a str,
}

#[derive(Serialize)]
struct SortedStack<'a> {
    app: &'a Name,
    environment: &'a Name,
    target: &'a Name,
}

impl<'a> From<&'a Entry> for Sorted<'a> {
    fn from(entry: &'a Entry) -> Sorted<'a> {
        let Entry { v, kind, stack, run, valid_from, recorded_at, actor, cause, revision, links, body, blobs } = entry;
        let blob = |BlobNote { role, blob: BlobRef { digest, bytes, sealed } }: &'a BlobNote| SortedBlob {
            bytes: *bytes,
            digest,
            role,
            sealed: *sealed,
        };
        Sorted {
            actor: SortedActor { evidence: &actor.evidence, id: &actor.id, kind: &actor.kind },
            blobs: blobs.iter().map(blob).collect(),
            body,
            cause,
            kind: *kind,
            links: links.iter().map(|Link { rel, index }| SortedLink { index: *index, rel }).collect(),
            recorded_at: *recorded_at,
            revision: revision.as_deref(),
            run: run.as_deref(),
            stack: stack.as_ref().map(|StackId { environment, app, target }| SortedStack { app, environment, target }),
            v: *v,
            valid_from: *valid_from,
        }
    }
}

/// An entry with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Indexed {
    pub index: u64,
    pub entry: Entry,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_leaf_is_the_canonical_form_of_its_entry() {
        let bare = Entry {
            v: 1,
            kind: Kind::DriftOpened,
            stack: None,
            run: None,
            valid_from: Timestamp(1),
            recorded_at: Timestamp(2),
            actor: Actor { kind: "person".to_owned(), id: "ada \u{1}\"é".to_owned(), evidence: "peer-credentials".to_owned() },
            cause: "answer".to_owned(),
            revision: None,
            links: Vec::new(),
            body: Value::Null,
            blobs: Vec::new(),
        };
        let full = Entry {
            stack: StackId::from_key("prod/site@web-1"),
            run: Some("0192c0de-0000-7000-8000-000000000001".to_owned()),
            revision: Some("9f1c".to_owned()),
            links: vec![Link::new("outcome-of", 7), Link::new("closes", 0)],
            body: json!({ "b": [1, { "z": null, "a": true }], "a": "text" }),
            blobs: vec![
                BlobNote::new("plan", BlobRef::of(b"plan")),
                BlobNote::new("kept:a", BlobRef { sealed: true, ..BlobRef::of(b"kept") }),
            ],
            ..bare.clone()
        };
        let doubles = Entry { body: json!({ "\u{10000}": 1e21, "\u{e000}": 0.5 }), ..full.clone() };
        let large = Entry { links: vec![Link::new("closes", u64::MAX)], ..full.clone() };
        for entry in [bare, full, doubles, large] {
            assert_eq!(String::from_utf8(entry.leaf()), String::from_utf8(canonical(&entry)));
        }
    }
}
