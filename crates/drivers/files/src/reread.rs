//! Reading a few documents again, of many that were read before. Pure, and careful: where anything could depend on the rest (a
//! rule, a link, a folder, a finding) it leaves the reading to [`crate::parse`].

use std::collections::BTreeSet;

use trued_doors::{Reread, Rereading};
use trued_model::{Address, Resource, Shape, decode_path};

use crate::below;
use crate::fingerprint;
use crate::parse::{below_or_same, resource};
use crate::rules::Attributes;

pub(crate) fn reread(reading: &Rereading<'_>) -> Option<Reread> {
    let into = below::place(reading.into).ok().filter(|_| reading.facts.terms.is_null())?;
    let address = |path: &str| if into.is_empty() { path.to_owned() } else { format!("{into}/{path}") };
    let mut again = Reread::default();
    for path in reading.gone {
        let (address, _) = reading.before.get_key_value(&Address::new(address(path))).filter(|(_, before)| is_file(before))?;
        again.gone.push(address.clone());
    }
    let mut new = BTreeSet::new();
    for document in reading.changed {
        let address = address(&document.path);
        match reading.before.get(&Address::new(&address)) {
            _ if !matches!(document.shape, Shape::File { .. }) => return None,
            Some(before) if is_file(before) => {}
            Some(_) => return None,
            None if stands_free(reading, &address) => drop(new.insert(address.clone())),
            None => return None,
        }
        again.resources.push(resource(document, address, &Attributes::default()));
    }
    let nested = |outer: &String| new.range(format!("{outer}/")..).next().is_some_and(|inner| below_or_same(inner, outer));
    (!new.iter().any(nested)).then_some(again)
}

fn is_file(resource: &Resource) -> bool {
    matches!(fingerprint::shape(&resource.fingerprint), Some(Shape::File { .. }))
}

/// Whether a new address can be written, lies in nothing that is no folder, and has nothing in it.
fn stands_free(reading: &Rereading<'_>, address: &str) -> bool {
    let bytes = decode_path(address).unwrap_or_default();
    let reserved = reading.facts.reserved.iter().any(|(prefix, _)| below_or_same(address, prefix));
    let mut outer = address.match_indices('/').map(|(slash, _)| Address::new(&address[..slash]));
    let mut inner = reading.before.range(Address::new(format!("{address}/"))..);
    below::fault(address, &bytes).is_none()
        && !reserved
        && !outer.any(|outer| reading.before.contains_key(&outer))
        && !inner.next().is_some_and(|(inner, _)| below_or_same(inner.as_str(), address))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use trued_doors::Facts;
    use trued_model::{BlobRef, Digest, Document};

    use super::*;
    use crate::parse::parse;

    fn document(path: &str, text: &str, shape: Shape) -> Document {
        let (identity, content) = (Digest::of(text.as_bytes()), BlobRef::of(text.as_bytes()));
        Document { path: path.to_owned(), shape, identity, content, text: (shape == Shape::Link).then(|| text.into()) }
    }

    const FILE: Shape = Shape::File { executable: false };

    fn all(paths: &[(&str, &str)]) -> Vec<Document> {
        paths.iter().map(|(path, text)| document(path, text, FILE)).collect()
    }

    /// Reads before, then again, and compares with reading all anew. Gives whether it was read again at all.
    fn check(before: &[Document], now: &[Document]) -> bool {
        let facts = Facts { reserved: vec![("in/kept".to_owned(), "it is kept".to_owned())], ..Facts::default() };
        let read = |documents: &[Document]| {
            let parsed = parse(&facts, "in", documents);
            let resources = parsed.resources.into_iter().map(|resource| (resource.address.clone(), resource));
            (resources.collect::<BTreeMap<_, _>>(), parsed.findings)
        };
        let (mut resources, findings) = read(before);
        assert_eq!(findings, []);
        let known: BTreeMap<&str, &Document> = before.iter().map(|document| (document.path.as_str(), document)).collect();
        let changed: Vec<Document> = now.iter().filter(|now| known.get(now.path.as_str()) != Some(now)).cloned().collect();
        let stays = |path: &str| now.iter().any(|now| now.path == path);
        let gone: Vec<String> = known.keys().filter(|path| !stays(path)).map(|path| (*path).to_owned()).collect();
        let again = reread(&Rereading { facts: &facts, into: "in", before: &resources, changed: &changed, gone: &gone });
        let Some(again) = again else { return false };
        again.gone.iter().for_each(|gone| drop(resources.remove(gone)));
        resources.extend(again.resources.into_iter().map(|resource| (resource.address.clone(), resource)));
        assert_eq!((resources, Vec::new()), read(now));
        true
    }

    #[test]
    fn files_that_come_change_and_go_are_read_as_if_all_were() {
        let before = all(&[("a", "1"), ("b/c", "2"), ("b/d", "3"), ("b-e", "4")]);
        let mut executable = before.clone();
        executable[1].shape = Shape::File { executable: true };
        for now in [
            all(&[("a", "1"), ("b/c", "2"), ("b/d", "other"), ("b-e", "4")]),
            all(&[("a", "1"), ("b/c", "2"), ("b-e", "4")]),
            all(&[("a", "1"), ("b/c", "2"), ("b/d", "3"), ("b/f", "new"), ("b/g/h", "new"), ("b-e", "4")]),
            all(&[("a.x", "1")]),
            before.clone(),
            executable,
        ] {
            assert!(check(&before, &now), "{now:?}");
        }
    }

    #[test]
    fn whatever_may_depend_on_the_rest_is_left_to_a_whole_reading() {
        let before = all(&[("a", "1"), ("b/c", "2")]);
        let with = |path: &str, text: &str, shape: Shape| [before.clone(), vec![document(path, text, shape)]].concat();
        for now in [
            with("a/inside", "of a file", FILE),
            with("b", "around a file", FILE),
            with("kept/x", "reserved", FILE),
            with(".git/config", "a hook", FILE),
            with("l", "a", Shape::Link),
            with("f", "", Shape::Folder),
            [with("x", "", FILE), vec![document("x/y", "", FILE)]].concat(),
            all(&[("b/c", "2"), ("a/now", "a folder")]),
        ] {
            assert!(!check(&before, &now), "{now:?}");
        }
        let linked = with("l", "a", Shape::Link);
        assert!(!check(&linked, &before), "others may lead through a link that goes");
        let rules = Facts { terms: serde_json::json!([]), ..Facts::default() };
        let nothing = BTreeMap::new();
        assert_eq!(reread(&Rereading { facts: &rules, into: "", before: &nothing, changed: &[], gone: &[] }), None);
    }
}
