//! OpenPGP signatures, as GnuPG makes them.

use trued_model::Timestamp;

use crate::kit::{Bench, judge, judge_tag, keyring, later, now, refused};

#[test]
fn commits_and_tags_of_every_usual_kind_of_key_hold() {
    let bench = Bench::new();
    for (kind, word) in [("ed25519", "EDDSA"), ("rsa2048", "RSA"), ("nistp256", "ECDSA"), ("nistp384", "ECDSA")] {
        let address = format!("{kind}@example.org");
        let key = bench.pgp_key(&format!("Ann Example <{address}>"), kind, "never");
        let signers = keyring(&bench.export(&key));
        let proof = judge(&signers, &bench.pgp_commit(&key, "words"), now()).unwrap();
        assert_eq!((proof.name, proof.key), (address, format!("{word} {key}")));
        bench.git(&["-c", &format!("user.signingkey={key}"), "tag", "-s", "-m", "release", kind]);
        assert!(judge_tag(&signers, &bench.object(kind), now()).is_ok(), "{kind}");
    }
}

#[test]
fn both_long_hashes_hold_and_sha1_does_not() {
    let bench = Bench::new();
    let key = bench.pgp_key("ann@example.org", "rsa2048", "never");
    let signers = keyring(&bench.export(&key));
    for (hash, holds) in [("SHA256", true), ("SHA384", true), ("SHA512", true), ("SHA1", false), ("SHA224", false)] {
        std::fs::write(bench.at("gpg/gpg.conf"), format!("digest-algo {hash}\nweak-digest MD5\n")).unwrap();
        let judged = judge(&signers, &bench.pgp_commit(&key, hash), now());
        assert_eq!(judged.is_ok(), holds, "{hash}: {judged:?}");
    }
    std::fs::write(bench.at("gpg/gpg.conf"), "digest-algo SHA1\n").unwrap();
    refused(judge(&signers, &bench.pgp_commit(&key, "SHA1"), now()), "SHA-1");
}

#[test]
fn a_signature_proves_one_commit_by_one_listed_key() {
    let bench = Bench::new();
    let (ann, eve) = (bench.pgp_key("ann@example.org", "ed25519", "never"), bench.pgp_key("eve@example.org", "ed25519", "never"));
    let signers = keyring(&bench.export(&ann));
    let (one, two, theirs) = (bench.pgp_commit(&ann, "one"), bench.pgp_commit(&ann, "two"), bench.pgp_commit(&eve, "three"));
    assert!(judge(&signers, &one, now()).is_ok());
    refused(judge(&signers, &theirs, now()), "not listed");
    let (one, two) = (String::from_utf8(one).unwrap(), String::from_utf8(two).unwrap());
    let block = |commit: &str| commit[commit.find("gpgsig").unwrap()..commit.find("\n\n").unwrap()].to_owned();
    refused(judge(&signers, two.replace(&block(&two), &block(&one)).as_bytes(), now()), "does not fit");
    refused(judge(&signers, one.replace("\n\none", "\n\nOne").as_bytes(), now()), "does not fit");
    // Two blocks under one header, and two headers.
    let appended = one.replace(&block(&one), &format!("{}\n{}", block(&one), block(&two).replace("gpgsig ", " ")));
    refused(judge(&signers, appended.as_bytes(), now()), "more than one signature");
    let doubled = one.replace(&block(&one), &format!("{}\n{}", block(&one), block(&two)));
    refused(judge(&signers, doubled.as_bytes(), now()), "two signatures");
    let last = one.rfind(" -----END").unwrap();
    refused(judge(&signers, format!("{}{}", &one[..last - 30], &one[last - 1..]).as_bytes(), now()), "malformed");
    refused(judge(&signers, one.replacen(" -----END PGP SIGNATURE-----\n", "", 1).as_bytes(), now()), "does not end");
}

#[test]
fn a_key_that_ran_out_signs_no_more_whatever_the_signature_says_of_its_time() {
    let bench = Bench::new();
    let key = bench.pgp_key("ann@example.org", "ed25519", "2d");
    let signers = keyring(&bench.export(&key));
    let commit = bench.pgp_commit(&key, "words");
    assert!(judge(&signers, &commit, now()).is_ok());
    refused(judge(&signers, &commit, later(3)), "run out");
    let before = Timestamp(now().0 - 3_600_000);
    refused(judge(&signers, &commit, before), "from the future");
}

#[test]
fn a_revoked_key_signs_no_more() {
    let bench = Bench::new();
    let key = bench.pgp_key("ann@example.org", "ed25519", "never");
    let commit = bench.pgp_commit(&key, "words");
    assert!(judge(&keyring(&bench.export(&key)), &commit, now()).is_ok());
    let file = bench.at(&format!("gpg/openpgp-revocs.d/{key}.rev"));
    let revocation = std::fs::read_to_string(file).unwrap().replace(":-----BEGIN", "-----BEGIN");
    bench.run("gpg", &["--batch", "--import"], revocation.as_bytes()).unwrap();
    refused(judge(&keyring(&bench.export(&key)), &commit, now()), "revoked");
}

#[test]
fn a_subkey_that_the_key_bound_signs_for_it() {
    let bench = Bench::new();
    let key = bench.pgp_key("ann@example.org", "ed25519", "never");
    bench.run("gpg", &["--batch", "--passphrase", "", "--quick-add-key", &key, "rsa2048", "sign", "1d"], b"").unwrap();
    bench.run("gpg", &["--batch", "--passphrase", "", "--quick-add-key", &key, "cv25519", "encr", "never"], b"").unwrap();
    let commit = bench.pgp_commit(&key, "the newest subkey signs");
    let signers = keyring(&bench.export(&key));
    let proof = judge(&signers, &commit, now()).unwrap();
    assert!(proof.key.starts_with("RSA ") && !proof.key.contains(&key), "{}", proof.key);
    refused(judge(&signers, &commit, later(2)), "run out");
}

#[test]
fn a_keyring_says_what_of_it_cannot_be_used() {
    let bench = Bench::new();
    let key = bench.pgp_key("ann@example.org", "ed25519", "never");
    let good = bench.export(&key);
    let of = |bytes: &[u8]| {
        let (listed, findings) = trued_signatures::read_keyring(bytes, "keys.asc");
        (listed.len(), findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    };
    assert_eq!(of(&good), (1, String::new()));
    let binary = bench.run("gpg", &["--batch", "--export", &key], b"").unwrap();
    assert_eq!(of(&binary), (1, String::new()), "not armoured");
    assert_eq!(of(&binary[..binary.len() - 3]).0, 0);
    for (bytes, words) in [(b"".as_slice(), "no key"), (b"hello", "malformed"), (&good[..good.len() / 2], "does not end")] {
        let (count, why) = of(bytes);
        assert!(count == 0 && why.contains(words) && why.starts_with("keys.asc:1:1"), "{why}");
    }
    let weak = bench.pgp_key("old@example.org", "rsa1024", "never");
    assert!(of(&bench.export(&weak)).1.contains("1024 bits"), "{:?}", of(&bench.export(&weak)));
}
