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
    globs: Vec<GlobMatcher>,
    /// Whether a part of it cannot be read, so that nobody knows whom else it means. That is a finding of its own.
    pub unread: bool,
}

impl Allow {
    pub fn add(&mut self, glob: GlobMatcher) {
        self.globs.push(glob);
    }

    /// Whether a folder (`SOURCE//apps/site`) may.
    pub fn allows(&self, folder: &str) -> bool {
        self.globs.iter().any(|glob| glob.is_match(folder))
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
        allow.add(path_glob("shop//apps/*").expect("is a glob"));
        assert!(allow.allows("shop//apps/site"));
        for other in ["shop//apps", "shop//apps/site/deep", "shop2//apps/site", "other//apps/site", "shop//apps2/site"] {
            assert!(!allow.allows(other), "{other}");
        }
        assert!(path_glob("apps/[").is_err());
    }
}
