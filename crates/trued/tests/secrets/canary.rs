//! Canary secrets: values that may stand on the target and in the operator's own files, and nowhere else that this program
//! writes, says or hands on.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem;

use crate::kit::{Project, TRUED};

/// One for each way a secret is given, and a later value of the first. The fourth is what the fixture of SOPS holds.
const CANARIES: [&str; 5] =
    ["Canary-File-7Qx9Zk2wVt", "Canary-Env-Rm4Lp8sNb1", "Canary-Age-Yh3Dc6uJf5", "canary-of-the-json-file", "Canary-Later-Bn5Tx1qPa8"];

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../secrets/tests/fixtures");

/// Every form in which a value may stand somewhere: as it is, backwards, in base64 at any offset, in hex.
fn forms(value: &str) -> Vec<Vec<u8>> {
    let mut forms = vec![value.as_bytes().to_vec(), value.bytes().rev().collect()];
    for offset in 0..3 {
        let text = STANDARD.encode([&vec![b'x'; offset], value.as_bytes()].concat());
        // Without what the neighbours' bytes have a part in.
        forms.push(text.as_bytes()[4 * offset.min(1)..text.len() - 4].to_vec());
    }
    let hex: String = value.bytes().map(|byte| format!("{byte:02x}")).collect();
    forms.extend([hex.to_uppercase().into_bytes(), hex.into_bytes()]);
    forms
}

fn holds(bytes: &[u8]) -> bool {
    CANARIES.iter().flat_map(|value| forms(value)).any(|form| memmem::find(bytes, &form).is_some())
}

/// Every file below a folder that holds a canary, in its bytes or its name.
fn found_below(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if holds(entry.file_name().as_encoded_bytes()) {
            found.push(path.display().to_string());
        }
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found_below(&path, found),
            Ok(kind) if kind.is_file() && holds(&fs::read(&path).expect("readable")) => found.push(path.display().to_string()),
            _ => {}
        }
    }
}

/// A project that is given a secret each way, and whose command says all it is handed.
struct Ground {
    project: Project,
    identity: String,
    calls: u32,
}

impl Ground {
    fn new() -> Ground {
        let project = Project::new("");
        project.write("given/token", format!("{}\n", CANARIES[0]), 0o600);
        let made = Command::new("age-keygen").output().expect("age is installed (Debian: apt-get install age)");
        project.write("given/age.key", &made.stdout, 0o600);
        let text = String::from_utf8(made.stdout).expect("text");
        let recipient = text.lines().find_map(|line| line.strip_prefix("# public key: ")).expect("a public key");
        let mut age = Command::new("age").args(["-r", recipient]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("age");
        age.stdin.take().expect("its input").write_all(CANARIES[2].as_bytes()).expect("written");
        project.write("repo/secrets/token.age", age.wait_with_output().expect("age ends").stdout, 0o644);
        project.write("repo/secrets/prod.json", fs::read(Path::new(FIXTURES).join("prod.json")).expect("a fixture"), 0o644);
        let identity = fs::read_to_string(Path::new(FIXTURES).join("throwaway.key")).expect("a fixture");
        let ground = Ground { project, identity, calls: 0 };
        ground.configure("revert");
        ground.template("{{ token }} {{ env }} {{ age }} {{ sops }}\n");
        ground
    }

    fn configure(&self, drift: &str) {
        let text = format!(
            r#"secrets:
  token: {{ file: ../given/token }}
  env: {{ env: TRUED_CANARY }}
  age: {{ age: secrets/token.age, identity: {{ file: ../given/age.key }} }}
  sops: {{ sops: secrets/prod.json, key: db.password, identity: {{ env: TRUED_IDENTITY }} }}
stacks:
  site:
    render:
      template:
        path: site
        vars: {{ token: {{ secret: token }}, env: {{ secret: env }}, age: {{ secret: age }}, sops: {{ secret: sops }} }}
    target: {{ files: {{ root: {} }} }}
    drift: {drift}
    on_existing: take-over
    on_change: [[sh, -c, "env; tr '\\0' ' ' < /proc/self/cmdline; tr '\\0' ' ' < /proc/$PPID/cmdline; env >&2; exit 3"]]
"#,
            self.project.path("www").display()
        );
        self.project.write("repo/trued.yaml", text, 0o644);
    }

    fn template(&self, text: &str) {
        self.project.write("repo/site/token.conf.j2", text, 0o644);
    }

    fn command(&self) -> Command {
        let mut command = self.project.command();
        command.env("TRUED_CANARY", CANARIES[1]).env("TRUED_IDENTITY", &self.identity);
        command.env("TRUED_LOG", "trace").env("RUST_BACKTRACE", "full");
        command
    }

    /// Runs a verb both ways, and keeps all it said in `said/`.
    fn run(&mut self, words: &[&str]) {
        for form in ["text", "json"] {
            let output = self.command().args(words).args(["--output", form]).output().expect("trued runs");
            self.calls += 1;
            self.project.write(&format!("said/{}", self.calls), [output.stdout, output.stderr].concat(), 0o644);
        }
    }

    /// Everything a person or a program could ask about what is there now.
    fn ask(&mut self) {
        for words in [
            &["plan"][..],
            &["render", "site"],
            &["status"],
            &["diff"],
            &["diff", "~3", "now"],
            &["at", "now"],
            &["at", "now", "site", "token.conf"],
            &["why", "site", "token.conf"],
            &["why", "site"],
            &["log"],
            &["incidents"],
            &["config", "show"],
            &["doctor"],
            &["keys"],
        ] {
            self.run(words);
        }
        for number in 0..self.count() {
            self.run(&["show", &format!("#{number}")]);
        }
    }

    fn count(&self) -> usize {
        let output = self.project.command().args(["log", "--output", "json"]).output().expect("trued runs");
        String::from_utf8_lossy(&output.stdout).lines().count()
    }

    fn serve(&self) -> Child {
        let log = fs::File::create(self.project.path("said/serve")).expect("made");
        let mut command = self.command();
        command.args(["serve", "--listen", "127.0.0.1:0"]).stdout(Stdio::null()).stderr(log);
        command.spawn().expect("trued serves")
    }

    fn live(&self) -> String {
        self.project.live("token.conf").unwrap_or_default()
    }
}

/// What a process says over HTTP, at the only port where it listens.
fn answered(process: u32, path: &str) -> String {
    let sockets = fs::read_dir(format!("/proc/{process}/fd")).expect("it lives").flatten();
    let sockets: Vec<String> = sockets.filter_map(|fd| Some(fs::read_link(fd.path()).ok()?.to_str()?.to_owned())).collect();
    let table = fs::read_to_string(format!("/proc/{process}/net/tcp")).expect("a table of sockets");
    // Columns: number, address, peer, state (0A listens), …, inode the tenth.
    let listens = |line: &&str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.get(3) == Some(&"0A") && sockets.contains(&format!("socket:[{}]", words[9]))
    };
    let line = table.lines().find(listens).expect("it listens");
    let port = line.split_whitespace().nth(1).and_then(|address| address.split(':').nth(1)).expect("an address");
    let mut stream = TcpStream::connect(("127.0.0.1", u16::from_str_radix(port, 16).expect("a port"))).expect("connected");
    let ask = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
    stream.write_all(ask.as_bytes()).expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    answer
}

#[test]
fn fault_103_secrets_stand_on_the_target_and_nowhere_else() {
    let mut ground = Ground::new();
    // A stranger's file with a secret in it stands where ours goes.
    ground.project.write("www/token.conf", format!("by hand: {}\n", CANARIES[4]), 0o644);
    ground.run(&["plan"]);
    ground.run(&["apply"]);
    assert_eq!(ground.live(), format!("{}\n", CANARIES[..4].join(" ")), "every way gives its value");
    ground.ask();

    // What is rendered wrong says where, and not with what.
    for wrong in [
        "{{ token | int }}",
        "{{ token | nosuch }}",
        "{{ token.deep.er }}",
        "{{ token() }}",
        "{{ token + 1 }}",
        "{{ 1 / token }}",
        "{{ [1, 2][token] }}",
        "{% include token %}",
        "{% extends token %}",
        "{% import token as t %}",
        "{% for a, b in token %}{% endfor %}",
        "{{ nosuch(token) }}",
        "{{ token | round }}",
        "{{ {token: 1}.nosuch.deeper }}",
        "{{ token | fromjson }}",
        "{{ debug() }}{{ nosuch }}",
        "{% set copy = token | list %}{{ copy | tojson }}{{ nosuch }}",
        // These two end in a panic of the process that writes templates, with the value in its hands.
        "{{ token[::-9223372036854775808] }}",
        "{{ token | indent(18446744073709551615) }}",
        "{% set ns = namespace(x=token) %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    ] {
        ground.template(wrong);
        ground.run(&["plan"]);
        ground.run(&["check"]);
    }

    let said = fs::read_dir(ground.project.path("said")).expect("listed").map(|file| fs::read(file.expect("listed").path()).expect("read"));
    let panics = said.filter(|said| memmem::find(said, b"broke the renderer").is_some()).count();
    assert!(panics >= 4, "only {panics} were told of a panic");

    // Another value; hand edits that hold secrets, put back and held; what stands in the way; a rollback.
    ground.template("{{ token }} {{ env }} {{ age }} {{ sops }}\n");
    ground.project.write("given/token", CANARIES[4], 0o600);
    ground.run(&["apply"]);
    ground.project.write("www/token.conf", format!("{} edited {}\n", CANARIES[0], CANARIES[4]), 0o644);
    ground.run(&["apply"]);
    ground.ask();
    ground.configure("hold");
    ground.run(&["apply"]);
    ground.project.write("www/token.conf", format!("{} edited {}\n", CANARIES[4], CANARIES[0]), 0o644);
    ground.run(&["apply"]);
    ground.ask();
    let held = ground.project.log("drift.opened").last().map(|entry| entry["index"].clone()).expect("the edit is on record");
    ground.run(&["adopt", &format!("#{held}")]);
    ground.run(&["answer", &format!("#{held}"), "revert", "--reason", "seen"]);
    fs::remove_file(ground.project.path("www/token.conf")).expect("removed");
    fs::create_dir(ground.project.path("www/token.conf")).expect("made");
    ground.run(&["apply"]);
    fs::remove_dir(ground.project.path("www/token.conf")).expect("removed");
    ground.run(&["rollback", "site"]);
    ground.run(&["keys", "rotate"]);
    ground.run(&["render", "site", "--to", "out"]);
    ground.run(&["at", "now", "site", "--to", "out-at"]);
    ground.run(&["export", "tiles"]);
    ground.run(&["verify", "--deep"]);

    // The long-lived process, and what it says while it works.
    ground.run(&["state"]);
    // Nobody is there to answer for what stood in the way.
    ground.configure("revert");
    let mut serving = ground.serve();
    let before = ground.live();
    ground.project.write("given/token", CANARIES[0], 0o600);
    ground.template("new: {{ token }} {{ env }} {{ age }} {{ sops }}\n");
    let limit = Instant::now() + Duration::from_secs(60);
    while ground.live() == before && Instant::now() < limit {
        thread::sleep(Duration::from_millis(50));
    }
    ground.ask();
    let arguments = fs::read(format!("/proc/{}/cmdline", serving.id())).expect("it serves");
    ground.project.write("said/arguments", arguments, 0o644);
    let health = ["/healthz", "/livez", "/readyz", "/metrics", "/"].map(|path| answered(serving.id(), path));
    assert!(health[0].contains("counters") && health[2].contains("ready"), "{health:?}");
    ground.project.write("said/health", health.concat(), 0o644);
    serving.kill().expect("ended");
    serving.wait().expect("ended");

    let mut found = Vec::new();
    for folder in ["state", "said", "repo", "out", "out-at", "tiles"] {
        found_below(&ground.project.path(folder), &mut found);
    }
    assert_eq!(found, Vec::<String>::new());

    // What is looked with would have seen them: the command's words and environment are on record, and each form is found.
    let mut seen = Vec::new();
    found_below(&ground.project.path("www"), &mut seen);
    assert_eq!(seen.len(), 1, "{seen:?}");
    let ended = ground.project.log("receipt").into_iter().filter(|entry| entry["body"]["exit"] == 3).count();
    assert!(ended >= 3, "the command was handed nothing secret {ended} times");
    for value in CANARIES {
        for (place, form) in forms(value).into_iter().enumerate() {
            assert!(holds(&[b"before ".to_vec(), form, b" after".to_vec()].concat()), "form {place} of {value}");
        }
        assert!(holds(STANDARD.encode(format!("some{value}thing")).as_bytes()));
    }
}

/// Templates are written by another process, which is handed the secrets: neither its words nor its environment hold them.
#[test]
fn fault_103_the_process_that_writes_templates_is_told_no_secret_where_others_see_it() {
    let ground = Ground::new();
    ground.template("{% for i in range(100000) %}{% set x = (token * 1000000) | length %}{% endfor %}");
    ground.project.write("said/none", "", 0o644);
    let mut planning = ground.command().arg("plan").stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("trued plans");
    let parents = || -> Vec<(u32, u32)> {
        let all = fs::read_dir("/proc").expect("listed").flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let parent = |pid: u32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            Some((pid, stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()?))
        };
        all.filter_map(parent).collect()
    };
    // A keeper, and below it the process itself, once it has its task and gives up nothing more.
    let limit = Instant::now() + Duration::from_secs(60);
    let (mut seen, mut writes) = (Vec::new(), false);
    while !writes {
        assert!(Instant::now() < limit, "never seen: {seen:?}");
        let parents = parents();
        let below = |of: u32| parents.iter().filter(move |(_, parent)| *parent == of).map(|(pid, _)| *pid);
        seen = below(planning.id()).flat_map(|keeper| std::iter::once(keeper).chain(below(keeper))).collect();
        let name = |pid: &u32| {
            fs::read_dir(format!("/proc/{pid}/task"))
                .into_iter()
                .flatten()
                .flatten()
                .any(|task| fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.trim() == "templates"))
        };
        writes = seen.iter().any(name);
    }
    for pid in &seen {
        for file in ["cmdline", "environ"] {
            let read = fs::read(format!("/proc/{pid}/{file}"));
            assert!(read.is_ok() || !rustix::process::geteuid().is_root(), "{file} of {pid}: {read:?}");
            assert!(!holds(&read.unwrap_or_default()), "{file} of {pid}");
        }
    }
    planning.kill().expect("ended");
    planning.wait().expect("ended");
    let gone = |pid: &u32| !fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
    while !seen.iter().all(gone) {
        assert!(Instant::now() < limit, "it outlives who asked: {seen:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A process that is dumped writes its memory, secrets and all, into a file.
#[test]
fn a_crash_leaves_no_core_dump() {
    let ground = Ground::new();
    ground.project.write("said/none", "", 0o644);
    let mut serving = Command::new("sh");
    serving.args(["-c", "ulimit -c unlimited; exec \"$0\" serve --listen 127.0.0.1:0", TRUED]).current_dir(ground.project.path(""));
    for (name, value) in ground.command().get_envs() {
        value.map(|value| serving.env(name, value));
    }
    let mut serving = serving.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it serves");
    let limit = Instant::now() + Duration::from_secs(60);
    while ground.live().is_empty() && Instant::now() < limit {
        thread::sleep(Duration::from_millis(20));
    }
    assert!(Command::new("kill").args(["-ABRT", &serving.id().to_string()]).status().expect("kill").success());
    let status = serving.wait().expect("ended");
    assert_eq!((status.signal(), status.core_dumped()), (Some(6), false));
}
