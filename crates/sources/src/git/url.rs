//! Where a repository is: a typed address. Whatever could smuggle an option, a command or a credential is not one.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use reqwest::Url;
use trued_doors::Answer;
use trued_model::{Code, Refusal};

use super::ssh_url::SshUrl;

/// An address that was understood.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Address {
    /// A repository on this machine, opened in place.
    Local(PathBuf),
    /// A repository that is asked over HTTP.
    Web(WebUrl),
    /// A repository that is asked over ssh.
    Ssh(SshUrl),
}

/// `https://host/path`, or `http://` on this machine: no user, no password, no query, no fragment.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct WebUrl(Url);

/// Longest address, in bytes.
const LONGEST: usize = 2048;

/// Reads an address as the operator wrote it. Refusals never repeat a part that may hold a secret.
pub(super) fn parse(text: &str) -> Answer<Address> {
    let invalid = |why: &str, help: &str| Err(Refusal::new(Code::Invalid, format!("read the source's url: {why}")).help(help));
    if text.is_empty() || text.len() > LONGEST {
        return invalid("it is empty, or longer than 2,048 bytes", WRITE);
    }
    if text.starts_with('-') {
        return invalid("it starts with -, as an option does", WRITE);
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return invalid("it contains white space or control characters", WRITE);
    }
    if Path::new(text).is_absolute() {
        return Ok(Address::Local(PathBuf::from(text)));
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        if text.contains("::") {
            return invalid("it names a remote helper, and none is ever started", WRITE);
        }
        return match text.split_once(':') {
            Some((host, _)) if host.starts_with('-') || host.contains("@-") => invalid("its host starts with -, as an option does", WRITE),
            Some((place, path)) if !place.contains('/') => ssh(SshUrl::read_short(place, path)),
            Some(_) | None => invalid("it is neither a URL nor an absolute path", "write path: for a repository beside the configuration"),
        };
    };
    if !scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return invalid("its scheme is not a plain word", WRITE);
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let host = authority.rsplit('@').next().unwrap_or(authority);
    if host.is_empty() && scheme != "file" {
        return invalid("it has no host", WRITE);
    }
    if host.starts_with('-') || authority.starts_with('-') {
        return invalid("its host starts with -, as an option does", WRITE);
    }
    match scheme.to_ascii_lowercase().as_str() {
        "https" | "http" => remote(text),
        "ssh" => ssh(SshUrl::read(rest)),
        "git" => invalid("git:// can neither be kept secret nor verified", WRITE),
        "file" => invalid("file:// is not a way to name a local repository", "write its path: path: ../repository"),
        _ => invalid("its scheme is not one that sources understand", WRITE),
    }
}

const WRITE: &str = "write https://host/path, ssh://git@host/path, or path: for a repository on this machine";

fn ssh(read: Result<SshUrl, &'static str>) -> Answer<Address> {
    read.map(Address::Ssh).map_err(|why| {
        Refusal::new(Code::Invalid, format!("read the source's url: {why}")).help("write ssh://git@host/path, and name secrets")
    })
}

fn remote(text: &str) -> Answer<Address> {
    let invalid = |why: &str, help: &str| Err(Refusal::new(Code::Invalid, format!("read the source's url: {why}")).help(help));
    let Ok(url) = Url::parse(text) else {
        return invalid("it is not a URL", WRITE);
    };
    let Some(host) = url.host_str() else {
        return invalid("it has no host", WRITE);
    };
    if !url.username().is_empty() || url.password().is_some() || text.split('/').nth(2).is_some_and(|authority| authority.contains('@')) {
        return invalid("it holds a user name or a password", "name a secret instead: token: { secret: NAME }");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return invalid("it has a query or a fragment", "a repository has none; a token belongs into a secret");
    }
    if url.scheme() == "http" && !is_this_machine(host) {
        return invalid("http:// is read and changed by anybody on the way", "write https://");
    }
    Ok(Address::Web(WebUrl(url)))
}

fn is_this_machine(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl WebUrl {
    pub(super) fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Whether bytes to it are encrypted; if not, they do not leave this machine.
    pub(super) fn encrypted(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// Host and port, for people.
    pub(super) fn host(&self) -> String {
        let host = self.0.host_str().unwrap_or_default();
        self.0.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    pub(super) fn as_url(&self) -> &Url {
        &self.0
    }
}

impl fmt::Display for WebUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for WebUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> Refusal {
        match parse(text) {
            Ok(_) => panic!("{text} passes"),
            Err(refusal) => refusal,
        }
    }

    #[test]
    fn addresses_that_are_understood() {
        for text in [
            "https://git.example/shop",
            "https://git.example:8443/a/b.git",
            "http://127.0.0.1:3000/x",
            "http://[::1]/x",
            "http://localhost/x",
        ] {
            assert!(matches!(parse(text), Ok(Address::Web(_))), "{text}");
        }
        assert!(parse("/srv/git/shop") == Ok(Address::Local(PathBuf::from("/srv/git/shop"))));
    }

    #[test]
    fn fault_08_addresses_that_smuggle_options_or_commands_are_refused() {
        for text in [
            "-oProxyCommand=touch /tmp/x",
            "-oProxyCommand=id",
            "--upload-pack=id",
            "ext::sh -c id",
            "ext::id",
            "fd::7",
            "ssh://-x@h/p",
            "ssh://-oProxyCommand=id/p",
            "ssh://u@-oProxyCommand=id/p",
            "-x@h:p",
            "u@-oProxyCommand=id:p",
            "file:///etc",
            "git://host/p",
            "https://-host/p",
            "ftp://host/p",
            "ext+x://host/p",
            "https://host/a b",
            "https://host/a\nb",
            "http://git.example/p",
            "http://169.254.169.254/p",
            "relative/path",
            "https://",
            "",
        ] {
            let refusal = refused(text);
            assert_eq!(refusal.code, Code::Invalid, "{text}: {refusal}");
            assert!(!refusal.help.is_empty(), "{text}");
        }
    }

    fn ssh(text: &str) -> SshUrl {
        match parse(text) {
            Ok(Address::Ssh(url)) => url,
            Ok(_) => panic!("{text} is something else"),
            Err(refusal) => panic!("{text}: {refusal}"),
        }
    }

    #[test]
    fn ssh_addresses_have_four_parts() {
        for (text, parts) in [
            ("ssh://git.example/team/shop.git", ("git", "git.example", 22, "/team/shop.git")),
            ("SSH://me@Git.Example:2222/a", ("me", "git.example", 2222, "/a")),
            ("ssh://me@[::1]:22/a", ("me", "::1", 22, "/a")),
            ("ssh://me@host/~/a", ("me", "host", 22, "~/a")),
            ("ssh://me@host/a%20b", ("me", "host", 22, "/a b")),
            ("git@host:team/shop.git", ("git", "host", 22, "team/shop.git")),
            ("host:shop", ("git", "host", 22, "shop")),
        ] {
            let url = ssh(text);
            assert_eq!((url.user(), url.name(), url.port(), url.path()), parts, "{text}");
            assert!(format!("{url} {url:?}").contains(parts.1));
        }
        assert_eq!(ssh("ssh://h/it's/$(id)/`id`/a;id!").command(), "git-upload-pack '/it'\\''s/$(id)/`id`/a;id'\\!''");
    }

    #[test]
    fn fault_08_ssh_addresses_that_are_more_than_an_address_are_refused() {
        for text in [
            "ssh://-oProxyCommand=id@host/p",
            "ssh://me@host -oProxyCommand=id/p",
            "ssh://me@ho%20st/p",
            "ssh://me@host:22:22/p",
            "ssh://me@host:0/p",
            "ssh://me@host:99999/p",
            "ssh://me@host:x/p",
            "ssh://me@ho$st/p",
            "ssh://me@host;id/p",
            "ssh://m;e@host/p",
            "ssh://me@[::1/p",
            "ssh://me@[x]/p",
            "ssh://host",
            "ssh://host/",
            "ssh://host/a%0ab",
            "ssh://host/a%00b",
            "ssh://host/%ff",
            "ssh://host/a%2",
            "ssh://host/p?x",
            "git@host:-u",
            "git@host:--upload-pack=id",
            "git@host:",
            "a/b:c",
            ".ssh:c",
        ] {
            assert_eq!(refused(text).code, Code::Invalid, "{text}");
        }
    }

    #[test]
    fn fault_104_credentials_in_an_address_are_refused_and_not_repeated() {
        for text in [
            "https://user:hunter2@git.example/p",
            "https://hunter2@git.example/p",
            "https://@git.example/p",
            "https://git.example/p?token=hunter2",
            "https://git.example/p#hunter2",
            "ssh://git:hunter2@git.example/p",
            "http://user:hunter2@git.example/p",
            "x://user:hunter2@git.example/p",
            "hunter2@-host:p",
            "git:hunter2@host:p",
            "ssh://git:hunter2@host/p",
            "ssh://host/p?token=hunter2",
        ] {
            let refusal = refused(text);
            assert!(!format!("{refusal:?}").contains("hunter2"), "{text}: {refusal:?}");
        }
    }
}
