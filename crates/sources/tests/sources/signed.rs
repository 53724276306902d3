//! Signatures of revisions: commits and tags signed by the real programs, in real repositories.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;
use trued_doors::{Judgement, Source};
use trued_model::{Timestamp, Verified, Want};

use crate::support::{Repo, Server, bundle, newest, open_at, refused, revision};

/// Somewhere in 2026; the keys here have no end.
const NOW: Timestamp = Timestamp(1_790_000_000_000);

/// A repository, people with keys, and who of them is listed.
struct Team {
    repo: Repo,
    keys: TempDir,
    cache: TempDir,
}

impl Team {
    fn new() -> Team {
        let team = Team { repo: Repo::new(), keys: TempDir::new().unwrap(), cache: TempDir::new().unwrap() };
        let mut signers = String::new();
        for person in ["alice", "bob", "carol", "eve"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"])
                .arg(team.keys.path().join(person))
                .status()
                .expect("this test needs ssh-keygen (Debian: openssh-client)");
            assert!(made.success());
            let public = std::fs::read_to_string(team.keys.path().join(format!("{person}.pub"))).unwrap();
            if person != "eve" {
                signers.push_str(&format!("{person}@x {public}"));
            }
        }
        std::fs::write(team.signers(), signers).unwrap();
        team
    }

    fn signers(&self) -> PathBuf {
        self.keys.path().join("signers")
    }

    /// Runs git as somebody who signs what they make.
    fn git_as(&self, person: &str, arguments: &[&str]) -> String {
        let key = format!("user.signingkey={}", self.keys.path().join(person).display());
        self.repo.git(&[&["-c", "gpg.format=ssh", "-c", &key], arguments].concat())
    }

    fn commit_as(&self, person: &str, path: &str, text: &str) -> String {
        self.repo.write(path, text);
        self.repo.git(&["add", "-A"]);
        self.git_as(person, &["commit", "-q", "-S", "--allow-empty", "-m", &format!("change {path}")]);
        self.repo.git(&["rev-parse", "HEAD"])
    }

    fn tag_as(&self, person: &str, name: &str, commit: &str) {
        self.git_as(person, &["tag", "-s", "-m", "approved", name, commit]);
    }

    fn open(&self, more: Value) -> Arc<dyn Source> {
        let mut settings = json!({ "path": self.repo.path, "branch": "main", "signers": { "ssh": self.signers() } });
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        open_at("git", settings, self.cache.path())
    }

    fn pay(&self, verify: &str) -> Arc<dyn Source> {
        let rule = json!({ "threshold": 2, "keys": ["alice@x", "bob@x", "carol@x"] });
        self.open(json!({ "verify": verify, "paths": { "apps/pay/**": rule } }))
    }
}

async fn judge(source: &Arc<dyn Source>, id: &str, since: Option<&str>) -> Result<Verified, String> {
    match source.verify(&revision(id), since, NOW).await {
        Ok(Judgement::Verified(policy, verified)) => {
            assert_eq!(policy.digest(), verified.policy);
            Ok(*verified)
        }
        Ok(Judgement::Refused(findings)) => {
            assert!(findings.iter().all(|finding| !finding.help.is_empty()), "no finding is without a next step: {findings:?}");
            Err(findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
        }
        other => panic!("{:?}", other.map(|_| "no judgement")),
    }
}

#[track_caller]
fn says(judged: Result<Verified, String>, words: &[&str]) {
    let why = judged.expect_err("it is refused");
    assert!(words.iter().all(|word| why.contains(word)), "{why:?} does not say {words:?}");
}

fn people(verified: &Verified) -> Vec<&str> {
    verified.signatures.iter().map(|note| note.name.as_str()).collect()
}

#[tokio::test]
async fn the_head_must_be_signed_by_somebody_who_is_listed() {
    let team = Team::new();
    let source = team.open(json!({ "verify": "head" }));
    let plain = team.repo.commit_file("a", "1");
    says(judge(&source, &plain, None).await, &[&plain[..12], "change a", "not signed", "git commit --amend --no-edit -S"]);
    let theirs = team.commit_as("eve", "a", "2");
    says(judge(&source, &theirs, None).await, &[&theirs[..12], "not listed", "SHA256:"]);
    let ours = team.commit_as("alice", "a", "3");
    let verified = judge(&source, &ours, None).await.unwrap();
    assert_eq!((people(&verified), verified.commits, &verified.since), (vec!["alice@x"], 1, &None));
    assert!(verified.signatures[0].key.starts_with("ED25519 SHA256:") && verified.signatures[0].commit == ours);
    // Commits before it do not matter here, and nothing is asked where nothing is to be verified.
    assert!(judge(&source, &ours, Some(&plain)).await.is_ok());
    let unasked = team.open(json!({ "verify": "none" })).verify(&revision(&plain), None, NOW).await;
    assert!(matches!(unasked, Ok(Judgement::Unasked)));
    let known = source.verify(&revision(&ours), Some(&ours), NOW).await;
    assert!(matches!(known, Ok(Judgement::Known(_))), "it was judged before");
}

#[tokio::test]
async fn every_commit_since_the_last_verified_one_must_be_signed() {
    let team = Team::new();
    let source = team.open(json!({ "verify": "all" }));
    team.repo.commit_file("a", "0");
    let base = team.commit_as("alice", "a", "1");
    assert_eq!(judge(&source, &base, None).await.unwrap().commits, 1, "what is older than the first contact is not looked at");
    let second = team.commit_as("bob", "a", "2");
    let third = team.commit_as("alice", "a", "3");
    let verified = judge(&source, &third, Some(&base)).await.unwrap();
    assert_eq!((people(&verified), verified.commits), (vec!["alice@x", "bob@x"], 2));
    assert_eq!(verified.since.as_deref(), Some(base.as_str()));

    // One that nobody signed hides below a signed head.
    let plain = team.repo.commit_file("b", "1");
    let head = team.commit_as("alice", "a", "4");
    says(judge(&source, &head, Some(&second)).await, &[&plain[..12], "not signed"]);
    assert!(judge(&team.open(json!({ "verify": "head" })), &head, Some(&second)).await.is_ok());
    assert!(judge(&source, &head, Some(&plain)).await.is_ok(), "it is older than what was verified");
}

#[tokio::test]
async fn what_a_merge_brings_is_new_too() {
    let team = Team::new();
    let source = team.open(json!({ "verify": "all" }));
    let fork = team.commit_as("alice", "a", "1");
    team.repo.git(&["checkout", "-q", "-b", "side"]);
    let hidden = team.repo.commit_file("b", "1");
    team.repo.git(&["checkout", "-q", "main"]);
    let base = team.commit_as("alice", "a", "2");
    team.git_as("bob", &["merge", "-q", "-S", "--no-ff", "-m", "merge side", "side"]);
    let merge = team.repo.git(&["rev-parse", "HEAD"]);
    says(judge(&source, &merge, Some(&base)).await, &[&hidden[..12], "not signed"]);
    let allowed = judge(&team.open(json!({ "verify": "all", "tags": "ok/*" })), &merge, Some(&base)).await;
    assert!(allowed.is_err());
    // A signed tag vouches for a commit that bears no signature itself.
    team.tag_as("carol", "ok/side", &hidden);
    let verified = judge(&team.open(json!({ "verify": "all", "tags": "ok/*" })), &merge, Some(&base)).await.unwrap();
    assert_eq!((verified.commits, verified.count), (2, 2));
    assert!(judge(&source, &merge, Some(&fork)).await.is_err(), "other tags do not count where none are named");
}

#[tokio::test]
async fn a_guarded_path_needs_its_people_and_each_counts_once() {
    let team = Team::new();
    let source = team.pay("head");
    let base = team.commit_as("alice", "apps/web/a", "1");
    assert!(judge(&source, &base, None).await.is_ok(), "nothing of it is guarded");
    let elsewhere = team.commit_as("alice", "apps/web/a", "2");
    assert_eq!(judge(&source, &elsewhere, Some(&base)).await.unwrap().guarded, 0);

    let head = team.commit_as("alice", "apps/pay/fee", "1");
    let lacks = ["apps/pay/fee", "needs 2 of alice@x, bob@x, carol@x", "only alice@x vouches", "git tag -s"];
    says(judge(&source, &head, Some(&elsewhere)).await, &lacks);
    team.tag_as("alice", "approve/1", &head);
    says(judge(&source, &head, Some(&elsewhere)).await, &["only alice@x vouches"]);
    team.tag_as("eve", "approve/2", &head);
    says(judge(&source, &head, Some(&elsewhere)).await, &["only alice@x vouches"]);
    // Somebody's word for another commit, put on this one under another name.
    team.tag_as("bob", "approve/3", &elsewhere);
    let old = team.repo.git(&["rev-parse", "refs/tags/approve/3"]);
    team.repo.git(&["update-ref", "refs/tags/approve/4", &old]);
    says(judge(&source, &head, Some(&elsewhere)).await, &["only alice@x vouches"]);
    team.tag_as("bob", "approve/5", &head);
    let verified = judge(&source, &head, Some(&elsewhere)).await.unwrap();
    assert_eq!(verified.guarded, 1);
    assert!(people(&verified).contains(&"bob@x") && verified.signatures.iter().any(|note| note.tag.as_deref() == Some("approve/5")));
    team.repo.git(&["update-ref", "-d", "refs/tags/approve/5"]);
    team.repo.git(&["tag", "approve/6", &head]);
    assert!(judge(&source, &head, Some(&elsewhere)).await.is_err(), "a tag without a signature vouches for nothing");

    // Removing is a change, and what is again as it was verified needs nobody.
    let gone = {
        team.repo.git(&["rm", "-q", "apps/pay/fee"]);
        team.commit_as("carol", "apps/web/a", "3")
    };
    says(judge(&source, &gone, Some(&head)).await, &["apps/pay/fee", "only carol@x vouches"]);
    assert_eq!(judge(&source, &gone, Some(&elsewhere)).await.unwrap().guarded, 0);
}

#[tokio::test]
async fn people_vouch_for_files_as_they_are_not_as_they_were() {
    let team = Team::new();
    let source = team.pay("head");
    let base = team.commit_as("alice", "apps/web/a", "1");
    team.commit_as("alice", "apps/pay/fee", "1");
    let head = team.commit_as("bob", "apps/pay/fee", "2");
    says(judge(&source, &head, Some(&base)).await, &["only bob@x vouches"]);
    // A commit that leaves the file alone says nothing about it.
    let head = {
        assert!(!head.is_empty());
        team.commit_as("carol", "apps/web/a", "2")
    };
    says(judge(&source, &head, Some(&base)).await, &["only bob@x vouches"]);
    team.tag_as("alice", "ok", "HEAD~1");
    assert!(judge(&source, &head, Some(&base)).await.is_ok(), "the file is as it was where the tag is");
    // A name that stands in another folder, or a path that only begins alike, is not guarded.
    let beside = team.commit_as("alice", "apps/payment/x", "1");
    assert_eq!(judge(&source, &beside, Some(&head)).await.unwrap().guarded, 0);
}

#[tokio::test]
async fn whoever_merges_into_the_branch_vouches_for_what_the_merge_brings() {
    let team = Team::new();
    let source = team.pay("all");
    let base = team.commit_as("alice", "apps/web/a", "1");
    team.repo.git(&["checkout", "-q", "-b", "fee"]);
    let change = team.commit_as("alice", "apps/pay/fee", "1");
    team.repo.git(&["checkout", "-q", "main"]);
    team.git_as("bob", &["merge", "-q", "-S", "--no-ff", "-m", "merge fee", "fee"]);
    let merge = team.repo.git(&["rev-parse", "HEAD"]);
    let verified = judge(&source, &merge, Some(&base)).await.unwrap();
    assert_eq!((people(&verified), verified.guarded), (vec!["bob@x", "alice@x"], 1));

    // Taking a change from the branch into one's own work vouches for nothing.
    team.repo.git(&["checkout", "-q", "-B", "other", &base]);
    team.commit_as("carol", "apps/web/b", "1");
    team.git_as("carol", &["merge", "-q", "-S", "--no-ff", "-m", "catch up", &change]);
    team.repo.git(&["checkout", "-q", "-B", "main", &change]);
    team.git_as("alice", &["merge", "-q", "-S", "--no-ff", "-m", "merge other", "other"]);
    let merge = team.repo.git(&["rev-parse", "HEAD"]);
    says(judge(&source, &merge, Some(&base)).await, &["apps/pay/fee", "only alice@x vouches"]);
}

#[tokio::test]
async fn at_first_contact_the_revision_stands_for_itself_or_follows_what_the_operator_vouches_for() {
    let team = Team::new();
    let first = team.repo.commit_file("apps/pay/fee", "1");
    let plain = team.repo.commit_file("b", "1");
    let head = team.commit_as("alice", "a", "1");
    says(judge(&team.pay("head"), &head, None).await, &["apps/pay/fee", "only alice@x vouches"]);
    team.tag_as("bob", "start", &head);
    assert!(judge(&team.pay("head"), &head, None).await.is_ok(), "two people vouch for all that is in it");

    let since = |commit: &str| team.open(json!({ "verify": "all", "since": commit }));
    says(judge(&since(&first), &head, None).await, &[&plain[..12], "not signed"]);
    let verified = judge(&since(&plain), &head, None).await.unwrap();
    assert_eq!((verified.commits, verified.since.as_deref()), (1, Some(plain.as_str())));
    let verified = judge(&since(&plain), &plain, None).await.unwrap();
    assert_eq!(verified.count, 0, "the operator vouches for it");
    says(judge(&since(&head), &plain, None).await, &["does not follow"]);
}

/// Fault 5: what was verified is what is read, whatever becomes of the name.
#[tokio::test]
async fn fault_05_a_tag_that_moves_changes_neither_the_verdict_nor_the_bytes() {
    let team = Team::new();
    let good = team.commit_as("alice", "site/a", "good");
    team.repo.git(&["tag", "v1", &good]);
    let source = team.open(json!({ "verify": "head", "branch": null, "tag": "v1" }));
    let resolved = newest(&source).await;
    assert_eq!(resolved.id, good);
    let bad = team.repo.commit_file("site/a", "bad");
    team.repo.git(&["tag", "-f", "v1", &bad]);
    assert!(judge(&source, &resolved.id, None).await.is_ok());
    let files = bundle(&source, &resolved, "site").await;
    assert_eq!(files.reader.read("a").unwrap(), b"good");
    let moved = newest(&source).await;
    assert_eq!(moved.id, bad, "the next look finds where it is now");
    says(judge(&source, &moved.id, Some(&good)).await, &["not signed"]);
}

#[tokio::test]
async fn a_signed_tag_that_is_followed_vouches_for_its_commit() {
    let team = Team::new();
    let commit = team.repo.commit_file("a", "1");
    team.tag_as("alice", "v1", &commit);
    let follow = |tag: &str| team.open(json!({ "verify": "head", "branch": null, "tag": tag }));
    let verified = judge(&follow("v1"), &commit, None).await.unwrap();
    assert_eq!(verified.signatures[0].tag.as_deref(), Some("v1"));
    // The same tag under another name: it says itself that it is v1.
    let old = team.repo.git(&["rev-parse", "refs/tags/v1"]);
    team.repo.git(&["update-ref", "refs/tags/v2", &old]);
    says(judge(&follow("v2"), &commit, None).await, &["not signed"]);
    // A tag on a tag vouches for the commit below both; only the one that is followed counts.
    team.tag_as("eve", "inner", &commit);
    team.tag_as("bob", "outer", "inner");
    assert_eq!(people(&judge(&follow("outer"), &commit, None).await.unwrap()), ["bob@x"]);
    team.tag_as("eve", "worse", "v1");
    says(judge(&follow("worse"), &commit, None).await, &["not signed"]);
}

#[tokio::test]
async fn what_is_not_there_proves_nothing() {
    let team = Team::new();
    let base = team.commit_as("alice", "a", "1");
    team.commit_as("alice", "a", "2");
    let head = team.commit_as("alice", "a", "3");
    let shallow = team.cache.path().join("shallow");
    let from = format!("file://{}", team.repo.path.display());
    team.repo.git(&["clone", "-q", "--depth", "1", &from, &shallow.display().to_string()]);
    let source = team.open(json!({ "verify": "all", "path": shallow }));
    assert!(judge(&source, &head, None).await.is_ok());
    let refusal = refused(source.verify(&revision(&head), Some(&base), NOW).await);
    assert!(refusal.message.contains("missing"), "{refusal:?}");

    for (file, words) in [("no-such", "cannot be read"), ("alice", "signer cannot be used"), ("empty", "nobody")] {
        std::fs::write(team.keys.path().join("empty"), "").unwrap();
        let source = team.open(json!({ "verify": "head", "signers": { "ssh": team.keys.path().join(file) } }));
        says(judge(&source, &head, None).await, &[words]);
    }
}

#[tokio::test]
async fn who_may_sign_is_read_anew_each_time() {
    let team = Team::new();
    let source = team.open(json!({ "verify": "head" }));
    let head = team.commit_as("alice", "a", "1");
    let before = judge(&source, &head, None).await.unwrap();
    let without = std::fs::read_to_string(team.signers()).unwrap().replace("alice@x", "# alice@x");
    std::fs::write(team.signers(), without).unwrap();
    says(judge(&source, &head, None).await, &["not listed"]);
    let next = team.commit_as("bob", "a", "2");
    assert_ne!(judge(&source, &next, Some(&head)).await.unwrap().policy, before.policy);
}

#[tokio::test]
async fn over_http_signed_tags_are_fetched_and_those_withdrawn_count_no_more() {
    let team = Team::new();
    let server = Server::start(team.repo.path.parent().unwrap());
    let rule = json!({ "threshold": 2, "keys": ["alice@x", "bob@x"] });
    let settings = json!({
        "url": server.url("repo"), "branch": "main", "verify": "all", "tags": "approve/*",
        "signers": { "ssh": team.signers() }, "paths": { "pay/**": rule }
    });
    let source = open_at("git", settings, team.cache.path());
    let base = team.commit_as("alice", "a", "1");
    assert_eq!(newest(&source).await.id, base);
    assert!(judge(&source, &base, None).await.is_ok());
    let head = team.commit_as("alice", "pay/fee", "1");
    assert_eq!(newest(&source).await.id, head);
    says(judge(&source, &head, Some(&base)).await, &["only alice@x vouches"]);
    team.tag_as("bob", "approve/1", &head);
    newest(&source).await;
    assert!(judge(&source, &head, Some(&base)).await.is_ok());
    team.repo.git(&["tag", "-d", "approve/1"]);
    newest(&source).await;
    says(judge(&source, &head, Some(&base)).await, &["only alice@x vouches"]);

    // Without its cache a source verifies as much as before.
    team.tag_as("bob", "approve/1", &head);
    let plain = team.repo.commit_file("a", "2");
    let next = team.commit_as("alice", "a", "3");
    for entry in std::fs::read_dir(team.cache.path()).unwrap() {
        std::fs::remove_dir_all(entry.unwrap().path()).unwrap();
    }
    assert_eq!(source.resolve(Want::Newest).await.unwrap().id, next);
    says(judge(&source, &next, Some(&head)).await, &[&plain[..12], "not signed"]);
}

#[test]
fn what_is_wrong_with_a_policy_is_said_where_it_stands() {
    let team = Team::new();
    let kinds = trued_sources::kinds();
    let git = kinds.iter().find(|kind| kind.describe().kind == "git").unwrap();
    let check = |more: Value| {
        let mut settings = json!({ "url": "https://git.example/shop", "verify": "all", "signers": { "ssh": team.signers() } });
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        git.check(&settings)
    };
    assert_eq!(check(json!({})), []);
    let rule = |threshold: u32, keys: &[&str]| json!({ "paths": { "a/**": { "threshold": threshold, "keys": keys } } });
    let key = std::fs::read_to_string(team.keys.path().join("eve.pub")).unwrap();
    let alices = std::fs::read_to_string(team.keys.path().join("alice.pub")).unwrap();
    assert_eq!(check(json!({ "signers": { "keys": { "eve": [key] } } })), []);
    for (more, pointer, words) in [
        (json!({ "signers": {} }), "/verify", "nobody may sign"),
        (json!({ "verify": null }), "", "does not say how much"),
        (json!({ "signers": { "ssh": "/no/such" } }), "/signers/ssh", "cannot be read"),
        (json!({ "signers": { "pgp": team.signers() } }), "/signers/pgp", "no file of OpenPGP keys"),
        (json!({ "signers": { "keys": { "al/x": ["ssh-ed25519 AAAA"] } } }), "/signers/keys/al~1x/0", "cannot be used"),
        (json!({ "signers": { "ssh": team.signers(), "keys": { "eve": [alices] } } }), "/signers", "is listed for"),
        (rule(0, &["alice@x"]), "/paths/a~1**/threshold", "guards nothing"),
        (rule(2, &["alice@x", "alice@x"]), "/paths/a~1**/threshold", "1 different"),
        (rule(1, &["alice@x", "mallory"]), "/paths/a~1**/keys/1", "no signer is called `mallory`"),
        (json!({ "since": "main" }), "/since", "whole commit id"),
        (json!({ "tags": "a*b" }), "/tags", "beginning"),
    ] {
        let found = check(more.clone());
        let [(at, finding)] = found.as_slice() else { panic!("{more}: {found:?}") };
        assert!(at == pointer && finding.message.contains(words) && !finding.help.is_empty(), "{more}: {at} {finding}");
    }
}
