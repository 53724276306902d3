//! Checks against a real server on loopback and a scripted runner.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use trued_doors::{Answer, BoxFuture, Checking, Exit, Program, Runner};
use trued_model::body::Checked;
use trued_model::{Code, Refusal};

/// A server that gives these answers one after the other, the last one for ever; it keeps the requests' first lines.
struct Server {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn new(answers: &[&str]) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (seen, mut answers) = (asked.clone(), answers.iter().map(|answer| (*answer).to_owned()).collect::<VecDeque<_>>());
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 4096];
                let count = stream.read(&mut request).await.unwrap();
                let text = String::from_utf8_lossy(&request[..count]).into_owned();
                seen.lock().unwrap().push(text.lines().next().unwrap_or_default().to_owned());
                let answer = if answers.len() > 1 { answers.pop_front().unwrap() } else { answers[0].clone() };
                if answer == "silence" {
                    tokio::spawn(async move { stream.read(&mut [0; 1]).await });
                    continue;
                }
                // The other side may have heard enough.
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Server { address, asked }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn answer(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

fn redirect(to: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
}

/// Ends with these results one after the other, the last one for ever; counts its runs.
struct Scripted {
    ends: Mutex<VecDeque<Answer<Exit>>>,
    runs: AtomicUsize,
}

impl Runner for Scripted {
    fn run(&self, program: Program) -> BoxFuture<'_, Answer<Exit>> {
        assert_eq!(program.argv, ["probe", "--deep"]);
        assert!(program.env.is_empty() && program.input.is_empty());
        self.runs.fetch_add(1, Ordering::Relaxed);
        let mut ends = self.ends.lock().unwrap();
        let end = if ends.len() > 1 { ends.pop_front().unwrap() } else { ends[0].clone() };
        Box::pin(async move { end })
    }
}

fn ended(status: i32, error: &str) -> Answer<Exit> {
    Ok(Exit { status: Some(status), output: b"some output\n".to_vec(), error: error.as_bytes().to_vec() })
}

async fn check_with(kind: &str, settings: Value, runner: Arc<Scripted>) -> Checked {
    let kind = trued_checks::kinds().into_iter().find(|check| check.describe().kind == kind).unwrap();
    kind.check(&settings, &Checking { runner, reach: None }).await
}

/// As repository data asks, within what the operator granted.
async fn granted(reach: &str, settings: Value) -> Checked {
    let runner = Arc::new(Scripted { ends: Mutex::default(), runs: AtomicUsize::new(0) });
    let kind = trued_checks::kinds().into_iter().find(|check| check.describe().kind == "http").unwrap();
    kind.check(&settings, &Checking { runner, reach: Some(vec![reach.to_owned()]) }).await
}

async fn http(settings: Value) -> Checked {
    check_with("http", settings, Arc::new(Scripted { ends: Mutex::default(), runs: AtomicUsize::new(0) })).await
}

async fn command(settings: Value, ends: &[Answer<Exit>]) -> (Checked, usize) {
    let runner = Arc::new(Scripted { ends: Mutex::new(ends.iter().cloned().collect()), runs: AtomicUsize::new(0) });
    let checked = check_with("command", settings, runner.clone()).await;
    (checked, runner.runs.load(Ordering::Relaxed))
}

#[tokio::test]
async fn an_address_that_answers_as_expected_passes_and_says_what_was_seen() {
    let server = Server::new(&[&answer("200 OK", "all is ok here")]).await;
    let checked = http(json!({ "url": server.url("/healthz"), "body": "is ok" })).await;
    let url = server.url("/healthz");
    assert_eq!(checked, Checked { check: format!("http {url}"), passed: true, why: format!("{url} answered 200 with the expected text") });
    assert_eq!(server.asked(), ["GET /healthz HTTP/1.1"]);
}

#[tokio::test]
async fn a_wrong_status_is_tried_again_until_time_is_up() {
    let server = Server::new(&[&answer("503 Service Unavailable", "")]).await;
    let checked = http(json!({ "url": server.url("/"), "within": "200ms", "every": "20ms" })).await;
    assert!(!checked.passed);
    let tries = server.asked().len();
    assert!(tries > 1);
    assert_eq!(checked.why, format!("{} answered 503, expected 200, {tries} tries in 200ms", server.url("/")));
}

#[tokio::test]
async fn a_service_that_comes_up_late_passes() {
    let late = answer("503 Service Unavailable", "");
    let server = Server::new(&[&late, &late, &answer("200 OK", "")]).await;
    let checked = http(json!({ "url": server.url("/"), "within": "1m", "every": "10ms" })).await;
    assert!(checked.passed, "{}", checked.why);
    assert_eq!(server.asked().len(), 3);
}

#[tokio::test]
async fn status_method_and_body_are_as_the_settings_say() {
    let server = Server::new(&[&answer("401 Unauthorized", "please")]).await;
    let url = server.url("/x");
    assert!(http(json!({ "url": url, "status": [200, 401], "method": "HEAD" })).await.passed);
    assert_eq!(server.asked(), ["HEAD /x HTTP/1.1"]);
    let checked = http(json!({ "url": url, "status": [200, 204], "within": "0s" })).await;
    assert_eq!(checked.why, format!("{url} answered 401, expected 200 or 204"));
    let checked = http(json!({ "url": url, "status": 401, "body": "welcome", "within": "0s" })).await;
    assert_eq!(checked.why, format!("{url} answered 401 without the expected text `welcome`"));
}

#[tokio::test]
async fn a_server_that_does_not_answer_and_one_that_is_not_there_are_told_apart() {
    let server = Server::new(&["silence"]).await;
    let checked = http(json!({ "url": server.url("/"), "within": "0s", "timeout": "100ms" })).await;
    assert_eq!(checked.why, format!("{} did not answer within 100ms", server.url("/")));

    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", nobody.local_addr().unwrap());
    drop(nobody);
    let checked = http(json!({ "url": url, "within": "0s" })).await;
    assert_eq!(checked.why, format!("{url} could not be reached: connection refused"));

    let liar = Server::new(&["this is not HTTP\r\n\r\n"]).await;
    let checked = http(json!({ "url": liar.url("/"), "within": "0s" })).await;
    assert!(checked.why.contains("gave no answer: invalid HTTP version parsed"), "{}", checked.why);

    let checked = http(json!({ "url": liar.url("/").replace("http:", "https:"), "within": "0s" })).await;
    assert!(!checked.passed && checked.why.contains("could not be"), "{}", checked.why);
}

#[tokio::test]
async fn redirects_are_followed_on_the_same_host_and_to_no_other() {
    let server = Server::new(&[&redirect("/there"), &answer("200 OK", "")]).await;
    assert!(http(json!({ "url": server.url("/here") })).await.passed);
    assert_eq!(server.asked(), ["GET /here HTTP/1.1", "GET /there HTTP/1.1"]);

    let other = Server::new(&[&answer("200 OK", "")]).await;
    let server = Server::new(&[&redirect(&other.url("/"))]).await;
    let checked = http(json!({ "url": server.url("/"), "within": "0s" })).await;
    assert_eq!(
        checked.why,
        format!("{} answered 302 (redirects to other hosts, and to what was not granted, are not followed), expected 200", server.url("/"))
    );
    assert!(other.asked().is_empty());

    let circle = Server::new(&[&redirect("/")]).await;
    assert!(!http(json!({ "url": circle.url("/"), "within": "0s" })).await.passed);
    assert_eq!(circle.asked().len(), 6);
}

#[tokio::test]
async fn fault_09_addresses_of_repository_data_lead_where_the_operator_said_and_nowhere_inside() {
    let server = Server::new(&[&answer("200 OK", "")]).await;
    let port = server.url("").rsplit(':').next().unwrap().to_owned();
    let url = |host: &str| json!({ "url": format!("http://{host}:{port}/healthz"), "within": "0s" });
    // The operator wrote this very address, or this very name.
    assert!(granted("http://127.0.0.1:*/*", url("127.0.0.1")).await.passed);
    assert!(granted("http://localhost:*/*", url("localhost")).await.passed);
    assert_eq!(server.asked().len(), 2);
    // A pattern that anybody's name fits leads to no loopback address: neither as a number nor through a name.
    for host in ["127.0.0.1", "2130706433", "0x7f.1", "0", "[::ffff:127.0.0.1]", "localhost"] {
        let checked = granted("http://*/*", url(host)).await;
        assert!(!checked.passed && checked.why.contains("not granted by name"), "{host}: {}", checked.why);
    }
    for (reach, host) in [("http://localhost:*/healthz/*", "localhost"), ("http://other.example/*", "127.0.0.1")] {
        let checked = granted(reach, url(host)).await;
        assert!(!checked.passed && checked.why.contains("not an address that the operator granted"), "{}", checked.why);
    }
    let metadata = granted("http://*/*", json!({ "url": "http://169.254.169.254/latest/meta-data/", "within": "0s" })).await;
    assert!(metadata.why.contains("a metadata service"), "{}", metadata.why);
    assert_eq!(server.asked().len(), 2, "nobody was asked");
}

#[tokio::test]
async fn fault_09_a_redirect_leaves_neither_the_host_nor_the_grant() {
    let secret = Server::new(&[&answer("200 OK", "secret")]).await;
    let server = Server::new(&[&redirect(&secret.url("/public/x"))]).await;
    let checked = granted("http://127.0.0.1:*/public/*", json!({ "url": server.url("/public/a"), "within": "0s" })).await;
    assert!(!checked.passed, "{}", checked.why);
    assert_eq!(secret.asked(), Vec::<String>::new(), "another port is another server");
    let server = Server::new(&[&redirect("/private"), &answer("200 OK", "secret")]).await;
    let checked = granted("http://127.0.0.1:*/public/*", json!({ "url": server.url("/public/a"), "within": "0s" })).await;
    assert!(!checked.passed && checked.why.contains("to what was not granted"), "{}", checked.why);
    assert_eq!(server.asked().len(), 1);
    let server = Server::new(&[&redirect("/public/b"), &answer("200 OK", "")]).await;
    assert!(granted("http://127.0.0.1:*/public/*", json!({ "url": server.url("/public/a"), "within": "0s" })).await.passed);
}

#[tokio::test]
async fn an_answer_without_end_is_read_to_the_cap_only() {
    let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}needle", "x".repeat(1 << 20));
    let server = Server::new(&[&endless]).await;
    let checked = http(json!({ "url": server.url("/"), "body": "needle", "within": "0s" })).await;
    assert!(checked.why.ends_with("answered 200 without the expected text `needle`"), "{}", checked.why);
}

#[tokio::test]
async fn fault_104_a_password_in_an_address_is_used_and_not_shown() {
    let server = Server::new(&[&answer("500 Oops", "")]).await;
    let checked = http(json!({ "url": server.url("/").replace("http://", "http://me:hunter2@"), "within": "0s" })).await;
    assert_eq!(checked.why, format!("{} answered 500, expected 200", server.url("/")));
    assert!(!format!("{checked:?}").contains("hunter2"));
}

#[tokio::test]
async fn settings_that_cannot_be_used_do_not_pass_and_say_why() {
    for (settings, words) in [
        (json!({}), "missing field `url`"),
        (json!({ "url": "http://x/", "colour": "blue" }), "unknown field `colour`"),
        (json!({ "url": "file:///etc/passwd" }), "must begin with http:// or https://"),
        (json!({ "url": "nonsense" }), "is not an address"),
        (json!({ "url": "http://x/", "method": "HEAD", "body": "x" }), "has no body"),
        (json!({ "url": "http://x/", "within": "2h" }), "more than 1h"),
    ] {
        let checked = http(settings).await;
        assert!(!checked.passed && checked.why.contains(words), "{}", checked.why);
    }
    for settings in [json!("reload"), json!({ "argv": "reload" }), json!({ "argv": [], "wthin": "1s" })] {
        let (checked, runs) = command(settings, &[ended(0, "")]).await;
        assert!(!checked.passed && checked.why.contains("its settings cannot be used"), "{}", checked.why);
        assert_eq!(runs, 0);
    }
}

#[tokio::test]
async fn a_program_that_ends_with_0_passes() {
    let (checked, runs) = command(json!(["probe", "--deep"]), &[ended(0, "")]).await;
    let why = "`probe --deep` ended with 0".to_owned();
    assert_eq!(checked, Checked { check: "command probe --deep".into(), passed: true, why });
    assert_eq!(runs, 1);
}

#[tokio::test]
async fn a_program_is_tried_once_unless_a_time_is_given() {
    let (checked, runs) = command(json!(["probe", "--deep"]), &[ended(3, "noise\n\u{1b}[31mno route\n\n"), ended(0, "")]).await;
    assert_eq!(checked.why, "`probe --deep` ended with 3, expected 0 (it said: [31mno route)");
    assert_eq!(runs, 1);

    let patient = json!({ "argv": ["probe", "--deep"], "within": "1m", "every": "10ms" });
    let (checked, runs) = command(patient, &[ended(3, ""), ended(3, ""), ended(0, "")]).await;
    assert!(checked.passed);
    assert_eq!(runs, 3);
}

#[tokio::test]
async fn a_program_that_cannot_run_is_not_tried_again() {
    let absent = Err(Refusal::new(Code::Absent, "start `probe`: there is no such program"));
    let patient = json!({ "argv": ["probe", "--deep"], "within": "1m", "every": "10ms" });
    let (checked, runs) = command(patient, &[absent]).await;
    assert_eq!(checked.why, "`probe --deep` did not run to its end: start `probe`: there is no such program");
    assert_eq!(runs, 1);
}

#[test]
fn every_kind_describes_itself_and_its_example_fits_its_schema() {
    for check in trued_checks::kinds() {
        let descriptor = check.describe();
        let schema = jsonschema::draft202012::new(&descriptor.schema).unwrap();
        assert!(schema.is_valid(&descriptor.example), "{}", descriptor.kind);
        assert!(!schema.is_valid(&json!({ "argv": ["x"], "url": "http://x", "no-such-key": 1 })), "{}", descriptor.kind);
    }
    let command = trued_checks::kinds().remove(0).describe();
    assert!(jsonschema::draft202012::new(&command.schema).unwrap().is_valid(&json!(["nginx", "-t"])));
}
