//! A project with one stack whose files hold a secret, and the program to run on it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

pub const TRUED: &str = env!("CARGO_BIN_EXE_trued");

/// A folder that vanishes at the end: `repo/` with the configuration, `www/`, `state/`.
pub struct Project {
    folder: tempfile::TempDir,
}

impl Project {
    /// One stack, `site`, from `repo/site`; `secrets` is the text of that section.
    pub fn new(secrets: &str) -> Project {
        let project = Project { folder: tempfile::tempdir().expect("a folder") };
        for folder in ["repo/site", "www"] {
            fs::create_dir_all(project.path(folder)).expect("made");
        }
        project.configure(secrets);
        project.write("repo/site/public.txt", "nothing to hide\n", 0o644);
        project.write("repo/site/token.conf.j2", "token = {{ token }}\n", 0o644);
        project
    }

    pub fn configure(&self, secrets: &str) {
        let www = self.path("www");
        let text = format!(
            "{secrets}stacks:\n  site:\n    render: {{ template: {{ path: site, vars: {{ token: {{ secret: token }} }} }} }}\n    target: {{ files: {{ root: {} }} }}\n",
            www.display()
        );
        self.write("repo/trued.yaml", &text, 0o644);
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    pub fn write(&self, below: &str, text: impl AsRef<[u8]>, mode: u32) {
        let path = self.path(below);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(&path, text).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("shut");
    }

    pub fn live(&self, below: &str) -> Option<String> {
        fs::read_to_string(self.path("www").join(below)).ok()
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(TRUED);
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command.env("TRUED_CONFIG", self.path("repo/trued.yaml")).env("TRUED_STATE", self.path("state")).env_remove("TRUED_COUNTERS");
        command
    }

    /// Runs a verb, asserts its exit status, and gives all it said.
    pub fn run(&self, words: &[&str], status: i32) -> String {
        said(&self.command().args(words).output().expect("trued runs"), words, status)
    }

    pub fn json(&self, words: &[&str]) -> Value {
        let output = self.command().args(words).args(["--output", "json"]).output().expect("trued runs");
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("trued {words:?} gives no JSON: {}", String::from_utf8_lossy(&output.stderr)))
    }

    /// Runs a verb and gives what it counted.
    pub fn counted(&self, words: &[&str]) -> Value {
        let file = self.path("counters.json");
        self.command().args(words).env("TRUED_COUNTERS", &file).output().expect("trued runs");
        serde_json::from_slice(&fs::read(file).expect("counters")).expect("JSON")
    }

    pub fn log(&self, kind: &str) -> Vec<Value> {
        let output = self.command().args(["log", "--output", "json", "--kind", kind]).output().expect("trued runs");
        String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("an entry")).collect()
    }
}

pub fn said(output: &Output, words: &[&str], status: i32) -> String {
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(status), "trued {words:?}: {said}");
    said
}

/// A secret in a file of its own.
pub fn in_a_file() -> Project {
    let project = Project::new("secrets: { token: { file: ../token } }\n");
    project.write("token", "hunter2\n", 0o600);
    project
}

pub fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).expect("a folder").map(|found| found.expect("listed").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
