//! `jsonnet`: the objects that a Jsonnet program of the source evaluates to, by go-jsonnet's own program, confined.

use std::fs;

use serde::Deserialize;
use serde_json::{Value, json};
use trued_doors::{BoxFuture, Bundle, Descriptor, RenderInput, Rendered, Renderer};
use trued_model::Finding;

use crate::copy::in_source;
use crate::objects::{OUTPUT, SOURCE, below_bundle, make, make_output, no_secrets};
use crate::program::{Versions, lay_out, not_written, settings};

const PROGRAM: &str = "jsonnet";

/// The folder of external variables, in the room of the program: one file of JSON each, which is Jsonnet.
const VARIABLES: &str = "variables";

/// Renders a Jsonnet program.
#[derive(Default)]
pub struct Jsonnet {
    versions: Versions,
}

/// The settings.
#[derive(Deserialize)]
struct Settings {
    #[serde(default = "main_file")]
    main: String,
    #[serde(default)]
    libraries: Vec<String>,
}

fn main_file() -> String {
    "main.jsonnet".to_owned()
}

impl Renderer for Jsonnet {
    fn describe(&self) -> Descriptor {
        Descriptor {
            kind: "jsonnet",
            summary: "the Kubernetes objects that a Jsonnet program evaluates to, one or a list, confined",
            schema: json!({
                "type": "object",
                "required": ["path"],
                "additionalProperties": false,
                "properties": {
                    "path": { "type": "string", "description": "the folder in the source that holds the program and its libraries" },
                    "main": { "type": "string", "minLength": 1, "default": "main.jsonnet", "description": "the program, below `path`" },
                    "libraries": {
                        "type": "array", "items": { "type": "string", "minLength": 1 },
                        "description": "folders below `path` that imports are looked for in, the first one first",
                    },
                    "vars": { "type": "object", "description": "external variables, `std.extVar(NAME)`: any values" },
                },
            }),
            example: json!({ "path": "deploy", "libraries": ["vendor"], "vars": { "replicas": 2 } }),
            paths: &["/path"],
            pulls: &[],
        }
    }

    fn version(&self) -> &'static str {
        "jsonnet-1"
    }

    fn programs<'a>(&self, _: &'a Value) -> Vec<&'a str> {
        vec![PROGRAM]
    }

    fn render(&self, input: RenderInput) -> BoxFuture<'_, Result<Rendered, Vec<Finding>>> {
        Box::pin(self.evaluate(input))
    }
}

impl Jsonnet {
    async fn evaluate(&self, input: RenderInput) -> Result<Rendered, Vec<Finding>> {
        let settings: Settings = settings(PROGRAM, &input.settings)?;
        no_secrets(&input)?;
        let argv = arguments(&input, &settings)?;
        let tool = self.versions.tool(&input, PROGRAM, &["--version"]).await?;
        let copied = lay_out(input, SOURCE, |input, room| {
            fs::create_dir(room.join(VARIABLES)).map_err(not_written)?;
            for (at, value) in input.vars.values().enumerate() {
                fs::write(room.join(VARIABLES).join(at.to_string()), value.to_string()).map_err(not_written)?;
            }
            make_output(room)
        })
        .await?;
        make(copied, tool, &argv, placed).await
    }
}

/// What jsonnet is called with: a program of ours that makes a list of whatever the main one evaluates to.
fn arguments(input: &RenderInput, settings: &Settings) -> Result<Vec<String>, Vec<Finding>> {
    let mut argv: Vec<String> = [PROGRAM, "--yaml-stream", "--output-file"].map(str::to_owned).into();
    argv.push(format!("{OUTPUT}/rendered.yaml"));
    let mut findings = Vec::new();
    // The last one named is looked in first.
    for folder in settings.libraries.iter().rev() {
        match below_bundle(&input.bundle, "libraries", folder) {
            Ok(below) => argv.extend(["--jpath".to_owned(), below.argument]),
            Err(more) => findings.extend(more),
        }
    }
    for (at, name) in input.vars.keys().enumerate() {
        if name.contains('=') {
            findings.push(Finding::new(format!("the name `{name}` of an external variable has a `=`"), "choose another name"));
        }
        argv.extend(["--ext-code-file".to_owned(), format!("{name}={VARIABLES}/{at}")]);
    }
    match below_bundle(&input.bundle, "main", &settings.main) {
        Ok(below) => {
            // A string of JSON is one of Jsonnet.
            let main = Value::String(below.argument);
            argv.extend(["--exec".to_owned(), "--".to_owned()]);
            argv.push(format!("local objects = import {main}; if std.isArray(objects) then objects else [objects]"));
        }
        Err(more) => findings.extend(more),
    }
    if findings.is_empty() { Ok(argv) } else { Err(findings) }
}

/// Puts a finding at the first place of the trace that lies in the source: `deploy/main.jsonnet:2:69-86`, or `…:(2:1)-(4:2)`.
fn placed(bundle: &Bundle, finding: Finding, said: &str) -> Finding {
    for word in said.split_whitespace() {
        let Some((file, rest)) = word.split_once(':') else { continue };
        if let Some(path) = bundle.entries.keys().find(|path| in_source(bundle, path) == file) {
            let mut numbers = rest.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse::<u32>().ok());
            let (line, column) = (numbers.next().unwrap_or(1), numbers.next().unwrap_or(1));
            return finding.at(in_source(bundle, path), line.max(1), column.max(1));
        }
    }
    finding
}
