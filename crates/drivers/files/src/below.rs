//! Paths below a root, taken from addresses: which are safe to use at all. Pure; says nothing of what is on disk.

use trued_model::{Address, Code, Refusal, decode_path, encode_path};

/// Trued's own folder at the root.
pub(crate) const OWN: &str = ".trued";

/// The longest name and the longest path the kernel takes, in bytes.
const LONGEST_NAME: usize = 255;
const LONGEST_PATH: usize = 4095;

/// A path below the root in bytes: at least one name, none of them empty, `.`, `..` or reserved.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Below(Vec<u8>);

impl Below {
    pub fn read(address: &Address) -> Result<Below, Refusal> {
        let refuse = |why| Refusal::new(Code::Invalid, format!("use the address {address}: {why}"));
        let bytes = decode_path(address.as_str()).ok_or_else(|| refuse("`%` is not followed by two digits"))?;
        match fault(address.as_str(), &bytes) {
            Some(why) => Err(refuse(why)),
            None => Ok(Below(bytes)),
        }
    }

    /// The whole path.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The folder it lies in; empty for the root itself.
    pub fn folder(&self) -> &[u8] {
        folder_of(&self.0)
    }

    /// The last name.
    pub fn name(&self) -> &[u8] {
        last_name(&self.0)
    }
}

/// The last name of a path.
pub(crate) fn last_name(path: &[u8]) -> &[u8] {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => &path[slash + 1..],
        None => path,
    }
}

/// The folder a path lies in; empty for the root itself.
pub(crate) fn folder_of(path: &[u8]) -> &[u8] {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => &path[..slash],
        None => &[],
    }
}

/// A path one name further down.
pub(crate) fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    match folder {
        [] => name.to_vec(),
        _ => [folder, b"/", name].concat(),
    }
}

/// Why a path may not be used, if it may not: `text` as written, `bytes` as decoded from it.
pub(crate) fn fault(text: &str, bytes: &[u8]) -> Option<&'static str> {
    if bytes.is_empty() {
        return Some("it is empty");
    }
    if bytes.len() > LONGEST_PATH {
        return Some("it is longer than 4,095 bytes");
    }
    if bytes.contains(&0) {
        return Some("it has a NUL character in it");
    }
    if encode_path(bytes) != text {
        return Some("it is not spelled as addresses are");
    }
    if bytes.split(|byte| *byte == b'/').next().is_some_and(|first| first.eq_ignore_ascii_case(OWN.as_bytes())) {
        return Some("`.trued` at the root is Trued's own");
    }
    bytes.split(|byte| *byte == b'/').find_map(|name| match name {
        b"" => Some("a name in it is empty"),
        b"." | b".." => Some("a name in it is `.` or `..`"),
        name if name.len() > LONGEST_NAME => Some("a name in it is longer than 255 bytes"),
        name if name.eq_ignore_ascii_case(b".git") => Some("`.git` would make a repository of it, with hooks that run"),
        _ => None,
    })
}

/// Reads `into`, a stack's place below the root as configuration spells it: `Ok("")` is the root itself.
pub(crate) fn place(into: &str) -> Result<String, &'static str> {
    if into.starts_with('/') {
        return Err("it is a path below the root, so it does not start with `/`");
    }
    let trimmed = into.trim_end_matches('/');
    let trimmed = trimmed.strip_prefix("./").unwrap_or(trimmed);
    if trimmed.is_empty() || trimmed == "." {
        return Ok(String::new());
    }
    let text = encode_path(trimmed.as_bytes());
    match fault(&text, trimmed.as_bytes()) {
        Some(why) => Err(why),
        None => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_taken_apart() {
        let deep = Below::read(&Address::new("a/b%FF/c")).unwrap();
        assert_eq!((deep.folder(), deep.name()), (&b"a/b\xff"[..], &b"c"[..]));
        let flat = Below::read(&Address::new("index.html")).unwrap();
        assert_eq!((flat.folder(), flat.name()), (&b""[..], &b"index.html"[..]));
    }

    #[test]
    fn fault_06_names_that_leave_the_root_or_are_reserved() {
        for bad in
            ["", "..", "a/../b", "a/./b", "a//b", "/a", "a/", ".trued/mark", ".TRUED", "a/.git/config", ".GIT", "a%2Fb", "a%zz", "a%00b"]
        {
            assert!(Below::read(&Address::new(bad)).is_err(), "{bad:?} was taken");
        }
        for good in ["a/.trued/x", "..a", "a/...", "a\\b", "%0D", "%25", "%FF", ".gitignore"] {
            assert!(Below::read(&Address::new(good)).is_ok(), "{good:?} was refused");
        }
    }

    #[test]
    fn lengths_are_the_kernels() {
        assert!(Below::read(&Address::new("n".repeat(255))).is_ok());
        assert!(Below::read(&Address::new("n".repeat(256))).is_err());
        assert!(Below::read(&Address::new(vec!["n"; 2048].join("/"))).is_ok());
        assert!(Below::read(&Address::new(vec!["n"; 2049].join("/"))).is_err());
    }

    #[test]
    fn a_place_is_written_in_many_ways() {
        assert_eq!(
            ["", ".", "./", "prod", "prod/", "./prod", "a/b"].map(|into| place(into).unwrap()),
            ["", "", "", "prod", "prod", "prod", "a/b"]
        );
        assert!(["/prod", "..", "a/../b", ".trued", "a//b"].iter().all(|into| place(into).is_err()));
    }
}
