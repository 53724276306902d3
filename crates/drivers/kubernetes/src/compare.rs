//! Whether an object is as something that is desired or was made: first by what we own of it, and where the server keeps
//! that in another form than it was written in, by asking the server what applying it would change.

use std::io::Read as _;

use serde_json::Value;
use trued_doors::{Answer, Asked, Compared, Contents, Seal};
use trued_model::{BlobRef, Code, Digest, Evidence, Fingerprint, Refusal, State, Timestamp};

use crate::address::Spot;
use crate::api::{self, Applying, said};
use crate::cluster::{Cluster, Place};
use crate::entry::{Entry, Judged, Settled};
use crate::fields;
use crate::{ignore, object};

/// Tells what an object looks like to us. Reads its values only if nothing that is known of it still holds.
pub(crate) async fn state(cluster: &Cluster, spot: &Spot, place: &Place, entry: &Entry, asked: &Asked) -> Answer<Option<State>> {
    let mut settled = entry.settled.clone().unwrap_or_default();
    if let Some(state) = decided(cluster, entry, &settled, asked) {
        return Ok(Some(state));
    }
    let wanted: Vec<(&Compared, Value)> = asked
        .compared
        .iter()
        .map(|compared| Ok((compared, read(compared.from.as_ref(), &compared.content, cluster.seal.as_ref())?)))
        .collect::<Answer<_>>()?;
    let version = wanted.first().and_then(|(_, object)| version_of(object));
    let Some(live) = get(cluster, spot, place, version.as_deref()).await? else { return Ok(None) };
    let seen = Entry::read(&live);
    if !seen.continues(entry) {
        settled = Settled::default();
    }
    let identity = identity(&live);
    settled.identity = Some(identity);
    settled.bytes = object::shown(&live).len() as u64;
    settled.evidence = evidence(&live);
    for (compared, desired) in &wanted {
        if settled.is_as.contains_key(&compared.fingerprint) || told(&compared.fingerprint, &identity, cluster.seal.as_ref()) {
            continue;
        }
        let same = match seen.autoscaled && identity == object::identity(&object::body(&without_replicas(desired))) {
            true => true,
            false => applying_changes_nothing(cluster, spot, place, &live, desired, seen.autoscaled).await?,
        };
        settled.is_as.insert(compared.fingerprint.clone(), same);
        if same {
            break;
        }
    }
    let looked = decided(cluster, &seen, &settled, asked).unwrap_or_else(|| given(&seen, &settled, literal(cluster, &identity, asked)));
    settled.given = Some(looked.fingerprint.clone());
    place.table.settle(spot, &seen, &settled);
    let condition = crate::health::health(&spot.kind, &live, None);
    place.table.judge(spot, &seen.version, Judged { rule: None, condition });
    Ok(Some(looked))
}

/// What is known already: the first of what it is compared with that it is as; otherwise itself, once all were tried.
fn decided(cluster: &Cluster, entry: &Entry, settled: &Settled, asked: &Asked) -> Option<State> {
    let identity = settled.identity?;
    for compared in &asked.compared {
        let fingerprint = &compared.fingerprint;
        if told(fingerprint, &identity, cluster.seal.as_ref()) {
            return Some(given(entry, settled, fingerprint.clone()));
        }
        match settled.is_as.get(fingerprint) {
            Some(true) => return Some(given(entry, settled, fingerprint.clone())),
            Some(false) => {}
            // A later one may be told by its identity alone.
            None if asked.compared.iter().any(|later| told(&later.fingerprint, &identity, cluster.seal.as_ref())) => {}
            None => return None,
        }
    }
    Some(given(entry, settled, literal(cluster, &identity, asked)))
}

fn given(entry: &Entry, settled: &Settled, fingerprint: Fingerprint) -> State {
    State { fingerprint, bytes: settled.bytes, uid: Some(entry.uid.clone()), evidence: settled.evidence.clone().into() }
}

fn literal(cluster: &Cluster, identity: &Digest, asked: &Asked) -> Fingerprint {
    object::fingerprint(identity, asked.sealed.then_some(cluster.seal.as_ref()))
}

/// Whether a fingerprint is this identity's, keyed or not.
pub(crate) fn told(fingerprint: &Fingerprint, identity: &Digest, seal: &dyn Seal) -> bool {
    *fingerprint == object::fingerprint(identity, object::keyed(fingerprint).then_some(seal))
}

/// What is ours of an object; all that people desire of it where we own nothing.
fn owned(live: &Value) -> Value {
    object::desired(fields::ours(live).and_then(|owner| fields::project(live, owner.fields)).unwrap_or_else(|| live.clone()))
}

/// The digest of [`owned`].
pub(crate) fn identity(live: &Value) -> Digest {
    object::identity(&owned(live))
}

/// Asks the server what would come of applying this; nothing is written.
async fn applying_changes_nothing(
    cluster: &Cluster,
    spot: &Spot,
    place: &Place,
    live: &Value,
    desired: &Value,
    autoscaled: bool,
) -> Answer<bool> {
    let mut wanted = if autoscaled { without_replicas(desired) } else { desired.clone() };
    ignore::keep_as_there(&mut wanted, live);
    if let Some(mark) = crate::mark::Mark::read(live) {
        mark.write(&mut wanted);
    }
    let path = api::path(spot, &place.serving, version_of(desired).as_deref());
    match cluster.api.apply(&path, &wanted, Applying { force: true, dry: true }).await {
        Ok(applied) => {
            // Where we own nothing yet, all of it is compared: what we would own is a part of what is there.
            let ours = fields::ours(live).is_some();
            Ok(if ours { owned(&applied.object) == owned(live) } else { object::desired(applied.object) == object::desired(live.clone()) })
        }
        // What cannot be applied is not what is there.
        Err(fault) if fault.status().is_some_and(|status| status.is_client_error()) => Ok(false),
        Err(fault) => Err(fault.refusal(&format!("compare {}", spot.address()), true)),
    }
}

/// What an autoscaler decides is left out.
pub(crate) fn without_replicas(desired: &Value) -> Value {
    let mut desired = desired.clone();
    if let Some(spec) = desired.get_mut("spec").and_then(Value::as_object_mut) {
        spec.remove("replicas");
    }
    desired
}

/// Has what is ignored of an object that is there sent as it is there, as far as we own it.
pub(crate) async fn ignored_as_there(cluster: &Cluster, spot: &Spot, place: &Place, wanted: &mut Value) -> Answer<()> {
    let ours = place.entry.as_ref().is_some_and(|entry| entry.owned.is_some());
    if ours
        && !ignore::of(wanted).is_empty()
        && let Some(live) = get(cluster, spot, place, None).await?
    {
        ignore::keep_as_there(wanted, &live);
    }
    Ok(())
}

/// Reads an object under the version that our fields are told in; `None` when it is gone.
pub(crate) async fn get(cluster: &Cluster, spot: &Spot, place: &Place, version: Option<&str>) -> Answer<Option<Value>> {
    let version = version.filter(|version| place.serving.versions.iter().any(|served| served == version));
    let doing = format!("read {}", spot.address());
    let live = match cluster.api.get(&api::path(spot, &place.serving, version)).await {
        Ok(live) => live,
        Err(fault) if fault.status() == Some(http::StatusCode::NOT_FOUND) => return Ok(None),
        Err(fault) => return Err(fault.refusal(&doing, false)),
    };
    let told_in = fields::ours(&live).and_then(|owner| owner.api_version.rsplit('/').next().map(str::to_owned));
    let other = told_in.filter(|told| object::text(&live, &["apiVersion"]).is_none_or(|version| version.rsplit('/').next() != Some(told)));
    match other.filter(|other| place.serving.versions.contains(other)) {
        Some(other) => said(cluster.api.get(&api::path(spot, &place.serving, Some(&other))).await, &doing).map(Some),
        None => Ok(Some(live)),
    }
}

/// Reads a stored object.
pub(crate) fn read(from: &dyn Contents, content: &BlobRef, seal: &dyn Seal) -> Answer<Value> {
    let mut bytes = Vec::with_capacity(usize::try_from(content.bytes).unwrap_or(0));
    let unread = |error: &dyn std::fmt::Display| Refusal::new(Code::Invalid, format!("read the object {}: {error}", content.digest));
    from.open(content)?.read_to_end(&mut bytes).map_err(|error| unread(&error))?;
    if Digest::of(&bytes) != content.digest {
        return Err(unread(&"its bytes are others"));
    }
    let plain = if content.sealed { trued_model::Secret::new(seal.open(&bytes)?) } else { trued_model::Secret::new(bytes) };
    serde_json::from_slice(plain.reveal()).map_err(|_| unread(&"it is no JSON"))
}

/// The version an object is written in: `v1` of `apps/v1`.
pub(crate) fn version_of(object: &Value) -> Option<String> {
    object::text(object, &["apiVersion"])?.rsplit('/').next().map(str::to_owned)
}

/// Who changed an object last beside us, as its managed fields tell. Names a program, never a person.
pub(crate) fn evidence(live: &Value) -> Evidence {
    let Some(other) = fields::last_other(live) else { return Evidence::default() };
    let how = match (other.operation, other.subresource) {
        (operation, "") => operation.to_owned(),
        (operation, subresource) => format!("{operation} of {subresource}"),
    };
    Evidence {
        changed_at: other.time.and_then(|time| time.parse::<Timestamp>().ok()),
        by: Some(other.manager.to_owned()),
        grade: Some("B".to_owned()),
        process: Some(how),
        seen_by: Some("managed fields".to_owned()),
        ..Evidence::default()
    }
}
