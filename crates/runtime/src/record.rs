//! Drafts of entries: the one place where the runtime's facts take their written form.

use serde::Serialize;
use serde_json::Value;
use trued_model::{Actor, BlobNote, BlobRef, Draft, Kind, Link, StackId, Timestamp};

/// Starts a draft. Everything not given is empty; `body` is one of `model::body`.
pub(crate) fn draft<B: Serialize>(kind: Kind, stack: Option<&StackId>, at: Timestamp, cause: &str, body: &B) -> Draft {
    Draft {
        kind,
        stack: stack.cloned(),
        run: None,
        valid_from: at,
        actor: Actor::engine(),
        cause: cause.to_owned(),
        revision: None,
        links: Vec::new(),
        body: serde_json::to_value(body).unwrap_or(Value::Null),
        blobs: Vec::new(),
    }
}

/// The rest of a draft, piece by piece.
pub(crate) trait Drafting: Sized {
    fn run(self, run: &str) -> Self;
    fn revision(self, revision: Option<String>) -> Self;
    fn link(self, rel: &str, index: Option<u64>) -> Self;
    fn blob(self, role: &str, blob: Option<BlobRef>) -> Self;
    fn by(self, actor: Actor) -> Self;
}

impl Drafting for Draft {
    fn run(mut self, run: &str) -> Draft {
        self.run = Some(run.to_owned());
        self
    }

    fn revision(mut self, revision: Option<String>) -> Draft {
        self.revision = revision;
        self
    }

    fn link(mut self, rel: &str, index: Option<u64>) -> Draft {
        self.links.extend(index.map(|index| Link::new(rel, index)));
        self
    }

    fn blob(mut self, role: &str, blob: Option<BlobRef>) -> Draft {
        self.blobs.extend(blob.map(|blob| BlobNote::new(role, blob)));
        self
    }

    fn by(mut self, actor: Actor) -> Draft {
        self.actor = actor;
        self
    }
}
