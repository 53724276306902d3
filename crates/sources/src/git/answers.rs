//! What servers say, or fail to say, as refusals in our words. None repeats a URL or a header.

use std::io;

use reqwest::StatusCode;
use reqwest::blocking::Response;
use trued_model::{Code, Refusal};

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
        return Refusal::new(Code::TimedOut, format!("fetch from {host}: the server does not answer")).help("it is tried again");
    }
    Refusal::new(Code::Unreachable, format!("fetch from {host}: {}", causes(error))).help("it is tried again")
}

/// The answer ended before its end.
pub(super) fn broken_off(host: &str, error: &io::Error) -> Refusal {
    match error.kind() {
        io::ErrorKind::TimedOut => {
            Refusal::new(Code::TimedOut, format!("fetch from {host}: the server fell silent")).help("it is tried again")
        }
        _ => {
            Refusal::new(Code::Unreachable, format!("fetch from {host}: the connection broke: {}", causes(error))).help("it is tried again")
        }
    }
}

/// The whole fetch takes too long.
pub(super) fn too_slow(host: &str) -> Refusal {
    Refusal::new(Code::TimedOut, format!("fetch from {host}: it takes longer than allowed"))
        .help("raise limits.fetch_time of the source if that is right")
}

/// What is behind an error: the causes, without the outermost words, which may hold a URL.
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = String::new();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.ends_with(&words) {
            text = if text.is_empty() { words } else { format!("{text}: {words}") };
        }
        next = cause.source();
    }
    if text.is_empty() { "no more is known".to_owned() } else { text }
}
