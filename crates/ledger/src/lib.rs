//! The ledger: an append-only record of entries under a Merkle tree with signed heads, content-addressed bytes and
//! sealed secrets beside it. Decides nothing about stacks; one file per store.
//!
//! Without the feature `sqlite` there is only what needs no disk: the store and the blobs of simulated worlds, and the
//! formats.

mod blobs;
pub mod checkpoint;
#[cfg(feature = "sqlite")]
mod data_keys;
#[cfg(feature = "sqlite")]
mod disk;
mod draft;
#[cfg(feature = "sqlite")]
mod folder;
#[cfg(feature = "sqlite")]
mod keys;
mod lease;
mod memory;
pub mod note;
mod null_seal;
#[cfg(feature = "sqlite")]
mod process;
#[cfg(feature = "sqlite")]
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

#[cfg(feature = "sqlite")]
pub use blobs::DiskBlobs;
pub use blobs::{MemoryBlobs, ScratchBlobs};
#[cfg(feature = "sqlite")]
pub use data_keys::{DataKey, Rotated};
#[cfg(feature = "sqlite")]
pub use folder::{Ledger, Mode};
pub use memory::MemoryStore;
pub use null_seal::NullSeal;
#[cfg(feature = "sqlite")]
pub use process::this as this_process;
#[cfg(feature = "sqlite")]
pub use seal::KeyedSeal;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteStore;
#[cfg(feature = "sqlite")]
pub use verify::{Verification, VerifyOptions};
