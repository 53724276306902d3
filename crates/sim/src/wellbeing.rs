//! How well things on a simulated target are. What is written decides it, so that a release is good or bad by itself: at once,
//! after a while, never, with failures, or on and off. Nobody else tells; nothing here is random once a world has begun.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration as Span;

use futures::StreamExt;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use trued_doors::{BoxStream, Clock, HealthAsk, Hint};
use trued_model::{Address, Condition, Digest};

use crate::clock::SimClock;
use crate::process::Process;
use crate::target::Target;

/// How a thing behaves after it was written, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Temper {
    AtOnce,
    After(u64),
    Never,
    /// Says itself that it failed, after a while.
    Fails(u64),
    /// Ready for a while, not ready for a while, and so on.
    Flaps(u64),
}

/// How often a target that cannot be seen is tried again.
const TRIED_AGAIN: u64 = 5_000;

/// The tempers of one target's things.
pub struct Wellbeing {
    seed: u64,
    healed: AtomicBool,
    /// By address: which thing it was, and since when on the clock that never jumps.
    since: Mutex<BTreeMap<Address, (u64, u64)>>,
}

impl Wellbeing {
    pub fn new(seed: u64) -> Arc<Wellbeing> {
        Arc::new(Wellbeing { seed, healed: AtomicBool::new(false), since: Mutex::default() })
    }

    /// From now on everything is ready at once.
    pub fn heal(&self) {
        self.healed.store(true, Ordering::Relaxed);
    }

    pub fn healed(&self) -> bool {
        self.healed.load(Ordering::Relaxed)
    }

    /// How a thing with this content behaves at an address. Most are well, and about every second stack's release of seven is.
    pub fn temper(&self, address: &Address, content: &[u8]) -> Temper {
        let drawn = Digest::of(&[&self.seed.to_le_bytes(), address.as_str().as_bytes(), b"\0", content].concat()).0;
        let seconds = 1 + u64::from(drawn[1] % 12);
        match drawn[0] % 40 {
            0 => Temper::Never,
            1 => Temper::Fails(seconds),
            2 => Temper::Flaps(seconds),
            3 => Temper::After(seconds * 10),
            4..12 => Temper::After(seconds),
            _ => Temper::AtOnce,
        }
    }

    /// A content that behaves like this at an address.
    pub fn content(&self, address: &str, fits: impl Fn(Temper) -> bool) -> String {
        let (address, mut tried) = (Address::new(address), (0..).map(|number| format!("text {number}")));
        tried.find(|text| fits(self.temper(&address, text.as_bytes()))).unwrap_or_default()
    }

    /// How well a thing is so many milliseconds after it was written, and after how many more that changes.
    fn condition(&self, temper: Temper, age: u64) -> (Condition, Option<u64>) {
        let until = |seconds: u64| (seconds * 1_000).checked_sub(age).filter(|left| *left > 0);
        match temper {
            _ if self.healed() => (Condition::ready(), None),
            Temper::AtOnce => (Condition::ready(), None),
            Temper::After(seconds) => match until(seconds) {
                None => (Condition::ready(), None),
                left => (Condition::progressing("it starts"), left),
            },
            Temper::Never => (Condition::progressing("it never comes up"), None),
            Temper::Fails(seconds) => match until(seconds) {
                None => (Condition::degraded("it failed"), None),
                left => (Condition::progressing("it tries"), left),
            },
            Temper::Flaps(seconds) => {
                let span = seconds * 1_000;
                let left = Some(span - age % span);
                if (age / span).is_multiple_of(2) { (Condition::ready(), left) } else { (Condition::progressing("it is down again"), left) }
            }
        }
    }

    /// Whether a thing is ready for a moment at least, as long as nothing is healed.
    pub fn ever_ready(&self, address: &Address, content: &[u8]) -> bool {
        !matches!(self.temper(address, content), Temper::Never | Temper::Fails(_))
    }

    fn look(&self, target: &Target, addresses: &BTreeSet<Address>, now: u64) -> (BTreeMap<Address, Condition>, Option<u64>) {
        let ground = target.ground();
        let faults = &ground.faults;
        if faults.away || faults.unseen || faults.hangs {
            let unseen = Condition::unknown("the target cannot be seen");
            return (addresses.iter().map(|address| (address.clone(), unseen.clone())).collect(), Some(TRIED_AGAIN));
        }
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = None;
        let mut conditions = BTreeMap::new();
        for address in addresses {
            let condition = match ground.look(address, target.nested) {
                None => Condition::progressing("it is not there"),
                Some(node) => match &node.content {
                    None => Condition::ready(),
                    Some(content) => {
                        let known = since.entry(address.clone()).or_insert((node.uid, now));
                        if known.0 != node.uid {
                            *known = (node.uid, now);
                        }
                        let (condition, left) = self.condition(self.temper(address, content), now - known.1);
                        next = [next, left].into_iter().flatten().min();
                        condition
                    }
                },
            };
            conditions.insert(address.clone(), condition);
        }
        (conditions, next)
    }
}

struct Follower {
    wellbeing: Arc<Wellbeing>,
    clock: Arc<SimClock>,
    process: Arc<Process>,
    target: Arc<Target>,
    addresses: BTreeSet<Address>,
    told: Option<BTreeMap<Address, Condition>>,
    hear: UnboundedReceiver<Hint>,
}

/// Tells at once, and again whenever something changed.
pub fn follow(
    wellbeing: &Arc<Wellbeing>,
    clock: &Arc<SimClock>,
    process: &Arc<Process>,
    target: &Arc<Target>,
    ask: HealthAsk,
) -> BoxStream<'static, BTreeMap<Address, Condition>> {
    let (hints, hear) = unbounded_channel();
    let (wellbeing, clock, process, target) = (wellbeing.clone(), clock.clone(), process.clone(), target.clone());
    target.ground().watchers.push(hints);
    let follower = Follower { wellbeing, clock, process, target, addresses: ask.addresses, told: None, hear };
    futures::stream::unfold(follower, |mut follower| async move {
        loop {
            follower.process.still().await;
            let (conditions, next) = follower.wellbeing.look(&follower.target, &follower.addresses, follower.clock.monotonic());
            if follower.told.as_ref() != Some(&conditions) {
                follower.told = Some(conditions.clone());
                return Some((conditions, follower));
            }
            let changes = async {
                match next {
                    Some(millis) => tokio::time::sleep(Span::from_millis(millis)).await,
                    None => futures::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                heard = follower.hear.recv() => {
                    heard?;
                    while follower.hear.try_recv().is_ok() {}
                }
                () = changes => {}
            }
        }
    })
    .boxed()
}
