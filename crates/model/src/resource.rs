//! What is wanted: rendered documents, and the resources a driver reads from them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Address, Clears, Digest, Errand, Fingerprint, Item, Manifest, SharedText, beside};

/// Bytes in the blob store. `digest` is of the stored bytes; a sealed blob stores cipher text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BlobRef {
    pub digest: Digest,
    pub bytes: u64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sealed: bool,
}

impl BlobRef {
    /// Names public bytes.
    pub fn of(bytes: &[u8]) -> BlobRef {
        BlobRef { digest: Digest::of(bytes), bytes: bytes.len() as u64, sealed: false }
    }
}

/// What kind of thing a document is in its tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    File {
        executable: bool,
    },
    /// The content is the link's text.
    Link,
    /// An empty folder; a folder with something in it needs no document.
    Folder,
}

/// One rendered thing, as the renderer gives it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// Path in the rendered tree, written by [`crate::encode_path`], `/` between names.
    pub path: String,
    pub shape: Shape,
    /// SHA-256 of the plain bytes; for a sealed document a keyed digest of it, so that it tells nothing.
    pub identity: Digest,
    pub content: BlobRef,
    /// The text, where the driver asked for it in its descriptor.
    #[serde(skip)]
    pub text: Option<Arc<str>>,
}

/// Where a resource was written down.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    pub file: SharedText,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
}

/// One managed thing in canonical form, as a driver reads it from documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    pub address: Address,
    pub fingerprint: Fingerprint,
    /// The bytes that make it so; `None` where the fingerprint says it all (an empty folder).
    pub content: Option<BlobRef>,
    pub origin: Origin,
}

impl Resource {
    /// As it stands in a manifest.
    pub fn item(&self) -> Item {
        Item { fingerprint: self.fingerprint.clone(), content: self.content, errand: false }
    }
}

/// Why a resource cannot be made yet: its target does not know its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deferred {
    /// How addresses of its kind begin.
    pub kind: String,
    pub why: String,
}

/// The whole desired state of one stack, from one complete render. There is no partial one: a render that
/// fails gives none, and nothing is decided from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    pub resources: BTreeMap<Address, Resource>,
    /// What runs once for it. No address is in both.
    pub errands: BTreeMap<Address, Errand>,
}

impl Desired {
    /// The desired state as it is stored and named: addresses, fingerprints, contents.
    pub fn manifest(&self) -> Manifest {
        let item = |one: &Resource, errand| (one.address.clone(), Item { errand, ..one.item() });
        let lasting = self.resources.values().map(|resource| item(resource, false));
        Manifest { items: lasting.chain(self.errands.values().map(|errand| item(&errand.resource, true))).collect() }
    }

    /// Takes a stored manifest as the desired state: how a rollback wants what once landed. Errands have no turn then: what they
    /// left stays as it is.
    pub fn from_manifest(manifest: &Manifest) -> Desired {
        let mut desired = Desired::default();
        for (address, item) in &manifest.items {
            let origin = Origin { file: address.text().clone(), line: None };
            let resource = Resource { address: address.clone(), fingerprint: item.fingerprint.clone(), content: item.content, origin };
            if item.errand {
                let errand = Errand { resource, first: None, next: None, clears: Clears::default(), ends: Vec::new() };
                desired.errands.insert(address.clone(), errand);
            } else {
                desired.resources.insert(address.clone(), resource);
            }
        }
        desired
    }

    /// All that is written down, in the order of addresses.
    pub fn each(&self) -> impl Iterator<Item = (&Address, &Resource)> {
        let all = beside(&self.resources, &self.errands);
        all.filter_map(|(address, lasting, once)| Some((address, lasting.or(once.map(|errand| &errand.resource))?)))
    }

    /// Whether an address is desired, for good or for once.
    pub fn wants(&self, address: &Address) -> bool {
        self.resources.contains_key(address) || self.errands.contains_key(address)
    }

    /// What is desired at an address, for good or for once.
    pub fn all_at(&self, address: &Address) -> Option<&Resource> {
        self.resources.get(address).or_else(|| self.errands.get(address).map(|errand| &errand.resource))
    }

    /// All that is written down, by address.
    pub fn all(&self) -> BTreeMap<&Address, &Resource> {
        self.each().collect()
    }
}
