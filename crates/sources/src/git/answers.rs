//! What servers say, or fail to say, as refusals in our words. None repeats a URL or a header.

use std::io;

use reqwest::StatusCode;
use reqwest::blocking::Response;
use trued_model::{Code, Refusal};

use crate::road::causes;

/// What a status other than OK means; `known` is whether credentials were sent.
pub(super) fn refused(host: &str, response: &Response, known: bool) -> Refusal {
    let status = response.status();
    let say = |code, words: &str, help: &str| Refusal::new(code, format!("fetch from {host}: {words}")).help(help);
    match status {
        StatusCode::UNAUTHORIZED if known => {
            say(Code::Denied, "the server does not accept the credentials", "check the secret and what it may read")
        }
        StatusCode::UNAUTHORIZED => {
            say(Code::Denied, "the server asks for credentials", "name a secret: token: { secret: NAME }; a wrong path looks the same")
        }
        StatusCode::FORBIDDEN => say(Code::Denied, "the server forbids it", "check what the credentials may read"),
        StatusCode::NOT_FOUND | StatusCode::GONE => {
            say(Code::Absent, "the server knows no such repository", "check the url; without credentials a private one looks the same")
        }
        status if status.is_redirection() => {
            let to = response.headers().get(reqwest::header::LOCATION).and_then(|to| to.to_str().ok());
            let to = to.and_then(|to| reqwest::Url::parse(to).ok()).and_then(|to| to.host_str().map(str::to_owned));
            let to = to.unwrap_or_else(|| "another place".to_owned());
            say(Code::Invalid, &format!("the server sends us on to {to}"), "if that is right, write its address as url")
        }
        StatusCode::TOO_MANY_REQUESTS => say(Code::Unreachable, "the server says that it was asked too often", "ask less often"),
        status if status.is_server_error() => say(Code::Unreachable, &format!("the server answers {status}"), "it is tried again"),
        status => say(Code::Invalid, &format!("the server answers {status}"), "check the url"),
    }
}

/// No answer came.
pub(super) fn unreachable(host: &str, error: &reqwest::Error) -> Refusal {
    if error.is_timeout() {
        // A connection that is not made in time is nobody there; one that is made and says nothing is silence.
        if error.is_connect() {
            return Refusal::new(Code::TimedOut, format!("fetch from {host}: the server does not answer")).help("it is tried again");
        }
        return silent(host);
    }
    Refusal::new(Code::Unreachable, format!("fetch from {host}: {}", causes(error))).help("it is tried again")
}

/// The answer ended before its end.
pub(super) fn broken_off(host: &str, error: &io::Error) -> Refusal {
    if is_silence(error) {
        return silent(host);
    }
    Refusal::new(Code::Unreachable, format!("fetch from {host}: the connection broke: {}", causes(error))).help("it is tried again")
}

/// Nothing came for as long as a server may say nothing, whatever way it is asked.
fn silent(host: &str) -> Refusal {
    Refusal::new(Code::TimedOut, format!("fetch from {host}: the server fell silent"))
        .help("it is tried again; raise limits.fetch_idle of the source if the server needs longer")
}

/// Whether an error says that time is over. The client for HTTP says so inside of an error that has no kind.
fn is_silence(error: &io::Error) -> bool {
    let inside = error.get_ref().and_then(|inside| inside.downcast_ref::<reqwest::Error>());
    error.kind() == io::ErrorKind::TimedOut || inside.is_some_and(reqwest::Error::is_timeout)
}

/// What `ssh`, or the program on its other side, said when a fetch failed; `None` when that was nothing.
pub(super) fn said(host: &str, words: &str) -> Option<Refusal> {
    let lower = words.to_lowercase();
    let has = |parts: &[&str]| parts.iter().any(|part| lower.contains(part));
    let say = |code, what: &str, help: &str| Some(Refusal::new(code, format!("fetch from {host}: {what}")).help(help));
    if has(&["identification has changed"]) {
        return say(
            Code::Denied,
            "the server shows another key than the one that is known",
            "if it was given a new one, write that to known_hosts; if not, somebody stands between",
        );
    }
    if has(&["host key verification failed", "host key is known for"]) {
        return say(
            Code::Denied,
            "the server's key is not among the known hosts",
            "compare what ssh-keyscan shows with what the server's owner says, and write it to known_hosts or host_keys",
        );
    }
    if has(&["load key"]) {
        return say(
            Code::Invalid,
            "ssh cannot use the key",
            "the secret holds a private key as ssh-keygen writes it, without a passphrase",
        );
    }
    if has(&["permission denied"]) {
        return say(
            Code::Denied,
            "the server does not accept the key",
            "check the user in the url, what the key may read, and that the secret holds it without a passphrase",
        );
    }
    if has(&["does not appear to be a git repository", "repository not found", "no such repository", "could not be found"]) {
        return say(Code::Absent, "the server knows no such repository", "check the url; one that the key may not read looks the same");
    }
    if has(&["bad configuration option", "unknown option", "no user exists"]) {
        return say(Code::Unsupported, &format!("ssh cannot be used here: {}", last_line(words)?), "OpenSSH 7.8 or later is needed");
    }
    say(Code::Unreachable, &last_line(words)?, "it is tried again")
}

/// The last line that says something, without what moves a cursor.
fn last_line(words: &str) -> Option<String> {
    let line = words.lines().rev().map(str::trim).find(|line| !line.is_empty())?;
    Some(line.chars().filter(|c| !c.is_control()).take(LINE).collect())
}

/// Characters of what another program said that are repeated.
const LINE: usize = 200;

/// The whole fetch takes too long.
pub(super) fn too_slow(host: &str) -> Refusal {
    Refusal::new(Code::TimedOut, format!("fetch from {host}: it takes longer than allowed"))
        .help("raise limits.fetch_time of the source if that is right")
}
