//! From documents to objects to resources, and every reason why a document cannot be some. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::address::{Kind, Spot};
use crate::served::{Served, everywhere, is_definition};
use crate::{hooks, ignore, object};
use serde_json::Value;
use trued_doors::{Parsed, Reading, Seal};
use trued_model::{Address, BlobRef, Deferred, Document, Finding, Origin, Place, Resource, Shape};
use trued_yaml::{Budget, Node, read_all, text_of};

/// What one document may cost: large charts, and no bomb.
const BUDGET: Budget = Budget { bytes: 16 << 20, depth: 100, nodes: 2_000_000, aliases: 10_000, text: 32 << 20, documents: 20_000 };

/// Lists inside of lists.
const DEEPEST_LIST: usize = 8;

/// The largest object that is sent; a server takes no more than about 1.5 MiB, and 3 MiB of one request.
const LARGEST: usize = 3 << 20;

/// Files in a folder of manifests that are for people and tools.
const FOR_PEOPLE: [&str; 6] = ["readme", "license", "changelog", "notice", "kustomization.yaml", "kustomization.yml"];

/// An object and where it is written.
struct Written<'a> {
    value: Value,
    document: &'a Document,
    line: u32,
    column: u32,
}

impl Written<'_> {
    fn finding(&self, message: String, help: &str) -> Finding {
        Finding::new(message, help).at(self.document.path.clone(), self.line, self.column)
    }
}

/// Reads resources from documents.
pub(crate) fn parse(reading: &Reading<'_>) -> Parsed {
    let mut parsed = Parsed::default();
    let mut written = Vec::new();
    for document in reading.documents {
        gather(reading, document, &mut written, &mut parsed.findings);
    }
    let mut served = Served::of_terms(&reading.facts.terms);
    let definition = |one: &&Written<'_>| object::kind(&one.value).is_some_and(|kind| is_definition(&kind));
    written.iter().filter(definition).for_each(|one| served.define(&one.value));
    if !valid_namespace(reading.into) {
        let message = format!("`into: {}` is no namespace", reading.into);
        parsed.findings.push(Finding::new(message, "write the namespace of objects that name none, or leave it out"));
    }
    let mut places: BTreeMap<Address, String> = BTreeMap::new();
    for one in written {
        if let Some(resource) = resource(reading, &served, one, &mut parsed, &mut places) {
            parsed.resources.push(resource);
        }
    }
    parsed.resources.sort_by(|one, other| one.address.cmp(&other.address));
    parsed
}

/// Reads the objects of one document.
fn gather<'a>(reading: &Reading<'_>, document: &'a Document, written: &mut Vec<Written<'a>>, findings: &mut Vec<Finding>) {
    let name = document.path.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    if name.starts_with('.') || FOR_PEOPLE.iter().any(|known| name.starts_with(known)) || document.shape == Shape::Folder {
        return;
    }
    let about = |message: &str, help: &str| Finding::new(message, help).at(document.path.clone(), 1, 1);
    if !matches!(document.shape, Shape::File { .. }) {
        return findings.push(about("a link is no manifest", "write the objects into a file"));
    }
    if ![".yaml", ".yml", ".json"].iter().any(|end| name.ends_with(end)) {
        return findings.push(about("this is no manifest", "name it `.yaml`, `.yml` or `.json`, or move it out of the folder"));
    }
    let opened = reading.opened.get(&document.path).map(|secret| text_of(&document.path, secret.reveal()));
    let text = match (&document.text, opened) {
        (Some(text), _) => text.as_ref(),
        (None, Some(Ok(text))) => text,
        (None, Some(Err(refused))) => return findings.extend(refused.findings),
        (None, None) => return findings.push(about("this document is too long to be read", "split it into several")),
    };
    let nodes = match read_all(&document.path, text, &BUDGET) {
        Ok(nodes) => nodes,
        Err(refused) => return findings.extend(refused.findings),
    };
    for node in objects(&nodes) {
        let one = Written { value: node.to_json(), document, line: node.mark.line, column: node.mark.column };
        match object::kind(&one.value) {
            Some(kind) if !kind.is_word() && !kind.kind.is_empty() => {
                let message = format!("{:?} of the group {:?} is no kind of object", kind.kind, kind.group);
                findings.push(one.finding(message, "correct `kind` and `apiVersion`"));
            }
            Some(_) if !has_notes(&one.value) => {
                findings.push(one.finding("`metadata.annotations` is no map".to_owned(), "write names and texts: `name: text`"));
            }
            Some(kind) if !kind.kind.is_empty() => written.push(one),
            _ => findings.push(one.finding("this is no object: it has no `apiVersion` or no `kind`".to_owned(), "every object names both")),
        }
    }
}

/// Whether an object's annotations, if it has some, are a map: our own come beside them.
fn has_notes(object: &Value) -> bool {
    object::at(object, &["metadata", "annotations"]).is_none_or(|notes| notes.is_object() || notes.is_null())
}

/// Finds where a field of an object is written.
pub(crate) fn locate(reading: &Reading<'_>, address: &Address, pointer: &str) -> Option<Place> {
    let spot = Spot::read(address)?;
    reading.documents.iter().find_map(|document| {
        let opened = reading.opened.get(&document.path).and_then(|secret| text_of(&document.path, secret.reveal()).ok());
        let nodes = read_all(&document.path, document.text.as_deref().or(opened)?, &BUDGET).ok()?;
        let is_it = |node: &&Node| {
            let text = |pointer: &str| node.at(pointer).and_then(Node::text).unwrap_or_default();
            let namespace = Some(text("/metadata/namespace")).filter(|name| !name.is_empty()).unwrap_or(reading.into);
            Kind::of_version(text("/apiVersion"), text("/kind")) == spot.kind
                && text("/metadata/name") == spot.name
                && spot.namespace.as_deref().is_none_or(|there| there == namespace)
        };
        let mark = objects(&nodes).into_iter().find(is_it)?.key_mark_of(pointer);
        Some(Place { file: document.path.clone(), line: mark.line, column: mark.column })
    })
}

/// All objects, lists taken as what is in them.
fn objects(nodes: &[Node]) -> Vec<&Node> {
    let mut found = Vec::new();
    nodes.iter().for_each(|node| flatten(node, 0, &mut found));
    found
}

/// Takes an object as it is, and a list as what is in it.
fn flatten<'n>(node: &'n Node, depth: usize, found: &mut Vec<&'n Node>) {
    if matches!(node.value, trued_yaml::Value::Null) {
        return;
    }
    let is_list = node.get("kind").and_then(Node::text).is_some_and(|kind| kind.ends_with("List"));
    match node.get("items").map(|items| &items.value) {
        Some(trued_yaml::Value::List(items)) if is_list && depth < DEEPEST_LIST => {
            items.iter().for_each(|item| flatten(item, depth + 1, found));
        }
        Some(_) if is_list && depth < DEEPEST_LIST => {}
        _ => found.push(node),
    }
}

/// Reads one object. A hook is no resource, and takes its place among the errands.
fn resource(
    reading: &Reading<'_>,
    served: &Served,
    mut one: Written<'_>,
    parsed: &mut Parsed,
    places: &mut BTreeMap<Address, String>,
) -> Option<Resource> {
    let kind = object::kind(&one.value)?;
    let (spot, deferred) = match identify(reading, served, &kind, &mut one) {
        Ok(identified) => identified,
        Err(finding) => {
            parsed.findings.push(finding);
            return None;
        }
    };
    let address = spot.address();
    let hook = match hooks::read(&one.value, &address) {
        Ok(hook) => hook,
        Err((message, help)) => {
            parsed.findings.push(one.finding(format!("{address}: {message}"), help));
            return None;
        }
    };
    if let Some(hook) = hook.as_ref().filter(|hook| !hook.never.is_empty()) {
        parsed.not_run.insert(address.clone(), hook.never.join(", "));
        if !hook.runs() {
            return None;
        }
    }
    parsed.deferred.extend(deferred.map(|why| (address.clone(), Deferred { kind: kind.prefix(), why })));
    let place = format!("{}:{}", one.document.path, one.line);
    if let Some(first) = places.get(&address) {
        let message = format!("{address} is there twice: here and at {first}");
        parsed.findings.push(one.finding(message, "keep one of the two"));
        return None;
    }
    places.insert(address.clone(), place);
    object::strip(&mut one.value);
    let secret = kind == Kind::new("", "Secret");
    if secret {
        object::fold_string_data(&mut one.value);
    }
    ignore::leave_out(&mut one.value, reading.ignore);
    let bytes = object::shown(&one.value);
    if bytes.len() > LARGEST {
        parsed.findings.push(one.finding(format!("{address} has {} bytes, more than any server takes", bytes.len()), "split it"));
        return None;
    }
    let sealed = secret || one.document.content.sealed;
    if sealed && let Err(refusal) = reading.seal.ready() {
        parsed.findings.push(one.finding(format!("{address} cannot be sealed: {refusal}"), &refusal.help));
        return None;
    }
    let seal: Option<&dyn Seal> = sealed.then_some(reading.seal);
    let fingerprint = object::fingerprint(&object::identity(&object::body(&one.value)), seal);
    let stored: Arc<[u8]> = seal.map_or(bytes.clone(), |seal| seal.seal(&bytes)).into();
    let content = BlobRef { sealed, ..BlobRef::of(&stored) };
    parsed.made.insert(content.digest, stored);
    let origin = Origin { file: one.document.path.as_str().into(), line: Some(one.line) };
    let resource = Resource { address, fingerprint, content: Some(content), origin };
    match hook {
        Some(hook) => {
            parsed.errands.push(hook.errand(resource));
            None
        }
        None => Some(resource),
    }
}

/// Finds where an object will live, and writes its namespace into it. One whose kind may still come is deferred: why.
fn identify(reading: &Reading<'_>, served: &Served, kind: &Kind, one: &mut Written<'_>) -> Result<(Spot, Option<String>), Finding> {
    let version = object::text(&one.value, &["apiVersion"]).unwrap_or_default().rsplit('/').next().unwrap_or_default().to_owned();
    let name = object::text(&one.value, &["metadata", "name"]).unwrap_or_default().to_owned();
    if name.is_empty() {
        let generated = object::text(&one.value, &["metadata", "generateName"]).is_some();
        return Err(match generated {
            true => {
                one.finding(format!("this {} has only a `generateName`: each apply would make another one", kind.kind), "give it a `name`")
            }
            false => one.finding(format!("this {} has no name", kind.kind), "write `metadata.name`"),
        });
    }
    if name.contains(['/', '%']) || name.chars().any(char::is_control) {
        return Err(one.finding(format!("{name:?} is no name of an object"), "correct `metadata.name`"));
    }
    if served.get(kind).is_none() && !served.assumed && (may_come(kind) || served.silent.contains_key(&kind.group)) {
        // Where it will lie is not known before its kind is; nothing is done with it until then.
        let named = object::text(&one.value, &["metadata", "namespace"]).filter(|namespace| valid_namespace(namespace));
        let namespace = named.or(Some(reading.into).filter(|into| !into.is_empty())).map(str::to_owned);
        let why = match served.silent.contains_key(&kind.group) {
            true => format!("the server behind {} does not answer, so that the kind {kind} is not known", kind.group),
            false => format!("the cluster serves no kind {kind} yet"),
        };
        return Ok((Spot { kind: kind.clone(), namespace, name }, Some(why)));
    }
    let serving = served.get(kind).ok_or_else(|| match served.assumed {
        true => {
            let message = format!("whether {name} lies in a namespace is not known: no cluster can be asked about its kind {kind}");
            one.finding(message, "make the cluster reachable, or add the CustomResourceDefinition to this stack")
        }
        false => {
            let message = format!("the cluster serves no kind {kind}, which {name} is of");
            one.finding(message, "add its CustomResourceDefinition to this stack, or install what brings it first")
        }
    })?;
    if !serving.versions.is_empty() && !serving.versions.contains(&version) {
        let message = format!("the cluster serves {kind} as {}, not as {version}", serving.versions.join(", "));
        return Err(one.finding(message, "correct `apiVersion`"));
    }
    let namespace = object::text(&one.value, &["metadata", "namespace"]).map(str::to_owned);
    let namespace = match (serving.namespaced, namespace) {
        (false, None) => None,
        (false, Some(namespace)) => {
            let message = format!("{} {name} lies in no namespace, and names {namespace}", kind.kind);
            return Err(one.finding(message, "remove `metadata.namespace`"));
        }
        (true, Some(namespace)) if valid_namespace(&namespace) => Some(namespace),
        (true, Some(namespace)) => return Err(one.finding(format!("{namespace:?} is no namespace"), "correct `metadata.namespace`")),
        (true, None) if reading.into.is_empty() => {
            let message = format!("{} {name} names no namespace, and the stack has no `into`", kind.kind);
            return Err(one.finding(message, "write `into: NAMESPACE` in the stack, or `metadata.namespace` here"));
        }
        (true, None) => Some(reading.into.to_owned()),
    };
    if let Some(namespace) = &namespace {
        one.value["metadata"]["namespace"] = namespace.as_str().into();
    }
    Ok((Spot { kind: kind.clone(), namespace, name }, None))
}

/// Whether a kind that is not served may be brought by somebody: only those whose group is a domain, and none that
/// Kubernetes itself has.
fn may_come(kind: &Kind) -> bool {
    kind.group.contains('.') && !everywhere(&kind.group)
}

/// Whether this can be a namespace's name; the empty one stands for none.
fn valid_namespace(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    name.len() <= 63 && name.bytes().all(inner) && !name.starts_with('-') && !name.ends_with('-')
}
