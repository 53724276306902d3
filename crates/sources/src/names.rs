//! Which names may stand in a tree, and which paths are left out of it. What cannot be written safely is refused by path.

use gix::bstr::ByteSlice;
use gix::validate::path::component;
use trued_doors::Answer;
use trued_model::{Code, Refusal, decode_path, encode_path};

/// The folder in which Trued keeps its own things; never part of a revision's bundle. A file of that name is: whoever
/// writes to a place where the folder lies refuses it by its path.
pub(crate) const OWN_FOLDER: &[u8] = b".trued";
/// Longest path in a tree, in bytes: what Linux can open in one call.
const LONGEST_PATH: usize = 4095;
/// Longest single name in a tree, in bytes.
const LONGEST_NAME: usize = 255;

/// Which names pass.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// All that Git itself would put into a tree.
    Sound,
    /// Of these, those that can be written anywhere and mean what they say.
    Writable,
}

/// Checks all names of a path for being writable.
pub(crate) fn check(path: &[u8]) -> Answer<()> {
    path.split(|byte| *byte == b'/').try_for_each(|name| check_name(path, name, Rule::Writable))
}

/// Checks one name as a tree object spells it, which may itself hold a `/`; `path` stands in the refusal.
pub(crate) fn check_name(path: &[u8], name: &[u8], rule: Rule) -> Answer<()> {
    let writable = rule == Rule::Writable;
    let options = component::Options { protect_windows: false, protect_hfs: writable, protect_ntfs: writable };
    let why = match gix::validate::path::component(name.as_bstr(), None, options) {
        Err(component::Error::Empty) => "a name is empty",
        Err(component::Error::Relative) => "a name is \".\" or \"..\"",
        Err(component::Error::PathSeparator) => "a name contains \"/\"",
        Err(component::Error::DotGitDir) => "a name is \".git\", or becomes it on some file systems",
        Err(_) => "a name cannot be written safely",
        Ok(_) if !writable => return Ok(()),
        Ok(_) if name.contains(&0) => "a name contains NUL",
        Ok(_) if name.contains(&b'\\') => "a name contains a backslash",
        Ok(_) if name.contains(&b'\r') => "a name contains a carriage return",
        Ok(_) if name.len() > LONGEST_NAME => "a name is longer than 255 bytes",
        Ok(_) if path.len() > LONGEST_PATH => "the path is longer than 4,095 bytes",
        Ok(_) => return Ok(()),
    };
    Err(refuse(path, why))
}

/// A refusal that names a path of the tree.
pub(crate) fn refuse(path: &[u8], why: &str) -> Refusal {
    let mut shown = encode_path(path);
    if let Some((cut, _)) = shown.char_indices().nth(300) {
        shown.truncate(cut);
        shown.push('…');
    }
    Refusal::new(Code::Invalid, format!("use {shown}: {why}")).help("take it out of the source, or rename it")
}

/// Reads a path that configuration or a caller spells, encoded, from some root: no leading `/`, no `..`.
pub(crate) fn parse_path(text: &str) -> Answer<Vec<u8>> {
    let invalid = |why: &str| Refusal::new(Code::Invalid, format!("read {text:?} in a source: {why}"));
    let bytes = decode_path(text).ok_or_else(|| invalid("a % is not followed by two hexadecimal digits"))?;
    let mut path = Vec::with_capacity(bytes.len());
    for name in bytes.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".") {
        if name == b".." || name.contains(&0) {
            return Err(invalid("a path of a source stays inside it"));
        }
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
    }
    if bytes.first() == Some(&b'/') {
        return Err(invalid("a path of a source starts at its root, without /"));
    }
    Ok(path)
}

/// Puts a folder before a path; either may be empty.
pub(crate) fn join(folder: &[u8], path: &[u8]) -> Vec<u8> {
    match (folder.is_empty(), path.is_empty()) {
        (true, _) => path.to_vec(),
        (_, true) => folder.to_vec(),
        _ => [folder, b"/", path].concat(),
    }
}

/// Puts a folder before one name, whatever the name is.
pub(crate) fn join_name(folder: &[u8], name: &[u8]) -> Vec<u8> {
    if folder.is_empty() { name.to_vec() } else { [folder, b"/", name].concat() }
}

/// Takes a folder off a path that lies in it.
pub(crate) fn below<'a>(folder: &[u8], path: &'a [u8]) -> Option<&'a [u8]> {
    match folder.is_empty() {
        true => Some(path),
        false => path.strip_prefix(folder)?.strip_prefix(b"/"),
    }
}

/// Paths that never are part of a bundle: files by their path, folders with all that is in them.
#[derive(Clone, Default)]
pub(crate) struct Excluded(Vec<Vec<u8>>);

impl Excluded {
    pub(crate) fn parse(paths: &[String]) -> Answer<Excluded> {
        Ok(Excluded(paths.iter().map(|path| parse_path(path)).collect::<Answer<_>>()?))
    }

    pub(crate) fn has(&self, path: &[u8]) -> bool {
        self.0.iter().any(|excluded| path == excluded || below(excluded, path).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_06_names_that_cannot_be_written_safely_are_refused() {
        let bad: [&[u8]; 14] = [
            b"",
            b".",
            b"..",
            b".git",
            b".GIT",
            b".gIt",
            b"git~1",
            b".git ",
            b".git::$INDEX_ALLOCATION",
            b"a/../b",
            b"a\\b",
            b"a\rb",
            b"a\0b",
            ".g\u{200c}it".as_bytes(),
        ];
        for name in bad {
            let path = [b"site/", name].concat();
            let refusal = check_name(&path, name, Rule::Writable).expect_err(&format!("{name:?} passes"));
            assert_eq!(refusal.code, Code::Invalid);
            assert!(refusal.message.contains("site/"), "{}", refusal.message);
        }
    }

    #[test]
    fn ordinary_names_pass() {
        for name in [".gitignore", ".gitattributes", "a b", "über", "con", "a:b", "...", "-rf", ".github"] {
            check(name.as_bytes()).unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
        }
    }

    #[test]
    fn fault_06_what_git_never_writes_is_refused_even_where_nothing_is_written() {
        for name in ["", ".", "..", ".git", ".GIT", "a/../b"] {
            assert!(check_name(name.as_bytes(), name.as_bytes(), Rule::Sound).is_err(), "{name:?} passes");
        }
        check_name(b"a\\x2db", b"a\\x2db", Rule::Sound).expect("a backslash is nobody's harm where nothing is written");
    }

    #[test]
    fn paths_of_a_source_stay_in_it() {
        assert_eq!(parse_path("./a//b/").unwrap(), b"a/b");
        assert_eq!(parse_path("").unwrap(), b"");
        assert_eq!(parse_path("a%0Ab").unwrap(), b"a\nb");
        for bad in ["../a", "a/../b", "/etc", "a%2", "a%00"] {
            assert_eq!(parse_path(bad).expect_err(bad).code, Code::Invalid);
        }
    }

    #[test]
    fn excluded_folders_take_what_is_in_them() {
        let excluded = Excluded::parse(&["trued.yaml".into(), "state".into()]).unwrap();
        for path in ["trued.yaml", "state", "state/ledger"] {
            assert!(excluded.has(path.as_bytes()), "{path}");
        }
        for path in ["trued.yaml.bak", "stately", "site/trued.yaml"] {
            assert!(!excluded.has(path.as_bytes()), "{path}");
        }
    }
}
