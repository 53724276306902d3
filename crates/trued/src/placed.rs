//! Puts new files into a working tree: all of them or none, each whole, and none over anything that is there.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, ensure};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use trued_doors::Sourced;
use trued_model::{Shape, decode_path};

/// The relative path that a source's path names; never absolute, never upward.
pub fn below(path: &str) -> anyhow::Result<PathBuf> {
    let bytes = decode_path(path).with_context(|| format!("{path} is no path"))?;
    let path = PathBuf::from(std::ffi::OsString::from_vec(bytes));
    let plain = path.components().next().is_some() && path.components().all(|part| matches!(part, Component::Normal(_)));
    ensure!(plain, "{} leads out of the folder", path.display());
    Ok(path)
}

/// Writes all files, none of which may be there. What was placed before a failure is taken back.
pub fn place(files: &[(&Path, &Sourced)]) -> anyhow::Result<()> {
    // Without a name until all of them are on the disk.
    let mut staged = Vec::new();
    for (path, sourced) in files {
        let parent = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(parent).with_context(|| format!("failed to make the folder {}", parent.display()))?;
        staged.push(stage(parent, sourced).with_context(|| format!("failed to write {}", path.display()))?);
    }
    for (at, ((path, sourced), staged)) in files.iter().zip(&staged).enumerate() {
        if let Err(error) = name(path, sourced, staged.as_ref()) {
            files[..at].iter().for_each(|(path, _)| drop(fs::remove_file(path)));
            return Err(error).with_context(|| format!("failed to write {}; nothing is written", path.display()));
        }
    }
    Ok(())
}

/// A file with its content and without a name; `None` for a link, and where the file system knows no such files.
fn stage(folder: &Path, sourced: &Sourced) -> io::Result<Option<File>> {
    let Shape::File { executable } = sourced.shape else { return Ok(None) };
    let mode = Mode::from_raw_mode(if executable { 0o755 } else { 0o644 });
    let mut file = match rustix::fs::open(folder, OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC, mode) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR | rustix::io::Errno::INVAL) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    file.write_all(&sourced.bytes)?;
    file.sync_all()?;
    Ok(Some(file))
}

/// Gives it its name, unless something has it.
fn name(path: &Path, sourced: &Sourced, staged: Option<&File>) -> io::Result<()> {
    match (sourced.shape, staged) {
        (Shape::File { .. }, Some(file)) => {
            // By descriptor: without privileges that is the only way to name such a file.
            let unnamed = format!("/proc/self/fd/{}", file.as_raw_fd());
            Ok(rustix::fs::linkat(CWD, unnamed, CWD, path, AtFlags::SYMLINK_FOLLOW)?)
        }
        (Shape::File { executable }, None) => {
            use std::os::unix::fs::OpenOptionsExt;
            let mode = if executable { 0o755 } else { 0o644 };
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
            file.write_all(&sourced.bytes).inspect_err(|_| drop(fs::remove_file(path)))
        }
        (Shape::Link, _) => std::os::unix::fs::symlink(PathBuf::from(std::ffi::OsString::from_vec(sourced.bytes.clone())), path),
        (Shape::Folder, _) => fs::create_dir(path),
    }
}
