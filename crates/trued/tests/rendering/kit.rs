//! A folder with one stack whose objects land as files, and the programs that make them.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// A program that `cargo xtask test` has built.
pub fn program(name: &str) -> PathBuf {
    let found = std::env::var_os(format!("TRUED_TEST_{}", name.to_uppercase()));
    found.unwrap_or_else(|| panic!("no {name}: run `cargo xtask partners --run -- cargo test -p trued --test rendering`")).into()
}

pub struct Site {
    folder: tempfile::TempDir,
    programs: Vec<PathBuf>,
    /// What the program under test finds in its environment.
    pub environment: RefCell<Vec<(&'static str, String)>>,
}

impl Site {
    /// A stack that renders like this, with these programs among the operator's tools.
    pub fn new(render: &str, programs: &[&str]) -> Site {
        let programs = programs.iter().map(|name| program(name)).collect();
        let site = Site { folder: tempfile::tempdir().unwrap(), programs, environment: RefCell::default() };
        site.configure(render);
        site
    }

    pub fn configure(&self, render: &str) {
        let tools: Vec<_> = self.programs.iter().map(|path| path.display().to_string()).collect();
        let stack = format!("stacks:\n  shop:\n    render: {render}\n    target: {{ files: {{ root: www, create: true }} }}\n");
        self.write("trued.yaml", &format!("sandbox: {{ tools: [{}] }}\n{stack}", tools.join(", ")));
    }

    /// Puts something before all else that the operator says.
    pub fn preface(&self, lines: &str) {
        let text = fs::read_to_string(self.path("trued.yaml")).unwrap();
        self.write("trued.yaml", &format!("{lines}\n{text}"));
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    pub fn write(&self, below: &str, text: &str) {
        let path = self.path(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A program of the source that leaves a mark if anybody runs it. Where it would leave it, everybody may write.
    pub fn trap(&self, below: &str) -> PathBuf {
        let marker = std::env::temp_dir().join(format!("trued-marker-{}-{}", std::process::id(), below.replace('/', "-")));
        let _ = fs::remove_file(&marker);
        // In the sandbox it would stand among the objects.
        self.write(below, &format!("#!/bin/sh\ntouch {} /build/objects/marker.yaml\n", marker.display()));
        fs::set_permissions(self.path(below), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        marker
    }

    /// Runs a verb; gives its status and all it said.
    pub fn said(&self, words: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trued"));
        command.current_dir(self.folder.path()).stdin(Stdio::null()).args(words);
        command.envs(self.environment.borrow().iter().cloned());
        let Output { status, stdout, stderr } =
            command.env("TRUED_COUNTERS", self.path("counters")).env("CANARY", "canary-7731").output().unwrap();
        (status.code(), format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr)))
    }

    pub fn applied(&self) {
        let (status, said) = self.said(&["apply"]);
        assert_eq!(status, Some(0), "{said}");
    }

    /// What a plan that must fail says.
    pub fn refused(&self) -> String {
        let (status, said) = self.said(&["plan"]);
        assert_eq!(status, Some(2), "{said}");
        said
    }

    pub fn renders(&self) -> u64 {
        let counters: Value = serde_json::from_slice(&fs::read(self.path("counters")).unwrap()).unwrap();
        counters["renders"].as_u64().unwrap()
    }

    /// All that landed, as a stream.
    pub fn landed(&self) -> String {
        let mut files = Vec::new();
        gather(self.path("www"), &mut files);
        files.sort();
        files.iter().map(|file| format!("---\n{}\n", fs::read_to_string(file).unwrap())).collect()
    }

    /// What the program itself gives, run as a person would, outside of any sandbox.
    pub fn by_hand(&self, name: &str, words: &[&str]) -> String {
        let output = Command::new(program(name)).args(words).current_dir(self.folder.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The programs that the newest intent says it was rendered by: name, version, digest.
    pub fn tools(&self) -> Vec<(String, String, String)> {
        let (_, said) = self.said(&["log", "--output", "json"]);
        let mut intents =
            said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).filter(|entry| entry["kind"] == "intent");
        let last = intents.next_back().unwrap();
        let text = |tool: &Value, key: &str| tool[key].as_str().unwrap_or_default().to_owned();
        let tools = last["body"]["tools"].as_array().cloned().unwrap_or_default();
        tools.iter().map(|tool| (text(tool, "name"), text(tool, "version"), text(tool, "digest"))).collect()
    }
}

fn gather(folder: PathBuf, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.file_name() == Some(OsStr::new(".trued")) {
            continue;
        }
        if entry.is_dir() { gather(entry, files) } else { files.push(entry) }
    }
}

/// The objects of a stream in canonical form, sorted.
pub fn canonical(stream: &str) -> Vec<String> {
    let documents = trued_yaml::read_all("stream", stream, &trued_yaml::Budget::default()).unwrap_or_else(|refused| panic!("{refused:?}"));
    let objects = documents.iter().map(trued_yaml::Node::to_json).filter(|object| !object.is_null());
    let mut objects: Vec<_> = objects.map(|object| String::from_utf8(trued_model::canonical(&object)).unwrap()).collect();
    objects.sort();
    objects
}
