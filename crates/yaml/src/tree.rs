//! The tree of one YAML document: values with the places they were written at.

use serde_json::{Map, Number};

/// A line and a column in one text, both from 1; columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    pub line: u32,
    pub column: u32,
}

/// A value and where it stands. What an alias repeats stands where it was first written.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub value: Value,
    pub mark: Mark,
    /// A plain value as it was spelled, where it did not become text: `no` for false, `0777` for 511.
    pub spelled: Option<Box<str>>,
    /// Of a mapping, the places of its entries by key, so that a large one is not searched through.
    by_key: Box<[u32]>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    /// In the order it was written, keys unique; what `<<` brought comes last.
    Map(Vec<Entry>),
}

/// One key with its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub key: String,
    pub key_mark: Mark,
    /// The key as it was spelled, where it is not read as text: `no` for `false`.
    pub key_spelled: Option<Box<str>>,
    pub node: Node,
}

impl Node {
    pub(crate) fn new(value: Value, mark: Mark, spelled: Option<Box<str>>) -> Node {
        let mut by_key: Vec<u32> = Vec::new();
        if let Value::Map(entries) = &value {
            by_key.extend((0_u32..).take(entries.len()));
            by_key.sort_by(|a, b| entries[*a as usize].key.cmp(&entries[*b as usize].key));
        }
        Node { value, mark, spelled, by_key: by_key.into() }
    }

    pub(crate) fn null(mark: Mark) -> Node {
        Node::new(Value::Null, mark, None)
    }

    /// Finds a key's value; `None` when this is no mapping or has no such key.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.node)
    }

    /// Finds an entry by its key.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        let entries = self.entries();
        let found = self.by_key.binary_search_by(|place| entries[*place as usize].key.as_str().cmp(key)).ok()?;
        entries.get(self.by_key[found] as usize)
    }

    /// The entries of a mapping; none where this is something else.
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The text, where this is text.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Finds a node by its JSON pointer (RFC 6901); the empty pointer is this node.
    pub fn at(&self, pointer: &str) -> Option<&Node> {
        self.entry_at(pointer).map(|(node, _)| node)
    }

    /// The place of a node by its JSON pointer. What is not there has the place of the nearest thing around it.
    pub fn mark_of(&self, pointer: &str) -> Mark {
        self.nearest(pointer).0.mark
    }

    /// The place of a node's key; where it has none (an item, the root) or is not there, the nearest key around it.
    pub fn key_mark_of(&self, pointer: &str) -> Mark {
        let (node, key) = self.nearest(pointer);
        key.unwrap_or(node.mark)
    }

    /// This tree without places.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(yes) => serde_json::Value::Bool(*yes),
            Value::Number(number) => serde_json::Value::Number(number.clone()),
            Value::Text(text) => serde_json::Value::String(text.clone()),
            Value::List(items) => serde_json::Value::Array(items.iter().map(Node::to_json).collect()),
            Value::Map(entries) => {
                serde_json::Value::Object(entries.iter().map(|entry| (entry.key.clone(), entry.node.to_json())).collect::<Map<_, _>>())
            }
        }
    }

    fn entry_at(&self, pointer: &str) -> Option<(&Node, Option<Mark>)> {
        pointer_steps(pointer).try_fold((self, None), |(node, key), step| node.child(&step, key))
    }

    fn nearest(&self, pointer: &str) -> (&Node, Option<Mark>) {
        let mut found = (self, None);
        for step in pointer_steps(pointer) {
            match found.0.child(&step, found.1) {
                Some(next) => found = next,
                None => break,
            }
        }
        found
    }

    fn child(&self, step: &str, key: Option<Mark>) -> Option<(&Node, Option<Mark>)> {
        match &self.value {
            Value::Map(_) => self.entry(step).map(|entry| (&entry.node, Some(entry.key_mark))),
            Value::List(items) => items.get(step.parse::<usize>().ok()?).map(|node| (node, key)),
            _ => None,
        }
    }
}

/// Splits a JSON pointer into its steps, unescaped.
pub fn pointer_steps(pointer: &str) -> impl Iterator<Item = String> + '_ {
    pointer.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~"))
}

/// Writes one step of a JSON pointer, with its leading `/`.
pub fn step(key: &str) -> String {
    format!("/{}", key.replace('~', "~0").replace('/', "~1"))
}
