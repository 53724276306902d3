//! The keys that name a render by all that it depends on: values in, digests out.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use trued_model::{Digest, Ignore, Stack};

/// What a render depends on, by what names it.
pub struct Keyed<'a> {
    pub stack: &'a Stack,
    /// Of the folder.
    pub bundle: &'a str,
    /// What they are, not what they say.
    pub secrets: BTreeMap<&'a str, Digest>,
    /// Of the driver's terms.
    pub terms: Option<Digest>,
    /// The renderer's.
    pub version: &'a str,
    /// The target's kind.
    pub target: Option<&'a str>,
    /// The programs that it runs, by their bytes; `None` for one of the folder.
    pub programs: Vec<Option<Digest>>,
}

/// The keys of one render.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keys {
    /// Of all inputs alone.
    pub inputs: Digest,
    /// Of all inputs and the renderer's version.
    pub key: Digest,
    /// The same without the driver's terms, which only reading what was rendered depends on.
    pub rendering: Digest,
    /// The key without the bundle's content, where a render can go on from the one before.
    pub rest: Option<Digest>,
}

/// Everything a render depends on but the renderer itself.
#[derive(Serialize)]
struct Inputs<'a> {
    bundle: &'a str,
    kind: &'a str,
    settings: &'a Value,
    vars: &'a BTreeMap<String, Value>,
    secrets: &'a BTreeMap<&'a str, Digest>,
    sensitive: &'a [String],
    into: &'a str,
    #[serde(flatten)]
    reading: ReadWith<'a>,
}

/// What only reading depends on: how what was rendered is read as resources of the target.
#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize)]
struct ReadWith<'a> {
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    ignore: &'a [Ignore],
    #[serde(skip_serializing_if = "Option::is_none")]
    manage: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    terms: Option<Digest>,
}

impl Keyed<'_> {
    /// Names the render. `piecewise`: whether it can go on from the one before.
    pub fn keys(&self, piecewise: bool) -> Keys {
        let policy = &self.stack.policy;
        let reading = ReadWith { ignore: &policy.ignore, manage: policy.manage.as_deref(), terms: self.terms };
        let inputs = self.inputs(self.bundle, reading);
        let rendered_from = match reading == ReadWith::default() {
            true => inputs,
            false => self.inputs(self.bundle, ReadWith::default()),
        };
        let key = self.key(inputs);
        let rendering = if rendered_from == inputs { key } else { self.key(rendered_from) };
        let rest = piecewise.then(|| self.key(self.inputs("", reading)));
        Keys { inputs, key, rendering, rest }
    }

    fn inputs(&self, bundle: &str, reading: ReadWith<'_>) -> Digest {
        let render = &self.stack.render;
        Digest::of_canonical(&Inputs {
            bundle,
            kind: &render.kind,
            settings: &render.settings,
            vars: &render.vars,
            secrets: &self.secrets,
            sensitive: &self.stack.policy.sensitive,
            into: &self.stack.into,
            reading,
        })
    }

    fn key(&self, inputs: Digest) -> Digest {
        let key = (inputs, self.version, self.target);
        if self.programs.is_empty() { Digest::of_canonical(&key) } else { Digest::of_canonical(&(key, &self.programs)) }
    }
}
