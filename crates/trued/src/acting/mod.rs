//! What verbs that act share: the runtime with its doors, who acts, and how a pass is shown.

pub mod cache;
pub mod clock;
pub mod granting;
pub mod view;

use std::sync::Arc;

use trued_model::{Actor, StackId, StackNames, Want};
use trued_runtime::{Aim, Runtime};

use crate::commands::Session;
use crate::exit::usage;
use crate::tuning;
use crate::wire::{self, Hand};

/// An opened runtime.
pub struct Acting {
    pub runtime: Arc<Runtime>,
    pub opened: wire::Acting,
}

/// The process is about to end: what is remembered of large stacks need not be freed piece by piece.
impl Drop for Acting {
    fn drop(&mut self) {
        self.runtime.leave();
    }
}

impl Acting {
    /// Opens configuration, record and doors. Without a hand nothing is written but `cache/`.
    pub async fn open(session: &Session<'_>, hand: Hand, verb: &str) -> anyhow::Result<Acting> {
        let opened = wire::open_to_act(&session.at, hand, verb)?;
        let mut runtime = Runtime::new(opened.doors.clone()).counting(session.counters.clone());
        if let Some(term) = tuning::lease()? {
            runtime = runtime.leasing(term);
        }
        if hand == Hand::Writes && verb != "serve" && session.screen.is_watched() {
            runtime = runtime.telling(Arc::new(view::say_waiting));
        }
        Ok(Acting { runtime: Arc::new(runtime), opened })
    }

    /// A runtime of its own on the same doors that remembers no render: what it shows, it has rendered.
    pub fn forgetful(&self) -> Runtime {
        Runtime::new(trued_runtime::Doors { cache: Arc::new(cache::NoCache), ..self.opened.doors.clone() })
    }

    /// What a pass of a one-shot verb is about. Without a named revision the newest counts, and in a repository of
    /// one's own the working tree.
    pub async fn aim(&self, stacks: &[String], revision: Option<&str>, writes: bool) -> anyhow::Result<Aim> {
        let want = revision.map_or(Want::WorkTree, |named| Want::Named(named.to_owned()));
        let mut aim = Aim { want, stacks: Vec::new(), writes, look: true, waits: false };
        if !stacks.is_empty() {
            let quiet = Aim { writes: false, ..aim.clone() };
            self.runtime.look_up(&quiet).await?;
            let names = self.runtime.names();
            aim.stacks = stacks.iter().map(|named| find(&names, named)).collect::<anyhow::Result<_>>()?;
        }
        Ok(aim)
    }

    /// The stack a person named, from the record alone: works with source and configuration gone.
    pub async fn on_record(&self, named: &str) -> anyhow::Result<StackId> {
        let stacks = self.opened.doors.store.stacks().await?;
        find(&StackNames::new(&stacks), named)
    }

    /// Wakes a `serve` on the same state folder, if one runs.
    pub async fn wake_serve(&self) -> bool {
        wire::tell_serve(&self.opened.state, "wake").await.is_ok_and(|answer| answer.is_some())
    }
}

/// Finds the stack a person named among those that are known.
pub fn find(names: &StackNames, named: &str) -> anyhow::Result<StackId> {
    names.find(named).cloned().ok_or_else(|| {
        let known: Vec<&str> = names.iter().map(|(_, written)| written).collect();
        let known = if known.is_empty() { "there are none".to_owned() } else { format!("there are {}", known.join(", ")) };
        usage(format!("there is no stack {named}; {known}"))
    })
}

/// The person at this terminal, as the process tells.
pub fn person() -> Actor {
    let uid = rustix::process::getuid().as_raw();
    let id = wire::user_name(uid).unwrap_or_else(|| format!("uid {uid}"));
    Actor { kind: "person".to_owned(), id, evidence: "process".to_owned() }
}
