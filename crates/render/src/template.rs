//! `template`: files named `*.j2` are rendered and lose the suffix; all others are copied byte for byte. The templates of a
//! render are written by one process of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;
use trued_doors::{BoxFuture, BundleEntry, Descriptor, RenderInput, Rendered, Renderer};
use trued_model::{BlobRef, Digest, Document, Finding, Shape};

use crate::contents::{Origin, RenderedBytes};
use crate::copy::{Copied, bounded, copy, in_source};
use crate::jinja::Written;
use crate::sensitive::Sensitive;
use crate::worker::{blocking, sorted};

pub mod passed;
mod task;
pub mod texts;
mod writing;

pub use task::{TASK, write_templates};
use texts::Texts;
use writing::write_all;

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
            pulls: &[],
        }
    }

    fn version(&self) -> &'static str {
        "template-1 minijinja-3.0.5"
    }

    fn render(&self, input: RenderInput) -> BoxFuture<'_, Result<Rendered, Vec<Finding>>> {
        Box::pin(sorted(render(input)))
    }
}

/// What a template's path becomes; `None` when it is not a template.
pub fn rendered_path(path: &str) -> Option<&str> {
    path.strip_suffix(SUFFIX)
}

fn is_template(path: &str, entry: &BundleEntry) -> bool {
    matches!(entry.shape, Shape::File { .. }) && rendered_path(path).is_some()
}

/// What was there before any template was written.
struct Prepared {
    input: RenderInput,
    templates: Vec<String>,
    texts: Texts,
    copied: Copied,
    findings: Vec<Finding>,
}

async fn render(input: RenderInput) -> Result<Rendered, Vec<Finding>> {
    let Prepared { input, templates, texts, copied, mut findings } = blocking(move || prepare(input)).await?;
    let templates: Vec<&str> = templates.iter().map(String::as_str).collect();
    let written = match write_all(&input, &templates, texts).await {
        Ok(written) if findings.is_empty() => written,
        Ok(_) => return Err(findings),
        Err(bad) => {
            findings.extend(bad);
            return Err(findings);
        }
    };
    let written = written.into_iter().map(|(at, written)| (templates[at].to_owned(), written)).collect();
    blocking(move || Ok(complete(&input, copied, written))).await
}

fn prepare(mut input: RenderInput) -> Result<Prepared, Vec<Finding>> {
    let sensitive = Sensitive::new(&input.sensitive)?;
    bounded(&input.bundle, &sensitive)?;
    let (templates, others): (Vec<_>, Vec<_>) = input.bundle.entries.iter().partition(|(path, entry)| is_template(path, entry));
    let templates: Vec<&str> = templates.into_iter().map(|(path, _)| path.as_str()).collect();
    let others: Vec<&str> = others.into_iter().map(|(path, _)| path.as_str()).collect();

    let mut findings = misplaced(&input, &templates, &others);
    let copied = copy(&input, &others, &sensitive).unwrap_or_else(|bad| {
        findings.extend(bad);
        Copied::default()
    });
    let texts = texts::gather(&input.bundle, &templates).unwrap_or_else(|bad| {
        findings.push(bad);
        Texts::default()
    });
    let templates = if texts.is_empty() { Vec::new() } else { templates.into_iter().map(str::to_owned).collect() };
    let bad = secrets_that_are_no_text(&input);
    if !bad.is_empty() {
        findings.extend(bad);
        input.secrets.clear();
    }
    Ok(Prepared { input, templates, texts, copied, findings })
}

/// Joins what was copied and what was written into one render.
fn complete(input: &RenderInput, copied: Copied, written: Vec<(String, Written)>) -> Rendered {
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
        let output = rendered_path(&path).unwrap_or(&path).to_owned();
        documents.push(Document { path: output, shape: input.bundle.entries[path.as_str()].shape, identity, content, text: None });
    }
    documents.sort_by(|one, other| one.path.cmp(&other.path));
    let contents = RenderedBytes { reader: input.bundle.reader.clone(), seal: input.seal.clone(), origins, made: None };
    Rendered { documents, contents: Arc::new(contents), copied: Arc::new(known), sandbox: None, tools: Vec::new() }
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

fn secrets_that_are_no_text(input: &RenderInput) -> Vec<Finding> {
    let none = input.secrets.iter().filter(|(_, secret)| std::str::from_utf8(secret.reveal()).is_err());
    let finding = |(name, _): (&String, _)| {
        let message = format!("the secret behind `{name}` is not UTF-8 text, and a template can use only text");
        Finding::new(message, "store it as text, for example in base64")
    };
    none.map(finding).collect()
}
