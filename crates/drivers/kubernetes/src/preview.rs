//! What the server would say of a change, before it is decided: by dry runs, which write nothing.

use std::collections::BTreeMap;

use futures::{StreamExt as _, stream};
use serde_json::Value;
use trued_doors::{Answer, Candidate};
use trued_model::{Action, Address, Code, Digest, Preview, Reason, Refusal, StackId};

use crate::address::Spot;
use crate::api::{self, Applied, Applying, Denied, Fault};
use crate::cluster::{Cluster, Place};
use crate::compare;
use crate::keep::find;
use crate::mark::Mark;
use crate::object::text;
use crate::ranks;
use crate::write::{conflict, takes_back};

/// Dry runs under way at once.
const AT_ONCE: usize = 8;

/// How the server's sentences begin or end that say that a field stays as it is for as long as the object lives.
const IMMUTABLE: [&str; 5] =
    ["field is immutable", "is immutable after", "may not change once set", "may not be changed", "spec for fields other than"];

/// Asks what would come of changes to objects that are there.
pub(crate) async fn preview(cluster: &Cluster, stack: &StackId, candidates: Vec<Candidate>) -> Answer<BTreeMap<Address, Preview>> {
    let asked = candidates.into_iter().map(|candidate| async move {
        let answer = one(cluster, stack, &candidate).await;
        (candidate.change.address, answer)
    });
    let mut asked = stream::iter(asked).buffer_unordered(AT_ONCE);
    let mut previews = BTreeMap::new();
    while let Some((address, answer)) = asked.next().await {
        if let Some(preview) = answer? {
            previews.insert(address, preview);
        }
    }
    Ok(previews)
}

async fn one(cluster: &Cluster, stack: &StackId, candidate: &Candidate) -> Answer<Option<Preview>> {
    let change = &candidate.change;
    // What cannot be found now is told by the look.
    let Ok((spot, place)) = find(cluster, &change.address).await else { return Ok(None) };
    let Some(entry) = &place.entry else { return Ok(None) };
    if let Some(why) = entry.mark.as_ref().and_then(|mark| of_others(mark, cluster, stack, &change.reasons)) {
        return Ok(Some(Preview::Marked(why)));
    }
    let Some(content) = change.content.filter(|_| change.action != Action::Adopt && change.before != change.after) else { return Ok(None) };
    let mut wanted = compare::read(candidate.from.as_ref(), &content, cluster.seal.as_ref())?;
    if entry.autoscaled {
        wanted = compare::without_replicas(&wanted);
    }
    compare::ignored_as_there(cluster, &spot, &place, &mut wanted).await?;
    entry.mark.clone().unwrap_or_else(|| Mark::new(&cluster.ledger, stack, 0)).write(&mut wanted);
    let path = api::path(&spot, &place.serving, compare::version_of(&wanted).as_deref());
    let doing = spot.address().to_string();
    let denied = match cluster.api.apply(&path, &wanted, Applying { force: takes_back(change), dry: true }).await {
        Ok(_) => return Ok(None),
        Err(Fault::Answered(denied)) => denied,
        Err(Fault::Lost(refusal)) => return Err(refusal),
    };
    if denied.status == http::StatusCode::CONFLICT {
        return Ok(conflict(&denied, &spot).map(Preview::Conflict));
    }
    let Some(fields) = immutable(&denied) else { return Ok(refused(&denied, &doing, content.sealed)) };
    match taken_anew(cluster, &spot, &place, &wanted).await {
        Ok(()) => {
            let why = format!("{fields} cannot be changed in place");
            Ok(Some(Preview::Anew { why, guarded: ranks::stateful(&change.address) }))
        }
        Err(Fault::Answered(denied)) => {
            Ok(refused(&denied, &format!("{doing} cannot be changed in place, nor be made anew"), content.sealed))
        }
        Err(Fault::Lost(refusal)) if refusal.code == Code::Unknown => Ok(None),
        Err(Fault::Lost(refusal)) => Err(refusal),
    }
}

/// Whose an object is that carries the mark of neither this stack nor any that shares its target: those are known by the record.
fn of_others(mark: &Mark, cluster: &Cluster, stack: &StackId, reasons: &[Reason]) -> Option<String> {
    if mark.ledger != cluster.ledger {
        return Some(format!("belongs to the stack {} of another record ({})", mark.stack, mark.ledger));
    }
    let new_here = reasons.iter().any(|reason| matches!(reason, Reason::AlreadyThere | Reason::Foreign));
    let elsewhere = StackId::from_key(&mark.stack).is_none_or(|owner| owner.target != stack.target);
    (new_here && elsewhere).then(|| format!("belongs to the stack {}, whose target leads to the same place", mark.stack))
}

/// Asks whether the server would take an object that is not there yet: under a name that nobody has, because the object's own
/// is taken.
pub(crate) async fn taken_anew(cluster: &Cluster, spot: &Spot, place: &Place, wanted: &Value) -> Result<(), Fault> {
    let stem: String = spot.name.chars().take(30).collect();
    let uid = place.entry.as_ref().map(|entry| entry.uid.as_str()).unwrap_or_default();
    let name = format!("{}-{}", stem.trim_end_matches(['-', '.']), &Digest::of(uid.as_bytes()).hex()[..12]);
    let mut tried = wanted.clone();
    if let Some(metadata) = tried.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("name".to_owned(), name.as_str().into());
        ["uid", "resourceVersion"].iter().for_each(|key| drop(metadata.remove(*key)));
    }
    let path = api::path(&Spot { name, ..spot.clone() }, &place.serving, compare::version_of(wanted).as_deref());
    match cluster.api.apply(&path, &tried, Applying { force: false, dry: true }).await {
        Ok(Applied { created: true, .. }) => Ok(()),
        Ok(_) => Err(Fault::Lost(Refusal::new(Code::Unknown, format!("whether {} could be made anew is not known", spot.address())))),
        Err(fault) => Err(fault),
    }
}

/// The fields that cannot be changed in place, where a no is proven to be about that.
fn immutable(denied: &Denied) -> Option<String> {
    if denied.status != http::StatusCode::UNPROCESSABLE_ENTITY {
        return None;
    }
    let about = |cause: &&Value| {
        let said = text(cause, &["message"]).unwrap_or_default();
        IMMUTABLE.iter().any(|words| said.contains(words))
    };
    let mut fields: Vec<&str> = denied.causes().filter(about).filter_map(|cause| text(cause, &["field"])).collect();
    fields.sort_unstable();
    fields.dedup();
    (!fields.is_empty()).then(|| fields.join(", "))
}

/// A no to what is written; `None` where it is about something else: rights, a webhook that cannot be asked by a dry run.
fn refused(denied: &Denied, doing: &str, sealed: bool) -> Option<Preview> {
    let said = text(&denied.answer, &["message"]).unwrap_or_default();
    let about_it = match denied.status.as_u16() {
        400 | 422 => !said.contains("does not support dry run"),
        403 => said.contains("denied the request"),
        413 => true,
        _ => false,
    };
    let refusal = denied.refusal(doing, sealed);
    about_it.then(|| Preview::Refused {
        why: refusal.message,
        help: "correct the manifest; nothing of the stack is changed meanwhile".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn denied(status: u16, causes: Value) -> Denied {
        let answer = json!({ "message": "no", "details": { "causes": causes } });
        Denied { status: http::StatusCode::from_u16(status).unwrap(), answer, after: None }
    }

    #[test]
    fn only_a_proven_immutable_field_is_one() {
        let selector = json!({ "field": "spec.selector", "message": "Invalid value: {}: field is immutable" });
        let wrong = json!({ "field": "spec.replicas", "message": "Invalid value: -1: must be greater than or equal to 0" });
        assert_eq!(immutable(&denied(422, json!([selector, wrong]))).as_deref(), Some("spec.selector"));
        assert_eq!(immutable(&denied(422, json!([wrong]))), None);
        assert_eq!(immutable(&denied(500, json!([selector]))), None);
    }

    #[test]
    fn a_webhook_that_knows_no_dry_run_says_nothing_about_the_object() {
        let answer = json!({ "message": "admission webhook \"a\" does not support dry run" });
        assert_eq!(refused(&Denied { status: http::StatusCode::BAD_REQUEST, answer, after: None }, "x", false), None);
        assert!(refused(&denied(422, json!([])), "x", false).is_some());
        assert_eq!(refused(&denied(403, json!([])), "x", false), None, "rights are no matter of the object");
    }
}
