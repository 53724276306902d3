//! Charts in registries: the manifest by its digest, then the one layer that holds the archive.
//! <https://github.com/opencontainers/distribution-spec>, <https://helm.sh/docs/topics/registries/>

use reqwest::header::HeaderValue;
use trued_doors::{Answer, Cache};
use trued_model::Digest;

use super::said::{self, Challenge};
use super::wire::{Got, Wire};
use super::{ARCHIVE, keep, kept, verified};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Bytes of a manifest, and of a token's answer; registries take no larger manifests.
const SMALL: u64 = 4 << 20;

/// Fetches manifest and archive, each verified before it is read.
pub(super) async fn fetch(wire: &Wire, registry: &str, repository: &str, digest: &Digest, cache: &dyn Cache) -> Answer<Vec<u8>> {
    let base = format!("{}://{registry}/v2/{repository}", wire.named().scheme());
    let mut authorized = Authorized { wire, repository, token: None };
    let manifest = match kept(cache, digest) {
        Some(manifest) => manifest,
        None => {
            let bytes = authorized.get(&format!("{base}/manifests/{digest}"), MANIFEST, SMALL).await?;
            verified("manifest", bytes, digest)?
        }
    };
    let layer = said::layer(&manifest)?;
    let archive = authorized.get(&format!("{base}/blobs/{layer}"), "*/*", ARCHIVE).await?;
    let archive = verified("archive", archive, &layer)?;
    keep(cache, &layer, &archive);
    keep(cache, digest, &manifest);
    Ok(archive)
}

/// One repository, with the token that was given for it.
struct Authorized<'a> {
    wire: &'a Wire,
    repository: &'a str,
    token: Option<HeaderValue>,
}

impl Authorized<'_> {
    async fn get(&mut self, url: &str, accept: &str, cap: u64) -> Answer<Vec<u8>> {
        match self.wire.get(url, accept, self.token.as_ref(), cap).await? {
            Got::Bytes(bytes) => return Ok(bytes),
            Got::Challenged(challenge) => self.token = Some(self.answer(&challenge).await?),
        }
        match self.wire.get(url, accept, self.token.as_ref(), cap).await? {
            Got::Bytes(bytes) => Ok(bytes),
            Got::Challenged(_) => Err(self.wire.denied()),
        }
    }

    /// Answers a challenge: with who we are, or with a token that somebody gives for that, or to anybody.
    async fn answer(&self, challenge: &str) -> Answer<HeaderValue> {
        let realm = match said::challenge(challenge, self.wire.named(), self.repository)? {
            Challenge::Basic => return self.wire.identity().cloned().ok_or_else(|| self.wire.denied()),
            Challenge::Token(realm) => realm,
        };
        let Got::Bytes(bytes) = self.wire.get_token(&realm, SMALL).await? else { return Err(self.wire.denied()) };
        said::token(&bytes)
    }
}
