//! The driver for files, from outside: who owns what, who changed it, who keeps changing it, and large files; the built
//! program on real roots.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fanotify_fid::Fanotify;
use fanotify_fid::consts::{FAN_CLASS_NOTIF, FAN_CLOEXEC, FAN_NONBLOCK, FAN_REPORT_DFID_NAME, FAN_REPORT_PIDFD};
use serde_json::Value;

const TRUED: &str = env!("CARGO_BIN_EXE_trued");
/// How long a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(60);
const STRANGER: u32 = 65534;

/// One stack in its smallest form, with its root and state beside it.
struct Home {
    folder: tempfile::TempDir,
    served: Option<Child>,
}

impl Home {
    fn new(target: &str, more: &str) -> Home {
        let home = Home { folder: tempfile::tempdir().expect("a folder"), served: None };
        fs::create_dir_all(home.path("repo/site")).expect("made");
        fs::create_dir_all(home.path("www")).expect("made");
        // Strangers come in.
        fs::set_permissions(home.folder.path(), fs::Permissions::from_mode(0o755)).expect("opened");
        let root = home.path("www");
        let text = format!("stacks:\n  home:\n    path: site\n    target: {{ files: {{ root: {}{target} }} }}\n{more}", root.display());
        fs::write(home.path("repo/trued.yaml"), text).expect("written");
        home
    }

    fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    fn site(&self, name: &str, text: &str) {
        let path = self.path("repo/site").join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(path, text).expect("written");
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(TRUED);
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
        let output = self.command(words).args(["--output", "json"]).output().expect("trued runs");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
    }

    fn log(&self, kind: &str) -> Vec<Value> {
        let output = self.command(&["log", "--output", "json", "--kind", kind]).output().expect("trued runs");
        String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("an entry")).collect()
    }

    fn serve(&mut self, uid: Option<u32>) {
        let errors = fs::File::options().create(true).append(true).open(self.path("serve.log")).expect("a log");
        let mut command = self.command(&["serve", "--poll", "200ms"]);
        command.env("TRUED_COUNTERS", self.path("state/counters")).stdout(Stdio::null()).stderr(errors).process_group(0);
        if let Some(uid) = uid {
            command.uid(uid).gid(uid);
        }
        self.served = Some(command.spawn().expect("serve starts"));
    }

    /// Ends `serve` and gives its counters.
    fn end(&mut self) -> Value {
        if let Some(mut serve) = self.served.take() {
            Command::new("kill").arg(serve.id().to_string()).status().expect("told to stop");
            serve.wait().expect("ended");
        }
        serde_json::from_slice(&fs::read(self.path("state/counters")).expect("counters")).expect("JSON")
    }

    fn until(&self, what: &str, look: impl Fn() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !look() {
            let log = || fs::read_to_string(self.path("serve.log")).unwrap_or_default();
            assert!(Instant::now() < end, "waited in vain for: {what}\n{}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if let Some(mut serve) = self.served.take() {
            let _ = serve.kill();
            let _ = serve.wait();
        }
    }
}

/// Whether the kernel tells this process what others do; if not, why.
fn hears() -> Result<(), String> {
    if !is_root() {
        return Err("only root hears of others' processes".to_owned());
    }
    let flags = FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_NONBLOCK | FAN_REPORT_DFID_NAME | FAN_REPORT_PIDFD;
    Fanotify::new(flags).map(drop).map_err(|error| format!("the kernel refuses fanotify: {error}"))
}

/// Another program that ends with the test, also with one that fails.
struct Fighter(Child);

impl Drop for Fighter {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Says what passes without having shown anything, past the test harness, which keeps what a test prints to itself: the run
/// counts it as skipped and names it at its end.
fn not_shown(test: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "\nnot shown: {test}: {why}");
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn owner_group_and_mode_are_kept_as_the_operator_says() {
    let uid = rustix::process::geteuid().as_raw();
    let owner = if is_root() { STRANGER } else { uid };
    let modes = format!(", modes: {{ \"bin/**\": \"0750\", \"etc/*\": {{ mode: \"0600\", owner: {owner} }}, \"etc/\": \"0700\" }}");
    let home = Home::new(&modes, "");
    home.site("bin/tool", "x");
    home.site("etc/key", "k");
    home.site("index.html", "i");
    home.run(&["apply"], 0);
    let stat = |name: &str| {
        let meta = fs::metadata(home.path("www").join(name)).expect("there");
        (meta.mode() & 0o7777, meta.uid())
    };
    assert_eq!((stat("bin/tool").0, stat("etc/key"), stat("etc").0, stat("index.html").0), (0o750, (0o600, owner), 0o700, 0o644));
    assert!(home.run(&["plan"], 0).contains("no changes") || home.json(&["plan"])["plans"][0]["changes"] == serde_json::json!([]));
    fs::set_permissions(home.path("www/etc/key"), fs::Permissions::from_mode(0o644)).expect("loosened");
    assert!(home.run(&["plan"], 3).contains("mode 0644 → 0600"), "the plan shows what it is about");
    fs::set_permissions(home.path("www/index.html"), fs::Permissions::from_mode(0o600)).expect("changed");
    home.run(&["apply"], 0);
    assert_eq!(stat("etc/key").0, 0o600, "put back");
    assert_eq!(stat("index.html").0, 0o600, "nobody rules it");
    assert_eq!(home.log("drift.closed").len(), 1);
}

#[test]
fn an_unknown_owner_is_a_finding_with_its_place_and_nothing_is_written() {
    let home = Home::new(", modes: { \"a\": { owner: nobody-of-that-name } }", "");
    home.site("a", "1");
    home.site("b", "1");
    let said = home.run(&["apply"], 2);
    assert!(said.contains("trued.yaml:4") && said.contains("no user is named `nobody-of-that-name` on this machine"), "{said}");
    assert_eq!(fs::read_dir(home.path("www")).expect("a root").count(), 0);
    let home = Home::new(", modes: { \"a\": \"4755\" }", "");
    assert!(home.run(&["check"], 2).contains("setuid"));
}

#[test]
fn who_made_a_hand_edit_is_told_by_the_kernel() {
    if let Err(why) = hears() {
        return not_shown("who_made_a_hand_edit_is_told_by_the_kernel", &why);
    }
    let mut home = Home::new("", "    drift: hold\n");
    for name in ["a", "b", "c"] {
        home.site(name, "one\n");
    }
    home.run(&["apply"], 0);
    fs::set_permissions(home.path("www"), fs::Permissions::from_mode(0o777)).expect("opened");
    for name in ["a", "b"] {
        fs::set_permissions(home.path("www").join(name), fs::Permissions::from_mode(0o666)).expect("opened");
    }
    home.serve(None);
    // Our own write first: no stranger's.
    home.site("c", "two\n");
    home.until("our own write", || fs::read_to_string(home.path("www/c")).is_ok_and(|text| text == "two\n"));
    // Somebody who stays until the drift is on record: who is gone before he is asked about has no name.
    let deed = "import os, sys; open('a', 'a').write('secret-word'); os.remove('b'); sys.stdin.read()";
    let mut somebody = Command::new("python3");
    somebody.args(["-c", deed]).current_dir(home.path("www")).stdin(Stdio::piped()).uid(STRANGER).gid(STRANGER);
    let mut somebody = somebody.spawn().expect("python3 starts");
    home.until("the drift", || {
        home.log("drift.opened").len() + home.log("drift.updated").len() > 0 && {
            let newest = home.log("drift.updated").pop().or_else(|| home.log("drift.opened").pop()).expect("drift");
            newest["body"]["count"] == 2
        }
    });
    drop(somebody.stdin.take());
    assert!(somebody.wait().expect("ended").success());
    let newest = home.log("drift.updated").pop().or_else(|| home.log("drift.opened").pop()).expect("drift");
    for item in newest["body"]["items"].as_array().expect("items") {
        let evidence = &item["evidence"];
        assert_eq!((evidence["uid"].as_u64(), evidence["grade"].as_str()), (Some(STRANGER.into()), Some("A")), "{newest:#}");
        assert_eq!(evidence["seen_by"], "fanotify");
        assert!(evidence["process"].as_str().is_some_and(|said| said.starts_with("python3")));
    }
    assert!(!newest.to_string().contains("secret-word"), "no arguments are kept");
    assert_eq!((newest["actor"]["kind"].as_str(), newest["actor"]["evidence"].as_str()), (Some("outside"), Some("A")));
    let name = newest["actor"]["id"].as_str().expect("a name").to_owned();
    let told = format!("user {name} (uid {STRANGER}), process ");
    for words in [&["who", "a"][..], &["why", "a"], &["incidents"]] {
        let output = home.command(words).output().expect("trued runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains(&told) && said.contains("seen by fanotify"), "{words:?}: {said}");
    }
    home.end();
}

#[test]
fn where_nobody_saw_it_the_owner_is_a_trace_and_no_more() {
    // Without `serve`, and as somebody whom the kernel tells nothing.
    let mut home = Home::new("", "    drift: hold\n");
    home.site("a", "one\n");
    home.run(&["apply"], 0);
    fs::write(home.path("www/a"), "two\n").expect("written");
    home.run(&["apply"], 3);
    let weak = |home: &Home| {
        let said = home.run(&["who", "a"], 0);
        assert!(said.contains("probably ") && said.contains("(file owner; weak") && said.contains("grade C"), "{said}");
        assert!(!said.contains("fanotify"), "{said}");
        let drift = home.log("drift.opened").pop().expect("drift");
        assert_eq!(drift["actor"]["evidence"], "C");
    };
    weak(&home);
    if !is_root() {
        return not_shown(
            "where_nobody_saw_it_the_owner_is_a_trace_and_no_more",
            "the second half, as another user: only root becomes one",
        );
    }
    for folder in ["repo", "www", "state"] {
        let _ = fs::remove_dir_all(home.path("state"));
        let chown = Command::new("chown").args(["-R", &STRANGER.to_string()]).arg(home.path(folder)).status();
        assert!(chown.is_ok() || folder == "state");
    }
    fs::set_permissions(home.folder.path(), fs::Permissions::from_mode(0o777)).expect("opened");
    let _ = fs::remove_dir_all(home.path("www/.trued"));
    fs::write(home.path("www/a"), "one\n").expect("written");
    home.serve(Some(STRANGER));
    home.until("the first verdict", || !home.log("verdict").is_empty());
    fs::write(home.path("www/a"), "two\n").expect("written");
    home.until("the drift", || !home.log("drift.opened").is_empty());
    weak(&home);
    home.end();
}

#[test]
fn fault_35_what_somebody_else_undoes_each_time_is_held_after_three_reverts() {
    let mut home = Home::new("", "");
    home.site("a", "ours\n");
    home.run(&["apply"], 0);
    fs::set_permissions(home.path("www"), fs::Permissions::from_mode(0o777)).expect("opened");
    home.serve(None);
    let there = || fs::read_to_string(home.path("www/a")).unwrap_or_default();
    // Another program that wants something else, for as long as it takes. One process does all of it: who is gone before he is
    // asked about has no name.
    let other = "import os, time\nround = 0\nwhile not os.path.exists('stop'):\n    try:\n        ours = 'ours' in open('a').read()\n    \
                 except OSError:\n        ours = False\n    if ours:\n        round += 1\n        with open('a.new', 'w') as new:\n            \
                 new.write(f'theirs {round}\\n')\n        os.replace('a.new', 'a')\n    time.sleep(0.1)\n";
    let mut python = Command::new("python3");
    python.args(["-c", other]).current_dir(home.path("www"));
    if is_root() {
        python.uid(STRANGER).gid(STRANGER);
    }
    let mut fighter = Fighter(python.spawn().expect("python3 starts"));
    home.until("the quarantine", || home.log("incident.opened").iter().any(|entry| entry["body"]["kind"] == "flapping"));
    // Many more chances to revert, and to write rows, are not taken.
    let rows = home.log("drift.updated").len();
    for round in 0..10 {
        fs::write(home.path("www/a"), format!("theirs again {round}\n")).expect("written");
        std::thread::sleep(Duration::from_millis(150));
    }
    assert_eq!(there(), "theirs again 9\n", "nothing is put back any more");
    assert_eq!(home.log("drift.updated").len(), rows, "one statement stands for all of it");
    let incident = home.log("incident.opened").into_iter().find(|entry| entry["body"]["kind"] == "flapping").expect("it");
    let message = incident["body"]["message"].as_str().expect("a message");
    if hears().is_ok() {
        assert!(message.contains(&format!("(uid {STRANGER}), process ")) && message.contains("seen by fanotify"), "{message}");
    }
    let status = home.run(&["status"], 3);
    assert!(status.contains("put back again and again: held; trued answer #"), "{status}");
    // Only that one: the rest of the stack goes on.
    home.site("b", "new\n");
    home.until("another file of the stack", || home.path("www/b").exists());
    assert_eq!(there(), "theirs again 9\n");
    // The other stops, and a person says to put it back.
    fs::write(home.path("www/stop"), "").expect("told");
    fighter.0.wait().expect("ended");
    let drift = home.log("drift.opened").pop().expect("drift")["index"].to_string();
    home.run(&["answer", &drift, "revert", "--reason", "the other one is stopped"], 0);
    home.until("the last revert", || there() == "ours\n");
    home.until("no incident", || home.command(&["incidents"]).status().is_ok_and(|status| status.code() == Some(0)));
    let counters = home.end();
    assert_eq!(counters["target_writes"], 5, "three reverts, another file, and one revert that a person asked for");
}

#[test]
fn fault_29_a_sparse_file_of_a_gibibyte_passes_through_in_pieces_and_stays_sparse() {
    use std::os::unix::fs::FileExt as _;
    const GIB: u64 = 1 << 30;
    let mut home = Home::new("", "");
    home.site("small", "x");
    let image = fs::File::create(home.path("repo/site/disk.img")).expect("a file");
    let marks: [(u64, &[u8]); 3] = [(0, b"\0\xff\x7fELF\r\n"), (GIB / 2 + 7, b"\xc3\x28 middle"), (GIB - 4, b"end\n")];
    image.set_len(GIB).expect("a hole");
    marks.iter().for_each(|(at, bytes)| image.write_all_at(bytes, *at).expect("written"));
    home.serve(None);
    home.until("the file", || home.log("verdict").iter().any(|entry| entry["body"]["outcome"] == "landed"));
    let there = fs::File::open(home.path("www/disk.img")).expect("there");
    let meta = there.metadata().expect("there");
    assert_eq!(meta.len(), GIB);
    for (at, bytes) in marks {
        let mut found = vec![0; bytes.len()];
        there.read_exact_at(&mut found, at).expect("read");
        assert_eq!(found, bytes);
    }
    assert!(meta.blocks() * 512 < 1 << 20, "{} bytes on disk", meta.blocks() * 512);
    let stored = occupied(&home.path("state"));
    assert!(stored < 8 << 20, "the state folder holds {stored} bytes");
    // A hand edit is kept and put back, in pieces too.
    let edited = fs::File::options().write(true).open(home.path("www/disk.img")).expect("opened");
    edited.write_all_at(b"hand", 4096).expect("written");
    home.until("the revert", || {
        let mut found = [1; 4];
        let now = fs::File::open(home.path("www/disk.img"));
        now.is_ok_and(|now| now.read_exact_at(&mut found, 4096).is_ok()) && found == [0; 4]
    });
    let serve = home.served.as_ref().expect("it runs").id();
    let status = fs::read_to_string(format!("/proc/{serve}/status")).expect("a process");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its peak");
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    assert!(peak < 96 * 1024, "{peak} KiB at the most");
    home.end();
}

/// What a folder takes on disk.
fn occupied(folder: &std::path::Path) -> u64 {
    let each = |entry: fs::DirEntry| {
        let meta = entry.metadata().expect("an entry");
        if meta.is_dir() { occupied(&entry.path()) } else { meta.blocks() * 512 }
    };
    fs::read_dir(folder).expect("a folder").map(|entry| each(entry.expect("an entry"))).sum()
}

#[test]
fn an_unmounted_disk_that_leaves_its_mount_point_is_unseen_to_a_cold_process() {
    let home = Home::new("", "");
    home.site("a", "1");
    home.run(&["apply"], 0);
    // What stands where a disk was mounted is an empty folder; to the next process too.
    fs::rename(home.path("www"), home.path("disk")).expect("unmounted");
    fs::create_dir(home.path("www")).expect("the mount point");
    let said = home.run(&["apply"], 1);
    assert!(said.contains("does not carry our mark"), "{said}");
    let said = home.run(&["plan"], 1);
    assert!(said.contains("does not carry our mark"), "{said}");
    assert_eq!(fs::read_dir(home.path("www")).expect("a folder").count(), 0, "nothing is written beside the disk");
    assert!(home.log("drift.opened").is_empty(), "nothing is said to be gone");
    assert_eq!(home.json(&["incidents"])["incidents"][0]["kind"], "unseen");
    fs::remove_dir(home.path("www")).expect("removed");
    fs::rename(home.path("disk"), home.path("www")).expect("mounted");
    home.run(&["apply"], 0);
    assert_eq!(home.json(&["incidents"])["incidents"], serde_json::json!([]));
}

#[test]
fn what_is_written_to_a_root_in_the_own_folder_is_no_new_revision() {
    let home = Home::new("", "");
    home.site("a", "1");
    let text = fs::read_to_string(home.path("repo/trued.yaml")).expect("a file");
    fs::create_dir(home.path("repo/www")).expect("made");
    fs::write(home.path("repo/trued.yaml"), text.replace(home.path("www").to_str().expect("UTF-8"), "./www")).expect("written");
    home.run(&["apply"], 0);
    fs::write(home.path("repo/www/stray"), "x").expect("written");
    home.site("a", "2");
    home.run(&["apply"], 0);
    home.site("a", "1");
    home.run(&["apply"], 0);
    let revisions: Vec<String> =
        home.log("verdict").iter().map(|entry| entry["revision"].as_str().unwrap_or_default().to_owned()).collect();
    assert_eq!(revisions.len(), 3);
    assert_eq!(revisions[0], revisions[2], "the same source is the same revision, whatever stands on the target");
}

#[test]
fn a_root_in_what_is_rendered_is_never_rendered_itself() {
    for git in [false, true] {
        let home = Home::new("", "");
        home.site("a", "1");
        let text = fs::read_to_string(home.path("repo/trued.yaml")).expect("a file");
        let text = text.replace(home.path("www").to_str().expect("UTF-8"), "./www").replace("path: site", "path: ./");
        fs::write(home.path("repo/trued.yaml"), text).expect("written");
        fs::create_dir(home.path("repo/www")).expect("made");
        if git {
            for words in [&["init", "-q"][..], &["add", "-A"], &["-c", "user.name=A", "-c", "user.email=a@b", "commit", "-qm", "one"]] {
                let status = Command::new("git").current_dir(home.path("repo")).args(words).status().expect("git runs");
                assert!(status.success(), "git {words:?}");
            }
        }
        home.run(&["apply"], 0);
        let before = home.json(&["status"]);
        home.run(&["plan"], 0);
        home.run(&["apply"], 0);
        assert_eq!(home.log("verdict").len(), 1, "the second run has nothing to do, Git or not: {git}");
        assert_eq!(before, home.json(&["status"]), "what was written is no new revision");
        assert_eq!(fs::read(home.path("repo/www/site/a")).expect("written"), b"1");
        assert!(!home.path("repo/www/www").exists());
    }
}
