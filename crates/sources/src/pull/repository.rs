//! Charts in a repository over HTTP: its index says where an archive is; what it is says its digest.
//! <https://helm.sh/docs/topics/chart_repository/>

use trued_doors::Answer;
use trued_model::{Code, Digest, Refusal};
use trued_yaml::{Budget, Node, read, text_of};

use super::wire::{Got, Wire};
use super::{ARCHIVE, verified};

/// What an index may cost.
const INDEX: Budget = Budget { bytes: 16 << 20, depth: 40, nodes: 1_000_000, aliases: 1_000, text: 32 << 20, documents: 1 };

/// Fetches an archive and proves it.
pub(super) async fn fetch(wire: &Wire, url: &str, name: &str, version: &str, digest: &Digest) -> Answer<Vec<u8>> {
    let base = reqwest::Url::parse(&format!("{}/", url.trim_end_matches('/')));
    let base = base.map_err(|error| Refusal::new(Code::Invalid, format!("this is no address: {error}")))?;
    let at = |below: &str| base.join(below).map_err(|error| Refusal::new(Code::Invalid, format!("the index names no address: {error}")));
    let index = bytes(wire, at("index.yaml")?.as_str(), INDEX.bytes as u64).await?;
    let (name, version, digest) = (name.to_owned(), version.to_owned(), *digest);
    // A large index takes a while to read.
    let located = crate::blocking(move || locate(&index, &name, &version, &digest)).await?;
    verified("archive", bytes(wire, at(&located)?.as_str(), ARCHIVE).await?, &digest)
}

async fn bytes(wire: &Wire, url: &str, cap: u64) -> Answer<Vec<u8>> {
    match wire.get(url, "*/*", wire.identity(), cap).await? {
        Got::Bytes(bytes) => Ok(bytes),
        Got::Challenged(_) => Err(wire.denied()),
    }
}

/// Where an index says that a chart is.
fn locate(index: &[u8], name: &str, version: &str, digest: &Digest) -> Answer<String> {
    let unread = |why: String| Refusal::new(Code::Invalid, format!("its index.yaml cannot be read: {why}"));
    let text = text_of("index.yaml", index).map_err(|_| unread("it is no text".to_owned()))?;
    let refused = |refused: trued_yaml::Refused| unread(refused.findings.first().map_or_else(String::new, ToString::to_string));
    let root = read("index.yaml", text, &INDEX).map_err(refused)?;
    let entries = root.get("entries").and_then(|entries| entries.get(name)).map(|versions| &versions.value);
    let versions: &[Node] = match entries {
        Some(trued_yaml::Value::List(versions)) => versions,
        _ => &[],
    };
    let of = |node: &Node, key: &str| node.get(key).and_then(Node::text).map(str::to_owned);
    let Some(found) = versions.iter().find(|one| of(one, "version").as_deref() == Some(version)) else {
        let message = format!("its index has no version {version} of {name}");
        return Err(Refusal::new(Code::Absent, message).help("correct `name` or `version`; `helm search repo` lists them"));
    };
    let said = of(found, "digest").map(|said| said.trim_start_matches("sha256:").to_ascii_lowercase());
    if let Some(said) = said.filter(|said| *said != digest.hex()) {
        let message = format!("its index says that {name} {version} has digest sha256:{said}, and {digest} was asked for");
        return Err(
            Refusal::new(Code::Invalid, message).help("find out who changed it; write the other digest only if that is the right one")
        );
    }
    let first = match found.get("urls").map(|urls| &urls.value) {
        Some(trued_yaml::Value::List(urls)) => urls.first().and_then(Node::text),
        _ => None,
    };
    first.map(str::to_owned).ok_or_else(|| unread(format!("{name} {version} has no url")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_says_where_the_one_is_that_has_name_version_and_digest() {
        let digest = Digest::of(b"chart");
        let index = format!(
            "apiVersion: v1\nentries:\n  shop:\n  - {{ version: 2.0.0, urls: [new.tgz] }}\n  - {{ version: \"1.0\", digest: {}, urls: [old/shop.tgz] }}\n",
            digest.hex()
        );
        let at = |name: &str, version: &str, digest| locate(index.as_bytes(), name, version, &digest).map_err(|refusal| refusal.code);
        assert_eq!(at("shop", "1.0", digest).as_deref(), Ok("old/shop.tgz"));
        assert_eq!(at("shop", "2.0.0", digest).as_deref(), Ok("new.tgz"), "what the archive is, it says itself");
        assert_eq!(at("shop", "1.0", Digest::of(b"other")), Err(Code::Invalid));
        assert_eq!(at("shop", "3", digest), Err(Code::Absent));
        assert_eq!(at("other", "1.0", digest), Err(Code::Absent));
        assert_eq!(locate(b"\xff", "shop", "1", &digest).map_err(|refusal| refusal.code), Err(Code::Invalid));
        assert_eq!(locate(b"entries: [", "shop", "1", &digest).map_err(|refusal| refusal.code), Err(Code::Invalid));
    }
}
