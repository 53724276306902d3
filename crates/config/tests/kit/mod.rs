//! What the tests of this crate share: kinds as a build might have them, and a load from texts in memory.

#![allow(dead_code, reason = "each test program uses its part")]

use std::path::Path;
use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};
use trued_config::{Files, Gathered, Kinds, Load, Loaded, NoFiles, Own, load};
use trued_doors::{Answer, BoxFuture, Connection, Descriptor, Driver, Link, Parsed, Reading};
use trued_model::{Code, Finding, Name, Refusal};

/// A driver that only describes itself.
struct Shown(Descriptor);

impl Driver for Shown {
    fn describe(&self) -> Descriptor {
        self.0.clone()
    }

    fn parse(&self, _: &Reading<'_>) -> Parsed {
        Parsed::default()
    }

    fn check(&self, settings: &Value) -> Vec<Finding> {
        let kernels = settings["root"].as_str().is_some_and(|root| root.starts_with("/proc"));
        kernels.then(|| Finding::new("`root` is the kernel's", "name a folder on a disk")).into_iter().collect()
    }

    fn connect(&self, _: Connection) -> BoxFuture<'_, Answer<Arc<dyn Link>>> {
        Box::pin(std::future::ready(Err(Refusal::new(Code::Unsupported, "open a line: this is a test"))))
    }
}

fn kind(kind: &'static str, paths: &'static [&'static str], properties: Value, required: Value) -> Descriptor {
    let schema = json!({ "type": "object", "additionalProperties": false, "properties": properties, "required": required });
    Descriptor { kind, summary: "for tests", schema, example: json!({}), paths, pulls: &[] }
}

pub fn kinds() -> &'static Kinds {
    static KINDS: OnceLock<Kinds> = OnceLock::new();
    KINDS.get_or_init(new_kinds)
}

pub fn new_kinds() -> Kinds {
    let secret = json!({ "type": "object", "required": ["secret"], "properties": { "secret": { "type": "string" } }, "additionalProperties": false });
    let mut git = kind(
        "git",
        &["/path"],
        json!({ "url": { "type": "string" }, "path": { "type": "string" }, "branch": { "type": "string" }, "token": secret, "own": { "type": "boolean" }, "verify": { "enum": ["none", "head", "all"] } }),
        json!([]),
    );
    git.schema["oneOf"] = json!([{ "required": ["url"] }, { "required": ["path"] }]);
    let folder = kind("folder", &["/path"], json!({ "path": { "type": "string" } }), json!(["path"]));
    let plain = kind("plain", &["/path"], json!({ "path": { "type": "string" } }), json!(["path"]));
    let template = kind("template", &["/path"], json!({ "path": { "type": "string" }, "vars": { "type": "object" } }), json!(["path"]));
    let root = json!({ "type": "string", "description": "the folder below which everything is managed" });
    let files = kind("files", &["/root"], json!({ "root": root, "create": { "type": "boolean" } }), json!(["root"]));
    let http = kind(
        "http",
        &[],
        json!({ "url": { "type": "string" }, "status": { "type": "integer", "minimum": 100 }, "within": { "type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$" } }),
        json!(["url"]),
    );
    let mut command = kind("command", &[], json!({}), json!([]));
    command.schema = json!({ "type": "array", "items": { "type": "string" }, "minItems": 1 });
    let drivers: [Arc<dyn Driver>; 1] = [Arc::new(Shown(files))];
    Kinds::new([git, folder], [plain, template], drivers, [http, command]).expect("the schemas compose")
}

/// Loads an operator's file and app files (`SOURCE//PATH`, or a plain path in the own source).
pub fn loaded(operator: &str, apps: &[(&str, &str)]) -> Loaded {
    loaded_from(operator.as_bytes(), &gathered(operator, apps))
}

pub fn gathered(operator: &str, apps: &[(&str, &str)]) -> Gathered {
    let mut files = Gathered::default();
    let name = |name: &str| name.parse::<Name>().expect("a name");
    for source in if operator.contains("sources:") { ["shop", "ops"] } else { ["own", "own"] } {
        files.source(name(source));
    }
    for (path, text) in apps {
        let (source, path) = path.split_once("//").unwrap_or(("own", path));
        files.file(name(source), path, Ok(text.as_bytes().to_vec()));
    }
    files
}

pub fn loaded_from(operator: &[u8], files: &dyn Files) -> Loaded {
    loaded_with(kinds(), operator, files)
}

pub fn loaded_with(kinds: &Kinds, operator: &[u8], files: &dyn Files) -> Loaded {
    let input = Load {
        file: "trued.yaml",
        bytes: operator,
        folder: Path::new("/conf"),
        own: &Own::Folder,
        state: Path::new("/conf/.trued"),
        kinds,
    };
    load(&input, files)
}

pub fn alone(operator: &str) -> Loaded {
    loaded_from(operator.as_bytes(), &NoFiles)
}

/// All findings, one a line, and which apps are left out because of them.
pub fn said(loaded: &Loaded) -> String {
    let mut lines: Vec<String> = loaded.findings.iter().map(ToString::to_string).collect();
    let stacks = trued_model::StackNames::new(loaded.estate.stacks.keys());
    lines.push(format!("stacks: {}", stacks.iter().map(|(_, name)| name).collect::<Vec<_>>().join(" ")));
    if !loaded.estate.unreadable.is_empty() {
        lines.push(format!("unreadable: {:?}", loaded.estate.unreadable));
    }
    if loaded.estate.incomplete {
        lines.push("incomplete".to_owned());
    }
    if !loaded.usable {
        lines.push("not usable".to_owned());
    }
    lines.join("\n") + "\n"
}
