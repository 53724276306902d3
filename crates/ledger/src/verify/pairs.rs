//! Intents and their ends: each written will to act is followed by word of how it ended.

use std::collections::BTreeMap;

use trued_model::{Kind, StackId};

use super::Flaw;
use super::examine::Examined;

/// Intents without an end so far, and the newest intent of each stack.
#[derive(Default)]
pub(super) struct Pairs {
    open: BTreeMap<u64, Open>,
    newest: BTreeMap<Option<StackId>, (u64, Option<String>)>,
}

struct Open {
    stack: Option<StackId>,
    run: Option<String>,
    command: bool,
}

impl Pairs {
    pub fn take(&mut self, index: u64, entry: &Examined) {
        for (rel, to) in &entry.links {
            let ends = match (entry.kind, rel.as_str()) {
                (Kind::Verdict, "outcome-of") => true,
                // A command is done with its receipt or refusal, or when a person says how it ended.
                (Kind::Receipt | Kind::Refusal, "receipt-of") | (Kind::Answered, "answers") => {
                    self.open.get(to).is_some_and(|open| open.command)
                }
                _ => false,
            };
            if ends {
                self.open.remove(to);
            }
        }
        if entry.kind == Kind::Intent {
            self.newest.insert(entry.stack.clone(), (index, entry.run.clone()));
            self.open.insert(index, Open { stack: entry.stack.clone(), run: entry.run.clone(), command: entry.command });
        }
    }

    /// An intent that the newest run of its stack left open may still be at work, or waits for the next wake to close it.
    /// One that a later run passed over is a flaw; a command that nobody can look at waits for a person, however long.
    pub fn end(self) -> Result<Vec<String>, Flaw> {
        let mut remarks = Vec::new();
        for (index, open) in self.open {
            let newest = self.newest.get(&open.stack);
            let passed_over = newest.is_some_and(|(at, run)| *at > index && *run != open.run);
            let of = open.stack.as_ref().map(|stack| format!(" of {}", stack.key())).unwrap_or_default();
            if passed_over && !open.command {
                return Err(Flaw::at(index, format!("intent #{index}{of} has no end, though a later run began")));
            }
            remarks.push(format!("intent #{index}{of} has no end yet"));
        }
        Ok(remarks)
    }
}
