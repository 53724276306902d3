//! The control socket, with both ends in this process.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::sync::Notify;
use trued_doors::BoxFuture;
use trued_model::Code;
use trued_server::control::{ControlSocket, Controlled, Peer, Request, Response, ask, listen};

/// Answers what it was asked; some verbs make trouble.
#[derive(Default)]
struct Echo {
    calls: AtomicUsize,
    begun: Notify,
    go_on: Notify,
}

impl Controlled for Echo {
    fn call<'a>(&'a self, request: Request, peer: Peer) -> BoxFuture<'a, Response> {
        Box::pin(async move {
            self.calls.fetch_add(1, Ordering::Relaxed);
            let body = match request.verb.as_str() {
                "panic" => panic!("asked to"),
                "huge" => Value::String("x".repeat(17 << 20)),
                "wait" => {
                    self.begun.notify_one();
                    self.go_on.notified().await;
                    json!("waited")
                }
                "who" => json!({ "uid": peer.uid, "pid": peer.pid, "name": peer.name }),
                _ => request.arguments,
            };
            Response { ok: true, body, message: format!("did {}", request.verb), remarks: Vec::new() }
        })
    }
}

fn start(state: &Path) -> (ControlSocket, Arc<Echo>) {
    let echo = Arc::new(Echo::default());
    (listen(state, echo.clone()).unwrap(), echo)
}

fn request(verb: &str, arguments: Value) -> Request {
    Request { verb: verb.into(), arguments }
}

async fn asked(state: &Path, verb: &str, arguments: Value) -> Response {
    ask(state, &request(verb, arguments)).await.unwrap().expect("somebody listens")
}

/// Sends raw bytes and gives all that comes back.
async fn raw(state: &Path, bytes: &'static [u8]) -> String {
    let path = state.join("control.sock");
    tokio::task::spawn_blocking(move || {
        use std::io::{Read as _, Write as _};
        let mut stream = UnixStream::connect(path).unwrap();
        // The other side may refuse before it has read all.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn a_request_is_answered_and_the_kernel_says_who_asked() {
    let state = tempfile::tempdir().unwrap();
    let (_socket, _) = start(state.path());
    let arguments = json!({ "stacks": ["prod/site"], "note": "two\nlines" });
    assert_eq!(
        asked(state.path(), "reconcile", arguments.clone()).await,
        Response { ok: true, body: arguments, message: "did reconcile".into(), remarks: Vec::new() }
    );
    let who = asked(state.path(), "who", json!({ "uid": 4711 })).await.body;
    assert_eq!(who["uid"], fs::metadata("/proc/self").unwrap().uid());
    assert_eq!(who["pid"], std::process::id());
}

#[tokio::test]
async fn nobody_listening_is_an_answer_and_not_an_error() {
    let state = tempfile::tempdir().unwrap();
    let ping = request("ping", Value::Null);
    assert_eq!(ask(&state.path().join("none"), &ping).await, Ok(None));
    assert_eq!(ask(state.path(), &ping).await, Ok(None));
    drop(UnixListener::bind(state.path().join("control.sock")).unwrap());
    assert_eq!(ask(state.path(), &ping).await, Ok(None));
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_a_living_one_is_not() {
    let state = tempfile::tempdir().unwrap();
    drop(UnixListener::bind(state.path().join("control.sock")).unwrap());
    let (socket, _) = start(state.path());
    let refusal = listen(state.path(), Arc::new(Echo::default())).err().unwrap();
    assert_eq!(refusal.code, Code::Denied);
    assert!(refusal.message.contains("another process listens there"), "{refusal}");
    assert!(asked(state.path(), "ping", Value::Null).await.ok);
    drop(socket);
    assert!(!state.path().join("control.sock").exists());
    let _again = start(state.path());
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_left_alone() {
    let state = tempfile::tempdir().unwrap();
    fs::write(state.path().join("control.sock"), "notes").unwrap();
    assert_eq!(listen(state.path(), Arc::new(Echo::default())).err().unwrap().code, Code::Invalid);
    assert_eq!(fs::read_to_string(state.path().join("control.sock")).unwrap(), "notes");
}

#[tokio::test]
async fn a_socket_that_took_the_place_is_not_removed_by_the_one_before() {
    let state = tempfile::tempdir().unwrap();
    let path = state.path().join("control.sock");
    let (socket, _) = start(state.path());
    fs::rename(&path, state.path().join("old")).unwrap();
    let _next = UnixListener::bind(&path).unwrap();
    drop(socket);
    assert!(fs::symlink_metadata(&path).unwrap().file_type().is_socket());
}

#[tokio::test]
async fn the_socket_is_its_owners_alone() {
    let state = tempfile::tempdir().unwrap();
    fs::set_permissions(state.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (_socket, _) = start(state.path());
    let path = state.path().join("control.sock");
    let meta = fs::symlink_metadata(&path).unwrap();
    assert_eq!(meta.mode() & 0o7777, 0o600);
    // To connect is to write. Root may write anything, so another user tries.
    if meta.uid() == 0 {
        let may = |what: &str, path: &Path| {
            std::process::Command::new("test").arg(what).arg(path).uid(65534).gid(65534).status().unwrap().success()
        };
        assert!(may("-x", state.path()), "the folder itself must not be what keeps others out");
        assert!(!may("-w", &path));
    }
}

#[tokio::test]
async fn a_state_folder_with_a_long_path_works() {
    let root = tempfile::tempdir().unwrap();
    let state = root.path().join("a-folder-with-a-long-name".repeat(8)).join("b".repeat(200));
    fs::create_dir_all(&state).unwrap();
    assert!(state.as_os_str().len() > 300);
    let (_socket, _) = start(&state);
    assert!(asked(&state, "ping", Value::Null).await.ok);
    assert_eq!(listen(&state, Arc::new(Echo::default())).err().unwrap().code, Code::Denied);
}

#[tokio::test]
async fn a_state_folder_that_is_missing_or_none_is_refused() {
    let root = tempfile::tempdir().unwrap();
    assert_eq!(listen(&root.path().join("none"), Arc::new(Echo::default())).err().unwrap().code, Code::Absent);
    fs::write(root.path().join("file"), "").unwrap();
    assert_eq!(listen(&root.path().join("file"), Arc::new(Echo::default())).err().unwrap().code, Code::Invalid);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_clients_than_places_are_all_answered() {
    let state = tempfile::tempdir().unwrap();
    let (_socket, echo) = start(state.path());
    let asking = (0..300).map(|n| {
        let path = state.path().to_owned();
        tokio::spawn(async move { asked(&path, "count", json!(n)).await.body })
    });
    for (n, answer) in asking.collect::<Vec<_>>().into_iter().enumerate() {
        assert_eq!(answer.await.unwrap(), json!(n));
    }
    assert_eq!(echo.calls.load(Ordering::Relaxed), 300);
}

#[tokio::test]
async fn one_connection_may_ask_more_than_once() {
    let state = tempfile::tempdir().unwrap();
    let (_socket, _) = start(state.path());
    let answers = raw(state.path(), b"{\"verb\":\"a\"}\n{\"verb\":\"b\",\"arguments\":1}\n").await;
    assert_eq!(answers, "{\"ok\":true,\"body\":null,\"message\":\"did a\"}\n{\"ok\":true,\"body\":1,\"message\":\"did b\"}\n");
}

#[tokio::test]
async fn what_is_no_request_is_refused_with_words_and_nothing_is_called() {
    let state = tempfile::tempdir().unwrap();
    let (_socket, echo) = start(state.path());
    for bytes in [b"hello\n".as_slice(), b"[]\n", b"{\"arguments\":1}\n", b"\xff\xfe\n", b"\n", b"{\"verb\":1}\n{\"verb\":\"next\"}\n"] {
        let answer: Response = serde_json::from_str(&raw(state.path(), bytes).await).unwrap();
        assert!(!answer.ok && answer.message.starts_with("the request is not a verb"), "{}", answer.message);
    }
    // Half a request may be anything.
    assert_eq!(raw(state.path(), b"{\"verb\":\"apply\"}").await, "");
    assert_eq!(raw(state.path(), b"").await, "");
    assert_eq!(echo.calls.load(Ordering::Relaxed), 0);
    assert!(asked(state.path(), "ping", Value::Null).await.ok);
}

#[tokio::test]
async fn fault_86_requests_and_answers_beyond_their_bounds_are_refused() {
    let state = tempfile::tempdir().unwrap();
    let (_socket, echo) = start(state.path());
    let large = Box::leak(format!("{{\"verb\":\"{}\"}}\n", "x".repeat(2 << 20)).into_boxed_str());
    let answer = raw(state.path(), large.as_bytes()).await;
    assert!(answer.is_empty() || answer.contains("the request is larger than 1048576 bytes"), "{answer}");
    let refusal = ask(state.path(), &request("x", json!("x".repeat(2 << 20)))).await.unwrap_err();
    assert_eq!(refusal.code, Code::TooLarge);
    assert_eq!(echo.calls.load(Ordering::Relaxed), 0);

    let answer = asked(state.path(), "huge", Value::Null).await;
    assert!(!answer.ok && answer.message.contains("larger than 16777216 bytes"), "{}", answer.message);
}

#[tokio::test]
async fn fault_80_a_call_that_panics_stops_nobody_else() {
    let state = tempfile::tempdir().unwrap();
    let (_socket, _) = start(state.path());
    let refusal = ask(state.path(), &request("panic", Value::Null)).await.unwrap_err();
    assert_eq!(refusal.code, Code::Unknown);
    assert!(refusal.message.contains("it went away before it answered"), "{refusal}");
    assert!(asked(state.path(), "ping", Value::Null).await.ok);
}

#[tokio::test]
async fn fault_82_closing_answers_what_is_in_hand_and_takes_nothing_new() {
    let state = tempfile::tempdir().unwrap();
    let (socket, echo) = start(state.path());
    let path = state.path().to_owned();
    let waiting = tokio::spawn(async move { asked(&path, "wait", Value::Null).await });
    echo.begun.notified().await;
    let closing = tokio::spawn(socket.close());
    while state.path().join("control.sock").exists() {
        tokio::task::yield_now().await;
    }
    assert_eq!(ask(state.path(), &request("ping", Value::Null)).await, Ok(None));
    echo.go_on.notify_one();
    assert_eq!(waiting.await.unwrap().body, json!("waited"));
    closing.await.unwrap();
}

#[tokio::test]
async fn a_socket_dropped_in_the_middle_of_a_call_leaves_the_asker_with_unknown() {
    let state = tempfile::tempdir().unwrap();
    let (socket, echo) = start(state.path());
    let path = state.path().to_owned();
    let waiting = tokio::spawn(async move { ask(&path, &request("wait", Value::Null)).await });
    echo.begun.notified().await;
    drop(socket);
    assert_eq!(waiting.await.unwrap().unwrap_err().code, Code::Unknown);
}
