//! A registry and a repository of charts in one, on this machine: it takes what `helm push` sends, serves what `helm repo index`
//! made, and counts what the program under test asks.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use trued_model::Digest;

/// One request: method, path with its query, authorization.
pub type Asked = (String, String, String);
pub type Answer = (u16, Vec<(String, String)>, Vec<u8>);

#[derive(Default)]
pub struct Kept {
    /// By path.
    pub bytes: Mutex<BTreeMap<String, Vec<u8>>>,
    asked: Mutex<Vec<Asked>>,
    over: AtomicBool,
}

/// A registry and a web server in one, on this machine.
pub struct Server {
    pub port: u16,
    pub kept: Arc<Kept>,
}

type Before = dyn Fn(&Asked) -> Option<Answer> + Send + Sync;

impl Server {
    /// `before` may answer the program under test instead of it.
    pub fn start(before: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static) -> Server {
        Server::over(None, before)
    }

    /// One that shows a certificate, if it has one.
    pub fn over(tls: Option<Arc<ServerConfig>>, before: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let kept = Arc::new(Kept::default());
        let (held, before): (_, Arc<Before>) = (kept.clone(), Arc::new(before));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if held.over.load(Ordering::Relaxed) {
                    return;
                }
                let (kept, before, tls) = (held.clone(), before.clone(), tls.clone());
                // A client that goes away, or does not believe its certificate, is none of its business.
                std::thread::spawn(move || match tls {
                    None => drop(one(stream, &kept, before.as_ref())),
                    Some(tls) => {
                        let mut stream = StreamOwned::new(ServerConnection::new(tls).unwrap(), stream);
                        let _ = one(&mut stream, &kept, before.as_ref());
                        stream.conn.send_close_notify();
                        let _ = stream.flush();
                    }
                });
            }
        });
        Server { port, kept }
    }

    pub fn at(&self, scheme: &str, path: &str) -> String {
        format!("{scheme}://127.0.0.1:{}{path}", self.port)
    }

    pub fn put(&self, path: &str, bytes: Vec<u8>) {
        self.kept.bytes.lock().unwrap().insert(path.to_owned(), bytes);
    }

    /// Has all that another one has.
    pub fn stocked_as(self, other: &Server) -> Server {
        *self.kept.bytes.lock().unwrap() = other.kept.bytes.lock().unwrap().clone();
        self
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.kept.asked.lock().unwrap().clone()
    }

    /// What a chart was pushed as.
    pub fn manifest(&self) -> Digest {
        self.manifest_of("shop", "1.2.3")
    }

    pub fn manifest_of(&self, name: &str, version: &str) -> Digest {
        let bytes = self.kept.bytes.lock().unwrap();
        let tagged = bytes.keys().find(|path| path.ends_with(&format!("/{name}/manifests/{version}"))).expect("a chart was pushed");
        Digest::of(&bytes[tagged])
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kept.over.store(true, Ordering::Relaxed);
        // Wakes the listener.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

fn one(stream: impl Read + Write, kept: &Kept, before: &Before) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(()) };
    let (mut authorization, mut length, mut ours) = (String::new(), 0, false);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.trim().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "authorization" => authorization = value.to_owned(),
            // What a proxy is told is told to nobody else.
            "proxy-authorization" => authorization = format!("of the proxy: {value}"),
            // What `helm push` asks is nobody's business here.
            "user-agent" => ours = value == "trued",
            "content-length" => length = value.parse().unwrap(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let asked = (method, path, authorization);
    if ours {
        kept.asked.lock().unwrap().push(asked.clone());
    }
    let told = if ours { before(&asked) } else { None };
    let (status, headers, bytes) = told.unwrap_or_else(|| answer(&asked, body, kept));
    let stream = reader.get_mut();
    write!(stream, "HTTP/1.1 {status} Said\r\nConnection: close\r\nContent-Length: {}\r\n", bytes.len())?;
    headers.iter().try_for_each(|(name, value)| write!(stream, "{name}: {value}\r\n"))?;
    write!(stream, "\r\n")?;
    if asked.0 == "HEAD" { Ok(()) } else { stream.write_all(&bytes) }
}

/// As a registry does, as far as `helm push` asks; files for everybody else.
fn answer((method, path, _): &Asked, body: Vec<u8>, kept: &Kept) -> Answer {
    let mut bytes = kept.bytes.lock().unwrap();
    let (place, query) = path.split_once('?').unwrap_or((path, ""));
    match method.as_str() {
        "POST" => (202, vec![("Location".to_owned(), format!("{place}1"))], Vec::new()),
        "PUT" => {
            let digest = Digest::of(&body);
            let into = match place.split_once("/uploads/") {
                Some((blobs, _)) => {
                    assert!(query.replace("%3A", ":").contains(&digest.to_string()), "{query}");
                    format!("{blobs}/{digest}")
                }
                None => {
                    let (manifests, _) = place.rsplit_once('/').unwrap();
                    bytes.insert(format!("{manifests}/{digest}"), body.clone());
                    place.to_owned()
                }
            };
            bytes.insert(into, body);
            (201, vec![("Docker-Content-Digest".to_owned(), digest.to_string()), ("Location".to_owned(), place.to_owned())], Vec::new())
        }
        _ if place == "/v2/" => (200, Vec::new(), b"{}".to_vec()),
        _ => match bytes.get(place) {
            Some(found) => {
                let manifest = place.contains("/manifests/");
                let kind = if manifest { "application/vnd.oci.image.manifest.v1+json" } else { "application/octet-stream" };
                let digest = ("Docker-Content-Digest".to_owned(), Digest::of(found).to_string());
                (200, vec![("Content-Type".to_owned(), kind.to_owned()), digest], found.clone())
            }
            None => (404, Vec::new(), Vec::new()),
        },
    }
}
