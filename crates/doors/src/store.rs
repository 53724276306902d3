//! The ledger's store: an append-only sequence of entries under one tree head, leases beside it.

use serde::{Deserialize, Serialize};
use trued_model::{Digest, Draft, Duration, Indexed, Kind, StackId, Timestamp};

use crate::{Answer, BoxFuture};

/// What to read, newest first unless `ascending`.
#[derive(Clone, Debug, Default)]
pub struct Query {
    pub stack: Option<StackId>,
    /// Empty: all kinds.
    pub kinds: Vec<Kind>,
    /// Bounds on `valid_from`, inclusive.
    pub from: Option<Timestamp>,
    pub until: Option<Timestamp>,
    /// Revision id or a prefix of it.
    pub revision: Option<String>,
    pub run: Option<String>,
    /// Index bounds: `after` exclusive, `before` exclusive.
    pub after: Option<u64>,
    pub before: Option<u64>,
    pub limit: Option<usize>,
    pub ascending: bool,
}

/// Size and root of the tree (RFC 6962).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeHead {
    pub size: u64,
    pub root: Digest,
}

/// A condition on an append: this lease must still be the stack's newest, decided in the same transaction.
#[derive(Clone, Debug)]
pub struct Fence {
    pub stack: StackId,
    pub epoch: u64,
}

/// A process that may hold leases: on one machine its id, start time and boot say whether it still lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    pub pid: u32,
    /// The process's start time in clock ticks since boot (`/proc/PID/stat`, field 22).
    pub started: u64,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot: String,
    /// `serve`, `apply`, …
    pub verb: String,
}

/// A stack's lease. A dead holder's is free at once; a stopped one's ends by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub stack: StackId,
    pub epoch: u64,
    pub holder: Holder,
}

/// One ledger. Many processes may append; the tree head is compared and swapped, so none can fork it.
pub trait Store: Send + Sync {
    /// The log's origin, `trued/<uuid>`, fixed at the first append; `None` before.
    fn origin(&self) -> BoxFuture<'_, Answer<Option<String>>>;

    fn head(&self) -> BoxFuture<'_, Answer<TreeHead>>;

    /// Appends entries in order, durable when this returns, and gives their indices. `recorded_at` is set inside,
    /// never below its predecessor's. With a fence that no longer holds nothing is appended: `Code::Fenced`.
    /// An entry over 65,535 bytes refuses the whole batch with `Code::TooLarge`.
    fn append(&self, drafts: Vec<Draft>, fence: Option<Fence>) -> BoxFuture<'_, Answer<Vec<Indexed>>>;

    /// Reads entries by their order.
    fn find(&self, query: Query) -> BoxFuture<'_, Answer<Vec<Indexed>>>;

    /// The stored bytes of entries `from..until`.
    fn leaves(&self, from: u64, until: u64) -> BoxFuture<'_, Answer<Vec<Vec<u8>>>>;

    /// All stacks that any entry names.
    fn stacks(&self) -> BoxFuture<'_, Answer<Vec<StackId>>>;

    /// Takes a stack's lease, or renews one this holder has. A taken lease raises the epoch by one, from the larger
    /// of the store's and `at_least`. `Code::Denied` names a living holder.
    fn take<'a>(&'a self, stack: &'a StackId, holder: &'a Holder, at_least: u64, term: Duration) -> BoxFuture<'a, Answer<Lease>>;

    /// Prolongs all leases of a holder, and tells which those are: what somebody else took meanwhile is not among them.
    fn renew<'a>(&'a self, holder: &'a Holder, term: Duration) -> BoxFuture<'a, Answer<Vec<StackId>>>;

    /// Gives back all leases of a holder.
    fn release<'a>(&'a self, holder: &'a Holder) -> BoxFuture<'a, Answer<()>>;

    /// Living holders of any lease.
    fn holders(&self) -> BoxFuture<'_, Answer<Vec<Holder>>>;

    /// A small durable value beside the log, not part of the record (accepted revisions, snapshots of derived state).
    fn note<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Answer<Option<Vec<u8>>>>;
    fn set_note<'a>(&'a self, key: &'a str, value: &'a [u8]) -> BoxFuture<'a, Answer<()>>;
}

/// The most entries that [`first`] reads at once.
const PAGE: usize = 64;

/// The first entry a query gives that fits. It reads one, then page by page, so that it costs as much as the entry lies
/// away and not as much as the record is long; `limit` of the query is not used.
pub async fn first(store: &dyn Store, mut query: Query, fits: impl Fn(&Indexed) -> bool) -> Answer<Option<Indexed>> {
    let mut page = 1;
    loop {
        query.limit = Some(page);
        let entries = store.find(query.clone()).await?;
        let Some(end) = entries.last().map(|entry| entry.index) else { return Ok(None) };
        let full = entries.len() == page;
        if let Some(found) = entries.into_iter().find(&fits) {
            return Ok(Some(found));
        }
        if !full {
            return Ok(None);
        }
        if query.ascending {
            query.after = Some(end);
        } else {
            query.before = Some(end);
        }
        page = PAGE;
    }
}
