//! What is known of all objects of one kind: listed once, then watched, metadata only. A table is complete or says why not;
//! it never shrinks because something could not be read.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use http::StatusCode;
use kube::core::WatchEvent;
use serde_json::Value;
use tokio::sync::{Notify, broadcast, watch};
use tokio::time::Instant;
use trued_model::{Address, Code, Refusal};

use crate::address::{Kind, Spot};
use crate::api::{Api, WATCHED_FOR};
use crate::entry::{Entry, Judged, Settled, number};
use crate::object::text;

/// How long to wait before listing anew, at first and at most.
const AGAIN_AFTER: Duration = Duration::from_millis(100);
const AGAIN_AFTER_AT_MOST: Duration = Duration::from_secs(20);

/// A watch says something at least once a minute, if only that nothing changed; one that is silent for longer is broken.
const SILENT_FOR: Duration = Duration::from_secs(150);

/// For how long a kind cannot be listed until that is worth a look of everybody: who restarts is back sooner.
const AWAY_FOR: Duration = Duration::from_secs(10);

/// How long a server may tell of an older time than was seen before, until that counts as the time it is.
const LAGS_AT_MOST: Duration = Duration::from_secs(300);

/// How much of a kind is known.
#[derive(Clone, Debug)]
pub(crate) enum Standing {
    /// Not listed yet.
    Unread,
    Complete,
    /// The newest attempt failed; what is in the table may be old.
    Lost(Refusal),
}

struct State {
    /// By namespace (empty for none) and name.
    entries: HashMap<(String, String), Entry>,
    heard: Instant,
    /// Objects somebody asked for: only changes to these and to ours are hinted at.
    asked: BTreeSet<(String, String)>,
    /// The highest epoch that any object's mark told of, by ledger and stack.
    epochs: HashMap<String, HashMap<String, u64>>,
    /// Who wants to be told of any change at all of one object, and of any object.
    followers: HashMap<(String, String), Vec<Arc<Notify>>>,
    onlookers: Vec<Arc<Notify>>,
    /// The newest version that was seen, of any object or of a list: nothing older is news.
    newest: u64,
    /// How far the list and the watch after it have told: each event is newer than this.
    told: u64,
}

impl State {
    fn insert(&mut self, key: (String, String), mut entry: Entry) {
        if let Some(known) = self.entries.get(&key).filter(|known| (&known.version, &known.uid) == (&entry.version, &entry.uid)) {
            entry.judged = entry.judged.or_else(|| known.judged.clone());
        }
        if let Some(mark) = &entry.mark {
            match self.epochs.get_mut(&mark.ledger).and_then(|stacks| stacks.get_mut(&mark.stack)) {
                Some(known) => *known = mark.epoch.max(*known),
                None => drop(self.epochs.entry(mark.ledger.clone()).or_default().insert(mark.stack.clone(), mark.epoch)),
            }
        }
        self.tell(&key);
        self.newest = self.newest.max(entry.number);
        self.entries.insert(key, entry);
    }

    fn remove(&mut self, key: &(String, String)) -> Option<Entry> {
        self.tell(key);
        self.entries.remove(key)
    }

    fn tell(&self, key: &(String, String)) {
        self.followers.get(key).into_iter().flatten().chain(&self.onlookers).for_each(|follower| follower.notify_one());
    }
}

/// A kind that cannot be listed: since when, and whether those who asked were told.
struct Away {
    since: Instant,
    told: bool,
}

/// All objects of one kind, in one namespace or in all.
pub(crate) struct Table {
    kind: Kind,
    namespaced: bool,
    path: String,
    state: Mutex<State>,
    standing: watch::Sender<Standing>,
    hints: broadcast::Sender<Address>,
}

impl Table {
    pub fn new(kind: Kind, namespaced: bool, path: String, hints: broadcast::Sender<Address>) -> Arc<Table> {
        let state = State {
            entries: HashMap::new(),
            heard: Instant::now(),
            asked: BTreeSet::new(),
            epochs: HashMap::new(),
            followers: HashMap::new(),
            onlookers: Vec::new(),
            newest: 0,
            told: 0,
        };
        Arc::new(Table { kind, namespaced, path, state: Mutex::new(state), standing: watch::Sender::new(Standing::Unread), hints })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it is known how much is known; of a table that is lost, until it was tried once more or `patience` ends.
    pub async fn standing(&self, patience: Duration) -> Standing {
        if self.state().heard.elapsed() > SILENT_FOR {
            self.standing.send_replace(Standing::Unread);
        }
        let mut standing = self.standing.subscribe();
        let known = tokio::time::timeout(patience, standing.wait_for(|standing| !matches!(standing, Standing::Unread))).await;
        match known {
            Ok(Ok(standing)) => standing.clone(),
            _ => Standing::Lost(Refusal::new(Code::TimedOut, format!("list {}: no answer in {} s", self.path, patience.as_secs()))),
        }
    }

    pub fn get(&self, spot: &Spot) -> Option<Entry> {
        let key = key(spot);
        let mut state = self.state();
        state.asked.insert(key.clone());
        state.entries.get(&key).cloned()
    }

    /// Remembers that somebody asked for an object, so that they are told of it.
    pub fn ask(&self, spot: &Spot) {
        self.state().asked.insert(key(spot));
    }

    /// Remembers what a look at the values said, unless the object has changed since.
    pub fn settle(&self, spot: &Spot, seen: &Entry, settled: &Settled) {
        let mut state = self.state();
        if let Some(entry) = state.entries.get_mut(&key(spot))
            && entry.continues(seen)
        {
            let known = entry.settled.get_or_insert_default();
            let mut is_as = std::mem::take(&mut known.is_as);
            is_as.extend(settled.is_as.clone());
            *known = Settled { is_as, ..settled.clone() };
        }
    }

    /// Has somebody told of every change of an object, its status included, until [`Table::let_go`].
    pub fn attend(&self, spot: &Spot, follower: &Arc<Notify>) {
        let mut state = self.state();
        let followers = state.followers.entry(key(spot)).or_default();
        if !followers.iter().any(|known| Arc::ptr_eq(known, follower)) {
            followers.push(follower.clone());
        }
    }

    /// Has somebody told of every change of any object, for as long as the table lives.
    pub fn look_on(&self, onlooker: &Arc<Notify>) {
        let mut state = self.state();
        if !state.onlookers.iter().any(|known| Arc::ptr_eq(known, onlooker)) {
            state.onlookers.push(onlooker.clone());
        }
    }

    pub fn let_go(&self, spot: &Spot, follower: &Arc<Notify>) {
        let mut state = self.state();
        let key = key(spot);
        let Some(followers) = state.followers.get_mut(&key) else { return };
        followers.retain(|known| !Arc::ptr_eq(known, follower));
        if followers.is_empty() {
            state.followers.remove(&key);
        }
    }

    /// Remembers how well an object is, unless it has changed since.
    pub fn judge(&self, spot: &Spot, version: &str, judged: Judged) {
        let mut state = self.state();
        if let Some(entry) = state.entries.get_mut(&key(spot)).filter(|entry| entry.version == version) {
            entry.judged = Some(judged);
        }
    }

    /// Takes in an object as the server answered it to ourselves: nobody need be told.
    pub fn take(&self, spot: &Spot, entry: Entry) {
        let mut state = self.state();
        let key = key(spot);
        if state.entries.get(&key).is_none_or(|known| known.number <= entry.number || known.uid != entry.uid) {
            state.insert(key, entry);
        }
    }

    /// Takes in that an object is gone, because the server said so to ourselves.
    pub fn remove(&self, spot: &Spot, uid: &str) {
        let mut state = self.state();
        let key = key(spot);
        if state.entries.get(&key).is_some_and(|known| known.uid == uid) {
            state.remove(&key);
        }
    }

    /// The highest epoch that objects of a stack told of, also such as went since.
    pub fn epoch(&self, ledger: &str, stack: &str) -> u64 {
        self.state().epochs.get(ledger).and_then(|stacks| stacks.get(stack)).copied().unwrap_or(0)
    }

    /// Lists and watches until aborted.
    pub async fn keep_current(self: Arc<Table>, api: Api) {
        let mut pause = AGAIN_AFTER;
        let mut lags = None;
        let mut away: Option<Away> = None;
        loop {
            match api.list(&self.path, |object| listed(&object)).await {
                // A replica that lags tells of a time that we know more of.
                Ok(listed) if self.lags(&listed.version, &mut lags, Instant::now()) => {
                    let refusal = Refusal::new(Code::Unknown, format!("list {}: the answer is older than what was seen before", self.path));
                    tracing::debug!(path = %self.path, "{refusal}");
                    self.standing.send_replace(Standing::Lost(refusal));
                }
                Ok(listed) => {
                    self.replace(listed.items, number(&listed.version));
                    let before = self.standing.send_replace(Standing::Complete);
                    if matches!(before, Standing::Lost(_)) {
                        // Whoever could not see it can now, though nothing of it may have changed.
                        self.hint_all();
                    }
                    (pause, away) = (AGAIN_AFTER, None);
                    if let Some(refusal) = self.follow(&api, listed.version).await {
                        tracing::debug!("{refusal}");
                    }
                    // Lost it is only when it cannot be listed either.
                    self.standing.send_replace(Standing::Unread);
                }
                Err(fault) => {
                    let refusal = fault.refusal(&format!("list {}", self.path), false);
                    tracing::debug!(path = %self.path, "{refusal}");
                    self.standing.send_replace(Standing::Lost(refusal));
                    let away = away.get_or_insert(Away { since: Instant::now(), told: false });
                    if !away.told && away.since.elapsed() >= AWAY_FOR {
                        // What was seen last is no word on how it is now: whoever asked for it says so from here on.
                        away.told = true;
                        self.hint_all();
                    }
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(AGAIN_AFTER_AT_MOST);
        }
    }

    /// Whether a list is older than what was seen before, and has not been so for long: a cluster that was restored from a copy
    /// stays where it is.
    fn lags(&self, version: &str, since: &mut Option<Instant>, now: Instant) -> bool {
        let version = number(version);
        let mut state = self.state();
        if version == 0 || version >= state.newest {
            *since = None;
            return false;
        }
        if now.duration_since(*since.get_or_insert(now)) < LAGS_AT_MOST {
            return true;
        }
        *since = None;
        state.newest = 0;
        state.entries.values_mut().for_each(|entry| entry.number = 0);
        false
    }

    /// Takes a whole list, of one page.
    pub(crate) fn list(&self, items: &[Value], version: &str) {
        self.replace(items.iter().map(listed).collect(), number(version));
    }

    /// What is known: version and uid by namespace and name.
    pub(crate) fn view(&self) -> BTreeMap<(String, String), (u64, String)> {
        self.state().entries.iter().map(|(key, entry)| (key.clone(), (entry.number, entry.uid.clone()))).collect()
    }

    /// Takes a complete list as all there is.
    fn replace(&self, items: Vec<((String, String), Entry)>, version: u64) {
        let mut told = BTreeSet::new();
        let mut state = self.state();
        let mut gone: BTreeSet<(String, String)> = state.entries.keys().cloned().collect();
        for (key, entry) in items {
            gone.remove(&key);
            told.extend(put(&mut state, key, entry));
        }
        for key in gone {
            let ours = state.remove(&key).is_some_and(|entry| entry.mark.is_some());
            if ours || state.asked.contains(&key) {
                told.insert(key);
            }
        }
        state.newest = state.newest.max(version);
        state.told = version;
        state.heard = Instant::now();
        drop(state);
        told.into_iter().for_each(|key| self.hint(key));
    }

    /// Follows changes from a version on. `None` means that the server has forgotten that version: all is listed anew.
    async fn follow(&self, api: &Api, mut version: String) -> Option<Refusal> {
        loop {
            let opened = Instant::now();
            let events = match api.watch(&self.path, &version).await {
                Ok(events) => events,
                Err(fault) if fault.status() == Some(StatusCode::GONE) => return None,
                Err(fault) => return Some(fault.refusal(&format!("watch {}", self.path), false)),
            };
            self.state().heard = Instant::now();
            let mut events = std::pin::pin!(events);
            loop {
                match tokio::time::timeout(SILENT_FOR, events.next()).await {
                    Ok(Some(Ok(event))) => match self.happened(event) {
                        Ok(Some(newer)) => version = newer,
                        Ok(None) => {}
                        Err(refusal) => return refusal,
                    },
                    Ok(Some(Err(error))) => return Some(lost(&self.path, &error.to_string())),
                    Ok(None) => break,
                    Err(_) => return Some(lost(&self.path, "the watch fell silent")),
                }
            }
            // A server closes a watch after its time. One that ends at once, again and again, is none.
            if opened.elapsed() < Duration::from_secs(u64::from(WATCHED_FOR) / 10) {
                return Some(lost(&self.path, "the watch was closed early"));
            }
        }
    }

    /// Takes in one event; gives the version it brings. `Err(None)` asks for a new list.
    pub(crate) fn happened(&self, event: WatchEvent<Value>) -> Result<Option<String>, Option<Refusal>> {
        let (object, gone) = match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => (object, false),
            WatchEvent::Deleted(object) => (object, true),
            WatchEvent::Bookmark(bookmark) => {
                self.state().heard = Instant::now();
                return Ok(Some(bookmark.metadata.resource_version));
            }
            WatchEvent::Error(status) if status.code == StatusCode::GONE.as_u16() => return Err(None),
            WatchEvent::Error(status) => return Err(Some(lost(&self.path, &status.message))),
        };
        let entry = Entry::read(&object);
        let version = entry.version.clone();
        let key = key_of(&object);
        let mut state = self.state();
        if entry.number > 0 && entry.number < state.told {
            // Another server answers now, and it lags: what it tells is no news, and what it does not tell may be.
            return Err(Some(lost(&self.path, "it tells of an older time than was seen before")));
        }
        state.told = state.told.max(entry.number);
        state.heard = Instant::now();
        let told = match gone {
            // What we know by a later write of our own is newer than this.
            true if state.entries.get(&key).is_some_and(|known| known.number > entry.number || known.uid != entry.uid) => None,
            true => state.remove(&key).map(|_| key),
            false => put(&mut state, key, entry),
        };
        drop(state);
        told.into_iter().for_each(|key| self.hint(key));
        Ok(Some(version))
    }

    /// Tells of all that anybody asked for.
    fn hint_all(&self) {
        let asked = self.state().asked.clone();
        asked.into_iter().for_each(|key| self.hint(key));
    }

    fn hint(&self, (namespace, name): (String, String)) {
        let namespace = self.namespaced.then_some(namespace);
        // Nobody may be listening.
        let _ = self.hints.send(Spot { kind: self.kind.clone(), namespace, name }.address());
    }
}

/// Puts an entry in, if it is no older than what is known; gives the key where that is worth a hint.
fn put(state: &mut State, key: (String, String), mut entry: Entry) -> Option<(String, String)> {
    let known = state.entries.get(&key);
    if known.is_some_and(|known| known.uid == entry.uid && known.number > entry.number) {
        return None;
    }
    let continues = known.is_some_and(|known| entry.continues(known));
    if continues {
        entry.settled = known.and_then(|known| known.settled.clone());
    }
    let worth = !continues && (entry.mark.is_some() || state.asked.contains(&key));
    state.insert(key.clone(), entry);
    worth.then_some(key)
}

/// What the table keeps of an object.
fn listed(object: &Value) -> ((String, String), Entry) {
    (key_of(object), Entry::read(object))
}

fn key(spot: &Spot) -> (String, String) {
    (spot.namespace.clone().unwrap_or_default(), spot.name.clone())
}

fn key_of(object: &Value) -> (String, String) {
    let of = |key| text(object, &["metadata", key]).unwrap_or_default().to_owned();
    (of("namespace"), of("name"))
}

fn lost(path: &str, why: &str) -> Refusal {
    Refusal::new(Code::Unreachable, format!("watch {path}: {why}"))
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
