//! How the program ends: the exit status, and the one sentence about what went wrong.

use std::fmt;
use std::io;
use std::process::ExitCode;

use trued_model::Refusal;

use crate::screen::Screen;

/// The exit status of every verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done, nothing left to do.
    Done,
    Failed,
    /// The input is wrong: findings, usage.
    Input,
    /// Changes or holds remain.
    Remain,
}

impl Exit {
    /// Where several hold: 1 before 2 before 3.
    pub fn or(self, other: Exit) -> Exit {
        let rank = |exit: Exit| match exit {
            Exit::Failed => 0,
            Exit::Input => 1,
            Exit::Remain => 2,
            Exit::Done => 3,
        };
        if rank(other) < rank(self) { other } else { self }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Input => 2,
            Exit::Remain => 3,
        })
    }
}

/// What a person asked for cannot be right.
#[derive(Debug)]
pub struct Usage(pub String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// Shorthand for an error that ends with status 2.
pub fn usage(said: impl Into<String>) -> anyhow::Error {
    Usage(said.into()).into()
}

/// Says on standard error what went wrong. A reader that went away is no error.
pub fn report(screen: &Screen, error: &anyhow::Error) -> Exit {
    let broken_pipe = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    if error.chain().any(broken_pipe) {
        return Exit::Done;
    }
    let refusal = error.downcast_ref::<Refusal>();
    let mut said = format!("{error:#}");
    if let Some(place) = refusal.and_then(|refusal| refusal.place.as_ref()) {
        said = format!("{}:{}:{}: {said}", place.file, place.line, place.column);
    }
    if let Some(refusal) = refusal.filter(|refusal| !refusal.help.is_empty()) {
        said = format!("{said}; {}", refusal.help);
    }
    screen.say(&format!("{}: {said}", screen.red("error")));
    if error.downcast_ref::<Usage>().is_some() { Exit::Input } else { Exit::Failed }
}
