//! HTTP for archives: bounded in bytes, to where it was granted, by name and after the name was resolved. Whoever a server sends us
//! on to gets no credentials, and is nobody's inside.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue, LOCATION, WWW_AUTHENTICATE};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode, Url};
use trued_doors::Answer;
use trued_model::{Code, Pull, Refusal, Secret};
use trued_net::{Filtered, Reach, Scope, Trust, judged, same_origin};

use crate::git::{Identity, authorization};

const CONNECT: Duration = Duration::from_secs(20);
/// How long a server may say nothing.
const IDLE: Duration = Duration::from_secs(30);
const REDIRECTIONS: usize = 5;

/// The way to one place, and those that it sends us on to.
pub(super) struct Wire {
    named: Url,
    /// How far the named place may lead.
    scope: Scope,
    trust: Trust,
    identity: Option<HeaderValue>,
}

/// What came of a request.
pub(super) enum Got {
    Bytes(Vec<u8>),
    /// The server asks who we are.
    Challenged(String),
}

impl Wire {
    /// Prepares the way. Nothing is sent yet.
    pub fn new(pull: &Pull, password: Option<Secret>) -> Answer<Wire> {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            return Err(Refusal::new(Code::Broken, "prepare a client: the program installed no cryptography"));
        }
        let address = pull.from.address(pull.plain_http);
        let denied = |why: &str| {
            Refusal::new(Code::Denied, format!("{address} {why}")).help("the operator grants it: `reach: [\"https://HOST/*\"]`")
        };
        let trust = match &pull.reach {
            None => Trust::Operator,
            Some(patterns) => Trust::Granted(patterns.iter().filter_map(|pattern| Reach::read(pattern).ok()).collect()),
        };
        let named = Url::parse(&address).map_err(|error| Refusal::new(Code::Invalid, format!("{address} is no address: {error}")))?;
        let scope = trust.scope(&address).ok_or_else(|| denied("is not an address that the operator granted"))?;
        if named.scheme() != "https" && !pull.plain_http {
            let help = "write `https://`, or `plain_http: true` where nobody can listen on the way";
            return Err(Refusal::new(Code::Invalid, format!("{address} is not encrypted")).help(help));
        }
        let identity = match (&pull.user, password) {
            (Some(user), Some(password)) => Some(authorization(&Identity { user: user.clone(), password })?),
            _ => None,
        };
        if identity.is_some() && named.scheme() != "https" && !is_this_machine(&named) {
            return Err(Refusal::new(Code::Invalid, "credentials are not sent without encryption").help("use https"));
        }
        Ok(Wire { named, scope, trust, identity })
    }

    pub fn scheme(&self) -> &str {
        self.named.scheme()
    }

    /// Who we are, to the named place.
    pub fn identity(&self) -> Option<&HeaderValue> {
        self.identity.as_ref()
    }

    pub fn denied(&self) -> Refusal {
        match self.identity {
            Some(_) => {
                Refusal::new(Code::Denied, "the server does not accept the credentials").help("check the secret and what it may read")
            }
            None => Refusal::new(Code::Denied, "the server asks for credentials")
                .help("write `user: NAME` and `password: { secret: NAME }`; without them a wrong name looks the same"),
        }
    }

    /// Gets what is at an address, `authorized` where that is of the named place.
    pub async fn get(&self, url: &str, accept: &str, authorized: Option<&HeaderValue>, cap: u64) -> Answer<Got> {
        let mut url = Url::parse(url).map_err(|error| Refusal::new(Code::Invalid, format!("asked to go to no address: {error}")))?;
        for _ in 0..=REDIRECTIONS {
            let authorized = authorized.filter(|_| same_origin(&url, &self.named));
            let response = self.ask(&url, accept, authorized).await?;
            if response.status().is_redirection() {
                let to = response.headers().get(LOCATION).and_then(|to| to.to_str().ok()).and_then(|to| url.join(to).ok());
                url = to.ok_or_else(|| Refusal::new(Code::Invalid, "the server sends us on to no address"))?;
                continue;
            }
            return received(response, &url, cap).await;
        }
        Err(Refusal::new(Code::Invalid, format!("the server sends us on more than {REDIRECTIONS} times")))
    }

    /// Asks whoever the named place names for a token. It gets who we are only over a way that nobody can listen on.
    pub async fn get_token(&self, url: &str, cap: u64) -> Answer<Got> {
        let url = Url::parse(url).map_err(|error| Refusal::new(Code::Invalid, format!("asked to go to no address: {error}")))?;
        let safe = url.scheme() == "https" || same_origin(&url, &self.named);
        let response = self.ask(&url, "application/json", self.identity.as_ref().filter(|_| safe)).await?;
        received(response, &url, cap).await
    }

    async fn ask(&self, url: &Url, accept: &str, authorized: Option<&HeaderValue>) -> Answer<Response> {
        let host = url.host_str().unwrap_or_default().to_owned();
        let unusable = |error: reqwest::Error| Refusal::new(Code::Invalid, format!("prepare a client for {host}: {error}"));
        let scope = self.scope_of(url)?;
        judged(url, scope).map_err(|denied| {
            Refusal::new(Code::Denied, format!("{host} {denied}")).help("the operator grants it: `reach: [\"https://HOST/*\"]`")
        })?;
        let builder = Client::builder().connect_timeout(CONNECT).read_timeout(IDLE).redirect(Policy::none()).no_proxy().user_agent("trued");
        let builder = if url.scheme() == "https" { builder } else { builder.tls_certs_only([]) };
        let client = builder.dns_resolver(Arc::new(Filtered::new(scope))).build().map_err(unusable)?;
        let mut request = client.get(url.clone()).header(ACCEPT, accept);
        if let Some(authorized) = authorized {
            request = request.header(AUTHORIZATION, authorized.clone());
        }
        request.send().await.map_err(|error| unreachable(&host, error))
    }

    /// How far a place may lead: the named one as far as it was granted; others, which nobody named, not inside.
    fn scope_of(&self, url: &Url) -> Answer<Scope> {
        if same_origin(url, &self.named) {
            return Ok(self.scope);
        }
        if url.scheme() != "https" && self.named.scheme() == "https" {
            return Err(Refusal::new(Code::Denied, "the server sends us on to a place that is not encrypted"));
        }
        Ok(match &self.trust {
            Trust::Operator => Scope::Public,
            granted @ Trust::Granted(_) => granted.scope(url.as_str()).unwrap_or(Scope::Public),
        })
    }
}

fn is_this_machine(url: &Url) -> bool {
    matches!(url.host_str(), Some("127.0.0.1" | "[::1]" | "localhost"))
}

/// Reads an answer to its end, within bounds.
async fn received(mut response: Response, url: &Url, cap: u64) -> Answer<Got> {
    let host = url.host_str().unwrap_or_default().to_owned();
    match response.status() {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED => {
            let challenge = response.headers().get(WWW_AUTHENTICATE).and_then(|said| said.to_str().ok()).unwrap_or_default();
            return Ok(Got::Challenged(challenge.to_owned()));
        }
        StatusCode::FORBIDDEN => {
            return Err(Refusal::new(Code::Denied, format!("{host} forbids it")).help("check what the credentials may read"));
        }
        StatusCode::NOT_FOUND | StatusCode::GONE => {
            return Err(Refusal::new(Code::Absent, format!("{host} has no such thing")).help("check the address and the digest"));
        }
        status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            return Err(Refusal::new(Code::Unreachable, format!("{host} answers {status}")).help("it is tried again"));
        }
        status => return Err(Refusal::new(Code::Invalid, format!("{host} answers {status}"))),
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| unreachable(&host, error))? {
        if (bytes.len() + chunk.len()) as u64 > cap {
            return Err(Refusal::new(Code::TooLarge, format!("{host} sends more than {cap} bytes")));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Got::Bytes(bytes))
}

fn unreachable(host: &str, error: reqwest::Error) -> Refusal {
    use std::error::Error as _;
    if error.is_timeout() {
        return Refusal::new(Code::TimedOut, format!("{host} fell silent")).help("it is tried again");
    }
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(denied) = inner.downcast_ref::<trued_net::Denied>() {
            return Refusal::new(Code::Denied, denied.to_string()).help("the operator grants it: `reach: [\"https://HOST/*\"]`");
        }
        cause = inner.source();
    }
    Refusal::new(Code::Unreachable, format!("{host} cannot be asked: {}", error.without_url())).help("it is tried again")
}
