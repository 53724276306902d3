//! Folders for one program each, gone afterwards whatever the program left in them.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use trued_doors::{Answer, Room, Workspace};
use trued_model::{Code, Refusal};

const PREFIX: &str = "trued-program-";

/// Makes folders below `place`, and clears what dead processes left there.
pub fn make(place: &Path) -> Answer<Workspace> {
    let refused = |error: io::Error| Refusal::new(Code::Unknown, format!("make room for a program in {}: {error}", place.display()));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(place).map_err(refused)?;
    clear(place);
    let prefix = format!("{PREFIX}{}-", std::process::id());
    // Others may pass through it, as the program's own uid must; nobody may look into it.
    let whole = tempfile::Builder::new().prefix(&prefix).permissions(fs::Permissions::from_mode(0o711)).tempdir_in(place);
    let whole = Whole(whole.map_err(refused)?.keep());
    let room = Room { folder: whole.0.join("build"), scratch: whole.0.join("tmp") };
    for folder in [&room.folder, &room.scratch] {
        fs::DirBuilder::new().mode(0o700).create(folder).map_err(refused)?;
    }
    Ok(Workspace { room, keep: Box::new(whole) })
}

struct Whole(PathBuf);

impl Drop for Whole {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

/// Removes a tree, also one whose folders its owner closed. What stays is cleared by a later one.
fn remove(folder: &Path) {
    if fs::remove_dir_all(folder).is_err() {
        open(folder);
        let _ = fs::remove_dir_all(folder);
    }
}

fn open(folder: &Path) {
    let _ = fs::set_permissions(folder, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open(&entry.path());
        }
    }
}

fn clear(place: &Path) {
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next()?.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            remove(&entry.path());
        }
    }
}
