//! What an address may lead to: patterns that the operator granted, and which addresses are nobody's business. With the
//! feature `client`, the parts of an HTTP client that hold to it, also after a name was resolved and after a redirection.

mod address;
#[cfg(feature = "client")]
mod client;
mod reach;

pub use address::{Nature, nature};
#[cfg(feature = "client")]
pub use client::{Denied, Filtered, Lookup, admit, judged, same_origin, staying};
pub use reach::Reach;

/// Who named an address.
#[derive(Clone, Debug)]
pub enum Trust {
    /// The operator: it leads where it leads.
    Operator,
    /// Repository data, within what the operator granted.
    Granted(Vec<Reach>),
}

/// How far a name may lead, the narrowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// To public addresses.
    Public,
    /// Into private networks and to this machine too, but to no metadata service: the operator granted this very name.
    Inside,
    /// Anywhere: the operator's own words, or this very address.
    Anywhere,
}

impl Trust {
    /// How far an address may lead; `None` when nobody granted it.
    pub fn scope(&self, address: &str) -> Option<Scope> {
        match self {
            Trust::Operator => Some(Scope::Anywhere),
            Trust::Granted(patterns) => {
                patterns.iter().filter(|pattern| pattern.reaches(address)).map(|pattern| pattern.scope(address)).max()
            }
        }
    }
}

impl Scope {
    /// Whether it covers an address of this nature.
    pub fn covers(self, nature: Nature) -> bool {
        match nature {
            Nature::Public => true,
            Nature::Inside(_) => self >= Scope::Inside,
            Nature::Never(_) => self == Scope::Anywhere,
        }
    }
}
