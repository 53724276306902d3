//! Health questions over real connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use trued_model::Code;
use trued_server::health::{Health, Permission, ROUTES, listen};

struct Stub {
    ready: AtomicBool,
}

impl Health for Stub {
    fn report(&self) -> Value {
        json!({ "stacks": 3 })
    }

    fn ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }
}

fn stub(ready: bool) -> Arc<Stub> {
    Arc::new(Stub { ready: AtomicBool::new(ready) })
}

const ANY: &str = "127.0.0.1:0";

/// Sends one request and gives the whole answer as text.
async fn send(address: SocketAddr, method: &str, path: &str, host: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

#[tokio::test]
async fn health_is_answered_on_loopback() {
    let health = stub(false);
    let listener = listen(ANY.parse().unwrap(), health.clone()).await.unwrap();
    let get = async |path: &str| send(listener.address(), "GET", path, "localhost").await;
    assert_eq!((status(&get("/livez").await), body(&get("/livez").await)), (200, "ok\n"));
    assert_eq!(status(&get("/readyz").await), 503);
    health.ready.store(true, Ordering::Relaxed);
    assert_eq!(status(&get("/readyz").await), 200);
    let report = get("/healthz").await;
    assert_eq!(body(&report), "{\"stacks\":3}");
    assert!(report.contains("cache-control: no-store\r\n"));
}

#[tokio::test]
async fn no_other_address_is_listened_on() {
    for address in ["0.0.0.0:0", "192.0.2.1:80", "[::]:0"] {
        let refusal = listen(address.parse().unwrap(), stub(true)).await.err().unwrap();
        assert_eq!(refusal.code, Code::Invalid, "{address}");
    }
    let taken = listen(ANY.parse().unwrap(), stub(true)).await.unwrap();
    assert_eq!(listen(taken.address(), stub(true)).await.err().unwrap().code, Code::Denied);
}

/// Everything a request can ask, against the table: what is not in it does not exist.
#[tokio::test]
async fn fault_90_every_route_stands_in_the_table_with_its_permission_and_nothing_else_is_there() {
    let listener = listen(ANY.parse().unwrap(), stub(true)).await.unwrap();
    let methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "NONSENSE"];
    let paths =
        ["/", "/livez", "/readyz", "/healthz", "/healthz/", "/livez/..", "/version", "/metrics", "/config", "/debug", "/LIVEZ", "/%6civez"];
    for path in ROUTES.iter().map(|route| route.path) {
        assert!(paths.contains(&path), "{path} is missing here");
    }
    for method in methods {
        for path in paths {
            // HEAD asks the same as GET.
            let asked = if method == "HEAD" { "GET" } else { method };
            let route = ROUTES.iter().find(|route| route.method == asked && route.path == path);
            let expected = match route.map(|route| route.permission) {
                Some(Permission::Local) => 200,
                None => 404,
            };
            let answer = send(listener.address(), method, path, "localhost").await;
            assert_eq!(status(&answer), expected, "{method} {path}: {answer}");
            if expected == 404 {
                assert_eq!(body(&answer), "", "{method} {path}");
            }
            let head = answer.to_lowercase();
            assert!(!head.contains("server:") && !head.contains("trued") && !head.contains(env!("CARGO_PKG_VERSION")), "{head}");
        }
    }
}

#[tokio::test]
async fn a_page_that_reaches_loopback_under_another_name_learns_nothing() {
    let listener = listen(ANY.parse().unwrap(), stub(true)).await.unwrap();
    let port = listener.address().port();
    for host in [
        "localhost".to_owned(),
        format!("LOCALHOST:{port}"),
        "127.0.0.1".into(),
        format!("127.0.0.1:{port}"),
        "[::1]".into(),
        "[::1]:80".into(),
    ] {
        assert_eq!(status(&send(listener.address(), "GET", "/healthz", &host).await), 200, "{host}");
    }
    for host in ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "192.0.2.1", "localhost.evil.example", ""] {
        assert_eq!(status(&send(listener.address(), "GET", "/healthz", host).await), 404, "{host}");
    }
}

#[tokio::test]
async fn many_idle_connections_do_not_keep_others_out_for_ever() {
    let listener = listen(ANY.parse().unwrap(), stub(true)).await.unwrap();
    let mut idle = Vec::new();
    for _ in 0..40 {
        idle.push(TcpStream::connect(listener.address()).await.unwrap());
    }
    let address = listener.address();
    let asking = tokio::spawn(async move { send(address, "GET", "/livez", "localhost").await });
    drop(idle);
    assert_eq!(status(&asking.await.unwrap()), 200);
}

#[tokio::test]
async fn a_dropped_listener_is_gone() {
    let listener = listen(ANY.parse().unwrap(), stub(true)).await.unwrap();
    let address = listener.address();
    drop(listener);
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
}
