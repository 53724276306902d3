//! `trued render`: shows or writes out exactly what would be desired.

use std::io::Read;

use serde_json::{Value, json};
use trued_model::{Address, Resource};
use trued_runtime::Shown;

use crate::acting::Acting;
use crate::commands::Session;
use crate::exit::{Exit, usage};
use crate::wire::{Hand, objects};
use crate::written;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  trued render prod/site
  trued render prod/site --to /tmp/out")]
pub struct Args {
    pub stack: String,
    /// Write the files into this folder, which must be empty or new
    #[arg(long, value_name = "DIR")]
    pub to: Option<std::path::PathBuf>,
    /// Render this branch, tag or commit instead of the newest
    #[arg(long, alias = "ref", value_name = "REVISION")]
    pub revision: Option<String>,
}

pub async fn run(args: Args, session: &Session<'_>) -> anyhow::Result<Exit> {
    let acting = Acting::open(session, Hand::None, "render").await?;
    let aim = acting.aim(std::slice::from_ref(&args.stack), args.revision.as_deref(), false).await?;
    let Some(stack) = aim.stacks.first() else { return Err(usage(format!("there is no stack {}", args.stack))) };
    let shown = match acting.runtime.show(stack, &aim).await? {
        Ok(shown) => shown,
        Err(findings) => {
            findings.iter().for_each(|finding| session.screen.say(&format!("{}: {finding}", session.screen.red("finding"))));
            return Ok(Exit::Input);
        }
    };
    let into = acting.runtime.estate().stacks.get(stack).map(|stack| stack.into.clone()).unwrap_or_default();
    let inner = |address: &Address| Address::new(address.as_str().strip_prefix(&into).unwrap_or(address.as_str()).trim_start_matches('/'));
    if let Some(folder) = &args.to {
        written::prepare(folder)?;
        for resource in shown.desired.all().into_values() {
            match read(&shown, resource)? {
                Some(bytes) => written::write_one(folder, &inner(&resource.address), written::shape(&resource.fingerprint), &bytes)?,
                None => session.screen.say(&format!("{} is left out: it is sealed", resource.address)),
            }
        }
    }
    if session.screen.is_json() {
        let files = shown.desired.all().into_values().map(|resource| {
            let content =
                resource.content.map(|content| json!({ "digest": content.digest, "bytes": content.bytes, "sealed": content.sealed }));
            json!({ "path": resource.address, "fingerprint": resource.fingerprint, "content": content })
        });
        let files: Vec<Value> = files.collect();
        session.screen.document(&json!({ "stack": args.stack, "revision": shown.revision, "files": files }))?;
        return Ok(Exit::Done);
    }
    if let Some(folder) = &args.to {
        session.screen.say(&format!("{} files in {}", shown.desired.all().len(), folder.display()));
        return Ok(Exit::Done);
    }
    let target = acting.runtime.estate().targets.get(&stack.target).map(|target| target.kind.clone());
    if target.is_some_and(|kind| objects(&kind)) {
        return stream(session, &shown);
    }
    for resource in shown.desired.all().into_values() {
        session.screen.line(format!("==> {} <==", inner(&resource.address)))?;
        match read(&shown, resource)?.map(String::from_utf8) {
            Some(Ok(text)) => session.screen.bytes(text.as_bytes())?,
            Some(Err(raw)) => session.screen.line(format!("{} bytes that are no text", raw.as_bytes().len()))?,
            None => session.screen.line("sealed")?,
        }
    }
    Ok(Exit::Done)
}

/// Shows objects as one stream, in the order of their addresses.
fn stream(session: &Session<'_>, shown: &Shown) -> anyhow::Result<Exit> {
    for resource in shown.desired.all().into_values() {
        session.screen.line("---")?;
        match read(shown, resource)? {
            Some(bytes) => session.screen.bytes(trued_yaml::write(&serde_json::from_slice(&bytes)?).as_bytes())?,
            None => session.screen.line(format!("# {} is sealed", resource.address))?,
        }
    }
    Ok(Exit::Done)
}

/// A resource's bytes; `None` when they are sealed.
fn read(shown: &Shown, resource: &Resource) -> anyhow::Result<Option<Vec<u8>>> {
    let Some(content) = resource.content else { return Ok(Some(Vec::new())) };
    if content.sealed {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    shown.contents.open(&content)?.read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}
