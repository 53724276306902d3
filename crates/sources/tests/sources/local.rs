//! The source `git` on a repository of this machine, opened in place: commits.

use std::sync::Arc;

use serde_json::json;
use trued_doors::Source;
use trued_model::{Code, Relation, Shape, Timestamp, Want};
use trued_sources::{RepositoryPlace, find_repository};

use crate::support::{Repo, bundle, git_command, newest, open, paths, refused, revision, snapshot, try_open};

fn main_of(repo: &Repo) -> Arc<dyn Source> {
    open("git", json!({ "path": repo.path, "branch": "main" }))
}

#[tokio::test]
async fn a_commit_is_read_from_its_objects() {
    let repo = Repo::new();
    repo.write("site/index.html", "hello");
    repo.write("site/css/a.css", "a {}");
    repo.write("site/run.sh", "#!/bin/sh");
    repo.write("other/file", "x");
    std::os::unix::fs::symlink("index.html", repo.path.join("site/start")).unwrap();
    repo.git(&["add", "-A"]);
    repo.git(&["update-index", "--chmod=+x", "site/run.sh"]);
    let first = repo.commit("first");
    let source = main_of(&repo);
    let at = newest(&source).await;
    assert_eq!(at.id, first);
    let site = bundle(&source, &at, "site").await;
    assert_eq!(paths(&site), ["css/a.css", "index.html", "run.sh", "start"]);
    assert_eq!(site.entries["start"].shape, Shape::Link);
    assert_eq!(site.entries["index.html"].bytes, 5);
    assert_eq!(site.entries["index.html"].shape, Shape::File { executable: false });
    assert_eq!(site.digest, repo.git(&["rev-parse", "HEAD:site"]), "a folder's digest is its tree's id");
    assert_eq!(*site.entries["index.html"].id, *repo.git(&["rev-parse", "HEAD:site/index.html"]));
    assert_eq!(site.reader.read("css/a.css").unwrap(), b"a {}");
    assert_eq!(site.reader.read("start").unwrap(), b"index.html");
    assert_eq!(site.reader.read("nothing").expect_err("no such entry").code, Code::Absent);
    assert_eq!(source.list(&at).await.unwrap(), ["other/file", "site/css/a.css", "site/index.html", "site/run.sh"]);
    assert_eq!(source.read(&at, "other/file").await.unwrap(), b"x");
    assert_eq!(source.fetches(), 0, "nobody was asked");
}

#[tokio::test]
async fn modes_survive_a_commit() {
    let repo = Repo::new();
    repo.write("run.sh", "#!/bin/sh");
    repo.git(&["add", "-A"]);
    repo.git(&["update-index", "--chmod=+x", "run.sh"]);
    repo.git(&["commit", "-q", "-m", "executable"]);
    let source = main_of(&repo);
    let at = newest(&source).await;
    assert_eq!(bundle(&source, &at, "").await.entries["run.sh"].shape, Shape::File { executable: true });
}

#[tokio::test]
async fn a_bundle_leaves_out_configuration_and_our_own_folder() {
    let repo = Repo::new();
    for path in ["trued.yaml", "site/app.yaml", "site/index.html", "site/.trued/lock", ".gitignore"] {
        repo.write(path, "x");
    }
    repo.commit("all");
    let source = open("git", json!({ "path": repo.path, "exclude": ["trued.yaml", "site/app.yaml"] }));
    let at = newest(&source).await;
    assert_eq!(paths(&bundle(&source, &at, "").await), [".gitignore", "site/index.html"]);
    let site = bundle(&source, &at, "site").await;
    assert_eq!(paths(&site), ["index.html"]);
    assert_ne!(site.digest, repo.git(&["rev-parse", "HEAD:site"]), "what is left out is not in the digest");
    assert!(source.list(&at).await.unwrap().contains(&"site/app.yaml".to_owned()), "but it can be found and read");
    repo.write("site/app.yaml", "y");
    repo.commit("configuration only");
    assert_eq!(bundle(&source, &newest(&source).await, "site").await.digest, site.digest);
}

#[tokio::test]
async fn branches_tags_commits_and_words_a_person_types() {
    let repo = Repo::new();
    let first = repo.commit_file("a", "1");
    repo.git(&["tag", "-a", "-m", "one", "v1"]);
    repo.git(&["tag", "-a", "-m", "nested", "v1-again", "v1"]);
    let second = repo.commit_file("a", "2");
    repo.git(&["branch", "feature/x", &first]);
    let tag = open("git", json!({ "path": repo.path, "tag": "v1" }));
    assert_eq!(newest(&tag).await.id, first, "a tag is its commit");
    let commit = open("git", json!({ "path": repo.path, "commit": first }));
    assert_eq!(newest(&commit).await.id, first);
    let source = main_of(&repo);
    for (word, expected) in [
        ("main", &second),
        ("HEAD", &second),
        ("refs/heads/main", &second),
        ("heads/main", &second),
        ("feature/x", &first),
        ("v1", &first),
        ("v1-again", &first),
        (first.as_str(), &first),
        (&first[..8], &first),
        (&first[..8].to_uppercase(), &first),
    ] {
        assert_eq!(source.resolve(Want::Named(word.to_owned())).await.unwrap().id, *expected, "{word}");
    }
    for word in ["nothing", "-x", "a..b", "", "v1 ", "0000000000000000000000000000000000000000", "ffffffff", "../../x"] {
        let refusal = refused(source.resolve(Want::Named(word.to_owned())).await);
        assert!(matches!(refusal.code, Code::Absent | Code::Invalid), "{word}: {refusal:?}");
    }
    let gone = open("git", json!({ "path": repo.path, "branch": "gone" }));
    let refusal = refused(gone.resolve(Want::Newest).await);
    assert_eq!(refusal.code, Code::Absent);
    assert!(refusal.message.contains("branch gone"), "{refusal}");
}

#[tokio::test]
async fn new_commits_are_seen_also_after_packing() {
    let repo = Repo::new();
    let source = main_of(&repo);
    for round in 0..3 {
        let commit = repo.commit_file("a", &round.to_string());
        let at = newest(&source).await;
        assert_eq!(at.id, commit);
        repo.git(&["gc", "-q", "--prune=now"]);
        assert_eq!(source.read(&at, "a").await.unwrap(), round.to_string().into_bytes());
    }
}

#[tokio::test]
async fn who_and_why() {
    let repo = Repo::new();
    let first = repo.commit_file("a", "1");
    repo.write("a", "2");
    repo.git(&["add", "-A"]);
    repo.git(&["commit", "-q", "-m", "subject \u{1b}[31mred\n\nbody"]);
    let second = repo.git(&["rev-parse", "HEAD"]);
    let source = main_of(&repo);
    let commit = source.commit(&revision(&second)).await.unwrap();
    assert_eq!(commit.author, "Ada <ada@example.org>");
    assert_eq!(commit.subject, "subject [31mred", "control characters are left out");
    assert_eq!(commit.at, "2026-01-02T03:04:06Z".parse::<Timestamp>().unwrap());
    assert_eq!((commit.id, commit.parents), (second, vec![first]));
}

#[tokio::test]
async fn fault_04_only_descendants_follow() {
    let repo = Repo::new();
    let first = repo.commit_file("a", "1");
    repo.git(&["branch", "side"]);
    let second = repo.commit_file("a", "2");
    repo.git(&["checkout", "-q", "side"]);
    let side = repo.commit_file("b", "1");
    repo.git(&["checkout", "-q", "main"]);
    repo.git(&["merge", "-q", "--no-edit", "side"]);
    let merge = repo.git(&["rev-parse", "HEAD"]);
    repo.git(&["checkout", "-q", "--orphan", "unrelated"]);
    let unrelated = repo.commit("unrelated");
    let source = main_of(&repo);
    let relation = async |old: &str, new: &str| source.relation(&revision(old), &revision(new)).await.unwrap();
    assert_eq!(relation(&first, &first).await, Relation::Same);
    for (old, new) in [(&first, &second), (&first, &merge), (&second, &merge), (&side, &merge)] {
        assert_eq!(relation(old, new).await, Relation::Follows);
    }
    for (old, new) in [(&second, &first), (&second, &side), (&merge, &side), (&first, &unrelated)] {
        assert_eq!(relation(old, new).await, Relation::Rewinds);
    }
    let nowhere = "1".repeat(40);
    assert_eq!(relation(&nowhere, &first).await, Relation::Rewinds, "what cannot be decided is a rewind");
    assert_eq!(relation(&first, &nowhere).await, Relation::Rewinds);
    assert_eq!(relation("nonsense", &first).await, Relation::Rewinds);
}

#[tokio::test]
async fn fault_04_beyond_a_shallow_end_nothing_can_be_decided() {
    let repo = Repo::new();
    let root = repo.commit_file("a", "0");
    let first = repo.commit_file("a", "1");
    let second = repo.commit_file("a", "2");
    let third = repo.commit_file("a", "3");
    let clone = Repo::new();
    clone.git(&["fetch", "-q", "--depth=2", &format!("file://{}", repo.path.display()), "main:main", "--update-head-ok"]);
    let source = main_of(&clone);
    assert_eq!(newest(&source).await.id, third);
    assert_eq!(source.relation(&revision(&second), &revision(&third)).await.unwrap(), Relation::Follows);
    assert_eq!(source.relation(&revision(&first), &revision(&third)).await.unwrap(), Relation::Follows, "the last commit names its parent");
    assert_eq!(source.relation(&revision(&root), &revision(&third)).await.unwrap(), Relation::Rewinds);
    assert_eq!(source.read(&revision(&third), "a").await.unwrap(), b"3", "its bytes are there all the same");
}

#[tokio::test]
async fn fault_05_a_tag_that_moves_does_not_move_what_was_resolved() {
    let repo = Repo::new();
    repo.commit_file("a", "1");
    repo.git(&["tag", "release"]);
    let source = open("git", json!({ "path": repo.path, "tag": "release" }));
    let before = newest(&source).await;
    repo.commit_file("a", "2");
    repo.git(&["tag", "-f", "release"]);
    let bytes = bundle(&source, &before, "").await.reader.read("a").unwrap();
    assert_eq!(bytes, b"1");
    assert_ne!(newest(&source).await, before);
}

#[tokio::test]
async fn fault_13_two_commits_at_once_do_not_mix() {
    let repo = Repo::new();
    let mut commits = Vec::new();
    for round in 0..4 {
        for file in 0..20 {
            repo.write(&format!("app-{}/f{file}", round % 2), &format!("{round} {file}"));
        }
        commits.push(repo.commit("round"));
    }
    let source = main_of(&repo);
    let readers = (0..32_usize).map(|reader| {
        let (source, commit, round) = (source.clone(), commits[reader % 4].clone(), reader % 4);
        tokio::spawn(async move {
            let app = bundle(&source, &revision(&commit), &format!("app-{}", round % 2)).await;
            for file in 0..20 {
                assert_eq!(app.reader.read(&format!("f{file}")).unwrap(), format!("{round} {file}").into_bytes());
            }
            (round, app.digest)
        })
    });
    let mut digests = std::collections::BTreeMap::new();
    for reader in readers.collect::<Vec<_>>() {
        let (round, digest) = reader.await.unwrap();
        assert_eq!(*digests.entry(round).or_insert(digest.clone()), digest);
    }
    assert_eq!(digests.len(), 4);
}

#[tokio::test]
async fn replacements_do_not_change_what_a_commit_is() {
    let repo = Repo::new();
    let honest = repo.commit_file("a", "honest");
    repo.git(&["checkout", "-q", "--orphan", "forged"]);
    let forged = repo.commit_file("a", "forged");
    repo.git(&["replace", &honest, &forged]);
    let source = main_of(&repo);
    assert_eq!(source.read(&revision(&honest), "a").await.unwrap(), b"honest");
}

#[tokio::test]
async fn reading_writes_nothing() {
    let repo = Repo::new();
    repo.commit_file("site/a", "1");
    let before = snapshot(&repo.path);
    let source = main_of(&repo);
    let at = newest(&source).await;
    bundle(&source, &at, "site").await.reader.read("a").unwrap();
    source.commit(&at).await.unwrap();
    source.list(&at).await.unwrap();
    assert!(before == snapshot(&repo.path));
}

#[tokio::test]
async fn bare_repositories_and_linked_working_trees_are_read() {
    let repo = Repo::new();
    let commit = repo.commit_file("a", "1");
    let bare = repo.path.with_extension("git");
    repo.git(&["clone", "-q", "--bare", ".", bare.to_str().unwrap()]);
    assert_eq!(newest(&open("git", json!({ "path": bare }))).await.id, commit);
    assert_eq!(newest(&open("git", json!({ "url": bare, "branch": "main" }))).await.id, commit, "a path may stand as url");
    let linked = repo.path.with_extension("linked");
    repo.git(&["worktree", "add", "-q", "-b", "topic", linked.to_str().unwrap()]);
    std::fs::write(linked.join("a"), "2").unwrap();
    assert!(git_command(&linked).args(["commit", "-qam", "in the linked one"]).status().unwrap().success());
    let topic = repo.git(&["rev-parse", "topic"]);
    assert_eq!(newest(&open("git", json!({ "path": linked }))).await.id, topic, "its HEAD is its own");
    assert_eq!(newest(&open("git", json!({ "path": repo.path }))).await.id, commit);
    assert_eq!(find_repository(&linked).unwrap().branch.as_deref(), Some("topic"));
}

#[tokio::test]
async fn objects_may_lie_in_another_repository() {
    let repo = Repo::new();
    let commit = repo.commit_file("a", "1");
    let clone = repo.path.with_extension("shared");
    repo.git(&["clone", "-q", "--shared", ".", clone.to_str().unwrap()]);
    let source = open("git", json!({ "path": clone }));
    let at = newest(&source).await;
    assert_eq!(at.id, commit);
    assert_eq!(source.read(&at, "a").await.unwrap(), b"1");
}

#[tokio::test]
async fn hashes_of_another_kind_are_said_to_be_not_available_yet() {
    let folder = tempfile::TempDir::new().unwrap();
    assert!(git_command(folder.path()).args(["init", "-q", "--object-format=sha256"]).status().unwrap().success());
    for want in [Want::Newest, Want::WorkTree] {
        let refusal = refused(open("git", json!({ "path": folder.path(), "own": true })).resolve(want).await);
        assert_eq!(refusal.code, Code::Unsupported, "{refusal:?}");
    }
}

#[tokio::test]
async fn names_in_no_encoding_are_written_with_percent_signs() {
    use std::os::unix::ffi::OsStrExt;
    let repo = Repo::new();
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9 100%\n");
    std::fs::create_dir(repo.path.join("site")).unwrap();
    std::fs::write(repo.path.join("site").join(name), "x").unwrap();
    let encoded = "site/caf%E9 100%25%0A";
    let source = open("git", json!({ "path": repo.path, "own": true }));
    let dirty = source.resolve(Want::WorkTree).await.unwrap();
    repo.commit("odd");
    for at in [dirty, newest(&source).await] {
        assert_eq!(source.list(&at).await.unwrap(), [encoded]);
        assert_eq!(source.read(&at, encoded).await.unwrap(), b"x");
        let site = bundle(&source, &at, "site").await;
        assert_eq!(site.reader.read(&encoded["site/".len()..]).unwrap(), b"x");
    }
}

#[tokio::test]
async fn what_is_not_a_repository_is_said_so() {
    let folder = tempfile::TempDir::new().unwrap();
    let refusal = refused(open("git", json!({ "path": folder.path() })).resolve(Want::Newest).await);
    assert_eq!(refusal.code, Code::Invalid, "{refusal:?}");
    let refusal = refused(open("git", json!({ "path": folder.path().join("gone") })).resolve(Want::Newest).await);
    assert_eq!(refusal.code, Code::Unreachable, "a source that is gone says nothing about its content: {refusal:?}");
    let repo = Repo::new();
    let refusal = refused(open("git", json!({ "path": repo.path })).resolve(Want::Newest).await);
    assert_eq!(refusal.code, Code::Absent);
    assert!(refusal.message.contains("no commit yet") && refusal.help.contains("git commit"), "{refusal:?}");
}

#[tokio::test]
async fn absent_folders_and_files_are_absent() {
    let repo = Repo::new();
    let at = revision(&repo.commit_file("site/a", "1"));
    let source = main_of(&repo);
    for folder in ["gone", "site/a", "site/a/b"] {
        assert_eq!(refused(source.bundle(&at, folder).await).code, Code::Absent, "{folder}");
    }
    for file in ["gone", "site", "site/a/b"] {
        assert_eq!(refused(source.read(&at, file).await).code, Code::Absent, "{file}");
    }
    assert_eq!(refused(source.bundle(&at, "../x").await).code, Code::Invalid);
    assert_eq!(refused(source.bundle(&revision("main"), "site").await).code, Code::Invalid, "a revision is an id");
}

#[tokio::test]
async fn a_tree_beyond_its_limits_is_refused_not_cut_short() {
    let repo = Repo::new();
    for file in 0..5 {
        repo.write(&format!("f{file}"), "12345");
    }
    let at = revision(&repo.commit("five"));
    let few = open("git", json!({ "path": repo.path, "limits": { "files": 4 } }));
    assert_eq!(refused(few.bundle(&at, "").await).code, Code::TooLarge);
    let small = open("git", json!({ "path": repo.path, "limits": { "bytes": 24 } }));
    assert_eq!(refused(small.bundle(&at, "").await).code, Code::TooLarge);
    let right = open("git", json!({ "path": repo.path, "limits": { "files": 5, "bytes": 25 } }));
    assert_eq!(bundle(&right, &at, "").await.entries.len(), 5);
}

#[test]
fn the_repository_above_a_folder_is_found() {
    let repo = Repo::new();
    repo.write("deploy/prod/trued.yaml", "");
    let root = repo.path.canonicalize().unwrap();
    let found = find_repository(&repo.path.join("deploy/prod")).unwrap();
    assert_eq!(found, RepositoryPlace { root: root.clone(), folder_in_it: "deploy/prod".into(), branch: Some("main".into()) });
    let commit = repo.commit("one");
    assert_eq!(find_repository(&repo.path).unwrap(), RepositoryPlace { root, folder_in_it: String::new(), branch: Some("main".into()) });
    repo.git(&["checkout", "-q", &commit]);
    assert_eq!(find_repository(&repo.path).unwrap().branch, None, "a detached HEAD names no branch");
    assert_eq!(find_repository(tempfile::TempDir::new().unwrap().path()), None);
}

#[test]
fn fault_08_opening_refuses_what_is_not_an_address() {
    for url in ["-oProxyCommand=touch x", "ext::sh -c id", "ssh://-x@h/p", "file:///etc", "--upload-pack=id", "git@host:path"] {
        let refusal = refused(try_open("git", json!({ "url": url }), std::path::Path::new("/nonexistent")));
        assert!(matches!(refusal.code, Code::Invalid | Code::Unsupported), "{url}: {refusal:?}");
        assert!(refusal.message.starts_with("open source shop"), "{refusal}");
    }
}

/// Commits one thing after the other; a source that has read each commit before must give what one gives that reads it whole.
#[tokio::test]
async fn a_folder_that_was_read_before_gives_what_a_whole_reading_gives() {
    let repo = Repo::new();
    let path = |path: &str| repo.path.join(path);
    for at in 0..40 {
        repo.write(&format!("site/d{}/f{at}", at % 4), &format!("{at}"));
    }
    repo.write("other", "x");
    repo.commit("first");
    let known = main_of(&repo);
    let steps: [(&str, &dyn Fn()); 14] = [
        ("nothing of the folder", &|| repo.write("other", "y")),
        ("one file", &|| repo.write("site/d1/f5", "changed")),
        ("one more", &|| repo.write("site/d1/new", "new")),
        ("one at the top", &|| repo.write("site/top", "new")),
        ("one less", &|| std::fs::remove_file(path("site/d2/f2")).unwrap()),
        ("a folder in folders", &|| repo.write("site/d3/deep/deeper/x", "new")),
        ("the folder goes", &|| std::fs::remove_dir_all(path("site/d3/deep")).unwrap()),
        ("a file where a folder was", &|| {
            std::fs::remove_dir_all(path("site/d0")).unwrap();
            repo.write("site/d0", "a file");
        }),
        ("a folder where a file was", &|| {
            std::fs::remove_file(path("site/d0")).unwrap();
            repo.write("site/d0/again", "in a folder");
        }),
        ("names that sort in between", &|| repo.write("site/d1-x", "before the folder's slash")),
        ("a link", &|| std::os::unix::fs::symlink("top", path("site/l")).unwrap()),
        ("beside a link", &|| repo.write("site/d1/f5", "changed again")),
        ("the link goes", &|| std::fs::remove_file(path("site/l")).unwrap()),
        ("our own folder, which is left out", &|| repo.write("site/.trued/x", "left out")),
    ];
    for (what, step) in steps {
        // Who renders holds it until the next.
        let before = bundle(&known, &newest(&known).await, "site").await;
        step();
        repo.commit(what);
        let (at, fresh) = (newest(&known).await, main_of(&repo));
        let (next, whole) = (bundle(&known, &at, "site").await, bundle(&fresh, &at, "site").await);
        assert_eq!((&next.digest, &next.entries), (&whole.digest, &whole.entries), "{what}");
        assert_eq!(before.entries == next.entries, before.digest == next.digest, "{what}");
        let file = next.entries.keys().next().unwrap();
        assert_eq!(next.reader.read(file).unwrap(), whole.reader.read(file).unwrap(), "{what}");
    }
    // What is wrong is said as ever.
    let _held = bundle(&known, &newest(&known).await, "site").await;
    let blob = repo.git_with(&["hash-object", "-w", "--stdin"], b"x");
    let bad = repo.git_with(&["mktree"], format!("100644 blob {blob}\t.GIT\n").as_bytes());
    let tree = repo.git_with(&["mktree"], format!("040000 tree {bad}\tsite\n").as_bytes());
    let commit = repo.git(&["commit-tree", "-p", "HEAD", "-m", "bad", &tree]);
    repo.git(&["update-ref", "refs/heads/main", &commit]);
    let (at, fresh) = (newest(&known).await, main_of(&repo));
    assert_eq!(refused(known.bundle(&at, "site").await), refused(fresh.bundle(&at, "site").await));
}
