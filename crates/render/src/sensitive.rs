//! Which documents are sealed whole because configuration says so.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use trued_model::Finding;

/// Compiled `sensitive` globs. A `*` also spans folders: matching too much seals too much, never too little.
pub struct Sensitive(GlobSet);

impl Sensitive {
    /// Compiles globs; all bad ones are reported.
    pub fn new(globs: &[String]) -> Result<Sensitive, Vec<Finding>> {
        let mut set = GlobSetBuilder::new();
        let mut findings = Vec::new();
        for glob in globs {
            match GlobBuilder::new(glob).literal_separator(false).backslash_escape(true).build() {
                Ok(glob) => {
                    set.add(glob);
                }
                Err(error) => findings.push(Finding::new(
                    format!("`{glob}` in `sensitive` is not a glob: {}", error.kind()),
                    "write a pattern such as `certs/*.key`",
                )),
            }
        }
        match set.build() {
            Ok(set) if findings.is_empty() => Ok(Sensitive(set)),
            Ok(_) => Err(findings),
            Err(error) => {
                findings.push(Finding::new(format!("the globs in `sensitive` are too large together: {}", error.kind()), "use fewer"));
                Err(findings)
            }
        }
    }

    pub fn matches(&self, path: &str) -> bool {
        self.0.is_match(path)
    }
}
