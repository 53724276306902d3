//! The ledger: an append-only record of entries under a Merkle tree with signed heads, content-addressed bytes and
//! sealed secrets beside it. Decides nothing about stacks; one file per store.

pub mod blobs;
pub mod checkpoint;
mod disk;
mod draft;
mod keys;
mod lease;
mod memory;
pub mod note;
mod process;
mod seal;
pub mod tree;

pub use blobs::{DiskBlobs, MemoryBlobs, ScratchBlobs};
pub use memory::MemoryStore;
pub use process::this as this_process;
pub use seal::{KeyedSeal, NullSeal};
