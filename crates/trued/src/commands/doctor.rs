//! `trued doctor`: looks for trouble around the program, and says what to do about each. Mends nothing.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, RenameFlags, ResolveFlags};
use serde_json::{Value, json};
use trued_config::{OperatorConfiguration, Own};
use trued_doors::Query;
use trued_engine::history;
use trued_model::{Estate, Identity, Level, SecretSource};

use crate::commands::Session;
use crate::configured;
use crate::exit::Exit;
use crate::place;
use crate::wire;

/// Less free space than this in the state folder is trouble: a few large batches may need it.
const SPACE: u64 = 256 << 20;
/// Fewer watches than this are soon used up by one tree of files.
const WATCHES: u64 = 8192;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  trued doctor
  trued doctor --output json

Ends with status 1 when something must be done.")]
pub struct Args {}

/// One thing looked at.
struct Looked {
    what: &'static str,
    /// What was found; `Err` where something must be done, with what.
    found: Result<String, (String, String)>,
}

fn well(what: &'static str, said: impl Into<String>) -> Looked {
    Looked { what, found: Ok(said.into()) }
}

fn ill(what: &'static str, said: impl Into<String>, todo: impl Into<String>) -> Looked {
    Looked { what, found: Err((said.into(), todo.into())) }
}

pub async fn run(_args: Args, session: &Session<'_>) -> anyhow::Result<Exit> {
    let mut looked = kernel();
    match session.at.state() {
        Ok(state) => looked.extend(state_folder(&state).await),
        Err(error) => looked.push(ill("state folder", error.to_string(), "run it beside a trued.yaml, or name one with --state")),
    }
    looked.extend(sandbox().await);
    match wire::operator(&session.at) {
        Ok(operator) => looked.extend(configuration(&operator).await),
        Err(error) => looked.push(ill("configuration", error.to_string(), "`trued init` writes a first one")),
    }
    let exit = if looked.iter().any(|one| one.found.is_err()) { Exit::Failed } else { Exit::Done };
    let screen = session.screen;
    if screen.is_json() {
        let row = |one: &Looked| match &one.found {
            Ok(said) => json!({ "what": one.what, "ok": true, "found": said, "help": "" }),
            Err((said, todo)) => json!({ "what": one.what, "ok": false, "found": said, "help": todo }),
        };
        screen.document(&json!({ "checks": looked.iter().map(row).collect::<Vec<Value>>() }))?;
        return Ok(exit);
    }
    for one in &looked {
        match &one.found {
            Ok(said) => screen.line(format!("{}  {}: {said}", screen.green("well"), one.what))?,
            Err((said, todo)) => screen.line(format!("{}   {}: {said}; {todo}", screen.red("ill"), one.what))?,
        }
    }
    Ok(exit)
}

fn kernel() -> Vec<Looked> {
    let mut looked = Vec::new();
    let opened = rustix::fs::openat2(CWD, ".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::BENEATH);
    looked.push(match opened {
        Ok(_) => well("openat2", "files are opened beneath their root only"),
        Err(error) => ill("openat2", error.to_string(), "use Linux 5.6 or newer; a container's seccomp profile may forbid it"),
    });
    // Asked to exchange two names that are not there: a kernel that knows the call says that they are not there.
    let exchanged = rustix::fs::renameat_with(CWD, "/nonexistent/a", CWD, "/nonexistent/b", RenameFlags::EXCHANGE);
    looked.push(match exchanged {
        Err(rustix::io::Errno::NOSYS | rustix::io::Errno::INVAL) => ill("renameat2", "not known here", "use Linux 3.15 or newer"),
        _ => well("renameat2", "names are exchanged in one step"),
    });
    let limit =
        |name: &str| fs::read_to_string(format!("/proc/sys/fs/inotify/{name}")).ok().and_then(|text| text.trim().parse::<u64>().ok());
    looked.push(match limit("max_user_watches") {
        Some(watches) if watches < WATCHES => {
            ill("inotify", format!("only {watches} watches"), format!("raise it: sysctl fs.inotify.max_user_watches={}", WATCHES * 64))
        }
        Some(watches) => well("inotify", format!("{watches} watches, one per folder")),
        None => ill("inotify", "its limits cannot be read", "mount /proc; until then drift is found at the interval only"),
    });
    looked
}

/// How well builds are confined here, and what of the kernel that rests on. Below base it is trouble only where the
/// configuration builds something, which [`builds`] says.
async fn sandbox() -> Vec<Looked> {
    let (level, facts) = wire::sandbox().await;
    let said = match level {
        Level::Unsafe => "unsafe: programs cannot be confined here; builds are refused unless the operator says `unsafe`",
        Level::Base => "base: builds reach no network, no other process and no file of others",
        Level::Namespaced => "namespaced: builds see no process, no network and few files",
    };
    let mut looked = vec![well("sandbox", said)];
    for fact in facts {
        let missing = if fact.missing.is_empty() { String::new() } else { format!("; for more: {}", fact.missing) };
        looked.push(well("sandbox", format!("{}: {}{missing}", fact.what, fact.found)));
    }
    looked
}

/// Builds that are configured, on a machine that cannot confine them as it should.
async fn builds(estate: &Estate) -> Option<Looked> {
    let count = estate.stacks.values().filter(|stack| wire::runs_a_program(&stack.render)).count() as u64;
    let (level, _) = wire::sandbox().await;
    let rules = &estate.sandbox;
    let stacks = history::things(count, "stack");
    if count == 0 {
        return None;
    }
    Some(match (level, rules.level.unwrap_or(Level::Base)) {
        (level, demanded) if level >= demanded => well("builds", format!("{stacks} built at level {}", level.word())),
        (Level::Unsafe, Level::Base) if rules.even_unsafe && rules.level.is_none() => {
            ill("builds", format!("{stacks} built unsafe: what they run can do what this user can"), "see what the sandbox lacks")
        }
        (level, demanded) => {
            let said = format!("{stacks} not built: the level here is {}, and {} is demanded", level.word(), demanded.word());
            ill("builds", said, "see what the sandbox lacks")
        }
    })
}

/// Files that hold secrets, or the keys that open them, and that anybody on this machine may read.
fn secrets(estate: &Estate) -> Vec<Looked> {
    let file = |source: &SecretSource| match (source, source.encrypted().map(|encrypted| &encrypted.identity)) {
        (SecretSource::File(file), _) | (_, Some(Identity::File(file))) => Some(file.clone()),
        _ => None,
    };
    let files: BTreeSet<String> = estate.secrets.values().filter_map(file).collect();
    let open = |file: &&String| fs::metadata(file).is_ok_and(|found| found.mode() & 0o004 != 0);
    let told = |file: &String| ill("secrets", format!("everybody on this machine may read {file}"), format!("chmod o-rwx {file}"));
    files.iter().filter(open).map(told).collect()
}

async fn state_folder(state: &Path) -> Vec<Looked> {
    let shown = state.display();
    let Ok(found) = fs::metadata(state) else {
        let at = place::canonical(state);
        let above = at.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("/"));
        return vec![well("state folder", format!("{shown} is not there yet; the first apply makes it")), space(above)];
    };
    let mut looked = vec![private("state folder", state, found.mode(), 0o700)];
    let uid = rustix::process::geteuid().as_raw();
    if found.uid() != uid && uid != 0 {
        looked.push(ill("state folder", format!("{shown} belongs to uid {}", found.uid()), "run as that user"));
    }
    for key in fs::read_dir(state.join("keys")).into_iter().flatten().flatten() {
        match key.metadata() {
            Ok(found) if found.is_file() => looked.push(private("keys", &key.path(), found.mode(), 0o600)),
            _ => {}
        }
    }
    looked.extend(record(state).await);
    looked.push(space(state));
    looked
}

async fn record(state: &Path) -> Vec<Looked> {
    let ledger = match wire::ledger(state) {
        Ok(ledger) => ledger,
        Err(refusal) => return vec![ill("record", refusal.to_string(), "see who may read it; `trued verify` says more")],
    };
    let mut looked = Vec::new();
    if ledger.restored_from_backup {
        let todo = "find the newer one; if it is lost, look at the targets, then `trued verify --accept-backup`";
        looked.push(ill("record", "it is older than what was seen here: it comes from a backup", todo));
    }
    let newest = ledger.store.find(Query { limit: Some(1), ..Query::default() }).await;
    let now = wire::clock().now();
    match newest.as_deref() {
        Ok([newest]) if newest.entry.recorded_at > now => {
            looked.push(ill(
                "time",
                format!("the record already reaches {}", newest.entry.recorded_at),
                "set the clock; see that NTP runs",
            ));
        }
        Ok([newest]) => looked.push(well("record", format!("{} entries, the newest of {}", newest.index + 1, newest.entry.recorded_at))),
        Ok(_) => looked.push(well("record", "empty")),
        Err(refusal) => looked.push(ill("record", refusal.to_string(), "`trued verify` says more")),
    }
    looked
}

fn private(what: &'static str, path: &Path, mode: u32, wanted: u32) -> Looked {
    match mode & 0o077 {
        0 => well(what, format!("{} is private", path.display())),
        _ => ill(
            what,
            format!("{} is open to others (mode {:o})", path.display(), mode & 0o777),
            format!("chmod {wanted:o} {}", path.display()),
        ),
    }
}

fn space(folder: &Path) -> Looked {
    match rustix::fs::statvfs(folder) {
        Ok(found) => {
            let free = found.f_bavail.saturating_mul(found.f_frsize);
            let said = format!("{} MiB free at {}", free >> 20, folder.display());
            match free < SPACE {
                true => ill("space", said, "make room: without it nothing is recorded, and so nothing is done"),
                false => well("space", said),
            }
        }
        Err(error) => ill("space", format!("{}: {error}", folder.display()), "see that the file system is mounted"),
    }
}

async fn configuration(operator: &OperatorConfiguration) -> Vec<Looked> {
    let mut looked = Vec::new();
    let loaded = match configured::load(operator).await {
        Ok(loaded) => loaded,
        Err(findings) => {
            looked.push(ill("configuration", history::things(findings.len() as u64, "finding"), "`trued check` lists them"));
            return looked;
        }
    };
    // With sources of its own, where the file lies says nothing of what is rendered.
    let own = loaded.estate.sources.keys().any(|name| name.as_str() == trued_config::OWN);
    looked.extend(own.then(|| match &operator.own {
        Own::Git { root, .. } => well("repository", format!("{} is a Git working tree", root.display())),
        Own::Folder => well("repository", format!("{} lies in a plain folder; its content digest is the revision", operator.shown)),
    }));
    looked.push(match loaded.findings.len() {
        0 => well("configuration", format!("{}, {}", operator.shown, history::things(loaded.estate.stacks.len() as u64, "stack"))),
        count => ill("configuration", history::things(count as u64, "finding"), "`trued check` lists them"),
    });
    looked.extend(builds(&loaded.estate).await);
    looked.extend(secrets(&loaded.estate));
    for target in loaded.estate.targets.values() {
        looked.push(match wire::reach(target, &operator.state).await {
            Ok(None) => well("target", format!("{} can be seen", target.name)),
            Ok(Some(why)) => ill("target", format!("{}: {why}", target.name), "see `trued check` and the target's settings"),
            Err(refusal) if refusal.help.is_empty() => ill("target", format!("{}: {refusal}", target.name), "see who may read it"),
            Err(refusal) => ill("target", format!("{}: {refusal}", target.name), refusal.help),
        });
    }
    looked
}
