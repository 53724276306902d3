//! `trued import`: writes what nobody manages into the working tree, as files that change nothing once they are desired.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use trued_doors::Sourced;
use trued_model::{Address, Estate, Name, Stack, Want, decode_path};
use trued_runtime::{Aim, Imported, ToImport};

use crate::acting::{Acting, find};
use crate::commands::Session;
use crate::commands::coverage::target;
use crate::exit::{Exit, usage};
use crate::placed;
use crate::wire::Hand;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  trued import robots.txt
  trued import apps/Deployment/shop/legacy core/Service/shop/legacy --stack prod/shop
  trued import --all --target prod-cluster --into apps/found

Nothing is overwritten, and Secrets are never written in plain text.")]
pub struct Args {
    /// What to import, as `trued coverage` writes it
    #[arg(value_name = "ADDRESS", required_unless_present = "all", conflicts_with = "all")]
    pub addresses: Vec<String>,
    /// Everything on the target, or at the stack's place there, that nobody manages
    #[arg(long)]
    pub all: bool,
    /// Where it is; need not be said where there is one
    #[arg(long, value_name = "TARGET")]
    pub target: Option<String>,
    /// Which stack will have it: its folder and its place on the target count
    #[arg(long, value_name = "STACK")]
    pub stack: Option<String>,
    /// The folder to write into [default: the stack's]
    #[arg(long, value_name = "PATH")]
    pub into: Option<PathBuf>,
}

pub async fn run(args: Args, session: &Session<'_>) -> anyhow::Result<Exit> {
    let acting = Acting::open(session, Hand::None, "import").await?;
    let aim = Aim { want: Want::WorkTree, stacks: Vec::new(), writes: false, look: true, waits: false };
    acting.runtime.look_up(&aim).await?;
    let estate = acting.runtime.estate();
    let stack = match &args.stack {
        Some(named) => {
            let id = find(&acting.runtime.names(), named)?;
            Some(estate.stacks.get(&id).ok_or_else(|| usage(format!("stack {named} is not configured any more")))?)
        }
        None => None,
    };
    let target = match (&args.target, stack) {
        (Some(named), _) => target(&acting, named)?,
        (None, Some(stack)) => stack.id.target.clone(),
        (None, None) => only_target(&estate)?,
    };
    let stack = match stack {
        Some(stack) if stack.id.target != target => {
            return Err(usage(format!("stack {} lands on {}, not on {target}", stack.id.key(), stack.id.target)));
        }
        Some(stack) => Some(stack),
        None => only_stack(&estate, &target),
    };
    let folder = match (&args.into, stack) {
        (Some(into), _) => std::path::absolute(into)?,
        (None, Some(stack)) => folder_of(&estate, stack)?,
        (None, None) => {
            return Err(usage(format!("several stacks land on {target}, or none: name one with --stack, or a folder with --into")));
        }
    };
    let addresses: Vec<Address> = args.addresses.iter().map(Address::new).collect();
    let into = stack.map_or("", |stack| stack.into.as_str());
    let imported = acting.runtime.import(&aim, &ToImport { target: &target, into, addresses: &addresses }).await?;
    // What was named is wanted as a whole; of everything, what can be had.
    let whole = args.all || imported.refused.is_empty();
    let files = if whole { paths(&folder, &imported)? } else { Vec::new() };
    placed::place(&files.iter().map(|(path, sourced)| (path.as_path(), *sourced)).collect::<Vec<_>>())?;
    say(&imported, &files, &folder, session)?;
    Ok(if whole { Exit::Done } else { Exit::Failed })
}

fn only_target(estate: &Estate) -> anyhow::Result<Name> {
    let mut names = estate.targets.keys();
    match (names.next(), names.next()) {
        (Some(only), None) => Ok(only.clone()),
        _ => {
            let known: Vec<&str> = estate.targets.keys().map(Name::as_str).collect();
            Err(usage(format!("which target? name it with --target; there are {}", known.join(", "))))
        }
    }
}

fn only_stack<'a>(estate: &'a Estate, target: &Name) -> Option<&'a Stack> {
    let mut there = estate.stacks.values().filter(|stack| stack.id.target == *target);
    there.next().filter(|_| there.next().is_none())
}

/// The folder of a stack in the working tree.
fn folder_of(estate: &Estate, stack: &Stack) -> anyhow::Result<PathBuf> {
    let settings = estate.sources.get(&stack.source).map(|source| &source.settings);
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let own = stack.source.as_str() == "own";
    let root = settings.filter(|_| own).and_then(|settings| text(settings.get("path")));
    let below = settings.and_then(|settings| text(settings.get("folder"))).unwrap_or_default();
    let path = text(stack.render.settings.get("path")).and_then(|path| decode_path(&path)).and_then(|path| String::from_utf8(path).ok());
    match (root, path) {
        (Some(root), Some(path)) if stack.render.kind == "plain" => Ok(Path::new(&root).join(below).join(path)),
        (Some(_), _) => Err(usage(format!(
            "what {} renders to is not written file by file (`{}`): name a folder with --into, and add the files there to what it renders",
            stack.id.key(),
            stack.render.kind
        ))),
        (None, _) => Err(usage(format!("source {} is not this working tree: name a folder with --into", stack.source))),
    }
}

/// Where each file goes; a path that two would have, or that is there, is an error, all of them at once.
fn paths<'a>(folder: &Path, imported: &'a Imported) -> anyhow::Result<Vec<(PathBuf, &'a Sourced)>> {
    let mut files: Vec<(PathBuf, &Sourced)> = Vec::new();
    let mut wrong = Vec::new();
    for (address, sourced) in &imported.files {
        let path = folder.join(placed::below(&sourced.path)?);
        if path.symlink_metadata().is_ok() {
            wrong.push(format!("{} is there already, where {address} would be written", path.display()));
        } else if files.iter().any(|(known, _)| *known == path) {
            wrong.push(format!("{} would be written twice; import {address} alone, with another --into", path.display()));
        } else {
            files.push((path, sourced));
        }
    }
    if wrong.is_empty() { Ok(files) } else { Err(usage(format!("nothing is written: {}", wrong.join("; ")))) }
}

fn say(imported: &Imported, files: &[(PathBuf, &Sourced)], folder: &Path, session: &Session<'_>) -> anyhow::Result<()> {
    let screen = session.screen;
    if screen.is_json() {
        let written = imported.files.iter().zip(files).map(|((address, _), (path, _))| json!({ "address": address, "path": path }));
        let refused = imported.refused.iter();
        let refused = refused.map(|(address, no)| json!({ "address": address, "code": no.code, "why": no.message, "help": no.help }));
        let (written, refused): (Vec<Value>, Vec<Value>) = (written.collect(), refused.collect());
        screen.document(&json!({ "written": written, "refused": refused }))?;
        return Ok(());
    }
    for ((address, _), (path, _)) in imported.files.iter().zip(files) {
        screen.line(format!("{}  {}", path.display(), screen.dim(address.as_str())))?;
    }
    for (_, no) in &imported.refused {
        let help = if no.help.is_empty() { String::new() } else { format!("; {}", no.help) };
        screen.say(&format!("{}: {no}{help}", screen.yellow("left out")));
    }
    match files.len() {
        0 => screen.say("nothing is written"),
        count => screen.say(&format!(
            "{count} written into {}; commit them: then `trued plan` shows them to adopt, and nothing to change",
            folder.display()
        )),
    }
    Ok(())
}
