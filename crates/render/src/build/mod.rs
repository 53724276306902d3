//! `build`: a program turns a copy of a folder into another folder. It runs confined, by its arguments and never by a
//! shell, and what it leaves is taken only when it ended well, within its bounds, and left nothing but files.

use serde::Deserialize;
use serde_json::{Value, json};
use trued_doors::{BoxFuture, Confined, Confines, Descriptor, Program, RenderInput, Rendered, Renderer, Workspace};
use trued_model::{Code, Finding, Level, Refusal};

use crate::copy::bounded;
use crate::sensitive::Sensitive;
use crate::worker::{blocking, off_the_worker};

mod source;
mod taken;

/// Bytes of the log that a finding carries: its end is where the reason stands.
const TAIL: usize = 2 << 10;

/// The instant that programs which stamp their output are told, in seconds: 1980, which every format can hold.
const EPOCH: &str = "315532800";

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
            reads_text: false,
        }
    }

    fn version(&self) -> &'static str {
        "build-1"
    }

    fn program<'a>(&self, settings: &'a Value) -> Option<&'a str> {
        settings.pointer("/command/0")?.as_str()
    }

    fn render(&self, input: RenderInput) -> BoxFuture<'_, Result<Rendered, Vec<Finding>>> {
        Box::pin(render(input))
    }
}

async fn render(input: RenderInput) -> Result<Rendered, Vec<Finding>> {
    bounded(&input.bundle, &Sensitive::new(&input.sensitive)?)?;
    source::bounded(&input.bundle)?;
    let settings: Settings = Settings::deserialize(&input.settings)
        .map_err(|error| vec![Finding::new(format!("the settings of `build` cannot be read: {error}"), "")])?;
    let output = taken::below(&settings.output).ok_or_else(|| {
        let message = format!("`output: {}` is no folder below the build's own", settings.output);
        vec![Finding::new(message, "write a relative path such as `out`")]
    })?;
    // Asked before there is a workspace: where that is depends on it.
    let level = input.runner.level().await;
    allowed(&input, level)?;

    let runner = input.runner.clone();
    let (input, workspace) = blocking(move || {
        let workspace = runner.workspace().map_err(refused)?;
        source::lay_out(&input.bundle, &workspace.room.folder, input.repeat)?;
        Ok((input, workspace))
    })
    .await?;
    let ended = run(&input, &settings, &workspace).await?;
    judge(&input, &settings, &ended)?;
    let log = tail(&ended);
    off_the_worker(move || {
        let mut rendered = taken::take(&input, workspace, &output, &log)?;
        rendered.sandbox = Some(ended.level);
        Ok(rendered)
    })
    .await
}

/// Refuses a machine that cannot confine as well as the operator demands.
fn allowed(input: &RenderInput, level: Level) -> Result<(), Vec<Finding>> {
    let demanded = input.sandbox.level.unwrap_or(Level::Base);
    if level >= demanded || (input.sandbox.even_unsafe && input.sandbox.level.is_none()) {
        return Ok(());
    }
    let message = match level {
        Level::Unsafe => "programs cannot be confined on this machine, so nothing is built".to_owned(),
        level => format!("builds are confined at level `{}` here, and the operator demands `{}`", level.word(), demanded.word()),
    };
    let help = match input.sandbox.level {
        None => "`trued doctor` says what is missing; the operator's file may allow it with `sandbox: { unsafe: true }`",
        Some(_) => "`trued doctor` says what is missing; the operator's file says the level: `sandbox: { level: … }`",
    };
    Err(vec![Finding::new(message, help)])
}

async fn run(input: &RenderInput, settings: &Settings, workspace: &Workspace) -> Result<Confined, Vec<Finding>> {
    let said = [("LANG", "C.UTF-8"), ("LC_ALL", "C.UTF-8"), ("TZ", "UTC"), ("SOURCE_DATE_EPOCH", EPOCH)];
    let program = Program {
        argv: settings.command.clone(),
        env: said.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        folder: None,
        input: Vec::new(),
        deadline: input.sandbox.limits.time,
        output_cap: 0,
    };
    let confines = Confines {
        read: input.sandbox.tools.iter().map(Into::into).collect(),
        room: Some(workspace.room.clone()),
        limits: input.sandbox.limits,
        one_log: true,
        even_unsafe: input.sandbox.even_unsafe,
    };
    input.runner.confine(program, confines).await.map_err(refused)
}

/// Only a program that ended well, within its bounds, has made anything.
fn judge(input: &RenderInput, settings: &Settings, ended: &Confined) -> Result<(), Vec<Finding>> {
    let name = settings.command.first().map(String::as_str).unwrap_or_default();
    let (what, help) = match (ended.passed, ended.exit.status) {
        (Some(bound), _) => {
            let key = bound.key();
            let help =
                format!("make it smaller, or raise `{key}`: the operator's under `sandbox: {{ limits: … }}`, this app's under `limits`");
            (format!("{} (`{key}`)", bound.words(&input.sandbox.limits)), help)
        }
        (None, Some(0)) => return Ok(()),
        (None, Some(status)) => (format!("ended with status {status}"), String::new()),
        (None, None) => ("was ended by a signal".to_owned(), String::new()),
    };
    Err(vec![Finding::new(format!("`{name}` {what}{}", tail(ended)), help)])
}

/// The end of a log, as it follows a sentence; control characters are left out, so that it cannot move a cursor.
fn tail(ended: &Confined) -> String {
    let log = &ended.exit.output;
    let text = String::from_utf8_lossy(&log[log.len().saturating_sub(TAIL)..]).into_owned();
    let text: String = text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect();
    // What was cut may begin in the middle of a line.
    let text = if log.len() > TAIL { text.split_once('\n').map_or(text.as_str(), |(_, rest)| rest) } else { &text };
    let lines: Vec<String> = text.trim().lines().map(|line| format!("\n  | {line}")).collect();
    if lines.is_empty() { String::new() } else { format!("; it said last:{}", lines.concat()) }
}

fn refused(refusal: Refusal) -> Vec<Finding> {
    let help = match refusal.code {
        Code::Absent if refusal.help.is_empty() => "install it".to_owned(),
        _ => refusal.help,
    };
    vec![Finding::new(format!("the build was not run: {}", refusal.message), help)]
}
