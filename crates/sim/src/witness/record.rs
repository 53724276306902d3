//! Entries as they are appended: what each must not say, given what stands before it and what is there.

use std::collections::{BTreeMap, BTreeSet};

use futures::FutureExt;
use trued_doors::{Query, Store};
use trued_model::body::{Answered, Drift, Intent, Outcome, Verdict};
use trued_model::{Address, Fingerprint, Indexed, Kind, OnDelete, StackId};

use super::{Witness, wishes};
use crate::books;
use crate::promise::Promise;
use crate::target::inside;
use crate::universe::Universe;

impl Witness {
    /// Reads the record on and checks each new entry.
    pub fn read_on(&mut self, universe: &Universe) {
        let query = Query { after: self.read.checked_sub(1), ascending: true, ..Query::default() };
        let Some(Ok(entries)) = universe.store.find(query).now_or_never() else { return };
        for indexed in entries {
            if indexed.index != self.read {
                self.broken(Promise::Record, format!("entry #{} stands where #{} is due", indexed.index, self.read));
            }
            self.read = indexed.index + 1;
            self.entry(universe, &indexed);
        }
    }

    fn entry(&mut self, universe: &Universe, indexed: &Indexed) {
        let entry = &indexed.entry;
        self.say(universe, format_args!("#{} {} {:?} {}", indexed.index, entry.kind, entry.stack, brief(indexed)));
        for note in &entry.blobs {
            if !universe.blobs.durable(&note.blob.digest) {
                self.broken(Promise::Durable, format!("#{} names {}, which a crash would lose", indexed.index, note.role));
            }
        }
        let Some(id) = entry.stack.clone() else {
            // A person accepted a rewound source: every stack may follow.
            if entry.kind == Kind::Answered {
                self.accounts.values_mut().for_each(|account| account.follows_anything = true);
            }
            return;
        };
        if entry.kind == Kind::Answered
            && entry.body::<Answered>().is_ok_and(|answered| answered.word == "not-done")
            && let Some(open) = entry.link("answers").and_then(|of| self.accounts.get(&id)?.open.get(&of))
            && let Some(command) = open.intent.command.clone()
        {
            self.ran.remove(&(id.clone(), command));
        }
        let mut found = self.before_entry(universe, &id, indexed);
        let account = self.accounts.entry(id.clone()).or_default();
        let owned = account.inventory.clone();
        let claimed = books::take(account, &universe.blobs, indexed);
        for claim in claimed {
            if !self.sent.contains(&(claim.run.clone(), claim.address.clone())) {
                let sentence = format!("#{} says that {} of {id:?} happened, and nobody ordered it", indexed.index, claim.address);
                found.push((Promise::ReceiptAfter, sentence));
            }
        }
        if entry.kind == Kind::Verdict {
            found.extend(self.after_verdict(universe, &id, indexed, &owned));
        }
        for (promise, sentence) in found {
            self.broken(promise, sentence);
        }
    }

    /// What an entry must not say, given what stands before it.
    fn before_entry(&mut self, universe: &Universe, id: &StackId, indexed: &Indexed) -> Vec<(Promise, String)> {
        let mut found = Vec::new();
        let entry = &indexed.entry;
        let at = indexed.index;
        let lenient = self.lenient;
        let account = self.accounts.entry(id.clone()).or_default();
        match entry.kind {
            Kind::Intent => {
                let Ok(intent) = entry.body::<Intent>() else { return vec![(Promise::Record, format!("#{at} is no intent"))] };
                if intent.epoch < account.epoch {
                    found.push((Promise::Epochs, format!("#{at} intends under epoch {} after {}", intent.epoch, account.epoch)));
                }
                let old = |since: trued_model::Timestamp| !lenient || entry.recorded_at.since(since).0 > 200_000;
                if account.suspended.is_some_and(|(_, since)| old(since)) && intent.command.is_none() {
                    found.push((Promise::Suspended, format!("#{at} acts for {id:?}, which is suspended")));
                }
                let rejected = intent.desired.and_then(|desired| account.rejected.get(&desired).copied());
                if rejected.is_some_and(old) {
                    found.push((Promise::Rejected, format!("#{at} works towards what a rollback of {id:?} left")));
                }
                if let (Some(before), Some(now)) = (&account.revision, &entry.revision)
                    && !universe.history.follows(before, now)
                    && !account.word
                    && !std::mem::take(&mut account.follows_anything)
                    && account.rolled.is_none()
                {
                    found.push((Promise::Revisions, format!("#{at} goes from revision {before} to {now}, and nobody said so")));
                }
                account.revision = entry.revision.clone().or(account.revision.take());
                account.word = false;
            }
            Kind::Rollback if entry.actor.kind != "person" => {
                let desired = entry.body::<trued_model::body::Rollback>().map(|rollback| rollback.desired);
                if desired.is_ok_and(|desired| account.rejected.contains_key(&desired)) {
                    found.push((Promise::Rejected, format!("#{at} goes back by itself to what {id:?} had left")));
                }
            }
            Kind::DriftOpened if account.drift.is_some() => {
                found.push((Promise::Record, format!("#{at} opens drift of {id:?} twice")));
            }
            Kind::IncidentOpened => {
                let kind = entry.body::<trued_model::body::Incident>().map(|incident| incident.kind).unwrap_or_default();
                if account.incidents.insert(kind.clone(), at).is_some() {
                    found.push((Promise::Record, format!("#{at} opens the incident {kind} of {id:?} twice")));
                }
            }
            Kind::IncidentClosed => {
                let closes = entry.link("closes");
                account.incidents.retain(|_, open| Some(*open) != closes);
            }
            _ => {}
        }
        if matches!(entry.kind, Kind::DriftOpened | Kind::DriftUpdated)
            && let Ok(drift) = entry.body::<Drift>()
        {
            let target = universe.target(&id.target);
            let ground = target.ground();
            let known = account
                .drift
                .as_ref()
                .map(|open| open.items.iter().map(|(address, _)| address.clone()).collect::<BTreeSet<_>>())
                .unwrap_or_default();
            for item in drift.items.iter().filter(|item| !known.contains(&item.address)) {
                let foreign = match ground.look(&item.address, target.nested) {
                    Some(node) => node.foreign,
                    None => {
                        let above = |address: &Address| *address == item.address;
                        ground.stolen.iter().any(above)
                    }
                };
                let wiped = ground.nodes.iter().any(|(inner, node)| node.foreign && inside(inner, &item.address));
                if !foreign && !wiped {
                    found.push((
                        Promise::DriftIsForeign,
                        format!("#{at} calls {} drift of {id:?}, and no stranger touched it", item.address),
                    ));
                }
            }
        }
        found
    }

    fn after_verdict(
        &mut self,
        universe: &Universe,
        id: &StackId,
        indexed: &Indexed,
        owned: &BTreeMap<Address, Fingerprint>,
    ) -> Vec<(Promise, String)> {
        let mut found = Vec::new();
        let at = indexed.index;
        let Ok(verdict) = indexed.entry.body::<Verdict>() else { return vec![(Promise::Record, format!("#{at} is no verdict"))] };
        let target = universe.target(&id.target);
        if verdict.outcome == Outcome::Landed {
            if verdict.done != verdict.of {
                found.push((Promise::Landed, format!("#{at} landed {} of {}", verdict.done, verdict.of)));
            }
            let desired = indexed.entry.blob("desired").and_then(|blob| books::manifest(&universe.blobs, blob));
            let ground = target.ground();
            for (address, item) in desired.iter().flat_map(|desired| &desired.items) {
                let there = ground.look(address, target.nested);
                let strange = there.as_ref().is_some_and(|node| node.foreign) || ground.stolen.contains(address);
                if !strange && there.map(|node| node.fingerprint).as_ref() != Some(&item.fingerprint) {
                    found.push((Promise::Landed, format!("#{at} says that {id:?} landed, and {address} is not as desired")));
                    break;
                }
            }
        }
        let stack = universe.estate().stacks.get(id).cloned();
        let account = self.accounts.get(id);
        let forgotten = owned.keys().filter(|address| account.is_none_or(|account| !account.inventory.contains_key(*address)));
        let mut let_go = Vec::new();
        for address in forgotten {
            let ground = target.ground();
            let Some(node) = ground.nodes.get(address) else { continue };
            let others = self
                .accounts
                .iter()
                .any(|(other, account)| other != id && other.target == id.target && account.inventory.contains_key(address));
            let wanted = universe.estate().stacks.values().any(|other| {
                other.id.target == id.target
                    && wishes(universe, other, &universe.history.head()).is_none_or(|wishes| wishes.contains_key(address))
            });
            let retained = stack.as_ref().is_none_or(|stack| stack.policy.on_delete.iter().any(|(_, what)| *what == OnDelete::Retain));
            let word = account.and_then(|account| account.orphan_word.as_deref()) == Some("forget");
            let_go.push(address.clone());
            if !node.foreign && !others && !wanted && !retained && !word {
                found.push((Promise::Remembered, format!("#{at} forgets {address} of {id:?}, which is still there")));
            }
        }
        self.let_go.extend(let_go.into_iter().map(|address| (id.target.clone(), address)));
        found
    }
}

/// The part of an entry that people look for first.
fn brief(indexed: &Indexed) -> String {
    let body = &indexed.entry.body;
    let word = |key: &str| body.get(key).map(|value| format!(" {key}={value}")).unwrap_or_default();
    ["command", "epoch", "outcome", "done", "of", "why", "kind", "count", "word", "how", "message", "parts"].map(word).concat()
}
