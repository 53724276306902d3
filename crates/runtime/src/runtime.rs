//! The runtime itself: doors, estate, cells, and the few calls everything else here is made of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use tokio::sync::{OnceCell, Semaphore};
use trued_doors::{Answer, Connection, Driver, Facts, Fence, Link, Query, Source};
use trued_engine::{StackMemory, fold};
use trued_model::{
    BadManifest, BlobRef, Code, Digest, Draft, Duration, Estate, Indexed, Manifest, Name, Refusal, Revision, SourceSpec, Stack, StackId,
    StackNames, Target, Want,
};

use crate::cell::{Cell, Cells};
use crate::gained::Own;
use crate::lease::TERM;
use crate::neighbours::Neighbours;
use crate::{Counters, Doors};

/// How many renders and plans may use the processor at once; waiting for a target takes no place.
pub(crate) const BUSY: usize = 4;
/// How many programs render at once; each may use all the memory it is allowed.
pub(crate) const BUILDING: usize = 2;
/// Entries of one stack after which a snapshot of what they say is worth a write.
const SNAPSHOT_EVERY: u64 = 500;
/// Entries of one stack that are read in one go: little enough to be read at once.
const FOLDED_AT_ONCE: usize = 64;

/// One runtime, for a single `apply` or a whole `serve`.
pub struct Runtime {
    pub(crate) doors: Doors,
    pub(crate) counters: Arc<Counters>,
    pub(crate) busy: Semaphore,
    /// The same for programs that render: they take minutes, and must not keep others from planning.
    pub(crate) building: Semaphore,
    flushing: tokio::sync::Mutex<()>,
    pub(crate) own: Own,
    /// How long a lease lasts without renewal.
    pub(crate) term: Duration,
    /// Whether all it renders is only compared with what was rendered before.
    pub(crate) repeats: bool,
    pub(crate) elsewhere: bool,
    /// Who is told what is waited for.
    pub(crate) told: Option<Told>,
    state: Mutex<State>,
}

type Line = Arc<OnceCell<Arc<dyn Link>>>;

/// Somebody who is told what is waited for.
pub type Told = Arc<dyn Fn(&Waiting<'_>) + Send + Sync>;

/// What is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Waiting<'a> {
    /// The stack, as written for people.
    pub stack: &'a str,
    pub why: &'a str,
    /// How long it is waited for, and how long it may take at most.
    pub since: Duration,
    pub within: Duration,
}

/// All stacks there are, and of which estate that was found: worked out once for it, not at every poll and hint.
struct Roll {
    estate: Arc<Estate>,
    orphans: Vec<StackId>,
    names: Arc<StackNames>,
    cells: Cells,
}

#[derive(Default)]
pub(crate) struct State {
    pub estate: Arc<Estate>,
    /// What was read last, where it was found to be the same.
    pub equal: Option<Arc<Estate>>,
    /// Stacks in the record that are no longer configured, with something of ours still on their target.
    pub orphans: Vec<StackId>,
    /// Of which estate, and at what size of the record, orphans were looked for last.
    pub searched: Option<(Arc<Estate>, u64)>,
    roll: Option<Roll>,
    /// As they were opened, with the settings they were opened with.
    pub sources: BTreeMap<Name, (SourceSpec, Arc<dyn Source>)>,
    /// What each source is followed to now.
    pub revisions: BTreeMap<Name, Revision>,
    /// Sources that did not answer when they were asked last.
    pub stale: BTreeSet<Name>,
    cells: BTreeMap<StackId, Arc<Cell>>,
    /// By target.
    pub neighbours: BTreeMap<Name, Arc<tokio::sync::Mutex<Neighbours>>>,
    /// Digests of the terms of targets, with the facts they stand in.
    pub terms: BTreeMap<Name, (Arc<Facts>, Digest)>,
    /// Open lines, with the target each was opened for.
    links: BTreeMap<Name, (Target, Line)>,
    /// Targets whose lines were opened before the record had a name, which its first entry gives it.
    nameless: BTreeSet<Name>,
    pub stopping: bool,
    /// The record's disk failed while writing.
    pub broken: Option<Refusal>,
}

impl State {
    fn cell(&mut self, id: &StackId) -> Arc<Cell> {
        if let Some(cell) = self.cells.get(id) {
            return cell.clone();
        }
        let cell = Arc::new(Cell::new(id.clone()));
        self.cells.insert(id.clone(), cell.clone());
        cell
    }
}

/// What one pass is about.
#[derive(Clone, Debug)]
pub struct Aim {
    /// Which revision of each source: the newest, the working tree, or one that a person named.
    pub want: Want,
    /// Only these stacks; empty is all.
    pub stacks: Vec<StackId>,
    /// Whether anything may be written: targets, ledger, notes.
    pub writes: bool,
    /// Whether a look is due although nothing changed.
    pub look: bool,
    /// Whether the pass ends only when what was written is ready, or its time is over.
    pub waits: bool,
}

impl Runtime {
    pub fn new(doors: Doors) -> Runtime {
        Runtime {
            doors,
            counters: Arc::default(),
            busy: Semaphore::new(BUSY),
            building: Semaphore::new(BUILDING),
            flushing: tokio::sync::Mutex::default(),
            own: Own::default(),
            term: TERM,
            repeats: false,
            elsewhere: false,
            told: None,
            state: Mutex::default(),
        }
    }

    /// Counts into counters that somebody else holds too.
    pub fn counting(self, counters: Arc<Counters>) -> Runtime {
        Runtime { counters, ..self }
    }

    /// Has all renders done as repeats of earlier ones.
    pub fn repeating(self) -> Runtime {
        Runtime { repeats: true, ..self }
    }

    /// Has all renders done as repeats of earlier ones, in another place than the one programs are promised.
    pub fn elsewhere(self) -> Runtime {
        Runtime { elsewhere: true, ..self.repeating() }
    }

    /// Tells somebody what a pass waits for, each time that changes.
    pub fn telling(self, told: Told) -> Runtime {
        Runtime { told: Some(told), ..self }
    }

    /// Has its leases last so long without renewal.
    pub fn leasing(self, term: Duration) -> Runtime {
        Runtime { term, ..self }
    }

    pub fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }

    /// Short access to shared state; never across an await.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn estate(&self) -> Arc<Estate> {
        self.state().estate.clone()
    }

    /// What each source is followed to now, by name.
    pub fn revisions(&self) -> BTreeMap<Name, Revision> {
        self.state().revisions.clone()
    }

    /// How stacks are written: configured ones and orphans.
    pub fn names(&self) -> Arc<StackNames> {
        self.of_roll(|roll| roll.names.clone())
    }

    /// Of all stacks, configured ones and orphans, in their order.
    pub(crate) fn cells(&self) -> Cells {
        self.of_roll(|roll| roll.cells.clone())
    }

    fn of_roll<R>(&self, take: impl Fn(&Roll) -> R) -> R {
        let mut state = self.state();
        if let Some(roll) = state.roll.as_ref().filter(|roll| Arc::ptr_eq(&roll.estate, &state.estate) && roll.orphans == state.orphans) {
            return take(roll);
        }
        let (estate, orphans) = (state.estate.clone(), state.orphans.clone());
        let ids: BTreeSet<&StackId> = estate.stacks.keys().chain(&orphans).collect();
        let cells = ids.into_iter().map(|id| state.cell(id)).collect();
        let names = Arc::new(StackNames::new(estate.stacks.keys().chain(&orphans)));
        let roll = Roll { estate, orphans, names, cells };
        let taken = take(&roll);
        state.roll = Some(roll);
        taken
    }

    pub(crate) fn cell(&self, id: &StackId) -> Arc<Cell> {
        self.state().cell(id)
    }

    /// The stack as configured; an orphan stands in with nothing to render.
    pub(crate) fn stack(&self, id: &StackId) -> Option<Stack> {
        self.state().estate.stacks.get(id).cloned()
    }

    pub(crate) fn driver(&self, target: &Name) -> Answer<Arc<dyn Driver>> {
        let estate = self.estate();
        let target = estate.targets.get(target).ok_or_else(|| Refusal::new(Code::Absent, format!("no target {target} is configured")))?;
        let driver = self.doors.drivers.get(&target.kind);
        driver.cloned().ok_or_else(|| Refusal::new(Code::Unsupported, format!("no driver for {} in this build", target.kind)))
    }

    /// The open line to a target; opened once, and anew after [`Runtime::hang_up`] or when its settings changed.
    pub(crate) async fn link(&self, target: &Name) -> Answer<Arc<dyn Link>> {
        let driver = self.driver(target)?;
        let target = self.estate().targets[target].clone();
        let line = {
            let mut state = self.state();
            let known = state.links.get(&target.name).filter(|(opened_for, _)| *opened_for == target).map(|(_, line)| line.clone());
            known.unwrap_or_else(|| {
                let line = Line::default();
                state.links.insert(target.name.clone(), (target.clone(), line.clone()));
                line
            })
        };
        // Boxed: whoever finds the line open, and most do, keeps no room for opening it.
        line.get_or_try_init(|| self.open_line(&driver, target).boxed()).await.cloned()
    }

    async fn open_line(&self, driver: &Arc<dyn Driver>, target: Target) -> Answer<Arc<dyn Link>> {
        // First, so that an entry that is written meanwhile is not missed.
        self.state().nameless.insert(target.name.clone());
        let origin = self.doors.store.origin().await?;
        if origin.is_some() {
            self.state().nameless.remove(&target.name);
        }
        let written = self.written_to(&target).await?;
        driver
            .connect(Connection {
                target,
                ledger: origin.unwrap_or_default(),
                blobs: self.doors.blobs.clone(),
                seal: self.doors.seal.clone(),
                secrets: self.doors.secrets.clone(),
                clock: self.doors.clock.clone(),
                written,
            })
            .await
    }

    /// Whether any stack wrote to a target since it is what it is now: with other settings it is another place.
    async fn written_to(&self, target: &Target) -> Answer<bool> {
        if self.doors.store.note(&place_key(&target.name)).await?.is_some_and(|noted| noted != place_of(target)) {
            return Ok(false);
        }
        let ids: Vec<StackId> = {
            let state = self.state();
            state.estate.stacks.keys().chain(&state.orphans).filter(|id| id.target == target.name).cloned().collect()
        };
        for id in ids {
            if self.cell(&id).memory(self).await?.wrote {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Remembers with which settings a target was written to.
    pub(crate) async fn wrote_to(&self, target: &Name) -> Answer<()> {
        let Some(target) = self.estate().targets.get(target).cloned() else { return Ok(()) };
        let (key, place) = (place_key(&target.name), place_of(&target));
        if self.doors.store.note(&key).await?.as_ref() == Some(&place) {
            return Ok(());
        }
        self.doors.store.set_note(&key, &place).await
    }

    /// A source as it is open, and what it is followed to now.
    pub(crate) fn followed_to(&self, source: &Name) -> Answer<(Arc<dyn Source>, Revision)> {
        let state = self.state();
        let open = state.sources.get(source).map(|(_, open)| open.clone());
        let found = open.zip(state.revisions.get(source).cloned());
        found.ok_or_else(|| Refusal::new(Code::Unreachable, format!("source {source} has no revision that can be read")))
    }

    /// Forgets the line to a target, so that the next use opens a new one.
    pub(crate) fn hang_up(&self, target: &Name) {
        self.state().links.remove(target);
    }

    /// Forgets lines that would put no name of a record into their marks: there is one now.
    fn hang_up_nameless(&self) {
        let mut state = self.state();
        for target in std::mem::take(&mut state.nameless) {
            state.links.remove(&target);
        }
    }

    /// Appends entries and counts them.
    pub(crate) async fn append(&self, drafts: Vec<Draft>, fence: Option<Fence>) -> Answer<Vec<Indexed>> {
        if drafts.is_empty() {
            return Ok(Vec::new());
        }
        let count = drafts.len() as u64;
        let placed = self.doors.store.append(drafts, fence).await.inspect_err(|refusal| self.end_for(refusal))?;
        Counters::add(&self.counters.ledger_rows, count);
        self.hang_up_nameless();
        Ok(placed)
    }

    /// Ends what lives long where the record takes nothing more from this process: what a disk took and what it lost is not known, or
    /// a newer program changed its form.
    pub(crate) fn end_for(&self, refusal: &Refusal) {
        if matches!(refusal.code, Code::Broken | Code::Unsupported) {
            let mut state = self.state();
            state.broken.get_or_insert_with(|| refusal.clone());
            state.stopping = true;
        }
    }

    /// Appends entries of one stack and folds them in.
    pub(crate) async fn record(&self, cell: &Cell, drafts: Vec<Draft>, fence: Option<Fence>) -> Answer<Vec<Indexed>> {
        let placed = self.append(drafts, fence).await?;
        self.own.note(&placed);
        // Others may have appended in between: fold in all of them, in order.
        cell.memory(self).await?;
        Ok(placed)
    }

    /// The last snapshot of what the record says of a stack, or nothing known yet.
    pub(crate) async fn remembered(&self, id: &StackId) -> Answer<StackMemory> {
        let note = self.doors.store.note(&snapshot_key(id)).await?;
        Ok(note.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default())
    }

    /// Folds in what the record has gained.
    pub(crate) async fn catch_up(&self, id: &StackId, mut known: Arc<StackMemory>) -> Answer<Arc<StackMemory>> {
        let before = known.through;
        loop {
            let after = known.through.checked_sub(1);
            let query = Query { stack: Some(id.clone()), after, limit: Some(FOLDED_AT_ONCE), ascending: true, ..Query::default() };
            let news = self.doors.store.find(query).await?;
            if !news.is_empty() {
                let memory = Arc::make_mut(&mut known);
                news.iter().for_each(|indexed| fold(memory, indexed));
            }
            if news.len() < FOLDED_AT_ONCE {
                break;
            }
        }
        if known.through == before {
            return Ok(known);
        }
        let memory = Arc::make_mut(&mut known);
        if memory.folded >= SNAPSHOT_EVERY
            && let Ok(bytes) = serde_json::to_vec(memory)
        {
            // Where nothing may be written a snapshot is only not kept.
            if self.doors.store.set_note(&snapshot_key(id), &bytes).await.is_ok() {
                memory.folded = 0;
            }
        }
        Ok(known)
    }

    /// Has the tables of large stacks outlive the runtime. For a process that ends with it: freeing them would take longer than the
    /// end does.
    pub fn leave(&self) {
        self.state().cells.values().for_each(|cell| cell.kept().leave());
    }

    /// Reads a stored manifest.
    pub fn manifest(&self, root: &BlobRef) -> Answer<Manifest> {
        // A root that names parts stands for many times its size.
        let unpacked = blocking_on([root.bytes.saturating_mul(64)], || {
            Manifest::unpack(root, |blob| self.doors.blobs.get(&blob.digest).map_err(Unread::Refused))
        });
        unpacked.map_err(|unread| match unread {
            Unread::Refused(refusal) => refusal,
            Unread::Bad(bad) => Refusal::new(Code::Invalid, bad.to_string()),
        })
    }

    /// Stores a manifest; only the chunks that changed cost anything.
    pub(crate) fn store_manifest(&self, manifest: &Manifest) -> Answer<BlobRef> {
        blocking_on(manifest.items.values().map(|_| 0), || {
            let packed = manifest.pack();
            self.store_blobs(packed.blobs)?;
            Ok(packed.root)
        })
    }

    /// Makes all blobs that were put durable. Who waits for another flush holds no thread meanwhile, and finds most of its work
    /// done by it.
    pub(crate) async fn flush(&self) -> Answer<()> {
        let _one_at_a_time = self.flushing.lock().await;
        if self.doors.blobs.is_flushed() {
            return Ok(());
        }
        blocking(|| self.doors.blobs.flush())
    }

    /// Stores one blob, durably.
    pub(crate) async fn put_durably(&self, bytes: &[u8]) -> Answer<BlobRef> {
        let blob = blocking_on([bytes.len() as u64], || self.doors.blobs.put(bytes))?;
        self.flush().await?;
        Ok(blob)
    }

    /// Puts blobs into the store, those that are not there yet. Blocks.
    pub(crate) fn store_blobs(&self, blobs: Vec<(BlobRef, Vec<u8>)>) -> Answer<()> {
        for (blob, bytes) in blobs {
            if !self.doors.blobs.has(&blob.digest) {
                self.doors.blobs.put(&bytes)?;
            }
        }
        Ok(())
    }
}

enum Unread {
    Refused(Refusal),
    Bad(BadManifest),
}

impl From<BadManifest> for Unread {
    fn from(bad: BadManifest) -> Unread {
        Unread::Bad(bad)
    }
}

/// The note that holds the last snapshot of what the record says of a stack, as JSON of a [`StackMemory`].
pub fn snapshot_key(id: &StackId) -> String {
    format!("memory/{}", id.key())
}

/// Up to this many bytes are read or worked through about as soon as another thread takes over.
const SOON: u64 = 256 << 10;

/// What one item counts for, beside its bytes.
const EACH: u64 = 1 << 10;

/// Runs blocking work without holding up other tasks, where the executor has other threads for them.
pub(crate) fn blocking<T>(work: impl FnOnce() -> T) -> T {
    match tokio::runtime::Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(tokio::runtime::RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

/// The same for work on items of so many bytes. What is done soon is done here and now: a thousand small stacks would otherwise
/// start a hundred threads between them, each of which keeps memory of its own.
pub(crate) fn blocking_on<T>(items: impl IntoIterator<Item = u64>, work: impl FnOnce() -> T) -> T {
    let weight: u64 = items.into_iter().map(|bytes| bytes.saturating_add(EACH)).fold(0, u64::saturating_add);
    if weight <= SOON { work() } else { blocking(work) }
}

fn place_key(target: &Name) -> String {
    format!("target/{target}")
}

/// What tells one place from another.
fn place_of(target: &Target) -> Vec<u8> {
    trued_model::Digest::of_canonical(&(&target.kind, &target.settings)).to_string().into_bytes()
}
