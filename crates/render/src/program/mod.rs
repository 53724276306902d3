//! A program of others that renders: it gets a copy of the bundle, runs confined, by its arguments and never by a shell, and
//! what it leaves counts only when it ended well and within its bounds.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::de::DeserializeOwned;
use serde_json::Value;
use trued_doors::{Confined, Confines, Program, RenderInput, Rendered, Workspace};
use trued_model::{Bound, Code, Digest, Finding, Level, Refusal, Tool};

use crate::copy::bounded;
use crate::sensitive::Sensitive;
use crate::worker::{blocking, off_the_worker};

mod elsewhere;
mod source;
mod taken;

pub use taken::below;

use elsewhere::{Elsewhere, elsewhere};

/// Bytes of the log that a finding carries: its end is where the reason stands.
const TAIL: usize = 2 << 10;

/// The instant that programs which stamp their output are told, in seconds: 1980, which every format can hold.
const EPOCH: &str = "315532800";

/// What every program is told.
const SAID: [(&str, &str); 4] = [("LANG", "C.UTF-8"), ("LC_ALL", "C.UTF-8"), ("TZ", "UTC"), ("SOURCE_DATE_EPOCH", EPOCH)];

/// A copy of a bundle, in which one program works.
pub struct Copied {
    pub input: RenderInput,
    pub workspace: Workspace,
    pub level: Level,
}

/// Lays a bundle out in `below`, a folder of the program's own (`""` for that itself), with what `more` writes beside it.
pub async fn lay_out(
    input: RenderInput,
    below: &'static str,
    more: impl FnOnce(&RenderInput, &Path) -> Result<(), Vec<Finding>> + Send + 'static,
) -> Result<Copied, Vec<Finding>> {
    bounded(&input.bundle, &Sensitive::new(&input.sensitive)?)?;
    source::bounded(&input.bundle)?;
    // Asked before there is a workspace: where that is depends on it.
    let level = input.runner.level().await;
    allowed(&input, level)?;
    let runner = input.runner.clone();
    blocking(move || {
        let workspace = runner.workspace().map_err(refused)?;
        let folder = workspace.room.folder.join(below);
        fs::create_dir_all(&folder).map_err(not_written)?;
        source::lay_out(&input.bundle, &folder, input.repeat, input.elsewhere)?;
        more(&input, &workspace.room.folder)?;
        Ok(Copied { input, workspace, level })
    })
    .await
}

/// Reads a renderer's settings; their schema has been checked.
pub fn settings<T: DeserializeOwned>(kind: &str, settings: &Value) -> Result<T, Vec<Finding>> {
    T::deserialize(settings).map_err(|error| vec![Finding::new(format!("the settings of `{kind}` cannot be read: {error}"), "")])
}

/// Why something beside the copy is not there.
pub fn not_written(error: std::io::Error) -> Vec<Finding> {
    vec![Finding::new(format!("the room for a program cannot be written: {error}"), "nothing was rendered; it is tried again")]
}

impl Copied {
    /// Runs a program in the copy; its own environment goes over what every program is told.
    pub async fn run(&self, argv: &[String], env: &[(&str, &str)]) -> Result<Confined, Vec<Finding>> {
        let mut env: BTreeMap<String, String> =
            SAID.iter().chain(env).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        if self.input.elsewhere {
            let Elsewhere { zone, locale } = blocking(|| Ok(elsewhere())).await?;
            env.extend([("TZ", zone), ("LANG", &locale), ("LC_ALL", &locale)].map(|(name, value)| (name.to_owned(), value.to_owned())));
        }
        let program =
            Program { argv: argv.to_vec(), env, folder: None, input: Vec::new(), deadline: self.input.sandbox.limits.time, output_cap: 0 };
        let confines = Confines { room: Some(self.workspace.room.clone()), ..confines(&self.input) };
        self.input.runner.confine(program, confines).await.map_err(refused)
    }

    /// Takes what was left in a folder of the copy as documents. `log` is what the program said last.
    pub async fn take(self, output: PathBuf, log: String, tools: Vec<Tool>) -> Result<Rendered, Vec<Finding>> {
        off_the_worker(move || {
            let mut rendered = taken::take(&self.input, self.workspace, &output, &log)?;
            rendered.sandbox = Some(self.level);
            rendered.tools = tools;
            Ok(rendered)
        })
        .await
    }
}

fn confines(input: &RenderInput) -> Confines {
    Confines {
        read: input.sandbox.tools.iter().map(Into::into).collect(),
        room: None,
        limits: input.sandbox.limits,
        one_log: true,
        elsewhere: input.elsewhere,
        even_unsafe: input.sandbox.even_unsafe,
    }
}

/// Only a program that ended well, within its bounds, has made anything; otherwise what it did, and what helps.
pub fn judge(input: &RenderInput, ended: &Confined) -> Result<(), (String, String)> {
    let passed = ended.passed.or_else(|| wanted_more(ended).then_some(Bound::Memory));
    match (passed, ended.exit.status) {
        (Some(bound), _) => {
            let key = bound.key();
            let help =
                format!("make it smaller, or raise `{key}`: the operator's under `sandbox: {{ limits: … }}`, this app's under `limits`");
            Err((format!("{} (`{key}`)", bound.words(&input.sandbox.limits)), help))
        }
        (None, Some(0)) => Ok(()),
        (None, Some(status)) => Err((format!("ended with status {status}"), String::new())),
        (None, None) => Err(("was ended by a signal".to_owned(), String::new())),
    }
}

/// How programs say that they were given no more memory: Python, Rust, C++, Go, JavaScript, Perl and the C library, in small
/// letters.
const NO_MEMORY: [&str; 5] = ["memoryerror", "memory allocation of ", "bad_alloc", "out of memory", "cannot allocate memory"];

/// Whether a program failed because a single piece of memory was more than it may have: the kernel refuses that before anybody
/// sees it grow, and what a program makes of it is a status or a signal of its own. Only its own words tell.
fn wanted_more(ended: &Confined) -> bool {
    let log = &ended.exit.output;
    let end = String::from_utf8_lossy(&log[log.len().saturating_sub(TAIL)..]).to_lowercase();
    ended.exit.status != Some(0) && NO_MEMORY.iter().any(|words| end.contains(words))
}

/// The end of a log, as it follows a sentence.
pub fn tail(ended: &Confined) -> String {
    let log = &ended.exit.output;
    let text = plain(&log[log.len().saturating_sub(TAIL)..]);
    // What was cut may begin in the middle of a line.
    let text = if log.len() > TAIL { text.split_once('\n').map_or(text.as_str(), |(_, rest)| rest) } else { &text };
    let lines: Vec<String> = text.trim().lines().map(|line| format!("\n  | {line}")).collect();
    if lines.is_empty() { String::new() } else { format!("; it said last:{}", lines.concat()) }
}

/// What a program said, without control characters, so that it cannot move a cursor.
pub fn plain(said: &[u8]) -> String {
    String::from_utf8_lossy(said).chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}

pub fn refused(refusal: Refusal) -> Vec<Finding> {
    let help = match refusal.code {
        Code::Absent if refusal.help.is_empty() => "install it".to_owned(),
        _ => refusal.help,
    };
    vec![Finding::new(format!("nothing was rendered: {}", refusal.message), help)]
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

/// What programs say of their version, asked once for each file that one was.
#[derive(Default)]
pub struct Versions(Mutex<BTreeMap<Digest, Option<String>>>);

impl Versions {
    /// Names the program that renders now: what it is by its bytes, and what it says of itself when it is called with `words`.
    pub async fn tool(&self, input: &RenderInput, name: &str, words: &[&str]) -> Result<Tool, Vec<Finding>> {
        let (runner, tools) = (input.runner.clone(), confines(input).read);
        let asked = name.to_owned();
        let digest = blocking(move || runner.identify(&asked, &tools).map_err(refused)).await?;
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&digest).cloned();
        let version = match known {
            Some(version) => version,
            None => {
                let version = ask(input, name, words).await;
                self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(digest, version.clone());
                version
            }
        };
        Ok(Tool { name: name.to_owned(), version, digest })
    }
}

/// The last word of the first line it says; `None` when it does not tell.
async fn ask(input: &RenderInput, name: &str, words: &[&str]) -> Option<String> {
    let program = Program {
        argv: std::iter::once(name).chain(words.iter().copied()).map(str::to_owned).collect(),
        env: SAID.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        folder: None,
        input: Vec::new(),
        deadline: input.sandbox.limits.time,
        output_cap: 0,
    };
    let ended = input.runner.confine(program, confines(input)).await.ok()?;
    judge(input, &ended).ok()?;
    let said = plain(&ended.exit.output);
    let word = said.lines().next()?.split_whitespace().next_back()?;
    Some(word.chars().take(64).collect())
}
