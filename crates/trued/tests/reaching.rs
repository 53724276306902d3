//! How far it reaches on a tree of files: what is managed, what is not, and taking the rest into the repository.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

const STRANGER: u32 = 65534;

/// A configuration of one stack, its folder, its root, and a state folder.
struct Home {
    folder: tempfile::TempDir,
}

impl Home {
    /// `target` stands beside the root in the target's settings, `more` below the stack.
    fn new(target: &str, more: &str) -> Home {
        let home = Home { folder: tempfile::tempdir().expect("a folder") };
        for folder in ["repo/site", "www"] {
            fs::create_dir_all(home.path(folder)).expect("made");
        }
        let root = home.path("www");
        let text = format!(
            "targets:\n  web:\n    files: {{ root: {} }}\n{target}stacks:\n  home:\n    path: site\n    target: web\n{more}",
            root.display()
        );
        fs::write(home.path("repo/trued.yaml"), text).expect("written");
        home
    }

    fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(path, bytes).expect("written");
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trued"));
        command.current_dir(self.path("repo")).args(words).stdin(Stdio::null()).env("TRUED_STATE", self.path("state"));
        command
    }

    fn run(&self, words: &[&str], status: i32) -> String {
        let output = self.command(words).output().expect("trued runs");
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(status), "trued {words:?}: {said}");
        said
    }

    fn json(&self, words: &[&str]) -> Value {
        let output = self.command(&[words, &["--output", "json"]].concat()).output().expect("trued runs");
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{words:?}: {error}: {}", String::from_utf8_lossy(&output.stderr)))
    }

    /// Addresses in one list of what coverage says of the only target.
    fn told(&self, place: &str) -> Vec<String> {
        let coverage = self.json(&["coverage"]);
        let list = coverage["targets"][0][place].as_array().expect("a list").clone();
        let named = |one: &Value| one["address"].as_str().or(one["place"].as_str()).expect("an address").to_owned();
        list.iter().map(named).collect()
    }
}

#[test]
fn each_file_below_a_root_is_managed_unmanaged_or_ignored() {
    let home = Home::new("    ignore: [\"cache/**\"]\n", "");
    home.write("repo/site/index.html", b"one");
    home.write("repo/site/docs/a.html", b"a");
    home.run(&["apply"], 0);
    home.write("www/by-hand.html", b"theirs");
    home.write("www/docs/by-hand.html", b"theirs");
    home.write("www/cache/x", b"x");
    fs::create_dir(home.path("www/empty")).expect("made");
    let socket = std::os::unix::net::UnixListener::bind(home.path("www/socket")).expect("a socket");
    assert_eq!(home.told("managed"), ["docs/a.html", "index.html"]);
    assert_eq!(home.told("unmanaged"), ["by-hand.html", "docs/by-hand.html", "empty"]);
    assert_eq!(home.told("ignored"), ["cache/x", "socket"]);
    let said = home.run(&["coverage"], 0);
    assert!(said.contains("web: 2 managed, 3 unmanaged, 2 ignored"), "{said}");
    assert!(said.contains("managed    default/home: 2"), "{said}");
    fs::remove_file(home.path("www/index.html")).expect("removed");
    assert_eq!((home.told("missing"), home.told("managed")), (vec!["index.html".to_owned()], vec!["docs/a.html".to_owned()]));
    drop(socket);
}

#[test]
fn a_root_that_is_not_there_is_unknown_and_not_empty() {
    let home = Home::new("", "");
    home.write("repo/site/index.html", b"one");
    home.run(&["apply"], 0);
    fs::rename(home.path("www"), home.path("away")).expect("moved");
    let coverage = home.json(&["coverage"]);
    assert_eq!(coverage["targets"][0]["extent"], "unknown");
    assert_eq!(coverage["targets"][0]["missing"], serde_json::json!([]));
    assert!(home.run(&["coverage"], 0).contains("web: unknown: "));
}

#[test]
fn a_folder_that_may_not_be_read_is_denied_and_what_is_in_it_is_not_missing() {
    let home = Home::new("", "");
    home.write("repo/site/index.html", b"one");
    home.write("repo/site/private/a", b"a");
    // The program runs as an account without privileges, which owns all of it but for one folder.
    fs::set_permissions(home.folder.path(), fs::Permissions::from_mode(0o755)).expect("opened");
    let give = |path: &str| {
        let done = Command::new("chown").args(["-R", &STRANGER.to_string()]).arg(home.path(path)).status().expect("chown");
        assert!(done.success());
    };
    fs::create_dir_all(home.path("state")).expect("made");
    ["repo", "www", "state"].into_iter().for_each(give);
    let run = |words: &[&str]| home.command(words).uid(STRANGER).gid(STRANGER).output().expect("trued runs");
    let output = run(&["apply"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::os::unix::fs::chown(home.path("www/private"), Some(0), Some(0)).expect("taken");
    fs::set_permissions(home.path("www/private"), fs::Permissions::from_mode(0o700)).expect("closed");
    let output = run(&["coverage", "--output", "json"]);
    let coverage: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let target = &coverage["targets"][0];
    assert_eq!(target["extent"], "partial", "{target}");
    assert_eq!((&target["unseen"][0]["place"], &target["unseen"][0]["code"]), (&"private".into(), &"denied".into()));
    assert_eq!(target["missing"], serde_json::json!([]));
}

#[test]
fn what_is_imported_changes_nothing_once_it_is_desired() {
    let home = Home::new("    ignore: [\"cache/**\"]\n", "    into: app\n");
    home.write("repo/site/index.html", b"one");
    home.run(&["apply"], 0);
    let binary: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    home.write("www/app/logo.bin", &binary);
    home.write("www/app/bin/run", b"#!/bin/sh\n");
    fs::set_permissions(home.path("www/app/bin/run"), fs::Permissions::from_mode(0o755)).expect("made executable");
    std::os::unix::fs::symlink("bin/run", home.path("www/app/start")).expect("a link");
    home.write("www/elsewhere.txt", b"not below the stack's place");
    let before = fs::metadata(home.path("www/app/logo.bin")).expect("there").modified().expect("a time");
    let said = home.run(&["import", "--all"], 0);
    assert!(said.contains("3 written into"), "{said}");
    assert_eq!(fs::read(home.path("repo/site/logo.bin")).expect("written"), binary);
    let mode = fs::metadata(home.path("repo/site/bin/run")).expect("written").permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
    assert_eq!(fs::read_link(home.path("repo/site/start")).expect("a link"), PathBuf::from("bin/run"));
    let actions = |home: &Home| -> Vec<String> {
        let plan = home.json(&["plan"]);
        let changes = plan["plans"][0]["changes"].as_array().expect("changes").clone();
        let mut said: Vec<_> =
            changes.iter().map(|change| format!("{} {}", change["action"], change["address"]).replace('"', "")).collect();
        said.sort();
        said
    };
    assert_eq!(actions(&home), ["adopt app/bin/run", "adopt app/logo.bin", "adopt app/start"]);
    home.run(&["apply"], 0);
    assert_eq!(actions(&home), Vec::<String>::new());
    assert_eq!(fs::metadata(home.path("www/app/logo.bin")).expect("there").modified().expect("a time"), before, "nothing was written");
    assert_eq!(home.told("unmanaged"), ["elsewhere.txt"]);
    let said = home.run(&["import", "app/logo.bin"], 1);
    assert!(said.contains("manages it already") && said.contains("nothing is written"), "{said}");
}

#[test]
fn an_import_overwrites_nothing_and_is_whole_or_not_at_all() {
    let home = Home::new("", "");
    home.write("repo/site/index.html", b"one");
    home.run(&["apply"], 0);
    home.write("www/a.html", b"a");
    home.write("www/b.html", b"b");
    home.write("repo/found/b.html", b"precious");
    let said = home.run(&["import", "--all", "--into", "found"], 2);
    assert!(said.contains("b.html is there already") && said.contains("nothing is written"), "{said}");
    assert!(!home.path("repo/found/a.html").exists());
    assert_eq!(fs::read(home.path("repo/found/b.html")).expect("there"), b"precious");
    let said = home.run(&["import", "a.html", "never"], 1);
    assert!(said.contains("never"), "{said}");
    assert!(!home.path("repo/site/a.html").exists(), "what was named is wanted as a whole");
    let left = fs::read_dir(home.path("repo/found")).expect("read").count();
    assert_eq!(left, 1, "nothing lies about");
}
