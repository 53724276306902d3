//! Looking at objects: each asked address has an answer, and no answer is an absence that nobody saw.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt as _, stream};
use trued_doors::{Answer, Asked};
use trued_model::{Address, Code, Extent, Observation, Refusal, Seen};

use crate::address::{Kind, Spot};
use crate::cluster::{Cluster, Looked};
use crate::compare;

/// Reads under way at once.
const AT_ONCE: usize = 16;

/// Looks at these addresses.
pub(crate) async fn these(cluster: &Cluster, asked: Vec<Asked>) -> Answer<Observation> {
    let at = cluster.clock.now();
    if asked.is_empty() {
        let extent = cluster.reach().await.map_or_else(|refusal| Extent::Unknown(refusal.message), |()| Extent::Complete);
        return Ok(Observation { at, extent, seen: BTreeMap::new() });
    }
    // Each kind is listed once, all of them at the same time, before the first answer is given.
    let one_of_each: BTreeMap<(Kind, Option<String>), Spot> = asked
        .iter()
        .filter_map(|asked| Spot::read(&asked.address))
        .map(|spot| ((spot.kind.clone(), spot.namespace.clone()), spot))
        .collect();
    futures::future::join_all(one_of_each.values().map(|spot| cluster.look(spot))).await;
    let looks = stream::iter(asked).map(|asked| async move {
        let seen = one(cluster, &asked).await;
        (asked.address, seen)
    });
    let answers: Vec<(Address, Result<Seen, Refusal>)> = looks.buffer_unordered(AT_ONCE).collect().await;
    let mut seen = BTreeMap::new();
    let mut lost: BTreeSet<String> = BTreeSet::new();
    let mut unreachable = 0;
    for (address, answer) in answers {
        let answer = answer.unwrap_or_else(|refusal| {
            unreachable += usize::from(matches!(refusal.code, Code::Unreachable | Code::TimedOut));
            Seen::Unknown(refusal.message)
        });
        if let Seen::Unknown(why) | Seen::Denied(why) = &answer {
            lost.insert(why.clone());
        }
        seen.insert(address, answer);
    }
    let extent = match lost.first() {
        None => Extent::Complete,
        Some(why) if unreachable == seen.len() => Extent::Unknown(why.clone()),
        Some(why) if lost.len() > 1 => Extent::Partial(format!("{why} (and {} more)", lost.len() - 1)),
        Some(why) => Extent::Partial(why.clone()),
    };
    Ok(Observation { at, extent, seen })
}

/// Looks at one address.
async fn one(cluster: &Cluster, asked: &Asked) -> Result<Seen, Refusal> {
    let Some(spot) = Spot::read(&asked.address) else {
        return Ok(Seen::Unknown(format!("{} is no address of an object", asked.address)));
    };
    let place = match cluster.look(&spot).await {
        Looked::Found(place) => place,
        Looked::NotServed => return Ok(Seen::Absent),
        Looked::Denied(why) => return Ok(Seen::Denied(why)),
        Looked::Unknown(refusal) => return Err(refusal),
    };
    let Some(entry) = &place.entry else { return Ok(Seen::Absent) };
    match compare::state(cluster, &spot, &place, entry, asked).await {
        Ok(Some(state)) => Ok(Seen::Present(state)),
        Ok(None) => Ok(Seen::Absent),
        Err(refusal) if refusal.code == Code::Denied => Ok(Seen::Denied(refusal.message)),
        Err(refusal) => Err(refusal),
    }
}
