//! From documents to resources, and every reason why a document cannot be one. Pure.

use std::collections::{BTreeMap, BTreeSet};

use trued_doors::{Answer, Facts, Found, Parsed, Sourced};
use trued_model::{Address, Code, Document, Finding, Origin, Refusal, Resource, Shape, decode_path, encode_path};

use crate::below;
use crate::escape::escape;
use crate::fingerprint;
use crate::rules::{Attributes, Deciding};

/// Reads resources from documents; with any finding there are no resources to act on for that path.
pub(crate) fn parse(facts: &Facts, into: &str, documents: &[Document]) -> Parsed {
    let mut parsed = Parsed::default();
    let into = match below::place(into) {
        Ok(into) => into,
        Err(why) => {
            parsed.findings.push(Finding::new(format!("`into: {into}` cannot be used: {why}"), "name a folder below the target's root"));
            return parsed;
        }
    };
    let rules = Deciding::new(&facts.terms);
    let mut troubles: BTreeSet<String> = BTreeSet::new();
    let mut fit: Vec<(Vec<u8>, String, &Document)> = Vec::with_capacity(documents.len());
    for document in documents {
        let address = if into.is_empty() { document.path.clone() } else { format!("{into}/{}", document.path) };
        let bytes = decode_path(&address).unwrap_or_default();
        let reserved = facts.reserved.iter().find(|(prefix, _)| below_or_same(&address, prefix)).map(|(_, why)| why.as_str());
        if let Some(why) = below::fault(&address, &bytes).or(reserved) {
            parsed.findings.push(about(document, format!("{} cannot be written: {why}", document.path), "rename it or leave it out"));
        } else {
            fit.push((bytes, address, document));
        }
    }
    fit.sort_by(|(one, ..), (other, ..)| one.cmp(other));
    fit.dedup_by(|(later, _, document), (kept, ..)| {
        let twice = later == kept;
        if twice {
            parsed.findings.push(about(document, format!("{} is there twice", document.path), "keep one of the two"));
        }
        twice
    });
    parsed.resources.reserve(fit.len());
    let taken = fit.into_iter().map(|(bytes, address, document)| {
        let decided = rules.decide(&bytes, document.shape == Shape::Folder);
        troubles.extend(decided.troubles);
        parsed.resources.push(resource(document, address, &decided.attributes));
        (bytes, document)
    });
    let taken: BTreeMap<Vec<u8>, &Document> = taken.collect();
    if rules.is_about_folders() {
        parsed.resources.extend(ruled_folders(&rules, &taken, &mut troubles));
    }
    let help = "make the user or group, or change the target's `modes`; nothing is written until then";
    parsed.findings.extend(troubles.into_iter().map(|trouble| Finding::new(trouble, help)));
    parsed.findings.extend(inside_of_files(&taken));
    parsed.findings.extend(escaping_links(&taken));
    parsed
}

/// The other way round: where in a stack's folder something on the target would stand.
pub(crate) fn sourced(found: &Found<'_>) -> Answer<Sourced> {
    let Found { address, fingerprint, bytes, into } = found;
    let into = below::place(into).map_err(|why| Refusal::new(Code::Invalid, format!("look below {into}: {why}")))?;
    let inner = if into.is_empty() { Some(address.as_str()) } else { address.as_str().strip_prefix(&format!("{into}/")) };
    let elsewhere = || Refusal::new(Code::Invalid, format!("write {address} into the folder of a stack that lies in {into}"));
    let path = inner.ok_or_else(elsewhere)?.to_owned();
    let no = |what: &str| Refusal::new(Code::Unsupported, format!("write {address} into a source: {what}"));
    match fingerprint::shape(fingerprint) {
        Some(Shape::Folder) => Err(no("a folder with nothing in it, which a repository cannot hold")),
        Some(shape) => Ok(Sourced { path, shape, bytes: bytes.to_vec() }),
        None => Err(no("it is no file and no link")),
    }
}

/// Folders that something lies in and that a rule says something of: resources of their own, because they have an owner
/// and a mode to keep.
fn ruled_folders(rules: &Deciding, taken: &BTreeMap<Vec<u8>, &Document>, troubles: &mut BTreeSet<String>) -> Vec<Resource> {
    let mut folders: BTreeMap<&[u8], &Document> = BTreeMap::new();
    for (path, document) in taken {
        let mut folder = below::folder_of(path);
        while !folder.is_empty() && !taken.contains_key(folder) && folders.insert(folder, *document).is_none() {
            folder = below::folder_of(folder);
        }
    }
    let ruled = |(path, document): (&[u8], &Document)| {
        let decided = rules.decide(path, true);
        troubles.extend(decided.troubles);
        (!decided.attributes.is_empty()).then(|| Resource {
            address: Address::new(encode_path(path)),
            fingerprint: fingerprint::of(Shape::Folder, &document.identity, false, &decided.attributes),
            content: None,
            origin: Origin { file: document.path.as_str().into(), line: None },
        })
    };
    folders.into_iter().filter_map(ruled).collect()
}

pub(crate) fn resource(document: &Document, address: String, attributes: &Attributes) -> Resource {
    let content = (document.shape != Shape::Folder).then_some(document.content);
    Resource {
        address: Address::new(address),
        fingerprint: fingerprint::of(document.shape, &document.identity, document.content.sealed, attributes),
        content,
        origin: Origin { file: document.path.as_str().into(), line: None },
    }
}

/// Paths that would lie in something that is no folder.
fn inside_of_files(taken: &BTreeMap<Vec<u8>, &Document>) -> Vec<Finding> {
    let mut findings = Vec::new();
    // Neighbours lie in one folder, which is looked at once where nothing is wrong with it.
    let mut sound: &[u8] = b"";
    for (path, document) in taken {
        let (mut folder, found) = (below::folder_of(path), findings.len());
        if folder == sound {
            continue;
        }
        while !folder.is_empty() {
            if let Some(outer) = taken.get(folder).filter(|outer| outer.shape != Shape::Folder) {
                let what = if outer.shape == Shape::Link { "a link" } else { "a file" };
                let message = format!("{} cannot lie in {}, which is {what}", document.path, outer.path);
                findings.push(about(document, message, "rename one of the two"));
            }
            folder = below::folder_of(folder);
        }
        if findings.len() == found {
            sound = below::folder_of(path);
        }
    }
    findings
}

/// Links that lead out of the root or in circles. A link whose text did not come along is looked at before it is made.
fn escaping_links(taken: &BTreeMap<Vec<u8>, &Document>) -> Vec<Finding> {
    let text = |document: &Document| document.text.as_ref().map(|text| text.as_bytes().to_vec());
    let links: BTreeMap<Vec<u8>, Vec<u8>> = taken
        .iter()
        .filter(|(_, document)| document.shape == Shape::Link)
        .filter_map(|(path, document)| Some((path.clone(), text(document)?)))
        .collect();
    let finding = |(path, text): (&Vec<u8>, &Vec<u8>)| {
        let why = escape(path, text, &links)?;
        let document = taken.get(path)?;
        let message = format!("{} is a link that cannot be made: {}", document.path, why.words());
        Some(about(document, message, "point it at something below the root, with a relative path"))
    };
    links.iter().filter_map(finding).collect()
}

fn about(document: &Document, message: String, help: &str) -> Finding {
    Finding::new(message, help).at(document.path.clone(), 1, 1)
}

pub(crate) fn below_or_same(address: &str, outer: &str) -> bool {
    address.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
