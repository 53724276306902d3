//! `chain`: renderers of Kubernetes objects one after the other. What one makes lies, as the file `rendered.yaml`, in the
//! folder that the next one works from.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use trued_doors::{Answer, BoxFuture, Bundle, BundleEntry, BundleReader, Descriptor, RenderInput, Rendered, Renderer};
use trued_model::{BlobRef, Digest, Finding, Shape, encode_path};

use crate::copy::in_source;
use crate::objects::{no_secrets, within};
use crate::program::{below, settings};
use crate::{Helm, Jsonnet, Kustomize};

/// The file in which a step finds what the one before it made.
const BETWEEN: &str = "rendered.yaml";

/// Bytes of objects between two steps, which are held in memory.
const MAX_BETWEEN: u64 = 64 << 20;

/// More than these are a program, not a chain.
const MOST_STEPS: usize = 8;

/// Renders in steps.
pub struct Chain {
    /// By kind.
    steps: BTreeMap<&'static str, Arc<dyn Renderer>>,
    /// Its own version and theirs.
    version: String,
}

impl Default for Chain {
    fn default() -> Chain {
        let steps: [Arc<dyn Renderer>; 3] = [Arc::new(Helm::default()), Arc::new(Jsonnet::default()), Arc::new(Kustomize::default())];
        let steps: BTreeMap<_, _> = steps.into_iter().map(|step| (step.describe().kind, step)).collect();
        let version = steps.values().fold("chain-1".to_owned(), |all, step| format!("{all} {}", step.version()));
        Chain { steps, version }
    }
}

/// The settings.
#[derive(Deserialize)]
struct Settings {
    steps: Vec<Map<String, Value>>,
}

impl Renderer for Chain {
    fn describe(&self) -> Descriptor {
        let steps: Map<String, Value> = self.steps.iter().map(|(kind, step)| ((*kind).to_owned(), as_step(&step.describe()))).collect();
        Descriptor {
            kind: "chain",
            summary: "the Kubernetes objects that renderers make one after the other",
            schema: json!({
                "type": "object",
                "required": ["path", "steps"],
                "additionalProperties": false,
                "properties": {
                    "path": { "type": "string", "description": "the folder in the source that holds what all steps read" },
                    "steps": {
                        "type": "array", "minItems": 1, "maxItems": MOST_STEPS,
                        "items": { "type": "object", "properties": steps, "additionalProperties": false, "minProperties": 1, "maxProperties": 1 },
                        "description": "renderers with their settings, without `path`: each finds what the one before it made as \
                                        `rendered.yaml` in its `overlay`, in its `chart`, or beside its `main`",
                    },
                    "vars": { "type": "object", "description": "external variables of the steps that are `jsonnet`" },
                },
            }),
            example: json!({
                "path": "deploy",
                "steps": [{ "helm": { "chart": "chart", "name": "shop" } }, { "kustomize": { "overlay": "overlays/prod" } }],
            }),
            paths: &["/path"],
            pulls: &["/steps/*/helm/chart", "/steps/*/helm/dependencies/*"],
        }
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn programs<'a>(&self, settings: &'a Value) -> Vec<&'a str> {
        let steps = settings["steps"].as_array().into_iter().flatten().filter_map(|step| step.as_object()?.keys().next());
        steps.map(String::as_str).collect()
    }

    fn render(&self, input: RenderInput) -> BoxFuture<'_, Result<Rendered, Vec<Finding>>> {
        Box::pin(self.walk(input))
    }
}

/// A renderer's schema as that of a step: the chain says the path, and the variables.
fn as_step(descriptor: &Descriptor) -> Value {
    let mut schema = descriptor.schema.clone();
    if let Some(properties) = schema["properties"].as_object_mut() {
        properties.retain(|key, _| !matches!(key.as_str(), "path" | "vars"));
    }
    if let Some(required) = schema["required"].as_array_mut() {
        required.retain(|key| key != "path");
    }
    schema["description"] = descriptor.summary.into();
    schema
}

impl Chain {
    async fn walk(&self, input: RenderInput) -> Result<Rendered, Vec<Finding>> {
        no_secrets(&input)?;
        let Settings { steps } = settings("chain", &input.settings)?;
        let last = steps.len().saturating_sub(1);
        let (mut between, mut tools, mut level) = (None, Vec::new(), None);
        for (at, step) in steps.into_iter().enumerate() {
            let Some((kind, settings)) = step.into_iter().next() else { continue };
            let Some(renderer) = self.steps.get(kind.as_str()) else { continue };
            let bundle = match between.take() {
                None => input.bundle.clone(),
                Some(stream) => with_between(&input.bundle, &folder_of(&kind, &settings), stream)?,
            };
            let step = RenderInput {
                bundle,
                settings,
                into: input.into.clone(),
                vars: if kind == "jsonnet" { input.vars.clone() } else { BTreeMap::new() },
                secrets: BTreeMap::new(),
                pulled: input.pulled.clone(),
                // What lies between is kept by nobody.
                sensitive: if at == last { input.sensitive.clone() } else { Vec::new() },
                seal: input.seal.clone(),
                known: Arc::default(),
                only: None,
                runner: input.runner.clone(),
                sandbox: input.sandbox.clone(),
                repeat: input.repeat,
                elsewhere: input.elsewhere,
            };
            let named = |finding: Finding| Finding { message: format!("step {} (`{kind}`): {}", at + 1, finding.message), ..finding };
            let mut rendered = renderer.render(step).await.map_err(|findings| findings.into_iter().map(named).collect::<Vec<_>>())?;
            tools.append(&mut rendered.tools);
            level = [level, rendered.sandbox].into_iter().flatten().min();
            if at == last {
                return Ok(Rendered { tools, sandbox: level, ..rendered });
            }
            between = Some(stream_of(&rendered)?);
        }
        Err(vec![Finding::new("a chain without steps makes nothing", "write at least one step")])
    }
}

/// The folder that a step works from, below the bundle.
fn folder_of(kind: &str, settings: &Value) -> String {
    let said = |key: &str| settings[key].as_str().unwrap_or_default();
    let path = match kind {
        "kustomize" => below(said("overlay")),
        "helm" => below(said("chart")),
        _ => below(said("main")).map(|main| main.parent().map(Into::into).unwrap_or_default()),
    };
    path.map(|path| encode_path(path.as_os_str().as_bytes())).unwrap_or_default()
}

/// All objects of a render as one stream.
fn stream_of(rendered: &Rendered) -> Result<Vec<u8>, Vec<Finding>> {
    let mut stream = Vec::new();
    let bytes = rendered.documents.iter().fold(0_u64, |sum, document| sum.saturating_add(document.content.bytes));
    if bytes > MAX_BETWEEN {
        let message = format!("a step makes {bytes} bytes of objects, more than the {MAX_BETWEEN} that the next one is given");
        return Err(vec![Finding::new(message, "split it into several stacks")]);
    }
    for document in rendered.documents.iter().filter(|document| matches!(document.shape, Shape::File { .. })) {
        let mut from = rendered.contents.open(&document.content).map_err(|refusal| vec![Finding::new(refusal.message, refusal.help)])?;
        stream.extend_from_slice(b"---\n");
        from.read_to_end(&mut stream).map_err(|error| vec![Finding::new(format!("what a step made cannot be read: {error}"), "")])?;
        stream.push(b'\n');
    }
    Ok(stream)
}

/// The bundle, with what the step before made in a folder of it.
fn with_between(bundle: &Bundle, folder: &str, stream: Vec<u8>) -> Result<Bundle, Vec<Finding>> {
    let path = within(folder, BETWEEN);
    if bundle.entries.contains_key(path.as_str()) {
        let message = format!("`{}` is where a step finds what the one before it made", in_source(bundle, &path));
        return Err(vec![Finding::new(message, "rename the file of the source").at(in_source(bundle, &path), 1, 1)]);
    }
    let entry = BundleEntry {
        shape: Shape::File { executable: false },
        bytes: stream.len() as u64,
        id: Digest::of(&stream).to_string().into(),
        content: None,
    };
    let mut entries = BTreeMap::clone(&bundle.entries);
    entries.insert(path.as_str().into(), entry);
    let reader = Arc::new(WithOne { base: bundle.reader.clone(), path, bytes: stream.into() });
    Ok(Bundle { entries: Arc::new(entries), reader, ..bundle.clone() })
}

/// A bundle's reader, and one file more.
struct WithOne {
    base: Arc<dyn BundleReader>,
    path: String,
    bytes: Arc<[u8]>,
}

impl BundleReader for WithOne {
    fn read(&self, path: &str) -> Answer<Vec<u8>> {
        if path == self.path { Ok(self.bytes.to_vec()) } else { self.base.read(path) }
    }

    fn open(&self, path: &str) -> Answer<Box<dyn Read + Send>> {
        if path == self.path { Ok(Box::new(Cursor::new(self.bytes.clone()))) } else { self.base.open(path) }
    }

    fn name(&self, path: &str) -> Answer<BlobRef> {
        if path == self.path { Ok(BlobRef::of(&self.bytes)) } else { self.base.name(path) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_step_may_pull_the_chain_may_pull_for_it() {
        let chain = Chain::default();
        let of_steps =
            chain.steps.iter().flat_map(|(kind, step)| step.describe().pulls.iter().map(move |below| format!("/steps/*/{kind}{below}")));
        assert_eq!(of_steps.collect::<Vec<_>>(), chain.describe().pulls);
    }
}
