//! A folder that only this user can enter, for the moment in which another program must find a secret in a file. It is in
//! memory where the machine has such a place, so that nothing of it reaches a disk.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use trued_model::Digest;

/// File systems in memory, with room for all users.
const MEMORY: &str = "/dev/shm";

/// The folder; it goes when this is dropped.
pub(super) struct Private(PathBuf);

impl Private {
    /// Makes the folder, empty. Its name follows from `of`, so that what a killed process left behind is removed by the
    /// next one; two at the same time with the same name are the caller's to prevent. In `of` itself where memory has no place.
    pub(super) fn make(of: &Path) -> io::Result<Private> {
        let name = Digest::of(of.as_os_str().as_encoded_bytes()).short();
        let mine = Path::new(MEMORY).join(format!("trued-{}", rustix::process::geteuid().as_raw()));
        in_memory(&mine, &name).or_else(|_| empty(of.join("private")))
    }

    /// Writes a file that only this user can read.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> io::Result<PathBuf> {
        let path = self.0.join(name);
        File::options().write(true).create_new(true).mode(0o600).open(&path)?.write_all(bytes)?;
        Ok(path)
    }

    /// Removes a file as soon as nobody needs it any more.
    pub(super) fn remove(&self, name: &str) {
        // What cannot be removed now goes with the folder.
        let _ = fs::remove_file(self.0.join(name));
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!("failed to remove {}: {error}", self.0.display());
        }
    }
}

/// Anybody may make folders there, so ours counts only when it is ours.
fn in_memory(mine: &Path, name: &str) -> io::Result<Private> {
    match DirBuilder::new().mode(0o700).create(mine) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let found = mine.symlink_metadata()?;
    if !found.is_dir() || found.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    fs::set_permissions(mine, Permissions::from_mode(0o700))?;
    empty(mine.join(name))
}

fn empty(folder: PathBuf) -> io::Result<Private> {
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    DirBuilder::new().mode(0o700).create(&folder)?;
    Ok(Private(folder))
}
