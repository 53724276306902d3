//! Key files of a state folder: one key signs checkpoints, a ring of others seals secrets. Each file is text, mode 0600.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustix::fs::{FlockOperation, flock};
use rustix::rand::{GetRandomFlags, getrandom};
use trued_doors::Answer;
use trued_model::{Code, Refusal, Secret};
use zeroize::Zeroizing;

use crate::disk::{cannot, cannot_io, make_file, replace_file};

/// The most keys of a ring. One a week is ten years; who needs more starts a new state folder.
const MOST: usize = 512;

/// The most bytes of a key file that are read: the first line, then 45 bytes for each key.
const MAX_FILE: u64 = 64 + 45 * MOST as u64;

/// What a key is for; its file and first line say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Log,
    Data,
}

impl Purpose {
    pub fn file(self) -> &'static str {
        match self {
            Purpose::Log => "log.key",
            Purpose::Data => "data.key",
        }
    }

    fn first_line(self) -> &'static str {
        match self {
            Purpose::Log => "trued log key 1",
            Purpose::Data => "trued data key 1",
        }
    }
}

/// 32 secret bytes; wiped when dropped, without `Debug`.
pub(crate) struct Key(Secret);

impl Key {
    /// Takes fresh bytes from the kernel.
    pub fn fresh() -> Answer<Key> {
        let mut bytes = vec![0; 32];
        match getrandom(&mut bytes, GetRandomFlags::empty()) {
            Ok(32) => Ok(Key(Secret::new(bytes))),
            Ok(_) => Err(Refusal::new(Code::Unknown, "make a key: too little chance from the kernel")),
            Err(errno) => Err(cannot("make a key", errno)),
        }
    }

    #[cfg(test)]
    pub fn of(bytes: [u8; 32]) -> Key {
        Key(Secret::new(bytes.to_vec()))
    }

    pub fn bytes(&self) -> &[u8; 32] {
        self.0.reveal().try_into().expect("a key is made of 32 bytes")
    }
}

/// The data keys, oldest first and never none: the newest seals, all of them open, and the oldest gives identities, so
/// that those stay comparable when keys change.
pub(crate) struct Ring(Vec<Key>);

impl Ring {
    pub fn fresh() -> Answer<Ring> {
        Ok(Ring(vec![Key::fresh()?]))
    }

    #[cfg(test)]
    pub fn of(keys: Vec<Key>) -> Ring {
        Ring(keys)
    }

    pub fn keys(&self) -> &[Key] {
        &self.0
    }

    pub fn oldest(&self) -> &Key {
        &self.0[0]
    }

    fn text(&self) -> Secret {
        text(Purpose::Data, &self.0)
    }
}

/// Reads the one key of a file; `None` when there is no such file.
pub(crate) fn read(keys: &Path, purpose: Purpose) -> Answer<Option<Key>> {
    let path = keys.join(purpose.file());
    let Some(mut found) = read_all(&path, purpose)? else { return Ok(None) };
    match (found.pop(), found.is_empty()) {
        (Some(key), true) => Ok(Some(key)),
        _ => Err(not_a_key(&path, purpose)),
    }
}

/// Reads a key, making it first where there is none. Of several processes that make it at once, one key remains.
pub(crate) fn read_or_make(keys: &Path, purpose: Purpose) -> Answer<Key> {
    if let Some(key) = read(keys, purpose)? {
        return Ok(key);
    }
    let fresh = [Key::fresh()?];
    let path = keys.join(purpose.file());
    make_file(&path, text(purpose, &fresh).reveal())?;
    read(keys, purpose)?.ok_or_else(|| not_a_key(&path, purpose))
}

/// Reads the data keys of a folder; `None` when there is no such file.
pub(crate) fn ring(folder: &Path) -> Answer<Option<Ring>> {
    Ok(read_all(&folder.join(Purpose::Data.file()), Purpose::Data)?.map(Ring))
}

/// Reads the data keys of a folder, making the first one where there is none: the one that a plan kept in `cache`
/// meanwhile, otherwise a fresh one. Of several processes that make it at once, one key remains.
pub(crate) fn ring_or_make(folder: &Path, cache: &Path) -> Answer<Ring> {
    if let Some(ring) = ring(folder)? {
        return Ok(ring);
    }
    // What others may read was never a secret, and what cannot be read is no key: then a fresh one is as good.
    let first = match ring(cache) {
        Ok(Some(planned)) => planned,
        Ok(None) | Err(_) => Ring::fresh()?,
    };
    let path = folder.join(Purpose::Data.file());
    make_file(&path, first.text().reveal())?;
    let made = ring(folder)?.ok_or_else(|| not_a_key(&path, Purpose::Data))?;
    // It is durable where it belongs, and has one place.
    let _ = std::fs::remove_file(cache.join(Purpose::Data.file()));
    Ok(made)
}

/// The first data key before there is a record: kept in `cache`, from where the first write takes it, so that the
/// digests of plans made until then are those of the plan that is approved and applied.
pub(crate) fn planned_ring(folder: &Path, cache: &Path) -> Answer<Ring> {
    if let Some(planned) = ring(cache)? {
        return Ok(planned);
    }
    let fresh = Ring::fresh()?;
    crate::disk::make_folder(cache)?;
    make_file(&cache.join(Purpose::Data.file()), fresh.text().reveal())?;
    // Another process may have made the record in between; then its key counts.
    match ring(folder)? {
        Some(ring) => Ok(ring),
        None => Ok(ring(cache)?.unwrap_or(fresh)),
    }
}

/// What became of a ring.
pub(crate) enum Turned {
    /// A new key was added and seals from now on.
    Added(Ring),
    /// The last one was added and is not on record yet: an earlier call was interrupted. Nothing was changed.
    Unfinished(Ring),
}

/// Adds a fresh data key, in one step: a reader sees the ring without it or with it. `on_record`: the key that the record
/// says was added last. `lost`: begin a new ring where there is no file. One process at a time.
pub(crate) fn turn(folder: &Path, on_record: impl FnOnce(&Ring) -> bool, lost: bool) -> Answer<Turned> {
    let what = || format!("lock {}", folder.display());
    let lock = File::open(folder).map_err(|error| cannot_io(&what(), &error))?;
    flock(&lock, FlockOperation::LockExclusive).map_err(|errno| cannot(&what(), errno))?;
    sweep(folder);
    let path = folder.join(Purpose::Data.file());
    let Some(mut ring) = ring(folder)? else {
        if !lost {
            return Err(missing(&path));
        }
        let fresh = Ring::fresh()?;
        make_file(&path, fresh.text().reveal())?;
        return Ok(Turned::Added(fresh));
    };
    if lost {
        return Err(Refusal::new(Code::Invalid, format!("begin anew without {}: it is there", path.display()))
            .help("leave out --lost to add a key to it"));
    }
    if !on_record(&ring) {
        return Ok(Turned::Unfinished(ring));
    }
    if ring.0.len() >= MOST {
        return Err(Refusal::new(Code::TooLarge, format!("add a data key: {} has {MOST}, the most there may be", path.display())));
    }
    ring.0.push(Key::fresh()?);
    replace_file(&path, ring.text().reveal())?;
    Ok(Turned::Added(ring))
}

/// Removes drafts that a killed process left: key bytes that nobody will ever use.
fn sweep(folder: &Path) {
    let draft = format!(".{}.", Purpose::Data.file());
    for found in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if found.file_name().to_string_lossy().starts_with(&draft) {
            let _ = std::fs::remove_file(found.path());
        }
    }
}

/// Says that the data keys are not where they were.
pub(crate) fn missing(path: &Path) -> Refusal {
    Refusal::new(Code::Denied, format!("the data key {} is missing, so sealed things cannot be told or opened", path.display()))
        .help("bring it back from a backup; if it is lost for good, `trued keys rotate --lost` begins anew without it")
}

fn read_all(path: &Path, purpose: Purpose) -> Answer<Option<Vec<Key>>> {
    let failed = |error| cannot_io(&format!("read {}", path.display()), &error);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let found = file.metadata().map_err(failed)?;
    if found.mode() & 0o077 != 0 {
        let message = format!("use {}: others may read it", path.display());
        return Err(Refusal::new(Code::Denied, message).help(format!(
            "chmod 600 {path}, and think about who may have read it: `trued keys rotate` makes a new data key",
            path = path.display()
        )));
    }
    let mut text = Zeroizing::new(Vec::with_capacity(usize::try_from(found.len().min(MAX_FILE)).unwrap_or(0) + 1));
    file.take(MAX_FILE + 1).read_to_end(&mut text).map_err(failed)?;
    parse(&text, purpose).map(Some).ok_or_else(|| not_a_key(path, purpose))
}

/// The first line says what it is; each other line is a key of 32 bytes in base64.
fn parse(text: &[u8], purpose: Purpose) -> Option<Vec<Key>> {
    let mut lines = std::str::from_utf8(text).ok()?.trim_end().split('\n');
    if lines.next()? != purpose.first_line() {
        return None;
    }
    let key = |line: &str| Some(Secret::new(BASE64.decode(line).ok()?)).filter(|bytes| bytes.reveal().len() == 32).map(Key);
    lines.map(key).collect::<Option<Vec<Key>>>().filter(|keys| !keys.is_empty() && keys.len() <= MOST)
}

fn text(purpose: Purpose, keys: &[Key]) -> Secret {
    let mut text = Vec::with_capacity(64 + 45 * keys.len());
    text.extend_from_slice(purpose.first_line().as_bytes());
    text.push(b'\n');
    for key in keys {
        let line = Zeroizing::new(BASE64.encode(key.bytes()));
        text.extend_from_slice(line.as_bytes());
        text.push(b'\n');
    }
    Secret::new(text)
}

fn not_a_key(path: &Path, purpose: Purpose) -> Refusal {
    let path = path.display();
    let lines = match purpose {
        Purpose::Log => "its second 32 bytes in base64",
        Purpose::Data => "each other one 32 bytes in base64",
    };
    Refusal::new(Code::Invalid, format!("read {path}: not a key file"))
        .help(format!("its first line is `{}`, {lines}; bring it back from a backup", purpose.first_line()))
}

/// Where the data keys are.
pub(crate) fn data_file(folder: &Path) -> PathBuf {
    folder.join(Purpose::Data.file())
}
