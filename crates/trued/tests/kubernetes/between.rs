//! A proxy between the program and the API server that loses, delays, refuses and counts, as a test says.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// One request, as the program sent it.
pub struct Asked {
    pub method: String,
    /// With its query.
    pub path: String,
}

impl Asked {
    /// Whether it changes something.
    pub fn writes(&self) -> bool {
        ["PATCH", "POST", "PUT", "DELETE"].contains(&self.method.as_str()) && !self.path.contains("dryRun")
    }
}

/// What becomes of a request.
pub enum Fate {
    Passes,
    /// Does not arrive; the connection breaks.
    Lost,
    /// Arrives and is done, which is told here; the answer does not come back.
    AnswerLost(Arc<AtomicBool>),
    /// Answered by the proxy: status, further headers, body.
    Answered(u16, &'static str, String),
    /// Passes, and the body of the answer is another one.
    Rewritten(fn(String) -> String),
}

/// Decides about requests, in the order they come.
pub type Decide = dyn Fn(&Asked) -> Fate + Send + Sync;

/// Runs until it is dropped.
pub struct Between {
    port: u16,
    over: Arc<AtomicBool>,
    /// Watches that are open now, from either end.
    open: Open,
}

type Open = Arc<Mutex<Vec<TcpStream>>>;

impl Between {
    pub fn start(server: &str, authority: &str, decide: impl Fn(&Asked) -> Fate + Send + Sync + 'static) -> Between {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let over = Arc::new(AtomicBool::new(false));
        let upstream = Arc::new(Upstream::new(server, authority));
        let decide: Arc<Decide> = Arc::new(decide);
        let ended = over.clone();
        let open = Open::default();
        let opened = open.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let (upstream, decide, open) = (upstream.clone(), decide.clone(), opened.clone());
                // A stream that breaks is what these tests are about.
                std::thread::spawn(move || drop(upstream.one(stream, decide.as_ref(), &open)));
            }
        });
        Between { port, over, open }
    }

    /// Breaks all watches that are open.
    pub fn cut(&self) {
        let open = std::mem::take(&mut *self.open.lock().unwrap_or_else(PoisonError::into_inner));
        // One that has ended already cannot be ended again.
        open.iter().for_each(|end| drop(end.shutdown(std::net::Shutdown::Both)));
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // Wakes the listener.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

struct Upstream {
    address: String,
    config: Arc<ClientConfig>,
}

impl Upstream {
    fn new(server: &str, authority: &str) -> Upstream {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(authority).expect("a certificate authority") {
            roots.add(certificate.expect("a certificate")).expect("added");
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
        let config = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
        Upstream { address: server.trim_start_matches("https://").trim_end_matches('/').to_owned(), config }
    }

    /// One request on one connection: then there is nothing to keep in step.
    fn one(&self, client: TcpStream, decide: &Decide, open: &Open) -> std::io::Result<()> {
        let mut reader = BufReader::new(client.try_clone()?);
        let mut head = String::new();
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let (name, value) = line.split_once(':').unwrap_or_default();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().unwrap_or(0),
                "connection" | "accept-encoding" => continue,
                "host" => line = format!("host: {}\r\n", self.address),
                _ => {}
            }
            if line == "\r\n" {
                break;
            }
            head += &line;
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let mut words = head.split(' ');
        let mut word = || words.next().unwrap_or_default().to_owned();
        let asked = Asked { method: word(), path: word() };
        let fate = decide(&asked);
        if let Fate::Lost = fate {
            return client.shutdown(std::net::Shutdown::Both);
        }
        let mut client = client;
        if let Fate::Answered(status, headers, body) = fate {
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status} So\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}"
            );
            client.write_all(answer.as_bytes())?;
            client.shutdown(std::net::Shutdown::Write)?;
            // Closed only once the client has: an answer in flight is never torn.
            return std::io::copy(&mut reader, &mut std::io::sink()).map(drop);
        }
        let name = ServerName::try_from(self.address.split(':').next().unwrap_or_default().to_owned()).expect("a name");
        let connection = ClientConnection::new(self.config.clone(), name).map_err(std::io::Error::other)?;
        let upstream = TcpStream::connect(&self.address)?;
        if asked.path.contains("watch=1") {
            open.lock().unwrap_or_else(PoisonError::into_inner).extend([client.try_clone()?, upstream.try_clone()?]);
        }
        let mut server = StreamOwned::new(connection, upstream);
        server.write_all(head.as_bytes())?;
        server.write_all(b"connection: close\r\n\r\n")?;
        server.write_all(&body)?;
        server.flush()?;
        if let Fate::Rewritten(rewrite) = fate {
            let mut answer = Vec::new();
            // A server may end a connection without saying goodbye.
            let _ = server.read_to_end(&mut answer);
            let answer = String::from_utf8_lossy(&answer).into_owned();
            let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
            let body = if head.to_ascii_lowercase().contains("transfer-encoding: chunked") { unchunked(body) } else { body.to_owned() };
            let body = rewrite(body);
            let kept = head.lines().filter(|line| {
                let line = line.to_ascii_lowercase();
                !["transfer-encoding:", "content-length:", "connection:"].iter().any(|name| line.starts_with(name))
            });
            let head: String = kept.map(|line| format!("{line}\r\n")).collect();
            return write!(client, "{head}content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
        }
        client.set_write_timeout(Some(Duration::from_secs(60)))?;
        let mut piece = [0; 16 << 10];
        loop {
            let got = match server.read(&mut piece) {
                Ok(0) | Err(_) => break,
                Ok(got) => got,
            };
            if let Fate::AnswerLost(done) = &fate {
                done.store(true, Ordering::SeqCst);
                break;
            }
            client.write_all(&piece[..got])?;
        }
        client.shutdown(std::net::Shutdown::Both)
    }
}

fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if size == 0 {
            break;
        }
        whole += rest.get(..size).unwrap_or_default();
        body = rest.get(size + 2..).unwrap_or_default();
    }
    whole
}
