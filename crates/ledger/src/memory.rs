//! The ledger in memory: for simulated worlds, tests, and readers of a project that has no record yet.
//!
//! Canonical bytes and hashes are made when somebody asks for them, so that appending costs next to nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use trued_doors::{Answer, BoxFuture, Clock, Fence, Holder, Lease, Query, Store, TreeHead};
use trued_model::{Code, Draft, Duration, Entry, Indexed, Refusal, StackId};

use crate::draft;
use crate::lease::{self, Held, Moment};
use crate::tree::{self, Frontier};

/// A [`Store`] in memory. Every process of a simulated world shares one.
pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    read_only: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    origin: Option<String>,
    entries: Vec<Entry>,
    stacks: BTreeSet<StackId>,
    /// Over the first of the entries; the rest is hashed when the head is asked for.
    hashed: Frontier,
    leases: BTreeMap<StackId, Held>,
    dead: Vec<Holder>,
    notes: BTreeMap<String, Vec<u8>>,
}

impl MemoryStore {
    pub fn new(clock: Arc<dyn Clock>) -> MemoryStore {
        MemoryStore { clock, read_only: false, state: Mutex::default() }
    }

    /// An empty record that refuses to be written: what a reader finds where nothing was recorded yet.
    pub fn read_only(clock: Arc<dyn Clock>) -> MemoryStore {
        MemoryStore { read_only: true, ..MemoryStore::new(clock) }
    }

    /// Ends a process of this world: what it holds is free at once. All others live until their terms end.
    pub fn kill(&self, process: &Holder) {
        self.state().dead.push(process.clone());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writing(&self) -> Answer<MutexGuard<'_, State>> {
        if self.read_only { Err(opened_for_reading()) } else { Ok(self.state()) }
    }

    fn append_now(&self, drafts: Vec<Draft>, fence: Option<Fence>) -> Answer<Vec<Indexed>> {
        let mut state = self.writing()?;
        if let Some(Fence { stack, epoch }) = &fence {
            lease::passes(*epoch, state.leases.get(stack).map(|held| held.epoch), stack)?;
        }
        drafts.iter().try_for_each(draft::check)?;
        if drafts.is_empty() {
            return Ok(Vec::new());
        }
        if state.origin.is_none() {
            state.origin = Some(format!("trued/{}", self.clock.fresh_id()));
        }
        let recorded_at = draft::recorded_at(self.clock.now(), state.entries.last().map(|entry| entry.recorded_at));
        let mut appended = Vec::with_capacity(drafts.len());
        for draft in drafts {
            let entry = Entry::new(draft, recorded_at);
            if let Some(stack) = entry.stack.as_ref().filter(|stack| !state.stacks.contains(stack)) {
                state.stacks.insert(stack.clone());
            }
            appended.push(Indexed { index: state.entries.len() as u64, entry: entry.clone() });
            state.entries.push(entry);
        }
        Ok(appended)
    }

    /// Runs a rule about leases at this moment.
    fn at_this_moment<T>(&self, state: &mut State, rule: impl FnOnce(&mut BTreeMap<StackId, Held>, &Moment<'_>) -> T) -> T {
        let State { leases, dead, .. } = state;
        let alive = |holder: &Holder| !dead.iter().any(|dead| lease::same(dead, holder));
        rule(leases, &Moment { since_boot: self.clock.monotonic(), alive: &alive })
    }
}

pub(crate) fn opened_for_reading() -> Refusal {
    Refusal::new(Code::Denied, "write to a record that was opened for reading")
}

impl State {
    fn head(&mut self) -> TreeHead {
        let State { entries, hashed, .. } = self;
        for entry in &entries[hashed.size() as usize..] {
            hashed.push(tree::leaf_hash(&entry.leaf()), |_, _, _| ());
        }
        TreeHead { size: hashed.size(), root: hashed.root() }
    }

    fn find(&self, query: &Query) -> Vec<Indexed> {
        let end = query.before.map_or(self.entries.len(), |before| self.entries.len().min(before as usize));
        let first = query.after.map_or(0, |after| end.min(after.saturating_add(1) as usize));
        let indexed = (first as u64..).zip(&self.entries[first..end]);
        let wanted = |(_, entry): &(u64, &Entry)| matches(query, entry);
        let owned = |(index, entry): (u64, &Entry)| Indexed { index, entry: entry.clone() };
        let limit = query.limit.unwrap_or(usize::MAX);
        if query.ascending {
            indexed.filter(wanted).take(limit).map(owned).collect()
        } else {
            let backwards = self.entries[first..end].iter().enumerate().rev().map(|(n, entry)| ((first + n) as u64, entry));
            backwards.filter(wanted).take(limit).map(owned).collect()
        }
    }
}

/// Whether an entry is what a query asks for; index bounds and limit aside.
fn matches(query: &Query, entry: &Entry) -> bool {
    let id_begins = |prefix: &String| {
        let bare = |id: &str| id.strip_prefix("sha256:").is_some_and(|hex| hex.starts_with(prefix));
        entry.revision.as_deref().is_some_and(|id| id.starts_with(prefix) || bare(id))
    };
    query.stack.as_ref().is_none_or(|stack| entry.stack.as_ref() == Some(stack))
        && (query.kinds.is_empty() || query.kinds.contains(&entry.kind))
        && query.from.is_none_or(|from| from <= entry.valid_from)
        && query.until.is_none_or(|until| entry.valid_from <= until)
        && query.run.as_ref().is_none_or(|run| entry.run.as_ref() == Some(run))
        && query.revision.as_ref().is_none_or(id_begins)
}

impl Store for MemoryStore {
    fn origin(&self) -> BoxFuture<'_, Answer<Option<String>>> {
        Box::pin(async { Ok(self.state().origin.clone()) })
    }

    fn head(&self) -> BoxFuture<'_, Answer<TreeHead>> {
        Box::pin(async { Ok(self.state().head()) })
    }

    fn append(&self, drafts: Vec<Draft>, fence: Option<Fence>) -> BoxFuture<'_, Answer<Vec<Indexed>>> {
        Box::pin(async { self.append_now(drafts, fence) })
    }

    fn find(&self, query: Query) -> BoxFuture<'_, Answer<Vec<Indexed>>> {
        Box::pin(async move { Ok(self.state().find(&query)) })
    }

    fn leaves(&self, from: u64, until: u64) -> BoxFuture<'_, Answer<Vec<Vec<u8>>>> {
        Box::pin(async move {
            let state = self.state();
            let end = until.min(state.entries.len() as u64) as usize;
            Ok(state.entries[end.min(from as usize)..end].iter().map(Entry::leaf).collect())
        })
    }

    fn stacks(&self) -> BoxFuture<'_, Answer<Vec<StackId>>> {
        Box::pin(async { Ok(self.state().stacks.iter().cloned().collect()) })
    }

    fn take<'a>(&'a self, stack: &'a StackId, holder: &'a Holder, at_least: u64, term: Duration) -> BoxFuture<'a, Answer<Lease>> {
        Box::pin(async move {
            let mut state = self.writing()?;
            self.at_this_moment(&mut state, |leases, moment| {
                let epoch = moment.take(leases.get(stack), stack, holder, at_least)?;
                let until = moment.since_boot.saturating_add(term.0);
                leases.insert(stack.clone(), Held { epoch, holder: Some(holder.clone()), until });
                Ok(Lease { stack: stack.clone(), epoch, holder: holder.clone() })
            })
        })
    }

    fn renew<'a>(&'a self, holder: &'a Holder, term: Duration) -> BoxFuture<'a, Answer<Vec<StackId>>> {
        Box::pin(async move {
            let until = self.clock.monotonic().saturating_add(term.0);
            let mut state = self.writing()?;
            let renewed = state.held_by(holder).map(|(stack, held)| {
                held.until = until;
                stack.clone()
            });
            Ok(renewed.collect())
        })
    }

    fn release<'a>(&'a self, holder: &'a Holder) -> BoxFuture<'a, Answer<()>> {
        Box::pin(async move {
            self.writing()?.held_by(holder).for_each(|(_, held)| held.holder = None);
            Ok(())
        })
    }

    fn holders(&self) -> BoxFuture<'_, Answer<Vec<Holder>>> {
        Box::pin(async {
            let mut state = self.state();
            let mut living: Vec<Holder> =
                self.at_this_moment(&mut state, |leases, moment| leases.values().filter_map(|held| moment.holder(held).cloned()).collect());
            living.sort_by_key(|holder| (holder.pid, holder.started));
            living.dedup_by(|one, other| lease::same(one, other));
            Ok(living)
        })
    }

    fn note<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Answer<Option<Vec<u8>>>> {
        Box::pin(async move { Ok(self.state().notes.get(key).cloned()) })
    }

    fn set_note<'a>(&'a self, key: &'a str, value: &'a [u8]) -> BoxFuture<'a, Answer<()>> {
        Box::pin(async move {
            self.writing()?.notes.insert(key.to_owned(), value.to_vec());
            Ok(())
        })
    }
}

impl State {
    fn held_by(&mut self, holder: &Holder) -> impl Iterator<Item = (&StackId, &mut Held)> {
        self.leases.iter_mut().filter(move |(_, held)| held.holder.as_ref().is_some_and(|at| lease::same(at, holder)))
    }
}
