//! A target of a simulated world: a tree of files in memory that strangers edit, and everything that can go wrong there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc::UnboundedSender;
use trued_doors::Hint;
use trued_model::{Address, Change, Code, Fingerprint, Name, Refusal, StackId, Timestamp};

use crate::history::fingerprint;
use crate::wellbeing::Wellbeing;

/// One file, or one folder with nothing in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub content: Option<Arc<[u8]>>,
    pub fingerprint: Fingerprint,
    pub uid: u64,
    /// Whether somebody else put it there.
    pub foreign: bool,
    pub changed_at: Timestamp,
}

/// What is wrong with a target now.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// No connection.
    pub away: bool,
    /// The target as a whole cannot be seen.
    pub unseen: bool,
    /// These addresses cannot be decided.
    pub hidden: BTreeSet<Address>,
    /// So many changes are made, and their answers lost.
    pub lost_replies: u32,
    /// So many changes are refused with this code; then no more.
    pub refusals: Option<(Code, u32)>,
    /// These addresses are refused for ever.
    pub forbidden: BTreeMap<Address, Code>,
    /// Full after so many more changes.
    pub room: Option<u32>,
    /// Nothing is ever answered.
    pub hangs: bool,
    /// Edits by a stranger between a look and the order that follows it.
    pub meddling: Vec<(String, Edit)>,
    /// How long every call takes.
    pub millis: u64,
}

/// What a stranger does at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    Write(String),
    Remove,
    /// The same bytes, another thing.
    Recreate,
}

/// A target.
pub struct Target {
    pub name: Name,
    /// Whether addresses are paths.
    pub nested: bool,
    /// Whether answers carry the state after a change.
    pub confirms: bool,
    /// Whether it compares epochs.
    pub checks_epochs: bool,
    /// How its things are, where it tells of that.
    pub wellbeing: Option<Arc<Wellbeing>>,
    ground: Mutex<Ground>,
}

/// What a target is made of.
#[derive(Default)]
pub struct Ground {
    pub nodes: BTreeMap<Address, Node>,
    /// Addresses that a stranger emptied.
    pub stolen: BTreeSet<Address>,
    pub epochs: BTreeMap<StackId, u64>,
    pub faults: Faults,
    /// Changes made by order, and all orders' changes that arrived.
    pub writes: u64,
    pub watchers: Vec<UnboundedSender<Hint>>,
    next_uid: u64,
}

impl Target {
    pub fn new(name: Name) -> Target {
        Target { name, nested: true, confirms: true, checks_epochs: true, wellbeing: None, ground: Mutex::default() }
    }

    /// Short access; never across an await.
    pub fn ground(&self) -> MutexGuard<'_, Ground> {
        self.ground.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stranger's hand.
    pub fn edit(&self, address: &str, edit: &Edit, at: Timestamp) {
        self.ground().edit(&Address::new(address), edit, at, self.nested);
    }

    /// The bytes at an address, as text.
    pub fn text(&self, address: &str) -> Option<String> {
        let ground = self.ground();
        let content = ground.nodes.get(&Address::new(address))?.content.clone()?;
        Some(String::from_utf8_lossy(&content).into_owned())
    }

    /// Everything that is there, by address.
    pub fn fingerprints(&self) -> BTreeMap<Address, Fingerprint> {
        self.ground().nodes.iter().map(|(address, node)| (address.clone(), node.fingerprint.clone())).collect()
    }

    /// Everything that is there, as text; folders are empty texts.
    pub fn texts(&self) -> BTreeMap<String, String> {
        let text = |node: &Node| node.content.as_ref().map_or(String::new(), |bytes| String::from_utf8_lossy(bytes).into_owned());
        self.ground().nodes.iter().map(|(address, node)| (address.to_string(), text(node))).collect()
    }
}

/// Whether one address lies in another.
pub fn inside(inner: &Address, outer: &Address) -> bool {
    inner.as_str().strip_prefix(outer.as_str()).is_some_and(|rest| rest.starts_with('/'))
}

impl Ground {
    /// What stands at an address; a folder stands wherever something lies in it.
    pub fn look(&self, address: &Address, nested: bool) -> Option<Node> {
        if let Some(node) = self.nodes.get(address) {
            return Some(node.clone());
        }
        let inner = self.nodes.iter().find(|(inner, _)| nested && inside(inner, address))?.1;
        Some(Node { content: None, fingerprint: fingerprint(None), uid: 0, foreign: inner.foreign, changed_at: inner.changed_at })
    }

    fn edit(&mut self, address: &Address, edit: &Edit, at: Timestamp, nested: bool) {
        self.next_uid += 1;
        match edit {
            Edit::Write(text) => {
                let blocked = nested && self.nodes.keys().any(|other| inside(other, address) || inside(address, other));
                if blocked {
                    return;
                }
                let bytes: Arc<[u8]> = text.as_bytes().into();
                let fingerprint = fingerprint(Some(&bytes));
                let same = self.nodes.get(address).is_some_and(|node| node.fingerprint == fingerprint && !node.foreign);
                let node = Node { content: Some(bytes), fingerprint, uid: self.next_uid, foreign: !same, changed_at: at };
                self.nodes.insert(address.clone(), node);
                self.stolen.remove(address);
            }
            Edit::Remove => {
                if self.nodes.remove(address).is_some() {
                    self.stolen.insert(address.clone());
                }
            }
            Edit::Recreate => {
                let uid = self.next_uid;
                if let Some(node) = self.nodes.get_mut(address) {
                    node.uid = uid;
                }
            }
        }
        self.tell(address);
    }

    /// Hints whoever watches.
    fn tell(&mut self, address: &Address) {
        let hint = Hint { addresses: BTreeSet::from([address.clone()]) };
        self.watchers.retain(|watcher| watcher.send(hint.clone()).is_ok());
    }

    /// Hints whoever watches that anything may have changed.
    pub fn tell_all(&mut self) {
        self.watchers.retain(|watcher| watcher.send(Hint::default()).is_ok());
    }

    /// Why a change cannot be made as things stand, by the rules of a tree of files; `Ok(true)` where it is made already.
    pub fn admits(&self, change: &Change, nested: bool) -> Result<bool, Refusal> {
        let changed = |what: &str| Refusal::new(Code::Changed, format!("{} {}: {what}", change.action.word(), change.address));
        let there = self.look(&change.address, nested);
        let now = there.as_ref().map(|node| &node.fingerprint);
        // A folder that was emptied by the same order is as good as none.
        let emptied = nested && now.is_none() && change.before == Some(fingerprint(None)) && change.after.is_some();
        if now != change.before.as_ref() && !emptied {
            return if now == change.after.as_ref() { Ok(true) } else { Err(changed("it is not as expected")) };
        }
        if let (Some(uid), Some(node)) = (&change.uid, &there)
            && *uid != node.uid.to_string()
        {
            return Err(changed("it is another thing of the same name"));
        }
        if nested && change.after.is_some() {
            let file_above = |(outer, node): (&Address, &Node)| inside(&change.address, outer) && node.content.is_some();
            if self.nodes.iter().any(file_above) {
                return Err(changed("it would lie in a file"));
            }
            let makes_file = change.after != Some(fingerprint(None));
            if makes_file && self.nodes.keys().any(|inner| inside(inner, &change.address)) {
                return Err(changed("the folder there still has something in it"));
            }
        }
        Ok(false)
    }

    /// Makes a change that was admitted.
    pub fn make(&mut self, change: &Change, content: Option<Arc<[u8]>>, at: Timestamp, nested: bool) {
        self.writes += 1;
        self.next_uid += 1;
        match &change.after {
            None => {
                self.nodes.remove(&change.address);
            }
            Some(after) => {
                if nested {
                    self.nodes.retain(|outer, node| !(inside(&change.address, outer) && node.content.is_none()));
                }
                let folder_with_things = nested && content.is_none() && self.nodes.keys().any(|inner| inside(inner, &change.address));
                if !folder_with_things {
                    let node = Node { content, fingerprint: after.clone(), uid: self.next_uid, foreign: false, changed_at: at };
                    self.nodes.insert(change.address.clone(), node);
                }
            }
        }
        self.stolen.remove(&change.address);
        let address = change.address.clone();
        self.tell(&address);
    }
}
