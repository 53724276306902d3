//! The driver suite against a real API server: a ConfigMap is a thing, a namespace is a target. Every promise runs, none is left
//! out. What a ConfigMap cannot have is not in it and shown in `crates/trued/tests/kubernetes`: kinds that are deferred or denied,
//! finalizers, fields of others, replacing, health by status, happenings and reports.

use std::io::Write as _;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use trued_doors::conformance::driver::World;
use trued_doors::{Driver, driver_suite};
use trued_model::{Address, BlobRef, Digest, Document, Shape};

static COUNT: AtomicU32 = AtomicU32::new(0);

struct Namespace {
    name: String,
    /// Where the server really is.
    server: String,
    authority: String,
    /// What the driver is told: the server behind a wire that can be cut.
    kubeconfig: tempfile::NamedTempFile,
    wire: Wire,
}

fn namespace() -> Namespace {
    let path = std::env::var("TRUED_TEST_KUBECONFIG").unwrap_or_else(|_| {
        panic!("no Kubernetes API server: run `cargo xtask partners --run -- cargo test -p trued-kubernetes --test conformance`");
    });
    let text = std::fs::read_to_string(path).expect("a kubeconfig");
    let value = |key: &str| text.lines().find_map(|line| line.trim().strip_prefix(key)).expect("a value").trim().to_owned();
    let server = value("server:");
    let wire = Wire::to(server.trim_start_matches("https://").trim_end_matches('/').to_owned());
    let mut kubeconfig = tempfile::NamedTempFile::new().expect("a file");
    kubeconfig.write_all(text.replace(&server, &format!("https://127.0.0.1:{}", wire.port)).as_bytes()).expect("written");
    let name = format!("suite-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let namespace = Namespace { name, server, authority: value("certificate-authority:"), kubeconfig, wire };
    let object = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace.name } });
    namespace.request("POST", "/api/v1/namespaces", "application/json", Some(&object)).expect("made");
    namespace
}

impl Namespace {
    /// A stranger's request. `None` when the answer is 404.
    fn request(&self, method: &str, path: &str, kind: &str, body: Option<&Value>) -> Option<Value> {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "60", "--cacert", &self.authority, "-X", method]);
        curl.args(["-H", "Authorization: Bearer admin-token", "-H", &format!("Content-Type: {kind}"), "-w", "\n%{http_code}"]);
        if body.is_some() {
            curl.args(["--data-binary", "@-"]);
        }
        let mut curl = curl.arg(format!("{}{path}", self.server)).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("curl");
        let mut input = curl.stdin.take().expect("its input");
        input.write_all(body.map(Value::to_string).unwrap_or_default().as_bytes()).expect("written");
        drop(input);
        let output = curl.wait_with_output().expect("ended");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let (text, status) = said.rsplit_once('\n').expect("a status");
        match status.parse::<u32>() {
            Ok(200..300) => Some(serde_json::from_str(text).expect("JSON")),
            Ok(404) => None,
            _ => panic!("{method} {path}: {said}"),
        }
    }

    fn all(&self) -> String {
        format!("/api/v1/namespaces/{}/configmaps", self.name)
    }

    fn path(&self, address: &Address) -> String {
        format!("{}/{}", self.all(), address.as_str().rsplit('/').next().unwrap_or_default())
    }
}

fn holding(content: &[u8]) -> Value {
    json!({ "content": STANDARD.encode(content) })
}

fn held(object: &Value) -> Vec<u8> {
    STANDARD.decode(object["binaryData"]["content"].as_str().unwrap_or_default()).expect("base64")
}

impl World for Namespace {
    fn driver(&self) -> Arc<dyn Driver> {
        trued_kubernetes::driver()
    }

    fn settings(&self) -> Value {
        json!({ "kubeconfig": self.kubeconfig.path(), "context": "admin" })
    }

    fn ledger(&self) -> String {
        format!("trued/{}", self.name)
    }

    fn into(&self) -> String {
        self.name.clone()
    }

    fn document(&self, name: &str, content: BlobRef, identity: Digest) -> Document {
        Document { path: format!("{name}.yaml"), shape: Shape::File { executable: false }, identity, content, text: None }
    }

    fn written(&self, name: &str, content: &[u8]) -> Vec<u8> {
        let name = name.replace('/', ".");
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "binaryData": holding(content) })
            .to_string()
            .into_bytes()
    }

    fn content(&self, kept: &[u8]) -> Vec<u8> {
        held(&serde_json::from_slice(kept).expect("an object"))
    }

    fn read(&self, address: &Address) -> Option<Vec<u8>> {
        self.request("GET", &self.path(address), "application/json", None).as_ref().map(held)
    }

    fn put(&self, address: &Address, content: &[u8]) {
        let path = self.path(address);
        let name = address.as_str().rsplit('/').next();
        let object = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "binaryData": holding(content) });
        let there = self.request("PATCH", &format!("{path}?fieldManager=stranger"), "application/merge-patch+json", Some(&object));
        if there.is_none() {
            self.request("POST", &format!("{}?fieldManager=stranger", self.all()), "application/json", Some(&object)).expect("made");
        }
    }

    fn remove(&self, address: &Address) {
        self.request("DELETE", &self.path(address), "application/json", None);
    }

    fn hide(&self) {
        self.wire.cut();
    }

    fn trace(&self) -> String {
        let list = self.request("GET", &self.all(), "application/json", None).expect("a list");
        let one = |object: &Value| {
            format!("{} {} {}\n", object["metadata"]["name"], object["metadata"]["uid"], object["metadata"]["resourceVersion"])
        };
        list["items"].as_array().expect("items").iter().map(one).collect()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.request("DELETE", &format!("/api/v1/namespaces/{}", self.name), "application/json", None);
        }
    }
}

/// Carries bytes between the driver and the server, until it is cut.
struct Wire {
    port: u16,
    ends: Arc<Mutex<Vec<TcpStream>>>,
    is_cut: Arc<AtomicBool>,
}

impl Wire {
    fn to(server: String) -> Wire {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let wire = Wire { port, ends: Arc::default(), is_cut: Arc::default() };
        let (ends, is_cut) = (wire.ends.clone(), wire.is_cut.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let mut ends = ends.lock().unwrap_or_else(PoisonError::into_inner);
                if is_cut.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(upstream) = TcpStream::connect(&server) else { continue };
                let copies = [&client, &upstream].map(|end| end.try_clone().expect("another handle"));
                ends.extend([&client, &upstream].map(|end| end.try_clone().expect("another handle")));
                let [client_again, upstream_again] = copies;
                std::thread::spawn(move || carry(client, upstream));
                std::thread::spawn(move || carry(upstream_again, client_again));
            }
        });
        wire
    }

    fn cut(&self) {
        let ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_cut.store(true, Ordering::SeqCst);
        // One that has ended already cannot be ended again.
        ends.iter().for_each(|end| drop(end.shutdown(Shutdown::Both)));
        drop(ends);
        // Wakes the listener, which goes.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.cut();
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream) {
    // Either side may end at any time.
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

driver_suite!(namespace);
