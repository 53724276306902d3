//! Renders that are done, as the cache keeps them: what gives the same need not run again, in this process or the next.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use trued_doors::{Answer, Blobs, Bundle, Cache, Contents, Rendered};
use trued_model::{BlobRef, Code, Digest, Document, Level, Refusal, Tool};

use crate::runtime::Runtime;

/// Up to this many bytes of a bundle are read at once and proven before they are used; more pass through.
const HELD: u64 = 1 << 20;

/// A successful render as the cache keeps it. Failures are never kept.
#[derive(Serialize, Deserialize)]
struct Stored {
    documents: Vec<Document>,
    copied: BTreeMap<String, BlobRef>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sandbox: Option<Level>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool>,
}

impl Runtime {
    /// A render from the cache, if all its bytes can be had again without rendering.
    pub(crate) fn rendered_before(&self, key: &Digest, bundle: &Bundle) -> Option<Rendered> {
        let bytes = self.doors.cache.get(&cache_key(key))?;
        let stored: Stored = serde_json::from_slice(&bytes).ok()?;
        let by_id: BTreeMap<&str, &String> = bundle.entries.iter().map(|(path, entry)| (entry.id.as_str(), path)).collect();
        let copied = stored.copied.iter();
        let paths: BTreeMap<Digest, String> =
            copied.filter_map(|(id, blob)| Some((blob.digest, (*by_id.get(id.as_str())?).clone()))).collect();
        let contents = Again { bundle: bundle.clone(), paths, blobs: self.doors.blobs.clone(), cache: self.doors.cache.clone() };
        let whole = stored.documents.iter().all(|document| contents.has(&document.content));
        whole.then(|| Rendered {
            documents: stored.documents,
            contents: Arc::new(contents),
            copied: stored.copied,
            sandbox: stored.sandbox,
            tools: stored.tools,
        })
    }

    /// Keeps a render, with the bytes that stand in no bundle. Sealed bytes are kept sealed.
    pub(crate) fn remember_render(&self, key: &Digest, rendered: &Rendered) {
        let copied: BTreeSet<Digest> = rendered.copied.values().map(|blob| blob.digest).collect();
        for document in rendered.documents.iter().filter(|document| !copied.contains(&document.content.digest)) {
            let Ok(mut from) = rendered.contents.open(&document.content) else { return };
            let mut bytes = Vec::new();
            if from.read_to_end(&mut bytes).is_err() {
                return;
            }
            self.doors.cache.put(&made_key(&document.content.digest), &bytes);
        }
        let stored = Stored {
            documents: rendered.documents.clone(),
            copied: rendered.copied.clone(),
            sandbox: rendered.sandbox,
            tools: rendered.tools.clone(),
        };
        if let Ok(bytes) = serde_json::to_vec(&stored) {
            self.doors.cache.put(&cache_key(key), &bytes);
        }
    }
}

fn cache_key(key: &Digest) -> String {
    format!("renders/{}", key.hex())
}

fn made_key(digest: &Digest) -> String {
    format!("made/{}", digest.hex())
}

/// Contents of a render that was found in the cache: from the bundle, the blob store, or the cache itself.
struct Again {
    bundle: Bundle,
    paths: BTreeMap<Digest, String>,
    blobs: Arc<dyn Blobs>,
    cache: Arc<dyn Cache>,
}

impl Again {
    fn has(&self, blob: &BlobRef) -> bool {
        self.paths.contains_key(&blob.digest) || self.blobs.has(&blob.digest) || self.cache.get(&made_key(&blob.digest)).is_some()
    }
}

impl Contents for Again {
    fn open(&self, blob: &BlobRef) -> Answer<Box<dyn Read + Send>> {
        if self.blobs.has(&blob.digest) {
            return self.blobs.open(blob);
        }
        let bytes = match self.paths.get(&blob.digest) {
            // It proves itself at its end; held in memory is only what is small.
            Some(path) if blob.bytes > HELD => return self.bundle.reader.open(path),
            Some(path) => self.bundle.reader.read(path)?,
            None => {
                let made = self.cache.get(&made_key(&blob.digest));
                made.ok_or_else(|| Refusal::new(Code::Absent, format!("rendered bytes {} are no longer in the cache", blob.digest)))?
            }
        };
        if Digest::of(&bytes) != blob.digest {
            return Err(Refusal::new(Code::Changed, format!("bytes of {} are not what was rendered", blob.digest)));
        }
        Ok(Box::new(std::io::Cursor::new(bytes)))
    }
}
