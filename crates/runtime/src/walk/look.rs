//! Looking at the target: whole or where something may have happened, and what came of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt;
use trued_doors::{Ask, Asked, Compared, Order};
use trued_engine::Event;
use trued_engine::planted::{self, Bug};
use trued_model::{Address, Change, Code, Duration, Extent, Item, Manifest, Observation, Refusal, Resource, Seen, beside};

use super::Walk;
use crate::Counters;
use crate::render::FromBlobs;

/// How long a look may take.
pub(super) const LOOK_DEADLINE: Duration = Duration::from_secs(60);

impl Walk<'_> {
    /// Looks at all that is desired or ours.
    pub(super) async fn observe(&mut self) -> Result<Event, Refusal> {
        let sealed = |item: &Item| item.content.is_some_and(|content| content.sealed);
        let keyed = |resource: &Resource| resource.content.is_some_and(|content| content.sealed);
        let ask = |(address, desired, made): (&Address, Option<&Resource>, Option<&Item>)| {
            let compared = desired.map(|resource| &resource.fingerprint).into_iter().chain(made.map(|item| &item.fingerprint));
            let asked = Asked::new(address.clone(), desired.is_some_and(keyed) || made.is_some_and(sealed)).like(compared);
            if self.facts.compares { Asked { compared: self.compared(address), ..asked } } else { asked }
        };
        let asked = beside(self.desired.each(), &self.inventory.items).map(ask).collect();
        let stale = self.cell.kept().stale_view();
        self.observed = match stale {
            Some(stale) => stale,
            None => self.glance(asked).await?,
        };
        self.cell.kept().remember_view(&self.observed);
        if let Extent::Unknown(why) = &self.observed.extent
            && !planted::has(Bug::UnseenIsAbsent)
        {
            let help = "bring the target back; nothing is changed or deleted meanwhile";
            self.report.refusal = Some(Refusal::new(Code::Unknown, why.clone()).help(help));
        }
        if self.unfinished && self.aim.writes && self.observed.extent == Extent::Complete {
            self.clear_up().await;
        }
        Ok(Event::Done)
    }

    /// What is at an address may be as this, with its bytes: as it is desired, as we made it.
    pub(super) fn compared(&self, address: &Address) -> Vec<Compared> {
        let desired = self.wanted.as_ref().and_then(|wanted| {
            let resource = self.desired.all_at(address)?;
            Some(Compared { fingerprint: resource.fingerprint.clone(), content: resource.content?, from: wanted.contents.clone() })
        });
        let made = self.inventory.items.get(address).and_then(|item| {
            let from = Arc::new(FromBlobs(self.runtime.doors.blobs.clone()));
            Some(Compared { fingerprint: item.fingerprint.clone(), content: item.content?, from })
        });
        let mut all: Vec<Compared> = desired.into_iter().chain(made).collect();
        all.dedup_by(|one, other| one.fingerprint == other.fingerprint);
        all
    }

    /// Asks what is at a change's address, to be compared with what it makes and what it expects.
    pub(super) fn asked(&self, change: &Change, sealed: bool) -> Asked {
        let asked = Asked::new(change.address.clone(), sealed).like(change.after.iter().chain(&change.before));
        let (Some(fingerprint), Some(content), true) = (&change.after, change.content, self.facts.compares) else { return asked };
        let from = Arc::new(FromBlobs(self.runtime.doors.blobs.clone()));
        let compared = vec![Compared { fingerprint: fingerprint.clone(), content, from }];
        Asked { compared, ..asked }
    }

    /// Has the target clear away what a run left that did not come to its end. After the look, so that the target knows
    /// what is a resource. What fails here is tried again: the next order clears up too.
    async fn clear_up(&mut self) {
        let cleared = async {
            let link = self.runtime.link(&self.stack.id.target).await?;
            let epoch = self.runtime.lease(self.cell, link.as_ref()).await?;
            let key = format!("{}/clear", self.run);
            let order = Order { stack: self.stack.id.clone(), epoch, key, changes: Vec::new(), deadline: LOOK_DEADLINE };
            tokio::time::timeout(LOOK_DEADLINE.to_std(), link.apply(order).count())
                .await
                .map(|_| ())
                .map_err(|_| Refusal::new(Code::TimedOut, format!("target {} did not clear up in {LOOK_DEADLINE}", self.stack.id.target)))
        };
        if let Err(refusal) = cleared.await {
            tracing::debug!(stack = %self.report.name, "what an earlier run left stays for now: {refusal}");
        }
    }

    /// Looks at all when that is due, or in doubt; otherwise where something may have happened.
    async fn glance(&self, asked: Vec<Asked>) -> Result<Observation, Refusal> {
        let now = self.runtime.doors.clock.monotonic();
        let fresh = |at: u64| now < at + self.stack.interval.as_millis();
        let last = self.cell.kept().whole_look.filter(|at| fresh(*at) && !self.aim.look && !self.unfinished);
        let link = self.runtime.link(&self.stack.id.target).await?;
        if last.is_none() {
            let count = asked.len();
            let observation = self.see(asked).await?;
            Counters::add(&self.runtime.counters.looked_at, count as u64);
            self.cell.kept().whole_look = Some(now);
            return Ok(observation);
        }
        Counters::add(&self.runtime.counters.target_reads, 1);
        let glance = self.in_time(link.glance(asked)).await?;
        Counters::add(&self.runtime.counters.looked_at, glance.looked as u64);
        if glance.whole {
            self.cell.kept().whole_look = Some(now);
        }
        Ok(glance.observation)
    }

    pub(super) async fn in_time<T>(&self, looking: impl Future<Output = Result<T, Refusal>>) -> Result<T, Refusal> {
        let late = || Refusal::new(Code::TimedOut, format!("target {} did not answer in {LOOK_DEADLINE}", self.stack.id.target));
        tokio::time::timeout(LOOK_DEADLINE.to_std(), looking).await.unwrap_or_else(|_| Err(late()))
    }

    pub(super) async fn see(&self, asked: Vec<Asked>) -> Result<Observation, Refusal> {
        let link = self.runtime.link(&self.stack.id.target).await?;
        Counters::add(&self.runtime.counters.target_reads, 1);
        self.in_time(link.observe(Ask::These(asked))).await
    }

    /// What is on the target of all that is desired or ours, as far as it was seen: what `at` answers from.
    pub(super) fn seen_manifest(&self) -> Manifest {
        let mut items = BTreeMap::new();
        let known = beside(self.desired.each(), &self.inventory.items).map(|(address, desired, made)| (address, (desired, made)));
        for (address, seen, known) in beside(&self.observed.seen, known) {
            let Some(Seen::Present(state)) = seen else { continue };
            let (desired, made) = known.unwrap_or_default();
            let known = [desired.map(|r| (&r.fingerprint, r.content)), made.map(|i| (&i.fingerprint, i.content))];
            // What was given up is not ours to tell of: another stack's, or nobody's.
            if known.iter().all(Option::is_none) {
                continue;
            }
            let content =
                known.into_iter().flatten().find(|(fingerprint, _)| **fingerprint == state.fingerprint).and_then(|(_, content)| content);
            let kept = self.kept.get(address).filter(|kept| kept.fingerprint == state.fingerprint).and_then(|kept| kept.content);
            items.insert(address.clone(), Item { fingerprint: state.fingerprint.clone(), content: content.or(kept), errand: false });
        }
        Manifest { items }
    }
}
