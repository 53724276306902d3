//! Renders that are done, as the cache keeps them: what gives the same need not run again, in this process or the next.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{Cursor, Read};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use trued_doors::{Answer, Blobs, Bundle, Cache, Contents, Rendered};
use trued_model::{BlobRef, Code, Digest, Document, Level, Refusal, SharedText, Tool};

use crate::runtime::Runtime;

/// Up to this many bytes of a bundle are read at once and proven before they are used; more pass through.
const HELD: u64 = 1 << 20;

/// A successful render as the cache keeps it. Failures are never kept.
#[derive(Serialize, Deserialize)]
struct Stored {
    documents: Vec<Document>,
    copied: BTreeMap<SharedText, BlobRef>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sandbox: Option<Level>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool>,
}

/// A render that the cache keeps as what is otherwise than in a whole one.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Since {
    /// The key of the whole one.
    whole: Digest,
    /// By path; none where there is no such document any more.
    documents: BTreeMap<String, Option<Document>>,
    copied: BTreeMap<SharedText, BlobRef>,
}

impl Since {
    pub fn new(whole: Digest) -> Since {
        Since { whole, documents: BTreeMap::new(), copied: BTreeMap::new() }
    }

    /// How many documents are otherwise.
    pub fn len(&self) -> usize {
        self.documents.len()
    }

    /// The same, with more that is otherwise.
    pub fn and(&self, gone: Vec<String>, changed: Vec<Document>, copied: &BTreeMap<SharedText, BlobRef>) -> Since {
        let mut since = self.clone();
        since.documents.extend(gone.into_iter().map(|path| (path, None)));
        since.documents.extend(changed.into_iter().map(|document| (document.path.clone(), Some(document))));
        since.copied.extend(copied.iter().map(|(id, blob)| (id.clone(), *blob)));
        since
    }

    fn over(self, stored: Stored) -> Stored {
        let mut documents: BTreeMap<String, Document> =
            stored.documents.into_iter().map(|document| (document.path.clone(), document)).collect();
        for (path, document) in self.documents {
            match document {
                Some(document) => drop(documents.insert(path, document)),
                None => drop(documents.remove(&path)),
            }
        }
        let copied = stored.copied.into_iter().chain(self.copied).collect();
        Stored { documents: documents.into_values().collect(), copied, ..stored }
    }
}

impl Runtime {
    /// A render from the cache, if all its bytes can be had again without rendering.
    pub(crate) fn rendered_before(&self, key: &Digest, bundle: &Bundle) -> Option<Rendered> {
        let stored = self.stored(key)?;
        let by_id: HashMap<&str, &SharedText> = bundle.entries.iter().map(|(path, entry)| (&*entry.id, path)).collect();
        let copied = stored.copied.iter();
        let paths: HashMap<Digest, SharedText> =
            copied.filter_map(|(id, blob)| Some((blob.digest, (*by_id.get(&**id)?).clone()))).collect();
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

    fn stored(&self, key: &Digest) -> Option<Stored> {
        if let Some(bytes) = self.doors.cache.get(&cache_key(key)) {
            return serde_json::from_slice(&bytes).ok();
        }
        let since: Since = serde_json::from_slice(&self.doors.cache.get(&since_key(key))?).ok()?;
        let whole = self.doors.cache.get(&cache_key(&since.whole))?;
        let stored = since.over(serde_json::from_slice(&whole).ok()?);
        // Whoever goes on from here takes this for the whole one.
        self.store(key, &stored);
        Some(stored)
    }

    /// Keeps a render as what is otherwise than in a whole one, all of whose bytes stand in its bundle.
    pub(crate) fn remember_since(&self, key: &Digest, since: &Since) {
        if let Ok(bytes) = serde_json::to_vec(since) {
            self.doors.cache.put(&since_key(key), &bytes);
        }
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
        self.store(key, &stored);
    }

    fn store(&self, key: &Digest, stored: &Stored) {
        if let Ok(bytes) = serde_json::to_vec(stored) {
            self.doors.cache.put(&cache_key(key), &bytes);
        }
    }
}

fn cache_key(key: &Digest) -> String {
    format!("renders/{}", key.hex())
}

fn since_key(key: &Digest) -> String {
    format!("renders/since/{}", key.hex())
}

fn made_key(digest: &Digest) -> String {
    format!("made/{}", digest.hex())
}

/// Contents of a render that was found in the cache: from the bundle, the blob store, or the cache itself.
struct Again {
    bundle: Bundle,
    paths: HashMap<Digest, SharedText>,
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
        if let Some(path) = self.paths.get(&blob.digest) {
            return from_bundle(&self.bundle, path, blob);
        }
        let made = self.cache.get(&made_key(&blob.digest));
        proven(made.ok_or_else(|| Refusal::new(Code::Absent, format!("rendered bytes {} are no longer in the cache", blob.digest)))?, blob)
    }
}

/// The bytes of a file of a bundle. They are what was rendered, or the reading fails: what is small before the first byte, the
/// rest at its end.
pub(crate) fn from_bundle(bundle: &Bundle, path: &str, blob: &BlobRef) -> Answer<Box<dyn Read + Send>> {
    match blob.bytes > HELD {
        true => bundle.reader.open(path),
        false => proven(bundle.reader.read(path)?, blob),
    }
}

fn proven(bytes: Vec<u8>, blob: &BlobRef) -> Answer<Box<dyn Read + Send>> {
    match Digest::of(&bytes) == blob.digest {
        true => Ok(Box::new(Cursor::new(bytes))),
        false => Err(Refusal::new(Code::Changed, format!("bytes of {} are not what was rendered", blob.digest))),
    }
}
