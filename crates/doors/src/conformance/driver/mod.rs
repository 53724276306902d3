//! What every driver promises. `driver_suite!(fresh)` makes a test of each promise, against the real thing.
//!
//! The suite knows nothing of a kind of target but what its [`World`] tells: how a thing is written down, and what is
//! really there, seen and changed from outside.

mod doubles;
mod guarding;
mod looking;
mod writing;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt as _;
use serde_json::Value;
use trued_model::{
    Action, Address, BlobRef, Change, Digest, Document, Duration, Fingerprint, Observation, Refusal, Resource, Secret, Seen, Shape,
    StackId, Target, Timestamp,
};

use super::SteppedClock;
use crate::{Ask, Asked, Blobs, Connection, Driver, Facts, Link, Order, Parsed, Reading, Seal};

pub use doubles::{HeldBlobs, NoSecrets, PaperSeal};
pub use guarding::*;
pub use looking::*;
pub use writing::*;

/// One target of a kind under test, empty at first, and a stranger's hands on it.
pub trait World: Send + Sync {
    fn driver(&self) -> Arc<dyn Driver>;

    /// Settings that name the target.
    fn settings(&self) -> Value;

    /// Writes down a thing with this content. Names are `one`, `two/three`, …; equal names are one thing.
    fn document(&self, name: &str, content: BlobRef, identity: Digest) -> Document {
        Document { path: name.to_owned(), shape: Shape::File { executable: false }, identity, content, text: None }
    }

    /// The bytes of a document that says a thing has this content; the content itself, where a document is the thing.
    fn written(&self, _name: &str, content: &[u8]) -> Vec<u8> {
        content.to_vec()
    }

    /// The content again, out of bytes that were kept of a thing; the bytes themselves, where they are the thing.
    fn content(&self, kept: &[u8]) -> Vec<u8> {
        kept.to_vec()
    }

    /// The ledger that is written for. Another one for each world where several share what carries the marks.
    fn ledger(&self) -> String {
        LEDGER.to_owned()
    }

    /// The stack's place on the target, in the target's own terms.
    fn into(&self) -> String {
        String::new()
    }

    /// What is really there.
    fn read(&self, address: &Address) -> Option<Vec<u8>>;

    /// Puts a thing there from outside, or changes it.
    fn put(&self, address: &Address, content: &[u8]);

    /// Removes a thing from outside.
    fn remove(&self, address: &Address);

    /// Makes the whole target impossible to see, as an outage does.
    fn hide(&self);

    /// A text that differs whenever anything on the target was written in between, even with the same content.
    fn trace(&self) -> String;
}

/// Makes a test of every promise. `$fresh` is a path to a function that gives an empty target: `fn() -> impl World`.
/// The crate that uses it has tokio with `macros` and `rt`.
#[macro_export]
macro_rules! driver_suite {
    ($fresh:path) => {
        $crate::driver_suite!(@each $fresh:
            a_driver_describes_itself parsing_is_pure_and_gives_each_address_once
            an_empty_target_is_seen_completely every_asked_address_has_an_answer a_hidden_target_is_unknown_and_never_empty
            everything_names_what_nobody_manages what_is_kept_is_what_was_there what_is_not_there_cannot_be_kept
            changes_from_outside_are_hinted_at sealed_things_are_compared_by_key
            asking_beforehand_writes_nothing how_well_things_are_is_told_at_once_and_of_each
            what_is_made_looks_as_it_was_parsed receipts_say_what_is_there updates_and_deletes_arrive
            the_same_order_twice_writes_once a_move_of_what_is_right_writes_nothing a_full_batch_has_one_answer_each
            sealed_contents_are_opened_on_the_way an_order_that_nobody_listens_to_leaves_no_lock
            creating_over_something_is_refused fault_48_what_was_put_there_anew_is_not_ours_to_change
            a_stale_delete_is_refused a_missing_content_refuses_its_change_alone a_wrong_content_is_never_written
            a_lower_epoch_is_fenced epochs_are_each_stacks_own another_ledgers_target_is_refused
            a_hidden_target_is_not_written);
    };
    (@each $fresh:path: $($promise:ident)+) => {
        $(#[tokio::test]
        async fn $promise() {
            $crate::conformance::driver::$promise(&$fresh()).await;
        })+
    };
}

/// The instant the suite's clock stands at.
const START: Timestamp = Timestamp(1_795_000_000_000);

/// The ledger the suite writes for.
const LEDGER: &str = "trued/00000000-0000-7000-8000-000000000001";

/// A link to a world, with the contents it writes from.
pub struct Bench<'a> {
    pub world: &'a dyn World,
    pub link: Arc<dyn Link>,
    pub facts: Arc<Facts>,
    pub blobs: Arc<HeldBlobs>,
}

impl<'a> Bench<'a> {
    pub async fn new(world: &'a dyn World) -> Bench<'a> {
        Bench::of_ledger(world, &world.ledger()).await
    }

    pub async fn of_ledger(world: &'a dyn World, ledger: &str) -> Bench<'a> {
        let blobs = Arc::new(HeldBlobs::default());
        let driver = world.driver();
        let target = Target {
            name: name("target"),
            kind: driver.describe().kind.to_owned(),
            settings: world.settings(),
            ignore: Vec::new(),
            origin: Default::default(),
        };
        let at = Connection {
            target,
            ledger: ledger.to_owned(),
            blobs: blobs.clone(),
            seal: Arc::new(PaperSeal),
            secrets: Arc::new(NoSecrets),
            clock: Arc::new(SteppedClock::at(START)),
            written: false,
        };
        let link = driver.connect(at).await.expect("a link");
        let facts = link.facts().await.expect("facts");
        Bench { world, link, facts, blobs }
    }

    /// Keeps contents and reads them as resources, in the order given.
    pub fn parse(&self, things: &[(&str, &[u8])]) -> Vec<Resource> {
        self.resources(&things.iter().map(|(name, content)| self.document(name, content)).collect::<Vec<_>>(), &BTreeMap::new())
    }

    /// Keeps a content, and writes it down.
    pub fn document(&self, name: &str, content: &[u8]) -> Document {
        let written = self.world.written(name, content);
        let blob = self.blobs.put(&written).expect("a blob");
        let document = self.world.document(name, blob, Digest::of(&written));
        let text = || String::from_utf8(written).expect("a document that is text").into();
        if self.world.driver().reads_text() { Document { text: Some(text()), ..document } } else { document }
    }

    /// The same, with sealed contents.
    pub fn parse_sealed(&self, name: &str, content: &[u8]) -> Resource {
        let written = self.world.written(name, content);
        let stored = self.blobs.put(&PaperSeal.seal(&written)).expect("a blob");
        let identity = PaperSeal.identity(&Digest::of(&written));
        let document = self.world.document(name, BlobRef { sealed: true, ..stored }, identity);
        let opened = BTreeMap::from([(document.path.clone(), Secret::new(written))]);
        self.resources(&[document], &opened).remove(0)
    }

    /// In the order of the documents, each of which is one thing.
    fn resources(&self, documents: &[Document], opened: &BTreeMap<String, Secret>) -> Vec<Resource> {
        let parsed = self.read(documents, opened);
        assert_eq!(parsed.findings, [], "documents of the suite are fine");
        assert_eq!(parsed.resources.len(), documents.len());
        for bytes in parsed.made.values() {
            self.blobs.put(bytes).expect("a blob");
        }
        let place = |resource: &Resource| documents.iter().position(|document| *document.path == *resource.origin.file);
        let mut resources = parsed.resources;
        resources.sort_by_key(place);
        resources
    }

    /// Reads documents.
    pub fn read(&self, documents: &[Document], opened: &BTreeMap<String, Secret>) -> Parsed {
        let into = self.world.into();
        let reading = Reading { facts: &self.facts, into: &into, documents, ignore: &[], opened, seal: &PaperSeal };
        self.world.driver().parse(&reading)
    }

    /// Looks at addresses.
    pub async fn look(&self, addresses: &[&Address]) -> Observation {
        let asked = addresses.iter().map(|address| Asked::new((*address).clone(), false)).collect();
        self.link.observe(Ask::These(asked)).await.expect("an observation")
    }

    /// The fingerprint of what is at an address.
    pub async fn fingerprint(&self, address: &Address) -> Option<Fingerprint> {
        match self.look(&[address]).await.get(address) {
            Seen::Present(state) => Some(state.fingerprint),
            Seen::Absent => None,
            other => panic!("{address} could not be seen: {other:?}"),
        }
    }

    /// Runs an order to its end; by change, with no answer missing and none given twice.
    pub async fn run(&self, order: Order) -> Vec<Result<Option<Fingerprint>, Refusal>> {
        let count = order.changes.len();
        let mut results = BTreeMap::new();
        let mut answers = self.link.apply(order);
        while let Some(done) = answers.next().await {
            assert!(done.change < count, "an answer about a change that was not ordered");
            assert!(results.insert(done.change, done.result).is_none(), "two answers about change {}", done.change);
        }
        assert_eq!(results.len(), count, "each change has its answer");
        results.into_values().collect()
    }

    /// Runs changes that must all succeed.
    pub async fn make(&self, changes: Vec<Change>) {
        for (result, change) in self.run(order(changes.clone())).await.into_iter().zip(changes) {
            assert_eq!(result, Ok(change.after.clone()), "{} {}", change.action.word(), change.address);
        }
    }

    /// Makes things that were not there.
    pub async fn create(&self, things: &[(&str, &[u8])]) -> Vec<Resource> {
        let resources = self.parse(things);
        self.make(resources.iter().map(create).collect()).await;
        resources
    }
}

fn name(text: &str) -> trued_model::Name {
    text.parse().expect("a name")
}

/// The stack that the suite's orders are for.
pub fn stack(app: &str) -> StackId {
    StackId { environment: name("default"), app: name(app), target: name("target") }
}

/// An order of the suite's stack at epoch 1.
pub fn order(changes: Vec<Change>) -> Order {
    Order { stack: stack("app"), epoch: 1, key: "run/1".to_owned(), changes, deadline: Duration::from_secs(60) }
}

fn change(action: Action, address: &Address, before: Option<Fingerprint>, wanted: Option<&Resource>) -> Change {
    Change {
        address: address.clone(),
        action,
        before,
        after: wanted.map(|resource| resource.fingerprint.clone()),
        uid: None,
        other: None,
        content: wanted.and_then(|resource| resource.content),
        keep: false,
        reasons: Vec::new(),
        hold: None,
        turn: None,
        awaits: None,
    }
}

pub fn create(wanted: &Resource) -> Change {
    change(Action::Create, &wanted.address, None, Some(wanted))
}

pub fn update(there: &Resource, wanted: &Resource) -> Change {
    change(Action::Update, &wanted.address, Some(there.fingerprint.clone()), Some(wanted))
}

pub fn delete(there: &Resource) -> Change {
    change(Action::Delete, &there.address, Some(there.fingerprint.clone()), None)
}
