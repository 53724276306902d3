//! Patterns of addresses that the operator grants to app files.

use std::net::{Ipv4Addr, Ipv6Addr};

use globset::{GlobBuilder, GlobMatcher};

use crate::Scope;

/// A pattern of addresses, such as `http://127.0.0.1/*`.
#[derive(Clone, Debug)]
pub struct Reach {
    written: String,
    scheme: String,
    /// The host as written, without the port.
    host: String,
    authority: GlobMatcher,
    path: GlobMatcher,
}

/// Longer than any pattern a person writes; keeps the compiled form small.
const LONGEST: usize = 1_000;

impl Reach {
    /// Reads a pattern: `*` in the host stands for no `/`, in the path for anything.
    pub fn read(pattern: &str) -> Result<Reach, String> {
        let (scheme, authority, path) = split(pattern).ok_or("not an address such as http://127.0.0.1/*")?;
        let written = pattern.to_owned();
        Ok(Reach {
            written,
            scheme,
            host: host_of(&authority).to_owned(),
            authority: compile(&authority, true)?,
            path: compile(path, false)?,
        })
    }

    /// The pattern as the operator wrote it.
    pub fn written(&self) -> &str {
        &self.written
    }

    /// Whether an address is one of these. Addresses that different readers take apart differently never are.
    pub fn reaches(&self, address: &str) -> bool {
        let Some((scheme, authority, path)) = split(address) else { return false };
        let plain = !authority.contains('@') && !path.contains('\\') && !has_dots(path);
        plain && scheme == self.scheme && self.authority.is_match(authority) && self.path.is_match(path)
    }

    /// How far an address that it reaches may lead: a host that stands in the pattern itself may be inside, and where an
    /// IP address stands there, or its beginning, it is meant.
    pub(crate) fn scope(&self, address: &str) -> Scope {
        let Some((_, authority, _)) = split(address) else { return Scope::Public };
        let written = is_address(host_of(&authority));
        match self.host.find(['*', '?', '[', '{', '\\']).filter(|_| !is_address(&self.host)) {
            None if written => Scope::Anywhere,
            None => Scope::Inside,
            Some(at) if written && begins_an_address(&self.host[..at]) => Scope::Anywhere,
            Some(_) => Scope::Public,
        }
    }
}

fn compile(glob: &str, in_folder: bool) -> Result<GlobMatcher, String> {
    if glob.len() > LONGEST {
        return Err(format!("longer than {LONGEST} bytes"));
    }
    // An IPv6 address stands in brackets, which would be a set of characters.
    let escaped = if glob.starts_with('[') { glob.replacen('[', "\\[", 1).replacen(']', "\\]", 1) } else { glob.to_owned() };
    let built = GlobBuilder::new(&escaped).literal_separator(in_folder).backslash_escape(true).build();
    built.map(|glob| glob.compile_matcher()).map_err(|error| error.kind().to_string())
}

/// Splits an address into scheme, host with port, and the rest from its `/` on.
fn split(address: &str) -> Option<(String, String, &str)> {
    if address.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return None;
    }
    let (scheme, rest) = address.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    if !matches!(scheme.as_str(), "http" | "https") {
        return None;
    }
    let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let authority = authority.to_ascii_lowercase();
    (!authority.is_empty() && authority.is_ascii()).then_some((scheme, authority, if path.is_empty() { "/" } else { path }))
}

/// The host of a host with port.
fn host_of(authority: &str) -> &str {
    match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((inside, _)) => &authority[..inside.len() + 2],
        None => authority.split_once(':').map_or(authority, |(host, _)| host),
    }
}

/// Whether a host is an IP address as people write it. Other ways to write one are taken for names, which reach less.
fn is_address(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(host) => host.parse::<Ipv6Addr>().is_ok(),
        None => host.parse::<Ipv4Addr>().is_ok(),
    }
}

/// Whether text is the beginning of an IPv4 address, with at least one of its numbers whole.
fn begins_an_address(text: &str) -> bool {
    let mut numbers = text.split('.');
    text.contains('.')
        && numbers.next().is_some_and(|first| first.parse::<u8>().is_ok())
        && numbers.all(|more| more.is_empty() || more.parse::<u8>().is_ok())
}

/// Whether a path has steps that lead somewhere else than it says, plain or percent-encoded.
fn has_dots(path: &str) -> bool {
    let path =
        path.split(['?', '#']).next().unwrap_or_default().to_ascii_lowercase().replace("%2e", ".").replace("%2f", "/").replace("%5c", "/");
    path.split('/').any(|step| matches!(step, "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Trust;

    #[test]
    fn addresses_are_reached_by_pattern() {
        let reach = Reach::read("http://127.0.0.1/public/*").expect("is a pattern");
        for good in ["http://127.0.0.1/public/healthz", "HTTP://127.0.0.1/public/a/b?c=d", "http://127.0.0.1/public/"] {
            assert!(reach.reaches(good), "{good}");
        }
        for bad in [
            "https://127.0.0.1/public/a",
            "http://127.0.0.1/private",
            "http://127.0.0.1/public/../private",
            "http://127.0.0.1/public/%2E%2e/private",
            "http://127.0.0.1/public/..%2fprivate",
            "http://127.0.0.1/public/\\..\\private",
            "http://127.0.0.1@evil/public/a",
            "http://127.0.0.1.evil/public/a",
            "http://127.0.0.1:99/public/a",
            "http://evil\\@127.0.0.1/public/a",
            "http://127.0.0.1/pub lic/",
            "file:///public/a",
            "127.0.0.1/public/a",
        ] {
            assert!(!reach.reaches(bad), "{bad}");
        }
        let ports = Reach::read("http://127.0.0.1:*/*").expect("is a pattern");
        assert!(ports.reaches("http://127.0.0.1:8080/x") && !ports.reaches("http://127.0.0.1:x@evil/"));
        let six = Reach::read("http://[::1]:*/*").expect("is a pattern");
        assert!(six.reaches("http://[::1]:8080/x") && !six.reaches("http://::8080/x"));
        assert!(Reach::read("http:///x").is_err() && Reach::read("ftp://x/").is_err());
    }

    #[test]
    fn fault_09_a_name_leads_inside_only_where_the_operator_wrote_it() {
        for (pattern, address, scope) in [
            ("http://app.example/*", "http://app.example/x", Some(Scope::Inside)),
            ("http://app.example:*/*", "http://app.example:81/x", Some(Scope::Inside)),
            ("http://*.example/*", "http://app.example/x", Some(Scope::Public)),
            ("http://*/*", "http://127.0.0.1/x", Some(Scope::Public)),
            ("http://127.0.0.1:*/*", "http://127.0.0.1:80/x", Some(Scope::Anywhere)),
            ("http://[::1]/*", "http://[::1]/x", Some(Scope::Anywhere)),
            ("http://10.1.*/*", "http://10.1.2.3/x", Some(Scope::Anywhere)),
            ("http://10.1.*/*", "http://10.1.evil.example/x", Some(Scope::Public)),
            ("http://1*/*", "http://10.1.2.3/x", Some(Scope::Public)),
            ("http://2130706433/*", "http://2130706433/x", Some(Scope::Inside)),
            ("http://app.example/*", "http://other.example/x", None),
        ] {
            let trust = Trust::Granted(vec![Reach::read(pattern).expect("is a pattern")]);
            assert_eq!(trust.scope(address), scope, "{pattern} and {address}");
        }
    }
}
