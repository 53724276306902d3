//! Where symbolic links lead, decided on the desired tree alone: none may lead out of the root or in circles.

use std::collections::BTreeMap;

/// How many links one path may go through, as in the kernel.
const FOLLOWED: usize = 40;

/// Why a link may not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Escape {
    Absolute,
    Above,
    Circle,
    Empty,
}

impl Escape {
    pub fn words(self) -> &'static str {
        match self {
            Escape::Absolute => "its text is absolute, so it leads out of the root",
            Escape::Above => "it leads out of the root by `..`",
            Escape::Circle => "it leads in a circle",
            Escape::Empty => "its text is empty",
        }
    }
}

/// Decides where the link at `at` (path below the root) with this text leads, through the other `links` of the tree.
/// What is not a link in the tree is taken for a plain folder or file.
pub(crate) fn escape(at: &[u8], text: &[u8], links: &BTreeMap<Vec<u8>, Vec<u8>>) -> Option<Escape> {
    if text.is_empty() {
        return Some(Escape::Empty);
    }
    let mut here: Vec<&[u8]> = super::below::folder_of(at).split(|byte| *byte == b'/').filter(|name| !name.is_empty()).collect();
    let mut ahead: Vec<&[u8]> = Vec::new();
    let mut followed = 0;
    let mut next = Some(text);
    loop {
        if let Some(text) = next.take() {
            if text.starts_with(b"/") {
                return Some(Escape::Absolute);
            }
            followed += 1;
            if followed > FOLLOWED {
                return Some(Escape::Circle);
            }
            ahead.extend(text.split(|byte| *byte == b'/').rev());
        }
        match ahead.pop() {
            None => return None,
            Some(b"" | b".") => {}
            Some(b"..") => {
                if here.pop().is_none() {
                    return Some(Escape::Above);
                }
            }
            Some(name) => {
                here.push(name);
                if let Some(text) = links.get(&here.join(&b'/')) {
                    here.pop();
                    next = Some(text);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(links: &[(&str, &str)], at: &str) -> Option<Escape> {
        let links: BTreeMap<Vec<u8>, Vec<u8>> = links.iter().map(|(at, text)| (at.as_bytes().to_vec(), text.as_bytes().to_vec())).collect();
        escape(at.as_bytes(), &links[at.as_bytes()], &links)
    }

    #[test]
    fn links_inside_are_fine() {
        assert_eq!(check(&[("a/b/c", "../../d")], "a/b/c"), None);
        assert_eq!(check(&[("a", ".")], "a"), None);
        assert_eq!(check(&[("a", "b"), ("b", "c")], "a"), None);
    }

    #[test]
    fn fault_07_links_out_of_the_root() {
        assert_eq!(check(&[("a", "/etc/passwd")], "a"), Some(Escape::Absolute));
        assert_eq!(check(&[("a", "../x")], "a"), Some(Escape::Above));
        assert_eq!(check(&[("a/b", "c/../../../x")], "a/b"), Some(Escape::Above));
        assert_eq!(check(&[("a", "")], "a"), Some(Escape::Empty));
    }

    #[test]
    fn fault_07_a_chain_leaves_where_its_text_alone_does_not() {
        let chain = [("x/y/up", "../.."), ("x/y/out", "up/..")];
        assert_eq!(check(&chain, "x/y/up"), None);
        assert_eq!(check(&chain, "x/y/out"), Some(Escape::Above));
    }

    #[test]
    fn fault_07_circles() {
        assert_eq!(check(&[("a", "b"), ("b", "a")], "a"), Some(Escape::Circle));
        assert_eq!(check(&[("a", "a")], "a"), Some(Escape::Circle));
        assert_eq!(check(&[("d/a", "../d/a/x")], "d/a"), Some(Escape::Circle));
    }
}
