//! `plain`: a tree of files as it is, modes kept.

use std::sync::Arc;

use serde_json::json;
use trued_doors::{BoxFuture, Descriptor, RenderInput, Rendered, Renderer};
use trued_model::{Finding, SharedText};

use crate::contents::RenderedBytes;
use crate::copy::{bounded, copy};
use crate::sensitive::Sensitive;
use crate::worker::off_the_worker;

/// Renders a tree as it is.
pub struct Plain;

impl Renderer for Plain {
    fn describe(&self) -> Descriptor {
        Descriptor {
            kind: "plain",
            summary: "a tree of files as it is, modes kept",
            schema: json!({
                "type": "object",
                "required": ["path"],
                "additionalProperties": false,
                "properties": {
                    "path": { "type": "string", "description": "the folder in the source that is rendered" },
                },
            }),
            example: json!({ "path": "site" }),
            paths: &["/path"],
            pulls: &[],
        }
    }

    fn version(&self) -> &'static str {
        "plain-1"
    }

    fn piecewise(&self) -> bool {
        true
    }

    fn render(&self, input: RenderInput) -> BoxFuture<'_, Result<Rendered, Vec<Finding>>> {
        Box::pin(off_the_worker(move || render(&input)))
    }
}

fn render(input: &RenderInput) -> Result<Rendered, Vec<Finding>> {
    let sensitive = Sensitive::new(&input.sensitive)?;
    bounded(&input.bundle, &sensitive)?;
    let asked = |path: &&str| input.only.as_ref().is_none_or(|only| only.contains(*path));
    let paths: Vec<&str> = input.bundle.entries.keys().map(SharedText::as_str).filter(asked).collect();
    let copied = copy(input, &paths, &sensitive)?;
    let contents = RenderedBytes { reader: input.bundle.reader.clone(), seal: input.seal.clone(), origins: copied.origins, made: None };
    Ok(Rendered {
        documents: copied.documents,
        contents: Arc::new(contents),
        copied: Arc::new(copied.known),
        sandbox: None,
        tools: Vec::new(),
    })
}
