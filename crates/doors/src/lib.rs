//! The traits at the edge of Trued, and nothing else. Whatever touches the world stands behind one of these.
//!
//! All futures are boxed so that the runtime can hold any mix of implementations. Implementations that do blocking
//! I/O move it off the async worker themselves. None of them decides anything: they look, fetch, write and answer.

use std::sync::Arc;

pub use futures::future::BoxFuture;
pub use futures::stream::BoxStream;

mod blobs;
mod cache;
mod check;
mod clock;
mod configuration;
#[cfg(feature = "conformance")]
pub mod conformance;
mod descriptor;
mod driver;
mod happening;
mod pull;
mod renderer;
mod runner;
mod seal;
mod settings;
mod source;
mod store;
mod survey;

pub use blobs::{Blobs, Contents};
pub use cache::Cache;
pub use check::{Check, Checking};
pub use clock::Clock;
pub use configuration::{Configuration, Configured};
pub use descriptor::Descriptor;
pub use driver::{
    Ask, Asked, Candidate, Compared, Connection, Done, Driver, Facts, Glance, HealthAsk, Hint, Kept, Link, Misfit, Order, Parsed, Reading,
    Reread, Rereading,
};
pub use happening::{Happening, Told};
pub use pull::{NoPuller, Puller};
pub use renderer::{Known, RenderInput, Rendered, Renderer};
pub use runner::{Confined, Confines, Exit, Program, Room, Runner, Talk, Talking, Workspace};
pub use seal::{Seal, Secrets};
pub use settings::TargetSettings;
pub use source::{Bundle, BundleEntry, BundleReader, Judgement, Source, SourceKind, SourceOpening};
pub use store::{Fence, Holder, Lease, Query, Store, TreeHead, first};
pub use survey::{Found, Sourced, Survey};

/// Shorthand for what most doors answer.
pub type Answer<T> = Result<T, trued_model::Refusal>;

/// A shared door.
pub type Door<T> = Arc<T>;
