//! `template`: files named `*.j2` are rendered and lose the suffix; all others are copied byte for byte.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use minijinja::Value;
use minijinja::value::Serde;
use serde_json::json;
use trued_doors::{BoxFuture, BundleEntry, Descriptor, RenderInput, Rendered, Renderer};
use trued_model::{BlobRef, Digest, Document, Finding, Shape};

use crate::bounds::{MAX_OUTPUTS, STACK};
use crate::contents::{Origin, RenderedBytes};
use crate::copy::{Copied, bounded, copy, in_source, threads_for};
use crate::jinja::{Workshop, Written};
use crate::sensitive::Sensitive;
use crate::worker::{broken, off_the_worker};

const SUFFIX: &str = ".j2";

/// Names a template may not render to, whatever folder it is in: a source refuses them, and so does this.
const FORBIDDEN: [&str; 5] = ["", ".", "..", ".git", ".trued"];

/// Renders a tree of MiniJinja templates and other files.
pub struct Template;

impl Renderer for Template {
    fn describe(&self) -> Descriptor {
        Descriptor {
            kind: "template",
            summary: "a tree of files, of which those named *.j2 are templates and lose the suffix",
            schema: json!({
                "type": "object",
                "required": ["path"],
                "additionalProperties": false,
                "properties": {
                    "path": { "type": "string", "description": "the folder in the source that is rendered" },
                    "vars": {
                        "type": "object",
                        "description": "names the templates use: any values, or `{ secret: NAME }`; a file that uses a secret is sealed whole",
                    },
                },
            }),
            example: json!({ "path": "site", "vars": { "title": "Shop" } }),
            paths: &["/path"],
            reads_text: false,
        }
    }

    fn version(&self) -> &'static str {
        "template-1 minijinja-3.0.5"
    }

    fn render(&self, input: RenderInput) -> BoxFuture<'_, Result<Rendered, Vec<Finding>>> {
        Box::pin(off_the_worker(move || render(&input)))
    }
}

/// What a template's path becomes; `None` when it is not a template.
pub fn rendered_path(path: &str) -> Option<&str> {
    path.strip_suffix(SUFFIX)
}

fn is_template(path: &str, entry: &BundleEntry) -> bool {
    matches!(entry.shape, Shape::File { .. }) && rendered_path(path).is_some()
}

fn render(input: &RenderInput) -> Result<Rendered, Vec<Finding>> {
    let sensitive = Arc::new(Sensitive::new(&input.sensitive)?);
    bounded(&input.bundle, &sensitive)?;
    let (templates, others): (Vec<_>, Vec<_>) = input.bundle.entries.iter().partition(|(path, entry)| is_template(path, entry));
    let templates: Vec<&str> = templates.into_iter().map(|(path, _)| path.as_str()).collect();
    let others: Vec<&str> = others.into_iter().map(|(path, _)| path.as_str()).collect();

    let mut findings = misplaced(input, &templates, &others);
    let secrets = secret_values(input).unwrap_or_else(|bad| {
        findings.extend(bad);
        BTreeMap::new()
    });
    let copied = copy(input, &others, &sensitive).unwrap_or_else(|bad| {
        findings.extend(bad);
        Copied::default()
    });
    let vars = input.vars.iter().map(|(name, value)| (name.clone(), Value::from(Serde(value)))).collect();
    let workshop = Arc::new(Workshop::new(input.bundle.clone(), vars, secrets, sensitive));
    match write_all(&workshop, &templates) {
        Ok(written) if findings.is_empty() => Ok(complete(input, copied, written)),
        Ok(_) => Err(findings),
        Err(bad) => {
            findings.extend(bad);
            Err(findings)
        }
    }
}

/// Joins what was copied and what was written into one render.
fn complete(input: &RenderInput, copied: Copied, written: Vec<(&str, Written)>) -> Rendered {
    let Copied { mut documents, mut origins, known } = copied;
    for (path, Written { bytes, seal }) in written {
        let plain = Digest::of(&bytes);
        let (identity, bytes) = match seal {
            true => (input.seal.identity(&plain), input.seal.seal(&bytes)),
            false => (plain, bytes),
        };
        let digest = if seal { Digest::of(&bytes) } else { plain };
        let content = BlobRef { digest, bytes: bytes.len() as u64, sealed: seal };
        origins.entry(digest).or_insert(Origin::Held(bytes.into()));
        let output = rendered_path(path).unwrap_or(path).to_owned();
        documents.push(Document { path: output, shape: input.bundle.entries[path].shape, identity, content, text: None });
    }
    documents.sort_by(|one, other| one.path.cmp(&other.path));
    let contents = RenderedBytes { reader: input.bundle.reader.clone(), seal: input.seal.clone(), origins, made: None };
    Rendered { documents, contents: Arc::new(contents), copied: known, sandbox: None }
}

/// Renders every template, on a few threads with room for deep values. All their findings, or all their outputs.
fn write_all<'a>(workshop: &Arc<Workshop>, templates: &[&'a str]) -> Result<Vec<(&'a str, Written)>, Vec<Finding>> {
    let next = AtomicUsize::new(0);
    let bytes = AtomicU64::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some(path) = templates.get(next.fetch_add(1, Ordering::Relaxed)) {
            let result = workshop.write(path).and_then(|written| {
                let size = written.bytes.len() as u64;
                if bytes.fetch_add(size, Ordering::Relaxed) + size > MAX_OUTPUTS {
                    let message = format!("the templates of `{}` write more than {MAX_OUTPUTS} bytes together", workshop.bundle.folder);
                    return Err(vec![Finding::new(message, "split it into several stacks")]);
                }
                Ok(written)
            });
            done.push((*path, result));
        }
        done
    };
    let results: Vec<_> = std::thread::scope(|scope| {
        let roomy = || std::thread::Builder::new().name("templates".to_owned()).stack_size(STACK);
        let threads: Vec<_> =
            (0..threads_for(templates.len())).filter(|_| !templates.is_empty()).map(|_| roomy().spawn_scoped(scope, work)).collect();
        threads.into_iter().map(|thread| thread.ok().and_then(|thread| thread.join().ok())).collect()
    });
    let mut written = Vec::new();
    let mut findings = Vec::new();
    for result in results {
        let Some(done) = result else {
            findings.push(broken());
            continue;
        };
        for (path, result) in done {
            match result {
                Ok(output) => written.push((path, output)),
                Err(bad) => findings.extend(bad),
            }
        }
    }
    if findings.is_empty() { Ok(written) } else { Err(findings) }
}

/// Rendered names that cannot be, and rendered paths that are there already.
fn misplaced(input: &RenderInput, templates: &[&str], others: &[&str]) -> Vec<Finding> {
    let at = |finding: Finding, path: &str| finding.at(in_source(&input.bundle, path), 1, 1);
    let outputs: BTreeMap<&str, &str> = templates.iter().filter_map(|path| Some((rendered_path(path)?, *path))).collect();
    let mut findings = Vec::new();
    for (output, path) in &outputs {
        let name = output.rsplit('/').next().unwrap_or(output);
        if FORBIDDEN.iter().any(|forbidden| name.eq_ignore_ascii_case(forbidden)) {
            findings.push(at(Finding::new(format!("`{path}` would render to a file named `{name}`"), "give it another name"), path));
        }
        if input.bundle.entries.get(*output).is_some_and(|entry| !is_template(output, entry)) {
            let message = format!("`{path}` renders to `{output}`, which the tree has already");
            findings.push(at(Finding::new(message, "rename or remove one of the two"), path));
        }
    }
    // A file where another needs a folder.
    for path in outputs.keys().chain(others) {
        for folder in ancestors(path) {
            if let Some(template) = outputs.get(folder) {
                let message = format!("`{template}` renders to `{folder}`, which is the folder of `{path}`");
                findings.push(at(Finding::new(message, "rename one of the two"), template));
            }
        }
    }
    findings
}

fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(end, _)| &path[..end])
}

fn secret_values(input: &RenderInput) -> Result<BTreeMap<String, Value>, Vec<Finding>> {
    let mut values = BTreeMap::new();
    let mut findings = Vec::new();
    for (name, secret) in &input.secrets {
        match std::str::from_utf8(secret.reveal()) {
            Ok(text) => {
                values.insert(name.clone(), Value::from(text));
            }
            Err(_) => findings.push(Finding::new(
                format!("the secret behind `{name}` is not UTF-8 text, and a template can use only text"),
                "store it as text, for example in base64",
            )),
        }
    }
    if findings.is_empty() { Ok(values) } else { Err(findings) }
}
