//! Paths as configuration writes them: joined and tidied as text, never looked up.

use std::path::{Component, Path, PathBuf};

/// Why a path in a source is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadPath {
    /// It leads out of the source.
    Escapes,
    /// It starts with `/`, or has characters no path has.
    NotRelative,
}

/// Joins a path to a folder of a source; both and the answer from the source's root, with `/`, without a leading one.
pub(crate) fn in_source(folder: &str, path: &str) -> Result<String, BadPath> {
    if path.starts_with('/') || path.contains(['\0', '\\']) {
        return Err(BadPath::NotRelative);
    }
    let mut steps: Vec<&str> = folder.split('/').filter(|step| !step.is_empty()).collect();
    for step in path.split('/') {
        match step {
            "" | "." => {}
            ".." => drop(steps.pop().ok_or(BadPath::Escapes)?),
            name => steps.push(name),
        }
    }
    Ok(steps.join("/"))
}

/// The folder of a file in a source; empty at the root.
pub(crate) fn folder_of(file: &str) -> &str {
    file.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// Joins a path of this host to a folder and tidies `.` and `..` away.
pub(crate) fn on_host(folder: &Path, path: &str) -> PathBuf {
    let mut tidy = PathBuf::new();
    for part in folder.join(path).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(tidy.pop()),
            part => tidy.push(part),
        }
    }
    tidy
}

/// Whether a setting that may be a path or an address is an address: `https://…`, `git@host:path`.
pub(crate) fn is_address(text: &str) -> bool {
    let before_slash = text.split('/').next().unwrap_or_default();
    text.contains("://") || before_slash.contains(':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_in_their_source() {
        assert_eq!(in_source("apps/site", "site"), Ok("apps/site/site".to_owned()));
        assert_eq!(in_source("apps/site", "../../shared/./x/"), Ok("shared/x".to_owned()));
        assert_eq!(in_source("apps", ".."), Ok(String::new()));
        assert_eq!(in_source("", "."), Ok(String::new()));
        assert_eq!(in_source("apps/site", "../../../x"), Err(BadPath::Escapes));
        assert_eq!(in_source("apps", "x/../../../y"), Err(BadPath::Escapes));
        assert_eq!(in_source("apps", "/etc"), Err(BadPath::NotRelative));
        assert_eq!(in_source("apps", "a\\b"), Err(BadPath::NotRelative));
    }

    #[test]
    fn paths_of_the_host_are_tidied() {
        assert_eq!(on_host(Path::new("/srv/conf"), "../www/./a"), Path::new("/srv/www/a"));
        assert_eq!(on_host(Path::new("/srv"), "/var/www/"), Path::new("/var/www"));
        assert_eq!(on_host(Path::new("/srv"), "../../../x"), Path::new("/x"));
    }

    #[test]
    fn addresses_are_told_from_paths() {
        assert!(is_address("https://git.example/shop") && is_address("git@host:shop"));
        assert!(!is_address("../shop") && !is_address("/srv/shop:old") && !is_address("shop"));
    }
}
