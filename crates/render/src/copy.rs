//! Bundle entries that become documents as they are. Reads only what nobody knows the digest of yet.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use trued_doors::{Bundle, BundleEntry, Known, RenderInput};
use trued_model::{BlobRef, Digest, Document, Finding, Refusal, Shape};
use trued_spread::spread;

use crate::bounds::{IN_FLIGHT, MAX_ENTRIES, MAX_FILE, THREADS};
use crate::contents::Origin;
use crate::sensitive::Sensitive;

/// What copying gave.
#[derive(Default)]
pub struct Copied {
    pub documents: Vec<Document>,
    pub origins: BTreeMap<Digest, Origin>,
    /// Entry id → blob, for the next render.
    pub known: Known,
}

/// Refuses a bundle beyond the bounds before anything of it is read. A large file is one whose bytes must be in memory at
/// once, to be hashed or sealed; others pass through.
pub fn bounded(bundle: &Bundle, sensitive: &Sensitive) -> Result<(), Vec<Finding>> {
    if bundle.entries.len() > MAX_ENTRIES {
        let message = format!("`{}` has {} entries, more than the {MAX_ENTRIES} one render takes", bundle.folder, bundle.entries.len());
        return Err(vec![Finding::new(message, "split it into several stacks")]);
    }
    let whole = |path: &str, entry: &BundleEntry| entry.content.is_none() || sensitive.matches(path);
    let large = bundle.entries.iter().filter(|(path, entry)| entry.bytes > MAX_FILE && whole(path, entry));
    let findings: Vec<Finding> = large
        .map(|(path, entry)| {
            Finding::new(format!("`{path}` has {} bytes, more than the {MAX_FILE} one file may have", entry.bytes), "leave it out").at(
                in_source(bundle, path),
                1,
                1,
            )
        })
        .collect();
    if findings.is_empty() { Ok(()) } else { Err(findings) }
}

/// The path of an entry from the source's root, for people.
pub fn in_source(bundle: &Bundle, path: &str) -> String {
    in_folder(&bundle.folder, path)
}

pub fn in_folder(folder: &str, path: &str) -> String {
    if folder.is_empty() { path.to_owned() } else { format!("{folder}/{path}") }
}

/// Makes a document of each of these paths of the bundle, in their order.
pub fn copy(input: &RenderInput, paths: &[&str], sensitive: &Sensitive) -> Result<Copied, Vec<Finding>> {
    let mut copied = Copied::default();
    let mut findings = Vec::new();
    for (path, named) in paths.iter().zip(name_all(input, paths, sensitive)) {
        match named {
            Ok(named) => copied.add(path, &input.bundle.entries[*path], named),
            Err(finding) => findings.push(finding),
        }
    }
    if findings.is_empty() { Ok(copied) } else { Err(findings) }
}

/// One entry's content, named: what it is stored as, and what it is compared by.
struct Named {
    identity: Digest,
    content: BlobRef,
}

impl Copied {
    fn add(&mut self, path: &str, entry: &BundleEntry, named: Named) {
        let Named { identity, content } = named;
        let origin = match entry.shape {
            Shape::Folder => Origin::Held(Arc::new([])),
            _ if content.sealed => Origin::SealedEntry(path.to_owned()),
            _ => Origin::Entry(path.to_owned()),
        };
        self.origins.entry(content.digest).or_insert(origin);
        if entry.shape != Shape::Folder && !content.sealed {
            self.known.insert(entry.id.clone(), content);
        }
        self.documents.push(Document { path: path.to_owned(), shape: entry.shape, identity, content, text: None });
    }
}

/// Names the content of each path, in their order, on a few threads.
fn name_all(input: &RenderInput, paths: &[&str], sensitive: &Sensitive) -> Vec<Result<Named, Finding>> {
    let budget = Budget::new(IN_FLIGHT);
    let unknown = |path: &&&str| known(input, &input.bundle.entries[**path], sensitive.matches(path)).is_none();
    // A thread is worth its start only when there are files to read for it.
    let threads = threads_for(paths.iter().filter(unknown).take(THREADS * 32).count());
    spread(paths, 1, threads, |paths| paths.iter().map(|path| name(input, path, sensitive, &budget)).collect())
}

/// How many threads share so many pieces of work.
pub fn threads_for(pieces: usize) -> usize {
    let worth = pieces.div_ceil(32);
    // How many cores there are is asked of the system, which reads files for it.
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    if worth <= 1 { 1 } else { worth.min(cores()).min(THREADS) }
}

/// The blob of an entry that needs no reading.
fn known(input: &RenderInput, entry: &BundleEntry, seal: bool) -> Option<BlobRef> {
    match entry.shape {
        Shape::Folder => Some(BlobRef::of(b"")),
        Shape::File { .. } if seal => None,
        _ => entry.content.or_else(|| input.known.get(&entry.id).copied()).filter(|blob| !blob.sealed),
    }
}

fn name(input: &RenderInput, path: &str, sensitive: &Sensitive, budget: &Budget) -> Result<Named, Finding> {
    let entry = &input.bundle.entries[path];
    // A link's text is a name, not content; only files are sealed.
    let seal = sensitive.matches(path) && matches!(entry.shape, Shape::File { .. });
    if let Some(blob) = known(input, entry, seal) {
        return Ok(Named { identity: blob.digest, content: blob });
    }
    let unreadable = |refusal: Refusal| {
        let help = if refusal.help.is_empty() { "nothing was rendered; it is tried again" } else { &refusal.help };
        Finding::new(format!("`{path}` cannot be read: {refusal}"), help).at(in_source(&input.bundle, path), 1, 1)
    };
    let _taken = budget.take(entry.bytes);
    if !seal {
        let content = input.bundle.reader.name(path).map_err(unreadable)?;
        return Ok(Named { identity: content.digest, content });
    }
    let plain = input.bundle.reader.read(path).map_err(unreadable)?;
    let identity = Digest::of(&plain);
    let sealed = input.seal.seal(&plain);
    let content = BlobRef { digest: Digest::of(&sealed), bytes: sealed.len() as u64, sealed: true };
    Ok(Named { identity: input.seal.identity(&identity), content })
}

/// Bytes that may be in memory at once. A piece larger than all of it waits until it is alone.
struct Budget {
    whole: u64,
    free: Mutex<u64>,
    given_back: Condvar,
}

struct Taken<'a> {
    budget: &'a Budget,
    bytes: u64,
}

impl Budget {
    fn new(whole: u64) -> Budget {
        Budget { whole, free: Mutex::new(whole), given_back: Condvar::new() }
    }

    fn take(&self, bytes: u64) -> Taken<'_> {
        let bytes = bytes.min(self.whole);
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = self.given_back.wait_while(free, |free| *free < bytes).unwrap_or_else(PoisonError::into_inner);
        *free -= bytes;
        Taken { budget: self, bytes }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        *self.budget.free.lock().unwrap_or_else(PoisonError::into_inner) += self.bytes;
        self.budget.given_back.notify_all();
    }
}
