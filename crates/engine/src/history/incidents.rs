//! What waits for people: open incidents, open drifts, held parts. Derived from the record; nothing keeps a list.

use std::collections::{BTreeMap, BTreeSet};

use trued_model::body::Incident;
use trued_model::{HoldKind, Indexed, Kind, Name, StackId, StackNames};

use super::evidence::witness_words;
use super::sentence::filled;
use crate::StackMemory;

/// One thing that people must know or answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// The entry that opened it: what `show` and `answer` take, and since when it is so.
    pub index: u64,
    pub stack: Option<StackId>,
    pub source: Option<Name>,
    /// An incident's kind, `drift`, or a hold's kind.
    pub kind: String,
    /// What is wrong; empty for drift, whose `who` and number say more.
    pub why: String,
    /// What a person can do, with its number and its stack filled in.
    pub next: String,
    /// Who is behind it, as far as evidence goes; empty where nothing tells.
    pub who: String,
}

/// Lists what is open, by index. `loose` are the incident entries that belong to no stack, in index order.
///
/// Holds that end when their facts change, and a drift's own hold, are not listed.
pub fn incidents(stacks: &BTreeMap<StackId, StackMemory>, loose: &[Indexed], names: &StackNames) -> Vec<Open> {
    let mut open: Vec<Open> = stacks.iter().flat_map(|(stack, memory)| of_stack(stack, memory)).collect();
    let closed: BTreeSet<u64> =
        loose.iter().filter(|e| e.entry.kind == Kind::IncidentClosed).filter_map(|e| e.entry.link("closes")).collect();
    open.extend(loose.iter().filter(|e| e.entry.kind == Kind::IncidentOpened && !closed.contains(&e.index)).map(of_none));
    for one in &mut open {
        one.next = filled(&one.next, Some(one.index), one.stack.as_ref().map(|stack| names.write(stack)).as_deref());
    }
    open.sort_by(|a, b| (a.index, &a.kind).cmp(&(b.index, &b.kind)));
    open
}

fn of_none(e: &Indexed) -> Open {
    let (kind, source, why, next) = match e.entry.body::<Incident>() {
        Ok(incident) => (incident.kind, incident.source, incident.message, incident.next),
        Err(_) => ("unreadable".to_owned(), None, String::new(), format!("see `trued show #{}`", e.index)),
    };
    Open { index: e.index, stack: None, source, kind, why, next, who: String::new() }
}

fn of_stack(stack: &StackId, memory: &StackMemory) -> Vec<Open> {
    let open = |index: u64, kind: &str, why: &str, next: &str| Open {
        index,
        stack: Some(stack.clone()),
        source: None,
        kind: kind.to_owned(),
        why: why.to_owned(),
        next: next.to_owned(),
        who: String::new(),
    };
    let waits = |kind: HoldKind| kind.approvable() && kind != HoldKind::Drift;
    let incidents = memory
        .incidents
        .values()
        .map(|i| Open { source: i.incident.source.clone(), ..open(i.index, &i.incident.kind, &i.incident.message, &i.incident.next) });
    let drift = memory.drift.iter().map(|drift| Open {
        who: drift.drift.items.iter().find_map(|item| witness_words(&item.evidence)).unwrap_or_default(),
        ..open(drift.index, "drift", "", &drift.drift.next)
    });
    let parts = memory.held.iter().flat_map(|(index, held)| held.parts.iter().map(move |part| (*index, part)));
    let holds = parts.filter(|(_, part)| waits(part.kind)).map(|(index, part)| open(index, part.kind.word(), &part.why, &part.next));
    incidents.chain(drift).chain(holds).collect()
}
