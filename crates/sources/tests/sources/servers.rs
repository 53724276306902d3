//! Real repositories made by the `git` program, and real servers for them on loopback: HTTP, a proxy, and OpenSSH's own.
#![allow(dead_code, reason = "each test program uses its own part")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

/// A `git` command that sees nothing of this machine's or this user's configuration.
pub fn git_command(folder: &Path) -> Command {
    let mut command = Command::new("git");
    command.current_dir(folder).env_clear();
    for (name, value) in [
        ("PATH", "/usr/bin:/bin:/usr/local/bin"),
        ("HOME", "/nonexistent"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_AUTHOR_NAME", "Ada"),
        ("GIT_AUTHOR_EMAIL", "ada@example.org"),
        ("GIT_COMMITTER_NAME", "Grace"),
        ("GIT_COMMITTER_EMAIL", "grace@example.org"),
        ("GIT_AUTHOR_DATE", "2026-01-02T03:04:05Z"),
        ("GIT_COMMITTER_DATE", "2026-01-02T03:04:06Z"),
    ] {
        command.env(name, value);
    }
    command
}

/// A repository with a working tree.
pub struct Repo {
    _keep: TempDir,
    pub path: PathBuf,
}

impl Repo {
    pub fn new() -> Repo {
        let keep = TempDir::new().unwrap();
        let path = keep.path().join("repo");
        std::fs::create_dir(&path).unwrap();
        let repo = Repo { _keep: keep, path };
        repo.git(&["init", "-q", "-b", "main"]);
        // Nothing in the background: tests compare what is on disk.
        repo.git(&["config", "gc.auto", "0"]);
        repo
    }

    pub fn git(&self, arguments: &[&str]) -> String {
        self.git_with(arguments, b"")
    }

    /// Runs git with standard input; gives its trimmed output.
    pub fn git_with(&self, arguments: &[&str], input: &[u8]) -> String {
        let mut command = git_command(&self.path);
        let mut child = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.path.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Commits all there is; gives the commit's id.
    pub fn commit(&self, subject: &str) -> String {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", subject]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// Commits one file.
    pub fn commit_file(&self, path: &str, text: &str) -> String {
        self.write(path, text);
        self.commit(&format!("change {path}"))
    }

    /// Makes a commit of a tree object, on a branch of its own.
    pub fn commit_tree(&self, tree: &str, branch: &str) -> String {
        let commit = self.commit_tree_literally(tree);
        self.git(&["update-ref", &format!("refs/heads/{branch}"), &commit]);
        commit
    }

    /// Makes a commit of whatever has this id, though no git command would.
    pub fn commit_tree_literally(&self, tree: &str) -> String {
        let text = format!("tree {tree}\nauthor Ada <ada@example.org> 0 +0000\ncommitter Ada <ada@example.org> 0 +0000\n\nby hand\n");
        self.git_with(&["hash-object", "-t", "commit", "-w", "--literally", "--stdin"], text.as_bytes())
    }

    /// Writes a tree object byte by byte, as no git command would: (mode, name, hex id).
    pub fn raw_tree(&self, entries: &[(&str, &[u8], &str)]) -> String {
        let mut bytes = Vec::new();
        for (mode, name, id) in entries {
            bytes.extend_from_slice(format!("{mode} ").as_bytes());
            bytes.extend_from_slice(name);
            bytes.push(0);
            bytes.extend((0..20).map(|at| u8::from_str_radix(&id[at * 2..at * 2 + 2], 16).unwrap()));
        }
        self.git_with(&["hash-object", "-t", "tree", "-w", "--literally", "--stdin"], &bytes)
    }

    pub fn blob(&self, text: &[u8]) -> String {
        self.git_with(&["hash-object", "-w", "--stdin"], text)
    }

    /// Commits files, and names a program wherever Git would run one; each leaves a mark if it runs.
    pub fn set_traps(&self, mark: &Path) {
        use std::os::unix::fs::PermissionsExt;
        let trap = self.path.with_extension("trap");
        std::fs::write(&trap, format!("#!/bin/sh\necho ran >> {}\ncat\n", mark.display())).unwrap();
        std::fs::set_permissions(&trap, PermissionsExt::from_mode(0o755)).unwrap();
        let trap = trap.display().to_string();
        self.write("site/index.html", "hello");
        self.write("site/big.bin", "version https://git-lfs.github.com/spec/v1\n");
        self.write("site/crlf.txt", "a\r\nb\r\n");
        self.write(".gitmodules", "[submodule \"m\"]\n\tpath = m\n\turl = ext::sh -c 'touch /nonexistent'\n\tupdate = !touch x\n");
        self.commit("before the traps");
        self.write(".gitattributes", "* filter=trap diff=trap merge=trap text eol=crlf\n*.bin filter=lfs\n");
        self.git(&["add", ".gitattributes"]);
        self.git(&["commit", "-q", "-m", "attributes"]);
        for (key, value) in [
            ("filter.trap.clean", trap.as_str()),
            ("filter.trap.smudge", &trap),
            ("filter.trap.process", &trap),
            ("filter.trap.required", "true"),
            ("filter.lfs.process", &trap),
            ("filter.lfs.required", "true"),
            ("diff.trap.textconv", &trap),
            ("core.fsmonitor", &trap),
            ("core.sshCommand", &trap),
            ("core.editor", &trap),
            ("core.pager", &trap),
            ("core.askPass", &trap),
            ("core.gitProxy", &trap),
            ("core.alternateRefsCommand", &trap),
            ("credential.helper", &trap),
            ("gpg.program", &trap),
            ("uploadpack.packObjectsHook", &trap),
            ("include.path", "trap.config"),
        ] {
            self.git(&["config", key, value]);
        }
        std::fs::write(self.path.join(".git/trap.config"), format!("[core]\n\thooksPath = /nonexistent\n\tfsmonitor = {trap}\n")).unwrap();
        std::fs::create_dir_all(self.path.join(".git/hooks")).unwrap();
        for hook in ["post-checkout", "fsmonitor-watchman", "reference-transaction", "post-index-change", "pre-auto-gc", "post-rewrite"] {
            std::fs::copy(&trap, self.path.join(".git/hooks").join(hook)).unwrap();
        }
    }
}

/// How the server behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mood {
    Fine,
    /// Answers everything with this status.
    Status(u16),
    /// Sends everybody who asks below one path on to another.
    Redirect {
        from: String,
        to: String,
    },
    /// Answers with what no Git server says.
    Nonsense,
    /// Breaks off in the middle of each pack.
    BreaksOff,
}

/// `git http-backend` behind a small HTTP server.
pub struct Server {
    pub port: u16,
    pub shared: Arc<Shared>,
    scheme: &'static str,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

pub struct Shared {
    root: PathBuf,
    pub mood: Mutex<Mood>,
    /// The password that is asked for, if any.
    pub password: Mutex<Option<String>>,
    /// Request lines, and credentials as they came.
    pub seen: Mutex<Vec<(String, Option<String>)>>,
    /// Bytes of answers' bodies.
    sent: AtomicU64,
    /// What happens once, after the references were told and before an object is asked for.
    pub after_references: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    tls: Option<Arc<rustls::ServerConfig>>,
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

impl Server {
    /// Serves the repositories below a folder.
    pub fn start(root: &Path) -> Server {
        Server::start_with(root, None, 0)
    }

    pub fn start_tls(root: &Path, tls: Arc<rustls::ServerConfig>) -> Server {
        Server::start_with(root, Some(tls), 0)
    }

    fn start_with(root: &Path, tls: Option<Arc<rustls::ServerConfig>>, port: u16) -> Server {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let shared = Arc::new(Shared {
            root: root.to_owned(),
            mood: Mutex::new(Mood::Fine),
            password: Mutex::new(None),
            seen: Mutex::new(Vec::new()),
            sent: AtomicU64::new(0),
            after_references: Mutex::new(None),
            tls,
        });
        let mut server = Server { port, shared, scheme, stop: Arc::new(AtomicBool::new(false)), thread: None };
        server.listen();
        server
    }

    fn listen(&mut self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).unwrap();
        self.port = listener.local_addr().unwrap().port();
        self.stop.store(false, Ordering::SeqCst);
        let (stop, shared) = (self.stop.clone(), self.shared.clone());
        self.thread = Some(std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                let (Ok(stream), shared) = (stream, shared.clone()) else { continue };
                std::thread::spawn(move || shared.accept(stream));
            }
        }));
    }

    /// Goes away; connections are refused from now on.
    pub fn go_down(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }

    /// Comes back on the same port.
    pub fn come_back(&mut self) {
        self.listen();
    }

    pub fn url(&self, repository: &str) -> String {
        format!("{}://127.0.0.1:{}/{repository}", self.scheme, self.port)
    }

    pub fn mood(&self, mood: Mood) {
        *self.shared.mood.lock().unwrap() = mood;
    }

    pub fn ask_for(&self, password: &str) {
        *self.shared.password.lock().unwrap() = Some(password.to_owned());
    }

    pub fn requests(&self) -> Vec<String> {
        self.shared.seen.lock().unwrap().iter().map(|(line, _)| line.clone()).collect()
    }

    /// Bytes that were sent since this was asked last.
    pub fn sent(&self) -> u64 {
        self.shared.sent.swap(0, Ordering::SeqCst)
    }

    pub fn credentials(&self) -> Vec<Option<String>> {
        self.shared.seen.lock().unwrap().iter().map(|(_, credentials)| credentials.clone()).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.go_down();
    }
}

impl Shared {
    fn accept(&self, stream: TcpStream) {
        match &self.tls {
            None => drop(self.answer(&mut { stream })),
            Some(tls) => {
                let connection = rustls::ServerConnection::new(tls.clone()).unwrap();
                let mut stream = rustls::StreamOwned::new(connection, stream);
                let _ = self.answer(&mut stream);
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        }
    }

    /// Answers one request and closes.
    fn answer(&self, stream: &mut impl Stream) -> std::io::Result<()> {
        let mut stream = BufReader::new(stream);
        let mut first = String::new();
        stream.read_line(&mut first)?;
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            stream.read_line(&mut line)?;
            match line.trim().split_once(": ") {
                Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.to_owned())),
                None => break,
            }
        }
        let header = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        let mut body = vec![0; header("content-length").map_or(0, |length| length.parse().unwrap())];
        stream.read_exact(&mut body)?;

        let words: Vec<&str> = first.split_whitespace().collect();
        let [method, target, _] = words[..] else { return Ok(()) };
        self.seen.lock().unwrap().push((format!("{method} {target}"), header("authorization")));
        let mood = self.mood.lock().unwrap().clone();
        let expected = self.password.lock().unwrap().clone();
        let output = stream.get_mut();
        match mood {
            Mood::Status(status) => return write!(output, "HTTP/1.1 {status} So\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
            Mood::Redirect { from, to } if target.starts_with(&from) => {
                let to = target.replacen(&from, &to, 1);
                return write!(output, "HTTP/1.1 301 There\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            }
            Mood::Nonsense => {
                return write!(output, "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello");
            }
            _ => {}
        }
        if let Some(expected) = expected {
            let given = header("authorization").and_then(|value| value.strip_prefix("Basic ").map(str::to_owned));
            let wanted = |user: &str| {
                use base64::Engine as _;
                base64::engine::general_purpose::STANDARD.encode(format!("{user}:{expected}"))
            };
            if !given.is_some_and(|given| given == wanted("x-access-token") || given == wanted("ada")) {
                return write!(
                    output,
                    "HTTP/1.1 401 Who\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                );
            }
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (mut head, mut content) = self.backend(method, path, query, header("content-type"), header("git-protocol"), &body);
        if mood == Mood::BreaksOff && body.windows(13).any(|window| window == b"command=fetch") {
            head.push_str(&format!("Content-Length: {}\r\n", content.len()));
            content.truncate(content.len() / 2);
        }
        if body.windows(15).any(|window| window == b"command=ls-refs") {
            let then = self.after_references.lock().unwrap().take();
            then.into_iter().for_each(|then| then());
        }
        self.sent.fetch_add(content.len() as u64, Ordering::SeqCst);
        output.write_all(head.as_bytes())?;
        output.write_all(b"Connection: close\r\n\r\n")?;
        output.write_all(&content)?;
        output.flush()
    }

    fn backend(
        &self,
        method: &str,
        path: &str,
        query: &str,
        content_type: Option<String>,
        protocol: Option<String>,
        body: &[u8],
    ) -> (String, Vec<u8>) {
        let mut command = git_command(&self.root);
        command.arg("http-backend").env("GIT_PROJECT_ROOT", &self.root).env("GIT_HTTP_EXPORT_ALL", "1");
        command.env("REQUEST_METHOD", method).env("PATH_INFO", path).env("QUERY_STRING", query).env("REMOTE_ADDR", "127.0.0.1");
        command.env("CONTENT_LENGTH", body.len().to_string()).env("GIT_CONFIG_COUNT", "1");
        command.env("GIT_CONFIG_KEY_0", "safe.directory").env("GIT_CONFIG_VALUE_0", "*");
        if let Some(kind) = content_type {
            command.env("CONTENT_TYPE", kind);
        }
        if let Some(protocol) = protocol {
            command.env("GIT_PROTOCOL", protocol);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let body = body.to_vec();
        let feeder = std::thread::spawn(move || drop(input.write_all(&body)));
        let output = child.wait_with_output().unwrap().stdout;
        feeder.join().unwrap();
        let end = output.windows(4).position(|window| window == b"\r\n\r\n").map_or(0, |at| at + 4);
        let lines = String::from_utf8_lossy(&output[..end.saturating_sub(2)]).into_owned();
        let mut status = "200 OK".to_owned();
        let mut head = String::new();
        for line in lines.lines() {
            match line.strip_prefix("Status: ") {
                Some(text) => status = text.to_owned(),
                None => head.push_str(&format!("{line}\r\n")),
            }
        }
        (format!("HTTP/1.1 {status}\r\n{head}"), output[end..].to_vec())
    }
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// OpenSSH's server with keys and settings of its own, for the user who runs the tests.
pub struct Sshd {
    folder: TempDir,
    pub port: u16,
    server: Option<Child>,
}

impl Sshd {
    pub fn start() -> Sshd {
        let mut sshd = Sshd { folder: TempDir::new().unwrap(), port: free_port(), server: None };
        sshd.new_host_key();
        for name in ["good", "wrong"] {
            sshd.keygen(&sshd.path(name), "");
        }
        let good = std::fs::read(sshd.path("good.pub")).unwrap();
        std::fs::write(sshd.path("authorized"), good).unwrap();
        sshd.listen();
        sshd
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Makes a key pair.
    pub fn keygen(&self, path: &Path, passphrase: &str) {
        let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", passphrase, "-C", "test", "-f"]).arg(path).output();
        let made = made.expect("ssh-keygen is there: apt-get install openssh-client");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }

    /// Gives the server another key; it counts from the next start.
    pub fn new_host_key(&self) {
        for name in ["host", "host.pub"] {
            let _ = std::fs::remove_file(self.path(name));
        }
        self.keygen(&self.path("host"), "");
    }

    /// The server's public key: its kind and its base64.
    pub fn host_key(&self) -> String {
        self.read("host.pub").split_whitespace().take(2).collect::<Vec<_>>().join(" ")
    }

    /// A file of known hosts with the server's key.
    pub fn known_hosts(&self) -> PathBuf {
        let path = self.path("known_hosts");
        std::fs::write(&path, format!("[127.0.0.1]:{} {}\n", self.port, self.host_key())).unwrap();
        path
    }

    pub fn url(&self, path: &str) -> String {
        let user = Command::new("id").arg("-un").output().unwrap().stdout;
        format!("ssh://{}@127.0.0.1:{}{path}", String::from_utf8_lossy(&user).trim(), self.port)
    }

    pub fn listen(&mut self) {
        let config = format!(
            "Port {}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nUsePAM no\nStrictModes no\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\nAcceptEnv GIT_PROTOCOL\n",
            self.port,
            self.path("host").display(),
            self.path("authorized").display()
        );
        std::fs::write(self.path("config"), config).unwrap();
        // Where it leaves its rights, if it has any; a service would make it.
        let _ = std::fs::create_dir("/run/sshd");
        let log = std::fs::File::create(self.path("log")).unwrap();
        let server = Command::new("/usr/sbin/sshd").args(["-D", "-e", "-f"]).arg(self.path("config")).stderr(log).spawn();
        self.server = Some(server.expect("sshd is there: apt-get install openssh-server"));
        for _ in 0..3000 {
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("sshd does not listen: {}", self.read("log"));
    }

    pub fn go_down(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.go_down();
    }
}

/// Whereto somebody wanted to go through a proxy, and what they said who they are.
pub type Seen = (String, Option<String>);

/// A proxy that connects (HTTP's CONNECT) whoever says the right word, and remembers whereto.
pub struct Proxy {
    pub port: u16,
    pub seen: Arc<Mutex<Vec<Seen>>>,
}

impl Proxy {
    /// Asks for these credentials, encoded, if any.
    pub fn start(wanted: Option<&str>) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Proxy { port: listener.local_addr().unwrap().port(), seen: Arc::default() };
        let (seen, wanted) = (proxy.seen.clone(), wanted.map(str::to_owned));
        // It ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, wanted) = (seen.clone(), wanted.clone());
                std::thread::spawn(move || connect_through(stream, &seen, wanted.as_deref()));
            }
        });
        proxy
    }
}

fn connect_through(stream: TcpStream, seen: &Mutex<Vec<Seen>>, wanted: Option<&str>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let mut authorization = None;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("proxy-authorization") => authorization = Some(value.to_owned()),
            Some(_) => {}
            None => break,
        }
    }
    let place = first.strip_prefix("CONNECT ")?.split(' ').next()?.to_owned();
    seen.lock().unwrap().push((place.clone(), authorization.clone()));
    let mut stream = stream;
    if wanted.is_some_and(|wanted| authorization.as_deref() != Some(wanted)) {
        stream.write_all(b"HTTP/1.1 407 Who\r\nContent-Length: 0\r\n\r\n").ok()?;
        return None;
    }
    let mut there = TcpStream::connect(place).ok()?;
    stream.write_all(b"HTTP/1.1 200 Go\r\n\r\n").ok()?;
    let (mut back_from, mut back_to) = (there.try_clone().ok()?, stream);
    let back = std::thread::spawn(move || {
        let _ = std::io::copy(&mut back_from, &mut back_to);
        let _ = back_to.shutdown(std::net::Shutdown::Both);
    });
    let _ = std::io::copy(&mut reader, &mut there);
    let _ = there.shutdown(std::net::Shutdown::Both);
    back.join().ok()
}
