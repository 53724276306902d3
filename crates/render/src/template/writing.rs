//! Has templates written, and judges how the process that wrote them ended.
//!
//! The process is bounded wherever we run, also where nothing can be confined: a template has no way to ask for a file, a
//! program or the network, so confinement is a second wall here, and the bounds are the first.

use trued_doors::{Confined, Confines, Exit, RenderInput};
use trued_model::{Bound, Finding, Limits, Size};

use super::TASK;
use super::passed::{Order, Said};
use super::texts::{self, Texts};
use crate::bounds::{MAX_OUTPUTS, MEMORY, ROUNDS, STACK};
use crate::copy::in_source;
use crate::jinja::Written;
use crate::worker::{blocking, broken};

/// What the process says beside the bytes it writes, for each template.
const SAID: u64 = 4 << 10;

/// What the standard library says as it ends a process that got no memory, and one that ran out of stack.
const NO_MEMORY: &str = "memory allocation of ";
const NO_STACK: &str = "has overflowed its stack";

/// Writes every template: all outputs, by their places in the list, or all that is wrong.
pub async fn write_all(input: &RenderInput, templates: &[&str], mut texts: Texts) -> Result<Vec<(usize, Written)>, Vec<Finding>> {
    if templates.is_empty() {
        return Ok(Vec::new());
    }
    let limits = limits(&input.sandbox.limits, templates.len());
    let stack = usize::try_from(limits.memory.bytes()).unwrap_or(STACK).min(STACK);
    for _ in 0..ROUNDS {
        let order = Order::pack(input, templates, &texts, stack).map_err(|_| vec![broken()])?;
        // What it may use is bounded either way.
        let confines = Confines { limits, even_unsafe: true, ..Confines::default() };
        let ended = input.runner.task(TASK, order, confines).await.map_err(|refusal| {
            let message = format!("the templates of `{}` were not rendered: {}", input.bundle.folder, refusal.message);
            vec![Finding::new(message, refusal.help)]
        })?;
        let Judged { written, wants } = judge(input, templates, &limits, ended)?;
        let wants: Vec<&str> = wants.iter().map(String::as_str).filter(|path| texts::is_file(&input.bundle, path)).collect();
        if wants.iter().all(|path| texts.contains_key(*path)) {
            return written;
        }
        let (bundle, asked) = (input.bundle.clone(), wants.into_iter().map(str::to_owned).collect::<Vec<_>>());
        texts = blocking(move || {
            let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
            texts::add(&bundle, &mut texts, &asked).map_err(|finding| vec![finding])?;
            Ok(texts)
        })
        .await?;
    }
    let message = format!("the templates of `{}` include too many files by names that they make up", input.bundle.folder);
    Err(vec![Finding::new(message, "write the names of files to include as they are, between quotes")])
}

/// What the process may use: a stack may lower it.
fn limits(of_stack: &Limits, templates: usize) -> Limits {
    let said = (MAX_OUTPUTS * 2).saturating_add(SAID.saturating_mul(templates as u64));
    Limits { memory: of_stack.memory.min(MEMORY), log: Size(said), ..*of_stack }
}

/// What came of one try.
struct Judged {
    written: Result<Vec<(usize, Written)>, Vec<Finding>>,
    /// Files that were asked for by names and not among the texts: if there are such, all of it is to be done again.
    wants: Vec<String>,
}

/// What was written and what was asked for, if the process came to its end; otherwise what ended it, with the template that it
/// was at, and what was wrong before.
fn judge(input: &RenderInput, templates: &[&str], limits: &Limits, ended: Confined) -> Result<Judged, Vec<Finding>> {
    let (mut written, mut findings) = (Vec::new(), Vec::new());
    let (mut at, mut whole) = (None, None);
    for (said, bytes) in Said::all(&ended.exit.output) {
        match said {
            Said::Begun(template) => at = templates.get(template),
            Said::Written { template, seal } if template < templates.len() => {
                written.push((template, Written { bytes: bytes.to_vec(), seal }));
            }
            Said::Written { .. } => return Err(vec![broken()]),
            Said::Failed { findings: wrong, .. } => findings.extend(wrong),
            Said::Done { wants } => whole = Some(wants),
        }
    }
    let (None, Some(0), Some(wants)) = (ended.passed, ended.exit.status, whole) else {
        let (what, help) = cut_short(ended.passed, &ended.exit, limits);
        findings.push(match at {
            Some(path) => Finding::new(format!("the template {what}"), help).at(in_source(&input.bundle, path), 1, 1),
            None => Finding::new(format!("reading the templates of `{}` {what}", input.bundle.folder), help),
        });
        return Err(findings);
    };
    let complete = findings.is_empty() && written.len() == templates.len();
    Ok(Judged { written: if complete { Ok(written) } else { Err(findings) }, wants })
}

/// Why the process did not come to its end, as the rest of a sentence, and what to do. Nothing that it said itself is told:
/// a secret may be in it.
fn cut_short(passed: Option<Bound>, exit: &Exit, limits: &Limits) -> (String, &'static str) {
    let said = |words: &str| holds(&exit.error, words.as_bytes());
    let passed = passed.or_else(|| said(NO_MEMORY).then_some(Bound::Memory));
    match (passed, exit.status) {
        (Some(bound), _) => (
            format!("{} (`{}`)", bound.words(limits), bound.key()),
            "look for a text or a list that grows with each turn of a loop, or split the file",
        ),
        (None, None) if said(NO_STACK) => ("nests values too deep".to_owned(), "look for a value that is put into itself in a loop"),
        (None, None) => ("was ended by a signal".to_owned(), "the machine may be short of memory; it is tried again"),
        (None, Some(_)) => ("broke the renderer".to_owned(), "this is a fault of the renderer; report it with the template that causes it"),
    }
}

fn holds(text: &[u8], words: &[u8]) -> bool {
    text.windows(words.len()).any(|window| window == words)
}
