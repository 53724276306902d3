//! Which addresses are meant: by an operator's globs of what nobody need manage, and of what a stack may. Pure.

use globset::{GlobBuilder, GlobMatcher};
use trued_model::{Address, Policy};

/// Globs over addresses: `*` stays between two slashes, `**` does not. One that cannot be read means nothing.
pub(crate) struct Globs<'a>(Vec<(GlobMatcher, &'a str)>);

impl<'a> Globs<'a> {
    pub fn new(globs: &'a [String]) -> Globs<'a> {
        let read = |glob: &'a String| {
            let built = GlobBuilder::new(glob).literal_separator(true).backslash_escape(true).build().ok()?;
            Some((built.compile_matcher(), glob.as_str()))
        };
        Globs(globs.iter().filter_map(read).collect())
    }

    /// The first that means the address.
    pub fn first(&self, address: &Address) -> Option<&'a str> {
        self.0.iter().find(|(matcher, _)| matcher.is_match(address.as_str())).map(|(_, glob)| *glob)
    }
}

/// What the operator lets a stack manage on its target.
pub struct Bounds<'a>(Option<(Globs<'a>, &'a [String])>);

impl<'a> Bounds<'a> {
    pub fn of(policy: &'a Policy) -> Bounds<'a> {
        Bounds(policy.manage.as_deref().map(|globs| (Globs::new(globs), globs)))
    }

    /// Why an address is not the stack's to manage; `None` where it is.
    pub fn refuse(&self, address: &Address) -> Option<String> {
        let (globs, written) = self.0.as_ref()?;
        globs.first(address).is_none().then(|| {
            let written: Vec<String> = written.iter().map(|glob| format!("`{glob}`")).collect();
            format!("{address} is not this stack's to manage: the operator lets it manage {}", written.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_28_what_no_glob_means_is_refused_and_without_globs_nothing_is() {
        let refused = |globs: Option<&[&str]>, address: &str| {
            let manage = globs.map(|globs| globs.iter().map(|glob| (*glob).to_owned()).collect());
            Bounds::of(&Policy { manage, ..Policy::default() }).refuse(&Address::new(address)).is_some()
        };
        let shop: &[&str] = &["*/*/shop/*", "core/Namespace/-/shop"];
        for (address, out) in [
            ("apps/Deployment/shop/web", false),
            ("core/Namespace/-/shop", false),
            ("core/Namespace/-/shop2", true),
            ("apps/Deployment/shop2/web", true),
            ("rbac.authorization.k8s.io/ClusterRole/-/shop", true),
        ] {
            assert_eq!(refused(Some(shop), address), out, "{address}");
            assert!(!refused(None, address), "{address}");
            assert!(refused(Some(&[]), address) && refused(Some(&["["]), address), "{address}");
        }
        assert!(!refused(Some(&["shop/**"]), "shop/a/b") && refused(Some(&["shop/**"]), "shop"), "a tree is what lies in it");
    }
}
