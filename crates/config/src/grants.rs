//! What the operator grants to app files: folders of sources, programs, addresses.

use globset::{GlobBuilder, GlobMatcher};
use serde_json::{Value, json};

/// Compiles a glob over paths: `*` stays in its folder, `**` does not.
pub(crate) fn path_glob(glob: &str) -> Result<GlobMatcher, String> {
    compile(glob, true)
}

fn compile(glob: &str, in_folder: bool) -> Result<GlobMatcher, String> {
    /// Longer than any glob a person writes; keeps the compiled form small.
    const LONGEST: usize = 1_000;
    if glob.len() > LONGEST {
        return Err(format!("longer than {LONGEST} bytes"));
    }
    let built = GlobBuilder::new(glob).literal_separator(in_folder).backslash_escape(true).build();
    built.map(|glob| glob.compile_matcher()).map_err(|error| error.kind().to_string())
}

/// Which folders of which source may use something.
#[derive(Debug, Default)]
pub(crate) struct Allow(Vec<GlobMatcher>);

impl Allow {
    pub fn add(&mut self, glob: GlobMatcher) {
        self.0.push(glob);
    }

    /// Whether a folder (`SOURCE//apps/site`) may.
    pub fn allows(&self, folder: &str) -> bool {
        self.0.iter().any(|glob| glob.is_match(folder))
    }
}

/// A pattern of addresses that app files may check.
#[derive(Debug)]
pub(crate) struct Reach {
    scheme: String,
    host: GlobMatcher,
    path: GlobMatcher,
}

impl Reach {
    /// Reads a pattern such as `http://127.0.0.1/*`: `*` in the host stands for no `/`, in the path for anything.
    pub fn read(pattern: &str) -> Result<Reach, String> {
        let (scheme, host, path) = split(pattern).ok_or("not an address such as http://127.0.0.1/*")?;
        Ok(Reach { scheme, host: compile(&host, true)?, path: compile(path, false)? })
    }

    /// Whether an address is one of these. Addresses that different readers take apart differently never are.
    pub fn reaches(&self, address: &str) -> bool {
        let Some((scheme, host, path)) = split(address) else { return false };
        let plain = !host.contains('@') && !path.contains('\\') && !has_dots(path);
        plain && scheme == self.scheme && self.host.is_match(host) && self.path.is_match(path)
    }
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
    let (host, path) = rest.split_at(end);
    let host = host.to_ascii_lowercase();
    (!host.is_empty() && host.is_ascii()).then_some((scheme, host, if path.is_empty() { "/" } else { path }))
}

/// Whether a path has steps that lead somewhere else than it says, plain or percent-encoded.
fn has_dots(path: &str) -> bool {
    let path =
        path.split(['?', '#']).next().unwrap_or_default().to_ascii_lowercase().replace("%2e", ".").replace("%2f", "/").replace("%5c", "/");
    path.split('/').any(|step| matches!(step, "." | ".."))
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
        assert!(Reach::read("http:///x").is_err() && Reach::read("ftp://x/").is_err());
    }
}
