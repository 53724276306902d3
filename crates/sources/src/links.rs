//! Symbolic links of a tree, judged as text: what cannot be a link, and chains that never end. Whether a link leaves
//! the root is the driver's to judge, where the root is known.

use std::collections::{BTreeMap, VecDeque};

use trued_doors::Answer;

use crate::names;

/// Longest text of a link, in bytes: what Linux accepts.
pub(crate) const LONGEST_TEXT: u64 = 4095;
/// Links followed for one path before it counts as a loop; the kernel's own number.
const FOLLOWED: usize = 40;

/// Checks all links of a tree, by path.
pub(crate) fn check(texts: &BTreeMap<Vec<u8>, Vec<u8>>) -> Answer<()> {
    for (path, text) in texts {
        if text.is_empty() {
            return Err(names::refuse(path, "the link's text is empty"));
        }
        if text.contains(&0) {
            return Err(names::refuse(path, "the link's text contains NUL"));
        }
        if text.len() as u64 > LONGEST_TEXT {
            return Err(names::refuse(path, "the link's text is longer than 4,095 bytes"));
        }
        if !ends(texts, path) {
            return Err(names::refuse(path, "the link leads back to itself"));
        }
    }
    Ok(())
}

/// Follows a link inside the tree; whether it arrives somewhere (or leaves the tree) instead of going round.
fn ends(texts: &BTreeMap<Vec<u8>, Vec<u8>>, start: &[u8]) -> bool {
    let mut ahead: VecDeque<&[u8]> = start.split(|byte| *byte == b'/').collect();
    let mut at: Vec<u8> = Vec::new();
    let mut followed = 0;
    while let Some(name) = ahead.pop_front() {
        match name {
            b"" | b"." => continue,
            b".." if at.is_empty() => return true,
            b".." => at.truncate(at.iter().rposition(|byte| *byte == b'/').unwrap_or(0)),
            _ => {
                let here = names::join(&at, name);
                let Some(text) = texts.get(&here) else {
                    at = here;
                    continue;
                };
                followed += 1;
                if followed > FOLLOWED {
                    return false;
                }
                if text.first() == Some(&b'/') {
                    return true;
                }
                for name in text.rsplit(|byte| *byte == b'/') {
                    ahead.push_front(name);
                }
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(links: &[(&str, &str)]) -> BTreeMap<Vec<u8>, Vec<u8>> {
        links.iter().map(|(path, text)| (path.as_bytes().to_vec(), text.as_bytes().to_vec())).collect()
    }

    #[test]
    fn links_that_arrive_or_leave_pass() {
        check(&tree(&[("a", "b"), ("b", "c/d"), ("c/up", ".."), ("out", "../../etc"), ("abs", "/etc"), ("here", ".")])).unwrap();
    }

    #[test]
    fn fault_07_links_that_go_round_are_refused_by_path() {
        for links in [&[("a", "a")][..], &[("x/a", "b"), ("x/b", "../x/a")], &[("d", "d/e")], &[("p", "q/s"), ("q/s", "../p")]] {
            let refusal = check(&tree(links)).expect_err(&format!("{links:?} passes"));
            assert!(refusal.message.contains("leads back to itself"), "{}", refusal.message);
            assert!(links.iter().any(|(path, _)| refusal.message.contains(path)), "{}", refusal.message);
        }
    }

    #[test]
    fn fault_07_texts_that_cannot_be_links_are_refused() {
        for text in ["", "a\0b"] {
            assert!(check(&tree(&[("site/a", text)])).expect_err(text).message.contains("site/a"));
        }
    }
}
