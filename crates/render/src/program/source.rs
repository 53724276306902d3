//! The copy of the source that a build works in. The source itself is never within its reach.

use std::fs::{self, FileTimes};
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use trued_doors::Bundle;
use trued_model::{Finding, Refusal, Shape, decode_path};

use crate::copy::in_source;

/// When every file of a copy was changed last: a build that looks sees the same each time.
const CHANGED: Duration = Duration::from_secs(315_532_800);

/// When the first file of a copy was changed that is laid out elsewhere; each one after it a minute later.
const OTHERWISE: Duration = Duration::from_secs(1_000_000_000);

/// Larger files pass through in pieces.
const HELD: u64 = 1 << 20;

/// Bytes of all files of a copy: it must fit on the disk of the state folder beside everything else.
const MAX_COPY: u64 = 4 << 30;

/// Refuses a source that is too large to copy, before anything of it is.
pub fn bounded(bundle: &Bundle) -> Result<(), Vec<Finding>> {
    let bytes = bundle.entries.values().fold(0_u64, |sum, entry| sum.saturating_add(entry.bytes));
    let message = format!("`{}` has {bytes} bytes, more than the {MAX_COPY} that are copied for a build", bundle.folder);
    if bytes > MAX_COPY { Err(vec![Finding::new(message, "leave out what the build does not need")]) } else { Ok(()) }
}

/// Writes a bundle's entries into an empty folder, or the last of them first: nothing is said of the order in which a folder
/// lists what is in it; `elsewhere` each file has a date of its own. All that cannot be written is reported.
pub fn lay_out(bundle: &Bundle, folder: &Path, backwards: bool, elsewhere: bool) -> Result<(), Vec<Finding>> {
    let mut findings = Vec::new();
    let mut entries: Vec<_> = bundle.entries.iter().collect();
    if backwards {
        entries.reverse();
    }
    for (number, (path, entry)) in entries.into_iter().enumerate() {
        let changed = if elsewhere { OTHERWISE + Duration::from_secs(61) * u32::try_from(number).unwrap_or(u32::MAX) } else { CHANGED };
        let written = place(folder, path).ok_or_else(|| "it has no name that can be written".to_owned()).and_then(|at| {
            let failed = |error: io::Error| error.to_string();
            if let Some(parent) = at.parent() {
                fs::create_dir_all(parent).map_err(failed)?;
            }
            if entry.shape == Shape::Folder {
                return fs::create_dir_all(&at).map_err(failed);
            }
            let refused = |refusal: Refusal| refusal.to_string();
            match entry.shape {
                Shape::File { executable } if entry.bytes > HELD => {
                    write(&at, &mut bundle.reader.open(path).map_err(refused)?, executable, changed)
                }
                Shape::File { executable } => write(&at, &mut bundle.reader.read(path).map_err(refused)?.as_slice(), executable, changed),
                _ => symlink(PathBuf::from(std::ffi::OsString::from_vec(bundle.reader.read(path).map_err(refused)?)), &at),
            }
            .map_err(failed)
        });
        if let Err(why) = written {
            let message = format!("`{path}` cannot be copied for the build: {why}");
            findings.push(Finding::new(message, "nothing was built; it is tried again").at(in_source(bundle, path), 1, 1));
        }
    }
    if findings.is_empty() { Ok(()) } else { Err(findings) }
}

/// Where an entry goes; `None` for a path that does not stay below the folder.
fn place(folder: &Path, path: &str) -> Option<PathBuf> {
    let path = PathBuf::from(std::ffi::OsString::from_vec(decode_path(path)?));
    let stays = path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    stays.then(|| folder.join(path))
}

fn write(at: &Path, from: &mut dyn Read, executable: bool, changed: Duration) -> io::Result<()> {
    let mode = if executable { 0o755 } else { 0o644 };
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(at)?;
    io::copy(from, &mut file)?;
    file.set_times(FileTimes::new().set_modified(SystemTime::UNIX_EPOCH + changed))
}
