//! The source `git` over ssh, against OpenSSH's own server and program.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tempfile::TempDir;
use trued_doors::{Answer, BoxFuture, Exit, Program, Runner, Secrets, Source, Talk};
use trued_model::{Code, Duration, Name, Refusal, Relation, Secret, Want};

use crate::servers::{Repo, Sshd};
use crate::support::{bundle, newest, open_with, programs, refused};

struct Keys(BTreeMap<String, Vec<u8>>);

impl Secrets for Keys {
    fn get(&self, name: &Name) -> Answer<Secret> {
        let found = self.0.get(name.as_str()).cloned().map(Secret::new);
        found.ok_or_else(|| Refusal::new(Code::Absent, format!("read secret {name}: there is none")))
    }
}

/// Starts programs, and keeps what was started and what the key's file looked like then.
#[derive(Default)]
struct Watching {
    started: Mutex<Vec<Program>>,
    keys: Mutex<Vec<(PathBuf, u32, u32)>>,
}

impl Runner for Watching {
    fn run(&self, program: Program) -> BoxFuture<'_, Answer<Exit>> {
        panic!("{:?} was run", program.argv)
    }

    fn open(&self, program: Program, silence: Duration) -> BoxFuture<'_, Answer<Talk>> {
        let key = program.argv.iter().position(|word| word == "-i").map(|at| PathBuf::from(&program.argv[at + 1])).unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        self.keys.lock().unwrap().push((key.clone(), mode(&key), mode(key.parent().unwrap())));
        self.started.lock().unwrap().push(program.clone());
        Box::pin(async move { programs().open(program, silence).await })
    }
}

struct World {
    repo: Repo,
    sshd: Sshd,
    cache: TempDir,
    runner: Arc<Watching>,
}

impl World {
    fn new() -> World {
        World { repo: Repo::new(), sshd: Sshd::start(), cache: TempDir::new().unwrap(), runner: Arc::default() }
    }

    fn open(&self, more: Value) -> Arc<dyn Source> {
        let mut settings = json!({
            "url": self.sshd.url(self.repo.path.to_str().unwrap()),
            "branch": "main",
            "key": { "secret": "good" },
            "known_hosts": self.sshd.path("known_hosts"),
        });
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        settings.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        self.sshd.known_hosts();
        self.open_as_is(settings)
    }

    fn open_as_is(&self, settings: Value) -> Arc<dyn Source> {
        let mut keys: BTreeMap<String, Vec<u8>> =
            ["good", "wrong"].map(|name| (name.to_owned(), self.sshd.read(name).trim_end().as_bytes().to_vec())).into();
        keys.insert("garbage".to_owned(), b"not a key".to_vec());
        if let Ok(locked) = std::fs::read(self.sshd.path("locked")) {
            keys.insert("locked".to_owned(), locked);
        }
        open_with("git", settings, self.cache.path(), Arc::new(Keys(keys)), self.runner.clone())
            .unwrap_or_else(|refusal| panic!("{refusal:?}"))
    }
}

#[tokio::test]
async fn a_repository_is_fetched_over_ssh_with_one_process_for_each_question() {
    let world = World::new();
    let first = world.repo.commit_file("site/a", "1");
    let source = world.open(json!({}));
    let at = newest(&source).await;
    assert_eq!(at.id, first);
    assert_eq!(bundle(&source, &at, "site").await.reader.read("a").unwrap(), b"1");
    let second = world.repo.commit_file("site/a", "2");
    let next = newest(&source).await;
    assert_eq!(next.id, second);
    assert_eq!(bundle(&source, &next, "site").await.reader.read("a").unwrap(), b"2");
    assert_eq!(source.relation(&at, &next).await.unwrap(), Relation::Follows);
    assert_eq!(newest(&source).await, next);
    assert_eq!((source.fetches(), world.runner.started.lock().unwrap().len()), (3, 3));
    let inline = world.open(json!({ "known_hosts": null, "host_keys": [world.sshd.host_key()] }));
    assert_eq!(newest(&inline).await.id, second, "keys of the server may stand in the settings");
}

#[tokio::test]
async fn fault_104_the_key_is_in_no_argument_no_environment_and_no_file_that_stays() {
    let world = World::new();
    world.repo.commit_file("a", "1");
    newest(&world.open(json!({}))).await;
    refused(world.open(json!({ "key": { "secret": "wrong" } })).resolve(Want::Newest).await);
    let keys: Vec<String> = ["good", "wrong"].map(|name| world.sshd.read(name)).into();
    let lines: Vec<&str> = keys.iter().flat_map(|key| key.lines()).filter(|line| line.len() > 30 && !line.starts_with("---")).collect();
    assert!(lines.len() > 4);
    for program in world.runner.started.lock().unwrap().iter() {
        let all = format!("{:?} {:?} {}", program.argv, program.env, String::from_utf8_lossy(&program.input));
        assert!(lines.iter().all(|line| !all.contains(line)), "{all}");
        assert!(program.env.is_empty(), "nothing of our environment: {:?}", program.env);
    }
    for (key, mode, folder) in world.runner.keys.lock().unwrap().iter() {
        assert_eq!((*mode, *folder), (0o600, 0o700), "{}", key.display());
        assert!(!key.exists() && !key.parent().unwrap().exists(), "{} stayed", key.display());
    }
    for (path, _, bytes) in crate::support::snapshot(world.cache.path()) {
        let text = String::from_utf8_lossy(&bytes);
        assert!(lines.iter().all(|line| !text.contains(line)), "{}", path.display());
    }
}

#[tokio::test]
async fn fault_08_the_arguments_of_ssh_are_fixed() {
    let world = World::new();
    world.repo.commit_file("a", "1");
    newest(&world.open(json!({}))).await;
    let argv = world.runner.started.lock().unwrap()[0].argv.clone();
    let key = world.runner.keys.lock().unwrap()[0].0.clone();
    let hosts = key.with_file_name("known_hosts");
    let text = argv.join(" ").replace(&key.display().to_string(), "KEY").replace(&hosts.display().to_string(), "HOSTS");
    let user = world.sshd.url("").replace("ssh://", "").split('@').next().unwrap().to_owned();
    let text = text.replace(&world.sshd.port.to_string(), "PORT").replace(world.repo.path.to_str().unwrap(), "PATH");
    assert_eq!(
        text,
        format!(
            "ssh -F /dev/null -T -a -x -o BatchMode=yes -o CanonicalizeHostname=no -o CheckHostIP=no -o ClearAllForwardings=yes \
             -o ConnectTimeout=20 -o ConnectionAttempts=1 -o ControlMaster=no -o ControlPath=none -o ForwardAgent=no \
             -o GlobalKnownHostsFile=/dev/null -o IdentitiesOnly=yes -o IdentityAgent=none -o LogLevel=ERROR \
             -o NumberOfPasswordPrompts=0 -o PermitLocalCommand=no -o PreferredAuthentications=publickey -o ProxyCommand=none \
             -o ServerAliveCountMax=3 -o ServerAliveInterval=15 -o SetEnv=GIT_PROTOCOL=version=2 -o StrictHostKeyChecking=yes \
             -o Tunnel=no -o UpdateHostKeys=no -o UserKnownHostsFile=HOSTS -o VerifyHostKeyDNS=no -i KEY -p PORT -l {user} \
             -- 127.0.0.1 git-upload-pack 'PATH'"
        )
    );
}

#[tokio::test]
async fn fault_08_a_path_is_one_word_to_the_other_side_whatever_stands_in_it() {
    let world = World::new();
    let first = world.repo.commit_file("a", "1");
    let mark = world.cache.path().join("mark");
    let strange = world.repo.path.with_file_name(format!("it's; touch {} `id` $(id) !x", mark.display().to_string().replace('/', "%")));
    std::os::unix::fs::symlink(&world.repo.path, &strange).unwrap();
    let written = strange.to_str().unwrap().replace('%', "%25").replace(' ', "%20");
    let source = world.open(json!({ "url": world.sshd.url(&written) }));
    assert_eq!(newest(&source).await.id, first);
    let evil = format!("/nowhere';touch%20{};'", mark.display());
    let refusal = refused(world.open(json!({ "url": world.sshd.url(&evil) })).resolve(Want::Newest).await);
    assert_eq!(refusal.code, Code::Absent, "{refusal:?}");
    assert!(!mark.exists(), "a command ran");
}

#[tokio::test]
async fn each_kind_of_no_over_ssh_has_its_code_and_its_words() {
    let mut world = World::new();
    world.repo.commit_file("a", "1");
    world.sshd.keygen(&world.sshd.path("locked"), "a passphrase");
    let no = |source: Arc<dyn Source>| async move { refused(source.resolve(Want::Newest).await) };
    for (settings, code, words) in [
        (json!({ "key": { "secret": "wrong" } }), Code::Denied, "does not accept the key"),
        (json!({ "key": { "secret": "garbage" } }), Code::Invalid, "cannot use the key"),
        (json!({ "key": { "secret": "locked" } }), Code::Denied, "does not accept the key"),
        (json!({ "key": { "secret": "none" } }), Code::Absent, "read secret none"),
        (json!({ "known_hosts": "/dev/null" }), Code::Denied, "not among the known hosts"),
        (json!({ "known_hosts": "/nonexistent" }), Code::Absent, "known_hosts"),
        (json!({ "url": world.sshd.url("/nonexistent") }), Code::Absent, "no such repository"),
        (json!({ "branch": "gone" }), Code::Absent, "refs/heads/gone"),
    ] {
        let refusal = no(world.open(settings.clone())).await;
        assert_eq!(refusal.code, code, "{settings}: {refusal:?}");
        assert!(refusal.message.contains(words), "{settings}: {refusal}");
        assert!(!refusal.message.contains('\n') && !refusal.message.contains("/dev/shm"), "{refusal}");
    }
    // Somebody stands between, or the server was given another key.
    world.sshd.known_hosts();
    let settings = json!({
        "url": world.sshd.url(world.repo.path.to_str().unwrap()), "key": { "secret": "good" }, "known_hosts": world.sshd.path("known_hosts")
    });
    world.sshd.go_down();
    let refusal = no(world.open_as_is(settings.clone())).await;
    assert_eq!(refusal.code, Code::Unreachable, "{refusal:?}");
    assert!(refusal.message.contains("Connection refused") && refusal.passing(), "{refusal}");
    world.sshd.new_host_key();
    world.sshd.listen();
    let refusal = no(world.open_as_is(settings.clone())).await;
    assert_eq!(refusal.code, Code::Denied, "{refusal:?}");
    assert!(refusal.message.contains("another key than the one that is known"), "{refusal}");
}

#[tokio::test]
async fn fault_10_an_ssh_that_says_nothing_or_too_much_is_ended() {
    let world = World::new();
    world.repo.write("big", &(0..40_000).map(|number| format!("{:x}", number * 2_654_435_761_u64)).collect::<String>());
    world.repo.commit("big");
    for (limits, code) in [
        (json!({ "fetch_bytes": 20_000 }), Code::TooLarge),
        (json!({ "fetch_objects": 2 }), Code::TooLarge),
        (json!({ "object_bytes": 100_000 }), Code::TooLarge),
        (json!({ "fetch_time": "0s" }), Code::TimedOut),
    ] {
        let refusal = refused(world.open(json!({ "limits": limits })).resolve(Want::Newest).await);
        assert_eq!(refusal.code, code, "{limits}: {refusal:?}");
    }
    // A server that takes the connection and then says nothing at all.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ssh://git@127.0.0.1:{}/x", silent.local_addr().unwrap().port());
    let refusal = refused(world.open(json!({ "url": url, "limits": { "fetch_idle": "500ms" } })).resolve(Want::Newest).await);
    assert_eq!(refusal.code, Code::TimedOut, "{refusal:?}");
}

#[tokio::test]
async fn fault_10_silence_has_one_code_and_one_sentence_whatever_way_is_gone() {
    use std::io::{Read as _, Write as _};
    let world = World::new();
    world.repo.commit_file("a", "1");
    // Nobody ever takes these connections from the system: they are made, and nothing is said on them.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mute_port = mute.local_addr().unwrap().port();
    // Says how it answers and begins the answer, and then no more.
    let halting = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let halting_port = halting.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in halting.incoming().flatten() {
            std::thread::spawn(move || {
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-advertisement\r\nContent-Length: 900\r\n\r\n001e#",
                );
                // Until the other side has gone.
                while stream.read(&mut [0; 4096]).is_ok_and(|count| count > 0) {}
            });
        }
    });
    let limits = json!({ "fetch_idle": "700ms" });
    let mut said = Vec::new();
    for url in [format!("http://127.0.0.1:{mute_port}/x"), format!("http://127.0.0.1:{halting_port}/x")] {
        let settings = json!({ "url": url, "branch": "main", "limits": limits });
        said.push(("http", refused(world.open_as_is(settings).resolve(Want::Newest).await)));
    }
    let before_it_says_who_it_is = world.open(json!({ "url": format!("ssh://git@127.0.0.1:{mute_port}/x"), "limits": limits }));
    said.push(("ssh", refused(before_it_says_who_it_is.resolve(Want::Newest).await)));
    // Lets us in, and then listens to us instead of talking.
    let key = world.sshd.read("good.pub");
    std::fs::write(world.sshd.path("authorized"), format!("command=\"cat >/dev/null\" {key}")).unwrap();
    said.push(("ssh", refused(world.open(json!({ "limits": { "fetch_idle": "3s" } })).resolve(Want::Newest).await)));
    for (way, refusal) in said {
        assert_eq!(refusal.code, Code::TimedOut, "{way}: {refusal:?}");
        assert!(refusal.message.ends_with(": the server fell silent") && refusal.help.contains("limits.fetch_idle"), "{way}: {refusal:?}");
        assert!(refusal.passing(), "{way}: {refusal:?}");
    }
}

#[tokio::test]
async fn fault_12_a_fetch_starts_ssh_and_nothing_else() {
    let world = World::new();
    world.repo.commit_file("a", "1");
    world.sshd.known_hosts();
    let folder = TempDir::new().unwrap();
    let trap = folder.path().join("trap");
    std::fs::write(&trap, format!("#!/bin/sh\ntouch {}\n", folder.path().join("mark").display())).unwrap();
    std::fs::set_permissions(&trap, PermissionsExt::from_mode(0o755)).unwrap();
    // A configuration of the user that would run programs, if anybody read it.
    std::fs::create_dir(folder.path().join(".ssh")).unwrap();
    let traps =
        format!("Host *\n  ProxyCommand {0}\n  PermitLocalCommand yes\n  LocalCommand {0}\n  KnownHostsCommand {0}\n", trap.display());
    std::fs::write(folder.path().join(".ssh/config"), traps).unwrap();
    let trace = folder.path().join("trace");
    let output = Command::new("strace")
        .args(["-f", "-qq", "-e", "trace=execve,execveat", "-o"])
        .arg(&trace)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "ssh::in_a_process_of_its_own", "--ignored", "--nocapture"])
        .env("HOME", folder.path())
        .env("GIT_SSH_COMMAND", &trap)
        .env("GIT_SSH", &trap)
        .env("SSH_ASKPASS", &trap)
        .env("SOURCE_URL", world.sshd.url(world.repo.path.to_str().unwrap()))
        .env("SOURCE_KEY", world.sshd.path("good"))
        .env("SOURCE_HOSTS", world.sshd.path("known_hosts"))
        .env("SOURCE_CACHE", world.cache.path())
        .output()
        .expect("strace is there: apt-get install strace");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    let trace = std::fs::read_to_string(&trace).unwrap();
    let started: Vec<&str> = trace.lines().filter(|line| line.contains("exec")).collect();
    assert_eq!(started.len(), 3, "the test itself, a keeper and one ssh: {started:#?}");
    assert!(started[1].contains("\"keep\"") && started[2].contains("/ssh\""), "{started:#?}");
    assert!(!folder.path().join("mark").exists());
}

#[tokio::test]
#[ignore = "run by the test above, in a process of its own"]
async fn in_a_process_of_its_own() {
    let get = |name: &str| std::env::var(name).unwrap();
    let keys = BTreeMap::from([("good".to_owned(), std::fs::read(get("SOURCE_KEY")).unwrap())]);
    let settings = json!({ "url": get("SOURCE_URL"), "key": { "secret": "good" }, "known_hosts": get("SOURCE_HOSTS") });
    let source = open_with("git", settings, Path::new(&get("SOURCE_CACHE")), Arc::new(Keys(keys)), Arc::new(programs())).unwrap();
    newest(&source).await;
    assert_eq!(source.fetches(), 1);
}
