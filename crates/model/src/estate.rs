//! Everything that is configured, resolved: what configuration files say after all names are looked up.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Duration, Finding, HealthPolicy, Limits, Name, Origin, Policy, Pull, SandboxRules, StackId};

/// All sources, targets and stacks of one resolved configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Estate {
    pub sources: BTreeMap<Name, SourceSpec>,
    pub environments: BTreeMap<Name, Environment>,
    pub targets: BTreeMap<Name, Target>,
    pub secrets: BTreeMap<Name, SecretSource>,
    /// What the operator says of confined programs.
    #[serde(default)]
    pub sandbox: SandboxRules,
    pub apps: BTreeMap<Name, App>,
    #[serde(with = "listed")]
    pub stacks: BTreeMap<StackId, Stack>,
    #[serde(default)]
    pub findings: Vec<Finding>,
    /// Apps whose file could not be read this time: their stacks are not gone, they are unknown.
    pub unreadable: Vec<Name>,
    /// Whether any app file could not even be told to which app it belongs: then no stack is gone.
    pub incomplete: bool,
}

/// A source: which kind of door opens it, and that kind's settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceSpec {
    pub name: Name,
    /// `git`, `folder`.
    pub kind: String,
    pub settings: Value,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// Whether a change from outside must be explained by a person.
    pub explain: bool,
}

/// A target: which driver, and that driver's settings.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Target {
    pub name: Name,
    pub kind: String,
    pub settings: Value,
    /// Globs of addresses that nobody need manage there; coverage counts them apart.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<String>,
    /// Where the settings stand; no part of what the target is, and not stored.
    #[serde(skip)]
    pub origin: Origin,
}

impl PartialEq for Target {
    /// A target that only moved in its file is the same target.
    fn eq(&self, other: &Target) -> bool {
        (&self.name, &self.kind, &self.settings, &self.ignore) == (&other.name, &other.kind, &other.settings, &other.ignore)
    }
}

impl Eq for Target {}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecretSource {
    File(String),
    Env(String),
    /// A file that age encrypted; its whole content.
    Age(Encrypted),
    /// One value of a file that SOPS wrote.
    Sops(Encrypted),
}

impl SecretSource {
    /// The encrypted file of a source, where that is what it is.
    pub fn encrypted(&self) -> Option<&Encrypted> {
        match self {
            SecretSource::Age(file) | SecretSource::Sops(file) => Some(file),
            SecretSource::File(_) | SecretSource::Env(_) => None,
        }
    }
}

/// A secret in an encrypted file of a source, read at the revision that is rendered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Encrypted {
    pub source: Name,
    /// From the source's root, encoded, no leading slash.
    pub path: String,
    /// Which value of the file, where it holds several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    pub identity: Identity,
}

/// Where the private key lies that opens encrypted files: on this machine, never in a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Identity {
    File(String),
    Env(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    pub name: Name,
    pub owner: Option<String>,
    pub origin: Origin,
}

/// One renderer with its settings; a stack's steps run one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenderStep {
    /// `plain`, `template`.
    pub kind: String,
    /// The renderer's own settings. `path` is resolved: from the source's root, encoded, no leading slash.
    pub settings: Value,
    /// Plain values by name; a secret stands as its name in `secrets`.
    pub vars: BTreeMap<String, Value>,
    pub secrets: BTreeMap<String, Name>,
    /// The most a program that renders may use, where that is less than what the operator allows to all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// What the renderer needs from elsewhere; its settings name each by its digest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pulls: Vec<Pull>,
}

/// One check after apply: which kind, and that kind's settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckSpec {
    /// `http`, `command`.
    pub kind: String,
    pub settings: Value,
    /// Patterns of the addresses that it may ask, when repository data named it; `None` when the operator did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reach: Option<Vec<String>>,
}

/// One stack, resolved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stack {
    pub id: StackId,
    pub source: Name,
    pub render: RenderStep,
    /// Where on the target it lands, in the target's own terms (files: a folder below the root; empty is the root).
    pub into: String,
    pub policy: Policy,
    pub checks: Vec<CheckSpec>,
    /// Old identities whose inventory this stack takes over.
    pub previously: Vec<StackId>,
    /// How long what was written may take to become ready, and what happens otherwise.
    #[serde(default, skip_serializing_if = "HealthPolicy::is_default")]
    pub health: HealthPolicy,
    /// Stacks that have landed before anything new of this one does.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub after: BTreeSet<StackId>,
    /// How often the target is looked at without a hint.
    pub interval: Duration,
    pub origin: Origin,
}

/// Stacks are stored as a list: an identity of three names is no key of a JSON object.
mod listed {
    use super::{BTreeMap, Deserialize, Serialize, Stack, StackId};

    pub fn serialize<S: serde::Serializer>(stacks: &BTreeMap<StackId, Stack>, to: S) -> Result<S::Ok, S::Error> {
        stacks.values().collect::<Vec<_>>().serialize(to)
    }

    pub fn deserialize<'de, D: serde::Deserializer<'de>>(from: D) -> Result<BTreeMap<StackId, Stack>, D::Error> {
        Ok(Vec::<Stack>::deserialize(from)?.into_iter().map(|stack| (stack.id.clone(), stack)).collect())
    }
}
