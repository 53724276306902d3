//! One large blob as a stream: inflated and hashed while it is read, so that no more of it is in memory than a piece. A blob
//! that is kept as a difference to others cannot be read so; putting it together takes all of them at once.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use gix::ObjectId;
use gix::hash::Hasher;
use gix::objs::Kind;
use gix::objs::encode::loose_header;
use gix::odb::pack::data::entry::Header;
use gix::odb::pack::{data, index};
use gix::zlib::{Decompress, FlushDecompress};

use super::repository::{OTHER_BYTES, Repository, Torn};

/// A blob of more bytes than this is passed on in pieces where that can be done.
pub(super) const LARGE: u64 = 1 << 20;

/// Bytes read from a file at a time.
const PIECE: usize = 64 << 10;
/// Most bytes of what stands before a loose object's content: its kind, its size and a zero.
const LONGEST_HEADER: usize = 32;

/// A blob's content. Its last read is an error when what came is not what its name says.
pub(super) struct Stream {
    from: Box<dyn Read + Send>,
    left: u64,
    hash: Hasher,
    id: ObjectId,
    /// What to say then.
    wrong: String,
}

impl Stream {
    /// Opens a blob that stands whole in a file of the store, loose or in a pack; `None` where it does not, or where what
    /// stands there is none: whoever reads it whole will say why.
    pub(super) fn open(repository: &Repository, id: ObjectId) -> Option<Stream> {
        let folders = repository.folders();
        folders.iter().find_map(|folder| loose(folder, id)).or_else(|| folders.iter().find_map(|folder| packed(folder, id)))
    }

    /// A blob that comes from somewhere else.
    pub(super) fn over(from: Box<dyn Read + Send>, id: ObjectId, size: u64, wrong: String) -> Stream {
        Stream { from, left: size, hash: begun(size), id, wrong }
    }

    fn stored(from: Inflated, id: ObjectId, size: u64) -> Stream {
        let wrong = Torn::damaged(id, OTHER_BYTES.to_owned()).refusal().to_string();
        Stream::over(Box::new(from), id, size, wrong)
    }

    /// Compares what was read, and that there is no more of it.
    fn end(&mut self) -> io::Result<usize> {
        let is_over = self.from.read(&mut [0])? == 0;
        match self.hash.clone().try_finalize() {
            Ok(id) if id == self.id && is_over => Ok(0),
            _ => Err(io::Error::other(self.wrong.clone())),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        if self.left == 0 {
            return self.end();
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(into.len());
        let count = self.from.read(&mut into[..most])?;
        if count == 0 {
            return Err(io::Error::other(self.wrong.clone()));
        }
        self.left -= count as u64;
        self.hash.update(&into[..count]);
        Ok(count)
    }
}

/// The hash of a blob of this many bytes, before the first of them.
pub(super) fn begun(size: u64) -> Hasher {
    let mut hash = gix::hash::hasher(gix::hash::Kind::Sha1);
    hash.update(&loose_header(Kind::Blob, size));
    hash
}

/// An object in a file of its own.
fn loose(folder: &Path, id: ObjectId) -> Option<Stream> {
    let hex = id.to_string();
    let mut from = Inflated::new(File::open(folder.join(&hex[..2]).join(&hex[2..])).ok()?);
    let mut header = Vec::new();
    while header.last() != Some(&0) {
        let mut byte = [0];
        if header.len() == LONGEST_HEADER || from.read(&mut byte).ok()? == 0 {
            return None;
        }
        header.push(byte[0]);
    }
    let (kind, size, _) = gix::objs::decode::loose_header(&header).ok()?;
    (kind == Kind::Blob).then(|| Stream::stored(from, id, size))
}

/// An object in one of the packs, if it is there whole. Only the index and the head of the entry are looked at here.
fn packed(folder: &Path, id: ObjectId) -> Option<Stream> {
    let names = std::fs::read_dir(folder.join("pack")).ok()?.flatten().map(|entry| entry.path());
    let mut indices: Vec<PathBuf> = names.filter(|path| path.extension().is_some_and(|extension| extension == "idx")).collect();
    indices.sort();
    indices.iter().find_map(|path| in_pack(path, id))
}

fn in_pack(index: &Path, id: ObjectId) -> Option<Stream> {
    let known = index::File::at(index, id.kind()).ok()?;
    let start = known.pack_offset_at_index(known.lookup(id)?);
    let pack = index.with_extension("pack");
    let entry = data::File::at(&pack, id.kind()).ok()?.entry(start).ok()?;
    if entry.header != Header::Blob {
        return None;
    }
    let mut file = File::open(&pack).ok()?;
    file.seek(SeekFrom::Start(entry.data_offset)).ok()?;
    Some(Stream::stored(Inflated::new(file), id, entry.decompressed_size))
}

/// What a file's compressed bytes become, from where it stands.
struct Inflated {
    from: BufReader<File>,
    inflate: Box<Decompress>,
}

impl Inflated {
    fn new(file: File) -> Inflated {
        Inflated { from: BufReader::with_capacity(PIECE, file), inflate: Box::new(Decompress::new()) }
    }
}

impl Read for Inflated {
    /// Gives 0 at the end of the compressed bytes, and where they break off.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let bytes = self.from.fill_buf()?;
            let over = bytes.is_empty();
            let (taken_before, made_before) = (self.inflate.total_in(), self.inflate.total_out());
            let how = if over { FlushDecompress::Finish } else { FlushDecompress::None };
            self.inflate.decompress(bytes, into, how).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
            let taken = usize::try_from(self.inflate.total_in() - taken_before).unwrap_or(0);
            let made = usize::try_from(self.inflate.total_out() - made_before).unwrap_or(0);
            self.from.consume(taken);
            if made > 0 || over || taken == 0 {
                return Ok(made);
            }
        }
    }
}
