//! Signatures that somebody damaged at random: nothing panics, and what is taken here `git` takes too.

use proptest::prelude::*;
use trued_signatures::Signers;

use crate::kit::{Bench, allowed, judge, keyring, now};

/// How often each real signature is damaged; enough to hit every field of it many times.
const TIMES: u32 = 4000;

#[test]
fn a_damaged_signature_never_holds_for_another_payload_and_never_panics() {
    let bench = Bench::new();
    let mut corpus: Vec<(Signers, Vec<u8>)> = Vec::new();
    for (name, kind) in [("ed", ["ed25519", "-a", "1"]), ("rsa", ["rsa", "-b", "2048"]), ("ec", ["ecdsa", "-b", "256"])] {
        let public = bench.ssh_key(name, &kind);
        std::fs::write(bench.at("signers"), format!("a@x {public}\n")).unwrap();
        corpus.push((allowed(&format!("a@x {public}")), bench.ssh_commit(name, "words")));
    }
    for kind in ["ed25519", "rsa2048"] {
        let key = bench.pgp_key(&format!("{kind}@x.org"), kind, "never");
        corpus.push((keyring(&bench.export(&key)), bench.pgp_commit(&key, "words")));
    }
    let mut runner =
        proptest::test_runner::TestRunner::new(ProptestConfig { cases: TIMES, failure_persistence: None, ..ProptestConfig::default() });
    let damage = (0..corpus.len(), 0.0..1.0_f64, any::<u8>(), 0..4_u8);
    let now = now();
    let taken = std::cell::RefCell::new(Vec::new());
    let outcome = runner.run(&damage, |(which, place, byte, how)| {
        let (signers, commit) = &corpus[which];
        let mut damaged = commit.clone();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in a commit")]
        let at = (place * damaged.len() as f64) as usize;
        match how {
            0 => damaged[at] = byte,
            1 => drop(damaged.remove(at)),
            2 => damaged.insert(at, byte),
            _ => damaged.truncate(at),
        }
        if damaged != *commit && judge(signers, &damaged, now).is_ok() {
            taken.borrow_mut().push((which, damaged));
        }
        Ok(())
    });
    outcome.unwrap();
    // Some damage means nothing: a comment in the armour, a line broken elsewhere. Then `git` takes it as well.
    for (which, damaged) in taken.into_inner().into_iter().take(40) {
        let public = ["ed", "rsa", "ec"].get(which).map(|name| std::fs::read_to_string(bench.at(&format!("{name}.pub"))).unwrap());
        std::fs::write(bench.at("signers"), format!("a@x {}\n", public.unwrap_or_default())).unwrap();
        let git = bench.git_takes("commit", &damaged, &bench.at("signers"));
        assert!(git, "taken here and not by git:\n{}", String::from_utf8_lossy(&damaged));
    }
}

#[test]
fn what_stands_at_the_end_of_a_line_of_armour_counts_as_it_does_for_git() {
    let bench = Bench::new();
    let key = bench.pgp_key("ann@x.org", "ed25519", "never");
    let (signers, commit) = (keyring(&bench.export(&key)), bench.pgp_commit(&key, "words"));
    std::fs::write(bench.at("signers"), "").unwrap();
    let text = String::from_utf8(commit).unwrap();
    let (before, after) = text.split_once("\n =").expect("the sum of the armour");
    for (what, ours) in [(" ", true), ("\t", true), ("\u{b}", false), ("\u{c}", false), ("\u{85}", false), ("\u{a0}", false)] {
        let damaged = format!("{before}{what}\n ={after}").into_bytes();
        assert_eq!(judge(&signers, &damaged, now()).is_ok(), ours, "{what:?}");
        // Whatever is taken here, git takes.
        assert!(!ours || bench.git_takes("commit", &damaged, &bench.at("signers")), "{what:?}");
    }
}

#[test]
fn a_damaged_keyring_never_panics() {
    let bench = Bench::new();
    let key = bench.pgp_key("ann@x.org", "ed25519", "1d");
    bench.run("gpg", &["--batch", "--passphrase", "", "--quick-add-key", &key, "rsa2048", "sign", "1d"], b"").unwrap();
    let whole = bench.run("gpg", &["--batch", "--export", &key], b"").unwrap();
    for at in 0..whole.len() {
        for change in [0x01, 0x80, 0xFF] {
            let mut damaged = whole.clone();
            damaged[at] ^= change;
            let _ = trued_signatures::read_keyring(&damaged, "keys");
        }
        let (listed, _) = trued_signatures::read_keyring(&whole[..at], "keys");
        let _ = listed;
    }
}
