//! What the renderers of Kubernetes objects share: where their programs find and leave things, and findings that name files
//! as the source does.

use std::fs;
use std::path::Path;

use trued_doors::{Bundle, Confined, RenderInput, Rendered};
use trued_model::{Finding, SharedText, Tool, encode_path};

use crate::program::{Copied, below, judge, not_written, plain, tail};

/// The copy of the source, in the room of a program.
pub const SOURCE: &str = "trued-source";

/// Where a program leaves objects.
pub const OUTPUT: &str = "objects";

/// No program is found by name: what one of these would start (`git`, `helm`, plugins) is not there.
const NO_PROGRAMS: (&str, &str) = ("PATH", "/nonexistent");

/// The largest text that a place is looked for in.
const SEARCHED: u64 = 256 << 10;

/// Refuses secrets: a program of others is given none, and what it makes could not be told from them.
pub fn no_secrets(input: &RenderInput) -> Result<(), Vec<Finding>> {
    let Some(name) = input.secrets.keys().next() else { return Ok(()) };
    let message = format!("the value `{name}` is a secret, and a program of others is given none");
    Err(vec![Finding::new(message, "use `template` for the object that holds it")])
}

/// A folder or file below the bundle.
pub struct Below {
    /// As the bundle's paths are written; `""` for the bundle itself.
    pub path: String,
    /// As a program in the room names it.
    pub argument: String,
}

/// Finds what a setting names below the bundle.
pub fn below_bundle(bundle: &Bundle, key: &str, written: &str) -> Result<Below, Vec<Finding>> {
    let raw = below(written).ok_or_else(|| {
        let message = format!("`{key}: {written}` leads out of `{}`", bundle.folder);
        vec![Finding::new(message, "write a path below `path`; `path` is the folder that holds all that is read")]
    })?;
    let path = encode_path(std::os::unix::ffi::OsStrExt::as_bytes(raw.as_os_str()));
    let inside = |entry: &SharedText| entry.strip_prefix(&path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if path.is_empty() {
        return Ok(Below { path, argument: SOURCE.to_owned() });
    }
    if bundle.entries.keys().any(inside) {
        return Ok(Below { path, argument: format!("{SOURCE}/{}", raw.display()) });
    }
    let message = format!("`{key}: {written}` does not exist in `{}`", bundle.folder);
    Err(vec![Finding::new(message, "correct it, or commit what it names")])
}

/// A file in a folder of the bundle, by its path in the bundle.
pub fn within(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// Makes the folder that objects are left in, so that no objects are an empty folder.
pub fn make_output(room: &Path) -> Result<(), Vec<Finding>> {
    fs::create_dir(room.join(OUTPUT)).map_err(not_written)
}

/// Runs a program in its copy. When it fails, `placed` puts the finding where the source holds the reason, from what the program said.
pub async fn run(
    copied: &Copied,
    program: &str,
    argv: &[String],
    placed: impl FnOnce(&Bundle, Finding, &str) -> Finding,
) -> Result<Confined, Vec<Finding>> {
    let ended = copied.run(argv, &[NO_PROGRAMS]).await?;
    if let Err(ending) = judge(&copied.input, &ended) {
        let (finding, said) = failed(copied, program, ending, &ended);
        return Err(vec![placed(&copied.input.bundle, finding, &said)]);
    }
    Ok(ended)
}

/// Runs a program in its copy and takes the objects it left.
pub async fn make(
    copied: Copied,
    tool: Tool,
    argv: &[String],
    placed: impl FnOnce(&Bundle, Finding, &str) -> Finding,
) -> Result<Rendered, Vec<Finding>> {
    let ended = run(&copied, &tool.name, argv, placed).await?;
    let log = tail(&ended);
    copied.take(OUTPUT.into(), log, vec![tool]).await
}

/// What to say of a program that failed, and what it said itself, with files named as in the source.
fn failed(copied: &Copied, program: &str, (what, help): (String, String), ended: &Confined) -> (Finding, String) {
    let folder = &copied.input.bundle.folder;
    let (whole, inside) = if folder.is_empty() { (".".to_owned(), String::new()) } else { (folder.clone(), format!("{folder}/")) };
    let room = copied.workspace.room.folder.to_string_lossy().into_owned();
    let named = |mut text: String| {
        for before in [format!("{room}/"), "/build/".to_owned(), String::new()] {
            text = text.replace(&format!("{before}{SOURCE}/"), &inside).replace(&format!("{before}{SOURCE}"), &whole);
        }
        text
    };
    let said = named(plain(&ended.exit.output));
    (Finding::new(format!("`{program}` {what}{}", named(tail(ended))), help), said)
}

/// The place of the first item of a file that holds a text, counted from 1; an item begins behind a space, a bracket, a comma
/// or a quote.
pub fn line_with(bundle: &Bundle, path: &str, text: &str) -> Option<(u32, u32)> {
    bundle.entries.get(path).filter(|entry| entry.bytes <= SEARCHED)?;
    let bytes = bundle.reader.read(path).ok()?;
    let whole = String::from_utf8_lossy(&bytes);
    let (at, line) = whole.lines().enumerate().find(|(_, line)| line.contains(text))?;
    let before = line.split(text).next().unwrap_or_default();
    let item = before.rfind([' ', '\t', '[', '{', ',', '"', '\'']).map_or(0, |at| at + 1);
    let column = before[..item].chars().count() + 1;
    Some((u32::try_from(at + 1).ok()?, u32::try_from(column).ok()?))
}
