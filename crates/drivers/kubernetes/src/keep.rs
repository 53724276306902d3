//! Putting what is at an address on record: as far as it is about what is desired, or as a whole where nothing of it is ours.

use serde_json::{Map, Value};
use trued_doors::{Answer, Asked, Kept};
use trued_model::{Address, BlobRef, Code, Evidence, Refusal};

use crate::address::{Kind, Spot};
use crate::cluster::{Cluster, Looked, Place};
use crate::compare::{self, get};
use crate::entry::Entry;
use crate::object;

/// Copies what is there into the blob store. A Secret is always sealed.
pub(crate) async fn keep(cluster: &Cluster, asked: &Asked) -> Answer<Kept> {
    let (spot, place) = find(cluster, &asked.address).await?;
    let gone = || Refusal::new(Code::Absent, format!("keep {}: it is not there", asked.address));
    let entry = place.entry.as_ref().ok_or_else(gone)?;
    let state = compare::state(cluster, &spot, &place, entry, asked).await?.ok_or_else(gone)?;
    let mut live = get(cluster, &spot, &place, None).await?.ok_or_else(gone)?;
    let seen = Entry::read(&live);
    let ours = seen.owned.is_some();
    // The same object as was looked at: then it still is what it was said to be.
    let settled = entry.settled.as_ref().filter(|_| seen.continues(entry)).and_then(|settled| settled.given.clone());
    object::strip(&mut live);
    if ours {
        let mut shape: Option<Value> = None;
        for compared in &asked.compared {
            let desired = compare::read(compared.from.as_ref(), &compared.content, cluster.seal.as_ref())?;
            shape = Some(shape.map_or_else(|| desired.clone(), |shape| union(&shape, &desired)));
        }
        live = shape.map_or(live.clone(), |shape| masked(&live, &shape));
    }
    let bytes = object::shown(&live);
    let sealed = asked.sealed || spot.kind == Kind::new("", "Secret");
    let content = match sealed {
        true => {
            cluster.seal.ready()?;
            BlobRef { sealed: true, ..cluster.blobs.put(&cluster.seal.seal(&bytes))? }
        }
        false => cluster.blobs.put(&bytes)?,
    };
    let fingerprint = settled.filter(|_| asked.compared.is_empty()).unwrap_or(state.fingerprint);
    Ok(Kept { fingerprint, content: Some(content) })
}

/// Tells who changed an object last, as its managed fields have it.
pub(crate) async fn witness(cluster: &Cluster, address: &Address) -> Option<Evidence> {
    let (spot, place) = find(cluster, address).await.ok()?;
    // What is gone tells nothing.
    place.entry.as_ref()?;
    let live = get(cluster, &spot, &place, None).await.ok()??;
    Some(compare::evidence(&live)).filter(|evidence| evidence.by.is_some())
}

pub(crate) async fn find(cluster: &Cluster, address: &Address) -> Answer<(Spot, Place)> {
    let spot = Spot::read(address).ok_or_else(|| Refusal::new(Code::Invalid, format!("{address} is no address of an object")))?;
    match cluster.look(&spot).await {
        Looked::Found(place) => Ok((spot, *place)),
        Looked::NotServed => Err(Refusal::new(Code::Absent, format!("find {address}: the cluster serves no {}", spot.kind))),
        Looked::Denied(why) => Err(Refusal::new(Code::Denied, why)),
        Looked::Unknown(refusal) => Err(refusal),
    }
}

/// What of a value a shape is about: its keys, and of lists the items that it names; other lists as they are.
fn masked(live: &Value, shape: &Value) -> Value {
    match (live, shape) {
        (Value::Object(entries), Value::Object(wanted)) => {
            let child = |(key, inner): (&String, &Value)| Some((key.clone(), masked(entries.get(key)?, inner)));
            Value::Object(wanted.iter().filter_map(child).collect::<Map<_, _>>())
        }
        (Value::Array(items), Value::Array(wanted)) => match wanted.iter().all(|item| item.get("name").is_some()) && !wanted.is_empty() {
            true => {
                let known =
                    |item: &Value| wanted.iter().find(|wanted| wanted.get("name") == item.get("name")).map(|shape| masked(item, shape));
                Value::Array(items.iter().filter_map(known).collect())
            }
            false => live.clone(),
        },
        _ => live.clone(),
    }
}

fn union(one: &Value, other: &Value) -> Value {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            let mut all = one.clone();
            for (key, value) in other {
                let both = all.get(key).map_or_else(|| value.clone(), |known| union(known, value));
                all.insert(key.clone(), both);
            }
            Value::Object(all)
        }
        _ => one.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_kept_is_about_what_is_desired() {
        let desired = json!({ "data": { "a": "1" }, "spec": { "containers": [{ "name": "web", "image": "web:1" }], "args": ["x"] } });
        let live = json!({
            "data": { "a": "2", "theirs": "x" }, "extra": 1,
            "spec": { "containers": [{ "name": "mesh", "image": "m" }, { "name": "web", "image": "web:2", "pull": "Always" }], "args": ["y", "z"] },
        });
        let expected = json!({ "data": { "a": "2" }, "spec": { "containers": [{ "name": "web", "image": "web:2" }], "args": ["y", "z"] } });
        assert_eq!(masked(&live, &desired), expected);
    }
}
