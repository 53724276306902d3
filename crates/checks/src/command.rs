//! `command`: a program that ends with 0 when all is well.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};
use trued_doors::{BoxFuture, Check, Checking, Descriptor, Exit, Program, Runner};
use trued_model::Duration;
use trued_model::body::Checked;

use crate::patience::{Failed, Patience};
use crate::settings::{bounded, failed, read, span};

/// Bytes kept of a program's output, of which the last line is shown.
const OUTPUT_CAP: usize = 64 << 10;

/// Characters of a program's last line that are shown.
const LAST_LINE: usize = 200;

/// Runs a program; it passes when its exit status is 0.
pub struct Command;

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Argv(Vec<String>),
    Settings(Settings),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    argv: Vec<String>,
    #[serde(default)]
    within: Duration,
    #[serde(default = "every")]
    every: Duration,
    #[serde(default = "timeout")]
    timeout: Duration,
}

fn every() -> Duration {
    Duration::from_secs(1)
}

fn timeout() -> Duration {
    Duration::from_secs(30)
}

impl Check for Command {
    fn describe(&self) -> Descriptor {
        Descriptor {
            kind: "command",
            summary: "a program that ends with 0 when all is well",
            schema: json!({
                "type": ["array", "string", "object"],
                "description": "a program and its arguments as a list, or the name of a command of the target",
                "items": { "type": "string" },
                "minItems": 1,
                "required": ["argv"],
                "additionalProperties": false,
                "properties": {
                    "argv": {
                        "type": "array",
                        "items": { "type": "string" },
                        "minItems": 1,
                        "description": "the program and its arguments; there is no shell",
                    },
                    "within": span("how long to try again until it passes; without it there is one try"),
                    "every": span("the pause between two tries; 1s"),
                    "timeout": span("how long one try may take; 30s"),
                },
            }),
            example: json!({ "argv": ["nginx", "-t"], "within": "10s" }),
            paths: &[],
            pulls: &[],
        }
    }

    fn check<'a>(&'a self, settings: &'a Value, with: &'a Checking) -> BoxFuture<'a, Checked> {
        Box::pin(async move { check(settings, with.runner.as_ref()).await.unwrap_or_else(|unusable| unusable) })
    }
}

async fn check(settings: &Value, runner: &dyn Runner) -> Result<Checked, Checked> {
    let settings = match read("command", settings)? {
        Written::Settings(settings) => settings,
        Written::Argv(argv) => Settings { argv, within: Duration::default(), every: every(), timeout: timeout() },
    };
    bounded("command", settings.within)?;
    let written = settings.argv.join(" ");
    let check = format!("command {written}");
    let mut tries = Patience { within: settings.within, every: settings.every, timeout: settings.timeout }.start();
    loop {
        let program = Program {
            argv: settings.argv.clone(),
            env: BTreeMap::new(),
            folder: None,
            input: Vec::new(),
            deadline: tries.limit(),
            output_cap: OUTPUT_CAP,
        };
        let ended = match runner.run(program).await {
            Ok(exit) => judge(&written, &exit),
            Err(refusal) => Err(Failed { again: refusal.passing(), why: format!("`{written}` did not run to its end: {refusal}") }),
        };
        match ended {
            Ok(why) => return Ok(Checked { check, passed: true, why }),
            Err(not_yet) => tries.after(not_yet).await.map_err(|why| failed(&check, why))?,
        }
    }
}

fn judge(written: &str, exit: &Exit) -> Result<String, Failed> {
    let how = match exit.status {
        Some(0) => return Ok(format!("`{written}` ended with 0")),
        Some(status) => format!("`{written}` ended with {status}, expected 0"),
        None => format!("`{written}` was ended by a signal"),
    };
    let said = last_line(&exit.error).or_else(|| last_line(&exit.output));
    let why = said.map_or(how.clone(), |said| format!("{how} (it said: {said})"));
    Err(Failed { why, again: true })
}

/// The last line that says something, without control characters.
fn last_line(output: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(output);
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty())?;
    Some(line.chars().filter(|c| !c.is_control()).take(LAST_LINE).collect())
}
