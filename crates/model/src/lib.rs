//! The nouns of Trued: values only. No I/O, no clock, no randomness; nothing of ours below it.

mod address;
pub mod body;
mod confine;
mod digest;
mod entry;
mod estate;
mod finding;
mod manifest;
mod name;
mod observation;
mod plan;
mod policy;
mod refusal;
mod resource;
mod revision;
mod secret;
mod signed;
mod text;
mod time;

pub use address::{Address, Fingerprint, decode_path, encode_path};
pub use confine::{Bound, Level, Limits, SandboxRules, Size};
pub use digest::{Digest, canonical};
pub use entry::{Actor, BlobNote, Draft, Entry, Indexed, Kind, Link, MAX_ENTRY};
pub use estate::{App, CheckSpec, Encrypted, Environment, Estate, Identity, RenderStep, SecretSource, SourceSpec, Stack, Target};
pub use finding::{Finding, Place};
pub use manifest::{BadManifest, Item, Manifest, PackedManifest};
pub use name::{Name, StackId, StackNames};
pub use observation::{Evidence, Extent, Observation, Seen, State};
pub use plan::{Action, Approval, Change, Decision, HoldKind, Part, Plan, Reason};
pub use policy::{Command, Deletes, DriftPolicy, OnDelete, OnExisting, Policy};
pub use refusal::{Code, Refusal};
pub use resource::{BlobRef, Desired, Document, Origin, Resource, Shape};
pub use revision::{Commit, Relation, Revision, Want};
pub use secret::Secret;
pub use signed::{PathNote, SignatureNote, SignerNote, SignerPolicy, Verified};
pub use time::{Duration, Timestamp};
