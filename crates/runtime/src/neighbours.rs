//! The stacks that share a target, asked once for each state of sources and configuration, and again only about what the record
//! has gained since: so that a walk among a thousand neighbours costs what is new, not a thousand questions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use trued_doors::{Answer, Query};
use trued_model::{Estate, Manifest, Name, Revision, StackId};

use crate::cell::Cell;
use crate::render::NoWish;
use crate::runtime::Runtime;

/// All stacks and orphans of one target.
#[derive(Default)]
pub(crate) struct Neighbours {
    asked: Option<Asked>,
    all: BTreeMap<StackId, Neighbour>,
    /// How much of the record is known.
    through: u64,
}

/// What wishes were asked for.
struct Asked {
    estate: Arc<Estate>,
    revisions: BTreeMap<Name, Revision>,
    orphans: Vec<StackId>,
}

/// One of them.
pub(crate) struct Neighbour {
    pub cell: Arc<Cell>,
    /// What is its on the target.
    pub inventory: Arc<Manifest>,
    pub wish: Wish,
}

/// Whether it is known what a neighbour wants.
pub(crate) enum Wish {
    /// What its cell says.
    Known,
    /// Nothing: it is no longer configured.
    Gone,
    /// Not known, and why; `away` where its source could not be read at all.
    Unknown { why: String, away: bool },
}

impl Neighbours {
    /// Asks what is not known yet: everybody when sources or configuration moved, else those whose record grew and those of whom
    /// nothing was known.
    pub async fn catch_up(&mut self, runtime: &Runtime, of: &StackId) -> Answer<()> {
        let now = {
            let state = runtime.state();
            Asked { estate: state.estate.clone(), revisions: state.revisions.clone(), orphans: state.orphans.clone() }
        };
        let size = runtime.doors.store.head().await?.size;
        if self.asked.as_ref().is_none_or(|asked| !asked.same(&now)) {
            self.asked = None;
            self.all.clear();
            let shares = |other: &&StackId| other.target == of.target;
            for id in now.estate.stacks.keys().filter(shares) {
                self.ask(runtime, id, false).await?;
            }
            for id in now.orphans.iter().filter(shares) {
                self.ask(runtime, id, true).await?;
            }
            self.asked = Some(now);
        } else {
            let news = match size > self.through {
                true => runtime.doors.store.find(Query { after: self.through.checked_sub(1), ascending: true, ..Query::default() }).await?,
                false => Vec::new(),
            };
            let grown: BTreeSet<StackId> = news.into_iter().filter_map(|indexed| indexed.entry.stack).collect();
            for id in &grown {
                if let Some(neighbour) = self.all.get_mut(id) {
                    neighbour.inventory = neighbour.cell.inventory(runtime).await?;
                }
            }
            let unknown: Vec<StackId> =
                self.all.iter().filter(|(_, one)| matches!(one.wish, Wish::Unknown { .. })).map(|(id, _)| id.clone()).collect();
            for id in unknown.iter().filter(|id| *id != of) {
                self.ask(runtime, id, false).await?;
            }
        }
        self.through = size;
        Ok(())
    }

    async fn ask(&mut self, runtime: &Runtime, id: &StackId, orphan: bool) -> Answer<()> {
        let cell = runtime.cell(id);
        let inventory = cell.inventory(runtime).await?;
        let wish = match runtime.stack(id).filter(|_| !orphan) {
            None => Wish::Gone,
            // Boxed: a render of another stack may be asked from within the walk of this one.
            Some(stack) => match Box::pin(runtime.wanted(&cell, &stack)).await {
                Ok(_) => Wish::Known,
                Err(NoWish::Panicked) => Wish::Unknown { why: "does not render: it broke off inside trued".to_owned(), away: false },
                Err(NoWish::Refused(refusal)) => Wish::Unknown { why: refusal.to_string(), away: true },
                Err(NoWish::Findings(findings)) => {
                    let why = findings.first().map_or_else(|| "does not render".to_owned(), |finding| finding.message.clone());
                    Wish::Unknown { why: format!("does not render: {why}"), away: false }
                }
            },
        };
        self.all.insert(id.clone(), Neighbour { cell, inventory, wish });
        Ok(())
    }

    pub fn others<'a>(&'a self, id: &'a StackId) -> impl Iterator<Item = (&'a StackId, &'a Neighbour)> {
        self.all.iter().filter(move |(other, _)| *other != id)
    }
}

impl Asked {
    fn same(&self, now: &Asked) -> bool {
        Arc::ptr_eq(&self.estate, &now.estate) && self.revisions == now.revisions && self.orphans == now.orphans
    }
}
