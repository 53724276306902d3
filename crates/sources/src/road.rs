//! The road to a server over https: whose certificates count, through which proxy, and who we are there. One for all that is
//! asked over https, in configuration and on the wire.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use reqwest::header::HeaderValue;
use reqwest::{Certificate, Proxy, Url};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use trued_doors::Answer;
use trued_model::{Code, Name, Refusal, Secret};

/// A road as configuration says it.
#[derive(Clone, Default)]
pub(crate) struct Road {
    /// Certificates that are trusted instead of the system's, PEM.
    pub(crate) ca: Option<PathBuf>,
    pub(crate) proxy: Option<ProxyTo>,
}

/// A road that is written by itself.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRoad {
    ca: Option<PathBuf>,
    proxy: Option<WrittenProxy>,
}

impl Road {
    /// Reads settings of [`schema`]; null is a road of which nothing is said.
    pub(crate) fn read(settings: &Value) -> Answer<Road> {
        if settings.is_null() {
            return Ok(Road::default());
        }
        let written = WrittenRoad::deserialize(settings).map_err(|error| Refusal::new(Code::Invalid, error.to_string()))?;
        Ok(Road { ca: written.ca, proxy: written.proxy.map(ProxyTo::read).transpose()? })
    }
}

/// A proxy, and who we are to it.
#[derive(Clone)]
pub(crate) struct ProxyTo {
    pub(crate) url: Url,
    pub(crate) identity: Option<(String, Name)>,
}

/// As it is written: an address, or one with credentials.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum WrittenProxy {
    Url(String),
    Whole(Proxied),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Proxied {
    url: String,
    username: Option<String>,
    password: Option<SecretName>,
}

/// `{ secret: NAME }`. What stands there instead may be a secret itself, so a refusal does not repeat it.
#[derive(Deserialize)]
#[serde(try_from = "Value")]
pub(crate) struct SecretName {
    pub(crate) secret: Name,
}

impl TryFrom<Value> for SecretName {
    type Error = &'static str;

    fn try_from(value: Value) -> Result<SecretName, &'static str> {
        let only = value.as_object().filter(|object| object.len() == 1).and_then(|object| object.get("secret"));
        let secret = only.and_then(Value::as_str).and_then(|name| name.parse().ok());
        secret.map(|secret| SecretName { secret }).ok_or("token, password and key name a secret: { secret: NAME }")
    }
}

impl ProxyTo {
    pub(crate) fn read(written: WrittenProxy) -> Answer<ProxyTo> {
        match written {
            WrittenProxy::Url(url) => Ok(ProxyTo { url: proxy_url(&url)?, identity: None }),
            WrittenProxy::Whole(Proxied { url, username, password }) => {
                let identity = match (username, password) {
                    (None, None) => None,
                    (Some(user), Some(password)) if is_user(&user) => Some((user, password.secret)),
                    _ => return Err(unread("it has a username with a password, or neither")),
                };
                Ok(ProxyTo { url: proxy_url(&url)?, identity })
            }
        }
    }
}

/// Whether a name may stand before the colon of credentials.
pub(crate) fn is_user(name: &str) -> bool {
    !name.contains(':') && !name.chars().any(char::is_control)
}

fn unread(why: &str) -> Refusal {
    Refusal::new(Code::Invalid, format!("read the proxy: {why}")).help("write http://host:port")
}

/// Reads the address of a proxy: `http://host:port`, or `https://` where it takes encrypted connections.
fn proxy_url(text: &str) -> Answer<Url> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.host_str().is_some());
    let url = url.ok_or_else(|| unread("it is not an address such as http://host:port"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            unread("it holds a user name or a password").help("name them: proxy: { url: ..., username: NAME, password: { secret: NAME } }")
        );
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err(unread("it has more than a host and a port"));
    }
    Ok(url)
}

/// A proxy as a client takes it.
pub(crate) fn proxy(at: &Url, identity: Option<(&str, &Secret)>) -> Answer<Proxy> {
    let proxy = Proxy::all(at.clone()).map_err(|error| unread(&causes(&error)))?;
    Ok(match identity {
        Some((user, password)) => proxy.custom_http_auth(authorization(user, password)?),
        None => proxy,
    })
}

/// Who we are, as a header that is never shown.
pub(crate) fn authorization(user: &str, password: &Secret) -> Answer<HeaderValue> {
    let plain = Secret::new([user.as_bytes(), b":", password.reveal().trim_ascii()].concat());
    let encoded = Secret::new(format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(plain.reveal())).into_bytes());
    let mut value = HeaderValue::from_bytes(encoded.reveal())
        .map_err(|_| Refusal::new(Code::Invalid, "prepare credentials: they do not fit into a header"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Reads the certificates of a PEM file.
pub(crate) fn certificates(file: &Path) -> Answer<Vec<Certificate>> {
    let pem = std::fs::read(file).map_err(|error| {
        let errno = rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO);
        crate::disk::refuse(&format!("ca {}", file.display()), errno)
    })?;
    let found = Certificate::from_pem_bundle(&pem).unwrap_or_default();
    match found.is_empty() {
        false => Ok(found),
        true => Err(Refusal::new(Code::Invalid, format!("read ca {}: it holds no PEM certificate", file.display()))),
    }
}

/// The schema of the settings that say a road; `otherwise` is which proxy is gone through where none is said.
pub(crate) fn schema(otherwise: &str) -> Map<String, Value> {
    let password = json!({
        "type": "object", "additionalProperties": false, "required": ["secret"], "description": "The password that goes with it.",
        "properties": { "secret": { "type": "string", "description": "The name of a secret." } }
    });
    let properties = json!({
        "ca": { "type": "string", "description": "A PEM file of certificates that are trusted instead of the system's; those are found where OpenSSL looks, or where SSL_CERT_FILE and SSL_CERT_DIR say." },
        "proxy": {
            "type": ["string", "object"], "additionalProperties": false, "required": ["url"],
            "description": format!("A proxy to go through to an https server: http://host:port. Default: {otherwise}."),
            "properties": {
                "url": { "type": "string", "description": "http://host:port, without a user name and a password." },
                "username": { "type": "string", "description": "The user name for the proxy." },
                "password": password
            }
        }
    });
    properties.as_object().cloned().unwrap_or_default()
}

/// What is behind an error: the causes, without the outermost words, which may hold a URL.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = String::new();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.ends_with(&words) {
            text = if text.is_empty() { words } else { format!("{text}: {words}") };
        }
        next = cause.source();
    }
    if text.is_empty() { "no more is known".to_owned() } else { text }
}
