//! The source `folder`.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use serde_json::json;
use tempfile::TempDir;
use trued_model::{BlobRef, Code, Relation, Shape, Want};

use crate::support::{bundle, newest, open, paths, refused, unprivileged};

fn put(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn site() -> TempDir {
    let folder = TempDir::new().unwrap();
    put(folder.path(), "site/index.html", "hello");
    put(folder.path(), "site/run.sh", "#!/bin/sh");
    put(folder.path(), "trued.yaml", "stacks: {}");
    put(folder.path(), ".git/HEAD", "ref: refs/heads/main");
    put(folder.path(), ".trued/ledger", "x");
    put(folder.path(), "site/.trued/lock", "x");
    std::fs::set_permissions(folder.path().join("site/run.sh"), PermissionsExt::from_mode(0o700)).unwrap();
    symlink("index.html", folder.path().join("site/start")).unwrap();
    std::fs::create_dir_all(folder.path().join("site/empty/in")).unwrap();
    folder
}

#[tokio::test]
async fn a_folder_is_read_as_it_is() {
    let folder = site();
    let source = open("folder", json!({ "path": folder.path(), "exclude": ["trued.yaml"] }));
    let revision = newest(&source).await;
    assert!(revision.id.starts_with("sha256:") && revision.id.len() == 71, "{revision}");
    let site = bundle(&source, &revision, "site").await;
    assert_eq!(paths(&site), ["empty/in", "index.html", "run.sh", "start"]);
    assert_eq!(site.entries["empty/in"].shape, Shape::Folder);
    assert_eq!(site.entries["run.sh"].shape, Shape::File { executable: true });
    assert_eq!(site.entries["start"].shape, Shape::Link);
    assert_eq!(site.entries["index.html"].content, Some(BlobRef::of(b"hello")));
    assert_eq!(site.entries["index.html"].bytes, 5);
    assert_eq!(site.reader.read("index.html").unwrap(), b"hello");
    assert_eq!(site.reader.read("start").unwrap(), b"index.html");
    assert_eq!(bundle(&source, &revision, "").await.entries.len(), 4);
    assert_eq!(source.list(&revision).await.unwrap(), ["site/index.html", "site/run.sh"]);
    assert_eq!(source.read(&revision, "site/run.sh").await.unwrap(), b"#!/bin/sh");
    assert!(bundle(&source, &revision, "site/empty/in").await.is_empty());
    assert_eq!(source.fetches(), 0);
}

#[tokio::test]
async fn the_revision_follows_content_mode_and_names_and_nothing_else() {
    let folder = site();
    let source = open("folder", json!({ "path": folder.path(), "exclude": ["trued.yaml"] }));
    let first = newest(&source).await;
    put(folder.path(), "trued.yaml", "other: {}");
    put(folder.path(), ".trued/ledger", "more");
    std::fs::set_permissions(folder.path().join("site/index.html"), PermissionsExt::from_mode(0o640)).unwrap();
    assert_eq!(newest(&source).await, first, "configuration, own files and group bits do not count");
    assert_eq!(source.resolve(Want::WorkTree).await.unwrap(), first);
    let mut seen = vec![first.id.clone()];
    let index = folder.path().join("site/index.html");
    std::fs::set_permissions(&index, PermissionsExt::from_mode(0o755)).unwrap();
    seen.push(newest(&source).await.id);
    put(folder.path(), "site/index.html", "hullo");
    seen.push(newest(&source).await.id);
    std::fs::rename(&index, folder.path().join("site/other.html")).unwrap();
    seen.push(newest(&source).await.id);
    std::fs::remove_dir(folder.path().join("site/empty/in")).unwrap();
    seen.push(newest(&source).await.id);
    let mut distinct = seen.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), 5, "{seen:?}");
}

#[tokio::test]
async fn equal_folders_have_equal_digests_wherever_they_lie() {
    let folder = TempDir::new().unwrap();
    for stage in ["dev", "test"] {
        put(folder.path(), &format!("{stage}/a/b"), "same");
    }
    let source = open("folder", json!({ "path": folder.path() }));
    let revision = newest(&source).await;
    let (dev, test) = (bundle(&source, &revision, "dev").await, bundle(&source, &revision, "test").await);
    assert_eq!(dev.digest, test.digest);
    assert_ne!(dev.digest, bundle(&source, &revision, "").await.digest);
}

#[tokio::test]
async fn bytes_that_changed_since_are_never_read_under_the_old_revision() {
    let folder = site();
    let source = open("folder", json!({ "path": folder.path() }));
    let revision = newest(&source).await;
    let site = bundle(&source, &revision, "site").await;
    put(folder.path(), "site/index.html", "HELLO");
    assert_eq!(site.reader.read("index.html").expect_err("other bytes").code, Code::Changed);
    put(folder.path(), "site/index.html", "hello, and more");
    assert_eq!(site.reader.read("index.html").expect_err("more bytes").code, Code::Changed);
    std::fs::remove_file(folder.path().join("site/index.html")).unwrap();
    assert_eq!(site.reader.read("index.html").expect_err("no bytes").code, Code::Changed);
    std::fs::set_permissions(folder.path().join("site/run.sh"), PermissionsExt::from_mode(0o600)).unwrap();
    assert_eq!(site.reader.read("run.sh").expect_err("another mode").code, Code::Changed);
    let again = open("folder", json!({ "path": folder.path() }));
    assert_eq!(refused(again.bundle(&revision, "site").await).code, Code::Changed, "nor by a process that never saw it");
    put(folder.path(), "site/index.html", "hello");
    std::fs::set_permissions(folder.path().join("site/run.sh"), PermissionsExt::from_mode(0o700)).unwrap();
    assert_eq!(bundle(&again, &revision, "site").await.digest, site.digest, "but if it is as it was, it may be used");
    assert_eq!(site.reader.read("index.html").unwrap(), b"hello");
}

#[tokio::test]
async fn fault_07_a_folder_swapped_for_a_link_is_not_followed() {
    let folder = site();
    let outside = TempDir::new().unwrap();
    put(outside.path(), "index.html", "hello");
    let source = open("folder", json!({ "path": folder.path() }));
    let revision = newest(&source).await;
    let site = bundle(&source, &revision, "site").await;
    std::fs::rename(folder.path().join("site"), folder.path().join("moved")).unwrap();
    symlink(outside.path(), folder.path().join("site")).unwrap();
    assert_eq!(site.reader.read("index.html").expect_err("the same bytes, from outside").code, Code::Changed);
    let after = newest(&source).await;
    let whole = bundle(&source, &after, "").await;
    assert_eq!(whole.entries["site"].shape, Shape::Link);
    assert!(!paths(&whole).iter().any(|path| path.starts_with("site/")));
}

#[tokio::test]
async fn fault_07_links_that_go_round_are_refused() {
    let folder = site();
    symlink("b", folder.path().join("site/a")).unwrap();
    symlink("a", folder.path().join("site/b")).unwrap();
    let refusal = refused(open("folder", json!({ "path": folder.path() })).resolve(Want::Newest).await);
    assert_eq!(refusal.code, Code::Invalid);
    assert!(refusal.message.contains("site/a"), "{refusal}");
}

#[tokio::test]
async fn fault_06_names_that_cannot_be_written_safely_are_refused_by_path() {
    for name in ["back\\slash", "car\rriage", ".GIT"] {
        let folder = site();
        put(folder.path(), &format!("site/{name}"), "x");
        let refusal = refused(open("folder", json!({ "path": folder.path() })).resolve(Want::Newest).await);
        assert_eq!(refusal.code, Code::Invalid, "{name}");
        assert!(refusal.message.contains("site/"), "{refusal}");
    }
}

#[tokio::test]
async fn absent_and_refused_are_different_things() {
    let folder = site();
    let source = open("folder", json!({ "path": folder.path() }));
    let revision = newest(&source).await;
    assert_eq!(refused(source.bundle(&revision, "nowhere").await).code, Code::Absent);
    assert_eq!(refused(source.bundle(&revision, "site/index.html").await).code, Code::Absent);
    assert_eq!(refused(source.bundle(&revision, "../etc").await).code, Code::Invalid);
    assert_eq!(refused(source.read(&revision, "site/empty").await).code, Code::Absent);
    assert_eq!(refused(source.resolve(Want::Named("0".repeat(64))).await).code, Code::Absent);
    assert_eq!(source.resolve(Want::Named(revision.id[..20].to_owned())).await.unwrap(), revision);
    assert_eq!(refused(source.commit(&revision).await).code, Code::Unsupported);
    assert_eq!(source.relation(&revision, &revision).await.unwrap(), Relation::Same);
    let gone = open("folder", json!({ "path": folder.path().join("gone") }));
    assert_eq!(refused(gone.resolve(Want::Newest).await).code, Code::Unreachable, "a source that is gone says nothing about its content");
}

#[tokio::test]
async fn a_change_is_seen_whatever_its_times_say() {
    let folder = site();
    let path = folder.path().join("site/index.html");
    let source = open("folder", json!({ "path": folder.path() }));
    let before = newest(&source).await;
    let long_ago = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
    let set = || std::fs::File::options().write(true).open(&path).unwrap().set_modified(long_ago).unwrap();
    set();
    assert_eq!(newest(&source).await, before);
    // The same size, and the same time of modification.
    std::fs::write(&path, "HELLO").unwrap();
    set();
    assert_ne!(newest(&source).await, before);
    std::fs::write(&path, "hello").unwrap();
    set();
    assert_eq!(newest(&source).await, before);
}

#[tokio::test]
async fn a_folder_beyond_its_limits_is_refused_not_cut_short() {
    let folder = site();
    let few = open("folder", json!({ "path": folder.path(), "limits": { "files": 3 } }));
    assert_eq!(refused(few.resolve(Want::Newest).await).code, Code::TooLarge);
    let small = open("folder", json!({ "path": folder.path(), "limits": { "bytes": 7 } }));
    assert_eq!(refused(small.resolve(Want::Newest).await).code, Code::TooLarge);
}

#[tokio::test]
async fn a_pipe_is_refused_by_path_and_never_opened() {
    let folder = site();
    let status = std::process::Command::new("mkfifo").arg(folder.path().join("site/pipe")).status().unwrap();
    assert!(status.success());
    let refusal = refused(open("folder", json!({ "path": folder.path() })).resolve(Want::Newest).await);
    assert_eq!(refusal.code, Code::Invalid);
    assert!(refusal.message.contains("site/pipe"), "{refusal}");
}

#[test]
fn what_may_not_be_read_is_denied_by_path_and_not_absent() {
    let folder = site();
    let all = |path: &str, mode| std::fs::set_permissions(folder.path().join(path), PermissionsExt::from_mode(mode)).unwrap();
    all("", 0o755);
    all("site", 0o755);
    all("site/run.sh", 0o755);
    let newest = || unprivileged(async { open("folder", json!({ "path": folder.path() })).resolve(Want::Newest).await });
    newest().unwrap();
    for (path, mode) in [("site/index.html", 0o600), ("site/empty", 0o700), ("site", 0o700)] {
        let (before, own) = (std::fs::metadata(folder.path().join(path)).unwrap().permissions(), rustix::process::geteuid());
        // Its owner may read it in any case, so where we are nobody special, nobody may.
        all(path, if own.is_root() { mode } else { 0 });
        let refusal = refused(newest());
        std::fs::set_permissions(folder.path().join(path), before).unwrap();
        assert_eq!(refusal.code, Code::Denied, "{path}: {refusal:?}");
        assert!(refusal.message.contains(path), "{refusal}");
    }
}

#[tokio::test]
async fn fault_14_an_error_is_not_remembered() {
    let folder = site();
    let source = open("folder", json!({ "path": folder.path() }));
    let before = newest(&source).await;
    symlink("loop", folder.path().join("loop")).unwrap();
    refused(source.resolve(Want::Newest).await);
    std::fs::remove_file(folder.path().join("loop")).unwrap();
    assert_eq!(newest(&source).await, before);
}
