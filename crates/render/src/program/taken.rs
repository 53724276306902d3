//! What a build left, as documents. Nothing of it is trusted: no link is followed, and what is no plain file, or has no
//! name that can be written, is refused by name.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use trued_doors::{RenderInput, Rendered, Workspace};
use trued_model::{BlobRef, Digest, Document, Finding, Shape, encode_path};

use crate::bounds::{MAX_ENTRIES, MAX_FILE};
use crate::contents::{Origin, RenderedBytes};
use crate::sensitive::Sensitive;

/// The most refused entries that are named.
const NAMED: usize = 20;

/// Names that no target takes, whatever folder they are in.
const FORBIDDEN: [&str; 2] = [".git", ".trued"];

/// A path below the build's folder, if it is one.
pub fn below(output: &str) -> Option<PathBuf> {
    let mut path = PathBuf::new();
    for part in Path::new(output).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::CurDir => {}
            _ => return None,
        }
    }
    Some(path)
}

/// Takes the files of an output folder. `log` is what the program said last.
pub fn take(input: &RenderInput, workspace: Workspace, output: &Path, log: &str) -> Result<Rendered, Vec<Finding>> {
    let sensitive = Sensitive::new(&input.sensitive)?;
    let root = root(&workspace.room.folder, output, log)?;
    let mut found = Found { whole: &root, files: BTreeMap::new(), findings: Vec::new(), entries: 0 };
    found.gather(&root);
    if !found.findings.is_empty() {
        found.findings.truncate(NAMED);
        return Err(found.findings);
    }
    let (mut documents, mut origins) = (Vec::new(), BTreeMap::new());
    let mut findings = Vec::new();
    for (path, (file, shape)) in found.files {
        if shape == Shape::Folder {
            let content = BlobRef::of(b"");
            origins.entry(content.digest).or_insert(Origin::Held(Arc::new([])));
            documents.push(Document { path, shape, identity: content.digest, content, text: None });
            continue;
        }
        let plain = match read(&file) {
            Ok(plain) => plain,
            Err(error) => {
                findings.push(Finding::new(format!("`{path}` of the output cannot be read: {error}"), "it must be readable by its owner"));
                continue;
            }
        };
        let digest = Digest::of(&plain);
        let (identity, content, origin) = match sensitive.matches(&path) {
            true => {
                let sealed = input.seal.seal(&plain);
                let content = BlobRef { digest: Digest::of(&sealed), bytes: sealed.len() as u64, sealed: true };
                (input.seal.identity(&digest), content, Origin::SealedMade(file))
            }
            false => (digest, BlobRef { digest, bytes: plain.len() as u64, sealed: false }, Origin::Made(file)),
        };
        origins.entry(content.digest).or_insert(origin);
        documents.push(Document { path, shape, identity, content, text: None });
    }
    if !findings.is_empty() {
        return Err(findings);
    }
    let (reader, seal) = (input.bundle.reader.clone(), input.seal.clone());
    let contents = RenderedBytes { reader, seal, origins, made: Some(workspace) };
    Ok(Rendered { documents, contents: Arc::new(contents), copied: Arc::default(), sandbox: None, tools: Vec::new() })
}

/// The output folder: there, a folder, and reached through no link.
fn root(folder: &Path, output: &Path, log: &str) -> Result<PathBuf, Vec<Finding>> {
    let mut at = folder.to_owned();
    for part in std::iter::once(None).chain(output.components().map(Some)) {
        if let Some(part) = part {
            at.push(part);
        }
        let shown = output.display();
        let bad = match at.symlink_metadata() {
            Ok(meta) if meta.is_dir() => continue,
            Ok(meta) if meta.is_symlink() => format!("the output `{shown}` is reached through a link, which is not followed"),
            Ok(_) => format!("the output `{shown}` is no folder"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => format!("the command ended well but left no folder `{shown}`{log}"),
            Err(error) => format!("the output `{shown}` cannot be read: {error}"),
        };
        return Err(vec![Finding::new(bad, "write the result into that folder, or name another one in `output`")]);
    }
    Ok(at)
}

struct Found<'a> {
    whole: &'a Path,
    files: BTreeMap<String, (PathBuf, Shape)>,
    findings: Vec<Finding>,
    entries: usize,
}

impl Found<'_> {
    fn gather(&mut self, folder: &Path) {
        let entries = match fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
            Ok(entries) => entries,
            Err(error) => return self.refuse(folder, &format!("cannot be read: {error}")),
        };
        self.entries = self.entries.saturating_add(entries.len());
        if self.entries > MAX_ENTRIES {
            if self.findings.len() < NAMED {
                let message = format!("the output has more than the {MAX_ENTRIES} entries one render takes");
                self.findings.insert(0, Finding::new(message, "split it into several stacks"));
            }
            return;
        }
        if entries.is_empty() && folder != self.whole {
            return self.add(folder, Shape::Folder);
        }
        for entry in entries {
            let path = entry.path();
            let name = entry.file_name();
            match name.to_str() {
                None => self.refuse(&path, "has a name that is not UTF-8"),
                Some(name) if FORBIDDEN.iter().any(|forbidden| name.eq_ignore_ascii_case(forbidden)) => {
                    self.refuse(&path, "has a name that no target takes");
                }
                Some(_) => self.look(&path),
            }
        }
    }

    fn look(&mut self, path: &Path) {
        let meta = match path.symlink_metadata() {
            Ok(meta) => meta,
            Err(error) => return self.refuse(path, &format!("cannot be read: {error}")),
        };
        let kind = meta.file_type();
        if kind.is_dir() {
            self.gather(path);
        } else if kind.is_file() && meta.len() > MAX_FILE {
            self.refuse(path, &format!("has {} bytes, more than the {MAX_FILE} one file may have", meta.len()));
        } else if kind.is_file() {
            self.add(path, Shape::File { executable: meta.mode() & 0o100 != 0 });
        } else {
            let what = match () {
                () if kind.is_symlink() => "a link",
                () if kind.is_fifo() => "a pipe",
                () if kind.is_socket() => "a socket",
                () => "a device",
            };
            self.refuse(path, &format!("is {what}; an output is files and folders"));
        }
    }

    fn add(&mut self, path: &Path, shape: Shape) {
        let name = self.name(path);
        self.files.insert(name, (path.to_owned(), shape));
    }

    fn refuse(&mut self, path: &Path, why: &str) {
        if self.findings.len() < NAMED {
            let message = format!("`{}` of the output {why}", self.name(path));
            self.findings.push(Finding::new(message, "change the build so that it leaves it out"));
        }
    }

    /// The path below the output, encoded.
    fn name(&self, path: &Path) -> String {
        let below = path.strip_prefix(self.whole).unwrap_or(path);
        encode_path(std::os::unix::ffi::OsStrExt::as_bytes(below.as_os_str()))
    }
}

/// Reads a file that is one still: nobody of the build is left to swap it, and a link would not be followed.
fn read(file: &Path) -> io::Result<Vec<u8>> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = fs::OpenOptions::new().read(true).custom_flags(i32::try_from(flags.bits()).unwrap_or(0)).open(file)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
