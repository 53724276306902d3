//! One look at a folder: every path with its content's digest, and the digest of them all. Keeps no bytes.

use std::collections::BTreeMap;
use std::fs::File;

use rustix::buffer::spare_capacity;
use rustix::fs::{FileType, Stat};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use trued_doors::Answer;
use trued_model::{BlobRef, Code, Digest, Refusal, Shape, Timestamp, encode_path};

use crate::disk::{self, Root};
use crate::names::{self, Excluded, OWN_FOLDER, Rule};
use crate::{folder::Limits, links};

/// Times a folder that changes under our eyes is looked at before we give up.
const LOOKS: usize = 3;
/// A file changed this shortly before a look may change again within the same tick of the file system's clock, so
/// its next look reads it again whatever its times say.
const TICK_MS: i64 = 2_000;
/// How much of a file is read at once.
const CHUNK: usize = 32 * 1024;

/// What a folder holds at one instant.
pub(super) struct Scan {
    pub(super) digest: Digest,
    pub(super) items: BTreeMap<Vec<u8>, Item>,
    began: Timestamp,
}

/// One path of a scan.
#[derive(Clone)]
pub(super) struct Item {
    pub(super) shape: Shape,
    /// Content, or the link's text; `None` for an empty folder.
    pub(super) content: Option<BlobRef>,
    mark: Option<Mark>,
}

/// A path on the way.
struct Found {
    path: Vec<u8>,
    kind: FileType,
    /// What an earlier scan read there, if it has not been touched since.
    known: Option<Item>,
}

/// What says, without reading it, that a file is the one that was read.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Mark {
    place: (u64, u64),
    size: u64,
    changed: (i64, u64),
    modified: (i64, u64),
}

/// Walks and hashes a folder. A file that an earlier scan has read, and that has not been touched since, is not read again.
pub(super) fn scan(root: &Root, excluded: &Excluded, limits: &Limits, now: Timestamp, before: Option<&Scan>) -> Answer<Scan> {
    for _ in 0..LOOKS {
        match look(root, excluded, limits, now, before) {
            Err(refusal) if refusal.code == Code::Absent => continue,
            other => return other,
        }
    }
    Err(Refusal::new(Code::Changed, "read a folder: files come and go while it is read")
        .help("try again when whatever writes there is done"))
}

fn look(root: &Root, excluded: &Excluded, limits: &Limits, now: Timestamp, before: Option<&Scan>) -> Answer<Scan> {
    let (mut found, mut paths): (Vec<Found>, u64) = (Vec::new(), 0);
    disk::walk(root, &mut |parent, path, kind| {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
        if name == b".git" || (name == OWN_FOLDER && kind == FileType::Directory) || excluded.has(path) {
            return Ok(false);
        }
        // The folders on the way were checked before they were entered.
        names::check_name(path, name, Rule::Writable)?;
        if !matches!(kind, FileType::RegularFile | FileType::Symlink | FileType::Directory) {
            return Err(names::refuse(path, "it is neither a file, a folder nor a link"));
        }
        paths += 1;
        if paths > limits.files {
            let message = format!("read a folder: it holds more than {} paths", limits.files);
            return Err(Refusal::new(Code::TooLarge, message).help("raise limits.files of the source if that is right"));
        }
        let known = match before.and_then(|scan| scan.known(path)) {
            Some((before, item)) => {
                let now = mark(&disk::stat(parent, name).map_err(|errno| disk::refuse_path(path, errno))?);
                (now == before).then(|| item.clone())
            }
            None => None,
        };
        // A folder is an entry when no other path lies in it; walking lists a folder right before what it holds.
        found.pop_if(|last| last.kind == FileType::Directory && names::below(&last.path, path).is_some());
        found.push(Found { path: path.to_vec(), kind, known });
        Ok(true)
    })?;
    let items = disk::spread(&found, |found| item(root, found, limits))?;
    let items: BTreeMap<Vec<u8>, Item> = found.into_iter().map(|found| found.path).zip(items).collect();

    let bytes: u64 = items.values().filter_map(|item| item.content).map(|content| content.bytes).sum();
    if bytes > limits.bytes {
        let message = format!("read a folder: its files hold {bytes} bytes, more than {}", limits.bytes);
        return Err(Refusal::new(Code::TooLarge, message).help("raise limits.bytes of the source if that is right"));
    }
    let mut texts = BTreeMap::new();
    for (path, _) in items.iter().filter(|(_, item)| item.shape == Shape::Link) {
        texts.insert(path.clone(), root.link(path).map_err(|errno| disk::refuse_path(path, errno))?);
    }
    links::check(&texts)?;
    Ok(Scan { digest: digest(items.iter().map(|(path, item)| (path.as_slice(), item))), items, began: now })
}

/// Digests a listing: one line per path, in the order of their bytes, `MODE SHA256 PATH`.
pub(super) fn digest<'a>(items: impl Iterator<Item = (&'a [u8], &'a Item)>) -> Digest {
    let (mut hash, mut line) = (Sha256::new(), String::new());
    for (path, item) in items {
        let mode = match item.shape {
            Shape::File { executable: false } => "100644",
            Shape::File { executable: true } => "100755",
            Shape::Link => "120000",
            Shape::Folder => "040000",
        };
        let content = item.content.map_or_else(|| "-".to_owned(), |content| content.digest.hex());
        line.clear();
        [mode, " ", &content, " ", &encode_path(path), "\n"].iter().for_each(|word| line.push_str(word));
        hash.update(&line);
    }
    Digest(hash.finalize().into())
}

impl Scan {
    /// What was read of a path, if its times can tell whether it still is that.
    fn known(&self, path: &[u8]) -> Option<(Mark, &Item)> {
        let item = self.items.get(path)?;
        let mark = item.mark?;
        let changed = mark.changed.0.saturating_mul(1000) + i64::try_from(mark.changed.1 / 1_000_000).unwrap_or(0);
        (changed.saturating_add(TICK_MS) < self.began.0).then_some((mark, item))
    }
}

fn item(root: &Root, found: &Found, limits: &Limits) -> Answer<Item> {
    let path = &found.path;
    let gone = |errno| disk::refuse_path(path, moved(errno));
    match (&found.known, found.kind) {
        (Some(known), _) => Ok(known.clone()),
        (_, FileType::Directory) => Ok(Item { shape: Shape::Folder, content: None, mark: None }),
        (_, FileType::Symlink) => {
            let text = root.link(path).map_err(gone)?;
            Ok(Item { shape: Shape::Link, content: Some(BlobRef::of(&text)), mark: None })
        }
        _ => {
            let (file, stat) = root.file(path).map_err(gone)?;
            let content = hash(&file, u64::try_from(stat.st_size).unwrap_or(0), limits.bytes).map_err(gone)?;
            Ok(Item { shape: Shape::File { executable: disk::executable(&stat) }, content: Some(content), mark: Some(mark(&stat)) })
        }
    }
}

/// A file that became a link or a folder since it was listed is a folder that changes, not a loop.
fn moved(errno: Errno) -> Errno {
    match errno {
        Errno::LOOP | Errno::INVAL | Errno::NOTDIR => Errno::NOENT,
        other => other,
    }
}

fn mark(stat: &Stat) -> Mark {
    #[expect(clippy::useless_conversion, clippy::unnecessary_cast, reason = "the widths of stat's fields differ between machines")]
    Mark {
        place: (u64::from(stat.st_dev), u64::from(stat.st_ino)),
        size: u64::try_from(stat.st_size).unwrap_or(0),
        changed: (i64::from(stat.st_ctime), stat.st_ctime_nsec as u64),
        modified: (i64::from(stat.st_mtime), stat.st_mtime_nsec as u64),
    }
}

/// Hashes a file to its end, or until it is beyond the limit. Where a read is not filled, and what was read is as much as there
/// was when it was opened, that is the end.
fn hash(file: &File, size: u64, limit: u64) -> rustix::io::Result<BlobRef> {
    let room = usize::try_from(size.saturating_add(1)).map_or(CHUNK, |room| room.min(CHUNK));
    let (mut hash, mut bytes, mut buffer) = (Sha256::new(), 0, Vec::with_capacity(room));
    loop {
        buffer.clear();
        match rustix::io::read(file, spare_capacity(&mut buffer)) {
            Ok(count) => {
                hash.update(&buffer);
                bytes += count as u64;
                if count == 0 || (count < buffer.capacity() && bytes == size) || bytes > limit {
                    return Ok(BlobRef { digest: Digest(hash.finalize().into()), bytes, sealed: false });
                }
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}
