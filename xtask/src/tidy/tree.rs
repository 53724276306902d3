//! The checkout as rules see it: packages with their arrows, and every Rust file.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::Value;

use super::rust_text::{Keep, code_of, without_tests};
use crate::machine;

/// The whole checkout.
pub struct Tree {
    pub root: PathBuf,
    pub packages: Vec<Package>,
    /// Sorted by path.
    pub files: Vec<RustFile>,
}

/// One crate.
pub struct Package {
    pub name: String,
    /// From the root.
    pub folder: String,
    pub dependencies: Vec<Dependency>,
}

impl Package {
    pub fn is_driver(&self) -> bool {
        self.folder.starts_with("crates/drivers/")
    }
}

/// One line of a crate's `Cargo.toml`.
pub struct Dependency {
    pub name: String,
    /// In this workspace.
    pub ours: bool,
    /// Only for tests.
    pub for_tests: bool,
}

/// One Rust file.
pub struct RustFile {
    /// From the root.
    pub path: String,
    pub package: String,
    /// Without comments and strings, tests included.
    pub code: String,
    /// Without comments and tests.
    pub with_strings: String,
    /// Without comments, strings and tests. Empty for a file that holds only tests.
    pub production: String,
    pub is_test: bool,
}

impl RustFile {
    /// The places of a piece of production code: `path:line`.
    pub fn places<'a>(&'a self, code: &'a str, piece: &'a str) -> impl Iterator<Item = String> + 'a {
        code.lines().enumerate().filter(move |(_, line)| holds_word(line, piece)).map(|(at, _)| format!("{}:{}", self.path, at + 1))
    }
}

/// Whether a line holds a piece that does not continue a longer name.
fn holds_word(line: &str, piece: &str) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(piece).any(|(at, _)| {
        let starts = piece.starts_with(is_name) && line[..at].ends_with(is_name);
        let goes_on = piece.ends_with(is_name) && line[at + piece.len()..].starts_with(is_name);
        !starts && !goes_on
    })
}

impl Tree {
    pub fn read() -> anyhow::Result<Tree> {
        let root = machine::root();
        let metadata = machine::read(machine::cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
        let metadata: Value = serde_json::from_str(&metadata).context("failed to read cargo's metadata")?;
        let listed = metadata["packages"].as_array().context("cargo lists no packages")?;
        let mut packages = listed.iter().map(|package| read_package(&root, package)).collect::<anyhow::Result<Vec<_>>>()?;
        packages.sort_by(|a, b| a.name.cmp(&b.name));
        let mut files = Vec::new();
        for package in &packages {
            for path in rust_files(&root.join(&package.folder))? {
                let nested =
                    packages.iter().any(|other| other.folder.len() > package.folder.len() && path.starts_with(root.join(&other.folder)));
                if !nested {
                    files.push(read_file(&root, &path, &package.name)?);
                }
            }
        }
        mark_test_modules(&mut files);
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Tree { root, packages, files })
    }

    /// All Markdown files that are part of the project, from the root.
    pub fn papers(&self) -> anyhow::Result<Vec<String>> {
        let listed = machine::read(
            std::process::Command::new("git")
                .args(["ls-files", "--cached", "--others", "--exclude-standard", "*.md"])
                .current_dir(&self.root),
        )?;
        Ok(listed.lines().filter(|path| self.root.join(path).exists()).map(str::to_owned).collect())
    }
}

fn read_package(root: &Path, package: &Value) -> anyhow::Result<Package> {
    let manifest = Path::new(package["manifest_path"].as_str().context("a package names no manifest")?);
    let folder = manifest.parent().and_then(|folder| folder.strip_prefix(root).ok()).context("a package lies outside the root")?;
    let dependencies = package["dependencies"].as_array().context("a package lists no dependencies")?;
    Ok(Package {
        name: package["name"].as_str().unwrap_or_default().to_owned(),
        folder: folder.to_string_lossy().into_owned(),
        dependencies: dependencies
            .iter()
            .map(|dependency| Dependency {
                name: dependency["name"].as_str().unwrap_or_default().to_owned(),
                ours: dependency["path"].is_string(),
                for_tests: dependency["kind"] == "dev",
            })
            .collect(),
    })
}

fn read_file(root: &Path, path: &Path, package: &str) -> anyhow::Result<RustFile> {
    let text = std::fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))?;
    let path = path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned();
    let is_test = path.ends_with("/tests.rs") || ["/tests/", "/benches/", "/examples/"].iter().any(|folder| path.contains(folder));
    let code = code_of(&text, Keep::Nothing);
    let production = if is_test { String::new() } else { without_tests(&code) };
    let with_strings = without_tests(&code_of(&text, Keep::Strings));
    Ok(RustFile { path, package: package.to_owned(), code, with_strings, production, is_test })
}

/// A file that its parent declares as `#[cfg(test)] mod NAME;` holds only tests, wherever it lies.
fn mark_test_modules(files: &mut [RustFile]) {
    let declared: BTreeSet<String> = files.iter().flat_map(declared_for_tests).collect();
    for file in files.iter_mut() {
        let stem = file.path.trim_end_matches(".rs").trim_end_matches("/mod");
        if declared.iter().any(|module| stem == module || stem.starts_with(&format!("{module}/"))) {
            file.is_test = true;
            file.production.clear();
        }
    }
}

/// Paths, without `.rs`, of the modules that a file declares for tests. Reads the file again: its tests are gone here.
fn declared_for_tests(file: &RustFile) -> Vec<String> {
    let Ok(text) = std::fs::read_to_string(machine::root().join(&file.path)) else { return Vec::new() };
    let (folder, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
    let below = match name {
        "lib.rs" | "main.rs" | "mod.rs" => folder.to_owned(),
        _ => file.path.trim_end_matches(".rs").to_owned(),
    };
    let code = code_of(&text, Keep::Nothing);
    let mut lines = code.lines().map(str::trim).peekable();
    let mut modules = Vec::new();
    while let Some(line) = lines.next() {
        if let ("#[cfg(test)]", Some(next)) = (line, lines.peek()) {
            modules.extend(
                next.trim_start_matches("pub ")
                    .strip_prefix("mod ")
                    .and_then(|rest| rest.strip_suffix(';'))
                    .map(|name| format!("{below}/{name}")),
            );
        }
    }
    modules
}

fn rust_files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("failed to list {}", folder.display()))? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() && entry.file_name() != "target" {
            found.extend(rust_files(&path)?);
        } else if kind.is_file() && path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::holds_word;

    #[test]
    fn a_word_is_whole() {
        assert!(holds_word("use std::env;", "std::env"));
        assert!(!holds_word("use std::environment;", "std::env"));
        assert!(!holds_word("eprintln!()", "println!"));
        assert!(holds_word("x.println!()", "println!"));
    }
}
