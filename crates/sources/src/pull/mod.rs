//! Charts from registries and repositories: fetched by digest, verified before anything reads them, kept by digest.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use trued_doors::{Answer, BoxFuture, Cache, Descriptor, Puller};
use trued_model::{Code, Digest, Duration, Finding, Name, Pull, PullFrom, Refusal, Secret};

use crate::road::{self, Road};

mod distrust;
mod oci;
mod repository;
pub mod said;
mod wire;

use wire::Wire;

/// Bytes of an archive; helm itself takes no more than a few of these unpacked.
const ARCHIVE: u64 = 32 << 20;

/// Gets charts.
pub struct Charts;

impl Puller for Charts {
    fn describe(&self) -> Descriptor {
        Descriptor {
            kind: "registry",
            summary: "how a registry or a repository of charts is asked, and whoever it sends us on to",
            schema: json!({ "type": "object", "additionalProperties": false, "properties": road::schema("none; the environment says nothing here") }),
            example: json!({ "ca": "/etc/trued/ca.pem", "proxy": "http://proxy.example:3128" }),
            paths: &["/ca"],
            pulls: &[],
        }
    }

    fn check(&self, road: &Value) -> Vec<(String, Finding)> {
        let wrong = |refusal: Refusal| ("/proxy".to_owned(), Finding::new(refusal.message, refusal.help));
        Road::read(road).err().map(wrong).into_iter().collect()
    }

    fn secrets(&self, pull: &Pull) -> Vec<Name> {
        let of_proxy = Road::read(&pull.road).ok().and_then(|road| road.proxy?.identity).map(|(_, password)| password);
        pull.password.iter().cloned().chain(of_proxy).collect()
    }

    fn kept(&self, pull: &Pull, cache: &dyn Cache) -> Option<Vec<u8>> {
        let bytes = kept(cache, &pull.digest)?;
        match pull.from {
            PullFrom::Oci { .. } => kept(cache, &said::layer(&bytes).ok()?),
            PullFrom::Repository { .. } => Some(bytes),
        }
    }

    fn fetch<'a>(
        &'a self,
        pull: &'a Pull,
        secrets: BTreeMap<Name, Secret>,
        cache: &'a dyn Cache,
        within: Duration,
    ) -> BoxFuture<'a, Answer<Vec<u8>>> {
        Box::pin(async move {
            let fetched = async {
                let asked = pull.clone();
                let wire = crate::blocking(move || Wire::new(&asked, &secrets)).await?;
                match &pull.from {
                    PullFrom::Oci { registry, repository } => oci::fetch(&wire, registry, repository, &pull.digest, cache).await,
                    PullFrom::Repository { url, name, version } => {
                        let bytes = repository::fetch(&wire, url, name, version, &pull.digest).await?;
                        keep(cache, &pull.digest, &bytes);
                        Ok(bytes)
                    }
                }
            };
            let silent = || Refusal::new(Code::TimedOut, format!("not done within {within}")).help("it is tried again");
            let fetched = tokio::time::timeout(within.to_std(), fetched).await.unwrap_or_else(|_| Err(silent()));
            fetched.map_err(|refusal| Refusal { message: format!("fetch {}: {}", pull.from.words(), refusal.message), ..refusal })
        })
    }
}

fn key(digest: &Digest) -> String {
    format!("pulled/{}", digest.hex())
}

/// What is kept under a digest, if it still is what the digest says.
fn kept(cache: &dyn Cache, digest: &Digest) -> Option<Vec<u8>> {
    cache.get(&key(digest)).filter(|bytes| Digest::of(bytes) == *digest)
}

fn keep(cache: &dyn Cache, digest: &Digest, bytes: &[u8]) {
    cache.put(&key(digest), bytes);
}

/// Refuses what is not what was asked for.
fn verified(what: &str, bytes: Vec<u8>, digest: &Digest) -> Answer<Vec<u8>> {
    let found = Digest::of(&bytes);
    match found == *digest {
        true => Ok(bytes),
        false => {
            let message = format!("the {what} has digest {found}, and {digest} was asked for");
            Err(Refusal::new(Code::Invalid, message).help("find out who changed it; write the other digest only if that is the right one"))
        }
    }
}
