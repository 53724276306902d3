//! HTTP for fetching: one client per fetch, bounded in bytes and time, that stays on the configured host and gives
//! credentials to nobody else. gix speaks Git's protocol over it.

use std::any::Any;
use std::fmt;
use std::io::{self, BufRead, BufReader, Cursor, Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gix_transport::client::blocking_io::http::{GetResponse, Http, PostBodyDataKind, PostResponse};
use reqwest::blocking::{Client, RequestBuilder, Response};
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use reqwest::{StatusCode, Url};
use trued_doors::Answer;
use trued_model::{Code, Refusal, Secret};
use trued_net::{Trust, same_origin, staying};

use super::answers::{broken_off, refused, unreachable};
use super::url::WebUrl;
use super::watch::{Bounds, Watched};
use crate::road::{self, causes};

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(20);

/// What says who we are to a server.
pub(super) struct Identity {
    pub(super) user: String,
    pub(super) password: Secret,
}

/// One fetch's way to one server.
pub(super) struct Wire {
    client: Client,
    url: WebUrl,
    authorization: Option<HeaderValue>,
    redirected: Option<String>,
    bounds: Bounds,
}

/// How a client finds its way to the server.
pub(super) struct Course<'a> {
    pub(super) url: &'a WebUrl,
    pub(super) identity: Option<Identity>,
    /// Certificates that are trusted instead of the system's, PEM.
    pub(super) ca: Option<&'a Path>,
    /// The proxy to go through, with who we are to it; without one, that of the environment.
    pub(super) proxy: Option<(&'a Url, Option<Identity>)>,
}

impl Wire {
    /// Prepares a client. Nothing is sent yet.
    pub(super) fn new(course: Course<'_>, bounds: Bounds) -> Answer<Wire> {
        let Course { url, identity, ca, proxy } = course;
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            return Err(Refusal::new(Code::Broken, "prepare a client: the program installed no cryptography"));
        }
        // The operator named the server; where it sends us on to was named by nobody, so only its own places count.
        let stay = staying(url.as_url().clone(), Trust::Operator);
        let idle = bounds.idle;
        let mut builder = Client::builder().connect_timeout(CONNECT.min(idle)).timeout(idle).redirect(stay).user_agent("trued");
        builder = match (url.encrypted(), ca) {
            // Nothing is encrypted on the way to this machine itself, so there is nobody to trust or to go through.
            (false, _) => builder.tls_certs_only([]).no_proxy(),
            (true, None) => builder,
            (true, Some(ca)) => builder.tls_certs_only(road::certificates(ca)?),
        };
        let unusable =
            |error: reqwest::Error| Refusal::new(Code::Invalid, format!("prepare a client for {}: {}", url.host(), causes(&error)));
        if let Some((at, identity)) = proxy {
            builder = builder.no_proxy().proxy(road::proxy(at, identity.as_ref().map(|who| (who.user.as_str(), &who.password)))?);
        }
        let client = builder.build().map_err(unusable)?;
        let authorization = identity.as_ref().map(|who| road::authorization(&who.user, &who.password)).transpose()?;
        Ok(Wire { client, url: url.clone(), authorization, redirected: None, bounds })
    }

    fn request(
        &self,
        method: reqwest::Method,
        url: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> io::Result<RequestBuilder> {
        let parsed = reqwest::Url::parse(url).ok().filter(|url| same_origin(url, self.url.as_url()));
        let Some(parsed) = parsed else {
            return Err(self
                .bounds
                .outcome
                .stop(Refusal::new(Code::Invalid, format!("fetch from {}: asked to go elsewhere", self.url.host()))));
        };
        let mut request = self.client.request(method, parsed);
        for line in headers {
            let header = line
                .as_ref()
                .split_once(':')
                .and_then(|(name, value)| Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value.trim()).ok()?)));
            if let Some((name, value)) = header.filter(|(name, _)| *name != reqwest::header::USER_AGENT) {
                request = request.header(name, value);
            }
        }
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        Ok(request)
    }

    fn exchange(&self, request: RequestBuilder) -> Arc<Mutex<Exchange>> {
        Arc::new(Mutex::new(Exchange::Waiting {
            request: Some(request),
            body: Vec::new(),
            known: self.authorization.is_some(),
            bounds: self.bounds.clone(),
        }))
    }
}

impl Http for Wire {
    type Headers = Headers;
    type ResponseBody = Body;
    type PostBody = Upload;

    fn get(
        &mut self,
        url: &str,
        base_url: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> gix::Result<GetResponse<Headers, Body>> {
        let request = self.request(reqwest::Method::GET, url, headers).map_err(gix::Error::from_error)?;
        let exchange = self.exchange(request);
        let arrived = lock(&exchange).send().map_err(gix::Error::from_error)?;
        // A server may say that the repository has another name now; the next request goes there at once.
        let tail = url.strip_prefix(base_url).unwrap_or(url);
        self.redirected = arrived.filter(|at| at != url).and_then(|at| Some(at.strip_suffix(tail)?.to_owned()));
        Ok(GetResponse { headers: Headers::of(&exchange), body: Body::of(&exchange) })
    }

    fn post(
        &mut self,
        url: &str,
        _base_url: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
        _body: PostBodyDataKind,
    ) -> gix::Result<PostResponse<Headers, Body, Upload>> {
        let request = self.request(reqwest::Method::POST, url, headers).map_err(gix::Error::from_error)?;
        let exchange = self.exchange(request);
        Ok(PostResponse { post_body: Upload(exchange.clone()), headers: Headers::of(&exchange), body: Body::of(&exchange) })
    }

    fn configure(&mut self, _config: &dyn Any) -> gix::Result<()> {
        Ok(())
    }

    fn redirected_base_url(&self) -> Option<String> {
        self.redirected.clone()
    }
}

/// One request and its answer. It is sent when the answer is first asked for, with all that was written until then.
enum Exchange {
    Waiting { request: Option<RequestBuilder>, body: Vec<u8>, known: bool, bounds: Bounds },
    Answered { headers: Cursor<Vec<u8>>, body: Option<BufReader<Watched<Response>>> },
}

fn lock(exchange: &Arc<Mutex<Exchange>>) -> MutexGuard<'_, Exchange> {
    exchange.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Exchange {
    /// Sends the request if that has not happened; gives the URL that answered, the first time.
    fn send(&mut self) -> io::Result<Option<String>> {
        let Exchange::Waiting { request, body, known, bounds } = self else {
            return Ok(None);
        };
        let Some(request) = request.take() else {
            return Err(io::Error::other("the request failed before"));
        };
        bounds.in_time()?;
        let body = std::mem::take(body);
        let response = request.body(body).send().map_err(|error| bounds.outcome.stop(unreachable(&bounds.host, &error)))?;
        if response.status() != StatusCode::OK {
            return Err(bounds.outcome.stop(refused(&bounds.host, &response, *known)));
        }
        let url = response.url().to_string();
        let mut lines = Vec::new();
        for (name, value) in response.headers() {
            lines.extend_from_slice(name.as_str().as_bytes());
            lines.extend_from_slice(b": ");
            lines.extend_from_slice(value.as_bytes());
            lines.push(b'\n');
        }
        let watched = Watched::new(response, bounds.clone(), |host, error| Some(broken_off(host, error)));
        *self = Exchange::Answered { headers: Cursor::new(lines), body: Some(BufReader::with_capacity(64 << 10, watched)) };
        Ok(Some(url))
    }
}

/// What gix writes the request's body into.
pub(super) struct Upload(Arc<Mutex<Exchange>>);

impl Write for Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut *lock(&self.0) {
            Exchange::Waiting { body, .. } => {
                body.extend_from_slice(bytes);
                Ok(bytes.len())
            }
            Exchange::Answered { .. } => Err(io::Error::other("the request was already sent")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The answer's headers, one line each.
pub(super) struct Headers {
    exchange: Arc<Mutex<Exchange>>,
    lines: Option<Cursor<Vec<u8>>>,
}

/// The answer's body.
pub(super) struct Body {
    exchange: Arc<Mutex<Exchange>>,
    bytes: Option<BufReader<Watched<Response>>>,
}

impl Headers {
    fn of(exchange: &Arc<Mutex<Exchange>>) -> Headers {
        Headers { exchange: exchange.clone(), lines: None }
    }

    fn lines(&mut self) -> io::Result<&mut Cursor<Vec<u8>>> {
        if self.lines.is_none() {
            let mut exchange = lock(&self.exchange);
            exchange.send()?;
            if let Exchange::Answered { headers, .. } = &mut *exchange {
                self.lines = Some(std::mem::take(headers));
            }
        }
        self.lines.as_mut().ok_or_else(|| io::Error::other("no answer came"))
    }
}

impl Body {
    fn of(exchange: &Arc<Mutex<Exchange>>) -> Body {
        Body { exchange: exchange.clone(), bytes: None }
    }

    fn bytes(&mut self) -> io::Result<&mut BufReader<Watched<Response>>> {
        if self.bytes.is_none() {
            let mut exchange = lock(&self.exchange);
            exchange.send()?;
            if let Exchange::Answered { body, .. } = &mut *exchange {
                self.bytes = body.take();
            }
        }
        self.bytes.as_mut().ok_or_else(|| io::Error::other("no answer came"))
    }
}

impl Read for Headers {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.lines()?.read(buffer)
    }
}

impl BufRead for Headers {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.lines()?.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        if let Some(lines) = &mut self.lines {
            lines.consume(count);
        }
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.bytes()?.read(buffer)
    }
}

impl BufRead for Body {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.bytes()?.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        if let Some(bytes) = &mut self.bytes {
            bytes.consume(count);
        }
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wire({})", self.url)
    }
}
