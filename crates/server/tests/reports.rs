//! What targets report, over real connections: nothing is read before the token is known.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use trued_doors::{Answer, BoxFuture};
use trued_model::{Code, Refusal};
use trued_server::Listening;
use trued_server::health::{Health, listen_with};
use trued_server::reports::{Reports, Tally};

#[derive(Default)]
struct Stub {
    taken: Mutex<Vec<String>>,
}

impl Health for Stub {
    fn report(&self) -> Value {
        json!({})
    }
    fn ready(&self) -> bool {
        true
    }
}

impl Reports for Stub {
    fn admits<'a>(&'a self, target: &'a str, token: &'a str) -> BoxFuture<'a, bool> {
        Box::pin(async move { (target, token) == ("edge", "right") })
    }
    fn take<'a>(&'a self, target: &'a str, said: &'a [u8]) -> BoxFuture<'a, Answer<u64>> {
        Box::pin(async move {
            let said = String::from_utf8_lossy(said).into_owned();
            if said == "bad" {
                return Err(Refusal::new(Code::Invalid, "read it"));
            }
            self.taken.lock().expect("free").push(format!("{target}: {said}"));
            Ok(1)
        })
    }
}

async fn listening() -> (Listening, Arc<Stub>) {
    let stub = Arc::new(Stub::default());
    let listener = listen_with("127.0.0.1:0".parse().expect("an address"), stub.clone(), Some((stub.clone(), Arc::<Tally>::default())))
        .await
        .expect("listens");
    (listener, stub)
}

async fn send(address: SocketAddr, method: &str, path: &str, host: &str, token: Option<&str>, body: &str) -> u16 {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let token = token.map(|token| format!("authorization: {token}\r\n")).unwrap_or_default();
    let head = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\n{token}content-length: {}\r\nconnection: close\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    answer.split(' ').nth(1).expect("a status").parse().expect("a number")
}

#[tokio::test]
async fn fault_85_a_report_without_the_targets_own_token_is_refused_before_it_is_read() {
    let (listener, stub) = listening().await;
    let to = listener.address();
    for (path, token) in [
        ("/audit/edge", None),
        ("/audit/edge", Some("Bearer wrong")),
        ("/audit/edge", Some("Bearer ")),
        ("/audit/edge", Some("right")),
        ("/audit/edge", Some("Basic right")),
        ("/audit/other", Some("Bearer right")),
        ("/audit/..", Some("Bearer right")),
        ("/audit/edge/wrong", Some("Bearer right")),
        ("/audit/other/right", None),
    ] {
        assert_eq!(send(to, "POST", path, "localhost", token, "{}").await, 401, "{path} {token:?}");
    }
    for (method, path) in [("GET", "/audit/edge"), ("PUT", "/audit/edge"), ("POST", "/audit"), ("POST", "/audit/edge/right/more")] {
        assert_eq!(send(to, method, path, "localhost", Some("Bearer right"), "").await / 100, 4, "{method} {path}");
    }
    assert_eq!(send(to, "POST", "/audit/edge", "evil.example", Some("Bearer right"), "{}").await, 404, "another name");
    assert_eq!(*stub.taken.lock().expect("free"), Vec::<String>::new());
    assert_eq!(send(to, "POST", "/audit/edge", "localhost", Some("Bearer right"), "{}").await, 200);
    assert_eq!(send(to, "POST", "/audit/edge", "localhost", Some("Bearer right"), "bad").await, 400);
    assert_eq!(send(to, "POST", "/audit/edge/right", "localhost", None, "[]").await, 200);
    assert_eq!(*stub.taken.lock().expect("free"), ["edge: {}", "edge: []"]);
}

#[tokio::test]
async fn fault_86_a_report_larger_than_any_is_cut_off() {
    let (listener, stub) = listening().await;
    let mut stream = TcpStream::connect(listener.address()).await.expect("connected");
    let head = "POST /audit/edge HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer right\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("sent");
    let chunk = format!("100000\r\n{}\r\n", "x".repeat(1 << 20));
    for _ in 0..20 {
        // It may be gone already.
        if stream.write_all(chunk.as_bytes()).await.is_err() {
            break;
        }
    }
    let mut answer = vec![0; 64];
    let count = stream.read(&mut answer).await.unwrap_or(0);
    let answer = String::from_utf8_lossy(&answer[..count]).into_owned();
    assert!(answer.is_empty() || answer.contains("413"), "{answer}");
    assert_eq!(*stub.taken.lock().expect("free"), Vec::<String>::new());
}
