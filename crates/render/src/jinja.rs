//! One template, rendered: MiniJinja with strict names, the texts it was handed as its only files, fuel, and a watch over
//! secrets. Runs in a process of its own, which bounds its memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Object, Serde};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, Value};
use trued_model::Finding;

use crate::bounds::{FUEL, LONGEST_NAME, MAX_OUTPUT, MISSING, RECURSION, WANTS};
use crate::sensitive::Sensitive;
use crate::template::passed::{Held, Order};
use crate::template::rendered_path;
use crate::template::texts::Texts;

mod failure;

use failure::Failure;

/// What all templates of one render share.
pub struct Workshop {
    pub folder: String,
    pub vars: BTreeMap<String, Value>,
    pub secrets: BTreeMap<String, Value>,
    sensitive: Sensitive,
    /// Texts of templates and of what they include.
    pub texts: Texts,
    /// What was asked for and is not among the texts.
    wants: Mutex<BTreeSet<String>>,
}

/// A template's output.
pub struct Written {
    pub bytes: Vec<u8>,
    /// Whether a secret or a sensitive file may have gone into it.
    pub seal: bool,
}

impl Workshop {
    pub fn new(order: Order, held: Held) -> io::Result<Workshop> {
        let sensitive = Sensitive::new(&order.sensitive).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        let vars = order.vars.iter().map(|(name, value)| (name.clone(), Value::from(Serde(value)))).collect();
        let secrets = held.secrets.into_iter().map(|(name, secret)| (name, Value::from(secret))).collect();
        Ok(Workshop { folder: order.folder, vars, secrets, sensitive, texts: held.texts, wants: Mutex::default() })
    }

    /// The files that were asked for and are not among the texts: who has the bundle knows whether there are such.
    pub fn wants(&self) -> Vec<String> {
        self.wants.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Renders one template. A missing name does not hide the next one: it stands as empty text while others are
    /// looked for, and nothing of such an attempt is used.
    pub fn write(self: &Arc<Workshop>, path: &str) -> Result<Written, Vec<Finding>> {
        let mut assumed = BTreeSet::new();
        let mut findings = Vec::new();
        for _ in 0..=MISSING {
            let failure = match self.attempt(path, &assumed) {
                Ok(written) if findings.is_empty() => return Ok(written),
                Ok(_) => break,
                Err(failure) => failure,
            };
            let missing = failure.missing.as_deref().filter(|name| is_plain(name) && !assumed.contains(*name)).map(str::to_owned);
            if findings.is_empty() || missing.is_some() {
                findings.push(failure.finding(self, path));
            }
            match missing {
                Some(name) => assumed.insert(name),
                None => break,
            };
        }
        Err(findings)
    }

    fn attempt(self: &Arc<Workshop>, path: &str, assumed: &BTreeSet<String>) -> Result<Written, Failure> {
        let sealed = Arc::new(AtomicBool::new(false));
        let environment = self.environment(&sealed);
        let names = Names { workshop: self.clone(), assumed: assumed.clone(), sealed: sealed.clone() };
        let mut output = Capped::default();
        let result = environment
            .get_template(path)
            .and_then(|template| template.render_captured_to(Value::from_object(names), &mut output).map(drop));
        let seal = sealed.load(Ordering::Relaxed);
        match result {
            Ok(()) => Ok(Written { bytes: output.bytes, seal }),
            Err(error) => Err(Failure::new(&error, seal, output.over)),
        }
    }

    /// A fresh environment: what a template touches is recorded for it alone.
    fn environment(self: &Arc<Workshop>, sealed: &Arc<AtomicBool>) -> Environment<'static> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(RECURSION);
        // Places of errors in the template's text; its listing of values is never shown.
        environment.set_debug(true);
        // Both are for looking at values while a template is written; the first shows all of them, the second takes
        // time and memory by the square of a value's depth.
        environment.remove_global("debug");
        environment.remove_filter("pprint");
        // A file keeps its last line end. Only delimiters can be wrong in a syntax, and these are the default ones.
        environment.set_syntax(SyntaxConfig::builder().keep_trailing_newline(true).build().expect("the default delimiters"));
        let (workshop, sealed) = (self.clone(), sealed.clone());
        environment.set_loader(move |name| {
            if workshop.sensitive.matches(name) || rendered_path(name).is_some_and(|output| workshop.sensitive.matches(output)) {
                sealed.store(true, Ordering::Relaxed);
            }
            workshop.text(name)
        });
        environment
    }

    /// The text of a file; `None` when there is none by this name, as far as is known here.
    fn text(&self, path: &str) -> Result<Option<String>, Error> {
        match self.texts.get(path) {
            Some(Ok(text)) => Ok(Some(text.clone())),
            Some(Err(why)) => Err(Error::new(ErrorKind::BadInclude, format!("`{path}` {why}"))),
            None => {
                let mut wants = self.wants.lock().unwrap_or_else(PoisonError::into_inner);
                if wants.len() < WANTS && path.len() <= LONGEST_NAME {
                    wants.insert(path.to_owned());
                }
                Ok(None)
            }
        }
    }
}

fn is_plain(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// The names a template sees. Each look at a secret is recorded: a secret reaches a template through here only.
struct Names {
    workshop: Arc<Workshop>,
    assumed: BTreeSet<String>,
    sealed: Arc<AtomicBool>,
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("names")
    }
}

impl Object for Names {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, name: &str) -> Option<Value> {
        if let Some(secret) = self.workshop.secrets.get(name) {
            self.sealed.store(true, Ordering::Relaxed);
            return Some(secret.clone());
        }
        self.workshop.vars.get(name).cloned().or_else(|| self.assumed.contains(name).then(|| Value::from("")))
    }
}

/// Output that stops at its bound.
#[derive(Default)]
struct Capped {
    bytes: Vec<u8>,
    over: bool,
}

impl io::Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > MAX_OUTPUT - self.bytes.len() {
            self.over = true;
            return Err(io::Error::other("the output is too large"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
