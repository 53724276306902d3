//! The Merkle tree of RFC 6962: hashes, roots, proofs. No storage: what is needed of it is asked for.
//!
//! Stored hashes come in the levels of C2SP tlog-tiles: level 0 holds leaf hashes, and each hash of level `L + 1`
//! covers 256 of level `L`. Everything between them is computed.

use sha2::{Digest as _, Sha256};
use trued_model::Digest;

/// Tree levels from one stored level to the next: 256 = 2^8 hashes make one.
const STEP: u32 = 8;

/// Hashes an entry's bytes: SHA-256(0x00 ‖ leaf).
pub fn leaf_hash(leaf: &[u8]) -> Digest {
    Digest(Sha256::new().chain_update([0]).chain_update(leaf).finalize().into())
}

/// Hashes two subtrees: SHA-256(0x01 ‖ left ‖ right).
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    Digest(Sha256::new().chain_update([1]).chain_update(left.0).chain_update(right.0).finalize().into())
}

/// Gives `count` stored hashes of a level, beginning at `first`, all of which the tree has. Called with (level, first, count).
pub trait Hashes<E>: FnMut(u32, u64, u64) -> Result<Vec<Digest>, E> {}
impl<E, F: FnMut(u32, u64, u64) -> Result<Vec<Digest>, E>> Hashes<E> for F {}

/// The roots of the complete subtrees that a tree of some size consists of: all that appending needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// One for each bit set in `size`, the largest first.
    peaks: Vec<Digest>,
}

impl Frontier {
    /// Reads the frontier of the tree's first `size` entries.
    pub fn load<E>(size: u64, mut read: impl Hashes<E>) -> Result<Frontier, E> {
        let mut peaks = Vec::new();
        let mut first = 0;
        for height in (0..u64::BITS).rev().filter(|height| size & (1 << height) != 0) {
            peaks.push(subtree(height, first >> height, &mut read)?);
            first += 1 << height;
        }
        Ok(Frontier { size, peaks })
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf's hash; `store` gets each hash that has a stored level, with its level and its place there.
    pub fn push(&mut self, leaf: Digest, mut store: impl FnMut(u32, u64, &Digest)) {
        store(0, self.size, &leaf);
        let mut node = leaf;
        for height in 1..=self.size.trailing_ones() {
            let left = self.peaks.pop().expect("a bit set in the size has its peak");
            node = node_hash(&left, &node);
            if height.is_multiple_of(STEP) {
                store(height / STEP, self.size >> height, &node);
            }
        }
        self.peaks.push(node);
        self.size += 1;
    }

    /// The tree's root; of the empty tree SHA-256 of nothing.
    pub fn root(&self) -> Digest {
        let mut peaks = self.peaks.iter().rev();
        match peaks.next() {
            None => Digest::of(b""),
            Some(last) => peaks.fold(*last, |right, left| node_hash(left, &right)),
        }
    }
}

/// Proves that entry `index` is in the tree of `size` entries (RFC 6962 section 2.1.1): the siblings from the leaf up.
pub fn prove_inclusion<E>(index: u64, size: u64, mut read: impl Hashes<E>) -> Result<Vec<Digest>, E> {
    assert!(index < size, "only what is in the tree can be proven to be");
    let (mut first, mut end) = (0, size);
    let mut siblings = Vec::new();
    while end - first > 1 {
        let middle = first + split(end - first);
        if index < middle {
            siblings.push((middle, end));
            end = middle;
        } else {
            siblings.push((first, middle));
            first = middle;
        }
    }
    siblings.into_iter().rev().map(|(first, end)| range(first, end, &mut read)).collect()
}

/// Proves that the tree of `size` entries begins with the one of `old` entries (RFC 6962 section 2.1.2).
pub fn prove_consistency<E>(old: u64, size: u64, mut read: impl Hashes<E>) -> Result<Vec<Digest>, E> {
    assert!(old <= size, "only a smaller tree can be a beginning");
    let (mut first, mut end) = (0, size);
    let mut parts = Vec::new();
    if old == 0 {
        return Ok(Vec::new());
    }
    while end != old {
        let middle = first + split(end - first);
        if old <= middle {
            parts.push((middle, end));
            end = middle;
        } else {
            parts.push((first, middle));
            first = middle;
        }
    }
    if first > 0 {
        parts.push((first, end));
    }
    parts.into_iter().rev().map(|(first, end)| range(first, end, &mut read)).collect()
}

/// Checks an inclusion proof against a root (RFC 9162 section 2.1.3.2).
pub fn includes(proof: &[Digest], index: u64, leaf: &Digest, size: u64, root: &Digest) -> bool {
    if index >= size {
        return false;
    }
    let (mut place, mut last, mut node) = (index, size - 1, *leaf);
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if place & 1 == 1 || place == last {
            node = node_hash(sibling, &node);
            let up = if place & 1 == 0 { place.trailing_zeros() } else { 0 };
            (place, last) = (place >> up, last >> up);
        } else {
            node = node_hash(&node, sibling);
        }
        (place, last) = (place >> 1, last >> 1);
    }
    last == 0 && node == *root
}

/// Checks a consistency proof between two roots (RFC 9162 section 2.1.4.2).
pub fn extends(proof: &[Digest], old: u64, old_root: &Digest, size: u64, root: &Digest) -> bool {
    if old == size {
        return proof.is_empty() && old_root == root;
    }
    if old == 0 || old > size {
        return old == 0 && proof.is_empty();
    }
    let mut proof = proof.iter();
    let start = if old.is_power_of_two() { Some(old_root) } else { proof.next() };
    let Some(start) = start else { return false };
    let up = (old - 1).trailing_ones();
    let (mut place, mut last) = ((old - 1) >> up, (size - 1) >> up);
    let (mut before, mut now) = (*start, *start);
    for part in proof {
        if last == 0 {
            return false;
        }
        if place & 1 == 1 || place == last {
            before = node_hash(part, &before);
            now = node_hash(part, &now);
            let up = if place & 1 == 0 { place.trailing_zeros() } else { 0 };
            (place, last) = (place >> up, last >> up);
        } else {
            now = node_hash(&now, part);
        }
        (place, last) = (place >> 1, last >> 1);
    }
    last == 0 && before == *old_root && now == *root
}

/// The largest power of two below a count of at least two: where RFC 6962 splits a tree.
fn split(count: u64) -> u64 {
    1 << (count - 1).ilog2()
}

/// The hash over entries `first..end`, where `first` is where a subtree of that size may begin.
fn range<E>(first: u64, end: u64, read: &mut impl Hashes<E>) -> Result<Digest, E> {
    let count = end - first;
    if count.is_power_of_two() {
        let height = count.trailing_zeros();
        return subtree(height, first >> height, read);
    }
    let middle = first + split(count);
    Ok(node_hash(&range(first, middle, read)?, &range(middle, end, read)?))
}

/// The root of a complete subtree: the `n`th of those with 2^`height` leaves.
fn subtree<E>(height: u32, n: u64, read: &mut impl Hashes<E>) -> Result<Digest, E> {
    let (level, above) = (height / STEP, height % STEP);
    let mut hashes = read(level, n << above, 1 << above)?;
    assert_eq!(hashes.len(), 1 << above, "a tree has the hashes below its size");
    while hashes.len() > 1 {
        hashes = hashes.chunks_exact(2).map(|pair| node_hash(&pair[0], &pair[1])).collect();
    }
    Ok(hashes[0])
}
