//! Making a batch of changes: kind after kind in order, within a kind many at once; each only if the object still is as the
//! change expects, which the server itself holds us to.

use futures::{FutureExt as _, StreamExt as _, stream};
use tokio::sync::mpsc::Sender;
use trued_doors::{Answer, Asked, Compared, Done, Order};
use trued_model::{Action, Change, Code, Fingerprint, Reason, Refusal};

use crate::address::{Kind, Spot};
use crate::cluster::{Cluster, Place};
use crate::compare;
use crate::entry::Entry;
use crate::keep::find;
use crate::mark::Mark;
use crate::object;
use crate::ranks::rank;

/// Requests of one batch under way at once.
const AT_ONCE: usize = 8;
/// How often a write is tried again where only what is not ours changed in between.
pub(crate) const TRIES: usize = 6;

pub(crate) type Ended = Result<Option<Fingerprint>, Refusal>;

/// One change under way, and all that it is about.
pub(crate) struct Step<'a> {
    pub cluster: &'a Cluster,
    pub change: &'a Change,
    pub mark: &'a Mark,
    pub spot: Spot,
    pub place: Place,
    /// `update core/ConfigMap/shop/one`, to begin a sentence with.
    pub doing: String,
}

/// Runs an order. Answers come as changes end.
pub(crate) async fn apply(cluster: &Cluster, order: &Order, answers: &Sender<Done>) {
    let mark = Mark::new(&cluster.ledger, &order.stack, order.epoch);
    let seen = cluster.epoch(&mark.stack);
    let turn = |change: &Change| (change.action == Action::Delete, rank(&change.address));
    let mut done = 0;
    for group in order.changes.chunk_by(|one, other| turn(one) == turn(other)) {
        let first = done;
        done += group.len();
        let owned: Vec<Change> = group.to_vec();
        let each = owned.into_iter().enumerate().map(|(at, change)| ended(cluster, first + at, change, &mark, seen, answers).boxed());
        let mut each = stream::iter(each).buffer_unordered(AT_ONCE);
        while let Some((change, result)) = each.next().await {
            // Nobody listens any more, or the one place for each change is taken: neither is ours to mend.
            let _ = answers.try_send(Done { change, result });
        }
    }
}

async fn ended(cluster: &Cluster, at: usize, change: Change, mark: &Mark, seen: u64, answers: &Sender<Done>) -> (usize, Ended) {
    let result = match answers.is_closed() {
        _ if seen > mark.epoch => Err(fenced(&change, mark, seen)),
        true => Err(Refusal::new(Code::Cancelled, "apply: stopped before this change")),
        false => one(cluster, &change, mark).await,
    };
    (at, result)
}

fn fenced(change: &Change, mark: &Mark, seen: u64) -> Refusal {
    let message =
        format!("{} {}: epoch {seen} of {} was seen there, and this is {}", change.action.word(), change.address, mark.stack, mark.epoch);
    Refusal::new(Code::Fenced, message)
}

/// One change, from what is known of its object to what became of it.
async fn one(cluster: &Cluster, change: &Change, mark: &Mark) -> Ended {
    let doing = format!("{} {}", change.action.word(), change.address);
    let (spot, place) = match find(cluster, &change.address).await {
        Ok(found) => found,
        Err(refusal) if refusal.code == Code::Absent && change.after.is_none() => return Ok(None),
        Err(refusal) => return Err(refusal),
    };
    let mut step = Step { cluster, change, mark, spot, place, doing };
    if let Some(entry) = &step.place.entry {
        step.ours_to_touch(entry)?;
    }
    let wanted = match &change.content {
        Some(content) if change.after.is_some() => Some(compare::read(cluster.blobs.as_ref(), content, cluster.seal.as_ref())?),
        _ => None,
    };
    let there = match &step.place.entry {
        Some(entry) => step.looks(entry).await?,
        None => None,
    };
    let marked = step.place.entry.as_ref().and_then(|entry| entry.mark.as_ref()).is_some_and(|there| there.same_stack(mark));
    let anew = change.action == Action::Replace && step.place.entry.as_ref().is_some_and(|entry| change.uid.as_ref() == Some(&entry.uid));
    let moved = || Refusal::new(Code::Changed, format!("{}: it is not there as the change expects it", step.doing));
    match (&change.after, &there) {
        (None, None) => return Ok(None),
        (after, there) if !anew && after == there && (marked || after == &change.before && change.content.is_none()) => {
            return Ok(there.clone());
        }
        (after, there) if after == there || there == &change.before => {}
        _ => return Err(moved()),
    }
    let Some(after) = &change.after else { return step.remove().await };
    let Some(wanted) = wanted else { return Err(Refusal::new(Code::Broken, format!("{}: the change brings no object", step.doing))) };
    let content = change.content.ok_or_else(moved)?;
    if !compare::told(after, &object::identity(&object::body(&wanted)), cluster.seal.as_ref()) {
        return Err(Refusal::new(Code::Invalid, format!("{}: the object {} is not the planned one", step.doing, content.digest)));
    }
    match change.action == Action::Replace && step.place.entry.is_some() {
        true => step.replace(wanted, after).await,
        false => step.write(wanted, after).await,
    }
}

impl Step<'_> {
    /// Refuses what carries another ledger's mark, or tells of a newer epoch of this stack.
    pub fn ours_to_touch(&self, entry: &Entry) -> Result<(), Refusal> {
        let Some(there) = &entry.mark else { return Ok(()) };
        if there.ledger != self.mark.ledger && !self.change.reasons.contains(&Reason::Marked) {
            let message = format!("{}: it belongs to the stack {} of another record ({})", self.doing, there.stack, there.ledger);
            return Err(Refusal::new(Code::Denied, message).help("let one of the two desire it, or say yes to taking it over: trued plan"));
        }
        match there.same_stack(self.mark) && there.epoch > self.mark.epoch {
            true => Err(fenced(self.change, self.mark, there.epoch)),
            false => Ok(()),
        }
    }

    /// Whether what is or was there is a secret: then no sentence of the server's is passed on, since it may quote it.
    pub fn sealed(&self) -> bool {
        let Step { change, spot, .. } = self;
        let was = change.before.as_ref().is_some_and(object::keyed);
        was || change.content.is_some_and(|content| content.sealed) || spot.kind == Kind::new("", "Secret")
    }

    /// What is there now, in the words of the change where it is as one of them.
    async fn looks(&self, entry: &Entry) -> Answer<Option<Fingerprint>> {
        let Step { cluster, change, .. } = self;
        if change.uid.as_ref().is_some_and(|uid| *uid != entry.uid) {
            return Err(Refusal::new(Code::Changed, format!("{}: something else has this name by now", self.doing)));
        }
        let settled = entry.settled.as_ref();
        let known = |fingerprint: &&Fingerprint| {
            settled.is_some_and(|settled| settled.is_as.get(*fingerprint) == Some(&true) || settled.given.as_ref() == Some(*fingerprint))
        };
        if let Some(known) = change.after.iter().chain(&change.before).find(known) {
            return Ok(Some(known.clone()));
        }
        let sealed = self.sealed();
        let compared = change.after.iter().zip(change.content).map(|(fingerprint, content)| Compared {
            fingerprint: fingerprint.clone(),
            content,
            from: cluster.blobs.clone(),
        });
        let asked = Asked { compared: compared.collect(), ..Asked::new(change.address.clone(), sealed) };
        Ok(compare::state(cluster, &self.spot, &self.place, entry, &asked).await?.map(|state| state.fingerprint))
    }
}
