//! What went wrong in a template, in words that hold no value of a secret.

use std::error::Error as _;

use minijinja::{Error, ErrorKind};
use trued_model::Finding;

use super::Workshop;
use crate::bounds::{FUEL, MAX_OUTPUT};
use crate::copy::in_folder;

/// One failed attempt. Details of MiniJinja may quote values, so they are dropped where a secret was within reach.
pub struct Failure {
    kind: ErrorKind,
    detail: Option<String>,
    /// The expression that has no value, as the template spells it.
    pub missing: Option<String>,
    file: Option<String>,
    line: u32,
    over: bool,
}

impl Failure {
    /// Reads the innermost error: the file and line where it happened, not those that included it.
    pub fn new(error: &Error, secret: bool, over: bool) -> Failure {
        let mut innermost = error;
        while let Some(cause) = innermost.source().and_then(|cause| cause.downcast_ref::<Error>()) {
            innermost = cause;
        }
        let spelled = |expression: &str| innermost.template_source().is_some_and(|text| text.contains(expression));
        Failure {
            kind: innermost.kind(),
            detail: innermost.detail().filter(|_| !secret).map(str::to_owned),
            missing: innermost.detail().and_then(undefined).filter(|expression| !secret || spelled(expression)).map(str::to_owned),
            file: innermost.name().map(str::to_owned),
            line: innermost.line().and_then(|line| u32::try_from(line).ok()).unwrap_or(1),
            over,
        }
    }

    pub fn finding(&self, workshop: &Workshop, path: &str) -> Finding {
        let (message, help) = self.words(workshop);
        let file = self.file.as_deref().filter(|file| workshop.texts.contains_key(*file)).unwrap_or(path);
        Finding::new(message, help).at(in_folder(&workshop.folder, file), self.line, 1)
    }

    fn words(&self, workshop: &Workshop) -> (String, String) {
        if self.over {
            return (format!("the template writes more than {MAX_OUTPUT} bytes"), "split it into several files".to_owned());
        }
        if let Some(missing) = &self.missing {
            return (format!("`{missing}` is not defined"), define(missing, workshop));
        }
        let help = match self.kind {
            ErrorKind::SyntaxError => "templates are Jinja; see https://docs.rs/minijinja/latest/minijinja/syntax/",
            ErrorKind::TemplateNotFound => "a template may include files of its own folder only, by their path from that folder",
            ErrorKind::OutOfFuel => "",
            _ => "correct the template",
        };
        match (self.kind, &self.detail) {
            (ErrorKind::OutOfFuel, _) => {
                (format!("the template takes more than {FUEL} steps"), "look for a loop that does not end, or split the file".to_owned())
            }
            (ErrorKind::BadInclude, Some(detail)) => (detail.clone(), help.to_owned()),
            (kind, Some(detail)) => (format!("{kind}: {detail}"), help.to_owned()),
            (kind, None) => (kind.to_string(), help.to_owned()),
        }
    }
}

/// The expression in "… `EXPRESSION` is undefined …", as MiniJinja reconstructs it from the program.
fn undefined(detail: &str) -> Option<&str> {
    let before = &detail[..detail.rfind("` is undefined")?];
    Some(&before[before.rfind('`')? + 1..]).filter(|expression| !expression.is_empty())
}

fn define(missing: &str, workshop: &Workshop) -> String {
    let first = missing.split(['.', '[']).next().unwrap_or(missing);
    let defined = workshop.vars.contains_key(first) || workshop.secrets.contains_key(first);
    if first != missing && defined {
        return format!("`{first}` has no such part: add it under `vars`, or write `{missing} | default(\"\")`");
    }
    let known: Vec<String> = workshop.vars.keys().chain(workshop.secrets.keys()).take(10).map(|name| format!("`{name}`")).collect();
    let known = if known.is_empty() { "nothing is defined yet".to_owned() } else { format!("defined are {}", known.join(", ")) };
    format!("define `{first}` under `vars`, or write `{missing} | default(\"\")`; {known}")
}
