//! HTTP for archives: bounded in bytes, to where it was granted, by name and after the name was resolved. Whoever a server sends us
//! on to gets no credentials, and is nobody's inside.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::Resolve as _;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue, LOCATION, WWW_AUTHENTICATE};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Proxy, Response, StatusCode, Url};
use trued_doors::Answer;
use trued_model::{Code, Name, Pull, Refusal, Secret};
use trued_net::{Filtered, Reach, Scope, Trust, judged, same_origin};

use super::{distrust, said};
use crate::road::{self, Road, authorization, causes};

const CONNECT: Duration = Duration::from_secs(20);
/// How long a server may say nothing.
const IDLE: Duration = Duration::from_secs(30);
const REDIRECTIONS: usize = 5;
/// How long this machine may look for what a name means that a proxy will look up anyway.
const LOOKUP: Duration = Duration::from_secs(10);

/// The way to one place, and those that it sends us on to.
pub(super) struct Wire {
    named: Url,
    /// How far the named place may lead.
    scope: Scope,
    trust: Trust,
    identity: Option<HeaderValue>,
    /// Whom https is believed, instead of the system's authorities.
    ca: Option<Vec<Certificate>>,
    /// What https goes through.
    proxy: Option<Proxy>,
}

/// What came of a request.
pub(super) enum Got {
    Bytes(Vec<u8>),
    /// The server asks who we are.
    Challenged(String),
}

impl Wire {
    /// Prepares the way. Nothing is sent yet.
    pub fn new(pull: &Pull, secrets: &BTreeMap<Name, Secret>) -> Answer<Wire> {
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
        let secret = |name: &Name| secrets.get(name).ok_or_else(|| Refusal::new(Code::Absent, format!("secret {name} is not here")));
        let identity = match (&pull.user, &pull.password) {
            (Some(user), Some(password)) => Some(authorization(user, secret(password)?)?),
            _ => None,
        };
        if identity.is_some() && named.scheme() != "https" && !is_this_machine(&named) {
            return Err(Refusal::new(Code::Invalid, "credentials are not sent without encryption").help("use https"));
        }
        let road = Road::read(&pull.road)?;
        let ca = road.ca.as_deref().map(road::certificates).transpose()?;
        let through = |to: &road::ProxyTo| {
            let identity = to.identity.as_ref().map(|(user, password)| Ok((user.as_str(), secret(password)?))).transpose()?;
            road::proxy(&to.url, identity)
        };
        let proxy = road.proxy.as_ref().map(through).transpose()?;
        Ok(Wire { named, scope, trust, identity, ca, proxy })
    }

    pub fn named(&self) -> &Url {
        &self.named
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
                let to = response.headers().get(LOCATION).and_then(|to| to.to_str().ok()).and_then(|to| said::place(&url, to));
                url = to.ok_or_else(|| Refusal::new(Code::Invalid, "the server sends us on to no address"))?;
                continue;
            }
            return self.received(response, &url, cap).await;
        }
        Err(Refusal::new(Code::Invalid, format!("the server sends us on more than {REDIRECTIONS} times")))
    }

    /// Asks whoever the named place names for a token. It gets who we are only over a way that nobody can listen on.
    pub async fn get_token(&self, url: &Url, cap: u64) -> Answer<Got> {
        let safe = url.scheme() == "https" || same_origin(url, &self.named);
        let response = self.ask(url, "application/json", self.identity.as_ref().filter(|_| safe)).await?;
        self.received(response, url, cap).await
    }

    async fn ask(&self, url: &Url, accept: &str, authorized: Option<&HeaderValue>) -> Answer<Response> {
        let host = url.host_str().unwrap_or_default().to_owned();
        let unusable = |error: reqwest::Error| distrust::no_authorities(&host, &error);
        let scope = self.scope_of(url)?;
        judged(url, scope).map_err(|why| denied(format!("{host} {why}")))?;
        let builder = Client::builder().connect_timeout(CONNECT).read_timeout(IDLE).redirect(Policy::none()).no_proxy().user_agent("trued");
        let builder = match (url.scheme(), &self.ca) {
            ("https", None) => builder,
            ("https", Some(ca)) => builder.tls_certs_only(ca.iter().cloned()),
            _ => builder.tls_certs_only([]),
        };
        let builder = match self.proxy.as_ref().filter(|_| url.scheme() == "https") {
            // The proxy is the operator's own word, so its name leads where it leads; what it is sent to is judged here.
            Some(proxy) => {
                beforehand(&host, scope).await?;
                builder.proxy(proxy.clone())
            }
            None => builder.dns_resolver(Arc::new(Filtered::new(scope))),
        };
        let client = builder.build().map_err(unusable)?;
        let mut request = client.get(url.clone()).header(ACCEPT, accept);
        if let Some(authorized) = authorized {
            request = request.header(AUTHORIZATION, authorized.clone());
        }
        request.send().await.map_err(|error| self.unreachable(url, &error))
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

    /// Reads an answer to its end, within bounds.
    async fn received(&self, mut response: Response, url: &Url, cap: u64) -> Answer<Got> {
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
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unreachable(url, &error))? {
            if (bytes.len() + chunk.len()) as u64 > cap {
                return Err(Refusal::new(Code::TooLarge, format!("{host} sends more than {cap} bytes")));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(Got::Bytes(bytes))
    }

    /// No answer came, or not to its end.
    fn unreachable(&self, url: &Url, error: &reqwest::Error) -> Refusal {
        use std::error::Error as _;
        let host = url.host_str().unwrap_or_default();
        if error.is_timeout() {
            return Refusal::new(Code::TimedOut, format!("{host} fell silent")).help("it is tried again");
        }
        let mut cause = error.source();
        while let Some(inner) = cause {
            if let Some(why) = inner.downcast_ref::<trued_net::Denied>() {
                return denied(why.to_string());
            }
            cause = inner.source();
        }
        if let Some(refusal) = distrust::of(url, self.ca.is_some(), error) {
            return refusal;
        }
        let why = causes(error);
        match &self.proxy {
            Some(_) if why.contains(WHO) => {
                let help = "write `proxy: { url: …, username: …, password: { secret: NAME } }` of that proxy, or correct its secret";
                Refusal::new(Code::Denied, format!("the proxy on the way to {host} asks who we are")).help(help)
            }
            Some(_) => Refusal::new(Code::Unreachable, format!("{host} cannot be asked through its proxy: {why}"))
                .help("it is tried again; check `proxy` under `registries` in the operator's file"),
            None => Refusal::new(Code::Unreachable, format!("{host} cannot be asked: {why}")).help("it is tried again"),
        }
    }
}

/// How the client for HTTP says that a proxy answered with 407.
const WHO: &str = "proxy authorization required";

fn denied(message: String) -> Refusal {
    Refusal::new(Code::Denied, message).help("the operator grants it: `reach: [\"https://HOST/*\"]`")
}

/// Looks up beforehand what a name means that a proxy will look up: where this machine knows that it leads further than it may, it
/// is not asked for. What this machine does not know is the proxy's to decide.
async fn beforehand(host: &str, scope: Scope) -> Answer<()> {
    let Ok(name) = host.parse() else { return Ok(()) };
    if scope == Scope::Anywhere {
        return Ok(());
    }
    let found = tokio::time::timeout(LOOKUP, Filtered::new(scope).resolve(name)).await;
    match found {
        Ok(Err(error)) => error.downcast_ref::<trued_net::Denied>().map_or(Ok(()), |why| Err(denied(why.to_string()))),
        _ => Ok(()),
    }
}

fn is_this_machine(url: &Url) -> bool {
    matches!(url.host_str(), Some("127.0.0.1" | "[::1]" | "localhost"))
}
