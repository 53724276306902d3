//! Renders that are done, as the cache keeps them: what gives the same need not run again, in this process or the next.

use std::collections::{BTreeMap, HashMap};
use std::io::{Cursor, Read};
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};
use trued_doors::{Answer, Blobs, Bundle, BundleEntry, Cache, Contents, Known, Rendered};
use trued_model::{BlobRef, Code, Digest, Document, Level, Refusal, Shape, SharedText, Tool, beside};

use crate::runtime::Runtime;

/// Up to this many bytes of a bundle are read at once and proven before they are used; more pass through.
const HELD: u64 = 1 << 20;

/// A successful render as the cache keeps it. Failures are never kept.
#[derive(Serialize, Deserialize)]
struct Stored {
    documents: Vec<Piece>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sandbox: Option<Level>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool>,
}

/// A document as the cache keeps it: what the bundle's entry of the same path says of it is not said again.
#[derive(Clone, Serialize, Deserialize)]
struct Piece {
    path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shape: Option<Shape>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content: Option<BlobRef>,
    /// Where it is another than its content's digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    identity: Option<Digest>,
    /// Whether its bytes are those of the entry.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    taken: bool,
}

impl Piece {
    fn of(document: &Document, entry: Option<&BundleEntry>, copied: &Known) -> Piece {
        let Document { path, shape, identity, content, text: _ } = document;
        Piece {
            path: path.clone(),
            shape: Some(*shape).filter(|shape| entry.is_none_or(|entry| entry.shape != *shape)),
            content: Some(*content).filter(|content| entry.is_none_or(|entry| entry.content != Some(*content))),
            identity: Some(*identity).filter(|identity| *identity != content.digest),
            taken: entry.is_some_and(|entry| copied.get(&entry.id) == Some(content)),
        }
    }

    /// `None` where the entry it was taken from is not there.
    fn document(&self, entry: Option<&BundleEntry>) -> Option<Document> {
        let content = self.content.or_else(|| entry?.content)?;
        let shape = self.shape.or(entry.map(|entry| entry.shape))?;
        Some(Document { path: self.path.clone(), shape, identity: self.identity.unwrap_or(content.digest), content, text: None })
    }
}

/// A render that the cache keeps as what is otherwise than in a whole one.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Since {
    /// The key of the whole one.
    whole: Digest,
    /// By path; none where there is no such document any more.
    documents: BTreeMap<String, Option<Piece>>,
}

impl Since {
    pub fn new(whole: Digest) -> Since {
        Since { whole, documents: BTreeMap::new() }
    }

    /// How many documents are otherwise.
    pub fn len(&self) -> usize {
        self.documents.len()
    }

    /// The same, with more that is otherwise.
    pub fn and(&self, gone: Vec<String>, changed: &[Document], bundle: &Bundle, copied: &Known) -> Since {
        let mut since = self.clone();
        since.documents.extend(gone.into_iter().map(|path| (path, None)));
        let piece = |document: &Document| Piece::of(document, bundle.entries.get(&*document.path), copied);
        since.documents.extend(changed.iter().map(|document| (document.path.clone(), Some(piece(document)))));
        since
    }

    fn over(self, stored: Stored) -> Stored {
        let mut documents: BTreeMap<String, Piece> = stored.documents.into_iter().map(|piece| (piece.path.clone(), piece)).collect();
        for (path, piece) in self.documents {
            match piece {
                Some(piece) => drop(documents.insert(path, piece)),
                None => drop(documents.remove(&path)),
            }
        }
        Stored { documents: documents.into_values().collect(), ..stored }
    }
}

impl Runtime {
    /// A render from the cache, if all its bytes can be had again without rendering.
    pub(crate) fn rendered_before(&self, key: &Digest, bundle: &Bundle) -> Option<Rendered> {
        let stored = self.stored(key)?;
        let mut documents = Vec::with_capacity(stored.documents.len());
        let mut copied = Known::with_capacity(stored.documents.len());
        let entries = bundle.entries.iter().map(|(path, entry)| (&**path, entry));
        for (_, piece, entry) in beside(stored.documents.iter().map(|piece| (piece.path.as_str(), piece)), entries) {
            let Some(piece) = piece else { continue };
            let document = piece.document(entry)?;
            match entry.filter(|_| piece.taken) {
                Some(entry) => drop(copied.insert(entry.id.clone(), document.content)),
                None if self.can_open(&document.content.digest) => {}
                None => return None,
            }
            documents.push(document);
        }
        let (copied, bundle) = (Arc::new(copied), bundle.clone());
        let (blobs, cache) = (self.doors.blobs.clone(), self.doors.cache.clone());
        let contents = Arc::new(Again { bundle, copied: copied.clone(), paths: OnceLock::new(), blobs, cache });
        Some(Rendered { documents, contents, copied, sandbox: stored.sandbox, tools: stored.tools })
    }

    fn can_open(&self, digest: &Digest) -> bool {
        self.doors.blobs.has(digest) || self.doors.cache.get(&made_key(digest)).is_some()
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
    pub(crate) fn remember_render(&self, key: &Digest, rendered: &Rendered, bundle: &Bundle) {
        let piece = |document: &Document| Piece::of(document, bundle.entries.get(&*document.path), &rendered.copied);
        let documents: Vec<Piece> = rendered.documents.iter().map(piece).collect();
        let made = rendered.documents.iter().zip(&documents).filter(|(_, piece)| !piece.taken);
        for (document, _) in made {
            let Ok(mut from) = rendered.contents.open(&document.content) else { return };
            let mut bytes = Vec::new();
            if from.read_to_end(&mut bytes).is_err() {
                return;
            }
            self.doors.cache.put(&made_key(&document.content.digest), &bytes);
        }
        self.store(key, &Stored { documents, sandbox: rendered.sandbox, tools: rendered.tools.clone() });
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
    copied: Arc<Known>,
    /// Where in the bundle which bytes stand: known when one is opened that is not in the blob store.
    paths: OnceLock<HashMap<Digest, SharedText>>,
    blobs: Arc<dyn Blobs>,
    cache: Arc<dyn Cache>,
}

impl Again {
    fn path(&self, digest: &Digest) -> Option<&SharedText> {
        let entries = self.bundle.entries.iter();
        let paths = || entries.filter_map(|(path, entry)| Some((self.copied.get(&entry.id)?.digest, path.clone()))).collect();
        self.paths.get_or_init(paths).get(digest)
    }
}

impl Contents for Again {
    fn open(&self, blob: &BlobRef) -> Answer<Box<dyn Read + Send>> {
        if self.blobs.has(&blob.digest) {
            return self.blobs.open(blob);
        }
        if let Some(path) = self.path(&blob.digest) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_what_it_was_whatever_the_bundle_says_of_its_path() {
        let (one, two) = (BlobRef::of(b"one"), BlobRef::of(b"two"));
        let entry = |id: &str, shape, content: Option<BlobRef>| BundleEntry { shape, bytes: 3, id: id.into(), content };
        let file = Shape::File { executable: false };
        let known = Known::from([("one".into(), one)]);
        let entries = [
            None,
            Some(entry("one", file, Some(one))),
            // As Git has it: the digest is known once it was read.
            Some(entry("one", file, None)),
            Some(entry("one", Shape::File { executable: true }, Some(one))),
            Some(entry("two", file, Some(two))),
            Some(entry("folder", Shape::Folder, None)),
        ];
        let sealed = BlobRef { sealed: true, ..two };
        for entry in &entries {
            for (content, identity) in [(one, one.digest), (two, two.digest), (sealed, Digest::of(b"keyed"))] {
                for shape in [file, Shape::Link, Shape::Folder] {
                    let document = Document { path: "a".to_owned(), shape, identity, content, text: None };
                    let piece = Piece::of(&document, entry.as_ref(), &known);
                    assert_eq!(piece.taken, content == one && entry.as_ref().is_some_and(|entry| &*entry.id == "one"), "{entry:?}");
                    let stored = serde_json::to_vec(&piece).unwrap();
                    let piece: Piece = serde_json::from_slice(&stored).unwrap();
                    assert_eq!(piece.document(entry.as_ref()), Some(document));
                }
            }
        }
        let of_an_entry: Piece = serde_json::from_str(r#"{"path":"a","taken":true}"#).unwrap();
        assert_eq!(of_an_entry.document(None), None, "what was taken from an entry that is gone");
    }

    #[test]
    fn a_document_that_an_older_build_kept_is_read() {
        let content = BlobRef::of(b"one");
        let document = Document { path: "a".to_owned(), shape: Shape::Link, identity: content.digest, content, text: None };
        let piece: Piece = serde_json::from_slice(&serde_json::to_vec(&document).unwrap()).unwrap();
        assert_eq!(piece.document(None), Some(document));
    }
}
