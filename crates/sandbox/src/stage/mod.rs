//! Our own program, started again between us and a program of others: first as its keeper, then, if it is to be
//! confined, as the process that gives up its rights and becomes it.

use std::io::{self, Read as _, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::process::ExitCode;

use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use crate::spec::{FAILED, FAILED_STATUS, SPEC, STAGE, Spec};

mod calls;
mod enter;
mod group;
mod inherited;
mod keep;
mod reach;
mod rights;
mod view;
mod watch;

/// What our own program does when it is run confined: takes all its input, and writes what it has as it has it, so that
/// what it did until a bound ended it is known.
pub type Task = fn(Vec<u8>, &mut (dyn Write + Send)) -> io::Result<()>;

/// Runs the stage this process was started as; `None` when it was started by a person. Call it first in `main`.
pub fn stage(tasks: &[(&str, Task)]) -> Option<ExitCode> {
    let mut words = std::env::args_os();
    if words.next()?.as_bytes() != STAGE.as_bytes() {
        return None;
    }
    let which = words.next().unwrap_or_default();
    inherited::keep_to_ourselves();
    let spec = std::env::var(SPEC).map_err(|_| "it was started by hand".to_owned());
    let spec = spec.and_then(|text| serde_json::from_str::<Spec>(&text).map_err(|error| format!("its orders cannot be read: {error}")));
    let ended = spec.and_then(|spec| match which.as_bytes() {
        b"keep" => keep::keep(spec),
        b"enter" => enter::enter(spec, &|name| {
            if name == crate::NOTHING {
                return Some(ExitCode::SUCCESS);
            }
            let (_, task) = tasks.iter().find(|(known, _)| *known == name)?;
            Some(perform(*task))
        }),
        _ => Err("there is no such stage".to_owned()),
    });
    Some(ended.unwrap_or_else(|why| {
        // The one who asked reads this; there is no other way to tell.
        let _ = writeln!(io::stderr(), "{FAILED}{why}");
        ExitCode::from(FAILED_STATUS)
    }))
}

fn perform(task: Task) -> ExitCode {
    // Secrets may be in its input: no core dump holds it, and no other process of this user attaches to it.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let mut input = Vec::new();
    let read = io::stdin().lock().read_to_end(&mut input);
    let written = read.and_then(|_| task(input, &mut io::stdout()));
    let written = written.and_then(|()| io::stdout().flush());
    if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
