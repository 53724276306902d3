//! `http`: an address that answers as expected.

use std::error::Error as _;
use std::io;
use std::sync::Arc;

use reqwest::{Client, Method, Response, Url};
use serde::Deserialize;
use serde_json::{Value, json};
use trued_doors::{BoxFuture, Check, Checking, Descriptor};
use trued_model::Duration;
use trued_model::body::Checked;
use trued_net::{Denied, Filtered, Reach, Trust, admit, staying};

use crate::patience::{Failed, Patience};
use crate::settings::{bounded, failed, read, span};

/// Bytes of an answer in which the expected text is looked for.
const BODY_CAP: usize = 1 << 20;

/// Asks an address; it passes when status and body are as expected.
pub struct Http;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    url: String,
    #[serde(default)]
    status: Statuses,
    #[serde(default)]
    body: String,
    #[serde(default)]
    method: How,
    #[serde(default = "within")]
    within: Duration,
    #[serde(default = "every")]
    every: Duration,
    #[serde(default = "timeout")]
    timeout: Duration,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Statuses {
    One(u16),
    Any(Vec<u16>),
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum How {
    #[default]
    Get,
    Head,
}

fn within() -> Duration {
    Duration::from_secs(30)
}

fn every() -> Duration {
    Duration::from_secs(1)
}

fn timeout() -> Duration {
    Duration::from_secs(5)
}

impl Default for Statuses {
    fn default() -> Statuses {
        Statuses::One(200)
    }
}

impl Statuses {
    fn include(&self, status: u16) -> bool {
        match self {
            Statuses::One(one) => *one == status,
            Statuses::Any(any) => any.contains(&status),
        }
    }

    fn words(&self) -> String {
        match self {
            Statuses::One(one) => one.to_string(),
            Statuses::Any(any) => any.iter().map(u16::to_string).collect::<Vec<_>>().join(" or "),
        }
    }
}

impl Check for Http {
    fn describe(&self) -> Descriptor {
        let status = json!({ "type": "integer", "minimum": 100, "maximum": 599 });
        Descriptor {
            kind: "http",
            summary: "an address that answers as expected",
            schema: json!({
                "type": "object",
                "required": ["url"],
                "additionalProperties": false,
                "properties": {
                    "url": { "type": "string", "pattern": "^https?://", "description": "the address that is asked" },
                    "status": {
                        "type": ["integer", "array"],
                        "minimum": 100,
                        "maximum": 599,
                        "items": status,
                        "minItems": 1,
                        "description": "the status that is expected, or a list of those that are; 200",
                    },
                    "body": { "type": "string", "description": "text that the answer must contain, in its first 1 MiB" },
                    "method": { "enum": ["GET", "HEAD"], "description": "GET, or HEAD to ask for no body" },
                    "within": span("how long to try again until it passes; 30s"),
                    "every": span("the pause between two tries; 1s"),
                    "timeout": span("how long one try may take; 5s"),
                },
            }),
            example: json!({ "url": "http://127.0.0.1/healthz", "body": "ok", "within": "30s" }),
            paths: &[],
            pulls: &[],
        }
    }

    fn check<'a>(&'a self, settings: &'a Value, with: &'a Checking) -> BoxFuture<'a, Checked> {
        Box::pin(async move { check(settings, with.reach.as_deref()).await.unwrap_or_else(|unusable| unusable) })
    }
}

async fn check(settings: &Value, reach: Option<&[String]>) -> Result<Checked, Checked> {
    let settings: Settings = read("http", settings)?;
    bounded("http", settings.within)?;
    let unusable = |why: &str| failed("http", format!("its settings cannot be used: {why}"));
    let url = Url::parse(&settings.url).map_err(|error| unusable(&format!("`url` is not an address: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(unusable("`url` must begin with http:// or https://"));
    }
    if settings.method == How::Head && !settings.body.is_empty() {
        return Err(unusable("an answer to HEAD has no body to look into"));
    }
    let shown = without_credentials(&url);
    let check = format!("http {shown}");
    let trust = match reach {
        None => Trust::Operator,
        Some(patterns) => {
            Trust::Granted(patterns.iter().map(|pattern| Reach::read(pattern)).collect::<Result<_, _>>().map_err(|why| unusable(&why))?)
        }
    };
    let scope = admit(&url, &trust).map_err(|why| failed(&check, format!("{shown} {why}")))?;
    let client = client(&url, trust, Filtered::new(scope))
        .map_err(|error| failed(&check, format!("no client could be set up: {}", innermost(&error))))?;
    let mut tries = Patience { within: settings.within, every: settings.every, timeout: settings.timeout }.start();
    loop {
        let limit = tries.limit();
        let answer = tokio::time::timeout(limit.to_std(), ask(&client, &url, &settings)).await;
        match answer.unwrap_or_else(|_| Err(format!("did not answer within {limit}"))) {
            Ok(seen) => return Ok(Checked { check, passed: true, why: format!("{shown} {seen}") }),
            Err(seen) => {
                let not_yet = Failed { why: format!("{shown} {seen}"), again: true };
                tries.after(not_yet).await.map_err(|why| failed(&check, why))?;
            }
        }
    }
}

/// Asks once. Words that continue the address: what was seen.
async fn ask(client: &Client, url: &Url, settings: &Settings) -> Result<String, String> {
    let method = match settings.method {
        How::Get => Method::GET,
        How::Head => Method::HEAD,
    };
    let response = client.request(method, url.clone()).send().await.map_err(|error| not_answered(&error))?;
    let status = response.status().as_u16();
    if !settings.status.include(status) {
        let aside = match response.status().is_redirection() {
            true => " (redirects to other hosts, and to what was not granted, are not followed)",
            false => "",
        };
        return Err(format!("answered {status}{aside}, expected {}", settings.status.words()));
    }
    if settings.body.is_empty() {
        return Ok(format!("answered {status}"));
    }
    if contains(response, settings.body.as_bytes()).await? {
        Ok(format!("answered {status} with the expected text"))
    } else {
        Err(format!("answered {status} without the expected text `{}`", settings.body))
    }
}

/// Looks for a text in the first [`BODY_CAP`] bytes of an answer.
async fn contains(mut response: Response, text: &[u8]) -> Result<bool, String> {
    let mut body: Vec<u8> = Vec::new();
    while body.len() < BODY_CAP {
        let Some(chunk) = response.chunk().await.map_err(|error| format!("broke off its answer: {}", innermost(&error)))? else { break };
        body.extend_from_slice(&chunk[..chunk.len().min(BODY_CAP - body.len())]);
    }
    Ok(body.windows(text.len()).any(|window| window == text))
}

/// A client that uses no proxy of the environment, never carries a question to another host, and reaches no address that
/// was not granted.
fn client(url: &Url, trust: Trust, resolver: Filtered) -> reqwest::Result<Client> {
    // The process may have chosen one already; then that one stays.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder().no_proxy().user_agent("trued").redirect(staying(url.clone(), trust)).dns_resolver(Arc::new(resolver));
    // Without TLS there is no need for the machine's certificates, which may not be there.
    if url.scheme() == "http" { client.tls_certs_only([]).build() } else { client.build() }
}

fn not_answered(error: &reqwest::Error) -> String {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(kind) = inner.downcast_ref::<io::Error>().map(io::Error::kind)
            && kind == io::ErrorKind::ConnectionRefused
        {
            return "could not be reached: connection refused".to_owned();
        }
        if let Some(denied) = inner.downcast_ref::<Denied>() {
            return format!("is not asked: {denied}");
        }
        cause = inner.source();
    }
    let how = if error.is_connect() { "could not be reached" } else { "gave no answer" };
    format!("{how}: {}", innermost(error))
}

/// The last cause of an error, which says most; the outer ones repeat the address.
fn innermost(error: &reqwest::Error) -> String {
    let Some(mut cause) = error.source() else { return "the request could not be made".to_owned() };
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

fn without_credentials(url: &Url) -> Url {
    let mut shown = url.clone();
    // Only an address that cannot have credentials refuses to lose them.
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    shown
}
