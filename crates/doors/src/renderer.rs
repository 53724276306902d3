//! From a bundle to documents.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::Value;
use trued_model::{BlobRef, Digest, Document, Finding, Level, SandboxRules, Secret, SharedText, Tool};

use crate::{BoxFuture, Bundle, Contents, Descriptor, Runner, Seal};

/// One kind of renderer. The same input gives the same output; it has no network, clock or host files.
pub trait Renderer: Send + Sync {
    fn describe(&self) -> Descriptor;

    /// A word that changes whenever this renderer may give other output for the same input; part of the render key.
    fn version(&self) -> &str;

    /// The programs of others that it runs with these settings: their digests are part of the render key, they take their
    /// own time, and when one fails on the same inputs it is not run again at once.
    fn programs<'a>(&self, settings: &'a Value) -> Vec<&'a str> {
        let _ = settings;
        Vec::new()
    }

    /// Whether each entry of a bundle becomes one document of the same path, whatever else is in the bundle: then only what is
    /// otherwise than before need be rendered ([`RenderInput::only`]).
    fn piecewise(&self) -> bool {
        false
    }

    /// Renders. On failure all findings at once (file, line, what to do) and no documents.
    fn render(&self, input: RenderInput) -> BoxFuture<'_, Result<Rendered, Vec<Finding>>>;
}

/// All of a render's inputs.
pub struct RenderInput {
    pub bundle: Bundle,
    pub settings: Value,
    /// The stack's place on its target, in the target's own terms; for Kubernetes a namespace.
    pub into: String,
    pub vars: BTreeMap<String, Value>,
    /// Secret values by the name templates use. What they touch is sealed whole.
    pub secrets: BTreeMap<String, Secret>,
    /// The archives that the settings name, by their digests there, already proven ([`Descriptor::pulls`]).
    pub pulled: BTreeMap<Digest, Arc<[u8]>>,
    /// Globs of document paths that are sealed whole.
    pub sensitive: Vec<String>,
    pub seal: Arc<dyn Seal>,
    /// What an earlier render of the same path gave, so that unchanged entries are not read again:
    /// by (entry id, shape) as the source names it, only for entries that were copied as they are.
    pub known: Arc<Known>,
    /// Of a renderer that works piecewise, only the documents of these entries are asked for.
    pub only: Option<BTreeSet<String>>,
    /// Starts the programs that some renderers need.
    pub runner: Arc<dyn Runner>,
    /// How those programs are held; its limits are those of this stack.
    pub sandbox: SandboxRules,
    /// Whether this only shows that it gives the same again: then what no render may depend on is otherwise, where it can.
    pub repeat: bool,
    /// Whether what programs are promised of their place is otherwise too: locale, zone, dates of files, name of the machine.
    pub elsewhere: bool,
}

/// What entries of a bundle are stored as, by their ids.
pub type Known = HashMap<SharedText, BlobRef>;

/// A complete render. There is no partial one.
pub struct Rendered {
    /// Sorted by path, unique.
    pub documents: Vec<Document>,
    /// Where the documents' bytes are to be had until they are kept as blobs.
    pub contents: Arc<dyn Contents>,
    /// Entry id → blob of the entries that were copied as they are; the next render's `known`.
    pub copied: Arc<Known>,
    /// How well the program that made it was confined, if one did.
    pub sandbox: Option<Level>,
    /// The programs of others that made it, in the order they ran.
    pub tools: Vec<Tool>,
}
