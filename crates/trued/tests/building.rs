//! What runs for a render in a process of its own, from outside: `build`, which runs programs of a repository, confined, and
//! templates, whose memory is bounded; and what is said of them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(120);

/// A folder with one stack that is built by `site/build.sh`.
struct Site {
    folder: tempfile::TempDir,
}

struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Site {
    fn new(script: &str) -> Site {
        let site = Site { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(site.path("site")).unwrap();
        site.configure("", "");
        site.write("site/words", "hello\n");
        site.script(script);
        site
    }

    fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    fn write(&self, below: &str, text: &str) {
        fs::write(self.path(below), text).unwrap();
    }

    fn configure(&self, operator: &str, app: &str) {
        let stack = "stacks:\n  homepage:\n    render: { build: { path: site, command: [./build.sh, \"$HOME\"], output: out } }\n    \
                     target: { files: { root: www, create: true } }\n";
        self.write("trued.yaml", &format!("{operator}{stack}{app}"));
    }

    fn script(&self, script: &str) {
        self.write("site/build.sh", &format!("#!/bin/sh\nmkdir out\n{script}\n"));
        fs::set_permissions(self.path("site/build.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trued"));
        command.current_dir(self.folder.path()).stdin(Stdio::null()).args(words);
        command.env("TRUED_COUNTERS", self.path("counters")).env("CANARY", "canary-8812");
        command
    }

    /// Runs a verb; gives its status and all it said.
    fn said(&self, words: &[&str]) -> (Option<i32>, String) {
        let Output { status, stdout, stderr } = self.command(words).output().unwrap();
        (status.code(), format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr)))
    }

    fn applied(&self) {
        let (status, said) = self.said(&["apply"]);
        assert_eq!(status, Some(0), "{said}");
    }

    fn live(&self, name: &str) -> String {
        fs::read_to_string(self.path("www").join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn renders(&self) -> u64 {
        let counters: Value = serde_json::from_slice(&fs::read(self.path("counters")).unwrap()).unwrap();
        counters["renders"].as_u64().unwrap()
    }

    /// Nothing of a build is left: no folder, no process.
    fn left(&self) -> Vec<String> {
        let rooms = fs::read_dir(self.path(".trued/cache/rooms")).into_iter().flatten().flatten();
        rooms.map(|room| room.path().display().to_string()).collect()
    }
}

/// `body` of each intent on record.
fn intents(site: &Site) -> Vec<Value> {
    let (status, said) = site.said(&["log", "--output", "json"]);
    assert_eq!(status, Some(0), "{said}");
    let entries = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    entries.filter(|entry| entry["kind"] == "intent").map(|entry| entry["body"].clone()).collect()
}

#[test]
fn a_built_folder_lands_and_is_built_once() {
    let site = Site::new("echo \"$1\" > out/argument; cat words > out/index.html; cp build.sh out/; env | sort > out/env");
    site.applied();
    assert_eq!(site.live("index.html"), "hello\n");
    assert_eq!(site.live("argument"), "$HOME\n", "a shell has touched it");
    assert!(!site.live("env").contains("canary"), "{}", site.live("env"));
    assert_eq!(fs::metadata(site.path("www/build.sh")).unwrap().permissions().mode() & 0o777, 0o755);
    assert_eq!(site.renders(), 1);
    site.applied();
    assert_eq!(site.renders(), 0, "the same inputs were built again");
    site.write("site/words", "changed\n");
    site.applied();
    assert_eq!((site.live("index.html").as_str(), site.renders()), ("changed\n", 1));
    assert!(site.left().is_empty(), "{:?}", site.left());
    // The record says how well it was confined.
    let levels: Vec<Value> = intents(&site).into_iter().map(|intent| intent["sandbox"].clone()).collect();
    assert!(levels.len() == 2 && levels.iter().all(|level| level == "namespaced" || level == "base"), "{levels:?}");
    assert_eq!(site.said(&["verify"]).0, Some(0));
    let (_, said) = site.said(&["doctor"]);
    assert!(said.contains("builds: 1 stack built at level"), "{said}");
}

/// A program of the operator's, in one of two versions of the same length that were made at the same time.
fn put_tool(site: &Site, name: &str, script: &str) {
    let (made, tool) = (site.path("made"), site.path("tools").join(name));
    fs::write(&made, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&made, fs::Permissions::from_mode(0o755)).unwrap();
    fs::File::options().write(true).open(&made).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    fs::rename(made, tool).unwrap();
}

#[test]
fn a_tool_that_is_another_program_by_now_renders_once_more_and_one_that_is_the_same_does_not() {
    const PAINTS: &str = "mkdir out; echo ONE > out/made.yaml";
    const ANSWERS: &str = "test $1 = version && exec echo v5.8.2\nfor word do case $word in --output=*) to=${word#*=};; esac; done\n\
                           printf 'apiVersion: v1\\nkind: Thing\\nmetadata: { name: ONE }\\n' > $to";
    for (name, script, render) in
        [("painter", PAINTS, "build: { path: site, command: [painter], output: out }"), ("kustomize", ANSWERS, "kustomize: { path: site }")]
    {
        let site = Site::new("");
        fs::set_permissions(site.path("."), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(site.path("tools")).unwrap();
        site.write("site/kustomization.yaml", "resources: []\n");
        let tool = site.path("tools").join(name);
        let stack = format!("stacks:\n  homepage:\n    render: {{ {render} }}\n    target: {{ files: {{ root: www, create: true }} }}\n");
        site.write("trued.yaml", &format!("sandbox: {{ tools: [{}] }}\n{stack}", tool.display()));
        let landed = || {
            let files =
                fs::read_dir(site.path("www")).into_iter().flatten().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
            files.map(|file| fs::read_to_string(file).unwrap()).collect::<String>()
        };
        for (version, renders) in [("one", 1), ("one", 0), ("two", 1), ("two", 0)] {
            put_tool(&site, name, &script.replace("ONE", version));
            site.applied();
            assert_eq!(site.renders(), renders, "{name} is {version}");
            assert!(landed().contains(version) && !landed().contains(if version == "one" { "two" } else { "one" }), "{}", landed());
        }
        // The record names the program that made what landed.
        let digests: Vec<String> = intents(&site).iter().map(|intent| intent["tools"].to_string()).collect();
        let digest = trued_model::Digest::of(&fs::read(&tool).unwrap()).to_string();
        assert!(name == "painter" || (digests.len() == 2 && !digests[0].contains(&digest) && digests[1].contains(&digest)), "{digests:?}");
    }
}

#[test]
fn fault_24_what_belongs_to_others_is_not_in_the_output() {
    let site = Site::new(
        "cat /proc/*/environ > out/environ 2>&1; cat \"$(dirname \"$PWD\")\"/../../keys/* > out/keys 2>&1; ls /root /home > out/homes 2>&1; \
         cat SECRET > out/secret 2>&1; true",
    );
    site.write("secret", "canary-8812\n");
    let script = fs::read_to_string(site.path("site/build.sh")).unwrap().replace("SECRET", site.path("secret").to_str().unwrap());
    site.write("site/build.sh", &script);
    site.applied();
    for name in ["environ", "keys", "homes", "secret"] {
        assert!(!site.live(name).contains("canary"), "{name}: {}", site.live(name));
    }
    assert!(site.live("secret").contains("cat:"), "it was read: {}", site.live("secret"));
}

/// A build that passes a bound is a finding that names it; what landed stays, and nothing of the build is left.
fn passes(bound: &str, limits: &str, script: &str) {
    let site = Site::new("cp words out/index.html");
    site.applied();
    site.configure("", &format!("    limits: {{ {limits} }}\n"));
    site.script(script);
    let (status, said) = site.said(&["apply"]);
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains("`./build.sh`") && said.contains(&format!("(`{bound}`)")), "{said}");
    assert!(said.contains(&format!("raise `{bound}`")), "{said}");
    assert_eq!(site.live("index.html"), "hello\n");
    assert!(site.left().is_empty(), "{:?}", site.left());
}

#[test]
fn fault_21_a_build_that_hangs_and_ignores_sigterm_is_ended() {
    passes("time", "time: 2s", "trap '' TERM; (setsid sh -c 'trap \"\" TERM; sleep 1000' &); while :; do sleep 1000; done");
}

#[test]
fn fault_22_a_build_that_takes_memory_is_ended() {
    passes("memory", "memory: 48MiB", "head -c 400000000 /dev/zero | tail -c 300000000 > out/x");
}

#[test]
fn fault_22_a_build_that_takes_its_memory_at_once_and_fails_is_told_by_its_bound() {
    passes("memory", "memory: 48MiB", "exec python3 -c 'import os; kept = bytearray(3 * 48 << 20); os._exit(7)'");
}

#[test]
fn fault_22_a_build_that_starts_many_processes_is_ended() {
    passes("processes", "processes: 20", "i=0; while [ $i -lt 60 ]; do sleep 1000 & i=$((i+1)); done; wait");
}

#[test]
fn fault_22_a_build_that_writes_for_ever_is_ended() {
    passes("output", "output: 8MiB", "i=0; while :; do i=$((i+1)); head -c 1000000 /dev/zero > out/file-$i; done");
}

#[test]
fn fault_22_a_build_that_speaks_for_ever_is_ended() {
    passes("log", "log: 64KiB", "yes 'a line of the log'");
}

#[test]
fn fault_26_a_build_that_fails_changes_nothing_and_its_last_words_are_told() {
    let site = Site::new("cp words out/index.html");
    site.applied();
    site.script("echo half > out/index.html; echo 'no such page: about' >&2; exit 3");
    let (status, said) = site.said(&["apply"]);
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains("`./build.sh` ended with status 3; it said last:") && said.contains("| no such page: about"), "{said}");
    assert_eq!(site.live("index.html"), "hello\n");
    site.script("ln -s /etc/passwd out/passwd; ln -s words out/inner");
    let (status, said) = site.said(&["apply"]);
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains("`passwd` of the output is a link") && said.contains("`inner` of the output is a link"), "{said}");
}

#[test]
fn fault_25_a_build_that_differs_when_repeated_is_found() {
    let site = Site::new("cp words out/a.html; { printf 'made at '; cat /proc/sys/kernel/random/uuid; } > out/b.html");
    // Without being asked, a check renders nothing.
    assert_eq!(site.said(&["check"]).0, Some(0));
    let (status, said) = site.said(&["check", "--twice"]);
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains("homepage: two renders of the same inputs differ: b.html from byte "), "{said}");
    assert!(!said.contains("a.html") && site.left().is_empty(), "{said}");
    site.script("cp words out/a.html; date -u -d \"@$SOURCE_DATE_EPOCH\" +%F > out/b.html; ls words > out/c.html");
    let (status, said) = site.said(&["check", "--twice"]);
    assert_eq!(status, Some(0), "{said}");
    site.script("exit 4");
    assert!(site.said(&["check", "--twice"]).1.contains("ended with status 4"));
}

#[test]
fn fault_25_a_build_that_depends_on_its_place_is_found() {
    let site = Site::new("true");
    let locales = Command::new("locale").arg("-a").output().expect("locale runs").stdout;
    let has = String::from_utf8_lossy(&locales).lines().any(|name| name == "et_EE.utf8");
    assert!(has, "this test needs a locale (Debian: locales): localedef -i et_EE -f UTF-8 et_EE.UTF-8");
    let estonian = "printf 'z\\nt\\n' | sort";
    for depends in ["date +%Z", "stat -c %Y words", "uname -n", "echo $LANG", estonian] {
        site.script(&format!("cp words out/a.html; {depends} > out/b.html"));
        let (status, said) = site.said(&["check", "--twice"]);
        assert_eq!(status, Some(2), "{depends}: {said}");
        assert!(said.contains("homepage: what is rendered depends on where it is rendered: b.html from byte "), "{depends}: {said}");
        assert!(!said.contains("a.html") && said.contains("LC_ALL=C") && site.left().is_empty(), "{depends}: {said}");
    }
    // A build that says what it needs has it everywhere; and what differs in any place is said as before.
    site.script("cp words out/a.html; TZ=UTC date +%Z > out/b.html; printf 'z\\nt\\n' | LC_ALL=C sort > out/c.html");
    let (status, said) = site.said(&["check", "--twice"]);
    assert_eq!(status, Some(0), "{said}");
    site.script("cp words out/a.html; date +%Z > out/b.html; cat /proc/sys/kernel/random/uuid > out/c.html");
    let (_, said) = site.said(&["check", "--twice"]);
    assert!(said.contains("two renders of the same inputs differ: c.html") && !said.contains("b.html"), "{said}");
}

#[test]
fn fault_25_serve_repeats_a_build_while_nothing_else_is_done_and_tells_where_it_differs() {
    let site = Site::new("cp words out/a.html; cat /proc/sys/kernel/random/uuid > out/b.html");
    let mut command = site.command(&["serve", "--poll", "100ms"]);
    command.env("TRUED_REPEAT", "200ms").stdout(Stdio::null()).stderr(fs::File::create(site.path("said")).unwrap());
    let _served = Served(command.spawn().unwrap());
    let until = |what: &str, is: &dyn Fn(&str) -> bool| {
        let begun = Instant::now();
        loop {
            let (_, said) = site.said(&["incidents"]);
            if is(&said) {
                return said;
            }
            assert!(begun.elapsed() < PATIENCE, "never: {what}: {said}\n{}", fs::read_to_string(site.path("said")).unwrap());
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    let said = until("an incident", &|said| said.contains("unsteady"));
    assert!(said.contains("homepage: unsteady since") && said.contains("`trued check --twice`"), "{said}");
    let (_, said) = site.said(&["log", "--kind", "incident.opened"]);
    assert!(said.contains("homepage: incident: two renders of the same inputs differ: b.html from byte "), "{said}");
    let landed = site.live("b.html");
    site.script("cp words out/a.html; echo steady > out/b.html");
    until("its end", &|said| {
        !said.contains("unsteady") && fs::read_to_string(site.path("www/b.html")).is_ok_and(|text| text == "steady\n")
    });
    // What was repeated was only compared: nothing of it landed.
    let written: u64 = intents(&site).iter().filter_map(|intent| intent["changes"].as_u64()).sum();
    assert_eq!((written, landed.len()), (3, 37), "two files, and one of them once more");
}

#[test]
fn an_app_may_only_lower_limits() {
    let site = Site::new("true");
    site.configure("sandbox: { limits: { memory: 1GiB } }\n", "    limits: { memory: 2GiB, time: 1m, processes: 600 }\n");
    let (status, said) = site.said(&["check"]);
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains("`memory` is higher than the operator allows: 1GiB") && said.contains("trued.yaml:6:"), "{said}");
    assert!(said.contains("`processes` is higher than the operator allows: 512") && !said.contains("`time`"), "{said}");
}

/// The template ends in a panic of whoever writes it, each time and at each start.
#[test]
fn fault_80_a_template_that_panics_at_each_start_ends_no_serve_and_stops_no_neighbour() {
    const PANICS: &str = "{{ 'word'[::-9223372036854775808] }}\n";
    let site = Site::new("");
    let stack = |name: &str, render: &str| {
        format!(
            "  {name}:\n    render: {{ {render}: {{ path: {name} }} }}\n    target: {{ files: {{ root: www/{name}, create: true }} }}\n"
        )
    };
    site.write("trued.yaml", &format!("stacks:\n{}{}", stack("bad", "template"), stack("good", "plain")));
    for name in ["bad", "good", "www"] {
        fs::create_dir(site.path(name)).unwrap();
    }
    site.write("bad/words.j2", PANICS);
    let said = || fs::read_to_string(site.path("said")).unwrap_or_default();
    let until = |what: &str, is: &dyn Fn() -> bool| {
        let begun = Instant::now();
        while !is() {
            assert!(begun.elapsed() < PATIENCE, "never: {what}: {}", said());
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    for start in ["first", "second"] {
        site.write("good/words", start);
        let mut command = site.command(&["serve", "--poll", "100ms"]);
        command.stdout(Stdio::null()).stderr(fs::File::create(site.path("said")).unwrap());
        let mut served = Served(command.spawn().unwrap());
        until("a panic that is told", &|| said().contains("the template broke the renderer"));
        until("the neighbour", &|| fs::read_to_string(site.path("www/good/words")).is_ok_and(|words| words == start));
        site.write("good/words", &format!("{start}, and on"));
        until("the neighbour again", &|| fs::read_to_string(site.path("www/good/words")).is_ok_and(|words| words.ends_with("and on")));
        assert!(served.0.try_wait().unwrap().is_none(), "it ended: {}", said());
        assert!(!site.path("www/bad/words").exists());
        if start == "second" {
            site.write("bad/words.j2", "mended\n");
            until("the mended template", &|| fs::read_to_string(site.path("www/bad/words")).is_ok_and(|words| words == "mended\n"));
        }
    }
}

#[test]
fn serve_does_not_repeat_a_build_that_failed_until_it_is_asked() {
    let site = Site::new("echo run >> /proc/self/fd/1; exit 9");
    let mut command = site.command(&["serve", "--poll", "100ms"]);
    command.stdout(Stdio::null()).stderr(fs::File::create(site.path("said")).unwrap());
    let served = Served(command.spawn().unwrap());
    let renders = || {
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(i32::try_from(served.0.id()).unwrap()).unwrap(),
            rustix::process::Signal::USR1,
        )
        .unwrap();
        std::thread::sleep(Duration::from_millis(50));
        let counters = fs::read(site.path("counters")).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
        counters.and_then(|counters| counters["renders"].as_u64()).unwrap_or(0)
    };
    let until = |what: &str, is: &dyn Fn() -> bool| {
        let begun = Instant::now();
        while !is() {
            assert!(begun.elapsed() < PATIENCE, "never: {what}: {}", fs::read_to_string(site.path("said")).unwrap());
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    until("a build", &|| site.path("said").exists() && fs::read_to_string(site.path("said")).unwrap().contains("ended with status 9"));
    // The stack is walked again and again meanwhile, and every poll asks the source.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(renders(), 1, "{}", fs::read_to_string(site.path("said")).unwrap());
    site.said(&["reconcile"]);
    until("a second build, because a person asked", &|| renders() == 2);
    site.script("cp words out/index.html");
    until("the mended build to land", &|| site.path("www/index.html").exists());
}

/// A site of one template.
fn templated(operator: &str, app: &str, text: &str) -> Site {
    let site = Site::new("true");
    site.write(
        "trued.yaml",
        &format!(
            "{operator}stacks:\n  homepage:\n    render: {{ template: {{ path: site }} }}\n    \
             target: {{ files: {{ root: www, create: true }} }}\n{app}"
        ),
    );
    site.write("site/index.html.j2", text);
    site
}

/// A text that is doubled until nothing holds it, and a list that grows.
const BOMBS: [&str; 2] = [
    "one\n{% set ns = namespace(x='x' * 1000) %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    "{% set ns = namespace(x=[]) %}{% for i in range(9000) %}{% set ns.x = [ns.x, 'x' * 1000000 ~ i] %}{% endfor %}",
];

#[test]
fn fault_29_a_template_that_eats_memory_ends_with_a_finding_that_names_the_cap() {
    let site = templated("", "    limits: { memory: 64MiB }\n", "hello\n");
    site.applied();
    for bomb in BOMBS {
        site.write("site/index.html.j2", bomb);
        let (status, said) = site.said(&["apply"]);
        assert_eq!(status, Some(2), "{said}");
        assert!(said.contains("site/index.html.j2:1:1") && said.contains("used more than 64MiB of memory (`memory`)"), "{said}");
        assert_eq!(site.live("index.html"), "hello\n");
    }
    site.write("site/index.html.j2", "again\n");
    site.applied();
    assert_eq!(site.live("index.html"), "again\n");
}

#[test]
fn fault_29_a_build_that_asks_for_more_memory_than_it_may_have_ends_with_a_finding_that_names_the_cap() {
    let site = Site::new("cp words out/index.html");
    site.configure("", "    limits: { memory: 64MiB }\n");
    site.applied();
    // One piece that the kernel refuses, so that nobody sees it grow: what is left is a status, or SIGABRT, of the program's own.
    for asks in ["python3 -c 'bytearray(4 << 30)'", "ulimit -c 0; echo 'memory allocation of 4294967296 bytes failed' >&2; kill -ABRT $$"] {
        site.script(asks);
        let (status, said) = site.said(&["apply"]);
        assert_eq!(status, Some(2), "{said}");
        assert!(said.contains("used more than 64MiB of memory (`memory`)") && said.contains("raise `memory`"), "{said}");
        assert_eq!(site.live("index.html"), "hello\n", "the last good state stays");
    }
    // Another end is not taken for that one.
    site.script("ulimit -c 0; echo memory is fine >&2; kill -ABRT $$");
    let (_, said) = site.said(&["apply"]);
    assert!(said.contains("memory is fine") && !said.contains("`memory`"), "{said}");
}

#[test]
fn fault_29_the_memory_of_serve_stays_bounded_whatever_a_template_does() {
    let site = templated("", "", "hello\n");
    site.applied();
    site.write("site/index.html.j2", BOMBS[0]);
    let mut command = site.command(&["serve", "--poll", "100ms"]);
    command.stdout(Stdio::null()).stderr(fs::File::create(site.path("said")).unwrap());
    let served = Served(command.spawn().unwrap());
    let said = || fs::read_to_string(site.path("said")).unwrap();
    let begun = Instant::now();
    while !said().contains("used more than 512MiB of memory (`memory`)") {
        assert!(begun.elapsed() < PATIENCE, "{}", said());
        std::thread::sleep(Duration::from_millis(50));
    }
    let status = fs::read_to_string(format!("/proc/{}/status", served.0.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")).unwrap().trim().parse::<u64>();
    assert!(peak.unwrap() < 256 << 10, "{status}");
    assert_eq!(site.live("index.html"), "hello\n");
    site.write("site/index.html.j2", "again\n");
    while site.live("index.html") != "again\n" {
        assert!(begun.elapsed() < 2 * PATIENCE, "{}", said());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Runs a verb as root without any of root's rights, who can confine nothing; gives its status and all it said.
fn without_rights(site: &Site, words: &[&str]) -> (Option<i32>, String) {
    let plain = site.command(words);
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-all", "--inh-caps=-all", "--"]).arg(plain.get_program()).args(plain.get_args());
    command.current_dir(site.folder.path()).envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let Output { status, stdout, stderr } = command.output().expect("setpriv (package util-linux) starts");
    let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(!said.contains("setpriv: "), "this test needs root: {said}");
    (status.code(), said)
}

#[test]
fn below_base_nothing_is_built_until_the_operator_says_unsafe_and_then_every_listing_shows_it() {
    let site = Site::new("cp words out/index.html");
    for verb in ["plan", "apply"] {
        let (status, said) = without_rights(&site, &[verb]);
        assert_eq!(status, Some(2), "{said}");
        assert!(said.contains("homepage: programs cannot be confined on this machine, so nothing is built"), "{said}");
        assert!(said.contains("`trued doctor` says what is missing") && said.contains("`sandbox: { unsafe: true }`"), "{said}");
    }
    let (status, said) = without_rights(&site, &["doctor"]);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("ill   builds: 1 stack not built: the level here is unsafe, and base is demanded"), "{said}");
    assert!(!site.path("www/index.html").exists());

    site.configure("sandbox: { unsafe: true }\n", "");
    let (status, said) = without_rights(&site, &["plan"]);
    assert_eq!(status, Some(3), "{said}");
    assert!(said.contains("unsafe: what renders it is not confined"), "{said}");
    let (status, said) = without_rights(&site, &["apply"]);
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("landed") && said.contains("unsafe: what renders it is not confined"), "{said}");
    assert_eq!(site.live("index.html"), "hello\n");
    for (verb, shown) in [
        ("status", "unsafe: the program that rendered this was not confined"),
        ("log", "will make 1 change of plan "),
        ("log", "; unsafe: the program that rendered this was not confined"),
        ("doctor", "ill   builds: 1 stack built unsafe: what they run can do what this user can"),
    ] {
        let (_, said) = without_rights(&site, &[verb]);
        assert!(said.contains(shown), "{verb}: {said}");
    }
    let status: Value = serde_json::from_str(&without_rights(&site, &["status", "--output", "json"]).1).unwrap();
    assert!(status.to_string().contains("\"sandbox\":\"unsafe\""), "{status}");
    assert_eq!(intents(&site)[0]["sandbox"], "unsafe");
}

#[test]
fn templates_are_written_also_where_nothing_can_be_confined_and_their_memory_is_bounded_there() {
    let site = templated("", "    limits: { memory: 64MiB }\n", "{{ 1 + 1 }}\n");
    let (status, said) = without_rights(&site, &["apply"]);
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(site.live("index.html"), "2\n");
    site.write("site/index.html.j2", BOMBS[0]);
    let (status, said) = without_rights(&site, &["apply"]);
    assert!(status == Some(2) && said.contains("used more than 64MiB of memory (`memory`)"), "{said}");
}
