//! SSH signatures.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256, Sha512};
use trued_model::Timestamp;

use crate::kit::{Bench, allowed, judge, judge_tag, now, refused};

#[test]
fn commits_and_tags_of_every_usual_kind_of_key_hold() {
    let bench = Bench::new();
    for (name, kind, word) in [
        ("ed", ["ed25519"].as_slice(), "ED25519 SHA256:"),
        ("rsa", ["rsa", "-b", "2048"].as_slice(), "RSA SHA256:"),
        ("p256", ["ecdsa", "-b", "256"].as_slice(), "ECDSA SHA256:"),
        ("p384", ["ecdsa", "-b", "384"].as_slice(), "ECDSA SHA256:"),
    ] {
        let public = bench.ssh_key(name, kind);
        let signers = allowed(&format!("{name}@x namespaces=\"git\" {public}"));
        let proof = judge(&signers, &bench.ssh_commit(name, "words"), now()).unwrap();
        assert_eq!(proof.name, format!("{name}@x"));
        let listed = bench.run("ssh-keygen", &["-l", "-f", &format!("{name}.pub")], b"").unwrap();
        let fingerprint = String::from_utf8(listed).unwrap().split_whitespace().nth(1).unwrap().to_owned();
        assert!(proof.key.starts_with(word) && proof.key.ends_with(&fingerprint), "{} is not {fingerprint}", proof.key);
        let key = format!("user.signingkey={}", bench.at(name).display());
        bench.git(&["-c", "gpg.format=ssh", "-c", &key, "tag", "-s", "-m", "release", name]);
        assert_eq!(judge_tag(&signers, &bench.object(name), now()).unwrap(), proof);
    }
}

#[test]
fn keys_that_are_weak_or_unknown_are_not_listed() {
    let bench = Bench::new();
    for (name, kind, words) in [("p521", ["ecdsa", "-b", "521"], "nistp521"), ("weak", ["rsa", "-b", "1024"], "1024 bits")] {
        let public = bench.ssh_key(name, &kind);
        let (listed, findings) = trued_signatures::read_allowed_signers(format!("a@x {public}").as_bytes(), "signers");
        assert!(listed.is_empty() && findings[0].message.contains(words), "{findings:?}");
    }
}

#[test]
fn a_signature_proves_one_commit_by_one_listed_key() {
    let bench = Bench::new();
    let (alice, eve) = (bench.ssh_key("alice", &["ed25519"]), bench.ssh_key("eve", &["ed25519"]));
    let signers = allowed(&format!("alice@x {alice}"));
    let (one, two, theirs) = (bench.ssh_commit("alice", "one"), bench.ssh_commit("alice", "two"), bench.ssh_commit("eve", "three"));
    bench.git(&["commit", "-q", "--allow-empty", "-m", "four"]);

    assert!(judge(&signers, &one, now()).is_ok());
    refused(judge(&signers, &bench.object("HEAD"), now()), "not signed");
    refused(judge(&signers, &theirs, now()), "not listed");
    assert!(judge(&allowed(&format!("eve@x {eve}")), &theirs, now()).is_ok(), "it is only not listed");

    // The signature of one commit under another, and a commit changed under its signature.
    let (one, two) = (String::from_utf8(one).unwrap(), String::from_utf8(two).unwrap());
    let block = |commit: &str| commit[commit.find("gpgsig").unwrap()..commit.find("\n\n").unwrap()].to_owned();
    refused(judge(&signers, two.replace(&block(&two), &block(&one)).as_bytes(), now()), "does not fit");
    refused(judge(&signers, one.replace("\n\none", "\n\nOne").as_bytes(), now()), "does not fit");
    let doubled = one.replace(&block(&one), &format!("{}\n{}", block(&one), block(&two)));
    refused(judge(&signers, doubled.as_bytes(), now()), "two signatures");

    // Armour that is cut short, or holds something else.
    let last = one.rfind(" -----END").unwrap();
    for cut in [last - 2, last - 20, last - 100] {
        refused(judge(&signers, format!("{}{}", &one[..cut], &one[last - 1..]).as_bytes(), now()), "cut short");
    }
    refused(judge(&signers, one.replace(" -----END SSH", " -----ENDE SSH").as_bytes(), now()), "cut short");
}

#[test]
fn a_signature_for_something_else_than_git_is_refused() {
    let bench = Bench::new();
    let public = bench.ssh_key("alice", &["ed25519"]);
    bench.git(&["commit", "-q", "--allow-empty", "-m", "plain"]);
    let payload = bench.object("HEAD");
    let sign = |namespace: &str| {
        let signature = bench.run("ssh-keygen", &["-q", "-Y", "sign", "-f", "alice", "-n", namespace], &payload).unwrap();
        with_signature(&payload, &String::from_utf8(signature).unwrap())
    };
    let signers = allowed(&format!("alice@x {public}"));
    refused(judge(&signers, &sign("file"), now()), "made for \"file\", not for git");
    assert!(judge(&signers, &sign("git"), now()).is_ok());
}

#[test]
fn both_hashes_of_ssh_hold() {
    let bench = Bench::new();
    let public = bench.ssh_key("alice", &["ed25519"]);
    bench.git(&["commit", "-q", "--allow-empty", "-m", "plain"]);
    let payload = bench.object("HEAD");
    for hash in ["sha256", "sha512"] {
        let option = format!("hashalg={hash}");
        let signature = bench.run("ssh-keygen", &["-q", "-Y", "sign", "-f", "alice", "-n", "git", "-O", &option], &payload).unwrap();
        let commit = with_signature(&payload, &String::from_utf8(signature).unwrap());
        assert!(judge(&allowed(&format!("alice@x {public}")), &commit, now()).is_ok(), "{hash}");
    }
}

/// The time that counts is that of the judgement: what a commit says of its own time is its maker's word.
#[test]
fn a_key_counts_from_when_until_when_it_is_listed() {
    let bench = Bench::new();
    let public = bench.ssh_key("alice", &["ed25519"]);
    let commit = bench.ssh_commit("alice", "words");
    let signers = allowed(&format!("alice@x valid-after=\"20300101Z\",valid-before=\"20300201Z\" {public}"));
    let day = |text: &str| text.parse::<Timestamp>().unwrap();
    refused(judge(&signers, &commit, now()), "not valid before 2030-01-01");
    assert!(judge(&signers, &commit, day("2030-01-15T00:00:00.000Z")).is_ok());
    let after = day("2030-02-01T00:00:01.000Z");
    refused(judge(&signers, &commit, after), "not valid since 2030-02-01");
}

/// A security key's signature, put together by hand because no test has one at hand; `ssh-keygen` agrees on each.
#[test]
fn security_keys_hold_when_somebody_touched_them() {
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
    let bench = Bench::new();
    bench.git(&["commit", "-q", "--allow-empty", "-m", "plain"]);
    let payload = bench.object("HEAD");
    let chance = ring::rand::SystemRandom::new();
    let edwards = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &chance).unwrap();
    let curve = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &chance).unwrap();
    let ed_kind: &[u8] = b"sk-ssh-ed25519@openssh.com";
    let ec_kind: &[u8] = b"sk-ecdsa-sha2-nistp256@openssh.com";
    let ed_key = [string(ed_kind), string(edwards.public_key().as_ref()), string(b"ssh:")].concat();
    let ec_key = [string(ec_kind), string(b"nistp256"), string(curve.public_key().as_ref()), string(b"ssh:")].concat();
    let message = [b"SSHSIG".to_vec(), string(b"git"), string(b""), string(b"sha512"), string(&Sha512::digest(&payload))].concat();

    for (kind, key) in [(ed_kind, &ed_key), (ec_kind, &ec_key)] {
        let signers = format!("a@x {} {}", std::str::from_utf8(kind).unwrap(), STANDARD.encode(key));
        std::fs::write(bench.at("signers"), &signers).unwrap();
        for (flags, holds) in [(1, true), (5, true), (0, false), (4, false)] {
            let added = [flags, 0, 0, 0, 9];
            let seen = [Sha256::digest(b"ssh:").as_slice(), &added, &Sha256::digest(&message)].concat();
            let made = match kind == ed_kind {
                true => edwards.sign(&seen).as_ref().to_vec(),
                false => {
                    let made = curve.sign(&chance, &seen).unwrap();
                    let (r, s) = made.as_ref().split_at(32);
                    [integer(r), integer(s)].concat()
                }
            };
            let signature = [string(kind), string(&made), added.to_vec()].concat();
            let fields = [string(key), string(b"git"), string(b""), string(b"sha512"), string(&signature)].concat();
            let blob = STANDARD.encode([b"SSHSIG\0\0\0\x01".as_slice(), &fields].concat());
            let lines: Vec<&str> = blob.as_bytes().chunks(70).map(|line| std::str::from_utf8(line).unwrap()).collect();
            let armoured = format!("-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n", lines.join("\n"));
            let commit = with_signature(&payload, &armoured);
            let judged = judge(&allowed(&signers), &commit, now());
            assert_eq!(judged.is_ok(), holds, "flags {flags}: {judged:?}");
            assert!(!holds || judged.unwrap().key.contains("-SK SHA256:"));
            assert!(!holds || bench.git_takes("commit", &commit, &bench.at("signers")), "ssh-keygen does not agree");
        }
    }
}

/// Puts a signature into a commit's header, as `git` does.
fn with_signature(payload: &[u8], armoured: &str) -> Vec<u8> {
    let text = std::str::from_utf8(payload).unwrap();
    let (header, message) = text.split_once("\n\n").unwrap();
    let folded = armoured.trim_end().replace('\n', "\n ");
    format!("{header}\ngpgsig {folded}\n\n{message}").into_bytes()
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [u32::try_from(bytes.len()).unwrap().to_be_bytes().as_slice(), bytes].concat()
}

fn integer(bytes: &[u8]) -> Vec<u8> {
    let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    let bytes = &bytes[start..];
    string(&if bytes.first().is_some_and(|first| *first >= 0x80) { [&[0], bytes].concat() } else { bytes.to_vec() })
}
