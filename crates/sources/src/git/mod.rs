//! The source `git`: a repository on this machine, opened in place, or one that is fetched over https or ssh. gix
//! reads and fetches; no process is started but one `ssh`, nothing is checked out, and no repository but our own store is ever written.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use trued_doors::{Answer, Descriptor, Source, SourceKind, SourceOpening};
use trued_model::{Finding, encode_path};

mod alarm;
mod answers;
mod ask;
mod bundles;
mod held;
mod history;
mod http;
mod limits;
mod news;
pub mod outside;
mod pack;
mod place;
mod private;
mod reader;
mod repository;
mod settings;
mod signed;
mod signing;
mod source;
mod ssh;
mod ssh_url;
mod store;
mod stream;
mod tree;
mod url;
mod watch;
mod way;
mod worktree;

/// The kind `git`.
pub(crate) struct Git;

impl SourceKind for Git {
    fn describe(&self) -> Descriptor {
        settings::describe()
    }

    fn check(&self, settings: &Value) -> Vec<(String, Finding)> {
        signing::check(settings)
    }

    fn open(&self, opening: SourceOpening) -> Answer<Arc<dyn Source>> {
        source::open(opening)
    }
}

/// The Git repository whose working tree holds a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryPlace {
    /// The working tree's root.
    pub root: PathBuf,
    /// The folder below the root, encoded; empty for the root itself.
    pub folder_in_it: String,
    /// The branch that is checked out, with or without commits; `None` when HEAD is detached or cannot be read.
    pub branch: Option<String>,
}

/// Finds the working tree above a folder, or at it. Trusts nothing the repository says of itself; `None` when there is none.
pub fn find_repository(folder: &Path) -> Option<RepositoryPlace> {
    let folder = folder.canonicalize().ok()?;
    let root = folder.ancestors().find(|above| is_repository(&above.join(".git")))?;
    let inside = folder.strip_prefix(root).ok()?;
    Some(RepositoryPlace {
        root: root.to_owned(),
        folder_in_it: encode_path(inside.as_os_str().as_bytes()),
        branch: repository::Repository::open(root).ok().and_then(|repository| repository.branch()),
    })
}

/// Whether this is a `.git` folder, or the file that stands for one in a linked working tree.
fn is_repository(dot_git: &Path) -> bool {
    dot_git.join("HEAD").symlink_metadata().is_ok() || std::fs::read(dot_git).is_ok_and(|text| text.starts_with(b"gitdir: "))
}
