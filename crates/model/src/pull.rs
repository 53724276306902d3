//! What a render needs from elsewhere, pinned by its digest. Values only.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Digest, Name, Place};

/// An archive that a render needs, where it is, and what it must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pull {
    pub from: PullFrom,
    /// Of the manifest in a registry, of the archive itself elsewhere.
    pub digest: Digest,
    /// Who we are there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The secret that proves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Name>,
    /// Whether it is asked without encryption.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub plain_http: bool,
    /// Patterns of the addresses that were granted, when repository data named it; `None` when the operator did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reach: Option<Vec<String>>,
    /// How it is asked, as its puller's settings; null where the operator says nothing of it.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub road: Value,
    /// Where it is written.
    pub origin: Place,
}

impl Pull {
    /// What is asked with encryption, as nobody, the way that everything is asked.
    pub fn of(from: PullFrom, digest: Digest, origin: Place) -> Pull {
        Pull { from, digest, user: None, password: None, plain_http: false, reach: None, road: Value::Null, origin }
    }
}

/// Where an archive is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PullFrom {
    /// A registry of the OCI distribution specification.
    Oci { registry: String, repository: String },
    /// A repository of charts: an `index.yaml` and archives.
    Repository { url: String, name: String, version: String },
}

impl PullFrom {
    /// Reads `oci://registry/repository`; `None` where it is no such thing. Tags and digests stand elsewhere.
    pub fn oci(written: &str) -> Option<PullFrom> {
        let (registry, repository) = written.strip_prefix("oci://")?.split_once('/')?;
        let (host, port) = registry.split_once(':').map_or((registry, None), |(host, port)| (host, Some(port)));
        let good_host = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'));
        let good_port = port.is_none_or(|port| port.parse::<u16>().is_ok());
        let ends = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-');
        let good = |part: &str| ends(part.as_bytes().first()) && ends(part.as_bytes().last()) && part.bytes().all(inner);
        (good_host && good_port && repository.len() <= 255 && repository.split('/').all(good))
            .then(|| PullFrom::Oci { registry: registry.to_owned(), repository: repository.to_owned() })
    }

    /// Its address, as an operator grants it.
    pub fn address(&self, plain_http: bool) -> String {
        match self {
            PullFrom::Oci { registry, repository } => {
                format!("{}://{registry}/{repository}", if plain_http { "http" } else { "https" })
            }
            PullFrom::Repository { url, .. } => url.clone(),
        }
    }

    /// What it is, for people.
    pub fn words(&self) -> String {
        match self {
            PullFrom::Oci { registry, repository } => format!("oci://{registry}/{repository}"),
            PullFrom::Repository { url, name, version } => format!("{name} {version} of {url}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_a_registry_is_a_host_and_a_path_and_nothing_else() {
        for good in ["oci://ghcr.io/team/charts/shop", "oci://127.0.0.1:5000/shop", "oci://r.example/a_b/c.d-e"] {
            assert!(PullFrom::oci(good).is_some(), "{good}");
        }
        for bad in [
            "ghcr.io/shop",
            "oci://ghcr.io",
            "oci:///shop",
            "oci://ghcr.io/",
            "oci://ghcr.io/../shop",
            "oci://ghcr.io/shop:1.0",
            "oci://ghcr.io/shop@sha256:00",
            "oci://user@ghcr.io/shop",
            "oci://ghcr.io:99999/shop",
            "oci://ghcr.io/a//b",
            "oci://ghcr.io/shop?x",
            "oci://ghcr.io/Shop",
        ] {
            assert_eq!(PullFrom::oci(bad), None, "{bad}");
        }
    }
}
