//! Health questions over HTTP, on loopback only. The table of routes is the router: what is not in it is not there.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodFilter, on};
use axum::{Json, Router};
use serde_json::Value;
use trued_doors::Answer;
use trued_model::{Code, Refusal};

use crate::bounded::{Bounded, Bounds};
use crate::listening::{Listening, bind};
use crate::reports::{self, Reports, Tally};

/// What health questions are answered from.
pub trait Health: Send + Sync {
    /// A summary for people and monitors, without names of what is secret and without versions.
    fn report(&self) -> Value;
    /// Whether it has begun its work.
    fn ready(&self) -> bool;
}

/// Who may ask a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Any process on this machine, without saying who it is.
    Local,
}

/// One question that is answered.
pub struct Route {
    pub method: Method,
    pub path: &'static str,
    pub permission: Permission,
    answer: fn(&dyn Health) -> Response,
}

/// All of them. A route that does not stand here, with its permission, cannot be reached.
pub const ROUTES: [Route; 3] = [
    Route { method: Method::GET, path: "/healthz", permission: Permission::Local, answer: |health| Json(health.report()).into_response() },
    Route { method: Method::GET, path: "/livez", permission: Permission::Local, answer: |_| "ok\n".into_response() },
    Route { method: Method::GET, path: "/readyz", permission: Permission::Local, answer: ready },
];

fn ready(health: &dyn Health) -> Response {
    match health.ready() {
        true => "ready\n".into_response(),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response(),
    }
}

/// Listens on an address of loopback; others are `Code::Invalid`.
pub async fn listen(address: SocketAddr, health: Arc<dyn Health>) -> Answer<Listening> {
    listen_with(address, health, None).await
}

/// The same, and takes what targets report too.
pub async fn listen_with(
    address: SocketAddr,
    health: Arc<dyn Health>,
    reports: Option<(Arc<dyn Reports>, Arc<Tally>)>,
) -> Answer<Listening> {
    if !address.ip().is_loopback() {
        let refusal = Refusal::new(Code::Invalid, format!("listen on {address}: health is answered on loopback only"));
        return Err(
            refusal.help("use 127.0.0.1 or [::1]; what audit webhooks of other machines report is taken over https, at `--reports`")
        );
    }
    let (address, listener) = bind(address).await?;
    let (bounds, tally) = (Bounds::default(), reports.as_ref().map(|(_, tally)| tally.clone()).unwrap_or_default());
    let routes = match reports {
        Some((reports, tally)) => router(health).merge(reports::router(reports, tally, bounds).layer(middleware::from_fn(local))),
        None => router(health),
    };
    Ok(Listening::start(address, Bounded::new(listener, bounds, None, tally), routes))
}

/// The router of [`ROUTES`]; everything else is 404.
pub fn router(health: Arc<dyn Health>) -> Router {
    let mut router = Router::new();
    for route in ROUTES {
        // A method without a filter of its own cannot be routed, so it is not.
        let Ok(filter) = MethodFilter::try_from(route.method) else { continue };
        let health = health.clone();
        let answer = move || {
            let response = (route.answer)(health.as_ref());
            async move { response }
        };
        router = match route.permission {
            Permission::Local => router.route(route.path, on(filter, answer)),
        };
    }
    let nothing = || async { StatusCode::NOT_FOUND };
    router.fallback(nothing).method_not_allowed_fallback(nothing).layer(middleware::from_fn(local))
}

/// Sends away what a web page made a browser ask under another name (DNS rebinding), and keeps answers out of caches.
async fn local(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST);
    if host.is_some_and(|host| !host.to_str().is_ok_and(is_local)) {
        return StatusCode::NOT_FOUND.into_response();
    }
    let mut response = next.run(request).await;
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Whether a `Host` header names this machine: `localhost`, or an address of loopback.
fn is_local(host: &str) -> bool {
    let address = host.parse::<SocketAddr>().map(|address| address.ip());
    match address.or_else(|_| host.trim_matches(['[', ']']).parse::<IpAddr>()) {
        Ok(address) => address.is_loopback(),
        Err(_) => host.split(':').next().is_some_and(|name| name.eq_ignore_ascii_case("localhost")),
    }
}
