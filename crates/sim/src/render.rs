//! A renderer that gives a bundle's entries as they are, unless a file of the bundle says that it is broken.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::sync::Arc;

use trued_doors::{Answer, BoxFuture, BundleReader, Contents, Descriptor, Known, RenderInput, Rendered, Renderer};
use trued_model::{BlobRef, Code, Digest, Document, Finding, Refusal, Shape};

use crate::history::{BROKEN, PANICS, UNSTEADY};

/// Renders what is there.
pub struct AsItIs;

impl Renderer for AsItIs {
    fn describe(&self) -> Descriptor {
        crate::words::descriptor("plain")
    }

    fn version(&self) -> &'static str {
        "as-it-is-1"
    }

    fn render(&self, input: RenderInput) -> BoxFuture<'_, Result<Rendered, Vec<Finding>>> {
        Box::pin(async move { render(&input) })
    }
}

fn render(input: &RenderInput) -> Result<Rendered, Vec<Finding>> {
    if input.bundle.entries.contains_key(BROKEN) {
        return Err(vec![Finding::new(format!("{}/{BROKEN} cannot be rendered", input.bundle.folder), "remove it")]);
    }
    assert!(!input.bundle.entries.contains_key(PANICS), "{}/{PANICS} makes its renderer panic", input.bundle.folder);
    let mut contents = FromBundle { reader: input.bundle.reader.clone(), paths: BTreeMap::new() };
    let mut documents = Vec::new();
    let mut copied = Known::new();
    for (path, entry) in input.bundle.entries.iter().filter(|(path, _)| !input.repeat || path.as_str() != UNSTEADY) {
        let content = entry.content.unwrap_or_else(|| BlobRef::of(b""));
        if entry.shape != Shape::Folder {
            contents.paths.insert(content.digest, path.to_string());
            copied.insert(entry.id.clone(), content);
        }
        documents.push(Document { path: path.to_string(), shape: entry.shape, identity: content.digest, content, text: None });
    }
    Ok(Rendered { documents, contents: Arc::new(contents), copied: Arc::new(copied), sandbox: None, tools: Vec::new() })
}

struct FromBundle {
    reader: Arc<dyn BundleReader>,
    paths: BTreeMap<Digest, String>,
}

impl Contents for FromBundle {
    fn open(&self, blob: &BlobRef) -> Answer<Box<dyn Read + Send>> {
        let path = self.paths.get(&blob.digest).ok_or_else(|| Refusal::new(Code::Absent, "not rendered here"))?;
        Ok(Box::new(Cursor::new(self.reader.read(path)?)))
    }
}
