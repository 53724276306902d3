//! What a cluster says of itself and its objects, what reports of it say, and manifests that are to be applied to it.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::IgnoredAny;
use serde_json::{Value, json};
use trued_doors::conformance::driver::PaperSeal;
use trued_doors::{Facts, Reading};
use trued_kubernetes::outside;
use trued_model::{BlobRef, Code, Digest, Document, Finding, Shape, StackId};

/// Splits at the first `%%`.
fn halves(bytes: &[u8]) -> (&[u8], &[u8]) {
    let split = bytes.windows(2).position(|pair| pair == b"%%");
    split.map_or((bytes, b""), |at| (&bytes[..at], &bytes[at + 2..]))
}

/// Whether this is one JSON text to its end, though a text in it may be none.
fn is_whole(bytes: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(bytes).is_ok()
}

/// A page of a list, and after `%%` events of a watch, one a line: half a page is none, no object comes from nowhere, and no older view
/// of one replaces a newer one.
pub fn page(bytes: &[u8]) {
    let (list, events) = halves(bytes);
    let Some((_, objects)) = outside::page(list) else { return assert!(outside::watched(list, events).is_empty()) };
    assert!(is_whole(list), "half a page was taken for one");
    let whole = serde_json::from_slice::<Value>(list).unwrap_or_default();
    let all = whole["items"].as_array().map_or(&[][..], Vec::as_slice);
    assert!(objects.ends_with(all), "{} objects of {}", objects.len(), all.len());
    let views = outside::watched(list, events);
    assert!(views.len() <= 1 + events.split(|byte| *byte == b'\n').count());
    for two in views.windows(2) {
        let changed = two[1].iter().filter(|(key, view)| two[0].get(*key) != Some(*view)).count();
        let gone = two[0].keys().filter(|key| !two[1].contains_key(*key)).count();
        assert!(changed + gone <= 1, "one event changed {changed} and took {gone} away");
        for (key, (version, uid)) in &two[1] {
            let older = |(known, of): &(u64, String)| of == uid && known > version;
            assert!(!two[0].get(key).is_some_and(older), "an older view of {key:?} was taken");
        }
    }
}

/// The two answers of discovery, apart by `%%`: what is known by them is read back from facts as it is.
pub fn discovery(bytes: &[u8]) {
    let (core, groups) = halves(bytes);
    let answers: Vec<Value> = [core, groups].iter().filter_map(|answer| serde_json::from_slice(answer).ok()).collect();
    let terms = outside::discovered(&answers);
    assert_eq!(outside::terms_again(&terms), terms, "facts read back otherwise");
}

/// A document of schemas, or a definition, and after `%%` an object: to judge it comes to an end, twice the same.
pub fn schema(bytes: &[u8]) {
    let (document, object) = halves(bytes);
    let object = serde_json::from_slice(object).unwrap_or_else(|_| json!({ "spec": { "spec": { "replicas": "many", "other": [{}] } } }));
    let judged = || outside::misfits(document, ("apps", "v1", "Deployment"), &object);
    assert_eq!(judged(), judged());
    assert!(judged().is_none() || is_whole(document), "half a document has schemas");
    let definition = serde_json::from_slice::<Value>(document).unwrap_or_default();
    let _ = outside::misfits_of_definition(&definition, "v1", &object);
}

/// What an audit webhook sends: only acts on objects that can be named, by somebody, and none of ours.
pub fn audit(bytes: &[u8]) {
    match outside::heard(bytes) {
        Err(refusal) => assert!(refusal.code == Code::Invalid && !refusal.message.contains(['\0', '\x1b']), "{refusal:?}"),
        Ok(told) => {
            let text = serde_json::from_slice::<Value>(bytes).expect("a list of events");
            assert!(told.len() <= text["items"].as_array().map_or(0, Vec::len), "more acts than events");
            for one in &told {
                assert!(outside::is_address(&one.address), "{:?} is no object's", one.address);
                assert!(["created", "changed", "deleted", "scaled", "evicted"].contains(&one.what.as_str()), "{:?}", one.what);
                assert!(one.evidence.by.is_some() && one.evidence.grade.as_deref() == Some("A"), "{:?}", one.evidence);
            }
        }
    }
}

/// Manifests in one file: each object has an address that leads back to it, is kept, and can carry our mark; each finding a place.
pub fn objects(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let document = Document {
        path: "all.yaml".to_owned(),
        shape: Shape::File { executable: false },
        identity: Digest::of(bytes),
        content: BlobRef::of(bytes),
        text: Some(text.as_ref().into()),
    };
    let facts = Facts { terms: outside::discovered(&[]), ..Facts::default() };
    let everywhere = Facts::default();
    let stack = StackId::from_key("default/web@web").expect("a stack");
    for facts in [&everywhere, &facts] {
        let documents = [document.clone()];
        let reading = Reading { facts, into: "shop", documents: &documents, ignore: &[], opened: &BTreeMap::new(), seal: &PaperSeal };
        let parsed = trued_kubernetes::driver().parse(&reading);
        let placed = |finding: &Finding| finding.place.as_ref().is_some_and(|place| place.file == "all.yaml");
        assert!(parsed.findings.iter().all(placed), "{:?}", parsed.findings);
        let errands = parsed.errands.iter().map(|errand| &errand.resource);
        let mut addresses = BTreeSet::new();
        for resource in parsed.resources.iter().chain(errands) {
            let address = &resource.address;
            assert!(outside::is_address(address) && addresses.insert(address), "{address:?} is no object's, or two objects'");
            assert!(!address.as_str().contains(char::is_control), "{address:?}");
            let stored = resource.content.and_then(|content| parsed.made.get(&content.digest)).expect("it is kept");
            let Ok(object) = serde_json::from_slice(stored) else { continue };
            assert!(outside::marked(&object, &stack).1, "the mark of {address} is lost, or leaves a trace");
        }
    }
}
