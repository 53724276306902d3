//! Repositories that mean harm: names, links, submodules, and everything that might start a program.

use std::path::Path;
use std::process::Command;

use serde_json::json;
use tempfile::TempDir;
use trued_model::{Code, Want};

use crate::support::{Repo, Server, bundle, newest, open, open_at, paths, refused, revision};

#[tokio::test]
async fn fault_06_trees_with_unsafe_names_are_refused_by_path() {
    let repo = Repo::new();
    let blob = repo.blob(b"evil");
    let inner = repo.raw_tree(&[("100644", b"config", &blob)]);
    let names: [&[u8]; 12] = [
        b"..",
        b".",
        b".git",
        b".GIT",
        b".Git",
        b"git~1",
        b"a/../b",
        b"a/b",
        b"back\\slash",
        b"car\rriage",
        b"",
        ".g\u{200c}it".as_bytes(),
    ];
    for (number, name) in names.into_iter().enumerate() {
        for (mode, id) in [("100644", &blob), ("40000", &inner), ("120000", &blob)] {
            let bad = repo.raw_tree(&[(mode, name, id)]);
            let root = repo.raw_tree(&[("40000", b"other", &inner), ("40000", b"site", &bad)]);
            let branch = format!("bad-{number}-{mode}");
            let commit = repo.commit_tree(&root, &branch);
            let source = open("git", json!({ "path": repo.path, "branch": branch }));
            let at = newest(&source).await;
            assert_eq!(at.id, commit);
            for folder in ["site", ""] {
                let refusal = refused(source.bundle(&at, folder).await);
                assert_eq!(refusal.code, Code::Invalid, "{name:?}: {refusal:?}");
                assert!(folder.is_empty() || !refusal.message.is_empty());
            }
            let refusal = refused(source.bundle(&at, "").await);
            assert!(refusal.message.contains("site/"), "the path is named: {refusal}");
            assert_eq!(paths(&bundle(&source, &at, "other").await), ["config"], "what is beside it can be used");
        }
    }
}

#[tokio::test]
async fn fault_06_a_name_that_stands_twice_is_refused() {
    let repo = Repo::new();
    let (one, two) = (repo.blob(b"one"), repo.blob(b"two"));
    let folder = repo.raw_tree(&[("100644", b"in", &one)]);
    for entries in
        [[("100644", b"a".as_slice(), one.as_str()), ("100644", b"a", two.as_str())], [("100644", b"a", &one), ("40000", b"a", &folder)]]
    {
        let commit = repo.commit_tree(&repo.raw_tree(&entries), "twice");
        let refusal = refused(open("git", json!({ "path": repo.path })).bundle(&revision(&commit), "").await);
        assert_eq!(refusal.code, Code::Invalid);
        assert!(refusal.message.contains("twice"), "{refusal}");
    }
}

#[tokio::test]
async fn fault_06_trees_that_are_no_trees_are_refused() {
    let repo = Repo::new();
    let blob = repo.blob(b"not a tree");
    let folder_that_is_a_file = repo.raw_tree(&[("40000", b"site", &blob)]);
    let garbage = repo.git_with(&["hash-object", "-t", "tree", "-w", "--literally", "--stdin"], b"garbage without any form");
    let cyclic_depth = {
        let mut tree = repo.raw_tree(&[("100644", b"f", &blob)]);
        for _ in 0..300 {
            tree = repo.raw_tree(&[("40000", b"d", &tree)]);
        }
        tree
    };
    for tree in [folder_that_is_a_file, garbage, cyclic_depth] {
        let commit = repo.commit_tree_literally(&tree);
        let source = open("git", json!({ "path": repo.path }));
        assert_eq!(refused(source.bundle(&revision(&commit), "").await).code, Code::Invalid);
    }
}

#[tokio::test]
async fn fault_10_a_tree_that_names_itself_a_billion_times_is_refused() {
    let repo = Repo::new();
    let mut tree = repo.raw_tree(&[("100644", b"f", &repo.blob(b"x"))]);
    for _ in 0..12 {
        let names: Vec<String> = (0..10).map(|number| format!("d{number}")).collect();
        let entries: Vec<(&str, &[u8], &str)> = names.iter().map(|name| ("40000", name.as_bytes(), tree.as_str())).collect();
        tree = repo.raw_tree(&entries);
    }
    let commit = repo.commit_tree(&tree, "bomb");
    let source = open("git", json!({ "path": repo.path, "limits": { "files": 5000 } }));
    assert_eq!(refused(source.bundle(&revision(&commit), "").await).code, Code::TooLarge);
    assert_eq!(refused(source.list(&revision(&commit)).await).code, Code::TooLarge);
}

#[tokio::test]
async fn fault_07_links_are_texts_and_never_followed() {
    let repo = Repo::new();
    let link = |text: &[u8]| repo.blob(text);
    let outside = TempDir::new().unwrap();
    std::fs::write(outside.path().join("secret"), "secret").unwrap();
    let (out, up, absolute) = (link(b"../../../etc/passwd"), link(b".."), link(outside.path().as_os_str().as_encoded_bytes()));
    let site = repo.raw_tree(&[("120000", b"abs", &absolute), ("120000", b"out", &out), ("120000", b"up", &up)]);
    let commit = repo.commit_tree(&repo.raw_tree(&[("40000", b"site", &site)]), "links");
    let source = open("git", json!({ "path": repo.path }));
    let site = bundle(&source, &revision(&commit), "site").await;
    assert_eq!(site.reader.read("out").unwrap(), b"../../../etc/passwd", "the text; whether it may be written, the driver knows");
    for path in ["site/abs/secret", "site/up/site/out", "site/out"] {
        let refusal = refused(source.read(&revision(&commit), path).await);
        assert!(matches!(refusal.code, Code::Absent | Code::Invalid), "{path}: {refusal:?}");
    }
    assert_eq!(refused(source.bundle(&revision(&commit), "site/abs").await).code, Code::Absent);
}

#[tokio::test]
async fn fault_07_loops_and_texts_with_nul_are_refused_by_path() {
    let repo = Repo::new();
    let (to_a, to_b, nul, empty, long) =
        (repo.blob(b"a"), repo.blob(b"../x/b"), repo.blob(b"a\0b"), repo.blob(b""), repo.blob(&[b'x'; 5000]));
    let looping = repo.raw_tree(&[("120000", b"a", &to_b), ("120000", b"b", &to_a)]);
    for (tree, words) in [
        (looping, "leads back to itself"),
        (repo.raw_tree(&[("120000", b"a", &nul)]), "NUL"),
        (repo.raw_tree(&[("120000", b"a", &empty)]), "empty"),
        (repo.raw_tree(&[("120000", b"a", &long)]), "longer than 4,095"),
    ] {
        let root = repo.raw_tree(&[("40000", b"x", &tree)]);
        let commit = repo.commit_tree(&root, "loop");
        let refusal = refused(open("git", json!({ "path": repo.path })).bundle(&revision(&commit), "").await);
        assert_eq!(refusal.code, Code::Invalid);
        assert!(refusal.message.contains("x/a") && refusal.message.contains(words), "{refusal}");
    }
}

#[tokio::test]
async fn fault_11_a_flipped_bit_in_a_loose_object_is_found() {
    let repo = Repo::new();
    let commit = repo.commit_file("site/a", "these bytes are what the name says");
    // Another blob's compressed bytes under this one's name: well formed, and wrong.
    let (honest, forged) = (repo.git(&["rev-parse", "HEAD:site/a"]), repo.blob(b"these bytes are not what it says!!"));
    let place = |id: &str| repo.path.join(".git/objects").join(&id[..2]).join(&id[2..]);
    std::fs::remove_file(place(&honest)).unwrap();
    std::fs::copy(place(&forged), place(&honest)).unwrap();
    let source = open("git", json!({ "path": repo.path }));
    let site = bundle(&source, &revision(&commit), "site").await;
    let refusal = site.reader.read("a").expect_err("other bytes");
    assert_eq!(refusal.code, Code::Invalid, "{refusal:?}");
    assert!(refusal.message.contains(&honest) && refusal.help.contains("git fsck"), "{refusal:?}");
    assert_eq!(refused(source.read(&revision(&commit), "site/a").await).code, Code::Invalid);
}

/// Everything a source does, in one go.
async fn use_all_of(path: &str, url: &str, cache: &Path) {
    let own = open("git", json!({ "path": path, "own": true }));
    let clean = newest(&own).await;
    let dirty = own.resolve(Want::WorkTree).await.unwrap();
    assert_ne!(clean, dirty);
    for at in [&clean, &dirty] {
        let site = bundle(&own, at, "site").await;
        assert_eq!(site.reader.read("index.html").unwrap(), b"hello", "no filter touched it");
        assert_eq!(site.reader.read("crlf.txt").unwrap(), b"a\r\nb\r\n", "no attribute either");
        assert_eq!(site.reader.read("big.bin").unwrap(), b"version https://git-lfs.github.com/spec/v1\n");
        own.list(at).await.unwrap();
        own.commit(at).await.unwrap();
    }
    let remote = open_at("git", json!({ "url": url, "branch": "main" }), cache);
    let at = newest(&remote).await;
    assert_eq!(bundle(&remote, &at, "site").await.reader.read("index.html").unwrap(), b"hello");
    trued_sources::find_repository(Path::new(path)).unwrap();
}

#[tokio::test]
async fn fault_12_hooks_filters_attributes_and_included_configuration_do_nothing() {
    let folder = TempDir::new().unwrap();
    let mark = folder.path().join("mark");
    let repo = Repo::new();
    repo.set_traps(&mark);
    // The server is another party: it serves a copy without traps.
    let served = TempDir::new().unwrap();
    let copy = served.path().join("repo");
    let cloned =
        crate::support::git_command(&repo.path).args(["clone", "-q", "--bare", "-c", "core.fsmonitor=", "."]).arg(&copy).output().unwrap();
    assert!(cloned.status.success(), "{}", String::from_utf8_lossy(&cloned.stderr));
    let server = Server::start(served.path());
    repo.write("site/new", "makes it dirty");
    let _ = std::fs::remove_file(&mark);
    let (path, url) = (repo.path.display().to_string(), server.url("repo"));
    use_all_of(&path, &url, &folder.path().join("cache")).await;
    assert!(!mark.exists(), "a program ran: {}", std::fs::read_to_string(&mark).unwrap());

    // The same again in a process of its own, watched by the kernel: it starts no program.
    let trace = folder.path().join("trace");
    let this = std::env::current_exe().unwrap();
    let output = Command::new("strace")
        .args(["-f", "-qq", "-e", "trace=execve,execveat,vfork", "-o"])
        .arg(&trace)
        .arg(this)
        .args(["--exact", "hostile::in_a_process_of_its_own", "--ignored", "--nocapture"])
        .env("SOURCE_PATH", &path)
        .env("SOURCE_URL", &url)
        .env("SOURCE_CACHE", folder.path().join("another-cache"))
        .env("GIT_SSH_COMMAND", repo.path.with_extension("trap"))
        .env("GIT_ASKPASS", repo.path.with_extension("trap"))
        .env("GIT_EXTERNAL_DIFF", repo.path.with_extension("trap"))
        .output()
        .expect("strace is there: apt-get install strace");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    let trace = std::fs::read_to_string(&trace).unwrap();
    let started: Vec<&str> = trace.lines().filter(|line| line.contains("exec") || line.contains("vfork")).collect();
    assert_eq!(started.len(), 1, "only the test itself was started: {started:#?}");
    assert!(!mark.exists());
}

#[tokio::test]
#[ignore = "run by the test above, in a process of its own"]
async fn in_a_process_of_its_own() {
    let get = |name: &str| std::env::var(name).unwrap();
    use_all_of(&get("SOURCE_PATH"), &get("SOURCE_URL"), Path::new(&get("SOURCE_CACHE"))).await;
}

#[tokio::test]
async fn fault_12_submodules_are_refused_by_path_and_only_where_they_are() {
    let repo = Repo::new();
    repo.write("site/a", "1");
    repo.git(&["add", "-A"]);
    repo.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{},vendor/lib", "1".repeat(40))]);
    repo.git(&["commit", "-q", "-m", "with a submodule"]);
    let source = open("git", json!({ "path": repo.path }));
    let at = newest(&source).await;
    assert_eq!(paths(&bundle(&source, &at, "site").await), ["a"]);
    for folder in ["vendor", "", "vendor/lib"] {
        let refusal = refused(source.bundle(&at, folder).await);
        assert_eq!(refusal.code, Code::Invalid);
        assert!(refusal.message.contains("vendor/lib") && refusal.message.contains("submodules are not followed"), "{refusal}");
    }
    assert_eq!(source.list(&at).await.unwrap(), ["site/a"]);
}
