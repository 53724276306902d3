//! Charts in registries: the manifest by its digest, then the one layer that holds the archive.
//! <https://github.com/opencontainers/distribution-spec>, <https://helm.sh/docs/topics/registries/>

use serde::Deserialize;
use trued_doors::{Answer, Cache};
use trued_model::{Code, Digest, Refusal};

use super::wire::{Got, Wire};
use super::{ARCHIVE, keep, kept, verified};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CHART: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";

/// Bytes of a manifest, and of a token's answer; registries take no larger manifests.
const SMALL: u64 = 4 << 20;

#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    layers: Vec<Described>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Described {
    media_type: String,
    digest: Digest,
    size: u64,
}

/// The layer of a manifest that holds the chart.
pub(super) struct Layer {
    pub digest: Digest,
}

impl Layer {
    pub fn of(manifest: &[u8]) -> Answer<Layer> {
        let wrong = |message: &str| Refusal::new(Code::Invalid, message).help("`helm push` makes what is asked for here");
        let manifest: Manifest = serde_json::from_slice(manifest).map_err(|_| wrong("this is no manifest of an OCI image"))?;
        let mut charts = manifest.layers.into_iter().filter(|layer| layer.media_type == CHART);
        let (Some(chart), None) = (charts.next(), charts.next()) else {
            return Err(wrong("this is no chart: it has not one layer of that type"));
        };
        match chart.size <= ARCHIVE {
            true => Ok(Layer { digest: chart.digest }),
            false => Err(Refusal::new(Code::TooLarge, format!("the chart has {} bytes, and {ARCHIVE} are taken", chart.size))),
        }
    }
}

/// Fetches manifest and archive, each verified before it is read.
pub(super) async fn fetch(wire: &Wire, registry: &str, repository: &str, digest: &Digest, cache: &dyn Cache) -> Answer<Vec<u8>> {
    let base = format!("{}://{registry}/v2/{repository}", wire.scheme());
    let mut authorized = Authorized { wire, repository, token: None };
    let manifest = match kept(cache, digest) {
        Some(manifest) => manifest,
        None => {
            let bytes = authorized.get(&format!("{base}/manifests/{digest}"), MANIFEST, SMALL).await?;
            verified("manifest", bytes, digest)?
        }
    };
    let layer = Layer::of(&manifest)?.digest;
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
    token: Option<reqwest::header::HeaderValue>,
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
    async fn answer(&self, challenge: &str) -> Answer<reqwest::header::HeaderValue> {
        let (scheme, parameters) = challenge.split_once(' ').unwrap_or((challenge, ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return self.wire.identity().cloned().ok_or_else(|| self.wire.denied());
        }
        let unclear = || Refusal::new(Code::Unsupported, "the registry asks for credentials in a way that is not known");
        let realm = parameter(parameters, "realm").filter(|_| scheme.eq_ignore_ascii_case("bearer")).ok_or_else(unclear)?;
        let mut realm = reqwest::Url::parse(&realm).map_err(|_| unclear())?;
        if let Some(service) = parameter(parameters, "service") {
            realm.query_pairs_mut().append_pair("service", &service);
        }
        realm.query_pairs_mut().append_pair("scope", &format!("repository:{}:pull", self.repository));
        let Got::Bytes(bytes) = self.wire.get_token(realm.as_str(), SMALL).await? else { return Err(self.wire.denied()) };
        #[derive(Deserialize)]
        struct Token {
            token: Option<String>,
            access_token: Option<String>,
        }
        let token: Token = serde_json::from_slice(&bytes).map_err(|_| unclear())?;
        let token = token.token.or(token.access_token).filter(|token| !token.is_empty()).ok_or_else(unclear)?;
        let mut header = reqwest::header::HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| unclear())?;
        header.set_sensitive(true);
        Ok(header)
    }
}

/// A parameter of a challenge: `realm="https://auth.example/token",service="registry"`.
fn parameter(parameters: &str, name: &str) -> Option<String> {
    let mut rest = parameters;
    while let Some((key, after)) = rest.split_once('=') {
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_once(',').unwrap_or((after, "")),
        };
        if key.trim().trim_start_matches(',').trim().eq_ignore_ascii_case(name) {
            return Some(value.to_owned());
        }
        rest = next;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_a_challenge_are_found_quoted_or_not() {
        let challenge = "realm=\"https://auth.example/token?a=b,c\", Service=registry,scope=\"repository:a:pull\"";
        assert_eq!(parameter(challenge, "realm").as_deref(), Some("https://auth.example/token?a=b,c"));
        assert_eq!(parameter(challenge, "service").as_deref(), Some("registry"));
        assert_eq!(parameter(challenge, "error"), None);
        assert_eq!(parameter("realm=\"unended", "realm"), None);
    }

    #[test]
    fn only_a_manifest_with_one_chart_is_one() {
        let digest = Digest::of(b"chart");
        let layer = format!(r#"{{ "mediaType": "{CHART}", "digest": "{digest}", "size": 5 }}"#);
        let manifest = |layers: &str| Layer::of(format!(r#"{{ "layers": [{layers}] }}"#).as_bytes()).map(|layer| layer.digest);
        assert_eq!(manifest(&layer), Ok(digest));
        assert!(manifest("").is_err() && manifest(&format!("{layer},{layer}")).is_err());
        assert!(manifest(&layer.replace("\"size\": 5", "\"size\": 999999999")).is_err());
        assert!(manifest(&layer.replace("sha256:", "sha512:")).is_err());
        assert!(Layer::of(b"<html>").is_err());
    }
}
