//! Targets: what knows a kind of target, and an open line to one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use trued_model::{
    Address, BlobRef, Change, Condition, Deferred, Digest, Document, Duration, Errand, Evidence, Finding, Fingerprint, HealthRule, Ignore,
    Observation, Place, Preview, Refusal, Resource, Secret, StackId, Target,
};

use crate::{Answer, Blobs, BoxFuture, BoxStream, Clock, Contents, Descriptor, Found, Seal, Secrets, Sourced, Survey, Told};

/// One kind of target, static.
pub trait Driver: Send + Sync {
    fn describe(&self) -> Descriptor;

    /// Whether documents are needed as text in memory.
    fn reads_text(&self) -> bool {
        false
    }

    /// Reads resources from documents. Pure.
    fn parse(&self, reading: &Reading<'_>) -> Parsed;

    /// Reads again what is otherwise than it was, where reading everything anew would give just that; `None` where it might
    /// not, or there is something to find. Pure.
    fn reread(&self, _reading: &Rereading<'_>) -> Option<Reread> {
        None
    }

    /// Whether its resources are objects, whose contents are JSON: people see them as one stream of YAML, not as files.
    fn objects(&self) -> bool {
        false
    }

    /// Finds where a field of a resource is written, by its JSON pointer; the nearest thing around it where it is not there.
    fn locate(&self, _reading: &Reading<'_>, _address: &Address, _pointer: &str) -> Option<Place> {
        None
    }

    /// Tells what two of its fingerprints differ in, where that is more than content: `mode 0644 → 0600`. Pure.
    fn differs(&self, _before: &Fingerprint, _after: &Fingerprint) -> Option<String> {
        None
    }

    /// Writes what is on a target as a source would hold it; several ways, the cleanest first, of which the first is taken
    /// that would change nothing. Pure.
    fn sourced(&self, found: &Found<'_>) -> Answer<Vec<Sourced>> {
        let message = format!("write {} into a source: this kind of target has no such thing", found.address);
        Err(Refusal::new(trued_model::Code::Unsupported, message))
    }

    /// Checks settings beyond their schema, without touching the target (paths, contradictions).
    fn check(&self, settings: &Value) -> Vec<Finding>;

    /// What tells two of its targets apart whose paths ([`Descriptor::paths`]) are the same, as JSON pointers into the settings.
    fn apart(&self) -> &'static [&'static str] {
        &[]
    }

    /// Whether its targets tell how well what was made is ([`Facts::health`]).
    fn tells_health(&self) -> bool {
        false
    }

    /// What is wrong with a rule that tells a kind's health: the key of the rule it is about, and the finding. Pure.
    fn check_health(&self, _rule: &HealthRule) -> Option<(&'static str, Finding)> {
        None
    }

    /// Opens a line to a target. Touches it as little as it can; a target that is not there is found by `observe`.
    fn connect(&self, at: Connection) -> BoxFuture<'_, Answer<Arc<dyn Link>>>;
}

/// What resources are read from.
pub struct Reading<'a> {
    pub facts: &'a Facts,
    /// The stack's place on the target in the target's own terms.
    pub into: &'a str,
    pub documents: &'a [Document],
    /// Fields that the stack is not about, for drivers of objects ([`Driver::objects`]).
    pub ignore: &'a [Ignore],
    /// The plain text of sealed documents by path, where the driver reads text.
    pub opened: &'a BTreeMap<String, Secret>,
    /// Seals what the driver makes of them, or knows to be secret.
    pub seal: &'a dyn Seal,
}

/// What is read again: a few documents of many, of which no finding was made before.
pub struct Rereading<'a> {
    pub facts: &'a Facts,
    /// The stack's place on the target in the target's own terms.
    pub into: &'a str,
    /// What was read before, of all documents.
    pub before: &'a BTreeMap<Address, Resource>,
    /// Documents that are new or otherwise, sorted by path.
    pub changed: &'a [Document],
    /// Paths of those that are no more.
    pub gone: &'a [String],
}

/// What came of reading again: the rest is as it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reread {
    pub resources: Vec<Resource>,
    pub gone: Vec<Address>,
}

/// What a link may use.
#[derive(Clone)]
pub struct Connection {
    pub target: Target,
    /// Identifies the ledger, for the mark on the target.
    pub ledger: String,
    pub blobs: Arc<dyn Blobs>,
    pub seal: Arc<dyn Seal>,
    pub secrets: Arc<dyn Secrets>,
    pub clock: Arc<dyn Clock>,
    /// Whether the record says that something was written to this target: then it carries a mark, where it can.
    pub written: bool,
}

/// What a target can do and knows. Values only; the engine knows targets by this alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Addresses are paths: `a/b` lies in `a`. Parents come first when made, last when removed, and what is
    /// below a held change waits for it.
    pub nested: bool,
    /// Receipts carry the state after the change, so nothing need be looked at again to confirm.
    pub confirms: bool,
    /// The target carries a mark at each thing of ours. Then adopting and moving write it, and nothing else.
    pub marks: bool,
    /// A look compares with the bytes of what is desired and was made ([`Asked::compared`]), because the target keeps things
    /// in another form than they are written in.
    pub compares: bool,
    /// The target tells how well what was made is ([`Link::health`]), and that may take a while.
    pub health: bool,
    /// The target says beforehand what would come of a change to something that is there ([`Link::preview`]).
    pub previews: bool,
    /// What is made early (below 0) or late (above 0), and removed the other way round: by how addresses begin.
    pub ranks: Vec<(String, i32)>,
    /// What is never removed without an approval, with the reason: by how addresses begin.
    pub guarded: Vec<(String, String)>,
    /// Resources a stack may not manage here, with the reason (files: `.trued`).
    pub reserved: Vec<(String, String)>,
    /// What else of this target the driver's own [`Driver::parse`] depends on, in a form of its own (files: who owns
    /// what). What is rendered for a target is parsed anew when it changes.
    pub terms: Value,
}

/// Documents, read as resources.
#[derive(Clone, Debug, Default)]
pub struct Parsed {
    pub resources: Vec<Resource>,
    /// What runs once for a release instead of staying.
    pub errands: Vec<Errand>,
    /// What is written down and never run here: why.
    pub not_run: BTreeMap<Address, String>,
    pub findings: Vec<Finding>,
    /// Contents of resources that are no document's own bytes (one of many in a document): the bytes as they are stored.
    pub made: BTreeMap<Digest, Arc<[u8]>>,
    /// Those of the resources that cannot be made yet, because the target does not know their kind: why. Their addresses
    /// may turn out to be others.
    pub deferred: BTreeMap<Address, Deferred>,
}

/// What to look at.
#[derive(Clone, Debug)]
pub enum Ask {
    These(Vec<Asked>),
    /// Everything below a place in the target's own terms, for what nobody manages; fingerprints may be left empty.
    Everything {
        into: String,
    },
}

/// One address to look at, and how to compare it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub address: Address,
    /// Whether the fingerprint must be keyed, because what we made there is sealed.
    pub sealed: bool,
    /// What it is compared with, where a driver has several forms of fingerprints: one that covers just what one of
    /// these covers and agrees is given as that one; otherwise the first says the form.
    pub like: Vec<Fingerprint>,
    /// What it is compared with, with the bytes, where the facts say so: what is desired, what we made.
    pub compared: Vec<Compared>,
}

/// Something that what is there may be as.
#[derive(Clone)]
pub struct Compared {
    pub fingerprint: Fingerprint,
    pub content: BlobRef,
    pub from: Arc<dyn Contents>,
}

impl std::fmt::Debug for Compared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.fingerprint.fmt(f)
    }
}

impl PartialEq for Compared {
    fn eq(&self, other: &Compared) -> bool {
        (&self.fingerprint, &self.content) == (&other.fingerprint, &other.content)
    }
}

impl Eq for Compared {}

impl Asked {
    pub fn new(address: Address, sealed: bool) -> Asked {
        Asked { address, sealed, like: Vec::new(), compared: Vec::new() }
    }

    /// Compares with these. The first form of a kind is what is given in any case and need not be asked for.
    pub fn like<'a>(mut self, fingerprints: impl IntoIterator<Item = &'a Fingerprint, IntoIter: Clone>) -> Asked {
        let forms = fingerprints.into_iter();
        if forms.clone().any(|form| !form.as_str().starts_with("1:")) {
            self.like.extend(forms.cloned());
        }
        self
    }
}

/// Something in a resource that has not the form that the target asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    pub address: Address,
    /// Which field, as a JSON pointer into the resource as it is written.
    pub pointer: String,
    pub message: String,
    pub help: String,
}

/// A change to something that is there, before it is decided.
#[derive(Clone)]
pub struct Candidate {
    pub change: Change,
    /// Where the bytes are that the change would write.
    pub from: Arc<dyn Contents>,
}

/// A batch of changes to make, at most 256.
#[derive(Clone, Debug)]
pub struct Order {
    pub stack: StackId,
    /// The lease's epoch; a target that has seen a higher one refuses all with `Code::Fenced`.
    pub epoch: u64,
    /// Names run and batch: the same order twice is the same order.
    pub key: String,
    /// In the order they must appear to happen.
    pub changes: Vec<Change>,
    pub deadline: Duration,
}

/// A look that need not have been at everything.
#[derive(Clone, Debug)]
pub struct Glance {
    pub observation: Observation,
    /// How many addresses were looked at; the others are known to be as they were seen last.
    pub looked: usize,
    /// Whether those were all.
    pub whole: bool,
}

/// One change of an order, ended.
#[derive(Clone, Debug)]
pub struct Done {
    /// Index into the order's changes.
    pub change: usize,
    /// The fingerprint now there (`None`: nothing), or the coded no. A refusal `Code::Changed` means the target
    /// was not as `before` says, and nothing was written.
    pub result: Result<Option<Fingerprint>, Refusal>,
}

/// Whose health to tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealthAsk {
    pub addresses: BTreeSet<Address>,
    /// How kinds tell their health that the target does not know by itself.
    pub rules: Vec<HealthRule>,
    /// Whether anything may be asked of the target for it. Otherwise what is not known already is on its way.
    pub read: bool,
}

/// A wake-up: something at these addresses may have changed. Carries no facts; empty means anywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hint {
    pub addresses: BTreeSet<Address>,
}

/// Bytes found on the target, now in the blob store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub fingerprint: Fingerprint,
    /// `None` where the fingerprint says it all (an empty folder).
    pub content: Option<BlobRef>,
}

/// An open line to one target; owns its clients and caches.
pub trait Link: Send + Sync {
    fn facts(&self) -> BoxFuture<'_, Answer<Arc<Facts>>>;

    /// Looks; changes nothing. Each asked address gets an answer. A target that is not there as a whole is
    /// `Extent::Unknown`, never "all absent".
    fn observe(&self, ask: Ask) -> BoxFuture<'_, Answer<Observation>>;

    /// Looks where something may have happened since the line looked last, and gives what was seen then where it knows that
    /// nothing did, because it hears of every change at once. Whoever knows less looks at all.
    fn glance(&self, asked: Vec<Asked>) -> BoxFuture<'_, Answer<Glance>> {
        let looked = asked.len();
        Box::pin(async move { Ok(Glance { observation: self.observe(Ask::These(asked)).await?, looked, whole: true }) })
    }

    /// Everything below a place, what of it is nobody's to manage, and what could not be seen into.
    fn survey<'a>(&'a self, into: &'a str) -> BoxFuture<'a, Answer<Survey>> {
        Box::pin(async move { Ok(Survey::of(self.observe(Ask::Everything { into: into.to_owned() }).await?)) })
    }

    /// Finds what of these has not the form that the target's own schemas ask for. All of it at once; an error means that they
    /// could not be asked, and says nothing about the resources.
    fn validate<'a>(&'a self, _resources: &'a [Resource], _contents: Arc<dyn Contents>) -> BoxFuture<'a, Answer<Vec<Misfit>>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    /// Asks the target what would come of these changes; writes nothing. What is not in the answer would come out as asked,
    /// or nobody can tell.
    fn preview<'a>(&'a self, _stack: &'a StackId, _candidates: Vec<Candidate>) -> BoxFuture<'a, Answer<BTreeMap<Address, Preview>>> {
        Box::pin(std::future::ready(Ok(BTreeMap::new())))
    }

    /// Copies what is at an address into the blob store (sealed if asked so); `Code::Absent` when it is gone,
    /// `Code::Unsupported` when it has no bytes of its own to keep.
    fn keep<'a>(&'a self, asked: &'a Asked) -> BoxFuture<'a, Answer<Kept>>;

    /// Who changed an address last, as far as this line or the target itself can tell; graded. Never a guess: `None`
    /// when nothing is known.
    fn witness<'a>(&'a self, _address: &'a Address) -> BoxFuture<'a, Option<Evidence>> {
        Box::pin(std::future::ready(None))
    }

    /// Makes a batch of changes: one answer for each, as it ends, none twice. What has no answer when the stream ends
    /// is unknown. Contents come from the blob store. An order without changes gives no answers; it clears away what an
    /// interrupted one left that is no resource (stages, locks, emptied folders).
    fn apply(&self, order: Order) -> BoxStream<'_, Done>;

    /// The highest epoch this target has seen for a stack; 0 for none.
    fn epoch<'a>(&'a self, stack: &'a StackId) -> BoxFuture<'a, Answer<u64>>;

    /// How well things are, and from then on again whenever that changed: each time an answer for every address that was
    /// asked for. The first comes at once. Ends when the line breaks; where the facts do not speak of health, it is empty.
    fn health(&self, _ask: HealthAsk) -> BoxStream<'static, BTreeMap<Address, Condition>> {
        Box::pin(futures::stream::empty())
    }

    /// Says that these cannot be made before their kind is known: a hint follows when it may be.
    fn expect(&self, _deferred: &BTreeSet<Address>) {}

    /// What happens on the target beside us, from a mark on that an earlier stream gave; `None` when the target has no such
    /// thing. Goes on by itself where the line breaks, and says what it missed.
    fn happenings(&self, _after: Option<String>) -> Option<BoxStream<'static, Told>> {
        None
    }

    /// Whether whoever has this token may report what happened on the target (an audit log). Takes as long for a wrong one.
    fn admits(&self, _token: &str) -> bool {
        false
    }

    /// What such reports said of an address's last change, without asking anybody.
    fn testimony(&self, _address: &Address) -> Option<Evidence> {
        None
    }

    /// Takes in such a report; gives how many acts of others it told of. They come out of [`Link::happenings`], count as
    /// testimony of [`Link::witness`], and are hinted at.
    fn hear<'a>(&'a self, _said: &'a [u8]) -> BoxFuture<'a, Answer<u64>> {
        let refusal = Refusal::new(trued_model::Code::Unsupported, "take in a report: this kind of target has none");
        Box::pin(std::future::ready(Err(refusal)))
    }

    /// Hints about addresses below these places; `None` when the target has no such thing. Ends when the line breaks.
    fn watch(&self) -> Option<BoxStream<'static, Hint>>;
}
