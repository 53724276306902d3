//! Names, paths, times and manifests: what they accept, and that they come back as they were written.

use std::collections::{BTreeMap, BTreeSet};

use trued_model::{
    Address, BadManifest, BlobRef, Digest, Duration, Fingerprint, Item, Manifest, Name, PathNote, SignerNote, SignerPolicy, StackId,
    StackNames, Timestamp, turns,
};

fn id(environment: &str, app: &str, target: &str) -> StackId {
    let name = |text: &str| text.parse().expect("a name");
    StackId { environment: name(environment), app: name(app), target: name(target) }
}

#[test]
fn names_are_short_plain_words() {
    for good in ["a", "site", "web-1", "0", &"x".repeat(63)] {
        assert!(good.parse::<Name>().is_ok(), "{good}");
    }
    for bad in ["", "-a", "a-", "A", "a_b", "a.b", "ä", "a b", &"x".repeat(64)] {
        assert!(bad.parse::<Name>().is_err(), "{bad}");
    }
}

#[test]
fn stacks_are_written_as_short_as_is_clear() {
    let stacks =
        [id("default", "homepage", "homepage"), id("prod", "site", "web-1"), id("dev", "site", "web-1"), id("dev", "site", "web-2")];
    let names = StackNames::new(&stacks);
    let written: Vec<String> = stacks.iter().map(|stack| names.write(stack)).collect();
    assert_eq!(written, ["homepage", "prod/site", "dev/site@web-1", "dev/site@web-2"]);
    for stack in &stacks {
        assert_eq!(names.find(&names.write(stack)), Some(stack));
        assert_eq!(names.find(&stack.key()), Some(stack));
        assert_eq!(StackId::from_key(&stack.key()).as_ref(), Some(stack));
    }
}

#[test]
fn instants_have_exactly_three_decimals() {
    let check = |text: &str, expected: &str| assert_eq!(text.parse::<Timestamp>().expect("an instant").to_string(), expected);
    check("2026-11-19T21:40:00Z", "2026-11-19T21:40:00.000Z");
    check("2026-11-19T21:40:00.0079Z", "2026-11-19T21:40:00.007Z");
    check("2026-11-19T23:40:00.5+02:00", "2026-11-19T21:40:00.500Z");
    check("1969-12-31T23:59:59.999Z", "1969-12-31T23:59:59.999Z");
    assert!("yesterday".parse::<Timestamp>().is_err());
}

#[test]
fn spans_are_written_in_their_largest_whole_unit() {
    for (text, millis) in [("200ms", 200), ("15s", 15_000), ("10m", 600_000), ("24h", 86_400_000), ("90s", 90_000)] {
        assert_eq!(text.parse::<Duration>().expect("a span"), Duration(millis));
    }
    assert_eq!(Duration(86_400_000).to_string(), "1d");
    assert_eq!(Duration(90_000).to_string(), "90s");
    for bad in ["", "5", "s", "-1s", "1.5h", "99999999999999999999d"] {
        assert!(bad.parse::<Duration>().is_err(), "{bad}");
    }
}

#[test]
fn paths_come_back_byte_for_byte() {
    for bytes in [&b"prod/index.html"[..], b"100%", "straße/ñ".as_bytes(), b"\xff\xfe/x", b"a\nb\x7f", b"%41"] {
        let text = trued_model::encode_path(bytes);
        assert!(!text.contains('\n'));
        assert_eq!(trued_model::decode_path(&text).as_deref(), Some(bytes), "{text}");
    }
    assert_eq!(trued_model::decode_path("%4"), None);
    assert_eq!(trued_model::decode_path("%zz"), None);
}

#[test]
fn digests_are_found_by_a_prefix_of_eight() {
    let digest = Digest::of(b"x");
    assert!(digest.matches(&digest.to_string()) && digest.matches(&digest.hex()[..8]));
    assert!(!digest.matches(&digest.hex()[..7]), "too short to be safe");
    assert!(!digest.matches("00000000"));
}

fn manifest(count: usize) -> Manifest {
    let item = |n: usize| Item {
        fingerprint: Fingerprint::new(format!("1:file:644:{}", Digest::of(&n.to_be_bytes()).hex())),
        content: Some(BlobRef::of(&n.to_be_bytes())),
        errand: false,
    };
    Manifest { items: (0..count).map(|n| (Address::new(format!("d{}/f{n}", n % 10)), item(n))).collect() }
}

fn unpack(root: &BlobRef, blobs: &BTreeMap<Digest, Vec<u8>>) -> Manifest {
    Manifest::unpack::<BadManifest>(root, |blob| Ok(blobs[&blob.digest].clone())).expect("what was packed")
}

#[test]
fn manifests_of_any_size_come_back() {
    for count in [0, 1, 512, 513, 3000] {
        let packed = manifest(count).pack();
        let blobs: BTreeMap<Digest, Vec<u8>> = packed.blobs.iter().map(|(blob, bytes)| (blob.digest, bytes.clone())).collect();
        assert_eq!(unpack(&packed.root, &blobs), manifest(count), "{count}");
    }
}

#[test]
fn one_change_in_a_large_manifest_stores_one_chunk_and_the_root() {
    let before = manifest(10_000).pack();
    let mut changed = manifest(10_000);
    changed.items.get_mut(&Address::new("d7/f4077")).expect("it is there").fingerprint = Fingerprint::new("1:dir");
    let known: Vec<Digest> = before.blobs.iter().map(|(blob, _)| blob.digest).collect();
    let fresh: u64 = changed.pack().blobs.iter().filter(|(blob, _)| !known.contains(&blob.digest)).map(|(blob, _)| blob.bytes).sum();
    let whole: u64 = before.blobs.iter().map(|(blob, _)| blob.bytes).sum();
    assert!(fresh * 40 < whole, "{fresh} of {whole} bytes are new");
}

#[test]
fn what_lets_more_pass_is_told_from_what_lets_less() {
    let signer = |name: &str| SignerNote {
        name: name.to_owned(),
        also: Vec::new(),
        key: format!("ssh-ed25519 SHA256:{name}"),
        digest: Digest::of(name.as_bytes()),
        valid_after: None,
        valid_before: None,
    };
    let path = |threshold, names: &[&str]| PathNote {
        glob: "apps/pay/**".to_owned(),
        threshold,
        names: names.iter().map(|name| (*name).to_owned()).collect(),
    };
    let policy = |verify: &str, signers: &[&str], paths: &[PathNote]| SignerPolicy {
        verify: verify.to_owned(),
        tags: None,
        since: None,
        paths: paths.to_vec(),
        signers: signers.iter().map(|name| signer(name)).collect(),
    };
    let strict = policy("all", &["ann"], &[path(2, &["ann", "bo"])]);
    let loose = policy("head", &["ann", "eve"], &[path(1, &["ann", "bo"])]);
    assert_eq!(
        strict.loosened(&loose),
        ["verify all → head", "eve may sign with ssh-ed25519 SHA256:eve", "apps/pay/** needs no longer 2 of ann, bo"]
    );
    assert_eq!(strict.differences(&loose).len(), 4);
    assert_eq!(loose.loosened(&strict), [""; 0]);
    assert_eq!(loose.differences(&strict).len(), 4);
    // Somebody more who counts makes it easier.
    assert_eq!(strict.loosened(&policy("all", &["ann"], &[path(2, &["ann", "bo", "eve"])])).len(), 1);
}

fn waiting(waits: &[(&str, &[&str])]) -> BTreeMap<String, BTreeSet<String>> {
    waits.iter().map(|(key, before)| ((*key).to_owned(), before.iter().map(|key| (*key).to_owned()).collect())).collect()
}

#[test]
fn each_comes_after_what_it_waits_for() {
    let found = turns(&waiting(&[("a", &["b", "c"]), ("b", &["d"]), ("c", &["d"]), ("d", &["elsewhere"]), ("e", &[])]));
    assert_eq!(found.order, ["d", "b", "c", "a", "e"]);
    assert!(found.circles.is_empty());
}

#[test]
fn fault_39_every_circle_is_named_and_the_rest_has_its_order() {
    let waits = [
        ("a", &["b"][..]),
        ("b", &["c"]),
        ("c", &["a", "x"]),
        ("x", &["y"]),
        ("y", &["x"]),
        ("self", &["self"]),
        ("free", &[]),
        ("late", &["free", "a"]),
    ];
    let found = turns(&waiting(&waits));
    assert_eq!(found.circles, [vec!["x", "y"], vec!["a", "b", "c"], vec!["self"]]);
    let place = |key: &str| found.order.iter().position(|other| other == key);
    assert_eq!(found.order.len(), waits.len());
    assert!(place("free") < place("late") && place("c") < place("late") && place("y") < place("a"));
}

#[test]
fn fault_39_a_chain_and_a_web_of_fifty_thousand_waits() {
    let name = |n: usize| format!("{n:06}");
    let chain: BTreeMap<String, BTreeSet<String>> =
        (0..50_000).map(|n| (name(n), (n > 0).then(|| name(n - 1)).into_iter().collect())).collect();
    let found = turns(&chain);
    assert!(found.circles.is_empty() && found.order.iter().eq(chain.keys()));
    let ring: BTreeMap<String, BTreeSet<String>> = (0..50_000).map(|n| (name(n), BTreeSet::from([name((n + 1) % 50_000)]))).collect();
    let found = turns(&ring);
    assert_eq!((found.circles.len(), found.circles[0].len(), found.order.len()), (1, 50_000, 50_000));
    // Everything waits for the hundred before it: what is asked of each wait is asked once.
    let web: BTreeMap<String, BTreeSet<String>> =
        (0..500usize).map(|n| (name(n), (n.saturating_sub(100)..n).map(name).collect())).collect();
    assert!(turns(&web).order.iter().eq(web.keys()));
}
