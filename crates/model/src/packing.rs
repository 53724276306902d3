//! A manifest's stored form beside it, by digests alone: so that packing the next manifest costs what differs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::manifest::{WHOLE, Writing, canonical_items};
use crate::{Address, BlobRef, Digest, Item, Manifest, beside, canonical};

/// A manifest and what its stored form is made of.
#[derive(Clone, Debug)]
pub struct Packing {
    manifest: Arc<Manifest>,
    /// By the first byte of the addresses' digests; none where the manifest is one blob.
    chunks: BTreeMap<u8, Arc<Chunk>>,
    root: BlobRef,
}

#[derive(Debug)]
struct Chunk {
    addresses: BTreeSet<Address>,
    blob: BlobRef,
}

impl Packing {
    pub fn of(manifest: Arc<Manifest>) -> Packing {
        let mut parts: BTreeMap<u8, Vec<(&Address, &Item)>> = BTreeMap::new();
        if manifest.items.len() > WHOLE {
            manifest.items.iter().for_each(|item| parts.entry(name(item.0)).or_default().push(item));
        }
        let chunk = |items: Vec<(&Address, &Item)>| {
            let blob = BlobRef::of(&canonical_items(&items));
            Arc::new(Chunk { addresses: items.into_iter().map(|(address, _)| address.clone()).collect(), blob })
        };
        let chunks = parts.into_iter().map(|(name, items)| (name, chunk(items))).collect();
        Packing::new(manifest, chunks)
    }

    /// Packs the next manifest: only chunks in which something is otherwise are written anew.
    pub fn next(&self, manifest: Arc<Manifest>) -> Packing {
        if Arc::ptr_eq(&self.manifest, &manifest) {
            return self.clone();
        }
        let otherwise = beside(&self.manifest.items, &manifest.items).filter(|(_, before, now)| before != now);
        let otherwise: Vec<Address> = otherwise.map(|(address, ..)| address.clone()).collect();
        self.touched(manifest, &otherwise)
    }

    /// Packs a manifest in which so much is otherwise (`None`: gone): what is not named costs one copy of a table that shares
    /// its texts.
    pub fn with(&self, changes: Vec<(Address, Option<Item>)>) -> Packing {
        let mut manifest = Manifest::clone(&self.manifest);
        let mut addresses = Vec::with_capacity(changes.len());
        for (address, item) in changes {
            match item {
                Some(item) => manifest.items.insert(address.clone(), item),
                None => manifest.items.remove(&address),
            };
            addresses.push(address);
        }
        self.touched(Arc::new(manifest), &addresses)
    }

    /// Packs a manifest that is otherwise at these addresses and nowhere else.
    fn touched(&self, manifest: Arc<Manifest>, addresses: &[Address]) -> Packing {
        if self.chunks.is_empty() || manifest.items.len() <= WHOLE {
            return Packing::of(manifest);
        }
        let mut touched: BTreeMap<u8, Vec<&Address>> = BTreeMap::new();
        addresses.iter().for_each(|address| touched.entry(name(address)).or_default().push(address));
        let mut chunks = self.chunks.clone();
        for (name, changed) in touched {
            let mut addresses = chunks.remove(&name).map(|chunk| chunk.addresses.clone()).unwrap_or_default();
            for address in changed {
                match manifest.items.contains_key(address) {
                    true => addresses.insert(address.clone()),
                    false => addresses.remove(address),
                };
            }
            if !addresses.is_empty() {
                let blob = BlobRef::of(&bytes(&manifest, &addresses));
                chunks.insert(name, Arc::new(Chunk { addresses, blob }));
            }
        }
        Packing::new(manifest, chunks)
    }

    fn new(manifest: Arc<Manifest>, chunks: BTreeMap<u8, Arc<Chunk>>) -> Packing {
        let root = BlobRef::of(&root(&manifest, &chunks));
        Packing { manifest, chunks, root }
    }

    pub fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    /// Names the whole manifest.
    pub fn root(&self) -> BlobRef {
        self.root
    }

    /// Whether it is stored in several blobs, of which the next manifest may have some alike.
    pub fn is_in_parts(&self) -> bool {
        !self.chunks.is_empty()
    }

    /// The blobs of the stored form that are not in an earlier one's, the root last.
    pub fn blobs(&self, before: Option<&Packing>) -> Vec<(BlobRef, Vec<u8>)> {
        let known =
            |name: &u8, chunk: &Chunk| before.and_then(|before| before.chunks.get(name)).is_some_and(|known| known.blob == chunk.blob);
        let new = self.chunks.iter().filter(|(name, chunk)| !known(name, chunk));
        let mut blobs: Vec<(BlobRef, Vec<u8>)> = new.map(|(_, chunk)| (chunk.blob, bytes(&self.manifest, &chunk.addresses))).collect();
        if before.is_none_or(|before| before.root != self.root) {
            blobs.push((self.root, root(&self.manifest, &self.chunks)));
        }
        blobs
    }
}

fn name(address: &Address) -> u8 {
    Digest::of(address.as_str().as_bytes()).0[0]
}

fn bytes(manifest: &Manifest, addresses: &BTreeSet<Address>) -> Vec<u8> {
    let items: Vec<(&Address, &Item)> = addresses.iter().filter_map(|address| Some((address, manifest.items.get(address)?))).collect();
    canonical_items(&items)
}

fn root(manifest: &Manifest, chunks: &BTreeMap<u8, Arc<Chunk>>) -> Vec<u8> {
    if chunks.is_empty() {
        return canonical_items(&manifest.items.iter().collect::<Vec<_>>());
    }
    canonical(&Writing::Chunks(chunks.iter().map(|(name, chunk)| (format!("{name:02x}"), chunk.blob)).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Fingerprint;

    fn manifest(of: impl Iterator<Item = (usize, u32)>) -> Arc<Manifest> {
        let item = |looks: u32| Item { fingerprint: Fingerprint::new(format!("1:file:644:{looks}")), content: None, errand: false };
        Arc::new(Manifest { items: of.map(|(at, looks)| (Address::new(format!("d{}/f{at}", at % 7)), item(looks))).collect() })
    }

    #[test]
    fn a_next_packing_is_what_packing_anew_gives() {
        let shapes = [0, 1, WHOLE, WHOLE + 1, 3000];
        for from in shapes {
            for to in shapes {
                let before = manifest((0..from).map(|at| (at, 0)));
                // Some changed, some new, some gone.
                let after = manifest((to / 50..to + to / 90).map(|at| (at, u32::from(at % 97 == 0))));
                let (earlier, anew) = (Packing::of(before), Packing::of(after.clone()));
                let next = earlier.next(after.clone());
                let otherwise = beside(&earlier.manifest.items, &after.items).filter(|(_, before, now)| before != now);
                let changes = otherwise.map(|(address, _, now)| (address.clone(), now.cloned())).collect();
                for packed in [&next, &earlier.with(changes)] {
                    assert_eq!((packed.root(), packed.blobs(None)), (anew.root(), anew.blobs(None)), "{from} to {to}");
                }
                let known: Vec<_> = earlier.blobs(None);
                let new: Vec<_> = next.blobs(None).into_iter().filter(|blob| !known.contains(blob)).collect();
                assert_eq!(next.blobs(Some(&earlier)), new, "{from} to {to}");
            }
        }
    }

    #[test]
    fn one_change_among_ten_thousand_is_one_chunk_and_the_root() {
        let before = Packing::of(manifest((0..10_000).map(|at| (at, 0))));
        let after = before.next(manifest((0..10_000).map(|at| (at, u32::from(at == 4711)))));
        let blobs = after.blobs(Some(&before));
        assert_eq!(blobs.len(), 2);
        assert!(blobs.iter().map(|(blob, _)| blob.bytes).sum::<u64>() < 60_000);
        assert_eq!(after.next(before.manifest.clone()).root(), before.root());
    }

    #[test]
    fn items_are_written_as_canonical_json_whatever_they_hold() {
        let contents = [None, Some((0, false)), Some((7, true)), Some((1 << 53, false)), Some((u64::MAX, true))];
        let addresses = ["a", "a/b", "a.b", "é", "\u{e000}", "\u{10000}", "z \"quoted\" \\ \u{1}"];
        for content in contents {
            for errand in [false, true] {
                let content = content.map(|(bytes, sealed)| BlobRef { digest: Digest::of(b"x"), bytes, sealed });
                let item = Item { fingerprint: Fingerprint::new("1:file:644:\"é\""), content, errand };
                for count in 0..=addresses.len() {
                    let items: BTreeMap<Address, Item> =
                        addresses[..count].iter().map(|address| (Address::new(*address), item.clone())).collect();
                    let written = canonical_items(&items.iter().collect::<Vec<_>>());
                    let expect = canonical(&Writing::Items(items.iter().collect()));
                    assert_eq!(String::from_utf8(written), String::from_utf8(expect));
                }
            }
        }
    }
}
