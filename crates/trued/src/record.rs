//! The record, opened for reading: entries, blobs, and how stacks and instants are written. Appends nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use trued_doors::{Blobs, Query, Store};
use trued_engine::history::{self, Voice};
use trued_model::{BlobRef, Indexed, Manifest, StackId, StackNames, Timestamp};

use crate::commands::Session;
use crate::exit::usage;
use crate::when::{self, Moment};
use crate::wire;

/// An opened record.
pub struct Record {
    pub store: Arc<dyn Store>,
    pub blobs: Arc<dyn Blobs>,
    pub names: StackNames,
    pub now: Timestamp,
    state: PathBuf,
}

impl Record {
    /// Opens the state folder's record. A folder that is not there reads as an empty one.
    pub async fn open(session: &Session<'_>) -> anyhow::Result<Record> {
        let state = session.at.state()?;
        let wire::Opened { store, blobs, clock } = wire::open_to_read(&state)?;
        let stacks = store.stacks().await?;
        Ok(Record { store, blobs, names: StackNames::new(&stacks), now: clock.now(), state })
    }

    /// The state folder.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// All stacks, or the one a person named.
    pub fn stacks(&self, named: Option<&str>) -> anyhow::Result<Vec<StackId>> {
        match named {
            Some(named) => Ok(vec![self.stack(named)?]),
            None => Ok(self.names.iter().map(|(stack, _)| stack.clone()).collect()),
        }
    }

    /// The stack a person named.
    pub fn stack(&self, named: &str) -> anyhow::Result<StackId> {
        self.names.find(named).cloned().ok_or_else(|| {
            let known: Vec<&str> = self.names.iter().map(|(_, written)| written).collect();
            let known = if known.is_empty() { "it names none yet".to_owned() } else { format!("it knows {}", known.join(", ")) };
            usage(format!("the record names no stack {named}; {known}"))
        })
    }

    pub async fn find(&self, query: Query) -> anyhow::Result<Vec<Indexed>> {
        Ok(self.store.find(query).await?)
    }

    /// The first entry a query gives that fits.
    pub async fn first(&self, query: Query, fits: impl Fn(&Indexed) -> bool) -> anyhow::Result<Option<Indexed>> {
        Ok(trued_doors::first(self.store.as_ref(), query, fits).await?)
    }

    pub async fn entry(&self, index: u64) -> anyhow::Result<Indexed> {
        let before = index.checked_add(1).ok_or_else(|| usage(format!("there is no entry #{index}")))?;
        let one = Query { after: index.checked_sub(1), before: Some(before), limit: Some(1), ..Query::default() };
        let found = self.find(one).await?;
        let size = self.store.head().await?.size;
        found.into_iter().next().ok_or_else(|| usage(format!("there is no entry #{index}; the record has {size}")))
    }

    /// Turns what a person typed into an instant; `~N` counts back from now among the given stack's changes.
    pub async fn moment(&self, typed: &str, stack: Option<&StackId>) -> anyhow::Result<Timestamp> {
        match when::moment(typed, self.now)? {
            Moment::At(at) => Ok(at),
            Moment::Entry(index) => Ok(self.entry(index).await?.entry.valid_from),
            Moment::Back(back) => {
                let stack = stack.ok_or_else(|| usage(format!("{typed} needs a stack to count back in")))?;
                let limit = usize::try_from(back)
                    .ok()
                    .and_then(|back| back.checked_add(1))
                    .ok_or_else(|| usage(format!("{typed} is too far back")))?;
                let kinds = history::STATE_BEARING.to_vec();
                let found = self.find(Query { stack: Some(stack.clone()), kinds, limit: Some(limit), ..Query::default() }).await?;
                let oldest = found
                    .get(limit - 1)
                    .ok_or_else(|| usage(format!("{} has fewer than {limit} changes on record", self.names.write(stack))))?;
                Ok(oldest.entry.valid_from)
            }
        }
    }

    /// Reads a stored manifest.
    pub fn manifest(&self, root: &BlobRef) -> anyhow::Result<Manifest> {
        let read = |blob: &BlobRef| self.blobs.get(&blob.digest).map_err(anyhow::Error::from);
        Manifest::unpack::<anyhow::Error>(root, read).with_context(|| format!("failed to read the manifest {}", root.digest))
    }

    /// Reads public bytes; `None` for sealed ones.
    pub fn bytes(&self, blob: &BlobRef) -> anyhow::Result<Option<Vec<u8>>> {
        if blob.sealed {
            return Ok(None);
        }
        Ok(Some(self.blobs.get(&blob.digest).with_context(|| format!("failed to read the blob {}", blob.digest))?))
    }

    /// Says what an entry says.
    pub fn sentence(&self, entry: &Indexed) -> String {
        self.speak(|voice| history::sentence(entry, voice))
    }

    /// Speaks with this record's names and this machine's time.
    pub fn speak<R>(&self, say: impl FnOnce(&Voice) -> R) -> R {
        let clock = |at: Timestamp| when::clock(at, self.now);
        say(&Voice { names: &self.names, clock: &clock })
    }
}

/// Reads `#17` or `17`.
pub fn index(typed: &str) -> anyhow::Result<u64> {
    let digits = typed.strip_prefix('#').unwrap_or(typed);
    digits.parse().map_err(|_| usage(format!("{typed:?} is no entry; write its number, such as #17")))
}
