//! Secrets from every kind of place, and what is said when one cannot be had. Encrypted files were written by the real
//! programs (age 1.1, SOPS 3.13) for a key that nobody uses.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use trued_doors::{Answer, Secrets};
use trued_model::{Code, Encrypted, Identity, Name, Refusal, Secret, SecretSource};
use trued_secrets::Granted;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn name() -> Name {
    "token".parse().expect("a name")
}

fn granted(source: SecretSource) -> Granted {
    let granted = Granted::default();
    granted.grant(BTreeMap::from([(name(), source)]));
    granted
}

/// A folder with identities that only their owner reads, as Git does not keep them.
struct Keys(tempfile::TempDir);

impl Keys {
    fn new() -> Keys {
        let keys = Keys(tempfile::tempdir().expect("a folder"));
        for name in ["throwaway.key", "other.key"] {
            keys.write(name, &fs::read(fixture(name)).expect("a fixture"), 0o600);
        }
        keys
    }

    fn write(&self, name: &str, bytes: &[u8], mode: u32) -> String {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("shut");
        path.display().to_string()
    }

    fn identity(&self, name: &str) -> Identity {
        Identity::File(self.0.path().join(name).display().to_string())
    }

    fn encrypted(&self, path: &str, key: Option<&str>) -> Encrypted {
        let source = "own".parse().expect("a name");
        Encrypted { source, path: path.to_owned(), key: key.map(str::to_owned), identity: self.identity("throwaway.key") }
    }

    fn sops(&self, path: &str, key: &str, bytes: &[u8]) -> Answer<Secret> {
        let key = Some(key).filter(|key| !key.is_empty());
        granted(SecretSource::Sops(self.encrypted(path, key))).open(&name(), bytes)
    }

    fn age(&self, bytes: &[u8]) -> Answer<Secret> {
        granted(SecretSource::Age(self.encrypted("secrets/token.age", None))).open(&name(), bytes)
    }
}

fn value(answer: Answer<Secret>) -> String {
    match answer {
        Ok(secret) => String::from_utf8_lossy(secret.reveal()).into_owned(),
        Err(refusal) => panic!("{refusal:?}"),
    }
}

/// Checks a refusal: its code, what it must say, and that it says nothing that is secret.
fn refused(answer: Answer<Secret>, code: Code, words: &str) -> Refusal {
    let refusal = answer.err().expect("a refusal");
    let said = format!("{refusal:?}");
    assert_eq!(refusal.code, code, "{said}");
    assert!(refusal.message.contains(words), "{said}");
    assert!(
        !said.contains("canary") && !said.contains("AGE-SECRET-KEY-1GT6") && !said.contains("NOTONE") && !said.contains("hunter2"),
        "{said}"
    );
    refusal
}

#[test]
fn files_lose_one_newline_and_variables_lose_nothing() {
    let keys = Keys::new();
    let file = |bytes: &[u8]| value(granted(SecretSource::File(keys.write("token", bytes, 0o600))).get(&name()));
    assert_eq!(file(b"hunter2\n"), "hunter2");
    assert_eq!(file(b"hunter2\n\n"), "hunter2\n");
    assert_eq!(file(b" hunter2 "), " hunter2 ");
    let path = granted(SecretSource::Env("PATH".to_owned())).get(&name());
    assert_eq!(value(path), std::env::var("PATH").expect("a search path"));
}

#[test]
fn missing_files_denied_files_and_absent_variables_are_different_things() {
    let keys = Keys::new();
    let file = |path: String| granted(SecretSource::File(path)).get(&name());
    refused(file("/nonexistent/token".to_owned()), Code::Absent, "does not exist");
    for mode in [0o602, 0o666, 0o777] {
        let refusal = refused(file(keys.write("open", b"hunter2", mode)), Code::Invalid, "written by everybody");
        assert!(refusal.help.contains("chmod 600"), "{refusal:?}");
    }
    // As systemd, Kubernetes and package scripts hand them out.
    for mode in [0o400, 0o440, 0o640, 0o644] {
        assert_eq!(value(file(keys.write("handed", b"hunter2", mode))), "hunter2");
    }
    refused(file(keys.write("empty", b"\n", 0o600)), Code::Invalid, "is empty");
    refused(file(keys.write("large", &vec![b'x'; (1 << 20) + 1], 0o600)), Code::TooLarge, "more than");
    refused(file(keys.0.path().display().to_string()), Code::Invalid, "not a file");
    refused(granted(SecretSource::Env("TRUED_TEST_NOT_SET".to_owned())).get(&name()), Code::Absent, "has no TRUED_TEST_NOT_SET");
    refused(Granted::default().get(&name()), Code::Denied, "is granted");
}

#[test]
fn age_files_open_binary_and_armored() {
    let keys = Keys::new();
    for file in ["token.age", "armored.age"] {
        assert_eq!(value(keys.age(&fs::read(fixture(file)).expect("a fixture"))), "canary-of-the-age-file");
    }
}

#[test]
fn a_wrong_identity_is_told_from_a_spoiled_file() {
    let keys = Keys::new();
    let good = fs::read(fixture("token.age")).expect("a fixture");
    let with = |identity: Identity| {
        let file = Encrypted { identity, ..keys.encrypted("secrets/token.age", None) };
        granted(SecretSource::Age(file)).open(&name(), &good)
    };
    let refusal = refused(with(keys.identity("other.key")), Code::Denied, "not encrypted to the identity");
    assert_eq!(refusal.place.expect("a place").file, "secrets/token.age");
    refused(with(keys.identity("none.key")), Code::Absent, "identity");
    refused(with(Identity::Env("TRUED_TEST_NOT_SET".to_owned())), Code::Absent, "identity");
    for (text, code, words) in [
        ("", Code::Invalid, "no key in it"),
        ("# nothing\n", Code::Invalid, "no key in it"),
        ("hunter2\n", Code::Invalid, "line 1"),
        ("# ok\nAGE-SECRET-KEY-1NOTONE\n", Code::Invalid, "line 2"),
        ("AGE-PLUGIN-YUBIKEY-1QQ\n", Code::Unsupported, "not available yet"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\n", Code::Unsupported, "not available yet"),
    ] {
        keys.write("bad.key", text.as_bytes(), 0o600);
        refused(with(keys.identity("bad.key")), code, words);
    }
    for place in 0..good.len() {
        let mut bent = good.clone();
        bent[place] ^= 1;
        let refusal = keys.age(&bent).err().unwrap_or_else(|| panic!("byte {place} was changed, and it opened"));
        assert!(matches!(refusal.code, Code::Invalid | Code::Denied | Code::Unsupported), "{refusal:?}");
        assert!(keys.age(&good[..place]).is_err(), "cut off at {place}");
    }
    refused(keys.age(b"hunter2 was never encrypted"), Code::Invalid, "not an age file");
    refused(keys.age(&vec![0; (4 << 20) + 1]), Code::TooLarge, "more than");
}

#[test]
fn sops_files_open_as_sops_writes_them() {
    let keys = Keys::new();
    for (file, key, expected) in [
        ("prod.yaml", "db.password", "canary-of-the-yaml-file"),
        ("prod.yaml", "users.0.token", "canary-in-a-list"),
        ("prod.yaml", "users.1", "plain"),
        ("prod.yaml", "/dotted.key", "canary-under-a-dotted-key"),
        ("prod.yaml", "db.certificate", "-----BEGIN CERTIFICATE-----\ncanary of several lines\n-----END CERTIFICATE-----\n"),
        ("partial.yaml", "db.password", "canary-of-the-yaml-file"),
        ("prod.json", "db.password", "canary-of-the-json-file"),
        ("prod.json", "db.list.1.b", "canary <&> in json"),
        ("prod.env", "PASSWORD", "canary-of-the-env-file"),
        ("prod.env", "MULTI", "one\ntwo"),
    ] {
        let bytes = fs::read(fixture(file)).expect("a fixture");
        assert_eq!(value(keys.sops(&format!("secrets/{file}"), key, &bytes)), expected, "{file} {key}");
    }
    let bytes = fs::read(fixture("prod.bin")).expect("a fixture");
    let secret = keys.sops("secrets/prod.bin", "", &bytes).expect("opened");
    assert!(secret.reveal().starts_with(b"canary-of-the-binary-file\n"));
}

#[test]
fn a_key_that_is_missing_or_names_no_text_is_said_with_its_line() {
    let keys = Keys::new();
    let bytes = fs::read(fixture("prod.yaml")).expect("a fixture");
    for (key, code, words, line) in [
        ("db.passwort", Code::Absent, "has no `db.passwort`", 3),
        ("db.password.deep", Code::Absent, "has no `db.password.deep`", 3),
        ("users.7", Code::Absent, "has no `users.7`", 11),
        ("db", Code::Invalid, "several values", 3),
        ("db.port", Code::Invalid, "not text", 4),
        ("db.tls", Code::Invalid, "not text", 6),
        ("db.empty", Code::Invalid, "empty", 7),
        ("db.nothing", Code::Invalid, "no value", 8),
        ("note_unencrypted", Code::Invalid, "not encrypted", 15),
        ("level_unencrypted", Code::Invalid, "not encrypted", 16),
    ] {
        let refusal = refused(keys.sops("secrets/prod.yaml", key, &bytes), code, words);
        let place = refusal.place.clone().expect("a place");
        assert_eq!((place.file.as_str(), place.line), ("secrets/prod.yaml", line), "{refusal:?}");
        assert!(!refusal.help.is_empty());
    }
    refused(keys.sops("prod.yaml", "", &bytes), Code::Invalid, "many values");
    refused(keys.sops("prod.bin", "x", &bytes), Code::Invalid, "no keys");
    refused(keys.sops("prod.ini", "x", &bytes), Code::Unsupported, "not available yet");
}

/// Whatever is changed in a SOPS file, a value, its place, its order, or the MAC, no value comes out of it.
#[test]
fn a_sops_file_that_was_edited_by_hand_gives_nothing() {
    let keys = Keys::new();
    let text = fs::read_to_string(fixture("prod.yaml")).expect("a fixture");
    let line = |words: &str| text.lines().find(|line| line.contains(words)).expect("a line").to_owned();
    let leaf = |words: &str| line(words).split_once("ENC[").expect("a value").1.to_owned();
    let edits = [
        text.replace("level_unencrypted: 3", "level_unencrypted: 4"),
        text.replace("note_unencrypted: \"yes\"", "note_unencrypted: \"no\""),
        text.replace("level_unencrypted: 3", "added_unencrypted: 3"),
        text.replace(&format!("{}\n", line("port:")), ""),
        text.replace(&leaf("password:"), &leaf("certificate:")),
        text.replace(&format!("{}\n{}\n", line("level_"), line("share_")), &format!("{}\n{}\n", line("share_"), line("level_"))),
        text.replace(&leaf("mac:"), &leaf("password:")),
        text.replace(&format!("{}\n", line("mac:")), ""),
        text.replace("lastmodified: \"20", "lastmodified: \"19"),
        text.replace("data:", "data:A"),
    ];
    let mut same = 0;
    for (place, edited) in edits.iter().enumerate() {
        assert_ne!(*edited, text, "edit {place} changes something");
        let answer = keys.sops("secrets/prod.yaml", "db.password", edited.as_bytes());
        // A key that only has another name is still the same values in the same order: SOPS' MAC does not cover names.
        if place == 2 {
            same += usize::from(answer.is_ok());
            continue;
        }
        let refusal = answer.err().unwrap_or_else(|| panic!("edit {place} opened"));
        assert!(matches!(refusal.code, Code::Invalid), "edit {place}: {refusal:?}");
        assert!(!format!("{refusal:?}").contains("canary"));
    }
    assert_eq!(same, 1);
    // Where the MAC covers encrypted values only, others may change, and are never given.
    let partial = fs::read_to_string(fixture("partial.yaml")).expect("a fixture").replace("level_unencrypted: 3", "level_unencrypted: 4");
    assert_eq!(value(keys.sops("partial.yaml", "db.password", partial.as_bytes())), "canary-of-the-yaml-file");
    let claimed = text.replace("    mac: ", "    mac_only_encrypted: true\n    mac: ");
    refused(keys.sops("prod.yaml", "db.password", claimed.as_bytes()), Code::Invalid, "MAC");
}

#[test]
fn what_sops_can_and_we_cannot_yet_is_named() {
    let keys = Keys::new();
    let text = fs::read_to_string(fixture("prod.yaml")).expect("a fixture");
    let (values, sops) = text.split_once("sops:\n").expect("a sops part");
    let mac = &sops[sops.find("    lastmodified").expect("a time")..];
    let with = |part: &str| keys.sops("prod.yaml", "db.password", format!("{values}sops:\n{part}{mac}").as_bytes());
    refused(with("    pgp:\n        - fp: ABCD\n          enc: x\n"), Code::Unsupported, "PGP");
    refused(with("    kms:\n        - arn: a\n    gcp_kms:\n        - enc: b\n"), Code::Unsupported, "AWS KMS, GCP KMS");
    refused(with("    key_groups:\n        - age: []\n    shamir_threshold: 2\n"), Code::Unsupported, "several groups");
    refused(keys.sops("prod.yaml", "db.password", b"db: { password: hunter2 }\n"), Code::Invalid, "not encrypted by SOPS");
    refused(keys.sops("prod.yaml", "db.password", b"db: [hunter2\n"), Code::Invalid, "cannot be read");
    refused(keys.sops("prod.json", "db.password", b"{\"a\": \"hunter2\", \"a\": 1}"), Code::Invalid, "cannot be read");
    refused(keys.sops("prod.json", "db.password", b"\xffhunter2"), Code::Invalid, "cannot be read");
    refused(keys.sops("prod.env", "A", b"A=1\nhunter2\n"), Code::Invalid, "cannot be read");
    let file = Encrypted { identity: keys.identity("other.key"), ..keys.encrypted("prod.yaml", Some("db.password")) };
    let other = granted(SecretSource::Sops(file)).open(&name(), text.as_bytes());
    assert!(refused(other, Code::Denied, "not encrypted to the identity").help.contains("updatekeys"));
}
