//! The copy of the source that a build works in. The source itself is never within its reach.

use std::fs::{self, FileTimes};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use trued_doors::Bundle;
use trued_model::{Finding, Shape, decode_path};

use crate::copy::in_source;

/// When every file of a copy was changed last: a build that looks sees the same each time.
const CHANGED: Duration = Duration::from_secs(315_532_800);

/// Writes a bundle's entries into an empty folder. All that cannot be written is reported.
pub fn lay_out(bundle: &Bundle, folder: &Path) -> Result<(), Vec<Finding>> {
    let mut findings = Vec::new();
    for (path, entry) in bundle.entries.iter() {
        let written = place(folder, path).ok_or_else(|| "it has no name that can be written".to_owned()).and_then(|at| {
            let failed = |error: io::Error| error.to_string();
            if let Some(parent) = at.parent() {
                fs::create_dir_all(parent).map_err(failed)?;
            }
            if entry.shape == Shape::Folder {
                return fs::create_dir_all(&at).map_err(failed);
            }
            let bytes = bundle.reader.read(path).map_err(|refusal| refusal.to_string())?;
            match entry.shape {
                Shape::File { executable } => write(&at, &bytes, executable),
                _ => symlink(PathBuf::from(std::ffi::OsString::from_vec(bytes)), &at),
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

fn write(at: &Path, bytes: &[u8], executable: bool) -> io::Result<()> {
    let mode = if executable { 0o755 } else { 0o644 };
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(at)?;
    file.write_all(bytes)?;
    file.set_times(FileTimes::new().set_modified(SystemTime::UNIX_EPOCH + CHANGED))
}
