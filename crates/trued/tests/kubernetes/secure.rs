//! A server of a test's own behind TLS, for the API server to turn to: of kinds that are not its own, or of what it admits.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use crate::cluster::{Ground, variable};

pub type Stream = StreamOwned<ServerConnection, TcpStream>;

/// A request that came in.
pub struct Heard {
    pub method: String,
    /// With its query.
    pub target: String,
    pub body: Vec<u8>,
}

/// Answers one request, until it is over.
pub type Answer = dyn Fn(&Heard, &AtomicBool, &mut Stream) -> std::io::Result<()> + Send + Sync;

/// A server at `localhost`, until it is dropped.
pub struct Secure {
    pub port: u16,
    /// Its own certificate, for whoever is to trust it: PEM.
    pub certificate: String,
    over: Arc<AtomicBool>,
}

impl Secure {
    /// Listens; at port 0 for any that is free.
    pub fn start(port: u16, answer: impl Fn(&Heard, &AtomicBool, &mut Stream) -> std::io::Result<()> + Send + Sync + 'static) -> Secure {
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        let certificate = params.self_signed(&key).expect("signed");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let config = Arc::new(builder.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).expect("they fit"));
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let over = Arc::new(AtomicBool::new(false));
        let ended = over.clone();
        let answer: Arc<Answer> = Arc::new(answer);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                let (config, answer, over) = (config.clone(), answer.clone(), ended.clone());
                std::thread::spawn(move || {
                    let connection = ServerConnection::new(config).expect("a connection");
                    // Whoever asks may go at any time.
                    drop(one(answer.as_ref(), &over, StreamOwned::new(connection, stream)));
                });
            }
        });
        let text = STANDARD.encode(certificate.der());
        let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("text")).collect();
        let certificate = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"));
        Secure { port, certificate, over }
    }
}

impl Drop for Secure {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // Wakes the listener.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
        // Gone is it once nobody can connect.
        while TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Answers one request, and closes.
fn one(answer: &Answer, over: &AtomicBool, mut stream: Stream) -> std::io::Result<()> {
    let mut reader = BufReader::new(&mut stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        if let Some((_, value)) = line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("content-length")) {
            length = value.trim().parse().unwrap_or(0);
        }
        if line == "\r\n" {
            break;
        }
        head += &line;
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    drop(reader);
    let mut words = head.split(' ');
    let mut word = || words.next().unwrap_or_default().to_owned();
    answer(&Heard { method: word(), target: word(), body }, over, &mut stream)
}

pub fn say(stream: &mut Stream, code: u16, said: &Value) -> std::io::Result<()> {
    let body = said.to_string();
    let length = body.len();
    write!(stream, "HTTP/1.1 {code} So\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")?;
    stream.conn.send_close_notify();
    stream.flush()
}

/// What the API server was told of a server, by its path. It goes even if the test fails: one that leads nowhere is in
/// everybody's way.
pub struct Registered {
    path: String,
    authority: String,
}

impl Registered {
    pub fn at(ground: &Ground, path: String) -> Registered {
        Registered { path, authority: ground.authority().to_owned() }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let kubeconfig = std::fs::read_to_string(variable("TRUED_TEST_KUBECONFIG")).unwrap_or_default();
        let server = kubeconfig.lines().find_map(|line| line.trim().strip_prefix("server:")).unwrap_or_default().trim().to_owned();
        let mut curl = std::process::Command::new("curl");
        curl.args(["--silent", "--noproxy", "*", "--max-time", "60", "--cacert", &self.authority, "-X", "DELETE", "-o", "/dev/null"]);
        // What cannot be removed goes with the cluster.
        let _ = curl.args(["-H", "Authorization: Bearer admin-token"]).arg(format!("{server}{}", self.path)).status();
    }
}

/// A webhook that is asked about each of these acts in the test's namespace, until it is dropped.
pub struct Webhook {
    _registered: Registered,
    _server: Secure,
}

impl Webhook {
    /// `Mutating` or `Validating`; for a plural of a group. It takes a request for admission, and gives the response to it.
    pub fn start(
        ground: &Ground,
        kind: &str,
        (group, plural): (&str, &str),
        operations: &[&str],
        decide: impl Fn(&Value) -> Value + Send + Sync + 'static,
    ) -> Webhook {
        let server = Secure::start(0, move |heard, _, stream| {
            let review: Value = serde_json::from_slice(&heard.body).unwrap_or_default();
            let mut response = decide(&review["request"]);
            response["uid"] = review["request"]["uid"].clone();
            say(stream, 200, &json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response }))
        });
        let here = json!({ "matchLabels": { "kubernetes.io/metadata.name": ground.namespace } });
        let rules = json!([{ "apiGroups": [group], "apiVersions": ["v1"], "operations": operations, "resources": [plural] }]);
        let client = json!({ "url": format!("https://localhost:{}/", server.port), "caBundle": STANDARD.encode(&server.certificate) });
        let kind = format!("{kind}WebhookConfiguration");
        ground.apply(
            "test",
            &json!({
                "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": { "name": ground.namespace },
                "webhooks": [{ "name": "hook.example.org", "sideEffects": "None", "admissionReviewVersions": ["v1"], "failurePolicy": "Fail",
                    "namespaceSelector": here, "rules": rules, "clientConfig": client }],
            }),
        );
        let path = format!("/apis/admissionregistration.k8s.io/v1/{}s/{}", kind.to_lowercase(), ground.namespace);
        Webhook { _registered: Registered::at(ground, path), _server: server }
    }
}
