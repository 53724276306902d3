//! The source `git` over https as companies have it: through a proxy, and to servers that send elsewhere.

use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use trued_doors::Source;
use trued_model::{Code, Want};

use crate::servers::{Proxy, Repo, Server};
use crate::support::{PASSWORD, newest, open_at, refused};

struct World {
    first: String,
    _repo: Repo,
    server: Server,
    cache: TempDir,
}

impl World {
    fn new() -> World {
        let repo = Repo::new();
        let first = repo.commit_file("a", "1");
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let _ = rustls::crypto::ring::default_provider().install_default();
        let tls = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
        let server = Server::start_tls(repo.path.parent().unwrap(), Arc::new(tls));
        server.ask_for(PASSWORD);
        let cache = TempDir::new().unwrap();
        std::fs::write(cache.path().join("ca.pem"), made.cert.pem()).unwrap();
        World { first, _repo: repo, server, cache }
    }

    fn ca(&self) -> PathBuf {
        self.cache.path().join("ca.pem")
    }

    fn open(&self, proxy: Value) -> Arc<dyn Source> {
        let settings = json!({ "url": self.server.url("repo"), "ca": self.ca(), "token": { "secret": "good" }, "proxy": proxy });
        open_at("git", settings, self.cache.path())
    }
}

#[tokio::test]
async fn a_proxy_is_gone_through_and_learns_only_whereto() {
    let world = World::new();
    let proxy = Proxy::start(None);
    let at = format!("http://127.0.0.1:{}", proxy.port);
    assert_eq!(newest(&world.open(json!(at))).await.id, world.first);
    let seen = proxy.seen.lock().unwrap().clone();
    let there = world.server.url("repo").trim_start_matches("https://").split('/').next().unwrap().to_owned();
    assert!(!seen.is_empty() && seen.iter().all(|(to, who)| *to == there && who.is_none()), "{seen:?}");
}

#[tokio::test]
async fn a_proxy_that_asks_is_told_who_we_are_and_the_server_is_not_told_that() {
    let world = World::new();
    let right = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("me:{PASSWORD}")));
    let proxy = Proxy::start(Some(&right));
    let at = format!("http://127.0.0.1:{}", proxy.port);
    let refusal = refused(world.open(json!(at)).resolve(Want::Newest).await);
    assert!(matches!(refusal.code, Code::Unreachable | Code::Denied), "{refusal:?}");
    let known = json!({ "url": at, "username": "me", "password": { "secret": "good" } });
    assert_eq!(newest(&world.open(known)).await.id, world.first);
    assert_eq!(proxy.seen.lock().unwrap().last().unwrap().1.as_deref(), Some(right.as_str()));
    assert!(world.server.credentials().iter().flatten().all(|told| *told != right), "what the proxy is told goes no further");
}
