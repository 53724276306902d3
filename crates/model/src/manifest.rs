//! A set of addresses with what each looks like, stored so that a small change costs few bytes.
//!
//! Up to [`WHOLE`] items are one blob; more are spread over chunks by the first byte of their address's digest,
//! under a root that names the chunks. One changed item of a large set writes one chunk and the root.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Address, BlobRef, Digest, Fingerprint, canonical};

const WHOLE: usize = 512;

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
enum Writing<'a> {
    Items(BTreeMap<&'a Address, &'a Item>),
    Chunks(BTreeMap<String, BlobRef>),
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
        let mut blobs = Vec::new();
        let root = self.write(|at, bytes| blobs.push((at, bytes)));
        PackedManifest { root, blobs }
    }

    /// Names what the manifest says. It is the digest of the stored form's root, but that a sealed item counts by its
    /// fingerprint alone: the same thing sealed under another key is the same thing. Holds one chunk at a time.
    pub fn digest(&self) -> Digest {
        let sealed = |item: &Item| item.content.is_some_and(|content| content.sealed);
        if !self.items.values().any(sealed) {
            return self.write(|_, _| ()).digest;
        }
        let mut said = self.clone();
        said.items.values_mut().filter(|item| sealed(item)).for_each(|item| item.content = None);
        said.write(|_, _| ()).digest
    }

    /// Makes the blobs of the stored form, one after the other, the root last; gives the root.
    fn write(&self, mut each: impl FnMut(BlobRef, Vec<u8>)) -> BlobRef {
        let mut blob = |stored: &Writing<'_>| {
            let bytes = canonical(stored);
            let at = BlobRef::of(&bytes);
            each(at, bytes);
            at
        };
        if self.items.len() <= WHOLE {
            return blob(&Writing::Items(self.items.iter().collect()));
        }
        let mut chunks: BTreeMap<u8, BTreeMap<&Address, &Item>> = BTreeMap::new();
        for (address, item) in &self.items {
            chunks.entry(Digest::of(address.as_str().as_bytes()).0[0]).or_default().insert(address, item);
        }
        let names = chunks.into_iter().map(|(name, items)| (format!("{name:02x}"), blob(&Writing::Items(items)))).collect();
        blob(&Writing::Chunks(names))
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
