//! Telling how well objects are, and again whenever that changed. The watch of metadata says that an object changed; its
//! values are read only if somebody asks about it, its kind tells by a status, and a status is there.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::{StreamExt as _, stream};
use tokio::sync::Notify;
use tokio::time::Instant;
use trued_doors::{BoxStream, HealthAsk};
use trued_model::{Address, Condition, Digest, Health};

use crate::address::Spot;
use crate::cluster::{Cluster, Looked, Place};
use crate::compare;
use crate::entry::{Entry, Judged};
use crate::health::{Expressions, at_once, health};
use crate::object::text;
use crate::table::Table;

/// Reads under way at once for one who asks.
const AT_ONCE: usize = 4;
/// How long changes are gathered before objects are read again: at first, while all were ready, and while they change all
/// the time.
const GATHERED: Duration = Duration::from_millis(100);
const GATHERED_WHEN_READY: Duration = Duration::from_secs(1);
const GATHERED_AT_MOST: Duration = Duration::from_secs(5);
/// After how long without a change it is looked whether the line and its tables are still there. Asks nobody.
const LOOKED_AFTER: Duration = Duration::from_secs(30);

/// The rules of one who asks, read.
struct Rules(BTreeMap<String, Result<(Digest, Expressions), String>>);

impl Rules {
    fn read(ask: &HealthAsk) -> Rules {
        let read = |rule: &trued_model::HealthRule| {
            let expressions = Expressions::read(rule).map_err(|(key, why)| format!("the expression `{key}` of {}: {why}", rule.of));
            (format!("{}/", rule.of), expressions.map(|expressions| (Digest::of_canonical(rule), expressions)))
        };
        Rules(ask.rules.iter().map(read).collect())
    }

    fn of(&self, spot: &Spot) -> Option<&Result<(Digest, Expressions), String>> {
        self.0.get(&spot.kind.prefix())
    }
}

/// One who follows objects.
struct Follower {
    cluster: Weak<Cluster>,
    followed: BTreeMap<Address, Followed>,
    rules: Arc<Rules>,
    read: bool,
    told: Option<BTreeMap<Address, Condition>>,
    changed: Arc<Notify>,
    pause: Duration,
    looked: Instant,
}

/// One of the objects that are followed.
struct Followed {
    /// `None`: this is no address of an object.
    spot: Option<Spot>,
    /// Where its changes are heard of.
    tables: Vec<Arc<Table>>,
}

impl Followed {
    fn new(address: &Address) -> Followed {
        Followed { spot: Spot::read(address), tables: Vec::new() }
    }
}

/// Follows objects until the line is gone.
pub(crate) fn follow(cluster: &Arc<Cluster>, ask: &HealthAsk) -> BoxStream<'static, BTreeMap<Address, Condition>> {
    let follower = Follower {
        cluster: Arc::downgrade(cluster),
        followed: ask.addresses.iter().map(|address| (address.clone(), Followed::new(address))).collect(),
        rules: Arc::new(Rules::read(ask)),
        read: ask.read,
        told: None,
        changed: Arc::default(),
        pause: GATHERED,
        looked: Instant::now(),
    };
    stream::unfold(follower, |mut follower| async move {
        loop {
            if follower.told.is_some() {
                follower.wait().await;
            }
            let conditions = follower.look().await?;
            if follower.told.as_ref() != Some(&conditions) {
                follower.told = Some(conditions.clone());
                return Some((conditions, follower));
            }
        }
    })
    .boxed()
}

impl Follower {
    /// Waits for a change, and gathers those that come with it: the longer, the more there are.
    async fn wait(&mut self) {
        if tokio::time::timeout(LOOKED_AFTER, self.changed.notified()).await.is_err() {
            return;
        }
        let calm = self.looked.elapsed() > 2 * self.pause + GATHERED_AT_MOST;
        let ready = self.told.iter().flat_map(BTreeMap::values).all(|condition| condition.health == Health::Ready);
        let first = if ready { GATHERED_WHEN_READY } else { GATHERED };
        self.pause = if calm { first } else { (self.pause * 2).min(GATHERED_AT_MOST) };
        tokio::time::sleep(self.pause).await;
        self.looked = Instant::now();
    }

    /// Looks at all of them; `None` when the line is gone.
    async fn look(&mut self) -> Option<BTreeMap<Address, Condition>> {
        let cluster = self.cluster.upgrade()?;
        let (rules, changed, read) = (self.rules.clone(), self.changed.clone(), self.read);
        let looks: Vec<_> = self.followed.iter().map(|(address, followed)| (address.clone(), followed.spot.clone())).collect();
        let looked = stream::iter(looks).map(|(address, spot)| {
            let (cluster, rules, changed) = (&cluster, &rules, &changed);
            async move {
                let Some(spot) = spot else { return (address, Condition::unknown("this is no address of an object"), None) };
                let (condition, table) = one(cluster, &spot, rules, changed, read).await;
                (address, condition, table)
            }
        });
        let looked: Vec<_> = looked.buffer_unordered(AT_ONCE).collect().await;
        let mut conditions = BTreeMap::new();
        for (address, condition, table) in looked {
            if let (Some(table), Some(followed)) = (table, self.followed.get_mut(&address))
                && !followed.tables.iter().any(|known| Arc::ptr_eq(known, &table))
            {
                followed.tables.push(table);
            }
            conditions.insert(address, condition);
        }
        Some(conditions)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        for Followed { spot, tables } in self.followed.values() {
            spot.iter().for_each(|spot| tables.iter().for_each(|table| table.let_go(spot, &self.changed)));
        }
    }
}

/// Looks at one object, and has its changes told.
async fn one(cluster: &Cluster, spot: &Spot, rules: &Rules, changed: &Arc<Notify>, read: bool) -> (Condition, Option<Arc<Table>>) {
    let place = match cluster.look(spot).await {
        Looked::Found(place) => place,
        Looked::NotServed => return (Condition::progressing("the cluster does not serve its kind yet"), None),
        Looked::Denied(why) => return (Condition::unknown(why), None),
        Looked::Unknown(refusal) => return (Condition::unknown(refusal.message), None),
    };
    place.table.attend(spot, changed);
    // What came since the first look is told by now, or will be.
    let entry = place.table.get(spot);
    let condition = match &entry {
        None => Condition::progressing("it is not there"),
        Some(entry) if entry.leaving.is_some() => Condition::progressing("it is being deleted"),
        Some(entry) => judge(cluster, spot, &place, entry, rules, read).await,
    };
    (condition, Some(place.table.clone()))
}

async fn judge(cluster: &Cluster, spot: &Spot, place: &Place, entry: &Entry, rules: &Rules, read: bool) -> Condition {
    let rule = match rules.of(spot) {
        None if at_once(&spot.kind) => return Condition::ready(),
        None => None,
        Some(Ok(rule)) => Some(rule),
        Some(Err(why)) => return Condition::unknown(why.clone()),
    };
    let digest = rule.map(|(digest, _)| *digest);
    if let Some(judged) = entry.judged.as_ref().filter(|judged| judged.rule == digest) {
        return judged.condition.clone();
    }
    if rule.is_none() && !entry.has_status {
        return health(&spot.kind, &serde_json::Value::Null, None);
    }
    if !read {
        return Condition::progressing("it was not looked at yet");
    }
    let _turn = cluster.reading.acquire().await;
    match compare::get(cluster, spot, place, None).await {
        Ok(Some(live)) => {
            let condition = health(&spot.kind, &live, rule.map(|(_, expressions)| expressions));
            let version = text(&live, &["metadata", "resourceVersion"]).unwrap_or_default();
            place.table.judge(spot, version, Judged { rule: digest, condition: condition.clone() });
            condition
        }
        Ok(None) => Condition::progressing("it is not there"),
        Err(refusal) => Condition::unknown(refusal.message),
    }
}
