//! The ledger: an append-only record of entries under a Merkle tree with signed heads, content-addressed bytes and
//! sealed secrets beside it. Decides nothing about stacks; one file per store.

pub mod checkpoint;
pub mod note;
pub mod tree;
