//! Reports of other machines: over https, with the target's token, and where an authority is named with a certificate of it.
//! Everything else is turned away, costs little and is counted.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use trued_doors::{Answer, BoxFuture};
use trued_model::Code;
use trued_server::reports::{Reports, Tally};
use trued_server::secure::{Papers, listen};
use trued_server::{Bounds, Listening};

/// Bounds waits that only end a test in which something is broken.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Stub(Mutex<Vec<String>>);

impl Reports for Stub {
    fn admits<'a>(&'a self, target: &'a str, token: &'a str) -> BoxFuture<'a, bool> {
        Box::pin(async move { (target, token) == ("edge", "right") })
    }

    fn take<'a>(&'a self, target: &'a str, said: &'a [u8]) -> BoxFuture<'a, Answer<u64>> {
        Box::pin(async move {
            self.0.lock().expect("free").push(format!("{target}: {}", String::from_utf8_lossy(said)));
            Ok(1)
        })
    }
}

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority")
}

/// A certificate of an authority and its key, as PEM.
fn issued(authority: &Authority, purpose: ExtendedKeyUsagePurpose) -> (String, String) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    params.extended_key_usages = vec![purpose];
    (params.signed_by(&key, authority).expect("signed").pem(), key.serialize_pem())
}

struct Ground {
    folder: tempfile::TempDir,
    ours: Authority,
    theirs: Authority,
    stub: Arc<Stub>,
    tally: Arc<Tally>,
    listening: Option<Listening>,
}

impl Ground {
    async fn new(asks_for_certificates: bool, bounds: Bounds) -> Ground {
        let folder = tempfile::tempdir().expect("a folder");
        let (ours, theirs) = (authority(), authority());
        let mut ground = Ground { folder, ours, theirs, stub: Arc::default(), tally: Arc::default(), listening: None };
        ground.renew();
        ground.write("clients.pem", &ground.theirs.pem());
        let authority = asks_for_certificates.then(|| ground.at("clients.pem"));
        let papers = Papers { authority, ..ground.papers() };
        let address = "127.0.0.1:0".parse().expect("an address");
        ground.listening = Some(listen(address, papers, ground.stub.clone(), ground.tally.clone(), bounds).await.expect("listens"));
        ground
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts a file in place, as a rotation does.
    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.at("new"), text).expect("written");
        std::fs::rename(self.at("new"), self.at(name)).expect("in place");
    }

    fn papers(&self) -> Papers {
        Papers { certificate: self.at("tls.crt"), key: self.at("tls.key"), authority: None }
    }

    /// Gives the server another certificate and key of the same authority.
    fn renew(&self) {
        let (certificate, key) = issued(&self.ours, ExtendedKeyUsagePurpose::ServerAuth);
        self.write("tls.crt", &certificate);
        self.write("tls.key", &key);
    }

    fn address(&self) -> SocketAddr {
        self.listening.as_ref().expect("it listens").address()
    }

    fn count(&self, what: &str) -> u64 {
        self.tally.report().pointer(what).and_then(Value::as_u64).expect("a number")
    }

    /// Waits until something is counted so often.
    async fn counted(&self, what: &str, often: u64) {
        let reached = async {
            while self.count(what) < often {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, reached).await.is_ok(), "{what}: {}", self.tally.report());
        assert_eq!(self.count(what), often);
    }

    async fn connect(&self, papers: Option<&(String, String)>) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.ours.der().clone()).expect("added");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
        let builder = builder.with_root_certificates(roots);
        let config = match papers {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).expect("a certificate")];
                builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key")).expect("fits")
            }
        };
        let name = ServerName::try_from("localhost").expect("a name");
        TlsConnector::from(Arc::new(config)).connect(name, TcpStream::connect(self.address()).await?).await
    }

    fn taken(&self) -> Vec<String> {
        self.stub.0.lock().expect("free").clone()
    }
}

/// Sends a request; the status, or `None` where the connection ends without one.
async fn post(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), path: &str, token: &str, body: &str) -> Option<u16> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: reports.example\r\nauthorization: Bearer {token}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.ok()?;
    answer(stream).await
}

async fn answer(stream: &mut (impl AsyncRead + Unpin)) -> Option<u16> {
    let mut said = vec![0; 4096];
    let count = tokio::time::timeout(PATIENCE, stream.read(&mut said)).await.expect("it answers or ends").ok()?;
    String::from_utf8_lossy(&said[..count]).split(' ').nth(1)?.parse().ok()
}

#[tokio::test]
async fn fault_85_a_report_from_elsewhere_needs_https_and_the_targets_own_token() {
    let ground = Ground::new(false, Bounds::default()).await;
    let mut stream = ground.connect(None).await.expect("connected");
    assert_eq!(post(&mut stream, "/audit/edge", "right", "{}").await, Some(200));
    assert_eq!(post(&mut stream, "/audit/edge", "wrong", "").await, Some(401), "on the same connection");
    for (path, token) in [("/audit/edge", "wrong"), ("/audit/edge", ""), ("/audit/other", "right"), ("/audit/edge/wrong", "right")] {
        let mut stream = ground.connect(None).await.expect("connected");
        assert_eq!(post(&mut stream, path, token, "{}").await, Some(401), "{path} {token}");
    }
    ground.counted("/refused/token", 5).await;
    // What is asked on this machine alone is not there.
    for path in ["/healthz", "/livez", "/"] {
        let mut stream = ground.connect(None).await.expect("connected");
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).await.expect("sent");
        assert_eq!(answer(&mut stream).await, Some(404), "{path}");
    }
    let mut plain = TcpStream::connect(ground.address()).await.expect("connected");
    let status = post(&mut plain, "/audit/edge", "right", "{\"plain\":1}").await;
    assert!(status.is_none(), "no http: {status:?}");
    ground.counted("/refused/greeting", 1).await;
    assert_eq!(ground.taken(), ["edge: {}"]);
    assert_eq!(ground.count("/taken"), 1);
}

#[tokio::test]
async fn fault_85_where_an_authority_is_named_nobody_without_its_certificate_is_heard() {
    let ground = Ground::new(true, Bounds::default()).await;
    let known = issued(&ground.theirs, ExtendedKeyUsagePurpose::ClientAuth);
    let strangers = [
        None,
        Some(issued(&ground.ours, ExtendedKeyUsagePurpose::ClientAuth)),
        Some(issued(&authority(), ExtendedKeyUsagePurpose::ClientAuth)),
        Some(issued(&ground.theirs, ExtendedKeyUsagePurpose::ServerAuth)),
    ];
    for (turn, stranger) in strangers.iter().enumerate() {
        // A client may believe that it is connected until it hears otherwise.
        let said = match ground.connect(stranger.as_ref()).await {
            Ok(mut stream) => post(&mut stream, "/audit/edge", "right", "{}").await,
            Err(_) => None,
        };
        assert_eq!(said, None, "stranger {turn}");
    }
    ground.counted("/refused/greeting", 4).await;
    let mut stream = ground.connect(Some(&known)).await.expect("connected");
    assert_eq!(post(&mut stream, "/audit/edge", "wrong", "").await, Some(401), "a certificate is no token");
    assert_eq!(post(&mut stream, "/audit/edge", "right", "{}").await, Some(200));
    assert_eq!(ground.taken(), ["edge: {}"]);
}

#[tokio::test]
async fn fault_86_what_is_too_large_or_does_not_come_is_cut_off() {
    let ground = Ground::new(false, Bounds { bytes: 1000, ..Bounds::default() }).await;
    let mut large = ground.connect(None).await.expect("connected");
    assert_eq!(post(&mut large, "/audit/edge", "right", &"x".repeat(1001)).await, Some(413));
    let mut endless = ground.connect(None).await.expect("connected");
    let head = "POST /audit/edge HTTP/1.1\r\nhost: x\r\nauthorization: Bearer right\r\ntransfer-encoding: chunked\r\n\r\n";
    endless.write_all(format!("{head}3e9\r\n{}\r\n", "x".repeat(1001)).as_bytes()).await.expect("sent");
    assert_eq!(answer(&mut endless).await, Some(413));
    ground.counted("/refused/too_large", 2).await;
    let ground = Ground::new(false, Bounds { body: Duration::from_millis(200), ..Bounds::default() }).await;
    let mut slow = ground.connect(None).await.expect("connected");
    let head = "POST /audit/edge HTTP/1.1\r\nhost: x\r\nauthorization: Bearer right\r\ncontent-length: 10\r\n\r\n{";
    slow.write_all(head.as_bytes()).await.expect("sent");
    assert_eq!(answer(&mut slow).await, Some(408), "a body that does not come");
    ground.counted("/refused/late", 1).await;
    assert_eq!(ground.taken(), Vec::<String>::new());
}

#[tokio::test]
async fn fault_86_those_who_say_nothing_lose_their_places_and_others_are_heard() {
    let ground = Ground::new(false, Bounds { connections: 6, greeting: Duration::from_millis(500), ..Bounds::default() }).await;
    let mut silent = Vec::new();
    for _ in 0..6 {
        silent.push(TcpStream::connect(ground.address()).await.expect("connected"));
    }
    let heard = async {
        loop {
            // On a slow machine one's own greeting may come too late as well.
            if let Ok(mut stream) = ground.connect(None).await
                && post(&mut stream, "/audit/edge", "right", "{}").await == Some(200)
            {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, heard).await.expect("heard in the end");
    assert!(ground.count("/refused/late") >= 1, "{}", ground.tally.report());
    drop(silent);
    // One that greets, and then never says what it wants.
    let ground = Ground::new(false, Bounds { lifetime: Duration::from_secs(1), ..Bounds::default() }).await;
    if let Ok(mut wordless) = ground.connect(None).await {
        let _ = wordless.write_all(b"POST /audit/edge HTTP/1.1\r\n").await;
        assert_eq!(answer(&mut wordless).await, None, "its time is over");
    }
    ground.counted("/refused/late", 1).await;
}

#[tokio::test]
async fn a_connection_that_grows_old_is_asked_to_end_between_two_reports() {
    let seconds = Duration::from_secs;
    for (lifetime, ends) in [(seconds(60), false), (seconds(4), true)] {
        let ground = Ground::new(false, Bounds { lifetime, ..Bounds::default() }).await;
        let mut stream = ground.connect(None).await.expect("connected");
        if ends {
            tokio::time::sleep(lifetime * 5 / 8).await;
        }
        let request = "POST /audit/edge HTTP/1.1\r\nhost: x\r\nauthorization: Bearer right\r\ncontent-length: 2\r\n\r\n{}";
        // On a slow machine the time of the short one may be over: then it was ended as well.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut said = vec![0; 4096];
        let count = stream.read(&mut said).await.unwrap_or(0);
        let said = String::from_utf8_lossy(&said[..count]).to_lowercase();
        assert!(said.is_empty() && ends || said.contains("connection: close") == ends, "{said}");
    }
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_at_once_and_half_a_renewal_changes_nothing() {
    async fn shown(ground: &Ground) -> Vec<u8> {
        let stream = ground.connect(None).await.expect("connected");
        stream.get_ref().1.peer_certificates().expect("one")[0].to_vec()
    }
    fn der(path: &Path) -> Vec<u8> {
        CertificateDer::from_pem_file(path).expect("a certificate").to_vec()
    }
    let ground = Ground::new(false, Bounds::default()).await;
    let first = shown(&ground).await;
    assert_eq!(first, der(&ground.at("tls.crt")));
    ground.renew();
    let second = shown(&ground).await;
    assert_ne!(second, first);
    assert_eq!(second, der(&ground.at("tls.crt")));
    // The certificate of another key, as between two files being replaced; then none at all.
    ground.write("tls.crt", &issued(&ground.ours, ExtendedKeyUsagePurpose::ServerAuth).0);
    assert_eq!(shown(&ground).await, second);
    std::fs::remove_file(ground.at("tls.key")).expect("removed");
    assert_eq!(shown(&ground).await, second);
    ground.renew();
    assert_eq!(shown(&ground).await, der(&ground.at("tls.crt")));
}

#[tokio::test]
async fn papers_that_do_not_belong_together_are_refused_by_name() {
    let ground = Ground::new(false, Bounds::default()).await;
    let (other, _) = issued(&ground.ours, ExtendedKeyUsagePurpose::ServerAuth);
    ground.write("other.crt", &other);
    ground.write("empty", "");
    let papers = ground.papers();
    let cases = [
        (Papers { key: ground.at("gone"), ..papers.clone() }, "gone"),
        (Papers { key: ground.at("other.crt"), ..papers.clone() }, "other.crt"),
        (Papers { certificate: ground.at("other.crt"), ..papers.clone() }, "other.crt"),
        (Papers { certificate: ground.at("empty"), ..papers.clone() }, "empty"),
        (Papers { authority: Some(ground.at("empty")), ..papers }, "empty"),
    ];
    for (papers, named) in cases {
        let listened =
            listen("127.0.0.1:0".parse().expect("an address"), papers, ground.stub.clone(), ground.tally.clone(), Bounds::default());
        let refusal = listened.await.err().expect("refused");
        assert_eq!(refusal.code, Code::Invalid);
        assert!(refusal.message.contains(named), "{named}: {refusal}");
        assert!(!refusal.message.contains("BEGIN"), "{refusal}");
    }
}
