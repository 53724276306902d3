//! What a target's own server tells us of who did what: one route, which asks for a token before it reads anything, and counts
//! what it turns away.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{ConnectInfo, Path, Request};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use trued_doors::{Answer, BoxFuture};
use trued_model::Code;

use crate::bounded::{Bounds, Opened};

/// Reports that are read and taken in at once; of each there may be a whole body in memory.
const AT_ONCE: usize = 4;

/// Where reports go to.
pub trait Reports: Send + Sync {
    /// Whether this token may report about a target. The same no for a target that is not there.
    fn admits<'a>(&'a self, target: &'a str, token: &'a str) -> BoxFuture<'a, bool>;
    /// Takes a report in; gives how much of it was news.
    fn take<'a>(&'a self, target: &'a str, said: &'a [u8]) -> BoxFuture<'a, Answer<u64>>;
}

/// Why something that came was not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No TLS, or no certificate of whom we ask for one.
    Greeting,
    /// Without the target's token.
    Token,
    /// Not said in time.
    Late,
    TooLarge,
    /// Broke off, or is no report.
    Unreadable,
    /// The target cannot be asked about it now; it is sent again.
    Unavailable,
}

const WORDS: [&str; 6] = ["greeting", "token", "late", "too_large", "unreadable", "unavailable"];

/// How many reports came, and what became of them, since the start.
#[derive(Debug, Default)]
pub struct Tally {
    taken: AtomicU64,
    refused: [AtomicU64; WORDS.len()],
}

impl Tally {
    pub(crate) fn refused(&self, why: Refused) {
        self.refused[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// `{taken, refused: {…}}`, as health shows it.
    pub fn report(&self) -> Value {
        let refused: Value =
            WORDS.iter().zip(&self.refused).map(|(word, count)| ((*word).to_owned(), count.load(Ordering::Relaxed))).collect();
        json!({ "taken": self.taken.load(Ordering::Relaxed), "refused": refused })
    }
}

struct Intake {
    reports: Arc<dyn Reports>,
    tally: Arc<Tally>,
    bounds: Bounds,
    turns: Semaphore,
}

/// The route `POST /audit/TARGET`, for whoever has the target's token: as a bearer's, or as the end of the path, because an API
/// server sends the token of its webhook's kubeconfig over https only.
pub(crate) fn router(reports: Arc<dyn Reports>, tally: Arc<Tally>, bounds: Bounds) -> Router {
    let intake = Arc::new(Intake { reports, tally, bounds, turns: Semaphore::new(AT_ONCE) });
    let again = intake.clone();
    let with_header = move |opened: ConnectInfo<Opened>, Path(target): Path<String>, request: Request| {
        let token = bearer(&request);
        answered(intake.clone(), opened.0, target, token, request)
    };
    let with_path = move |opened: ConnectInfo<Opened>, Path((target, token)): Path<(String, String)>, request: Request| {
        answered(again.clone(), opened.0, target, Some(token), request)
    };
    Router::new().route("/audit/{target}", post(with_header)).route("/audit/{target}/{token}", post(with_path))
}

fn bearer(request: &Request) -> Option<String> {
    let value = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
    value.strip_prefix("Bearer ").map(str::to_owned)
}

/// Answers, and asks for another connection where the time of this one comes to its end: so it ends between two reports.
async fn answered(intake: Arc<Intake>, opened: Opened, target: String, token: Option<String>, request: Request) -> Response {
    let old = opened.0.elapsed() > intake.bounds.lifetime / 2;
    let mut response = match intake.take(&target, token, request).await {
        Ok(()) => {
            intake.tally.taken.fetch_add(1, Ordering::Relaxed);
            StatusCode::OK.into_response()
        }
        Err((status, why)) => {
            intake.tally.refused(why);
            status.into_response()
        }
    };
    if old {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

impl Intake {
    async fn take(&self, target: &str, token: Option<String>, request: Request) -> Result<(), (StatusCode, Refused)> {
        let admitted = match token {
            Some(token) => self.reports.admits(target, &token).await,
            None => false,
        };
        if !admitted {
            return Err((StatusCode::UNAUTHORIZED, Refused::Token));
        }
        let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        let too_large = (StatusCode::PAYLOAD_TOO_LARGE, Refused::TooLarge);
        if announced.is_some_and(|length| length > self.bounds.bytes) {
            return Err(too_large);
        }
        let said = async {
            let _turn = self.turns.acquire().await;
            to_bytes(request.into_body(), self.bounds.bytes).await
        };
        let said = match tokio::time::timeout(self.bounds.body, said).await {
            Err(_) => return Err((StatusCode::REQUEST_TIMEOUT, Refused::Late)),
            Ok(Err(_)) if announced.is_some() => return Err((StatusCode::BAD_REQUEST, Refused::Unreadable)),
            Ok(Err(_)) => return Err(too_large),
            Ok(Ok(said)) => said,
        };
        match self.reports.take(target, &said).await {
            Ok(_) => Ok(()),
            Err(refusal) if refusal.code == Code::Invalid => Err((StatusCode::BAD_REQUEST, Refused::Unreadable)),
            Err(refusal) => {
                tracing::warn!(target, "failed to take in a report: {refusal}");
                Err((StatusCode::SERVICE_UNAVAILABLE, Refused::Unavailable))
            }
        }
    }
}
