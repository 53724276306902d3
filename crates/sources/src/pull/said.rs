//! What registries and repositories of charts say, read: a stranger's bytes in, a small answer out. Nothing is asked here.

use reqwest::Url;
use reqwest::header::HeaderValue;
use serde::Deserialize;
use trued_doors::Answer;
use trued_model::{Code, Digest, Refusal};
use trued_yaml::{Budget, Node, Value, read, text_of};

use super::ARCHIVE;

const CHART: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";

/// What an index may cost.
pub const INDEX: Budget = Budget { bytes: 16 << 20, depth: 40, nodes: 1_000_000, aliases: 1_000, text: 32 << 20, documents: 1 };

/// An address that a server names, as it may be asked: over HTTP, at a host, as nobody.
pub fn place(base: &Url, named: &str) -> Option<Url> {
    let url = base.join(named).ok()?;
    let plain = url.username().is_empty() && url.password().is_none();
    (matches!(url.scheme(), "http" | "https") && url.host_str().is_some_and(|host| !host.is_empty()) && plain).then_some(url)
}

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

/// The layer of a registry's manifest that holds the chart's archive.
pub fn layer(manifest: &[u8]) -> Answer<Digest> {
    let wrong = |message: &str| Refusal::new(Code::Invalid, message).help("`helm push` makes what is asked for here");
    let manifest: Manifest = serde_json::from_slice(manifest).map_err(|_| wrong("this is no manifest of an OCI image"))?;
    let mut charts = manifest.layers.into_iter().filter(|layer| layer.media_type == CHART);
    let (Some(chart), None) = (charts.next(), charts.next()) else {
        return Err(wrong("this is no chart: it has not one layer of that type"));
    };
    match chart.size <= ARCHIVE {
        true => Ok(chart.digest),
        false => Err(Refusal::new(Code::TooLarge, format!("the chart has {} bytes, and {ARCHIVE} are taken", chart.size))),
    }
}

/// How a registry wants to know who we are.
pub enum Challenge {
    /// At each request.
    Basic,
    /// By a token, which is to be had there.
    Token(Url),
}

/// Reads the header `WWW-Authenticate` of a registry that was asked for a repository at `base`.
pub fn challenge(header: &str, base: &Url, repository: &str) -> Answer<Challenge> {
    let (scheme, parameters) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Ok(Challenge::Basic);
    }
    let realm = parameter(parameters, "realm").filter(|_| scheme.eq_ignore_ascii_case("bearer"));
    let mut realm = realm.and_then(|realm| place(base, &realm)).ok_or_else(unclear)?;
    if let Some(service) = parameter(parameters, "service") {
        realm.query_pairs_mut().append_pair("service", &service);
    }
    realm.query_pairs_mut().append_pair("scope", &format!("repository:{repository}:pull"));
    Ok(Challenge::Token(realm))
}

/// Reads the answer of whoever gives tokens, as a header that is never shown.
pub fn token(answer: &[u8]) -> Answer<HeaderValue> {
    #[derive(Deserialize)]
    struct Token {
        token: Option<String>,
        access_token: Option<String>,
    }
    let token: Token = serde_json::from_slice(answer).map_err(|_| unclear())?;
    let token = token.token.or(token.access_token).filter(|token| !token.is_empty()).ok_or_else(unclear)?;
    let mut header = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| unclear())?;
    header.set_sensitive(true);
    Ok(header)
}

fn unclear() -> Refusal {
    Refusal::new(Code::Unsupported, "the registry asks for credentials in a way that is not known")
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

/// Where a repository's index says that a chart is.
pub fn located(index: &[u8], base: &Url, name: &str, version: &str, digest: &Digest) -> Answer<Url> {
    let unread = |why: String| Refusal::new(Code::Invalid, format!("its index.yaml cannot be read: {why}"));
    let text = text_of("index.yaml", index).map_err(|_| unread("it is no text".to_owned()))?;
    let refused = |refused: trued_yaml::Refused| unread(refused.findings.first().map_or_else(String::new, ToString::to_string));
    let root = read("index.yaml", text, &INDEX).map_err(refused)?;
    let entries = root.get("entries").and_then(|entries| entries.get(name)).map(|versions| &versions.value);
    let versions: &[Node] = match entries {
        Some(Value::List(versions)) => versions,
        _ => &[],
    };
    let of = |node: &Node, key: &str| node.get(key).and_then(Node::text).map(str::to_owned);
    let Some(found) = versions.iter().find(|one| of(one, "version").as_deref() == Some(version)) else {
        let message = format!("its index has no version {version} of {name}");
        return Err(Refusal::new(Code::Absent, message).help("correct `name` or `version`; `helm search repo` lists them"));
    };
    let said = of(found, "digest").map(|said| said.trim_start_matches("sha256:").to_ascii_lowercase());
    if let Some(said) = said.filter(|said| *said != digest.hex()) {
        let said: String = said.chars().filter(|c| !c.is_control()).take(64).collect();
        let message = format!("its index says that {name} {version} has digest sha256:{said}, and {digest} was asked for");
        return Err(
            Refusal::new(Code::Invalid, message).help("find out who changed it; write the other digest only if that is the right one")
        );
    }
    let first = match found.get("urls").map(|urls| &urls.value) {
        Some(Value::List(urls)) => urls.first().and_then(Node::text),
        _ => None,
    };
    let first = first.ok_or_else(|| unread(format!("{name} {version} has no url")))?;
    place(base, first).ok_or_else(|| unread(format!("the url of {name} {version} is no address over http")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> Url {
        Url::parse("https://charts.example/stable/").unwrap()
    }

    #[test]
    fn parameters_of_a_challenge_are_found_quoted_or_not() {
        let challenge = "realm=\"https://auth.example/token?a=b,c\", Service=registry,scope=\"repository:a:pull\"";
        assert_eq!(parameter(challenge, "realm").as_deref(), Some("https://auth.example/token?a=b,c"));
        assert_eq!(parameter(challenge, "service").as_deref(), Some("registry"));
        assert_eq!(parameter(challenge, "error"), None);
        assert_eq!(parameter("realm=\"unended", "realm"), None);
    }

    #[test]
    fn a_challenge_names_a_place_for_tokens_or_asks_at_once() {
        let asked = |header: &str| match challenge(header, &base(), "team/shop") {
            Ok(Challenge::Token(realm)) => realm.to_string(),
            Ok(Challenge::Basic) => "basic".to_owned(),
            Err(refusal) => format!("{:?}", refusal.code),
        };
        assert_eq!(asked("BASIC realm=\"x\""), "basic");
        let there = "https://auth.example/t?service=r&scope=repository%3Ateam%2Fshop%3Apull";
        assert_eq!(asked("Bearer realm=\"https://auth.example/t\",service=r"), there);
        for bad in ["", "Digest realm=\"https://a/\"", "Bearer realm=\"file:///etc/passwd\"", "Bearer realm=\"https://me:pw@a/\""] {
            assert_eq!(asked(bad), "Unsupported", "{bad}");
        }
    }

    #[test]
    fn only_a_manifest_with_one_chart_is_one() {
        let digest = Digest::of(b"chart");
        let one = format!(r#"{{ "mediaType": "{CHART}", "digest": "{digest}", "size": 5 }}"#);
        let manifest = |layers: &str| layer(format!(r#"{{ "layers": [{layers}] }}"#).as_bytes());
        assert_eq!(manifest(&one), Ok(digest));
        assert!(manifest("").is_err() && manifest(&format!("{one},{one}")).is_err());
        assert!(manifest(&one.replace("\"size\": 5", "\"size\": 999999999")).is_err());
        assert!(manifest(&one.replace("sha256:", "sha512:")).is_err());
        assert!(layer(b"<html>").is_err());
    }

    #[test]
    fn an_index_says_where_the_one_is_that_has_name_version_and_digest() {
        let digest = Digest::of(b"chart");
        let index = format!(
            "apiVersion: v1\nentries:\n  shop:\n  - {{ version: 2.0.0, urls: [new.tgz] }}\n  - {{ version: \"1.0\", digest: {}, urls: [old/shop.tgz] }}\n",
            digest.hex()
        );
        let at = |name: &str, version: &str, digest| {
            located(index.as_bytes(), &base(), name, version, &digest).map_err(|refusal| refusal.code).map(|url| url.to_string())
        };
        assert_eq!(at("shop", "1.0", digest).as_deref(), Ok("https://charts.example/stable/old/shop.tgz"));
        assert_eq!(
            at("shop", "2.0.0", digest).as_deref(),
            Ok("https://charts.example/stable/new.tgz"),
            "what the archive is, it says itself"
        );
        assert_eq!(at("shop", "1.0", Digest::of(b"other")), Err(Code::Invalid));
        assert_eq!(at("shop", "3", digest), Err(Code::Absent));
        assert_eq!(at("other", "1.0", digest), Err(Code::Absent));
        let refused = |index: &[u8]| located(index, &base(), "shop", "1", &digest).map(drop).map_err(|refusal| refusal.code);
        assert_eq!(refused(b"\xff"), Err(Code::Invalid));
        assert_eq!(refused(b"entries: ["), Err(Code::Invalid));
        for bad in ["file:///etc/passwd", "https://me:pw@cdn.example/shop.tgz", "javascript:1", "https://"] {
            assert_eq!(
                refused(format!("entries: {{ shop: [{{ version: '1', urls: [\"{bad}\"] }}] }}").as_bytes()),
                Err(Code::Invalid),
                "{bad}"
            );
        }
    }
}
