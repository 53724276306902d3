//! Waiting until what was written is ready: somebody follows the stack's health on its target, and a walk comes after once
//! that says something new. Nobody who walks, renders or holds a stack waits here.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;

use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt, stream};
use trued_doors::{BoxFuture, BoxStream, HealthAsk};
use trued_engine::planted::{self, Bug};
use trued_engine::{StackMemory, Wellness, wellness};
use trued_model::{Address, Condition, Digest, Duration, Health, HealthPolicy, Progress, StackId, Timestamp};

use crate::cell::{Cell, Judged};
use crate::report::StackReport;
use crate::runtime::{Runtime, Waiting};
use crate::walk::health::HEALTH;

/// After how long somebody is told that something is waited for.
const TOLD_AFTER: Duration = Duration::from_secs(1);
/// How long a pass gathers those that became ready, before it walks them together.
const GATHERED: Duration = Duration(100);
/// How long a line that broke is left alone before it is tried again.
const TRIED_AGAIN: Duration = Duration::from_secs(5);
/// Where nothing runs out.
const ENDLESS: Duration = Duration::from_secs(86_400);

/// Those whose stacks a pass waits for.
#[derive(Default)]
pub(crate) struct Attending<'a> {
    stacks: BTreeSet<StackId>,
    waits: FuturesUnordered<BoxFuture<'a, StackId>>,
    decided: BTreeSet<StackId>,
}

impl Attending<'_> {
    /// Gathers those whose waiting ends, until nobody waits.
    async fn gather(&mut self) {
        while let Some(id) = self.waits.next().await {
            self.decided.insert(id);
        }
    }

    /// Gathers for as long as it is polled.
    pub(crate) async fn keep_gathering(&mut self) -> Infallible {
        self.gather().await;
        std::future::pending().await
    }
}

/// What the record says of a stack's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnRecord {
    /// Something that runs once is under way.
    Errand,
    Awaited,
    Failed,
    Ready,
}

/// What there is to follow of a stack.
struct Attended {
    ask: HealthAsk,
    policy: HealthPolicy,
    desired: Digest,
    on_record: OnRecord,
    /// Since when it is waited for, where it is.
    since: Option<Timestamp>,
}

impl Runtime {
    /// Ends when the health of what landed last is no longer as the record has it, and not before a rest is over. For `serve`.
    pub(crate) async fn attend(self: Arc<Self>, id: StackId, rest: Duration) {
        tokio::time::sleep(rest.to_std()).await;
        self.until_decided(&id).await;
    }

    /// The stacks of a pass whose waiting has ended, as soon as there is one; none when nobody waits.
    pub(crate) async fn until_ready<'a>(
        &'a self,
        attended: &mut Attending<'a>,
        reports: &BTreeMap<StackId, StackReport>,
    ) -> BTreeSet<StackId> {
        for report in reports.values().filter(|report| report.waiting.is_some() && !report.failed()) {
            let id = report.stack.clone();
            if !attended.stacks.insert(id.clone()) {
                continue;
            }
            let longest = self.stack(&id).filter(|_| !planted::has(Bug::NoDeadline)).map_or(ENDLESS, |stack| stack.health.within);
            let one = async move {
                // Whatever becomes of the line to the target.
                let _ = tokio::time::timeout(longest.to_std() + TRIED_AGAIN.to_std(), self.until_decided(&id)).await;
                id
            };
            attended.waits.push(one.boxed());
        }
        if attended.decided.is_empty() {
            let Some(first) = attended.waits.next().await else { return BTreeSet::new() };
            attended.decided.insert(first);
        }
        // Those that are decided with it go along.
        let _ = tokio::time::timeout(GATHERED.to_std(), attended.gather()).await;
        let decided = std::mem::take(&mut attended.decided);
        attended.stacks.retain(|id| !decided.contains(id));
        decided
    }

    /// Ends when the health of what landed last is no longer as the record has it: it became ready, or failed, or its time is
    /// over. What was seen is kept for the walk that follows.
    async fn until_decided(&self, id: &StackId) {
        let cell = self.cell(id);
        let Some(attended) = self.attended(&cell).await else { return futures::future::pending().await };
        let within = attended.policy.within;
        let untold = || Condition::unknown("the target does not tell");
        let mut conditions: BTreeMap<Address, Condition> = attended.ask.addresses.iter().map(|at| (at.clone(), untold())).collect();
        let mut since = attended.since;
        let mut telling = self.telling_of(id, &attended).await;
        let began = self.doors.clock.now();
        let mut told = String::new();
        let mut first: Option<BTreeMap<Address, Condition>> = None;
        loop {
            let now = self.doors.clock.now();
            if attended.on_record == OnRecord::Ready {
                // What was ready and cannot be seen now is not known to be otherwise.
                conditions.retain(|_, condition| condition.health != Health::Unknown);
                let unready = conditions.values().any(|condition| condition.health != Health::Ready);
                since = unready.then(|| since.unwrap_or(now));
            }
            let judged = wellness(&conditions, since.unwrap_or(now), within, now);
            let news = match attended.on_record {
                // Whatever becomes of it otherwise, only a walk can tell.
                OnRecord::Errand => !matches!(judged, Wellness::Waits(_)) || first.as_ref().is_some_and(|first| *first != conditions),
                OnRecord::Awaited => !matches!(judged, Wellness::Waits(_)),
                OnRecord::Failed => judged == Wellness::Ready,
                OnRecord::Ready => matches!(judged, Wellness::Failed(_)),
            };
            if news && attended.on_record == OnRecord::Errand {
                return;
            }
            if news {
                cell.kept().judged = Some(Judged { desired: attended.desired, wellness: judged });
                return;
            }
            let mut rest = match since {
                Some(since) if attended.on_record != OnRecord::Failed && !planted::has(Bug::NoDeadline) => (since + within).since(now),
                _ => ENDLESS,
            };
            if let (Some(tell), Wellness::Waits(why)) = (&self.told, judged) {
                match now.since(began) < TOLD_AFTER {
                    true => rest = rest.min(TOLD_AFTER),
                    false if told == why => {}
                    false => {
                        let since = now.since(attended.since.unwrap_or(began));
                        tell(&Waiting { stack: &self.names().write(id), why: &why, since, within });
                        told = why;
                    }
                }
            }
            tokio::select! {
                biased;
                news = telling.next() => match news {
                    Some(news) => {
                        first.get_or_insert_with(|| news.clone());
                        conditions = news;
                    }
                    // The line broke.
                    None => {
                        tokio::time::sleep(TRIED_AGAIN.min(rest).to_std()).await;
                        telling = self.telling_of(id, &attended).await;
                    }
                },
                () = tokio::time::sleep(rest.to_std()) => {}
            }
        }
    }

    async fn telling_of(&self, id: &StackId, attended: &Attended) -> BoxStream<'static, BTreeMap<Address, Condition>> {
        match self.link(&id.target).await {
            Ok(link) => link.health(attended.ask.clone()),
            Err(_) => stream::empty().boxed(),
        }
    }

    /// What there is to follow; `None` where nothing of it is in place, or the target does not tell.
    async fn attended(&self, cell: &Cell) -> Option<Attended> {
        let policy = self.stack(&cell.id)?.health;
        let link = self.link(&cell.id.target).await.ok()?;
        if !link.facts().await.ok()?.health {
            return None;
        }
        let memory = cell.memory(self).await.ok()?;
        if let Some(attended) = self.attended_errand(cell, &memory, &policy) {
            return Some(attended);
        }
        let on_record = on_record(&memory)?;
        let landed = memory.landed.as_ref()?;
        let items = self.manifest(&landed.manifest).ok()?.items;
        let addresses = items.into_iter().filter(|(_, item)| !item.errand).map(|(address, _)| address).collect();
        Some(Attended {
            ask: HealthAsk { addresses, rules: policy.rules.clone(), read: true },
            policy,
            desired: landed.desired,
            on_record,
            since: memory.unready.filter(|_| on_record == OnRecord::Awaited),
        })
    }

    /// What is under way and runs once, for what is desired now.
    fn attended_errand(&self, cell: &Cell, memory: &StackMemory, policy: &HealthPolicy) -> Option<Attended> {
        let wanted = cell.kept().wanted.clone()?;
        let running: Vec<_> = memory.errands.values().filter(|ran| ran.progress == Progress::Begun && ran.of == wanted.digest).collect();
        let since = running.iter().map(|ran| ran.since).min()?;
        let ends = running.iter().filter_map(|ran| wanted.desired.errands.get(&ran.address)).flat_map(|errand| &errand.ends);
        let addresses = running.iter().map(|ran| ran.address.clone()).collect();
        Some(Attended {
            ask: HealthAsk { addresses, rules: ends.cloned().collect(), read: true },
            policy: policy.clone(),
            desired: wanted.digest,
            on_record: OnRecord::Errand,
            since: Some(since),
        })
    }
}

/// What the record says of the health of what landed last; `None` where that is not what the last run was about.
fn on_record(memory: &StackMemory) -> Option<OnRecord> {
    let landed = memory.landed.as_ref()?;
    if memory.incidents.contains_key(HEALTH) {
        return Some(OnRecord::Failed);
    }
    if landed.verified {
        return Some(OnRecord::Ready);
    }
    let (_, last) = memory.last_verdict.as_ref().filter(|(_, last)| last.desired == Some(landed.desired))?;
    let failed = last.checks.iter().any(|check| check.check == HEALTH && !check.passed);
    match (last.awaits.is_empty(), failed) {
        (false, _) => Some(OnRecord::Awaited),
        (true, true) => Some(OnRecord::Failed),
        (true, false) => None,
    }
}
