//! What a target's own server tells us of who did what: one route, which asks for a token before it reads anything.

use std::sync::Arc;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Path, Request};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use trued_doors::{Answer, BoxFuture};
use trued_model::Code;

/// The most bytes one report may have: an API server sends 400 events at a time, of a few kilobytes each.
const LARGEST: usize = 16 << 20;

/// Where reports go to.
pub trait Reports: Send + Sync {
    /// Whether this token may report about a target. The same no for a target that is not there.
    fn admits<'a>(&'a self, target: &'a str, token: &'a str) -> BoxFuture<'a, bool>;
    /// Takes a report in; gives how much of it was news.
    fn take<'a>(&'a self, target: &'a str, said: &'a [u8]) -> BoxFuture<'a, Answer<u64>>;
}

/// The route `POST /audit/TARGET`, for whoever has the target's token: as a bearer's, or as the end of the path, because an API
/// server sends the token of its webhook's kubeconfig over https only.
pub(crate) fn router(reports: Arc<dyn Reports>) -> Router {
    let again = reports.clone();
    let with_header = move |Path(target): Path<String>, request: Request| {
        let token = bearer(&request);
        take(reports.clone(), target, token, request)
    };
    let with_path =
        move |Path((target, token)): Path<(String, String)>, request: Request| take(again.clone(), target, Some(token), request);
    Router::new().route("/audit/{target}", post(with_header)).route("/audit/{target}/{token}", post(with_path))
}

fn bearer(request: &Request) -> Option<String> {
    let value = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
    value.strip_prefix("Bearer ").map(str::to_owned)
}

async fn take(reports: Arc<dyn Reports>, target: String, token: Option<String>, request: Request) -> Response {
    let admitted = match token {
        Some(token) => reports.admits(&target, &token).await,
        None => false,
    };
    if !admitted {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let Ok(said) = to_bytes(request.into_body(), LARGEST).await else { return StatusCode::PAYLOAD_TOO_LARGE.into_response() };
    match reports.take(&target, &said).await {
        Ok(_) => StatusCode::OK.into_response(),
        Err(refusal) if refusal.code == Code::Invalid => StatusCode::BAD_REQUEST.into_response(),
        Err(refusal) => {
            tracing::warn!(target, "failed to take in a report: {refusal}");
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
    }
}
