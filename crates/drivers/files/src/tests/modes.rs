//! Owner, group and mode by glob: made, seen, told apart from what nobody rules, and refused before anything is written.

use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::Path;

use serde_json::json;
use trued_doors::{Asked, Facts};
use trued_model::{Address, Seen};

use super::ground::{Ground, file, link, program, run, things, unprivileged};
use crate::caller::Caller;
use crate::observe::observe;
use crate::rules::{Deciding, findings, resolve};

fn stat(path: &Path) -> (u32, u32, u32) {
    let meta = path.symlink_metadata().unwrap();
    (meta.mode() & 0o7777, meta.uid(), meta.gid())
}

fn messages(modes: serde_json::Value) -> Vec<String> {
    let rules = serde_json::from_value(modes).unwrap();
    findings(&rules).into_iter().map(|finding| finding.message).collect()
}

#[test]
fn rules_are_checked_before_anything_is_looked_at() {
    assert_eq!(
        messages(json!({ "bin/**": "0755", "etc/*": { "mode": "640", "owner": "root" }, "spool/": { "mode": "1777", "special": true } })),
        [""; 0]
    );
    assert_eq!(messages(json!({ "a": "0999" })), ["`modes`: `a`: its mode is none"]);
    assert_eq!(messages(json!({ "a": "4755" })), ["`modes`: `a`: mode 4755 has setuid, setgid or sticky in it"]);
    assert_eq!(messages(json!({ "a": {} })), ["`modes`: `a`: says nothing"]);
    assert_eq!(messages(json!({ "../a": "0644", "/b": "0644" })).len(), 2);
    assert!(messages(json!({ "a[": "0644" }))[0].contains("is no glob"));
}

#[test]
fn each_property_comes_from_the_nearest_glob_that_says_it() {
    let rules = json!({ "**": { "mode": "0640", "owner": 1 }, "bin/**": "0750", "bin/tool": { "group": 7 }, "bin/": { "mode": "0700" } });
    let caller = Caller::myself();
    let deciding = Deciding::new(&resolve(&serde_json::from_value(rules).unwrap(), &caller));
    let said = |path: &str, folder| deciding.decide(path.as_bytes(), folder).attributes;
    if rustix::process::geteuid().is_root() {
        assert_eq!((said("a/b", false).mode, said("a/b", false).owner), (Some(0o640), Some(1)));
        let tool = said("bin/tool", false);
        assert_eq!((tool.mode, tool.owner, tool.group), (Some(0o750), Some(1), Some(7)));
    }
    assert_eq!(said("bin", true).mode, Some(0o700));
    assert!(said("a", true).is_empty(), "a glob of files is not for folders");
    let equal = json!({ "a*": "0600", "*b": "0640" });
    let deciding = Deciding::new(&resolve(&serde_json::from_value(equal).unwrap(), &caller));
    assert_eq!(deciding.decide(b"ab", false).troubles.len(), 1, "neither is nearer");
    assert_eq!(deciding.decide(b"ax", false).troubles.len(), 0);
}

#[test]
fn what_rules_say_is_made_and_seen_and_what_they_do_not_say_keeps_its_fingerprint() {
    let mut ground = Ground::new();
    let me = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let root = me.0 == 0;
    let (uid, gid) = if root { (65534, 65533) } else { me };
    let secret = json!({ "mode": "0600", "owner": uid, "group": gid });
    ground.rule(
        json!({ "bin/**": "0750", "etc/secret/*": secret, "etc/secret/": { "mode": "0710", "group": gid }, "plain/at": { "owner": uid } }),
    );
    let wanted = things([
        ("bin/deep/tool", program("x")),
        ("etc/secret/key", file("k")),
        ("etc/other", file("o")),
        ("plain/run", program("r")),
        ("plain/at", link("run")),
    ]);
    let tree = ground.tree();
    ground.begin(&wanted);
    assert_eq!(stat(&ground.path("bin/deep/tool")).0, 0o750);
    assert_eq!(stat(&ground.path("etc/secret/key")), (0o600, uid, gid));
    assert_eq!(stat(&ground.path("etc/secret")), (0o710, me.0, gid));
    assert_eq!(stat(&ground.path("plain/at")).1, uid, "a link has an owner too");
    assert_eq!(stat(&ground.path("etc/other")), (0o644, me.0, me.1));
    let resources = ground.resources(&wanted);
    let print = |path: &str| resources[&Address::new(path)].fingerprint.as_str().to_owned();
    assert!(print("etc/other").starts_with("1:file:644:") && print("plain/run").starts_with("1:file:755:"));
    assert!(print("etc/secret/key").starts_with(&format!("2:file:0600:u{uid}:g{gid}:")), "{}", print("etc/secret/key"));
    assert!(print("etc/secret").starts_with("2:dir:0710:u-:"));
    assert_eq!(ground.plan(&tree, &BTreeSet::new(), &wanted), [], "the second plan is empty");
}

#[test]
fn drift_of_owner_group_and_mode_is_seen_and_put_back() {
    let mut ground = Ground::new();
    let root = rustix::process::geteuid().is_root();
    let rule = if root { json!({ "mode": "0640", "owner": 65534, "group": 65534 }) } else { json!("0640") };
    ground.rule(json!({ "**": rule, "d/": "0750" }));
    let wanted = things([("d/a", file("1")), ("d/b", file("2"))]);
    ground.begin(&wanted);
    let tree = ground.tree();
    let path = |name: &str| ground.path(name);
    type Harm<'a> = (&'static str, Box<dyn Fn() + 'a>);
    let mut harms: Vec<Harm<'_>> = vec![
        ("d/a", Box::new(|| std::fs::set_permissions(path("d/a"), PermissionsExt::from_mode(0o644)).unwrap())),
        ("d/a", Box::new(|| std::fs::set_permissions(path("d/a"), PermissionsExt::from_mode(0o4640)).unwrap())),
        ("d", Box::new(|| std::fs::set_permissions(path("d"), PermissionsExt::from_mode(0o777)).unwrap())),
    ];
    if root {
        harms.push(("d/b", Box::new(|| std::os::unix::fs::chown(path("d/b"), Some(1), None).unwrap())));
        harms.push(("d/b", Box::new(|| std::os::unix::fs::chown(path("d/b"), None, Some(1)).unwrap())));
    }
    let before: Vec<_> = ["d", "d/a", "d/b"].map(|name| stat(&path(name))).to_vec();
    for (at, harm) in harms {
        harm();
        let changes = ground.plan(&tree, &BTreeSet::new(), &wanted);
        assert_eq!(changes.iter().map(|change| change.address.as_str()).collect::<Vec<_>>(), [at]);
        ground.bring(&tree, &BTreeSet::new(), &wanted);
        assert_eq!(["d", "d/a", "d/b"].map(|name| stat(&path(name))).to_vec(), before);
    }
    // What no rule is about is left as somebody made it.
    ground.facts = Facts::default();
    std::fs::set_permissions(ground.path("d/a"), PermissionsExt::from_mode(0o600)).unwrap();
    assert_eq!(ground.plan(&tree, &BTreeSet::new(), &wanted), []);
}

#[test]
fn a_rule_that_comes_later_is_no_drift_of_what_was_made_before() {
    let mut ground = Ground::new();
    let wanted = things([("a", file("1"))]);
    ground.begin(&wanted);
    let made = ground.resources(&wanted)[&Address::new("a")].fingerprint.clone();
    ground.rule(json!({ "a": "0600" }));
    let desired = ground.resources(&wanted)[&Address::new("a")].fingerprint.clone();
    let look = |ground: &Ground| {
        let asked = Asked::new(Address::new("a"), false).like([&desired, &made]);
        match &observe(&ground.tree(), &[asked]).seen[&Address::new("a")] {
            Seen::Present(state) => state.fingerprint.clone(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(look(&ground), made, "it is as it was made");
    let tree = ground.tree();
    ground.bring(&tree, &BTreeSet::new(), &wanted);
    assert_eq!(look(&ground), desired);
    std::fs::write(ground.path("a"), "2").unwrap();
    let found = look(&ground);
    assert!(found != made && found != desired);
}

#[test]
fn a_user_who_is_not_there_is_a_finding_and_nothing_is_written() {
    let mut ground = Ground::new();
    ground.rule(
        json!({ "etc/*": { "owner": "nobody-of-that-name" }, "bin/*": { "group": "no-such-group" }, "unused/*": { "owner": "nor-this" } }),
    );
    let documents = [("etc/a", file("1")), ("etc/b", file("1")), ("bin/c", file("2"))].map(|(path, thing)| ground.document(path, &thing));
    let parsed = crate::parse::parse(&ground.facts, "", &documents);
    let said: Vec<&str> = parsed.findings.iter().map(|finding| finding.message.as_str()).collect();
    assert_eq!(
        said,
        [
            "`modes`: `bin/*`: no group is named `no-such-group` on this machine",
            "`modes`: `etc/*`: no user is named `nobody-of-that-name` on this machine"
        ]
    );
    assert!(parsed.findings.iter().all(|finding| finding.place.is_none()), "they are about the target, not about a document");
}

#[test]
fn who_may_not_give_files_away_hears_it_before_anything_is_written() {
    if !unprivileged("tests::modes::who_may_not_give_files_away_hears_it_before_anything_is_written") {
        return;
    }
    let mut ground = Ground::new();
    let uid = rustix::process::geteuid().as_raw();
    ground.rule(json!({ "a": { "owner": "root" }, "b": { "group": "root" }, "c": { "mode": "0600", "owner": uid } }));
    let documents = [("a", file("1")), ("b", file("1")), ("c", file("1"))].map(|(path, thing)| ground.document(path, &thing));
    let said: Vec<String> =
        crate::parse::parse(&ground.facts, "", &documents).findings.into_iter().map(|finding| finding.message).collect();
    let expected = [
        format!("`modes`: `a`: Trued runs as uid {uid} and may not give files to user `root`"),
        format!("`modes`: `b`: Trued runs as uid {uid} and is not in group `root`"),
    ];
    assert_eq!(said, expected);
    ground.bring(&ground.tree(), &BTreeSet::new(), &things([("c", file("1"))]));
    assert_eq!(stat(&ground.path("c")).0, 0o600);
}

#[test]
fn fault_53_a_crash_leaves_the_old_file_or_the_new_one_with_its_owner_and_mode() {
    let mut ground = Ground::new();
    ground.rule(json!({ "a": "0600" }));
    ground.begin(&things([("a", file("old"))]));
    ground.rule(json!({ "a": "0640" }));
    let changes = ground.plan(&ground.tree(), &BTreeSet::new(), &things([("a", file("new"))]));
    for stop in 0.. {
        let mut tree = ground.tree();
        let passed = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counted = passed.clone();
        tree.probe.step_in = Some(std::sync::Arc::new(move |_| match counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == stop {
            true => Err(rustix::io::Errno::NOSPC),
            false => Ok(()),
        }));
        run(&tree, &changes);
        let there = (std::fs::read_to_string(ground.path("a")).unwrap(), stat(&ground.path("a")).0);
        assert!([("old".to_owned(), 0o600), ("new".to_owned(), 0o640)].contains(&there), "{there:?} after {stop}");
        if passed.load(std::sync::atomic::Ordering::SeqCst) <= stop {
            assert_eq!(there, ("new".to_owned(), 0o640));
            break;
        }
        // Back to the beginning.
        let _ = std::fs::remove_file(ground.path("a"));
        ground.rule(json!({ "a": "0600" }));
        ground.bring(&ground.tree(), &BTreeSet::new(), &things([("a", file("old"))]));
    }
}
