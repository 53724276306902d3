//! The driver suite against real folders.

use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;
use trued_doors::Driver;
use trued_doors::conformance::driver::World;
use trued_doors::driver_suite;
use trued_model::{Address, decode_path};

struct Folder(TempDir);

fn folder() -> Folder {
    let folder = Folder(tempfile::tempdir().expect("a folder"));
    std::fs::create_dir(folder.root()).expect("a root");
    folder
}

impl Folder {
    fn root(&self) -> PathBuf {
        self.0.path().join("root")
    }

    fn path(&self, address: &Address) -> PathBuf {
        use std::os::unix::ffi::OsStringExt as _;
        let bytes = decode_path(address.as_str()).expect("an address");
        self.root().join(std::ffi::OsString::from_vec(bytes))
    }
}

impl World for Folder {
    fn driver(&self) -> Arc<dyn Driver> {
        trued_files::driver()
    }

    fn settings(&self) -> Value {
        json!({ "root": self.root() })
    }

    fn read(&self, address: &Address) -> Option<Vec<u8>> {
        std::fs::read(self.path(address)).ok()
    }

    fn put(&self, address: &Address, content: &[u8]) {
        let path = self.path(address);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        std::fs::write(path, content).expect("written");
    }

    fn remove(&self, address: &Address) {
        std::fs::remove_file(self.path(address)).expect("removed");
    }

    fn hide(&self) {
        std::fs::rename(self.root(), self.0.path().join("away")).expect("moved away");
    }

    /// Everything but our own folder, with inode and times; of that, what outlives a batch.
    fn trace(&self) -> String {
        let mut text = String::new();
        trace(&self.root(), &mut text);
        text
    }
}

fn trace(folder: &Path, text: &mut String) {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for path in entries {
        let own = path.components().any(|name| name.as_os_str() == ".trued");
        let meta = path.symlink_metadata().expect("metadata");
        if !own {
            let _ = writeln!(text, "{} {} {} {}.{}", path.display(), meta.ino(), meta.mode(), meta.ctime(), meta.ctime_nsec());
        } else if path.ends_with(".trued/mark") {
            let _ = writeln!(text, "{} {}", path.display(), std::fs::read_to_string(&path).expect("the mark"));
        }
        if meta.is_dir() {
            trace(&path, text);
        }
    }
}

driver_suite!(folder);
