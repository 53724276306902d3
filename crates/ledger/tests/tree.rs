//! The tree's mathematics against the vectors of RFC 6962 and another implementation.

use std::convert::Infallible;

use ct_merkle::{HashableLeaf, InclusionProof, mem_backed_tree::MemoryBackedTree};
use proptest::prelude::*;
use trued_ledger::tree::{self, Frontier};
use trued_model::Digest;

type TheirSha = sha2_of_ct_merkle::Sha256;

/// Stored levels, as a store would keep them.
#[derive(Default)]
struct Stored {
    levels: Vec<Vec<Digest>>,
    frontier: Frontier,
}

impl Stored {
    fn of(leaves: &[Vec<u8>]) -> Stored {
        let mut stored = Stored::default();
        for leaf in leaves {
            let Stored { levels, frontier } = &mut stored;
            frontier.push(tree::leaf_hash(leaf), |level, n, hash| {
                let level = level as usize;
                levels.resize_with(levels.len().max(level + 1), Vec::new);
                assert_eq!(levels[level].len() as u64, n, "hashes come in order");
                levels[level].push(*hash);
            });
        }
        stored
    }

    fn read(&self) -> impl FnMut(u32, u64, u64) -> Result<Vec<Digest>, Infallible> {
        |level, first, count| Ok(self.levels[level as usize][first as usize..(first + count) as usize].to_vec())
    }
}

fn numbered(count: u64) -> Vec<Vec<u8>> {
    (0..count).map(|n| n.to_le_bytes().to_vec()).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|n| u8::from_str_radix(&hex[n * 2..n * 2 + 2], 16).unwrap()).collect()
}

/// The eight inputs and roots that the Certificate Transparency project tests RFC 6962 with.
#[test]
fn roots_are_those_of_certificate_transparency() {
    let inputs = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    let roots = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let mut frontier = Frontier::default();
    assert_eq!(frontier.root().hex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    for (input, root) in inputs.into_iter().zip(roots) {
        frontier.push(tree::leaf_hash(&bytes(input)), |_, _, _| ());
        assert_eq!(frontier.root().hex(), root);
    }
}

#[test]
fn a_frontier_is_loaded_from_stored_levels() {
    let leaves = numbered(70_000);
    let stored = Stored::of(&leaves);
    assert_eq!(stored.levels.iter().map(Vec::len).collect::<Vec<_>>(), [70_000, 273, 1]);
    assert_eq!(Frontier::load(70_000, stored.read()), Ok(stored.frontier.clone()));
    for size in [0, 1, 255, 256, 257, 65_535, 65_536, 65_537] {
        let frontier = Frontier::load(size, stored.read()).unwrap();
        assert_eq!(frontier, Stored::of(&leaves[..size as usize]).frontier);
    }
}

fn theirs(leaves: &[Vec<u8>]) -> MemoryBackedTree<TheirSha, Leaf> {
    let mut tree = MemoryBackedTree::new();
    leaves.iter().for_each(|leaf| tree.push(Leaf(leaf.clone())));
    tree
}

#[derive(Clone)]
struct Leaf(Vec<u8>);

impl HashableLeaf for Leaf {
    fn hash<H: sha2_of_ct_merkle::digest::Update>(&self, hasher: &mut H) {
        hasher.update(&self.0);
    }
}

fn joined(proof: &[Digest]) -> Vec<u8> {
    proof.iter().flat_map(|hash| hash.0).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn proofs_are_those_of_another_implementation(size in 1u64..1200, at in any::<prop::sample::Index>(), from in any::<prop::sample::Index>()) {
        let leaves = numbered(size);
        let (stored, theirs_now) = (Stored::of(&leaves), theirs(&leaves));
        let root = stored.frontier.root();
        let their_root = theirs_now.root();
        prop_assert_eq!(&root.0[..], &their_root.as_bytes()[..]);

        let index = at.index(size as usize) as u64;
        let proof = tree::prove_inclusion(index, size, stored.read()).unwrap();
        let their_proof = theirs_now.prove_inclusion(index as usize);
        prop_assert_eq!(joined(&proof), their_proof.as_bytes());
        let leaf = tree::leaf_hash(&leaves[index as usize]);
        prop_assert!(tree::includes(&proof, index, &leaf, size, &root));
        let taken = InclusionProof::<TheirSha>::try_from_bytes(joined(&proof)).unwrap();
        prop_assert!(theirs_now.root().verify_inclusion(&Leaf(leaves[index as usize].clone()), index, &taken).is_ok());

        let old = from.index(size as usize) as u64 + 1;
        let proof = tree::prove_consistency(old, size, stored.read()).unwrap();
        let their_proof = theirs_now.prove_consistency((size - old) as usize);
        if old < size {
            prop_assert_eq!(joined(&proof), their_proof.as_bytes());
        }
        let old_root = Stored::of(&leaves[..old as usize]).frontier.root();
        prop_assert!(tree::extends(&proof, old, &old_root, size, &root));
    }

    #[test]
    fn a_proof_of_something_else_is_refused(size in 2u64..600, at in any::<prop::sample::Index>(), which in any::<prop::sample::Index>()) {
        let leaves = numbered(size);
        let stored = Stored::of(&leaves);
        let root = stored.frontier.root();
        let index = at.index(size as usize) as u64;
        let leaf = tree::leaf_hash(&leaves[index as usize]);
        let proof = tree::prove_inclusion(index, size, stored.read()).unwrap();
        let mut bent = proof.clone();
        bent[which.index(proof.len())].0[7] ^= 1;
        prop_assert!(!tree::includes(&bent, index, &leaf, size, &root));
        prop_assert!(!tree::includes(&proof[1..], index, &leaf, size, &root));
        prop_assert!(!tree::includes(&[&proof[..], &proof[..1]].concat(), index, &leaf, size, &root));
        prop_assert!(!tree::includes(&proof, (index + 1) % size, &leaf, size, &root));
        prop_assert!(!tree::includes(&proof, index, &Digest::of(b"other"), size, &root));

        let old = 1 + index.min(size - 2);
        let old_root = Stored::of(&leaves[..old as usize]).frontier.root();
        let proof = tree::prove_consistency(old, size, stored.read()).unwrap();
        let mut bent = proof.clone();
        bent[which.index(proof.len())].0[7] ^= 1;
        prop_assert!(!tree::extends(&bent, old, &old_root, size, &root));
        prop_assert!(!tree::extends(&proof[1..], old, &old_root, size, &root));
        prop_assert!(!tree::extends(&proof, old, &Digest::of(b"other"), size, &root));
        prop_assert!(!tree::extends(&proof, size, &old_root, old, &root));
    }
}
