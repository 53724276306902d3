//! Writes files of a manifest into a folder for people to look at. Never into one that holds something.

use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, ensure};
use trued_model::{Address, Fingerprint, Item, Manifest, Shape, decode_path};

use crate::exit::usage;
use crate::record::Record;
use crate::screen::Screen;

/// Writes a manifest's files below a folder and counts them. What is sealed or cannot be a file here is named and left out.
pub fn write_out(record: &Record, manifest: &Manifest, folder: &Path, screen: &Screen) -> anyhow::Result<usize> {
    prepare(folder)?;
    let mut count = 0;
    for (address, item) in &manifest.items {
        match bytes(record, item)? {
            Some((shape, bytes)) => {
                write_one(folder, address, shape, &bytes)?;
                count += 1;
            }
            None => screen.say(&format!("{address} is left out: it is sealed, or nothing a file can show")),
        }
    }
    Ok(count)
}

/// Makes sure that a folder is there and empty.
pub fn prepare(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("failed to make the folder {}", folder.display()))?;
    let mut inside = fs::read_dir(folder).with_context(|| format!("failed to read the folder {}", folder.display()))?;
    if inside.next().is_some() {
        return Err(usage(format!("{} is not empty; name a new folder", folder.display())));
    }
    Ok(())
}

/// Writes one thing at its address below a folder that was empty at first, so that no link can lead out of it.
pub fn write_one(folder: &Path, address: &Address, shape: Shape, bytes: &[u8]) -> anyhow::Result<()> {
    let path = folder.join(below(address)?);
    let failed = || format!("failed to write {}", path.display());
    let parent = path.parent().unwrap_or(folder);
    for part in parent.ancestors().take_while(|part| *part != folder) {
        let link = fs::symlink_metadata(part).is_ok_and(|found| found.is_symlink());
        ensure!(!link, "{address} would be written through the link {}", part.display());
    }
    fs::create_dir_all(parent).with_context(failed)?;
    match shape {
        Shape::Folder => fs::create_dir_all(&path).with_context(failed),
        Shape::Link => symlink(PathBuf::from(std::ffi::OsString::from_vec(bytes.to_vec())), &path).with_context(failed),
        Shape::File { executable } => {
            let mode = if executable { 0o755 } else { 0o644 };
            let write =
                || -> io::Result<()> { fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&path)?.write_all(bytes) };
            write().with_context(failed)
        }
    }
}

/// The relative path that an address names; never absolute, never upward.
fn below(address: &Address) -> anyhow::Result<PathBuf> {
    let bytes = decode_path(address.as_str()).with_context(|| format!("{address} is no path"))?;
    let path = PathBuf::from(std::ffi::OsString::from_vec(bytes));
    let plain = path.components().next().is_some() && path.components().all(|part| matches!(part, Component::Normal(_)));
    ensure!(plain, "{address} leads out of the folder");
    Ok(path)
}

/// What kind of thing a fingerprint is of.
pub fn shape(fingerprint: &Fingerprint) -> Shape {
    match fingerprint.as_str().split(':').collect::<Vec<_>>()[..] {
        [_, "dir"] => Shape::Folder,
        [_, "link", ..] => Shape::Link,
        [_, "file", "755", ..] => Shape::File { executable: true },
        _ => Shape::File { executable: false },
    }
}

/// A public item's shape, as its fingerprint tells, and its bytes.
fn bytes(record: &Record, item: &Item) -> anyhow::Result<Option<(Shape, Vec<u8>)>> {
    let shape = shape(&item.fingerprint);
    if shape == Shape::Folder {
        return Ok(Some((shape, Vec::new())));
    }
    let Some(content) = &item.content else { return Ok(None) };
    Ok(record.bytes(content)?.map(|bytes| (shape, bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(address: &str, writable: bool) {
        let folder = tempfile::tempdir().expect("a folder");
        let done = write_one(folder.path(), &Address::new(address), Shape::File { executable: false }, b"x");
        assert_eq!(done.is_ok(), writable, "{address}: {done:?}");
    }

    #[test]
    fn fault_06_nothing_is_written_outside_the_folder() {
        check("a/b.txt", true);
        check("a%0Ab", true);
        for address in ["../x", "a/../../x", "/etc/x", "", ".", "a/%", "%2E%2E/x"] {
            check(address, false);
        }
    }

    #[test]
    fn fault_07_nothing_is_written_through_a_link() {
        let folder = tempfile::tempdir().expect("a folder");
        write_one(folder.path(), &Address::new("out"), Shape::Link, b"/tmp").expect("a link");
        let through = write_one(folder.path(), &Address::new("out/x"), Shape::File { executable: false }, b"x");
        assert!(through.is_err());
    }
}
