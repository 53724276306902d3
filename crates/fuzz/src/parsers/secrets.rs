//! Encrypted files, opened with an identity that opens the corpus.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::OnceLock;

use tempfile::NamedTempFile;
use trued_doors::Secrets;
use trued_model::{Encrypted, Identity, SecretSource};
use trued_secrets::Granted;

const IDENTITY: &str = include_str!("../../../secrets/tests/fixtures/throwaway.key");

pub fn age(bytes: &[u8]) {
    open(bytes, "token.age", None, SecretSource::Age);
}

pub fn sops(bytes: &[u8]) {
    for (file, key) in [("a.yaml", Some("db.password")), ("a.json", Some("db.password")), ("a.env", Some("PASSWORD")), ("a", None)] {
        open(bytes, file, key, SecretSource::Sops);
    }
}

fn open(bytes: &[u8], path: &str, key: Option<&str>, kind: fn(Encrypted) -> SecretSource) {
    let name = "token".parse().expect("a name");
    let file = Encrypted {
        source: "own".parse().expect("a name"),
        path: path.to_owned(),
        key: key.map(str::to_owned),
        identity: Identity::File(identity()),
    };
    let granted = Granted::default();
    granted.grant(BTreeMap::from([("token".parse().expect("a name"), kind(file))]));
    if let Err(refusal) = granted.open(&name, bytes) {
        let place = refusal.place.as_ref().expect("a refusal has a place");
        assert_eq!(place.file, path);
        assert!(!format!("{refusal:?}").contains("AGE-SECRET-KEY"), "{refusal:?}");
    }
}

fn identity() -> String {
    static FILE: OnceLock<NamedTempFile> = OnceLock::new();
    let file = FILE.get_or_init(|| {
        let mut file = NamedTempFile::new().expect("a file");
        file.write_all(IDENTITY.as_bytes()).expect("written");
        file
    });
    file.path().to_string_lossy().into_owned()
}
