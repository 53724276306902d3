//! The ledger: an append-only record of entries under a Merkle tree with signed heads, content-addressed bytes and
//! sealed secrets beside it. Decides nothing about stacks; one file per store.

pub mod blobs;
pub mod checkpoint;
mod disk;
mod draft;
#[cfg(feature = "sqlite")]
mod folder;
mod keys;
mod lease;
mod memory;
pub mod note;
mod process;
mod seal;
#[cfg(feature = "sqlite")]
mod seen;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(feature = "sqlite")]
mod tiles;
pub mod tree;
#[cfg(feature = "sqlite")]
mod verify;

pub use blobs::{DiskBlobs, MemoryBlobs, ScratchBlobs};
#[cfg(feature = "sqlite")]
pub use folder::{Ledger, Mode};
pub use memory::MemoryStore;
pub use process::this as this_process;
pub use seal::{KeyedSeal, NullSeal};
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteStore;
#[cfg(feature = "sqlite")]
pub use verify::{Verification, VerifyOptions};
