//! Whom an https source trusts: the machine's own certificates where the operator names none, and only the named ones where
//! one is named.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use crate::kit::{Shop, repo_of};
use crate::servers::{Repo, Server};

struct World {
    _repo: Repo,
    server: Server,
    folder: tempfile::TempDir,
}

impl World {
    /// A server whose certificate only `right.pem` vouches for.
    fn new() -> World {
        let repo = repo_of("shop");
        repo.commit_file("site/index.html", "one");
        let make = || rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("made");
        let (right, other) = (make(), make());
        let key = rustls::pki_types::PrivateKeyDer::Pkcs8(right.signing_key.serialize_der().into());
        let _ = rustls::crypto::ring::default_provider().install_default();
        let tls = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(vec![right.cert.der().clone()], key);
        let server = Server::start_tls(repo.path.parent().expect("a folder"), Arc::new(tls.expect("a certificate")));
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("right.pem"), right.cert.pem()).expect("written");
        fs::write(folder.path().join("other.pem"), other.cert.pem()).expect("written");
        World { _repo: repo, server, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Applies with a source that names `ca`, on a machine whose own certificates are `system`; gives what was said.
    fn apply(&self, ca: Option<&str>, system: Option<&str>) -> (Option<i32>, String) {
        let ca = ca.map_or(String::new(), |name| format!(", ca: {}", self.path(name).display()));
        let shop = Shop::new(&[("shop", format!("{{ git: {{ url: \"{}\", branch: main{ca} }} }}", self.server.url("repo")))]);
        let mut apply = shop.command();
        apply.arg("apply").env_remove("SSL_CERT_FILE").env_remove("SSL_CERT_DIR");
        if let Some(name) = system {
            apply.env("SSL_CERT_FILE", self.path(name));
        }
        let output = apply.output().expect("trued runs");
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.success(), shop.live("shop/index.html").as_deref() == Some("one"), "{said}");
        (output.status.code(), said)
    }
}

#[test]
fn without_ca_the_certificates_of_the_machine_count() {
    let world = World::new();
    let (status, said) = world.apply(None, Some("right.pem"));
    assert_eq!(status, Some(0), "{said}");
    for system in [None, Some("other.pem")] {
        let (status, said) = world.apply(None, system);
        assert!(status != Some(0) && said.to_lowercase().contains("certificate"), "{system:?}: {said}");
    }
}

#[test]
fn a_ca_that_the_operator_names_takes_the_place_of_those_of_the_machine() {
    let world = World::new();
    for system in [None, Some("other.pem"), Some("right.pem")] {
        let (status, said) = world.apply(Some("right.pem"), system);
        assert_eq!(status, Some(0), "{system:?}: {said}");
    }
    // Whom the machine trusts is not asked: the operator has said whom to trust here.
    let (status, said) = world.apply(Some("other.pem"), Some("right.pem"));
    assert!(status != Some(0) && said.to_lowercase().contains("certificate"), "{said}");
}
