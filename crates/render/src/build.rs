//! `build`: a program turns a copy of a folder into another folder. It runs confined, by its arguments and never by a
//! shell, and what it leaves is taken only when it ended well, within its bounds, and left nothing but files.

use serde::Deserialize;
use serde_json::{Value, json};
use trued_doors::{BoxFuture, Descriptor, RenderInput, Rendered, Renderer};
use trued_model::Finding;

use crate::program::{below, judge, lay_out, settings, tail};

/// Renders a folder with a program of others.
pub struct Build;

/// The settings.
#[derive(Deserialize)]
struct Settings {
    command: Vec<String>,
    output: String,
}

impl Renderer for Build {
    fn describe(&self) -> Descriptor {
        Descriptor {
            kind: "build",
            summary: "the folder that a program makes from a copy of another one, confined, without network, clock or host files",
            schema: json!({
                "type": "object",
                "required": ["path", "command", "output"],
                "additionalProperties": false,
                "properties": {
                    "path": { "type": "string", "description": "the folder in the source that the program gets a copy of" },
                    "command": {
                        "type": "array", "items": { "type": "string" }, "minItems": 1,
                        "title": "a program and its arguments as a list",
                        "description": "the program and its arguments, no shell: a plain name, a full path, or `./NAME` in the copy, \
                                        which is where it runs",
                    },
                    "output": { "type": "string", "minLength": 1, "description": "the folder, below the copy, that it leaves its result in" },
                },
            }),
            example: json!({ "path": "site", "command": ["./build.sh"], "output": "out" }),
            paths: &["/path"],
            pulls: &[],
        }
    }

    fn version(&self) -> &'static str {
        "build-1"
    }

    fn programs<'a>(&self, settings: &'a Value) -> Vec<&'a str> {
        settings.pointer("/command/0").and_then(Value::as_str).into_iter().collect()
    }

    fn render(&self, input: RenderInput) -> BoxFuture<'_, Result<Rendered, Vec<Finding>>> {
        Box::pin(render(input))
    }
}

async fn render(input: RenderInput) -> Result<Rendered, Vec<Finding>> {
    let settings: Settings = settings("build", &input.settings)?;
    let output = below(&settings.output).ok_or_else(|| {
        let message = format!("`output: {}` is no folder below the build's own", settings.output);
        vec![Finding::new(message, "write a relative path such as `out`")]
    })?;
    let copied = lay_out(input, "", |_, _| Ok(())).await?;
    let ended = copied.run(&settings.command, &[]).await?;
    if let Err((what, help)) = judge(&copied.input, &ended) {
        let name = settings.command.first().map(String::as_str).unwrap_or_default();
        return Err(vec![Finding::new(format!("`{name}` {what}{}", tail(&ended)), help)]);
    }
    let log = tail(&ended);
    copied.take(output, log, Vec::new()).await
}
