//! Where a repository is that is asked over ssh: user, host, port and path, each of which can be nothing else. What could
//! be read as an option, or as more than one word, is no part of an address.

use std::fmt;
use std::net::Ipv6Addr;

/// `ssh://user@host:port/path`, or `user@host:path`.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct SshUrl {
    user: String,
    host: String,
    port: u16,
    path: String,
}

/// The user where none is written: what Git's servers ask for.
const USER: &str = "git";
const PORT: u16 = 22;

impl SshUrl {
    /// Reads what follows `ssh://`.
    pub(super) fn read(rest: &str) -> Result<SshUrl, &'static str> {
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        if path.contains(['?', '#']) {
            return Err("it has a query or a fragment");
        }
        let path = decoded(path)?;
        // `/~` is how a URL says that a path starts at a home.
        let path = if path.starts_with("/~") { path[1..].to_owned() } else { path };
        let (user, place) = user_of(authority)?;
        let (host, port) = match place.strip_prefix('[') {
            Some(bracketed) => {
                let (host, port) = bracketed.split_once(']').ok_or("its host is not one")?;
                host.parse::<Ipv6Addr>().map_err(|_| "its host is not one")?;
                (host, port.strip_prefix(':').or(port.is_empty().then_some("")).ok_or("its port is not one")?)
            }
            None => place.split_once(':').unwrap_or((place, "")),
        };
        let port = match port {
            "" => PORT,
            port => port.parse().ok().filter(|port| *port != 0).ok_or("its port is not one")?,
        };
        SshUrl::of(user, host, port, path)
    }

    /// Reads `user@host:path`, whose path starts at the user's home.
    pub(super) fn read_short(place: &str, path: &str) -> Result<SshUrl, &'static str> {
        // `name:password@host:path`, perhaps.
        if path.contains('@') {
            return Err("it holds a password, or its path holds an @");
        }
        let (user, host) = user_of(place)?;
        SshUrl::of(user, host, PORT, path.to_owned())
    }

    fn of(user: &str, host: &str, port: u16, path: String) -> Result<SshUrl, &'static str> {
        let plain = |text: &str, more: &str| {
            let word = |c: char| c.is_ascii_alphanumeric() || more.contains(c);
            !text.is_empty() && !text.starts_with(['-', '.']) && text.len() <= 255 && text.chars().all(word)
        };
        if host.starts_with('-') || user.starts_with('-') {
            return Err("a part of it starts with -, as an option does");
        }
        if !plain(user, "._-") {
            return Err("its user is not one");
        }
        if !plain(host, ".-_") && host.parse::<Ipv6Addr>().is_err() {
            return Err("its host is not one");
        }
        if path.is_empty() || path == "/" {
            return Err("it has no path");
        }
        if path.starts_with('-') || path.chars().any(char::is_control) {
            return Err("its path starts with -, as an option does, or has control characters");
        }
        Ok(SshUrl { user: user.to_owned(), host: host.to_ascii_lowercase(), port, path })
    }

    pub(super) fn user(&self) -> &str {
        &self.user
    }

    /// The host alone, as `ssh` takes it.
    pub(super) fn name(&self) -> &str {
        &self.host
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Host and port, for people; also how a line of known hosts begins.
    pub(super) fn host(&self) -> String {
        match self.port {
            PORT => self.host.clone(),
            port => format!("[{}]:{port}", self.host),
        }
    }

    /// The one command that the other side runs. Its shell is given one word for the path, whatever stands in it.
    pub(super) fn command(&self) -> String {
        let mut quoted = String::with_capacity(self.path.len() + 2);
        for c in self.path.chars() {
            match c {
                '\'' | '!' => quoted.extend(['\'', '\\', c, '\'']),
                c => quoted.push(c),
            }
        }
        format!("git-upload-pack '{quoted}'")
    }
}

fn user_of(authority: &str) -> Result<(&str, &str), &'static str> {
    match authority.rsplit_once('@') {
        None => Ok((USER, authority)),
        Some((user, _)) if user.contains([':', '@']) => Err("it holds a password"),
        Some(parts) => Ok(parts),
    }
}

/// Takes percent signs off a path.
fn decoded(path: &str) -> Result<String, &'static str> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        rest = more;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let hex =
            rest.get(..2).and_then(|hex| std::str::from_utf8(hex).ok()).filter(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
        bytes.push(hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()).ok_or("its path has a percent sign that stands for nothing")?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).map_err(|_| "its path is not UTF-8")
}

impl fmt::Display for SshUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = if self.path.starts_with('/') { "" } else { "/" };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        write!(f, "ssh://{}@{host}:{}{slash}{}", self.user, self.port, self.path)
    }
}

impl fmt::Debug for SshUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
