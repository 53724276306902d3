//! All doors in one place: what the wiring hands to the runtime.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use trued_doors::{Blobs, Cache, Check, Clock, Configuration, Driver, Holder, Puller, Renderer, Runner, Seal, Secrets, SourceKind, Store};

/// Everything the runtime may touch.
#[derive(Clone)]
pub struct Doors {
    pub store: Arc<dyn Store>,
    pub blobs: Arc<dyn Blobs>,
    pub seal: Arc<dyn Seal>,
    pub secrets: Arc<dyn Secrets>,
    pub clock: Arc<dyn Clock>,
    pub cache: Arc<dyn Cache>,
    pub configuration: Arc<dyn Configuration>,
    pub runner: Arc<dyn Runner>,
    /// By kind.
    pub sources: BTreeMap<String, Arc<dyn SourceKind>>,
    pub renderers: BTreeMap<String, Arc<dyn Renderer>>,
    pub drivers: BTreeMap<String, Arc<dyn Driver>>,
    pub checks: BTreeMap<String, Arc<dyn Check>>,
    pub puller: Arc<dyn Puller>,
    /// Who we are, for leases.
    pub holder: Holder,
    /// Folder for sources' own copies.
    pub source_cache: PathBuf,
}
