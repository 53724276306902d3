//! The configuration's own repository: its working tree, as `git add -A` would record it.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::Arc;

use serde_json::json;
use trued_doors::Source;
use trued_model::{Code, Relation, Revision, Shape, Want};

use crate::support::{Repo, bundle, newest, open, paths, refused, snapshot, unprivileged};

fn own(repo: &Repo) -> Arc<dyn Source> {
    open("git", json!({ "path": repo.path, "own": true, "folder": "", "exclude": ["trued.yaml"] }))
}

async fn work_tree(source: &Arc<dyn Source>) -> Revision {
    source.resolve(Want::WorkTree).await.unwrap_or_else(|refusal| panic!("{refusal:?}"))
}

/// What `git add -A` records, asked of git itself with an index of its own.
fn recorded(repo: &Repo) -> String {
    let index = repo.path.join(".git/index-of-the-test");
    let _ = std::fs::copy(repo.path.join(".git/index"), &index);
    let run = |arguments: &[&str]| {
        let output = crate::support::git_command(&repo.path).env("GIT_INDEX_FILE", &index).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    run(&["add", "-A"]);
    let tree = run(&["write-tree"]);
    std::fs::remove_file(index).unwrap();
    tree
}

#[tokio::test]
async fn a_clean_tree_is_its_commit() {
    let repo = Repo::new();
    repo.write(".gitignore", "*.log\n");
    let commit = repo.commit_file("site/a", "1");
    repo.write("debug.log", "noise");
    repo.write(".trued/ledger", "state");
    let source = own(&repo);
    assert_eq!(work_tree(&source).await.id, commit);
    assert_eq!(newest(&source).await.id, commit);
    // Times that say nothing do not make it dirty.
    repo.write("site/a", "1");
    assert_eq!(work_tree(&source).await.id, commit);
}

#[tokio::test]
async fn a_dirty_tree_is_read_as_git_would_record_it() {
    let repo = Repo::new();
    repo.write(".gitignore", "*.log\n/build/\n!keep.log\n");
    for path in ["site/kept", "site/changed", "site/deleted", "site/tracked.log", "build/tracked", "trued.yaml", "was-file"] {
        repo.write(path, "old");
    }
    repo.git(&["add", "-A", "-f"]);
    let head = repo.commit("base");
    repo.write("site/changed", "new");
    std::fs::remove_file(repo.path.join("site/deleted")).unwrap();
    std::fs::remove_file(repo.path.join("was-file")).unwrap();
    repo.write("was-file/now-folder", "x");
    repo.write("site/added", "added");
    repo.write("site/staged", "staged");
    repo.git(&["add", "site/staged"]);
    repo.write("site/noise.log", "ignored");
    repo.write("site/keep.log", "kept by a negative pattern");
    repo.write("build/output", "ignored");
    repo.write("build/tracked", "tracked although ignored");
    repo.write(".git/info/exclude", "secret*\n");
    repo.write("site/secret.key", "ignored here only");
    repo.write("deep/.gitignore", "x\n");
    repo.write("deep/x", "ignored by the file beside it");
    repo.write("deep/y", "y");
    repo.write("run", "#!/bin/sh");
    std::fs::set_permissions(repo.path.join("run"), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::set_permissions(repo.path.join("site/kept"), PermissionsExt::from_mode(0o755)).unwrap();
    symlink("site", repo.path.join("link")).unwrap();

    let source = open("git", json!({ "path": repo.path, "own": true }));
    let at = work_tree(&source).await;
    let (commit, word) = at.id.split_once("+dirty.").expect("it is dirty");
    assert_eq!((commit, word.len()), (head.as_str(), 12));
    let whole = bundle(&source, &at, "").await;
    assert_eq!(whole.digest, recorded(&repo), "{:#?}", paths(&whole));
    assert_eq!(whole.reader.read("site/changed").unwrap(), b"new");
    assert_eq!(whole.reader.read("site/kept").unwrap(), b"old");
    assert_eq!(whole.reader.read("site/staged").unwrap(), b"staged");
    assert_eq!(whole.reader.read("link").unwrap(), b"site");
    assert_eq!(whole.entries["run"].shape, Shape::File { executable: true });
    assert_eq!(whole.entries["site/kept"].shape, Shape::File { executable: true });
    assert_eq!(whole.entries["link"].shape, Shape::Link);
    assert_eq!(whole.entries["site/changed"].bytes, 3);
    assert_eq!(source.read(&at, "build/tracked").await.unwrap(), b"tracked although ignored");
    let listed = source.list(&at).await.unwrap();
    assert!(listed.contains(&"was-file/now-folder".to_owned()) && !listed.contains(&"site/noise.log".to_owned()), "{listed:?}");
    assert_eq!(refused(source.bundle(&at, "nowhere").await).code, Code::Absent);
}

#[tokio::test]
async fn committing_what_was_dirty_changes_no_digest() {
    let repo = Repo::new();
    repo.commit_file("site/a", "1");
    repo.write("site/b", "2");
    let source = own(&repo);
    let dirty = work_tree(&source).await;
    let before = bundle(&source, &dirty, "site").await.digest;
    let commit = repo.commit("now recorded");
    let clean = work_tree(&source).await;
    assert_eq!(clean.id, commit);
    assert_eq!(bundle(&source, &clean, "site").await.digest, before);
    assert_eq!(source.relation(&dirty, &clean).await.unwrap(), Relation::Follows);
}

#[tokio::test]
async fn the_word_for_a_dirty_tree_follows_its_difference() {
    let repo = Repo::new();
    let head = repo.commit_file("a", "1");
    let source = own(&repo);
    repo.write("a", "2");
    let first = work_tree(&source).await;
    assert_eq!(work_tree(&source).await, first, "the same difference, the same word");
    repo.write("a", "3");
    let second = work_tree(&source).await;
    assert_ne!(first, second);
    assert_eq!(source.relation(&first, &second).await.unwrap(), Relation::Follows);
    repo.write("a", "1");
    assert_eq!(work_tree(&source).await.id, head);
    assert_eq!(source.commit(&second).await.unwrap().id, head, "the commit beside it is who and why");
}

#[tokio::test]
async fn bytes_that_changed_since_are_not_read_under_the_old_revision() {
    let repo = Repo::new();
    repo.commit_file("site/recorded", "safe in the objects");
    repo.write("site/new", "1");
    let source = own(&repo);
    let at = work_tree(&source).await;
    let site = bundle(&source, &at, "site").await;
    repo.write("site/new", "2");
    repo.write("site/recorded", "changed on disk");
    assert_eq!(site.reader.read("new").expect_err("other bytes").code, Code::Changed);
    assert_eq!(refused(source.read(&at, "site/new").await).code, Code::Changed);
    assert_eq!(site.reader.read("recorded").unwrap(), b"safe in the objects");
    std::fs::remove_file(repo.path.join("site/new")).unwrap();
    assert_eq!(site.reader.read("new").expect_err("no bytes").code, Code::Changed);
    let other = own(&repo);
    assert_eq!(refused(other.bundle(&at, "site").await).code, Code::Changed, "another process finds another tree");
    repo.write("site/new", "1");
    repo.write("site/recorded", "safe in the objects");
    assert_eq!(bundle(&other, &at, "site").await.digest, site.digest, "or the same one again");
}

#[tokio::test]
async fn fault_07_a_folder_swapped_for_a_link_is_not_followed() {
    let repo = Repo::new();
    repo.commit_file("base", "1");
    repo.write("site/new", "same bytes");
    let source = own(&repo);
    let at = work_tree(&source).await;
    let site = bundle(&source, &at, "site").await;
    std::fs::rename(repo.path.join("site"), repo.path.join("moved")).unwrap();
    symlink("moved", repo.path.join("site")).unwrap();
    assert_eq!(site.reader.read("new").expect_err("it lies behind a link").code, Code::Changed);
    let after = bundle(&source, &work_tree(&source).await, "").await;
    assert_eq!(after.entries["site"].shape, Shape::Link);
}

#[tokio::test]
async fn a_tracked_folder_that_became_a_link_counts_as_the_link() {
    let repo = Repo::new();
    repo.commit_file("site/a", "1");
    std::fs::rename(repo.path.join("site"), repo.path.join("moved")).unwrap();
    symlink("moved", repo.path.join("site")).unwrap();
    let source = own(&repo);
    assert_eq!(bundle(&source, &work_tree(&source).await, "").await.digest, recorded(&repo));
}

#[tokio::test]
async fn paths_start_at_the_configurations_folder() {
    let repo = Repo::new();
    repo.write("deploy/trued.yaml", "x");
    repo.write("deploy/site/a", "1");
    repo.write("elsewhere/b", "2");
    repo.commit("base");
    let source = open("git", json!({ "path": repo.path, "own": true, "folder": "deploy", "exclude": ["trued.yaml"] }));
    repo.write("deploy/site/new", "3");
    for at in [newest(&source).await, work_tree(&source).await] {
        assert!(source.list(&at).await.unwrap().contains(&"site/a".to_owned()));
        assert_eq!(source.read(&at, "trued.yaml").await.unwrap(), b"x");
        assert_eq!(bundle(&source, &at, "site").await.reader.read("a").unwrap(), b"1");
        assert!(!paths(&bundle(&source, &at, "").await).contains(&"trued.yaml"));
        assert_eq!(refused(source.read(&at, "../elsewhere/b").await).code, Code::Invalid);
    }
}

#[tokio::test]
async fn serve_keeps_to_the_branch_it_is_told() {
    let repo = Repo::new();
    let main = repo.commit_file("a", "1");
    repo.git(&["checkout", "-q", "-b", "topic"]);
    let topic = repo.commit_file("a", "2");
    let told = open("git", json!({ "path": repo.path, "own": true, "branch": "main" }));
    assert_eq!(newest(&told).await.id, main);
    assert_eq!(newest(&own(&repo)).await.id, topic, "untold, it is what HEAD names now");
    assert_eq!(work_tree(&told).await.id, topic, "the working tree is what is checked out");
}

#[tokio::test]
async fn a_repository_without_a_commit_has_a_working_tree() {
    let repo = Repo::new();
    repo.write("site/a", "1");
    let source = own(&repo);
    let at = work_tree(&source).await;
    assert!(at.id.starts_with(&format!("{}+dirty.", "0".repeat(40))), "{at}");
    assert_eq!(bundle(&source, &at, "site").await.reader.read("a").unwrap(), b"1");
    let refusal = refused(source.resolve(Want::Newest).await);
    assert_eq!(refusal.code, Code::Absent);
    assert!(refusal.message.contains("no commit yet"), "{refusal}");
    assert!(refused(source.commit(&at).await).message.contains("no commit yet"));
    let commit = repo.commit("first");
    assert_eq!(work_tree(&source).await.id, commit);
    assert_eq!(source.relation(&at, &newest(&source).await).await.unwrap(), Relation::Follows);
}

#[tokio::test]
async fn conflicts_and_intentions_are_read_from_disk() {
    let repo = Repo::new();
    repo.commit_file("a", "base");
    repo.git(&["checkout", "-q", "-b", "topic"]);
    repo.commit_file("a", "theirs");
    repo.git(&["checkout", "-q", "main"]);
    repo.commit_file("a", "ours");
    let merge = crate::support::git_command(&repo.path).args(["merge", "-q", "topic"]).output().unwrap();
    assert!(!merge.status.success(), "the merge conflicts");
    repo.write("later", "not yet added");
    repo.git(&["add", "-N", "later"]);
    let source = own(&repo);
    let at = work_tree(&source).await;
    let whole = bundle(&source, &at, "").await;
    assert!(String::from_utf8(whole.reader.read("a").unwrap()).unwrap().contains("<<<<<<<"));
    assert_eq!(whole.reader.read("later").unwrap(), b"not yet added");
}

#[tokio::test]
async fn a_change_within_the_same_tick_is_seen() {
    let repo = Repo::new();
    let source = own(&repo);
    let head = repo.commit_file("a", "1");
    // Same size, and times put back to what the index recorded: only the bytes differ.
    let path = repo.path.join("a");
    let stat = std::fs::metadata(&path).unwrap();
    std::fs::write(&path, "2").unwrap();
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(stat.modified().unwrap()).unwrap();
    assert_ne!(work_tree(&source).await.id, head);
}

#[tokio::test]
async fn repositories_inside_are_submodules_and_refused_where_they_are_used() {
    let repo = Repo::new();
    repo.commit_file("site/a", "1");
    let inner = repo.path.join("vendor/inner");
    std::fs::create_dir_all(&inner).unwrap();
    assert!(crate::support::git_command(&inner).args(["init", "-q"]).status().unwrap().success());
    std::fs::write(inner.join("file"), "x").unwrap();
    let source = own(&repo);
    let at = work_tree(&source).await;
    assert_eq!(paths(&bundle(&source, &at, "site").await), ["a"]);
    let refusal = refused(source.bundle(&at, "vendor").await);
    assert_eq!(refusal.code, Code::Invalid);
    assert!(refusal.message.contains("vendor/inner") && refusal.message.contains("submodules are not followed"), "{refusal}");
}

#[tokio::test]
async fn fault_06_names_count_only_where_they_are_used() {
    let repo = Repo::new();
    repo.write("site/a", "1");
    repo.write("units/dev\\x2dsda.swap", "unit");
    repo.commit("a name that only Linux likes");
    let source = own(&repo);
    repo.write("units/dirty\\name", "x");
    for at in [newest(&source).await, work_tree(&source).await] {
        assert_eq!(paths(&bundle(&source, &at, "site").await), ["a"]);
        let refusal = refused(source.bundle(&at, "units").await);
        assert_eq!(refusal.code, Code::Invalid);
        assert!(refusal.message.contains("units/d"), "{refusal}");
    }
}

#[tokio::test]
async fn looking_at_a_working_tree_writes_nothing() {
    let repo = Repo::new();
    repo.commit_file("site/a", "1");
    repo.write("site/b", "2");
    let before = snapshot(&repo.path);
    let source = own(&repo);
    let at = work_tree(&source).await;
    bundle(&source, &at, "site").await.reader.read("b").unwrap();
    assert!(before == snapshot(&repo.path));
}

#[tokio::test]
async fn only_the_own_repository_has_a_working_tree() {
    let repo = Repo::new();
    repo.commit_file("a", "1");
    let foreign = open("git", json!({ "path": repo.path }));
    assert_eq!(refused(foreign.resolve(Want::WorkTree).await).code, Code::Unsupported);
}

#[test]
fn what_may_not_be_read_is_denied_by_path_and_not_deleted() {
    let repo = Repo::new();
    repo.commit_file("site/a", "1");
    repo.write("site/b", "2");
    let allow = |path: &str, mode| std::fs::set_permissions(repo.path.join(path), PermissionsExt::from_mode(mode)).unwrap();
    allow("", 0o755);
    std::fs::set_permissions(repo.path.parent().unwrap(), PermissionsExt::from_mode(0o755)).unwrap();
    let look = || unprivileged(async { own(&repo).resolve(Want::WorkTree).await });
    assert!(look().unwrap().id.contains("+dirty."));
    for (path, restored) in [("site/b", 0o644), ("site", 0o755), (".git/index", 0o644), (".git/HEAD", 0o644)] {
        allow(path, 0);
        let refusal = refused(look());
        allow(path, restored);
        assert!(matches!(refusal.code, Code::Denied | Code::Unknown | Code::Invalid), "{path}: {refusal:?}");
        assert_ne!(refusal.code, Code::Absent);
    }
}

#[tokio::test]
async fn indexes_of_every_form_are_read() {
    let forms: [&[&str]; 4] = [
        &["update-index", "--index-version", "4"],
        &["update-index", "--split-index"],
        &["update-index", "--untracked-cache"],
        &["sparse-checkout", "set", "--no-cone", "site/*"],
    ];
    for form in forms {
        let repo = Repo::new();
        for path in ["site/a", "site/b", "other/c", "top"] {
            repo.write(path, path);
        }
        let head = repo.commit("base");
        repo.git(form);
        let source = own(&repo);
        assert_eq!(work_tree(&source).await.id, head, "{form:?}");
        repo.write("site/a", "changed");
        let at = work_tree(&source).await;
        assert_eq!(bundle(&source, &at, "").await.digest, recorded(&repo), "{form:?}");
        assert_eq!(source.read(&at, "other/c").await.unwrap(), b"other/c", "{form:?}");
    }
    let repo = Repo::new();
    repo.commit_file("other/a", "1");
    repo.commit_file("site/a", "1");
    repo.git(&["sparse-checkout", "set", "--cone", "--sparse-index", "site"]);
    let refusal = refused(own(&repo).resolve(Want::WorkTree).await);
    assert_eq!(refusal.code, Code::Unsupported);
    assert!(refusal.help.contains("--no-sparse-index"), "{refusal:?}");
}

#[tokio::test]
async fn line_ends_that_git_converts_do_not_make_a_tree_dirty() {
    let repo = Repo::new();
    repo.write(".gitattributes", "*.txt text eol=crlf\n");
    let head = repo.commit_file("site/a.txt", "one\ntwo\n");
    std::fs::remove_file(repo.path.join("site/a.txt")).unwrap();
    // The index may not be as old as the file it describes, or nobody believes it.
    std::thread::sleep(std::time::Duration::from_millis(20));
    repo.git(&["checkout", "-q", "--", "site/a.txt"]);
    assert_eq!(std::fs::read(repo.path.join("site/a.txt")).unwrap(), b"one\r\ntwo\r\n", "it is converted on disk");
    std::thread::sleep(std::time::Duration::from_millis(20));
    repo.git(&["update-index", "--refresh", "--force-write-index"]);
    let source = own(&repo);
    let at = work_tree(&source).await;
    assert_eq!(at.id, head);
    assert_eq!(source.read(&at, "site/a.txt").await.unwrap(), b"one\ntwo\n");
}
