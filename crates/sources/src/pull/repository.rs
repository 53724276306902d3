//! Charts in a repository over HTTP: its index says where an archive is; what it is says its digest.
//! <https://helm.sh/docs/topics/chart_repository/>

use trued_doors::Answer;
use trued_model::{Code, Digest, Refusal};

use super::wire::{Got, Wire};
use super::{ARCHIVE, said, verified};

/// Fetches an archive and proves it.
pub(super) async fn fetch(wire: &Wire, url: &str, name: &str, version: &str, digest: &Digest) -> Answer<Vec<u8>> {
    let base = reqwest::Url::parse(&format!("{}/", url.trim_end_matches('/')));
    let base = base.map_err(|error| Refusal::new(Code::Invalid, format!("this is no address: {error}")))?;
    let index = said::place(&base, "index.yaml").ok_or_else(|| Refusal::new(Code::Invalid, "this is no address over http"))?;
    let index = bytes(wire, index.as_str(), said::INDEX.bytes as u64).await?;
    let (name, version, of) = (name.to_owned(), version.to_owned(), *digest);
    // A large index takes a while to read.
    let located = crate::blocking(move || said::located(&index, &base, &name, &version, &of)).await?;
    verified("archive", bytes(wire, located.as_str(), ARCHIVE).await?, digest)
}

async fn bytes(wire: &Wire, url: &str, cap: u64) -> Answer<Vec<u8>> {
    match wire.get(url, "*/*", wire.identity(), cap).await? {
        Got::Bytes(bytes) => Ok(bytes),
        Got::Challenged(_) => Err(wire.denied()),
    }
}
