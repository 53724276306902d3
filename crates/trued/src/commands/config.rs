//! `trued config show`: the resolved configuration, with the origin of each value.

use serde_json::Value;
use trued_model::Finding;

use crate::commands::Session;
use crate::configured;
use crate::exit::Exit;
use crate::screen::Screen;
use crate::wire;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  trued config show
  trued config show --output json")]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// Print it
    Show,
}

pub async fn run(args: Args, session: &Session<'_>) -> anyhow::Result<Exit> {
    let Verb::Show = args.verb;
    let operator = wire::operator(&session.at)?;
    let screen = session.screen;
    let loaded = match configured::load(&operator).await {
        Ok(loaded) => loaded,
        Err(findings) => {
            say(&findings, screen);
            return Ok(Exit::Input);
        }
    };
    let shown = trued_config::show(&loaded);
    if screen.is_json() {
        screen.document(&shown)?;
    } else {
        let mut lines = Vec::new();
        flatten(&shown, &mut String::new(), &mut lines);
        for (pointer, value) in lines.iter().filter(|(pointer, _)| !pointer.starts_with("/origins")) {
            let origin = shown["origins"].get(pointer).and_then(Value::as_str);
            let origin = origin.map(|origin| format!("  # {origin}")).unwrap_or_default();
            screen.line(format!("{pointer}: {value}{}", screen.dim(&origin)))?;
        }
    }
    say(&loaded.findings, screen);
    Ok(if loaded.findings.is_empty() { Exit::Done } else { Exit::Input })
}

fn say(findings: &[Finding], screen: &Screen) {
    for finding in findings {
        screen.say(&format!("{}: {finding}", screen.yellow("finding")));
    }
}

/// Lists every leaf by its JSON pointer, in order.
fn flatten(value: &Value, pointer: &mut String, lines: &mut Vec<(String, String)>) {
    let mut below = |step: &str, value: &Value| {
        let length = pointer.len();
        pointer.push('/');
        pointer.push_str(&step.replace('~', "~0").replace('/', "~1"));
        flatten(value, pointer, lines);
        pointer.truncate(length);
    };
    match value {
        Value::Object(map) if !map.is_empty() => map.iter().for_each(|(key, value)| below(key, value)),
        Value::Array(items) if !items.is_empty() => items.iter().enumerate().for_each(|(place, value)| below(&place.to_string(), value)),
        leaf => lines.push((pointer.clone(), leaf.to_string())),
    }
}
