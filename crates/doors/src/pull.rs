//! Archives that renders need from elsewhere: fetched by digest, kept by digest, never believed.

use std::collections::BTreeMap;

use serde_json::Value;
use trued_model::{Code, Duration, Finding, Name, Pull, Refusal, Secret};

use crate::{Answer, BoxFuture, Cache, Descriptor};

/// Gets archives. What it gives has the digest that was asked for.
pub trait Puller: Send + Sync {
    /// Describes how one place is asked: the settings of [`Pull::road`], which are the operator's.
    fn describe(&self) -> Descriptor;

    /// Remarks on such settings that their schema cannot make, each at the setting it is about, as a JSON pointer.
    fn check(&self, road: &Value) -> Vec<(String, Finding)>;

    /// The secrets that fetching needs.
    fn secrets(&self, pull: &Pull) -> Vec<Name>;

    /// The archive, if it was fetched before; asks nobody.
    fn kept(&self, pull: &Pull, cache: &dyn Cache) -> Option<Vec<u8>>;

    /// Fetches it within a time, and keeps it. `Code::Invalid` where what is there is not what was asked for.
    fn fetch<'a>(
        &'a self,
        pull: &'a Pull,
        secrets: BTreeMap<Name, Secret>,
        cache: &'a dyn Cache,
        within: Duration,
    ) -> BoxFuture<'a, Answer<Vec<u8>>>;
}

/// Gets nothing.
pub struct NoPuller;

impl Puller for NoPuller {
    fn describe(&self) -> Descriptor {
        let schema = serde_json::json!({ "type": "object", "additionalProperties": false });
        Descriptor { kind: "nothing", summary: "nothing is fetched", schema, example: Value::Null, paths: &[], pulls: &[] }
    }

    fn check(&self, _: &Value) -> Vec<(String, Finding)> {
        Vec::new()
    }

    fn secrets(&self, _: &Pull) -> Vec<Name> {
        Vec::new()
    }

    fn kept(&self, _: &Pull, _: &dyn Cache) -> Option<Vec<u8>> {
        None
    }

    fn fetch<'a>(&'a self, pull: &'a Pull, _: BTreeMap<Name, Secret>, _: &'a dyn Cache, _: Duration) -> BoxFuture<'a, Answer<Vec<u8>>> {
        let refusal = Refusal::new(Code::Unsupported, format!("fetch {}: nothing is fetched here", pull.from.words()));
        Box::pin(std::future::ready(Err(refusal)))
    }
}
