//! Requests to one API server: paths, media types, deadlines, and what its answers mean. It keeps nothing and decides
//! nothing.
//!
//! Answers are read here and not by the client's own calls, because those write a body that they cannot read into the log,
//! and it may be a Secret.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::Stream;
use http::response::Parts;
use http::{Method, Request, StatusCode, header};
use kube::Client;
use kube::client::Body;
use kube::core::WatchEvent;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use trued_doors::{Answer, Clock};
use trued_model::{Code, Refusal};

use crate::address::Spot;
use crate::fields::MANAGER;
use crate::object::text;
use crate::page::Page;
use crate::served::Serving;

/// How long one request may take; a watch lasts as long as it lasts.
const DEADLINE: Duration = Duration::from_secs(30);
/// How often a request is sent again that the server had no time for; the first pause, and the longest.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How long a server keeps one watch open.
pub(crate) const WATCHED_FOR: u32 = 290;
/// Requests under way at once, watches aside.
const AT_ONCE: usize = 32;
/// Objects in one page of a listing.
const PAGE: u32 = 500;

const WHOLE: &str = "application/json";
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
const DISCOVERY: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
/// What the server calls a request in its audit log, where the client says it.
const AUDIT_ID: &str = "audit-id";
const APPLY: &str = "application/apply-patch+yaml";
const PATCH: &str = "application/json-patch+json";

/// An open line to an API server.
#[derive(Clone)]
pub(crate) struct Api {
    client: Client,
    /// How our requests begin in the server's audit log, so that they are told from everybody else's.
    name: Arc<str>,
    sent: Arc<AtomicU64>,
    /// Requests under way at once: each has a connection of its own, and a server has few hands.
    turns: Arc<Semaphore>,
    /// For chance alone.
    clock: Arc<dyn Clock>,
}

/// One list, all pages: the objects and the version they were seen at.
pub(crate) struct Listed<T> {
    pub items: Vec<T>,
    pub version: String,
}

/// How an object is applied.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Applying {
    /// Takes over fields that others own.
    pub force: bool,
    /// Only says what would come of it.
    pub dry: bool,
}

/// What became of applying.
pub(crate) struct Applied {
    pub object: Value,
    /// Whether it was not there before.
    pub created: bool,
}

/// A request that was answered with a no.
pub(crate) struct Denied {
    pub status: StatusCode,
    /// The server's `Status`; `Null` where it said nothing that can be read.
    pub answer: Value,
    /// How long it asked us to wait.
    pub after: Option<Duration>,
}

/// One request, as often as it is sent.
#[derive(Clone)]
struct Question<'a> {
    method: Method,
    path: &'a str,
    accept: &'a str,
    /// Its media type and bytes.
    body: Option<(&'a str, Vec<u8>)>,
    /// Asks for an answer only if that is another one than the one of this hash.
    unless: Option<&'a str>,
}

/// Why a request gave nothing.
pub(crate) enum Fault {
    Answered(Box<Denied>),
    /// No answer: what happened is not known.
    Lost(Refusal),
}

impl Api {
    pub fn new(client: Client, clock: Arc<dyn Clock>) -> Api {
        let name = format!("trued-{}-", clock.fresh_id()).into();
        Api { client, clock, name, sent: Arc::default(), turns: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// How the audit identities of our requests begin.
    pub fn audit_prefix(&self) -> &str {
        &self.name
    }

    fn audit_id(&self) -> String {
        format!("{}{}", self.name, self.sent.fetch_add(1, Ordering::Relaxed))
    }

    /// One document of aggregated discovery, with the hash that the server gives of it; `None` where it still is the one of this
    /// hash.
    pub async fn discover(&self, path: &str, hash: Option<&str>) -> Result<Option<(Value, Option<String>)>, Fault> {
        let question = Question { method: Method::GET, path, accept: DISCOVERY, body: None, unless: hash };
        let (parts, answer) = self.answer_to(question).await?;
        if parts.status == StatusCode::NOT_MODIFIED {
            return Ok(None);
        }
        let hash = parts.headers.get(header::ETAG).and_then(|hash| hash.to_str().ok());
        Ok(Some((json_of(path, &answer)?, hash.map(str::to_owned))))
    }

    pub async fn get(&self, path: &str) -> Result<Value, Fault> {
        self.read(path, WHOLE).await
    }

    /// The same as it is written, for what is long and only partly read.
    pub async fn get_text(&self, path: &str) -> Result<Vec<u8>, Fault> {
        self.send(Method::GET, path, WHOLE, None).await.map(|(_, answer)| answer)
    }

    /// Lists the metadata of a collection, page by page. Any page that fails fails the whole: half a list is none.
    /// Each object becomes what `read` makes of it one by one, so that no page is ever held whole.
    pub async fn list<T>(&self, path: &str, read: impl Fn(Value) -> T) -> Result<Listed<T>, Fault> {
        self.list_as(path, METADATA_LIST, read).await
    }

    /// The same with all that the objects hold.
    pub async fn list_whole<T>(&self, path: &str, read: impl FnMut(Value) -> T) -> Result<Listed<T>, Fault> {
        self.list_as(path, WHOLE, read).await
    }

    async fn list_as<T>(&self, path: &str, accept: &str, mut read: impl FnMut(Value) -> T) -> Result<Listed<T>, Fault> {
        let mut listed = Listed { items: Vec::new(), version: String::new() };
        let mut next = String::new();
        loop {
            let mut query = format!("{path}?limit={PAGE}");
            if !next.is_empty() {
                query.push_str(&format!("&continue={}", encoded(&next)));
            }
            let (_, page) = self.send(Method::GET, &query, accept, None).await?;
            let Some(page) = Page::read(&page, |object| listed.items.push(read(object))) else {
                return Err(Fault::Lost(Refusal::new(Code::Unknown, format!("list {path}: the answer is no list"))));
            };
            (listed.version, next) = (page.version, page.next);
            if next.is_empty() {
                return Ok(listed);
            }
        }
    }

    /// Watches a collection's metadata from a version on.
    pub async fn watch(
        &self,
        path: &str,
        version: &str,
    ) -> Result<impl Stream<Item = Result<WatchEvent<Value>, kube::Error>> + use<>, Fault> {
        self.watch_as(path, version, METADATA).await
    }

    /// The same with all that the objects hold.
    pub async fn watch_whole(
        &self,
        path: &str,
        version: &str,
    ) -> Result<impl Stream<Item = Result<WatchEvent<Value>, kube::Error>> + use<>, Fault> {
        self.watch_as(path, version, WHOLE).await
    }

    async fn watch_as(
        &self,
        path: &str,
        version: &str,
        accept: &str,
    ) -> Result<impl Stream<Item = Result<WatchEvent<Value>, kube::Error>> + use<>, Fault> {
        let query = format!("{path}?watch=1&allowWatchBookmarks=true&timeoutSeconds={WATCHED_FOR}&resourceVersion={}", encoded(version));
        let request =
            Request::get(query).header(header::ACCEPT, accept).header(AUDIT_ID, self.audit_id()).body(Vec::new()).map_err(unbuildable)?;
        let opened = tokio::time::timeout(DEADLINE, self.client.request_events::<Value>(request)).await.map_err(|_| late(path))?;
        match opened {
            Ok(events) => Ok(events),
            Err(kube::Error::Api(status)) => Err(Fault::Answered(Box::new(Denied {
                status: StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
                answer: serde_json::to_value(&status).unwrap_or_default(),
                after: None,
            }))),
            Err(error) => Err(lost(path, &error)),
        }
    }

    /// Applies an object, server-side.
    pub async fn apply(&self, path: &str, object: &Value, how: Applying) -> Result<Applied, Fault> {
        let Applying { force, dry } = how;
        let mut query = format!("{path}?fieldManager={MANAGER}&force={force}");
        if dry {
            query.push_str("&dryRun=All");
        }
        let body = serde_json::to_vec(object).unwrap_or_default();
        let (status, answer) = self.send(Method::PATCH, &query, WHOLE, Some((APPLY, body))).await?;
        Ok(Applied { object: json_of(path, &answer)?, created: status == StatusCode::CREATED })
    }

    /// Says who owns which fields of an object, only if it still is at this very version. Values stay as they are.
    pub async fn own(&self, path: &str, owners: &Value, version: &str) -> Result<Value, Fault> {
        // Puts a value in, or in the place of what is there.
        let put = |path: &str, value: &Value| json!({ "op": "add", "path": path, "value": value });
        let patch = json!([put("/metadata/managedFields", owners), put("/metadata/resourceVersion", &version.into())]);
        let body = serde_json::to_vec(&patch).unwrap_or_default();
        let (_, answer) = self.send(Method::PATCH, &format!("{path}?fieldManager={MANAGER}"), WHOLE, Some((PATCH, body))).await?;
        json_of(path, &answer)
    }

    /// Deletes an object, only if it still is this very one at this very version. The answer is the object, where it stays
    /// for now, or a `Status`.
    pub async fn delete(&self, path: &str, uid: &str, version: &str) -> Result<Value, Fault> {
        let body = json!({
            "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background",
            "preconditions": { "uid": uid, "resourceVersion": version },
        });
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let (_, answer) = self.send(Method::DELETE, path, WHOLE, Some((WHOLE, body))).await?;
        json_of(path, &answer)
    }

    async fn read(&self, path: &str, accept: &str) -> Result<Value, Fault> {
        let (_, answer) = self.send(Method::GET, path, accept, None).await?;
        json_of(path, &answer)
    }

    /// Sends a request; one that the server had no time for is sent again, a few times.
    async fn send(&self, method: Method, path: &str, accept: &str, body: Option<(&str, Vec<u8>)>) -> Result<(StatusCode, Vec<u8>), Fault> {
        let answered = self.answer_to(Question { method, path, accept, body, unless: None }).await;
        answered.map(|(parts, answer)| (parts.status, answer))
    }

    async fn answer_to(&self, question: Question<'_>) -> Result<(Parts, Vec<u8>), Fault> {
        let mut tries = 0;
        loop {
            let answer = self.once(question.clone()).await;
            let reads = question.method == Method::GET;
            let Some(pause) = answer.as_ref().err().and_then(|fault| self.again_after(fault, reads, tries)) else {
                return answer;
            };
            tokio::time::sleep(pause).await;
            tries += 1;
        }
    }

    async fn once(&self, question: Question<'_>) -> Result<(Parts, Vec<u8>), Fault> {
        let Question { method, path, accept, body, unless } = question;
        let mut request = Request::builder().method(method).uri(path).header(header::ACCEPT, accept).header(AUDIT_ID, self.audit_id());
        if let Some(hash) = unless {
            request = request.header(header::IF_NONE_MATCH, hash);
        }
        let (kind, body) = body.unzip();
        if let Some(kind) = kind {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        let request = request.body(Body::from(body.unwrap_or_default())).map_err(unbuildable)?;
        let _turn = self.turns.acquire().await;
        let answered = async {
            let response = self.client.send(request).await.map_err(|error| lost(path, &error))?;
            let (parts, body) = response.into_parts();
            let bytes = body.collect_bytes().await.map_err(|error| lost(path, &error))?;
            if !parts.status.is_success() && parts.status != StatusCode::NOT_MODIFIED {
                let answer = serde_json::from_slice(&bytes).unwrap_or_default();
                return Err(Fault::Answered(Box::new(Denied { status: parts.status, answer, after: after(&parts.headers) })));
            }
            Ok((parts, bytes.into()))
        };
        tokio::time::timeout(DEADLINE, answered).await.map_err(|_| late(path))?
    }

    /// How long to wait before a request is sent again; `None` where it is not: it was decided, or nobody knows what became of it.
    fn again_after(&self, fault: &Fault, reads: bool, tries: u32) -> Option<Duration> {
        let Fault::Answered(denied) = fault else { return None };
        let not_begun = matches!(denied.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        if tries >= TRIES || !(not_begun || (reads && denied.status.is_server_error())) {
            return None;
        }
        Some(pause(tries, denied.after, |bound| self.clock.chance(bound)))
    }
}

/// How long to wait after so many tries: as long as the server asks for, or twice as long each time, within a bound. Up to half of it
/// more, so that those who were sent away together do not come back together.
fn pause(tries: u32, asked: Option<Duration>, chance: impl FnOnce(u64) -> u64) -> Duration {
    let pause = asked.unwrap_or(PAUSE * 2_u32.saturating_pow(tries.min(TRIES))).min(LONGEST_PAUSE);
    let more = u64::try_from(pause.as_millis() / 2).unwrap_or(0);
    pause + Duration::from_millis(chance(more.max(1)))
}

impl Fault {
    /// The status of an answer.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Fault::Answered(denied) => Some(denied.status),
            Fault::Lost(_) => None,
        }
    }

    /// As a coded no. A sealed object's values may stand in the server's sentence: then only the fields are named.
    pub fn refusal(&self, doing: &str, sealed: bool) -> Refusal {
        match self {
            Fault::Lost(refusal) => refusal.clone(),
            Fault::Answered(denied) => denied.refusal(doing, sealed),
        }
    }
}

impl Denied {
    pub fn refusal(&self, doing: &str, sealed: bool) -> Refusal {
        let (code, help) = match self.status.as_u16() {
            401 => (Code::Denied, "the cluster does not know who we are: renew the token or certificate of the kubeconfig"),
            403 => (Code::Denied, "grant the right to the account that Trued uses there"),
            404 => (Code::Absent, ""),
            409 => (Code::Changed, ""),
            410 => (Code::Unknown, ""),
            415 => (Code::Unsupported, "the server of this kind takes no server-side apply: leave the object to what manages it"),
            413 => (Code::TooLarge, "make the object smaller"),
            400 | 405 | 406 | 422 => (Code::Invalid, "correct the manifest"),
            _ => (Code::Unreachable, ""),
        };
        let said = text(&self.answer, &["message"]).unwrap_or_default();
        let words = match sealed {
            true => format!("{} {}{}", self.status.as_u16(), text(&self.answer, &["reason"]).unwrap_or_default(), self.fields()),
            false if said.is_empty() => self.status.to_string(),
            false => said.to_owned(),
        };
        Refusal::new(code, format!("{doing}: {words}")).help(help)
    }

    fn fields(&self) -> String {
        let named: Vec<&str> = self.causes().filter_map(|cause| text(cause, &["field"])).collect();
        if named.is_empty() { String::new() } else { format!(" ({})", named.join(", ")) }
    }

    /// What the server names as causes: the fields in conflict, the values that are invalid.
    pub fn causes(&self) -> impl Iterator<Item = &Value> {
        let causes = crate::object::at(&self.answer, &["details", "causes"]).and_then(Value::as_array);
        causes.into_iter().flatten()
    }
}

/// The path of a collection, in a namespace or of all of them.
pub(crate) fn collection(kind: &crate::address::Kind, serving: &Serving, version: Option<&str>, namespace: Option<&str>) -> String {
    let version = version.or(serving.versions.first().map(String::as_str)).unwrap_or("v1");
    let root = if kind.group.is_empty() { format!("/api/{version}") } else { format!("/apis/{}/{version}", kind.group) };
    match namespace {
        Some(namespace) => format!("{root}/namespaces/{}/{}", encoded(namespace), serving.plural),
        None => format!("{root}/{}", serving.plural),
    }
}

/// The path of one object, under a version.
pub(crate) fn path(spot: &Spot, serving: &Serving, version: Option<&str>) -> String {
    format!("{}/{}", collection(&spot.kind, serving, version, spot.namespace.as_deref()), encoded(&spot.name))
}

/// Writes a text so that it stands for itself in a path or a query.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b':');
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// Reads `Retry-After`, in seconds.
fn after(headers: &http::HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn json_of(path: &str, answer: &[u8]) -> Result<Value, Fault> {
    let unread = |_| Fault::Lost(Refusal::new(Code::Unknown, format!("read the answer to {}: it is no JSON", place(path))));
    serde_json::from_slice(answer).map_err(unread)
}

/// A path without its query, for people.
fn place(path: &str) -> &str {
    path.split('?').next().unwrap_or(path)
}

fn late(path: &str) -> Fault {
    Fault::Lost(Refusal::new(Code::TimedOut, format!("ask the cluster for {}: no answer in {} s", place(path), DEADLINE.as_secs())))
}

fn lost(path: &str, error: &(dyn std::error::Error + 'static)) -> Fault {
    let mut words = error.to_string();
    let mut inner = error.source();
    while let Some(error) = inner {
        words = error.to_string();
        inner = error.source();
    }
    let help = "see whether the cluster runs and the kubeconfig names it rightly";
    Fault::Lost(Refusal::new(Code::Unreachable, format!("ask the cluster for {}: {words}", place(path))).help(help))
}

fn unbuildable(error: http::Error) -> Fault {
    Fault::Lost(Refusal::new(Code::Broken, format!("write a request: {error}")))
}

/// What an answer says, or the coded no.
pub(crate) fn said<T>(result: Result<T, Fault>, doing: &str) -> Answer<T> {
    result.map_err(|fault| fault.refusal(doing, false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_43_a_pause_is_what_the_server_asks_for_or_grows_within_a_bound_and_chance_adds_up_to_half() {
        let asked = [None, Some(Duration::ZERO), Some(Duration::from_secs(2)), Some(LONGEST_PAUSE), Some(Duration::from_secs(86_400))];
        for after in asked {
            let mut before = Duration::ZERO;
            for tries in (0..=TRIES).chain([31, 32, u32::MAX]) {
                let mut bound = 0;
                let least = pause(tries, after, |most| {
                    bound = most;
                    0
                });
                assert!(bound >= 1, "there is something to choose from");
                let most = pause(tries, after, |most| most - 1);
                assert_eq!(least, after.unwrap_or(least).min(LONGEST_PAUSE), "what is asked for is heeded");
                assert!(least >= before && least <= LONGEST_PAUSE, "{after:?}, {tries} tries: {least:?}");
                assert!(most >= least && most <= least + least / 2, "{after:?}, {tries} tries: {least:?} to {most:?}");
                assert!(after.is_some() || (least >= PAUSE && most > least), "{tries} tries: {least:?} to {most:?}");
                before = least;
            }
        }
        assert_eq!([0, 1, 2].map(|tries| pause(tries, None, |_| 0)), [PAUSE, PAUSE * 2, PAUSE * 4]);
    }
}
