//! The source `folder`: a folder on this machine, whose revision is the digest of all it holds. It has no history.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::path::PathBuf;
use std::sync::Arc;

use rustix::io::Errno;
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use trued_doors::{Answer, BoxFuture, Bundle, BundleEntry, BundleReader, Clock, Descriptor, Source, SourceKind, SourceOpening};
use trued_model::{BlobRef, Code, Commit, Digest, Name, Refusal, Relation, Revision, Shape, SharedText, Want, encode_path};

use crate::disk::{self, Root};
use crate::kept::Kept;
use crate::names::{self, Excluded};
use crate::{Readers, blocking};
use scan::{Item, Scan};

mod scan;

/// The kind `folder`.
pub(crate) struct Folder;

/// Bounds on what one revision may hold.
#[derive(Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Limits {
    /// Most files, links and folders.
    pub(crate) files: u64,
    /// Most bytes in all files together.
    pub(crate) bytes: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { files: 200_000, bytes: 4 << 30 }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    path: PathBuf,
    #[serde(default)]
    exclude: Vec<String>,
    #[serde(default)]
    limits: Limits,
}

impl SourceKind for Folder {
    fn describe(&self) -> Descriptor {
        let limits = Limits::default();
        Descriptor {
            kind: "folder",
            summary: "a folder on this machine; its revision is the digest of its content",
            schema: json!({
                "type": "object",
                "additionalProperties": false,
                "required": ["path"],
                "properties": {
                    "path": { "type": "string", "minLength": 1, "description": "The folder, relative to the file that names it." },
                    "exclude": {
                        "type": "array", "items": { "type": "string" },
                        "description": "Files and folders in it that are left out. Configuration files are left out in any case."
                    },
                    "limits": {
                        "type": "object", "additionalProperties": false,
                        "description": "A folder beyond these is refused, not cut short.",
                        "properties": {
                            "files": { "type": "integer", "minimum": 1, "default": limits.files, "description": "Most files, links and folders." },
                            "bytes": { "type": "integer", "minimum": 1, "default": limits.bytes, "description": "Most bytes in all files together." }
                        }
                    }
                }
            }),
            example: json!({ "path": "site" }),
            paths: &["/path"],
            pulls: &[],
        }
    }

    fn open(&self, opening: SourceOpening) -> Answer<Arc<dyn Source>> {
        let SourceOpening { spec, clock, .. } = opening;
        let settings: Settings = serde_json::from_value(spec.settings)
            .map_err(|error| Refusal::new(Code::Invalid, format!("open source {}: its settings are wrong: {error}", spec.name)))?;
        let excluded = Excluded::parse(&settings.exclude)?;
        let place = Place { name: spec.name, path: settings.path, excluded, limits: settings.limits, clock, scans: Kept::default() };
        Ok(Arc::new(FolderSource { place: Arc::new(place), readers: Readers::new() }))
    }
}

struct FolderSource {
    place: Arc<Place>,
    readers: Readers,
}

/// The folder and what was seen of it so far.
struct Place {
    name: Name,
    path: PathBuf,
    excluded: Excluded,
    limits: Limits,
    clock: Arc<dyn Clock>,
    scans: Kept<Scan>,
}

impl Source for FolderSource {
    fn resolve(&self, want: Want) -> BoxFuture<'_, Answer<Revision>> {
        let place = self.place.clone();
        blocking(move || match want {
            Want::Newest | Want::WorkTree | Want::Known => Ok(place.revision(&*place.look()?)),
            Want::Named(text) => {
                let scan = place.look()?;
                if scan.digest.matches(&text) {
                    return Ok(place.revision(&scan));
                }
                let message = format!("find revision {text} of source {}: a folder is only what it is now", place.name);
                Err(Refusal::new(Code::Absent, message).help(format!("it now is {}", scan.digest)))
            }
        })
    }

    fn bundle<'a>(&'a self, revision: &'a Revision, folder: &'a str) -> BoxFuture<'a, Answer<Bundle>> {
        let (place, revision, folder) = (self.place.clone(), revision.clone(), folder.to_owned());
        self.readers.read(move || place.bundle(revision, &names::parse_path(&folder)?))
    }

    fn read<'a>(&'a self, revision: &'a Revision, path: &'a str) -> BoxFuture<'a, Answer<Vec<u8>>> {
        let (place, revision, path) = (self.place.clone(), revision.clone(), path.to_owned());
        self.readers.read(move || place.read(&*place.at(&revision)?, &names::parse_path(&path)?))
    }

    fn list<'a>(&'a self, revision: &'a Revision) -> BoxFuture<'a, Answer<Vec<String>>> {
        let (place, revision) = (self.place.clone(), revision.clone());
        blocking(move || {
            let scan = place.at(&revision)?;
            let files = scan.items.iter().filter(|(_, item)| matches!(item.shape, Shape::File { .. }));
            Ok(files.map(|(path, _)| encode_path(path)).collect())
        })
    }

    fn relation<'a>(&'a self, old: &'a Revision, new: &'a Revision) -> BoxFuture<'a, Answer<Relation>> {
        let relation = if old.id == new.id { Relation::Same } else { Relation::Follows };
        Box::pin(std::future::ready(Ok(relation)))
    }

    fn commit<'a>(&'a self, _revision: &'a Revision) -> BoxFuture<'a, Answer<Commit>> {
        let message = format!("tell who made a revision of source {}: a folder has no history", self.place.name);
        Box::pin(std::future::ready(Err(Refusal::new(Code::Unsupported, message))))
    }

    fn fetches(&self) -> u64 {
        0
    }
}

impl Place {
    /// Looks at the folder now, and keeps what was seen.
    fn look(&self) -> Answer<Arc<Scan>> {
        // A source that is gone as a whole says nothing about what is in it: that is not absent, it cannot be read.
        let root = Root::open(&self.path).map_err(|refusal| match refusal.code {
            Code::Absent => Refusal { code: Code::Unreachable, ..refusal },
            _ => refusal,
        })?;
        let before = self.scans.newest();
        let scan = Arc::new(scan::scan(&root, &self.excluded, &self.limits, self.clock.now(), before.as_deref())?);
        self.scans.keep(scan.clone(), |kept| kept.digest == scan.digest);
        Ok(scan)
    }

    fn revision(&self, scan: &Scan) -> Revision {
        Revision { source: self.name.clone(), id: scan.digest.to_string() }
    }

    /// Finds what was seen at a revision; the folder is looked at once more if this process has not seen it.
    fn at(&self, revision: &Revision) -> Answer<Arc<Scan>> {
        let wanted: Digest = revision
            .id
            .parse()
            .map_err(|_| Refusal::new(Code::Invalid, format!("read revision {revision} of source {}: it is not a digest", self.name)))?;
        if let Some(scan) = self.scans.find(|scan| scan.digest == wanted) {
            return Ok(scan);
        }
        let scan = self.look()?;
        if scan.digest == wanted {
            return Ok(scan);
        }
        let message = format!("read revision {} of source {}: the folder is no longer as it was then", revision.short(), self.name);
        Err(Refusal::new(Code::Changed, message))
    }

    fn bundle(self: &Arc<Place>, revision: Revision, folder: &[u8]) -> Answer<Bundle> {
        let scan = self.at(&revision)?;
        let inside = || scan.items.iter().filter_map(|(path, item)| Some((names::below(folder, path)?, item)));
        let empty_folder = || scan.items.get(folder).is_some_and(|item| item.shape == Shape::Folder);
        if !folder.is_empty() && inside().next().is_none() && !empty_folder() {
            let message = format!("read folder {} of source {}: there is no such folder", encode_path(folder), self.name);
            return Err(Refusal::new(Code::Absent, message));
        }
        let entries: BTreeMap<SharedText, BundleEntry> = inside().map(|(path, item)| (encode_path(path).into(), entry(item))).collect();
        let digest = scan::digest(inside()).to_string();
        let reader = Arc::new(Reader { place: self.clone(), scan: scan.clone(), folder: folder.to_vec() });
        Ok(Bundle { revision, folder: encode_path(folder), digest, entries: Arc::new(entries), reader })
    }

    /// Reads a path as a scan has seen it; `Code::Changed` when it is something else by now.
    fn read(&self, scan: &Scan, path: &[u8]) -> Answer<Vec<u8>> {
        let (mut from, content) = self.open(scan, path)?;
        let mut bytes = Vec::new();
        let read = from.by_ref().take(content.bytes + 1).read_to_end(&mut bytes);
        read.map_err(|error| disk::refuse_path(path, Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
        if Digest::of(&bytes) == content.digest { Ok(bytes) } else { Err(self.changed(scan, path)) }
    }

    fn changed(&self, scan: &Scan, path: &[u8]) -> Refusal {
        let message =
            format!("read {} of source {}: it changed after revision {} was taken", encode_path(path), self.name, scan.digest.short());
        Refusal::new(Code::Changed, message)
    }

    /// Opens a path as a scan has seen it, with what was in it; whether it still is that shows when it is read.
    fn open(&self, scan: &Scan, path: &[u8]) -> Answer<(Box<dyn Read + Send>, BlobRef)> {
        let absent = || Refusal::new(Code::Absent, format!("read {} of source {}: there is no such file", encode_path(path), self.name));
        let item = scan.items.get(path).ok_or_else(absent)?;
        let Some(content) = item.content else {
            return Err(Refusal::new(Code::Absent, format!("read {} of source {}: it is a folder", encode_path(path), self.name)));
        };
        let root = Root::open(&self.path)?;
        if item.shape == Shape::Link {
            let text = root.link(path).map_err(|_| self.changed(scan, path))?;
            return Ok((Box::new(Cursor::new(text)), content));
        }
        let (file, stat) = root.file(path).map_err(|errno| match errno {
            Errno::ACCESS | Errno::PERM => disk::refuse_path(path, errno),
            _ => self.changed(scan, path),
        })?;
        let same = item.shape == (Shape::File { executable: disk::executable(&stat) });
        if same { Ok((Box::new(file), content)) } else { Err(self.changed(scan, path)) }
    }
}

fn entry(item: &Item) -> BundleEntry {
    let id = item.content.map_or_else(|| "folder".into(), |content| content.digest.to_string().into());
    BundleEntry { shape: item.shape, bytes: item.content.map_or(0, |content| content.bytes), id, content: item.content }
}

struct Reader {
    place: Arc<Place>,
    scan: Arc<Scan>,
    folder: Vec<u8>,
}

impl BundleReader for Reader {
    fn read(&self, path: &str) -> Answer<Vec<u8>> {
        self.place.read(&self.scan, &names::join(&self.folder, &names::parse_path(path)?))
    }

    fn open(&self, path: &str) -> Answer<Box<dyn Read + Send>> {
        let path = names::join(&self.folder, &names::parse_path(path)?);
        let (from, content) = self.place.open(&self.scan, &path)?;
        let changed = self.place.changed(&self.scan, &path).to_string();
        Ok(Box::new(Proving { from: from.take(content.bytes.saturating_add(1)), so_far: Sha256::new(), expect: content.digest, changed }))
    }
}

/// Passes bytes on, and ends with an error when they are not those that were seen.
struct Proving<R> {
    from: R,
    so_far: Sha256,
    expect: Digest,
    /// What to say then.
    changed: String,
}

impl<R: Read> Read for Proving<R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let count = self.from.read(into)?;
        self.so_far.update(&into[..count]);
        if count == 0 && !into.is_empty() && Digest(self.so_far.clone().finalize().into()) != self.expect {
            return Err(std::io::Error::other(self.changed.clone()));
        }
        Ok(count)
    }
}
