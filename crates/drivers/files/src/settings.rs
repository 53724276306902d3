//! A target's settings as configuration gives them, and what can be said of them without touching the disk.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trued_doors::TargetSettings;
use trued_model::Finding;

use crate::rules::{self, Rules};

/// Settings of a `files` target.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// The folder below which everything is managed. Relative to the file that names it.
    pub root: PathBuf,
    /// Whether a missing root is made. Otherwise a missing root is unknown, because an unmounted disk looks like one.
    #[serde(default)]
    pub create: bool,
    /// Whether changes are noticed as they happen. A full look at every interval is made in any case.
    #[serde(default = "yes")]
    pub watch: bool,
    /// Owner, group and mode by glob of paths below the root; `*` stays within a name, `**` does not, and a glob that ends
    /// with `/` is for folders. Each property comes from the nearest glob that says it. What no glob says is left alone.
    #[serde(default, skip_serializing_if = "Rules::is_empty")]
    pub modes: Rules,
}

fn yes() -> bool {
    true
}

/// Folders that hold no files of anybody's: nothing can be kept true below them.
const NOT_STORAGE: [&str; 3] = ["/proc", "/sys", "/dev"];

impl Settings {
    fn root_finding(&self) -> Option<Finding> {
        let root = self.root.display();
        if self.root.as_os_str().is_empty() {
            return Some(Finding::new("`root` is empty", "name the folder below which files are managed"));
        }
        if !self.root.is_absolute() {
            return Some(Finding::new(format!("`root: {root}` is not absolute"), "write a path that starts with `/`"));
        }
        if self.root.as_os_str().as_encoded_bytes().contains(&0) {
            return Some(Finding::new("`root` has a NUL character in it", "write a path"));
        }
        let storage = !NOT_STORAGE.iter().any(|folder| self.root.starts_with(Path::new(folder)));
        (!storage).then(|| Finding::new(format!("`root: {root}` is the kernel's, not a folder of files"), "name a folder on a disk"))
    }
}

impl TargetSettings for Settings {
    const KIND: &'static str = "files";

    fn findings(&self) -> Vec<Finding> {
        self.root_finding().into_iter().chain(rules::findings(&self.modes)).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn messages(settings: Value) -> String {
        Settings::check(&settings).into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn a_root_is_absolute_and_on_a_disk() {
        assert_eq!(messages(json!({ "root": "/srv/www" })), "");
        assert_eq!(messages(json!({ "root": "site" })), "`root: site` is not absolute");
        assert_eq!(messages(json!({ "root": "" })), "`root` is empty");
        assert_eq!(messages(json!({ "root": "/proc/1" })), "`root: /proc/1` is the kernel's, not a folder of files");
        assert_eq!(messages(json!({ "root": "/development" })), "");
    }

    #[test]
    fn an_unknown_setting_is_a_finding() {
        assert!(messages(json!({ "root": "/srv", "crate": true })).contains("unknown field `crate`"));
    }
}
