//! A fetch over ssh: one `ssh` process with fixed arguments, started by the runner, that reads no configuration of the
//! machine or the user, asks nobody, and knows the hosts and the key that the operator named and no others.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use gix_transport::Protocol;
use gix_transport::client::blocking_io::Transport;
use gix_transport::client::git::ConnectMode;
use gix_transport::client::git::blocking_io::Connection;
use tokio::runtime::Handle;
use trued_doors::{Answer, Exit, Program, Runner, Talk, Talking};
use trued_model::{Code, Duration, Refusal, Secret};

use super::answers::broken_off;
use super::private::Private;
use super::ssh_url::SshUrl;
use super::watch::{Bounds, Watched};

/// Longest wait for a connection, in seconds.
const CONNECT: u64 = 20;
/// What is kept of what `ssh` and the other side say on the error output.
const SAID: usize = 16 << 10;
/// Largest file of known hosts.
const KNOWN: u64 = 1 << 20;

/// Who the other side must be, and who we are.
pub(super) struct Acquaintance<'a> {
    /// Lines of `known_hosts`.
    pub(super) hosts: Vec<u8>,
    pub(super) key: &'a Secret,
}

/// An `ssh` that runs.
pub(super) struct Spoken {
    program: Box<dyn Talking>,
    _private: Arc<Private>,
}

/// Starts `ssh`. `beside` is a folder of this fetch's own. Blocks.
pub(super) fn start(
    url: &SshUrl,
    with: Acquaintance<'_>,
    beside: &Path,
    (runner, executor): (&dyn Runner, &Handle),
    bounds: &Bounds,
    fetch_time: Duration,
) -> Answer<(Box<dyn Transport + Send>, Spoken)> {
    let unwritable =
        |error: io::Error| Refusal::new(Code::Unknown, format!("fetch from {}: cannot prepare what ssh needs: {error}", bounds.host));
    let private = Arc::new(Private::make(beside).map_err(unwritable)?);
    // OpenSSH takes no key without its last line end.
    let key = Secret::new([with.key.reveal().trim_ascii_end(), b"\n"].concat());
    let key = private.write(KEY, key.reveal()).map_err(unwritable)?;
    let hosts = private.write("known_hosts", &with.hosts).map_err(unwritable)?;
    let program = Program {
        argv: arguments(url, &word(&key)?, &word(&hosts)?),
        env: BTreeMap::new(),
        folder: None,
        input: Vec::new(),
        deadline: fetch_time,
        output_cap: SAID,
    };
    let idle = Duration(u64::try_from(bounds.idle.as_millis()).unwrap_or(u64::MAX));
    // On a thread that belongs to no executor: one cannot wait inside another.
    let opened = std::thread::scope(|scope| scope.spawn(|| executor.block_on(runner.open(program, idle))).join());
    let Talk { input, output, program } = opened.map_err(|_| Refusal::new(Code::Broken, "start `ssh`: starting it broke off"))??;
    let output = Arrived { from: output, private: Some(private.clone()) };
    let read =
        Watched::new(output, bounds.clone(), |host, error| (error.kind() == io::ErrorKind::TimedOut).then(|| broken_off(host, error)));
    let connection = Connection::new(read, input, Protocol::V2, url.path(), None::<(&str, _)>, ConnectMode::Process, false)
        .custom_url(Some(NAME.into()));
    Ok((Box::new(connection), Spoken { program, _private: private }))
}

/// Most bytes of a file of known hosts are read; more are not one.
pub(super) fn known_hosts(file: &Path) -> Answer<Vec<u8>> {
    let what = format!("known_hosts {}", file.display());
    let refuse = |error: io::Error| crate::disk::refuse(&what, super::repository::errno(&error));
    let mut bytes = Vec::new();
    std::fs::File::open(file).and_then(|file| file.take(KNOWN + 1).read_to_end(&mut bytes)).map_err(refuse)?;
    match bytes.len() as u64 > KNOWN {
        true => Err(Refusal::new(Code::TooLarge, format!("read {what}: it is larger than {KNOWN} bytes"))),
        false => Ok(bytes),
    }
}

const KEY: &str = "key";

/// What gix calls the other side. It needs a URL to say, not to go there; ours may hold what it does not take for one.
pub(super) const NAME: &str = "ssh://remote/repository";

/// All of it fixed but the four parts of the address and the names of two files.
pub(super) fn arguments(url: &SshUrl, key: &str, hosts: &str) -> Vec<String> {
    let mut argv: Vec<String> = ["ssh", "-F", "/dev/null", "-T", "-a", "-x"].map(str::to_owned).to_vec();
    let options = [
        "BatchMode=yes".to_owned(),
        "CanonicalizeHostname=no".to_owned(),
        "CheckHostIP=no".to_owned(),
        "ClearAllForwardings=yes".to_owned(),
        format!("ConnectTimeout={CONNECT}"),
        "ConnectionAttempts=1".to_owned(),
        "ControlMaster=no".to_owned(),
        "ControlPath=none".to_owned(),
        "ForwardAgent=no".to_owned(),
        "GlobalKnownHostsFile=/dev/null".to_owned(),
        "IdentitiesOnly=yes".to_owned(),
        "IdentityAgent=none".to_owned(),
        "LogLevel=ERROR".to_owned(),
        "NumberOfPasswordPrompts=0".to_owned(),
        "PermitLocalCommand=no".to_owned(),
        "PreferredAuthentications=publickey".to_owned(),
        "ProxyCommand=none".to_owned(),
        "ServerAliveCountMax=3".to_owned(),
        "ServerAliveInterval=15".to_owned(),
        "SetEnv=GIT_PROTOCOL=version=2".to_owned(),
        "StrictHostKeyChecking=yes".to_owned(),
        "Tunnel=no".to_owned(),
        "UpdateHostKeys=no".to_owned(),
        format!("UserKnownHostsFile={hosts}"),
        "VerifyHostKeyDNS=no".to_owned(),
    ];
    for option in options {
        argv.extend(["-o".to_owned(), option]);
    }
    argv.extend(["-i".to_owned(), key.to_owned(), "-p".to_owned(), url.port().to_string(), "-l".to_owned(), url.user().to_owned()]);
    argv.extend(["--".to_owned(), url.name().to_owned(), url.command()]);
    argv
}

/// A path as `ssh` reads it in an option: it takes words apart, and puts values for percent signs and variables.
fn word(path: &Path) -> Answer<String> {
    let text = path.to_str().filter(|text| !text.contains(['"', '\\', '$', '\n', ' ', '\t', '~', '\'']));
    text.map(|text| text.replace('%', "%%")).ok_or_else(|| {
        Refusal::new(Code::Invalid, format!("start `ssh`: it cannot be given the path {}", path.display()))
            .help("put the state folder in a place whose path is a plain word")
    })
}

impl Spoken {
    /// Ends it; gives what it said about a failure, in our words.
    pub(super) fn end(self, host: &str) -> Option<Refusal> {
        match self.program.end() {
            Err(refusal) if refusal.code == Code::TimedOut => Some(super::answers::too_slow(host)),
            Err(refusal) => Some(refusal),
            Ok(Exit { status: Some(0), .. }) => None,
            Ok(Exit { error, .. }) => super::answers::said(host, &String::from_utf8_lossy(&error)),
        }
    }
}

/// The other side's words. With the first of them we are let in, so the key is not needed any more.
struct Arrived {
    from: Box<dyn Read + Send>,
    private: Option<Arc<Private>>,
}

impl Read for Arrived {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer);
        if let Some(private) = self.private.take() {
            private.remove(KEY);
        }
        read
    }
}
