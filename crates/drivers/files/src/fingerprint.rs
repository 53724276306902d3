//! What a thing on disk looks like as one word. Format 1 is what is compared where nothing else is said:
//!
//! `1:file:644:<sha256>`, `1:file:755:<sha256>`, `1:link:<sha256 of its text>`, `1:dir`, `1:other:<kind>`. A sealed thing
//! has `keyed:` and the seal's identity of that digest instead, which tells nothing without the key.
//!
//! Format 2 is of things with a rule for owner, group or mode, and covers just what the rules say: `2:file:0640:u0:g33:…`
//! (`644` or `755` where no rule says the mode, `u-` and `g-` where none says who), `2:link:u0:g-:…`, `2:dir:0750:u0:g-`
//! (`-` for no mode).

use trued_model::{Digest, Fingerprint, Shape};

use crate::rules::Attributes;

/// Writes the fingerprint of a thing whose content has this identity: plain SHA-256, or the keyed one of it. Of the
/// attributes a link has no mode; a mode decides about the owner's x bit of a file.
pub(crate) fn of(shape: Shape, identity: &Digest, keyed: bool, attributes: &Attributes) -> Fingerprint {
    let attributes = attributes.of(shape);
    let plain = |executable| if executable { "755" } else { "644" };
    let with_content = |mut text: String| {
        text.push_str(if keyed { ":keyed:" } else { ":" });
        identity.push_hex(&mut text);
        Fingerprint::new(text)
    };
    let beginning = |word: &str| String::with_capacity(96) + word;
    if attributes.is_empty() {
        return match shape {
            Shape::File { executable } => with_content(beginning("1:file:") + plain(executable)),
            Shape::Link => with_content(beginning("1:link")),
            Shape::Folder => Fingerprint::new("1:dir"),
        };
    }
    let id = |id: Option<u32>| id.map_or_else(|| "-".to_owned(), |id| id.to_string());
    let mode = |or: &str| attributes.mode.map_or_else(|| or.to_owned(), |mode| format!("{mode:04o}"));
    let whose = format!("u{}:g{}", id(attributes.owner), id(attributes.group));
    match shape {
        Shape::File { executable } => with_content(format!("2:file:{}:{whose}", mode(plain(executable)))),
        Shape::Link => with_content(format!("2:link:{whose}")),
        Shape::Folder => Fingerprint::new(format!("2:dir:{}:{whose}", mode("-"))),
    }
}

/// Writes the fingerprint of something that is no file, link or folder.
pub(crate) fn of_other(kind: &str) -> Fingerprint {
    Fingerprint::new(format!("1:other:{kind}"))
}

/// Whether a fingerprint's digest is keyed.
pub(crate) fn is_keyed(fingerprint: &Fingerprint) -> bool {
    fingerprint.as_str().contains(":keyed:")
}

/// Whether a fingerprint is a folder's.
pub(crate) fn is_folder(fingerprint: &Fingerprint) -> bool {
    shape(fingerprint) == Some(Shape::Folder)
}

/// What to make so that it looks like this; `None` for what this driver cannot make.
pub(crate) fn shape(fingerprint: &Fingerprint) -> Option<Shape> {
    read(fingerprint).map(|(shape, _)| shape)
}

/// The owner, group and mode that a fingerprint covers; none for what this driver cannot make.
pub(crate) fn attributes(fingerprint: &Fingerprint) -> Attributes {
    read(fingerprint).map(|(_, attributes)| attributes).unwrap_or_default()
}

fn read(fingerprint: &Fingerprint) -> Option<(Shape, Attributes)> {
    let mut words = fingerprint.as_str().split(':');
    let words: [Option<&str>; 6] = std::array::from_fn(|_| words.next());
    match words {
        [Some("1"), Some("file"), Some(mode), ..] => Some((Shape::File { executable: plain_mode(mode)? }, Attributes::default())),
        [Some("1"), Some("link"), ..] => Some((Shape::Link, Attributes::default())),
        [Some("1"), Some("dir"), None, ..] => Some((Shape::Folder, Attributes::default())),
        [Some("2"), Some("file"), Some(mode), Some(owner), Some(group), ..] => {
            let ruled = octal(mode);
            let executable = ruled.map(|mode| mode & 0o100 != 0).or_else(|| plain_mode(mode))?;
            Some((Shape::File { executable }, Attributes { mode: ruled, owner: id(owner, 'u')?, group: id(group, 'g')? }))
        }
        [Some("2"), Some("link"), Some(owner), Some(group), ..] => {
            Some((Shape::Link, Attributes { mode: None, owner: id(owner, 'u')?, group: id(group, 'g')? }))
        }
        [Some("2"), Some("dir"), Some(mode), Some(owner), Some(group), None] => {
            let mode = if mode == "-" { None } else { Some(octal(mode)?) };
            Some((Shape::Folder, Attributes { mode, owner: id(owner, 'u')?, group: id(group, 'g')? }))
        }
        _ => None,
    }
}

fn plain_mode(word: &str) -> Option<bool> {
    match word {
        "644" => Some(false),
        "755" => Some(true),
        _ => None,
    }
}

/// A mode as a rule says it: four octal digits.
fn octal(word: &str) -> Option<u32> {
    let digits = word.len() == 4 && word.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    if digits { u32::from_str_radix(word, 8).ok() } else { None }
}

/// `u33`, or `u-` for nobody in particular.
fn id(word: &str, letter: char) -> Option<Option<u32>> {
    match word.strip_prefix(letter)? {
        "-" => Some(None),
        digits => digits.parse().ok().map(Some),
    }
}

/// What two things of one shape differ in beside their content, for people; ids as numbers. `None` where that is nothing.
pub(crate) fn differs(before: &Fingerprint, after: &Fingerprint) -> Option<String> {
    let ((was, had), (is, has)) = (read(before)?, read(after)?);
    let plain = |shape, said: Option<u32>| match (shape, said) {
        (_, Some(mode)) => Some(format!("{mode:04o}")),
        (Shape::File { executable }, None) => Some(if executable { "0755" } else { "0644" }.to_owned()),
        _ => None,
    };
    let id = |id: Option<u32>| id.map(|id| id.to_string());
    let each = [
        ("mode", plain(was, had.mode), plain(is, has.mode)),
        ("owner", id(had.owner), id(has.owner)),
        ("group", id(had.group), id(has.group)),
    ];
    let said = |(what, old, new): &(&str, Option<String>, Option<String>)| match (old, new) {
        (old, new) if old == new => None,
        (Some(old), Some(new)) => Some(format!("{what} {old} → {new}")),
        (None, Some(new)) => Some(format!("{what} → {new}")),
        _ => None,
    };
    let words: Vec<String> = each.iter().filter_map(said).collect();
    let same_kind = std::mem::discriminant(&was) == std::mem::discriminant(&is);
    (same_kind && !words.is_empty()).then(|| words.join(", "))
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
        let none = Attributes::default();
        for shape in [Shape::File { executable: false }, Shape::File { executable: true }, Shape::Link, Shape::Folder] {
            for keyed in [false, true] {
                let written = of(shape, &identity, keyed, &none);
                assert!(written.as_str().starts_with("1:"), "what has no rule keeps the first format: {written}");
                assert_eq!(super::shape(&written), Some(shape), "{written}");
                assert_eq!(is_keyed(&written), keyed && shape != Shape::Folder);
            }
        }
        assert_eq!(super::shape(&of_other("fifo")), None);
        assert_eq!(super::shape(&Fingerprint::new("3:dir")), None);
    }

    #[test]
    fn what_differs_beside_content_is_told() {
        let said = |before: &str, after: &str| differs(&Fingerprint::new(before), &Fingerprint::new(after));
        let told = |before, after| said(before, after).unwrap_or_default();
        assert_eq!(told("1:file:644:x", "2:file:0600:u0:g-:x"), "mode 0644 → 0600, owner → 0");
        assert_eq!(told("2:file:0600:u0:g7:x", "2:file:0600:u1:g8:y"), "owner 0 → 1, group 7 → 8");
        assert_eq!(told("1:dir", "2:dir:0700:u-:g-"), "mode → 0700");
        assert_eq!(told("1:file:644:x", "1:file:755:x"), "mode 0644 → 0755");
        for (before, after) in
            [("1:file:644:x", "1:file:644:y"), ("1:link:x", "1:dir"), ("1:file:644:x", "1:dir"), ("1:other:fifo", "1:dir")]
        {
            assert_eq!(said(before, after), None, "{before} {after}");
        }
    }

    #[test]
    fn what_a_rule_says_reads_back() {
        let identity = Digest::of(b"text");
        let some = [
            Attributes { mode: Some(0o4750), owner: Some(0), group: None },
            Attributes { mode: None, owner: None, group: Some(33) },
            Attributes { mode: Some(0o600), owner: Some(1), group: Some(u32::MAX) },
        ];
        for attributes in some {
            for shape in [Shape::File { executable: true }, Shape::Link, Shape::Folder] {
                let written = of(shape, &identity, true, &attributes);
                assert_eq!(super::attributes(&written), attributes.of(shape), "{written}");
                assert_eq!(std::mem::discriminant(&super::shape(&written).unwrap()), std::mem::discriminant(&shape), "{written}");
            }
        }
        let mode = Attributes { mode: Some(0o600), ..Attributes::default() };
        assert!(of(Shape::Link, &identity, false, &mode).as_str().starts_with("1:"), "a link has no mode of its own");
        assert_eq!(super::shape(&of(Shape::File { executable: true }, &identity, false, &mode)), Some(Shape::File { executable: false }));
        for bad in ["2:file:0999:u-:g-:x", "2:dir:0750:u-", "2:dir:0750:g1:u1", "2:link:u:g-:x"] {
            assert_eq!(super::shape(&Fingerprint::new(bad)), None, "{bad}");
        }
    }
}
