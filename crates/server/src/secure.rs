//! Reports from other machines: https alone, under a certificate of ours, and where an authority is named only from whoever has
//! one of its certificates. The files are read anew when they change. Who may report about what is decided behind it, by token.

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use trued_doors::Answer;
use trued_model::{Code, Refusal};

use crate::bounded::{Bounded, Bounds};
use crate::listening::{Listening, bind};
use crate::reports::{self, Reports, Tally};

/// Files that say who we are, and who may connect.
#[derive(Clone, Debug)]
pub struct Papers {
    /// Our certificate and those that vouch for it, as PEM.
    pub certificate: PathBuf,
    /// Its private key, as PEM.
    pub key: PathBuf,
    /// Certificates of which one must vouch for whoever connects.
    pub authority: Option<PathBuf>,
}

/// Listens on any address and takes reports, nothing else. `Code::Invalid` where the papers are no good.
pub async fn listen(
    address: SocketAddr,
    papers: Papers,
    reports: Arc<dyn Reports>,
    tally: Arc<Tally>,
    bounds: Bounds,
) -> Answer<Listening> {
    let papers = Arc::new(Shown::open(papers)?);
    let (address, listener) = bind(address).await?;
    let routes = reports::router(reports, tally.clone(), bounds);
    Ok(Listening::start(address, Bounded::new(listener, bounds, Some(papers), tally), routes))
}

/// Papers as they are shown now.
pub(crate) struct Shown {
    papers: Papers,
    held: Mutex<Held>,
}

struct Held {
    /// What the files were when they were read last, whether that came to anything or not.
    seen: Vec<Option<Stamp>>,
    config: Arc<ServerConfig>,
}

/// Differs whenever a file is another one, or was written.
type Stamp = (u64, u64, i64, i64, u64);

impl Shown {
    fn open(papers: Papers) -> Answer<Shown> {
        let seen = papers.stamps();
        let config = papers.read()?;
        Ok(Shown { papers, held: Mutex::new(Held { seen, config }) })
    }

    /// What the next connection gets. Files that changed are read; where they are no good, which they are between one being
    /// replaced and the other, the old ones count.
    pub fn current(&self) -> Arc<ServerConfig> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = self.papers.stamps();
        if seen != held.seen {
            held.seen = seen;
            match self.papers.read() {
                Ok(config) => held.config = config,
                Err(refusal) => tracing::warn!("failed to {refusal}; what was read before still counts"),
            }
        }
        held.config.clone()
    }
}

impl Papers {
    fn stamps(&self) -> Vec<Option<Stamp>> {
        let stamp = |path: &PathBuf| {
            let meta = std::fs::metadata(path).ok()?;
            Some((meta.dev(), meta.ino(), meta.mtime(), meta.mtime_nsec(), meta.size()))
        };
        [&self.certificate, &self.key].into_iter().chain(&self.authority).map(stamp).collect()
    }

    fn read(&self) -> Answer<Arc<ServerConfig>> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chain = certificates(&self.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| no_good(&self.key, "a private key", &error.to_string()))?;
        let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| Refusal::new(Code::Broken, format!("set up TLS: {error}")))?;
        let builder = match &self.authority {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(authority)? {
                    roots.add(certificate).map_err(|error| no_good(authority, "an authority", &error.to_string()))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.map_err(|error| no_good(authority, "an authority", &error.to_string()))?)
            }
        };
        let config = builder.with_single_cert(chain, key);
        let mut config = config.map_err(|error| no_good(&self.certificate, "the certificate of the key", &error.to_string()))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn certificates(path: &Path) -> Answer<Vec<CertificateDer<'static>>> {
    let read = || CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>();
    match read() {
        Ok(found) if found.is_empty() => Err(no_good(path, "a certificate", "there is none in it")),
        Ok(found) => Ok(found),
        Err(error) => Err(no_good(path, "a certificate", &error.to_string())),
    }
}

/// A file that is not what it should be; nothing of what is in it is said.
fn no_good(path: &Path, what: &str, why: &str) -> Refusal {
    Refusal::new(Code::Invalid, format!("read {} as {what}: {why}", path.display())).help("name PEM files that belong together")
}
