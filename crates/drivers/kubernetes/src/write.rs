//! Writing one object: applied server-side, tried again where only what is not ours changed in between.

use std::time::Duration;

use serde_json::Value;
use trued_doors::Answer;
use trued_model::{Action, Change, Code, Fingerprint, Reason, Refusal};

use crate::address::{Kind, Spot};
use crate::api::{self, Applied, Applying, Denied, Fault};
use crate::apply::{Ended, Step, TRIES};
use crate::cluster::Place;
use crate::entry::{Entry, Judged, Settled};
use crate::object::{self, text};
use crate::preview::taken_anew;
use crate::served::is_definition;
use crate::{compare, health};

/// How long a new kind may take until it is served, and how often that is asked.
const SERVED_WITHIN: Duration = Duration::from_secs(60);
const ASKED_EVERY: Duration = Duration::from_millis(100);

impl Step<'_> {
    /// Applies what is wanted, and says what is there then.
    pub async fn write(&mut self, mut wanted: Value, after: &Fingerprint) -> Ended {
        let (cluster, doing) = (self.cluster, self.doing.clone());
        let version = compare::version_of(&wanted);
        let path = api::path(&self.spot, &self.place.serving, version.as_deref());
        if self.place.entry.as_ref().is_some_and(|entry| entry.autoscaled) {
            wanted = compare::without_replicas(&wanted);
        }
        compare::ignored_as_there(cluster, &self.spot, &self.place, &mut wanted).await?;
        self.mark.write(&mut wanted);
        let sealed = self.sealed();
        let how = Applying { force: takes_back(self.change), dry: false };
        for _ in 0..TRIES {
            if let Some(entry) = &self.place.entry {
                wanted["metadata"]["uid"] = entry.uid.as_str().into();
                wanted["metadata"]["resourceVersion"] = entry.version.as_str().into();
            }
            let succeeded = if how.force { self.succeed(&path, &mut wanted).await } else { Ok(()) };
            let applied = match succeeded {
                Ok(()) => cluster.api.apply(&path, &wanted, how).await,
                Err(fault) => Err(fault),
            };
            match applied {
                Ok(Applied { created, .. }) if !created && self.place.entry.is_none() => {
                    let message = format!("{doing}: somebody made one just before; both now own fields of it");
                    return Err(Refusal::new(Code::Changed, message).help("the next wake looks and decides anew"));
                }
                Ok(Applied { object, .. }) => {
                    landed(&self.place, &self.spot, &object, after);
                    if is_definition(&self.spot.kind) {
                        self.until_served(&wanted).await?;
                    }
                    return Ok(Some(after.clone()));
                }
                Err(Fault::Answered(denied)) if denied.status == http::StatusCode::CONFLICT => match conflict(&denied, &self.spot) {
                    Some(owners) => {
                        let message = format!("{doing}: {owners}");
                        return Err(Refusal::new(Code::Changed, message)
                            .help("leave these fields out of the manifest, or let the other one give them up"));
                    }
                    // Something changed in between: only if what is ours did, it is no longer as expected.
                    None => self.again().await?,
                },
                Err(fault) => {
                    if matches!(fault, Fault::Lost(_)) {
                        self.learn().await;
                    }
                    return Err(explained(fault.refusal(&doing, sealed), &fault, &self.spot));
                }
            }
        }
        Err(Refusal::new(Code::Unreachable, format!("{doing}: it changes faster than it can be written")))
    }

    /// Removes the object and makes it anew, if the server would take the new one. What waits for finalizers is not gone: then
    /// nothing is made.
    pub async fn replace(&mut self, wanted: Value, after: &Fingerprint) -> Ended {
        let sealed = self.sealed();
        let mut marked = wanted.clone();
        self.mark.write(&mut marked);
        let taken = taken_anew(self.cluster, &self.spot, &self.place, &marked).await;
        taken.map_err(|fault| fault.refusal(&format!("{}: it stays, because the new one would not be taken", self.doing), sealed))?;
        self.remove().await?;
        self.place.entry = None;
        // It is gone by now: how far this came is told by looking.
        self.write(wanted, after).await.map_err(|refusal| Refusal { code: Code::Unknown, ..refusal })
    }

    /// Takes in what became of a request whose answer was lost, as far as the server tells now: whoever looks next finds that,
    /// whatever the watch has brought so far.
    pub async fn learn(&self) {
        match compare::get(self.cluster, &self.spot, &self.place, None).await {
            Ok(Some(live)) => self.place.table.take(&self.spot, Entry::read(&live)),
            Ok(None) => self.place.entry.iter().for_each(|entry| self.place.table.remove(&self.spot, &entry.uid)),
            Err(refusal) => tracing::debug!("{refusal}"),
        }
    }

    /// Looks again after the server said that the object is at another version by now.
    async fn again(&mut self) -> Answer<()> {
        let live = compare::get(self.cluster, &self.spot, &self.place, None).await?;
        let changed = || Refusal::new(Code::Changed, format!("{}: it was changed from outside just now", self.doing));
        let (Some(live), Some(before)) = (live, &self.place.entry) else { return Err(changed()) };
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
        self.place.entry = Some(Entry { settled: before.settled.clone(), ..entry });
        Ok(())
    }

    /// Waits until a new kind is served: what is of that kind comes next.
    async fn until_served(&self, definition: &Value) -> Answer<()> {
        let of = |path: &[&str]| text(definition, path).unwrap_or_default();
        let kind = Kind::new(of(&["spec", "group"]), of(&["spec", "names", "kind"]));
        let served = async {
            loop {
                if self.cluster.served(Duration::ZERO).await?.get(&kind).is_some() {
                    return Ok(());
                }
                tokio::time::sleep(ASKED_EVERY).await;
            }
        };
        tokio::time::timeout(SERVED_WITHIN, served).await.map_err(|_| {
            let message =
                format!("{}: {} stands, and its kind is not served after {} s", self.doing, self.spot.name, SERVED_WITHIN.as_secs());
            Refusal::new(Code::TimedOut, message).help("look at the conditions of the CustomResourceDefinition")
        })?
    }
}

/// Whether a change takes fields back, or over: drift that is put back, a take-over somebody said yes to, a move.
pub(crate) fn takes_back(change: &Change) -> bool {
    let said = |reason: &Reason| {
        use Reason::{Answered, ChangedOutside, Conflict, Foreign, Marked, RemovedOutside, RolledBack};
        matches!(reason, ChangedOutside | RemovedOutside | Foreign | Answered { .. } | RolledBack | Conflict | Marked)
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
    entry.judged = Some(Judged { rule: None, condition: health::health(&spot.kind, live, None) });
    place.table.take(spot, entry);
}

/// The fields that belong to others, if that is what a conflict is about.
pub(crate) fn conflict(denied: &Denied, spot: &Spot) -> Option<String> {
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
            refusal.help("it cannot be changed in place: the next plan asks whether to make it anew")
        }
        _ => refusal,
    }
}
