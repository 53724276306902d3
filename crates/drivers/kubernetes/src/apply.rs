//! Making a batch of changes: kind after kind in order, within a kind many at once; each only if the object still is as the
//! change expects, which the server itself holds us to.

use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _, stream};
use serde_json::Value;
use tokio::sync::mpsc::Sender;
use trued_doors::{Answer, Asked, Compared, Done, Order};
use trued_model::{Action, Change, Code, Fingerprint, Reason, Refusal};

use crate::address::{Kind, Spot};
use crate::api::{self, Applied, Applying, Denied, Fault};
use crate::cluster::{Cluster, Place};
use crate::compare;
use crate::keep::find;
use crate::mark::Mark;
use crate::object::{self, text};
use crate::ranks::rank;
use crate::served::is_definition;
use crate::table::{Entry, Settled};

/// Requests of one batch under way at once.
const AT_ONCE: usize = 8;
/// How often a write is tried again where only what is not ours changed in between.
const TRIES: usize = 6;
/// How long a new kind may take until it is served, and how often that is asked.
const SERVED_WITHIN: Duration = Duration::from_secs(60);
const ASKED_EVERY: Duration = Duration::from_millis(100);

type Ended = Result<Option<Fingerprint>, Refusal>;

/// Runs an order. Answers come as changes end.
pub(crate) async fn apply(cluster: &Cluster, order: &Order, answers: &Sender<Done>) {
    let mark = Mark::new(&cluster.ledger, &order.stack, order.epoch);
    let seen = cluster.epoch(&mark.stack);
    let turn = |change: &Change| (change.action == Action::Delete, rank(change.address.as_str()));
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
    if let Some(entry) = &place.entry {
        ours_to_touch(entry, mark, change, &doing)?;
    }
    let wanted = match &change.content {
        Some(content) if change.after.is_some() => Some(compare::read(cluster.blobs.as_ref(), content, cluster.seal.as_ref())?),
        _ => None,
    };
    let there = match &place.entry {
        Some(entry) => looks(cluster, &spot, &place, entry, change).await?,
        None => None,
    };
    let marked = place.entry.as_ref().and_then(|entry| entry.mark.as_ref()).is_some_and(|there| there.same_stack(mark));
    let moved = || Refusal::new(Code::Changed, format!("{doing}: it is not there as the change expects it"));
    match (&change.after, &there) {
        (None, None) => return Ok(None),
        (after, there) if after == there && (marked || after == &change.before && change.content.is_none()) => return Ok(there.clone()),
        (after, there) if after == there || there == &change.before => {}
        _ => return Err(moved()),
    }
    let Some(after) = &change.after else { return delete(cluster, &spot, &place, change, mark, &doing).await };
    let Some(wanted) = wanted else { return Err(Refusal::new(Code::Broken, format!("{doing}: the change brings no object"))) };
    let content = change.content.ok_or_else(moved)?;
    if !is_what_was_planned(cluster, &wanted, after) {
        return Err(Refusal::new(Code::Invalid, format!("{doing}: the object {} is not the planned one", content.digest)));
    }
    write(cluster, &spot, place, change, mark, wanted, after, &doing).await
}

/// Whether bytes are of the object whose fingerprint was planned.
fn is_what_was_planned(cluster: &Cluster, wanted: &Value, after: &Fingerprint) -> bool {
    let identity = object::identity(&object::body(wanted));
    let seal = after.as_str().contains(":keyed:").then_some(cluster.seal.as_ref());
    object::fingerprint(&identity, seal) == *after
}

/// Refuses what carries another ledger's mark, or tells of a newer epoch of this stack.
fn ours_to_touch(entry: &Entry, mark: &Mark, change: &Change, doing: &str) -> Result<(), Refusal> {
    let Some(there) = &entry.mark else { return Ok(()) };
    if there.ledger != mark.ledger {
        let message = format!("{doing}: it belongs to the stack {} of another record ({})", there.stack, there.ledger);
        return Err(Refusal::new(Code::Denied, message).help("let one of the two desire it; taking over is not available yet"));
    }
    match there.same_stack(mark) && there.epoch > mark.epoch {
        true => Err(fenced(change, mark, there.epoch)),
        false => Ok(()),
    }
}

/// What is there now, in the words of the change where it is as one of them.
async fn looks(cluster: &Cluster, spot: &Spot, place: &Place, entry: &Entry, change: &Change) -> Answer<Option<Fingerprint>> {
    if change.uid.as_ref().is_some_and(|uid| *uid != entry.uid) {
        let message = format!("{} {}: something else has this name by now", change.action.word(), change.address);
        return Err(Refusal::new(Code::Changed, message));
    }
    let settled = entry.settled.as_ref();
    let known = |fingerprint: &&Fingerprint| {
        settled.is_some_and(|settled| settled.is_as.get(*fingerprint) == Some(&true) || settled.given.as_ref() == Some(*fingerprint))
    };
    if let Some(known) = change.after.iter().chain(&change.before).find(known) {
        return Ok(Some(known.clone()));
    }
    let keyed = |fingerprint: &Fingerprint| fingerprint.as_str().contains(":keyed:");
    let sealed = change.content.is_some_and(|content| content.sealed) || change.before.as_ref().is_some_and(keyed);
    let compared = change.after.iter().zip(change.content).map(|(fingerprint, content)| Compared {
        fingerprint: fingerprint.clone(),
        content,
        from: cluster.blobs.clone(),
    });
    let asked = Asked { compared: compared.collect(), ..Asked::new(change.address.clone(), sealed) };
    Ok(compare::state(cluster, spot, place, entry, &asked).await?.map(|state| state.fingerprint))
}

#[expect(clippy::too_many_arguments, reason = "one step of one change, with all that it is about")]
async fn write(
    cluster: &Cluster,
    spot: &Spot,
    mut place: Place,
    change: &Change,
    mark: &Mark,
    mut wanted: Value,
    after: &Fingerprint,
    doing: &str,
) -> Ended {
    let version = compare::version_of(&wanted);
    let path = api::path(spot, &place.serving, version.as_deref());
    if place.entry.as_ref().is_some_and(|entry| entry.autoscaled) {
        wanted = compare::without_replicas(&wanted);
    }
    mark.write(&mut wanted);
    let sealed = change.content.is_some_and(|content| content.sealed);
    let how = Applying { force: takes_back(change), dry: false };
    for _ in 0..TRIES {
        if let Some(entry) = &place.entry {
            wanted["metadata"]["uid"] = entry.uid.as_str().into();
            wanted["metadata"]["resourceVersion"] = entry.version.as_str().into();
        }
        match cluster.api.apply(&path, &wanted, how).await {
            Ok(Applied { created, .. }) if !created && place.entry.is_none() => {
                let message = format!("{doing}: somebody made one just before; both now own fields of it");
                return Err(Refusal::new(Code::Changed, message).help("the next wake looks and decides anew"));
            }
            Ok(Applied { object, .. }) => {
                landed(&place, spot, &object, after);
                if is_definition(&spot.kind) {
                    until_served(cluster, spot, &wanted, doing).await?;
                }
                return Ok(Some(after.clone()));
            }
            Err(Fault::Answered(denied)) if denied.status == http::StatusCode::CONFLICT => match conflict(&denied, spot) {
                Some(owners) => {
                    let message = format!("{doing}: {owners}");
                    return Err(Refusal::new(Code::Changed, message)
                        .help("leave these fields out of the manifest, or let the other one give them up"));
                }
                // Something changed in between: only if what is ours did, it is no longer as expected.
                None => place = again(cluster, spot, place, doing).await?,
            },
            Err(fault) => return Err(explained(fault.refusal(doing, sealed), &fault, spot)),
        }
    }
    Err(Refusal::new(Code::Unreachable, format!("{doing}: it changes faster than it can be written")))
}

/// Whether a change takes fields back, or over: drift that is put back, a take-over somebody said yes to, a move.
fn takes_back(change: &Change) -> bool {
    let said = |reason: &Reason| {
        matches!(reason, Reason::ChangedOutside | Reason::RemovedOutside | Reason::Foreign | Reason::Answered { .. } | Reason::RolledBack)
    };
    matches!(change.action, Action::Adopt | Action::Move) || change.reasons.iter().any(said)
}

/// Takes the answer as what is there now.
fn landed(place: &Place, spot: &Spot, live: &Value, after: &Fingerprint) {
    let mut entry = Entry::read(live);
    entry.settled = Some(Settled {
        identity: Some(compare::identity(live)),
        is_as: [(after.clone(), true)].into(),
        given: Some(after.clone()),
        bytes: object::shown(live).len() as u64,
        evidence: compare::evidence(live),
    });
    place.table.take(spot, entry);
}

/// Looks again after the server said that the object is at another version by now.
async fn again(cluster: &Cluster, spot: &Spot, place: Place, doing: &str) -> Answer<Place> {
    let live = compare::get(cluster, spot, &place, None).await?;
    let changed = || Refusal::new(Code::Changed, format!("{doing}: it was changed from outside just now"));
    let (Some(live), Some(before)) = (live, &place.entry) else { return Err(changed()) };
    let entry = Entry::read(&live);
    // Of what nothing is ours, everything counts.
    let same = entry.continues(before)
        || (entry.owned.is_none() && before.owned.is_none() && before.uid == entry.uid && {
            let identity = before.settled.as_ref().and_then(|settled| settled.identity);
            identity.is_some() && identity == Some(compare::identity(&live))
        });
    if !same {
        return Err(changed());
    }
    Ok(Place { entry: Some(Entry { settled: before.settled.clone(), ..entry }), ..place })
}

/// The fields that belong to others, if that is what a conflict is about.
fn conflict(denied: &Denied, spot: &Spot) -> Option<String> {
    let of = |cause: &Value| text(cause, &["reason"]) == Some("FieldManagerConflict");
    let mut owners: Vec<String> = denied
        .causes()
        .filter(|cause| of(cause))
        .map(|cause| {
            let field = text(cause, &["field"]).unwrap_or_default();
            let said = text(cause, &["message"]).unwrap_or_default();
            // `conflict with "kubectl-set" using apps/v1`
            let owner = said.split('"').nth(1).unwrap_or("another manager");
            format!("{field} belongs to {owner}")
        })
        .collect();
    owners.sort();
    owners.dedup();
    let more = owners.len().saturating_sub(5);
    owners.truncate(5);
    let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
    (!owners.is_empty()).then(|| format!("{} of this {} already{more}", owners.join(", "), spot.kind.kind))
}

/// Adds what to do where a server's no has a common reason.
fn explained(refusal: Refusal, fault: &Fault, spot: &Spot) -> Refusal {
    match fault.status().map(|status| status.as_u16()) {
        Some(404) => match &spot.namespace {
            Some(namespace) => refusal.help(format!("make the Namespace {namespace} first: add it to a stack")),
            None => refusal,
        },
        Some(422) if refusal.message.contains("immutable") || refusal.message.contains("may not change") => {
            refusal.help("it cannot be changed in place, and replacing is not available yet: give it another name, or delete it")
        }
        _ => refusal,
    }
}

async fn delete(cluster: &Cluster, spot: &Spot, place: &Place, change: &Change, mark: &Mark, doing: &str) -> Ended {
    for _ in 0..TRIES {
        // What is deleted is looked at once more, whatever is known of it.
        let Some(live) = compare::get(cluster, spot, place, None).await? else {
            place.entry.iter().for_each(|entry| place.table.remove(spot, &entry.uid));
            return Ok(None);
        };
        let entry = Entry::read(&live);
        let known = place.entry.as_ref();
        let same = known.is_some_and(|known| {
            entry.continues(known)
                || known.settled.as_ref().and_then(|s| s.identity) == Some(compare::identity(&live)) && known.uid == entry.uid
        });
        if !same {
            return Err(Refusal::new(Code::Changed, format!("{doing}: it was changed from outside just now")));
        }
        ours_to_touch(&entry, mark, change, doing)?;
        if entry.mark.is_none() {
            let message = format!("{doing}: it carries no mark of ours any more");
            return Err(Refusal::new(Code::Denied, message).help("delete it by hand if it is to go, or let the stack desire it again"));
        }
        if let Some(waits) = &entry.leaving {
            return Err(leaving(doing, waits));
        }
        let path = api::path(spot, &place.serving, None);
        match cluster.api.delete(&path, &entry.uid, &entry.version).await {
            Ok(answer) if text(&answer, &["metadata", "uid"]) == Some(entry.uid.as_str()) => {
                let left = Entry::read(&answer);
                let waits = left.leaving.clone().unwrap_or_default();
                place.table.take(spot, left);
                // Gone at once unless something is waited for; then only looking tells.
                match compare::get(cluster, spot, place, None).await? {
                    Some(live) if text(&live, &["metadata", "uid"]) == Some(entry.uid.as_str()) => return Err(leaving(doing, &waits)),
                    _ => place.table.remove(spot, &entry.uid),
                }
                return Ok(None);
            }
            Ok(_) => {
                place.table.remove(spot, &entry.uid);
                return Ok(None);
            }
            Err(fault) if fault.status() == Some(http::StatusCode::NOT_FOUND) => {
                place.table.remove(spot, &entry.uid);
                return Ok(None);
            }
            Err(fault) if fault.status() == Some(http::StatusCode::CONFLICT) => {}
            Err(fault) => return Err(fault.refusal(doing, false)),
        }
    }
    Err(Refusal::new(Code::Unreachable, format!("{doing}: it changes faster than it can be deleted")))
}

fn leaving(doing: &str, waits: &[String]) -> Refusal {
    let what = if waits.is_empty() { "it ends by itself".to_owned() } else { format!("it waits for {}", waits.join(", ")) };
    Refusal::new(Code::Unknown, format!("{doing}: it is being deleted; {what}")).help("it stays in the inventory until it is gone")
}

/// Waits until a new kind is served: what is of that kind comes next.
async fn until_served(cluster: &Cluster, spot: &Spot, definition: &Value, doing: &str) -> Answer<()> {
    let of = |path: &[&str]| text(definition, path).unwrap_or_default();
    let kind = Kind::new(of(&["spec", "group"]), of(&["spec", "names", "kind"]));
    let served = async {
        loop {
            if cluster.served(Duration::ZERO).await?.get(&kind).is_some() {
                return Ok(());
            }
            tokio::time::sleep(ASKED_EVERY).await;
        }
    };
    tokio::time::timeout(SERVED_WITHIN, served).await.map_err(|_| {
        let message = format!("{doing}: {} stands, and its kind is not served after {} s", spot.name, SERVED_WITHIN.as_secs());
        Refusal::new(Code::TimedOut, message).help("look at the conditions of the CustomResourceDefinition")
    })?
}
