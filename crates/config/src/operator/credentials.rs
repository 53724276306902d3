//! Credentials that stand in an address: found, refused, and shown nowhere.

use serde_json::Value;

use super::Reader;
use crate::text::Text;

impl Reader<'_> {
    /// An address with a user or a password in it is refused, and not shown anywhere. Over ssh a user is a part of it.
    pub(super) fn refuse_credentials(&mut self, text: &Text, pointer: &str, settings: &mut Value) {
        for below in ["/url", "/proxy", "/proxy/url"] {
            if let Some(Value::String(url)) = settings.pointer_mut(below)
                && let Some(plain) = without_credentials(url)
            {
                *url = plain;
                let help = "write `username`, and `password: { secret: NAME }` or `token: { secret: NAME }`";
                self.faults.push(text.fault(&format!("{pointer}{below}"), "this address has a user or a password in it", help));
            }
        }
    }
}

/// An address without the credentials in it; `None` when there are none. Over ssh a user alone is none.
pub(crate) fn without_credentials(url: &str) -> Option<String> {
    let Some((scheme, rest)) = url.split_once("://") else {
        // `me:word@host:path`; a path on this machine may hold what it wants.
        let (who, place) = url.rsplit_once('@').filter(|_| !url.starts_with(['/', '.']))?;
        return who.contains(':').then(|| place.to_owned());
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, after) = rest.split_at(end);
    let (who, host) = authority.rsplit_once('@')?;
    let user_alone = scheme.eq_ignore_ascii_case("ssh") && !who.contains([':', '@']);
    (!user_alone).then(|| format!("{scheme}://{host}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_104_credentials_are_found_in_addresses_of_every_form() {
        for (url, plain) in [
            ("https://me:word@h/p", Some("https://h/p")),
            ("https://token@h/p?a", Some("https://h/p?a")),
            ("http://me:word@h:8080", Some("http://h:8080")),
            ("ssh://git:word@h/p", Some("ssh://h/p")),
            ("git:word@h:p", Some("h:p")),
            ("ssh://git@h:22/p", None),
            ("git@h:p", None),
            ("https://h/p@1", None),
            ("/srv/a:b@c", None),
        ] {
            assert_eq!(without_credentials(url).as_deref(), plain, "{url}");
        }
    }
}
