//! A set of addresses with what each looks like, stored so that a small change costs few bytes.
//!
//! Up to [`WHOLE`] items are one blob; more are spread over chunks by the first byte of their address's digest,
//! under a root that names the chunks. One changed item of a large set writes one chunk and the root.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

use crate::digest::{exact, plain_key};
use crate::{Address, BlobRef, Digest, Fingerprint, Packing, canonical};

pub(crate) const WHOLE: usize = 512;

/// One address's content in a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    pub fingerprint: Fingerprint,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<BlobRef>,
    /// Whether it ran once for a release, and is no lasting part of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub errand: bool,
}

impl Item {
    /// What counts when it is named.
    pub fn named(mut self) -> Item {
        self.name();
        self
    }

    fn name(&mut self) {
        self.content = self.content.filter(|content| !content.sealed);
    }
}

/// Addresses and their items; what was desired, seen or made at one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    pub items: BTreeMap<Address, Item>,
}

/// A manifest's stored form: the root blob and the chunks it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedManifest {
    pub root: BlobRef,
    /// All blobs to store, the root last.
    pub blobs: Vec<(BlobRef, Vec<u8>)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Stored {
    Items(BTreeMap<Address, Item>),
    Chunks(BTreeMap<String, BlobRef>),
}

/// [`Stored`] as it is written: without a copy of the items.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Writing<'a> {
    Items(BTreeMap<&'a Address, &'a Item>),
    Chunks(BTreeMap<String, BlobRef>),
}

/// [`Writing::Items`] with all keys in the order of canonical JSON, so that they need not be sorted first.
#[derive(Serialize)]
struct InOrder<'a> {
    #[serde(serialize_with = "as_map")]
    items: &'a [(&'a Address, &'a Item)],
}

fn as_map<S: Serializer>(items: &[(&Address, &Item)], to: S) -> Result<S::Ok, S::Error> {
    // Taken apart as a whole: what an item gains some day is missed here before it is left out.
    let blob = |BlobRef { digest, bytes, sealed }: &BlobRef| BlobInOrder { bytes: *bytes, digest: *digest, sealed: *sealed };
    to.collect_map(items.iter().map(|(address, Item { fingerprint, content, errand })| {
        (address, ItemInOrder { content: content.as_ref().map(blob), errand: *errand, fingerprint })
    }))
}

#[derive(Serialize)]
struct ItemInOrder<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<BlobInOrder>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    errand: bool,
    fingerprint: &'a Fingerprint,
}

#[derive(Serialize)]
struct BlobInOrder {
    bytes: u64,
    digest: Digest,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    sealed: bool,
}

/// Some items of a manifest, in the order of their addresses, as canonical JSON: the bytes that [`canonical`] makes of
/// [`Writing::Items`], without a tree of them.
pub(crate) fn canonical_items(items: &[(&Address, &Item)]) -> Vec<u8> {
    let plain =
        |(address, item): &(&Address, &Item)| plain_key(address.as_str()) && item.content.is_none_or(|content| exact(content.bytes));
    match items.iter().all(plain) {
        true => serde_json::to_vec(&InOrder { items }).expect("items are JSON"),
        false => canonical(&Writing::Items(items.iter().copied().collect())),
    }
}

/// A stored manifest cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BadManifest {
    #[error("manifest {0} is not valid: {1}")]
    Malformed(Digest, serde_json::Error),
    #[error("manifest {0} nests chunks in chunks")]
    Nested(Digest),
}

impl Manifest {
    /// Writes the stored form. Equal manifests give equal bytes; the root's digest names the whole set.
    pub fn pack(&self) -> PackedManifest {
        let packing = Packing::of(Arc::new(self.clone()));
        PackedManifest { root: packing.root(), blobs: packing.blobs(None) }
    }

    /// Names what the manifest says. It is the digest of the stored form's root, but that a sealed item counts by its
    /// fingerprint alone: the same thing sealed under another key is the same thing.
    pub fn digest(&self) -> Digest {
        Packing::of(Arc::new(self.clone().named())).root().digest
    }

    /// What counts when it is named.
    pub fn named(mut self) -> Manifest {
        self.items.values_mut().for_each(Item::name);
        self
    }

    /// Reads a stored manifest, asking `read` for the root and then for each chunk.
    pub fn unpack<E: From<BadManifest>>(root: &BlobRef, mut read: impl FnMut(&BlobRef) -> Result<Vec<u8>, E>) -> Result<Manifest, E> {
        let parse =
            |at: &BlobRef, bytes: &[u8]| serde_json::from_slice::<Stored>(bytes).map_err(|error| BadManifest::Malformed(at.digest, error));
        let bytes = read(root)?;
        let chunks = match parse(root, &bytes)? {
            Stored::Items(items) => return Ok(Manifest { items }),
            Stored::Chunks(chunks) => chunks,
        };
        let mut whole = Manifest::default();
        for at in chunks.values() {
            let bytes = read(at)?;
            match parse(at, &bytes)? {
                Stored::Items(items) => whole.items.extend(items),
                Stored::Chunks(_) => return Err(BadManifest::Nested(at.digest).into()),
            }
        }
        Ok(whole)
    }

    /// The blobs a stored manifest's root names directly, without reading contents: for garbage collection.
    pub fn chunk_refs(root: &BlobRef, bytes: &[u8]) -> Result<Vec<BlobRef>, BadManifest> {
        match serde_json::from_slice::<Stored>(bytes).map_err(|error| BadManifest::Malformed(root.digest, error))? {
            Stored::Items(_) => Ok(Vec::new()),
            Stored::Chunks(chunks) => Ok(chunks.into_values().collect()),
        }
    }
}
