//! Where an object lives: group, kind, namespace and name, without version, as one address. Nothing of what it holds.

use trued_model::Address;

/// Stands for the core group, which has no name of its own, and for no namespace.
const CORE: &str = "core";
const NO_NAMESPACE: &str = "-";

/// A kind of object, whatever its version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Kind {
    /// Empty for the core group.
    pub group: String,
    pub kind: String,
}

/// One object's identity on its cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Spot {
    pub kind: Kind,
    /// `None` for what lies in no namespace.
    pub namespace: Option<String>,
    pub name: String,
}

impl Kind {
    pub fn new(group: &str, kind: &str) -> Kind {
        Kind { group: group.to_owned(), kind: kind.to_owned() }
    }

    /// How addresses of this kind begin: `apps/Deployment/`.
    pub fn prefix(&self) -> String {
        format!("{}/{}/", if self.group.is_empty() { CORE } else { &self.group }, self.kind)
    }

    /// Whether group and kind are words that an address can hold and a person can read.
    pub fn is_word(&self) -> bool {
        is_group(&self.group) && !self.kind.is_empty() && is_plain(&self.kind)
    }

    /// Reads the group from an `apiVersion`: `apps/v1`, or `v1` for the core group.
    pub fn of_version(api_version: &str, kind: &str) -> Kind {
        Kind::new(api_version.split_once('/').map_or("", |(group, _)| group), kind)
    }
}

/// Whether this can be a group's name; the empty one is the core group's.
pub(crate) fn is_group(name: &str) -> bool {
    is_plain(name) && name != CORE
}

fn is_plain(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.prefix().trim_end_matches('/'))
    }
}

impl Spot {
    /// Writes the address: `apps/Deployment/shop/web`, `core/Namespace/-/shop`.
    pub fn address(&self) -> Address {
        Address::new(format!("{}{}/{}", self.kind.prefix(), self.namespace.as_deref().unwrap_or(NO_NAMESPACE), self.name))
    }

    /// Reads back what [`Spot::address`] wrote; `None` for anything else.
    pub fn read(address: &Address) -> Option<Spot> {
        let mut words = address.as_str().splitn(4, '/');
        let (group, kind, namespace, name) = (words.next()?, words.next()?, words.next()?, words.next()?);
        let whole = [group, kind, namespace, name].iter().all(|word| !word.is_empty()) && !name.contains('/');
        whole.then(|| Spot {
            kind: Kind::new(if group == CORE { "" } else { group }, kind),
            namespace: (namespace != NO_NAMESPACE).then(|| namespace.to_owned()),
            name: name.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_they_were_written() {
        for text in ["apps/Deployment/shop/web", "core/Namespace/-/shop", "rbac.authorization.k8s.io/ClusterRole/-/system:node"] {
            let spot = Spot::read(&Address::new(text)).unwrap();
            assert_eq!(spot.address().as_str(), text);
        }
        let web = Spot::read(&Address::new("core/Service/shop/web")).unwrap();
        assert_eq!((web.kind.group.as_str(), web.namespace.as_deref()), ("", Some("shop")));
        for text in ["", "core/Service/shop", "core//shop/web", "core/Service/shop/a/b", "core/Service/shop/"] {
            assert_eq!(Spot::read(&Address::new(text)), None, "{text}");
        }
    }
}
