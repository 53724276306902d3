//! What happens on targets beside us, put on record: gathered for a moment, added up by thing, and never more than a few
//! entries a minute, however it storms. What was not heard is said.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use trued_doors::{Answer, BoxStream, Happening, Told};
use trued_model::body::{Happened, Happenings};
use trued_model::{Actor, Address, Code, Kind, Name, Refusal, StackId};

use crate::record::{Drafting, draft};
use crate::runtime::Runtime;

/// How long is gathered before an entry is written; twice as long after each entry that could not hold all of it.
const GATHERED: Duration = Duration::from_secs(5);
const GATHERED_AT_MOST: Duration = Duration::from_secs(60);
/// Things an entry tells of one by one. With the span above: at most 12 entries a minute and target, 384 things.
const TOLD: usize = 32;
/// Different things that are told apart while gathering; more are only counted.
const APART: usize = 2_000;
/// The longest text of the target's that is kept.
const LONGEST: usize = 200;

/// Hears a target for as long as it tells.
pub(crate) async fn hear(runtime: Arc<Runtime>, target: Name) {
    let Ok(link) = runtime.link(&target).await else { return };
    let after = runtime.doors.store.note(&note(&target)).await.ok().flatten().and_then(|bytes| String::from_utf8(bytes).ok());
    let Some(mut told) = link.happenings(after) else {
        // Nothing to hear here. The task stays, so that it is not started again.
        return futures::future::pending().await;
    };
    let mut span = GATHERED;
    while let Some(first) = told.next().await {
        let mut gathered = Gathered::default();
        gathered.take(first);
        let ended = gather(&mut told, &mut gathered, span).await;
        span = if gathered.things.len() > TOLD { (span * 2).min(GATHERED_AT_MOST) } else { GATHERED };
        if let Err(refusal) = runtime.write_down(&target, gathered).await {
            tracing::warn!(%target, "failed to record what happened: {refusal}");
        }
        if ended {
            return;
        }
    }
}

/// Takes in what comes within a span; says whether it was the last.
async fn gather(told: &mut BoxStream<'static, Told>, gathered: &mut Gathered, span: Duration) -> bool {
    let mut over = std::pin::pin!(tokio::time::sleep(span));
    loop {
        tokio::select! {
            biased;
            () = &mut over => return false,
            one = told.next() => match one {
                Some(one) => gathered.take(one),
                None => return true,
            },
        }
    }
}

fn note(target: &Name) -> String {
    format!("happenings/{target}")
}

#[derive(Default)]
struct Gathered {
    /// By thing, what happened, and who.
    things: BTreeMap<(Address, String, Option<String>), Thing>,
    /// Happenings that found no place any more.
    more: u64,
    missed: BTreeSet<String>,
    mark: Option<String>,
}

struct Thing {
    happened: Happened,
    only_managed: bool,
}

impl Gathered {
    fn take(&mut self, told: Told) {
        let Happening { at, address, what, said, count, evidence, only_managed, mark } = match told {
            Told::Happened(happening) => *happening,
            Told::Missed(why) => {
                self.missed.insert(why);
                return;
            }
        };
        self.mark = mark.or(self.mark.take());
        let full = self.things.len() >= APART;
        let key = (address.clone(), what.clone(), evidence.by.clone());
        match self.things.get_mut(&key) {
            Some(Thing { happened, .. }) => {
                happened.count = happened.count.saturating_add(count);
                happened.first = happened.first.min(at);
                if at >= happened.last {
                    (happened.last, happened.said) = (at, short(&said));
                }
            }
            None if full => self.more = self.more.saturating_add(count),
            None => {
                let happened = Happened { address, what, said: short(&said), count, first: at, last: at, evidence, stack: None };
                self.things.insert(key, Thing { happened, only_managed });
            }
        }
    }
}

fn short(said: &str) -> String {
    let line = said.lines().next().unwrap_or_default();
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

impl Runtime {
    /// Whether whoever has this token may report about a target.
    pub async fn admits(&self, target: &str, token: &str) -> bool {
        let Ok(name) = target.parse::<Name>() else { return false };
        self.link(&name).await.is_ok_and(|link| link.admits(token))
    }

    /// Takes in what a target's own server reports.
    pub async fn hear(&self, target: &str, said: &[u8]) -> Answer<u64> {
        let name = target.parse::<Name>().map_err(|_| Refusal::new(Code::Absent, "take in a report: there is no such target"))?;
        self.link(&name).await?.hear(said).await
    }

    async fn write_down(&self, target: &Name, gathered: Gathered) -> Answer<()> {
        let owners = self.owners(target).await?;
        let Gathered { things, more, missed, mark } = gathered;
        let mut all: Vec<Happened> = Vec::new();
        for Thing { mut happened, only_managed } in things.into_values() {
            happened.stack = owners.get(&happened.address).map(StackId::key);
            if happened.stack.is_some() || !only_managed {
                all.push(happened);
            }
        }
        // What is ours comes first where not all of it fits; then in the order of time.
        all.sort_by_key(|one| (one.stack.is_none(), one.first));
        let count = all.iter().map(|one| one.count).sum::<u64>().saturating_add(more);
        let things = all.len() as u64;
        all.truncate(TOLD);
        all.sort_by_key(|one| one.first);
        if !all.is_empty() || !missed.is_empty() || more > 0 {
            let now = self.doors.clock.now();
            let at = all.first().map_or(now, |one| one.first.min(now));
            let body = Happenings { target: target.clone(), count, things, happened: all, missed: missed.into_iter().collect() };
            let entry = draft(Kind::Observed, None, at, "observation", &body).by(outside(&body.happened));
            // Nobody need be woken for what only tells.
            let placed = self.append(vec![entry], None).await?;
            self.own.note(&placed);
        }
        match mark {
            Some(mark) => self.doors.store.set_note(&note(target), mark.as_bytes()).await,
            None => Ok(()),
        }
    }
}

/// Who did all of it: only where that is one, and known as a fact.
fn outside(happened: &[Happened]) -> Actor {
    let named: BTreeSet<(Option<&str>, Option<&str>)> =
        happened.iter().map(|one| (one.evidence.by.as_deref(), one.evidence.grade.as_deref())).collect();
    let only = named.first().copied().filter(|_| named.len() == 1);
    let (id, evidence) = only.and_then(|(by, grade)| Some((by?, grade?))).unwrap_or(("unknown", "none"));
    Actor { kind: "outside".to_owned(), id: id.to_owned(), evidence: evidence.to_owned() }
}

#[cfg(test)]
mod tests {
    use trued_model::{Evidence, Timestamp};

    use super::*;

    fn happening(address: &str, at: i64) -> Told {
        let evidence = Evidence { by: Some("kubelet".to_owned()), grade: Some("C".to_owned()), ..Evidence::default() };
        let (what, said) = ("evicted".to_owned(), format!("for want of memory, {at}\nand more"));
        Told::Happened(Box::new(Happening {
            at: Timestamp(at),
            address: Address::new(address),
            what,
            said,
            count: 1,
            evidence,
            only_managed: false,
            mark: None,
        }))
    }

    #[test]
    fn fault_63_a_storm_about_one_thing_is_one_line_with_its_number_and_span() {
        let mut gathered = Gathered::default();
        (0..10_000).for_each(|n| gathered.take(happening("core/Pod/shop/web", 1_000 + n)));
        gathered.take(Told::Missed("4 events were too many".to_owned()));
        let only = &gathered.things.values().next().expect("one").happened;
        assert_eq!((gathered.things.len(), only.count, only.first, only.last), (1, 10_000, Timestamp(1_000), Timestamp(10_999)));
        assert_eq!(only.said, "for want of memory, 10999");
        assert_eq!(gathered.missed.len(), 1);
    }

    #[test]
    fn what_finds_no_place_is_counted() {
        let mut gathered = Gathered::default();
        (0..APART + 7).for_each(|n| gathered.take(happening(&format!("core/Pod/shop/web-{n}"), 1)));
        assert_eq!((gathered.things.len(), gathered.more), (APART, 7));
    }
}
