//! Names of apps, environments, targets, sources; the identity of a stack and how it is written.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

/// A name as configuration spells it: `[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Name(String);

impl Name {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text is not a name.
#[derive(Debug, thiserror::Error)]
#[error("not a name: use a-z, 0-9 and -, at most 63 characters, no - at either end")]
pub struct NotAName;

impl FromStr for Name {
    type Err = NotAName;
    fn from_str(text: &str) -> Result<Name, NotAName> {
        let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = text.as_bytes();
        let ends = bytes.first().is_some_and(plain) && bytes.last().is_some_and(plain);
        if ends && bytes.len() <= 63 && bytes.iter().all(|byte| plain(byte) || *byte == b'-') {
            Ok(Name(text.to_owned()))
        } else {
            Err(NotAName)
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Name, D::Error> {
        crate::text::parsed(from)
    }
}

/// One app in one environment on one target: the unit that is reconciled.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StackId {
    pub environment: Name,
    pub app: Name,
    pub target: Name,
}

impl StackId {
    /// The triple in one word that never depends on what else exists; for lock files and table keys.
    pub fn key(&self) -> String {
        format!("{}/{}@{}", self.environment, self.app, self.target)
    }

    /// Parses what [`StackId::key`] writes.
    pub fn from_key(key: &str) -> Option<StackId> {
        let (environment, rest) = key.split_once('/')?;
        let (app, target) = rest.split_once('@')?;
        Some(StackId { environment: environment.parse().ok()?, app: app.parse().ok()?, target: target.parse().ok()? })
    }
}

impl fmt::Debug for StackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key())
    }
}

/// How stacks are written for people: as short as is clear among those that are known.
///
/// `homepage` (small form), `prod/site`, or `prod/site@web-1` where an environment has the app on several targets.
#[derive(Clone, Debug, Default)]
pub struct StackNames {
    written: BTreeMap<StackId, String>,
}

impl StackNames {
    pub fn new<'a>(stacks: impl IntoIterator<Item = &'a StackId>) -> StackNames {
        let known: BTreeSet<&StackId> = stacks.into_iter().collect();
        let mut places: BTreeMap<(&Name, &Name), usize> = BTreeMap::new();
        for id in &known {
            *places.entry((&id.environment, &id.app)).or_default() += 1;
        }
        let write = |id: &StackId| match places[&(&id.environment, &id.app)] == 1 {
            true if id.environment.as_str() == "default" && id.app == id.target => id.app.to_string(),
            true => format!("{}/{}", id.environment, id.app),
            false => id.key(),
        };
        StackNames { written: known.iter().map(|id| ((*id).clone(), write(id))).collect() }
    }

    /// Writes a stack; one that is not known is written in full.
    pub fn write(&self, id: &StackId) -> String {
        self.written.get(id).cloned().unwrap_or_else(|| id.key())
    }

    /// Finds the stack a person named; the full form always works.
    pub fn find(&self, text: &str) -> Option<&StackId> {
        self.written.iter().find(|(id, written)| *written == text || id.key() == text).map(|(id, _)| id)
    }

    /// All known stacks with their written names, sorted by identity.
    pub fn iter(&self) -> impl Iterator<Item = (&StackId, &str)> {
        self.written.iter().map(|(id, written)| (id, written.as_str()))
    }
}
