//! What a thing on disk looks like as one word, format 1:
//!
//! `1:file:644:<sha256>`, `1:file:755:<sha256>`, `1:link:<sha256 of its text>`, `1:dir`, `1:other:<kind>`. A sealed thing
//! has `keyed:` and the seal's identity of that digest instead, which tells nothing without the key.

use trued_model::{Digest, Fingerprint, Shape};

pub(crate) const FOLDER: &str = "1:dir";

/// Writes the fingerprint of a thing whose content has this identity: plain SHA-256, or the keyed one of it.
pub(crate) fn of(shape: Shape, identity: &Digest, keyed: bool) -> Fingerprint {
    let key = if keyed { "keyed:" } else { "" };
    Fingerprint(match shape {
        Shape::File { executable: true } => format!("1:file:755:{key}{}", identity.hex()),
        Shape::File { executable: false } => format!("1:file:644:{key}{}", identity.hex()),
        Shape::Link => format!("1:link:{key}{}", identity.hex()),
        Shape::Folder => FOLDER.to_owned(),
    })
}

/// Writes the fingerprint of something that is no file, link or folder.
pub(crate) fn of_other(kind: &str) -> Fingerprint {
    Fingerprint(format!("1:other:{kind}"))
}

/// Whether a fingerprint's digest is keyed.
pub(crate) fn is_keyed(fingerprint: &Fingerprint) -> bool {
    fingerprint.as_str().contains(":keyed:")
}

/// What to make so that it looks like this; `None` for what this driver cannot make.
pub(crate) fn shape(fingerprint: &Fingerprint) -> Option<Shape> {
    match fingerprint.as_str().strip_prefix("1:")?.split(':').collect::<Vec<_>>()[..] {
        ["file", "644", ..] => Some(Shape::File { executable: false }),
        ["file", "755", ..] => Some(Shape::File { executable: true }),
        ["link", ..] => Some(Shape::Link),
        ["dir"] => Some(Shape::Folder),
        _ => None,
    }
}

/// What it is, for people; never its digest.
pub(crate) fn words(fingerprint: Option<&Fingerprint>) -> &'static str {
    match fingerprint {
        None => "nothing",
        Some(fingerprint) => match shape(fingerprint) {
            Some(Shape::File { executable: false }) => "a file",
            Some(Shape::File { executable: true }) => "an executable file",
            Some(Shape::Link) => "a symbolic link",
            Some(Shape::Folder) => "a folder",
            None => "neither a file, a folder nor a link",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_reads_back() {
        let identity = Digest::of(b"text");
        for shape in [Shape::File { executable: false }, Shape::File { executable: true }, Shape::Link, Shape::Folder] {
            for keyed in [false, true] {
                let written = of(shape, &identity, keyed);
                assert_eq!(super::shape(&written), Some(shape), "{written}");
                assert_eq!(is_keyed(&written), keyed && shape != Shape::Folder);
            }
        }
        assert_eq!(super::shape(&of_other("fifo")), None);
        assert_eq!(super::shape(&Fingerprint::new("2:dir")), None);
    }
}
