//! Rows of the table of faults that are about sources, shown on the built program.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::ptrace::{self, Event, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use trued_model::Digest;

use crate::kit::{Shop, TRUED, app, damage, repo_of};
use crate::servers::{Repo, Server, Sshd};

fn served(repo: &Repo) -> Server {
    Server::start(repo.path.parent().expect("a folder"))
}

#[test]
fn fault_05_what_was_verified_is_what_is_applied_though_the_tag_moved_meanwhile() {
    let (repo, keys) = (repo_of("shop"), tempfile::tempdir().expect("a folder"));
    let key = keys.path().join("ada");
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"]).arg(&key).status();
    assert!(made.expect("this test needs ssh-keygen (Debian: openssh-client)").success());
    let signers = keys.path().join("signers");
    fs::write(&signers, format!("ada@x {}", fs::read_to_string(key.with_extension("pub")).expect("made"))).expect("written");
    let sign = format!("user.signingkey={}", key.display());
    repo.write("site/index.html", "signed");
    repo.git(&["add", "-A"]);
    repo.git(&["-c", "gpg.format=ssh", "-c", &sign, "commit", "-q", "-S", "-m", "signed"]);
    repo.git(&["tag", "release"]);
    let signed = repo.git(&["rev-parse", "HEAD"]);
    let other = repo.commit_file("site/index.html", "by nobody");
    let server = served(&repo);
    // The server tells where the tag is, and then it is elsewhere: at a commit that nobody signed.
    let (place, to) = (repo.path.clone(), other.clone());
    *server.shared.after_references.lock().expect("whole") = Some(Box::new(move || {
        let moved = crate::servers::git_command(&place).args(["tag", "-f", "release", &to]).output().expect("git runs");
        assert!(moved.status.success(), "{}", String::from_utf8_lossy(&moved.stderr));
    }));
    let settings =
        format!("{{ git: {{ url: \"{}\", tag: release, verify: head, signers: {{ ssh: {} }} }} }}", server.url("repo"), signers.display());
    let shop = Shop::new(&[("shop", settings)]);
    shop.run(&["apply"], 0);
    assert_eq!(repo.git(&["rev-parse", "release"]), other, "it moved while it was fetched");
    assert_eq!(shop.live("shop/index.html").as_deref(), Some("signed"));
    for kind in ["verified", "intent", "verdict"] {
        let entries = shop.log(kind);
        assert!(!entries.is_empty() && entries.iter().all(|entry| entry["revision"] == signed.as_str()), "{kind}: {entries:#?}");
    }
    // Where it is now, nobody signed: what was verified stays, and says so.
    let said = shop.run(&["apply"], 2);
    assert!(said.contains(&other[..12]), "{said}");
    assert_eq!(shop.live("shop/index.html").as_deref(), Some("signed"));
}

fn only(folder: PathBuf, extension: &str) -> PathBuf {
    let files = fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut found: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|known| known == extension)).collect();
    assert_eq!(found.len(), 1, "one .{extension} in {}", folder.display());
    found.remove(0)
}

#[test]
fn fault_11_a_torn_mirror_is_fetched_afresh_and_nobody_is_asked() {
    let repo = repo_of("shop");
    let text = |n: usize| format!("page {n}, with words that stand in it again and again, again and again");
    (0..6).for_each(|n| repo.write(&format!("site/{n}"), &text(n)));
    repo.commit("all");
    let server = served(&repo);
    let shop = Shop::new(&[("shop", format!("{{ git: {{ url: \"{}\", branch: main }} }}", server.url("repo")))]);
    type Break = Box<dyn Fn(&Path)>;
    let pack = |store: &Path| only(store.join("objects/pack"), "pack");
    let flip = |part: usize| -> Break {
        Box::new(move |store| {
            damage(&pack(store), |bytes| {
                let place = 12 + (bytes.len() - 32) * part / 7;
                bytes[place] ^= 0x10;
            });
        })
    };
    let mut breaks: Vec<(String, Break)> = (0..7).map(|part| (format!("a bit flipped, part {part}"), flip(part))).collect();
    breaks.push(("truncated".to_owned(), Box::new(move |store| damage(&pack(store), |bytes| bytes.truncate(bytes.len() / 2)))));
    breaks.push(("no index".to_owned(), Box::new(|store| fs::remove_file(only(store.join("objects/pack"), "idx")).expect("removed"))));
    breaks.push(("no objects".to_owned(), Box::new(|store| fs::remove_dir_all(store.join("objects/pack")).expect("removed"))));
    breaks.push((
        "locks of a process that was killed".to_owned(),
        Box::new(|store| {
            fs::write(store.with_file_name("lock"), "").expect("written");
            for name in ["shallow.lock", "packed-refs.lock", "refs/trued/heads/main.lock"] {
                fs::write(store.join(name), "").expect("written");
            }
        }),
    ));
    let exchanges = || server.requests().iter().filter(|line| line.starts_with("POST")).count();
    let mut fetched_again = 0;
    for (what, harm) in &breaks {
        // Nothing is known but what the mirror holds.
        for folder in ["www", "state"] {
            let _ = fs::remove_dir_all(shop.path(folder));
        }
        fs::create_dir(shop.path("www")).expect("made");
        shop.run(&["plan"], 3);
        harm(&shop.store("shop"));
        let before = exchanges();
        shop.run(&["apply"], 0);
        // One asks where the branch is. More are needed only where something was torn.
        fetched_again += usize::from(exchanges() > before + 1);
        (0..6).for_each(|n| assert_eq!(shop.live(&format!("shop/{n}")), Some(text(n)), "{what}"));
        assert!(shop.log("incident.opened").is_empty(), "{what}: nobody is asked");
        shop.run(&["apply"], 0);
        assert_eq!(repo.git(&["rev-parse", "main"]), shop.log("verdict")[0]["revision"].as_str().expect("a revision"), "{what}");
    }
    // Locks tear nothing, and not each bit means something.
    assert!(fetched_again + 3 >= breaks.len(), "{fetched_again} of {} were met", breaks.len());
}

/// The programs that a verb starts, itself included, as the kernel tells it.
fn started(shop: &Shop, verb: &str, trap: &Path) -> Vec<String> {
    let trace = shop.path("trace");
    let mut strace = Command::new("strace");
    shop.known_to(&mut strace);
    strace.args(["-f", "-qq", "-s", "300", "-e", "trace=execve,execveat", "-o"]).arg(&trace).args([TRUED, verb]);
    for name in
        ["GIT_SSH_COMMAND", "GIT_SSH", "GIT_ASKPASS", "SSH_ASKPASS", "GIT_EXTERNAL_DIFF", "GIT_PAGER", "GIT_EDITOR", "GIT_PROXY_COMMAND"]
    {
        strace.env(name, trap);
    }
    let output = strace.output().expect("this test needs strace (Debian: strace)");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let trace = fs::read_to_string(trace).expect("traced");
    trace.lines().filter(|line| line.contains("exec")).map(str::to_owned).collect()
}

#[test]
fn fault_12_a_repository_full_of_traps_starts_no_program_but_one_ssh() {
    let folder = tempfile::tempdir().expect("a folder");
    let mark = folder.path().join("mark");
    let repo = Repo::new();
    ["own", "web", "far"].iter().for_each(|source| app(&repo, source));
    repo.set_traps(&mark);
    // The servers are another party: they serve a copy without traps.
    let copy = folder.path().join("copies/repo");
    let mut clone = crate::servers::git_command(&repo.path);
    let cloned = clone.args(["clone", "-q", "--bare", "-c", "core.fsmonitor=", "."]).arg(&copy).output().expect("git runs");
    assert!(cloned.status.success(), "{}", String::from_utf8_lossy(&cloned.stderr));
    let server = Server::start(&folder.path().join("copies"));
    let sshd = Sshd::start();
    let sources = [
        ("own", format!("{{ git: {{ path: {}, branch: main }} }}", repo.path.display())),
        ("web", format!("{{ git: {{ url: \"{}\", branch: main }} }}", server.url("repo"))),
        (
            "far",
            format!(
                "{{ git: {{ url: \"{}\", branch: main, key: {{ secret: token }}, known_hosts: {} }} }}",
                sshd.url(copy.to_str().expect("text")),
                sshd.known_hosts().display()
            ),
        ),
    ];
    let shop = Shop::new(&sources);
    fs::copy(sshd.path("good"), shop.path("token")).expect("copied");
    let _ = fs::remove_file(&mark);
    let execs = started(&shop, "apply", &repo.path.with_extension("trap"));
    assert!(!mark.exists(), "a program ran: {}", fs::read_to_string(&mark).expect("a mark"));
    assert_eq!(execs.len(), 3, "ourselves, a keeper and one ssh: {execs:#?}");
    assert!(execs[1].contains("\"keep\"") && execs[2].contains("/ssh\""), "{execs:#?}");
    for source in ["own", "web", "far"] {
        let live = |name: &str| shop.live(&format!("{source}/{name}")).expect("applied");
        assert_eq!((live("index.html"), live("crlf.txt")), ("hello".to_owned(), "a\r\nb\r\n".to_owned()), "{source}: no filter touched it");
        assert_eq!(live("big.bin"), "version https://git-lfs.github.com/spec/v1\n", "{source}");
    }
}

#[test]
fn fault_12_a_submodule_is_refused_by_its_path_and_only_where_it_is_used() {
    let repo = repo_of("shop");
    repo.write("site/index.html", "one");
    let first = repo.commit("one");
    repo.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{first},elsewhere/lib")]);
    repo.git(&["commit", "-q", "-m", "a submodule beside the site"]);
    let server = served(&repo);
    let shop = Shop::new(&[("shop", format!("{{ git: {{ url: \"{}\", branch: main }} }}", server.url("repo")))]);
    shop.run(&["apply"], 0);
    assert_eq!(shop.live("shop/index.html").as_deref(), Some("one"));
    repo.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{first},site/lib")]);
    repo.write("site/index.html", "two");
    repo.git(&["add", "site/index.html"]);
    repo.git(&["commit", "-q", "-m", "a submodule in the site"]);
    let said = shop.run(&["apply"], 2);
    assert!(said.contains("site/lib") && said.contains("submodule"), "{said}");
    assert_eq!(shop.live("shop/index.html").as_deref(), Some("one"), "the last good state stays");
}

#[test]
fn fault_13_two_apps_of_one_repository_at_different_commits_never_mix() {
    const ROUNDS: usize = 8;
    let repo = Repo::new();
    let text = |source: &str, n: usize, file: &str| format!("{source} {n} {file}");
    let commit = |source: &str, n: usize| {
        repo.git(&["checkout", "-q", source]);
        ["a", "b", "deep/c"].iter().for_each(|file| repo.write(&format!("site/{file}"), &text(source, n, file)));
        repo.commit(&format!("{source} {n}"))
    };
    ["left", "right"].iter().for_each(|source| app(&repo, source));
    repo.commit("both apps");
    ["left", "right"].iter().for_each(|source| drop(repo.git(&["branch", source])));
    let mut made: BTreeMap<String, (&str, usize)> = BTreeMap::new();
    for source in ["left", "right"] {
        made.insert(commit(source, 0), (source, 0));
    }
    let server = served(&repo);
    let sources = ["left", "right"].map(|name| (name, format!("{{ git: {{ url: \"{}\", branch: {name} }} }}", server.url("repo"))));
    let mut shop = Shop::new(&sources);
    shop.serve();
    for n in 1..=ROUNDS {
        for source in ["left", "right"] {
            made.insert(commit(source, n), (source, n));
        }
        // Not each time: some commits are met together, some one by one.
        if n % 2 == 0 {
            shop.until("the newer commits", || {
                ["left", "right"].iter().all(|source| shop.live(&format!("{source}/deep/c")) == Some(text(source, n, "deep/c")))
            });
        }
    }
    shop.until("verdicts on the newest commits", || {
        let newest = |source: &str| made.iter().find(|(_, made)| **made == (source, ROUNDS)).map(|(id, _)| id.clone());
        let verdicts = shop.log("verdict");
        ["left", "right"].iter().all(|source| verdicts.iter().any(|entry| entry["revision"].as_str() == newest(source).as_deref()))
    });
    shop.end();
    let receipts = shop.log("receipt");
    assert!(receipts.len() >= ROUNDS, "{} receipts", receipts.len());
    for entry in receipts {
        let (source, n) = made[entry["revision"].as_str().expect("a revision")];
        let stack = entry["stack"].to_string();
        assert!(stack.contains(source), "{stack} was made from a commit of {source}");
        // What was written is what that commit says, in each file of it.
        let shown = shop.run(&["show", &format!("#{}", entry["index"]), "--output", "json"], 0);
        for file in ["a", "b", "deep/c"] {
            let expected = Digest::of(text(source, n, file).as_bytes()).hex();
            assert!(shown.contains(&expected), "{file} of {source} {n}: {shown}");
        }
    }
}

/// A server that takes the connection and then says nothing, for as long as anybody waits.
#[test]
fn fault_10_a_source_whose_server_never_answers_holds_up_no_other() {
    let repo = repo_of("shop");
    repo.commit_file("site/index.html", "one");
    let server = served(&repo);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent = format!("http://127.0.0.1:{}/mute", listener.local_addr().expect("an address").port());
    let taken = Arc::new(AtomicUsize::new(0));
    let taking = taken.clone();
    // They stay open until the test's process ends.
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for stream in listener.incoming().flatten() {
            open.push(stream);
            taking.fetch_add(1, Ordering::Release);
        }
    });
    let patient = "limits: { fetch_idle: 10m, fetch_time: 10m }";
    let mut shop = Shop::new(&[
        ("mute", format!("{{ git: {{ url: \"{silent}\", branch: main, {patient} }} }}")),
        ("shop", format!("{{ git: {{ url: \"{}\", branch: main }} }}", server.url("repo"))),
    ]);
    shop.serve();
    shop.until("a fetch that gets no answer", || taken.load(Ordering::Acquire) > 0);
    shop.until("the first commit of its neighbour", || shop.live("shop/index.html").as_deref() == Some("one"));
    repo.commit_file("site/index.html", "two");
    shop.until("the second", || shop.live("shop/index.html").as_deref() == Some("two"));
    shop.end();
}

/// Runs a program to its end; gives its status and how many processes it started, or became, on the way.
fn starts(program: &mut Command) -> (i32, usize) {
    // It stops by itself before it becomes the program, so that nothing is missed.
    let mut waiting = Command::new("sh");
    waiting.args(["-c", "kill -STOP $$; exec \"$0\" \"$@\""]).arg(program.get_program()).args(program.get_args());
    waiting.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    waiting.current_dir(program.get_current_dir().expect("a folder")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let process = Pid::from_raw(i32::try_from(waiting.spawn().expect("sh starts").id()).expect("a number"));
    waitpid(process, Some(WaitPidFlag::WUNTRACED)).expect("it stops");
    let told = Options::PTRACE_O_TRACEFORK | Options::PTRACE_O_TRACEVFORK | Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_TRACEEXEC;
    ptrace::seize(process, told | Options::PTRACE_O_EXITKILL).expect("a child may be traced");
    kill(process, Signal::SIGCONT).expect("it goes on");
    let mut started = 0;
    loop {
        // Whoever was killed meanwhile cannot be told to go on.
        let go_on = |thread, signal: Option<Signal>| ptrace::cont(thread, signal).unwrap_or_default();
        match waitpid(None, Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD)).expect("something to wait for") {
            WaitStatus::Exited(ended, status) if ended == process => return (status, started),
            WaitStatus::Signaled(ended, signal, _) if ended == process => panic!("it was killed by {signal}"),
            WaitStatus::PtraceEvent(thread, signal, event) => {
                let of_a_process = [Event::PTRACE_EVENT_FORK, Event::PTRACE_EVENT_VFORK, Event::PTRACE_EVENT_EXEC];
                started += usize::from(of_a_process.iter().any(|known| *known as i32 == event));
                go_on(thread, Some(signal).filter(|signal| event == 0 && *signal != Signal::SIGTRAP));
            }
            WaitStatus::Stopped(thread, signal) => go_on(thread, Some(signal).filter(|signal| *signal != Signal::SIGSTOP)),
            _ => {}
        }
    }
}

#[test]
fn fault_08_an_address_that_smuggles_anything_starts_no_process() {
    // Becoming the program is one.
    let mut two = Command::new("sh");
    assert_eq!(starts(two.args(["-c", "/bin/true; exit 3"]).current_dir("/")), (3, 3), "what is looked with sees processes");
    let repo = repo_of("shop");
    repo.commit_file("site/index.html", "one");
    let shop = Shop::new(&[("shop", format!("{{ git: {{ path: \"{}\", branch: main }} }}", repo.path.display()))]);
    assert_eq!(starts(shop.command().arg("plan")), (3, 1), "a good address of this machine is read in place");
    let marker = shop.path("marker");
    let touch = format!("touch$IFS{}", marker.display());
    for url in [
        format!("-oProxyCommand={touch}"),
        format!("--upload-pack={touch}"),
        format!("ext::sh -c {touch}"),
        "fd::7".to_owned(),
        format!("ssh://-oProxyCommand={touch}/p"),
        format!("ssh://me@-oProxyCommand={touch}:22/p"),
        "ssh://-x@host/p".to_owned(),
        "git@host:--upload-pack=id".to_owned(),
        "ssh://host/%2doption%0a".to_owned(),
        "ssh://me@ho%20st/p".to_owned(),
        format!("file://{}", repo.path.display()),
        "git://127.0.0.1/p".to_owned(),
        "ext+x://host/p".to_owned(),
    ] {
        shop.operator(&[("shop", format!("{{ git: {{ url: {}, branch: main }} }}", serde_json::json!(url)))]);
        let (_, started) = starts(shop.command().arg("plan"));
        assert!(started == 1 && !marker.exists(), "{url}: {started} processes");
        let said = shop.command().arg("plan").output().expect("trued plans");
        let (status, said) = (said.status.code(), String::from_utf8_lossy(&said.stderr).into_owned());
        assert!(status != Some(0) && said.contains("read the source's url: "), "{url}: {status:?}, {said}");
    }
}
