//! What the operator grants to app files: folders of sources, programs, and where settings name them.

use globset::{GlobBuilder, GlobMatcher};
use serde_json::{Value, json};

/// Compiles a glob over paths: `*` stays in its folder, `**` does not.
pub(crate) fn path_glob(glob: &str) -> Result<GlobMatcher, String> {
    /// Longer than any glob a person writes; keeps the compiled form small.
    const LONGEST: usize = 1_000;
    if glob.len() > LONGEST {
        return Err(format!("longer than {LONGEST} bytes"));
    }
    let built = GlobBuilder::new(glob).literal_separator(true).backslash_escape(true).build();
    built.map(|glob| glob.compile_matcher()).map_err(|error| error.kind().to_string())
}

/// Which folders of which source may use something.
#[derive(Debug, Default)]
pub(crate) struct Allow {
    grants: Vec<Grant>,
    /// Whether a part of it cannot be read, so that nobody knows whom else it means. That is a finding of its own.
    pub unread: bool,
}

/// One entry of it.
#[derive(Debug)]
struct Grant {
    folders: GlobMatcher,
    /// The only addresses it is about; all where nothing is said.
    manage: Option<Vec<String>>,
}

impl Allow {
    pub fn add(&mut self, folders: GlobMatcher, manage: Option<Vec<String>>) {
        self.grants.push(Grant { folders, manage });
    }

    /// Whether a folder (`SOURCE//apps/site`) may.
    pub fn allows(&self, folder: &str) -> bool {
        self.meaning(folder).next().is_some()
    }

    /// Which addresses a folder may manage, by all entries that mean it together; `None` is all.
    pub fn manage(&self, folder: &str) -> Option<Vec<String>> {
        let bounds: Option<Vec<&Vec<String>>> = self.meaning(folder).map(|grant| grant.manage.as_ref()).collect();
        Some(bounds?.into_iter().flatten().cloned().collect())
    }

    fn meaning(&self, folder: &str) -> impl Iterator<Item = &Grant> {
        self.grants.iter().filter(move |grant| grant.folders.is_match(folder))
    }
}

/// Settings of a check that name a program: a list of arguments, or the name of a granted command.
const PROGRAMS: [&str; 3] = ["", "/run", "/argv"];

/// Settings of a check that name an address.
const ADDRESSES: [&str; 1] = ["/url"];

/// Lets a check's schema take the name of a command where it takes a program.
pub(crate) fn with_names(kind: &str, mut schema: Value) -> Value {
    if kind != "command" {
        return schema;
    }
    let pointers = PROGRAMS.map(|pointer| if pointer.is_empty() { String::new() } else { format!("/properties{pointer}") });
    for pointer in pointers {
        if let Some(slot) = schema.pointer_mut(&pointer)
            && slot["type"] == "array"
        {
            slot["type"] = json!(["array", "string"]);
            slot["title"] = json!("a command's name, or a program and its arguments as a list");
        }
    }
    schema
}

/// Where a check's settings name a program.
pub(crate) fn program_of(kind: &str, settings: &Value) -> Option<&'static str> {
    let named = |pointer: &&str| settings.pointer(pointer).is_some_and(|value| value.is_array() || value.is_string());
    (kind == "command").then(|| PROGRAMS.iter().find(|pointer| named(pointer)).copied()).flatten()
}

/// Where a check's settings name an address.
pub(crate) fn address_of(settings: &Value) -> Option<(&'static str, &str)> {
    ADDRESSES.iter().find_map(|pointer| Some((*pointer, settings.pointer(pointer)?.as_str()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_allowed_by_glob() {
        let mut allow = Allow::default();
        allow.add(path_glob("shop//apps/*").expect("is a glob"), None);
        assert!(allow.allows("shop//apps/site"));
        for other in ["shop//apps", "shop//apps/site/deep", "shop2//apps/site", "other//apps/site", "shop//apps2/site"] {
            assert!(!allow.allows(other), "{other}");
        }
        assert!(path_glob("apps/[").is_err());
    }

    #[test]
    fn fault_28_a_folder_manages_what_all_that_mean_it_say_together() {
        let mut allow = Allow::default();
        let bounds = |globs: &[&str]| Some(globs.iter().map(|glob| (*glob).to_owned()).collect::<Vec<_>>());
        allow.add(path_glob("shop//apps/*").expect("is a glob"), bounds(&["*/*/shop/*"]));
        allow.add(path_glob("shop//apps/pay").expect("is a glob"), bounds(&["*/*/pay/*"]));
        allow.add(path_glob("ops//**").expect("is a glob"), None);
        allow.add(path_glob("ops//tools").expect("is a glob"), bounds(&["*/*/tools/*"]));
        assert_eq!(allow.manage("shop//apps/site"), bounds(&["*/*/shop/*"]));
        assert_eq!(allow.manage("shop//apps/pay"), bounds(&["*/*/shop/*", "*/*/pay/*"]));
        assert_eq!(allow.manage("ops//tools"), None, "what means all means all");
        assert_eq!(allow.manage("other//apps"), bounds(&[]), "nobody's folder manages nothing");
    }
}
