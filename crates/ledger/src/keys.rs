//! The two keys of a state folder: one signs checkpoints, one seals secrets. Each is a text file of mode 0600.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustix::rand::{GetRandomFlags, getrandom};
use trued_doors::Answer;
use trued_model::{Code, Refusal, Secret};

use crate::disk::{cannot, cannot_io, make_file};

/// The most bytes of a key file that are read.
const MAX_FILE: u64 = 256;

/// What a key is for; its file and first line say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Log,
    Data,
}

impl Purpose {
    fn file(self) -> &'static str {
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

/// Reads a key; `None` when there is no such file.
pub(crate) fn read(keys: &Path, purpose: Purpose) -> Answer<Option<Key>> {
    let path = keys.join(purpose.file());
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(cannot_io(&format!("read {}", path.display()), &error)),
    };
    let failed = |error| cannot_io(&format!("read {}", path.display()), &error);
    if file.metadata().map_err(failed)?.mode() & 0o077 != 0 {
        let message = format!("use {}: others may read it", path.display());
        return Err(Refusal::new(Code::Denied, message).help(format!("chmod 600 {}", path.display())));
    }
    let mut text = String::new();
    file.take(MAX_FILE).read_to_string(&mut text).map_err(failed)?;
    let text = Secret::new(text.into_bytes());
    parse(text.reveal(), purpose).map(Some).ok_or_else(|| not_a_key(&path, purpose))
}

/// Reads a key, making it first where there is none. Of several processes that make it at once, one key remains.
pub(crate) fn read_or_make(keys: &Path, purpose: Purpose) -> Answer<Key> {
    if let Some(key) = read(keys, purpose)? {
        return Ok(key);
    }
    let fresh = Key::fresh()?;
    let text = Secret::new(format!("{}\n{}\n", purpose.first_line(), BASE64.encode(fresh.bytes())).into_bytes());
    let path = keys.join(purpose.file());
    if make_file(&path, text.reveal())? {
        return Ok(fresh);
    }
    read(keys, purpose)?.ok_or_else(|| not_a_key(&path, purpose))
}

fn parse(text: &[u8], purpose: Purpose) -> Option<Key> {
    let (first, second) = std::str::from_utf8(text).ok()?.trim_end().split_once('\n')?;
    let bytes = Secret::new(BASE64.decode(second).ok()?);
    (first == purpose.first_line() && bytes.reveal().len() == 32).then_some(Key(bytes))
}

fn not_a_key(path: &Path, purpose: Purpose) -> Refusal {
    let path = path.display();
    Refusal::new(Code::Invalid, format!("read {path}: not a key file"))
        .help(format!("its first line is `{}`, its second 32 bytes in base64; bring it back from a backup", purpose.first_line()))
}
