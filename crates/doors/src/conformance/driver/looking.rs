//! Promises about describing, parsing and looking: nothing of it changes the target.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt as _;
use trued_model::{Address, Code, Digest, Extent, Health, Seen};

use super::{Bench, PaperSeal, World, create, delete, stack, update};
use crate::{Ask, Asked, Blobs, Candidate, HealthAsk, Seal};

/// How long a hint may take before the test says there is none; a bound, not a measure.
const HINTED_WITHIN: Duration = Duration::from_secs(20);

/// How long an outage may go unnoticed before the test says it does.
const NOTICED_WITHIN: Duration = Duration::from_secs(60);

/// How long the stranger waits before changing something again.
const PATIENCE: Duration = Duration::from_millis(500);

pub async fn a_driver_describes_itself(world: &dyn World) {
    let driver = world.driver();
    let described = driver.describe();
    assert!(!described.kind.is_empty() && !described.summary.is_empty());
    assert!(described.schema.is_object(), "the schema is a JSON Schema");
    assert_eq!(driver.check(&described.example), [], "the example can be used");
    assert_eq!(driver.check(&world.settings()), []);
    assert_ne!(driver.check(&serde_json::json!({ "no-such-setting": 1 })), [], "an unknown setting is a finding");
}

pub async fn parsing_is_pure_and_gives_each_address_once(world: &dyn World) {
    let bench = Bench::new(world).await;
    let before = world.trace();
    let things: [(&str, &[u8]); 3] = [("one", b"1"), ("two/three", b"23"), ("four", b"1")];
    let resources = bench.parse(&things);
    assert_eq!(resources, bench.parse(&things));
    let addresses: BTreeSet<&Address> = resources.iter().map(|resource| &resource.address).collect();
    assert_eq!(addresses.len(), 3);
    assert!(resources.iter().all(|resource| resource.fingerprint.as_str().starts_with("1:")), "a fingerprint starts with its version");
    assert_eq!(world.trace(), before);
    let twice = [b"1", b"2"].map(|content| bench.document("one", content));
    assert_ne!(bench.read(&twice, &BTreeMap::new()).findings, [], "the same thing twice is a finding");
}

pub async fn an_empty_target_is_seen_completely(world: &dyn World) {
    let bench = Bench::new(world).await;
    let before = world.trace();
    let resources = bench.parse(&[("one", b"1"), ("two/three", b"3")]);
    let seen = bench.look(&[&resources[0].address, &resources[1].address]).await;
    assert_eq!(seen.extent, Extent::Complete);
    assert!(seen.seen.values().all(|seen| *seen == Seen::Absent));
    assert_eq!(world.trace(), before, "looking writes nothing");
}

pub async fn every_asked_address_has_an_answer(world: &dyn World) {
    let bench = Bench::new(world).await;
    let names: Vec<String> = (0..100).map(|n| format!("n{n}")).collect();
    let things: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), name.as_bytes())).collect();
    let resources = bench.parse(&things);
    resources.iter().step_by(3).for_each(|resource| world.put(&resource.address, resource.address.as_str().as_bytes()));
    let seen = bench.look(&resources.iter().map(|resource| &resource.address).collect::<Vec<_>>()).await;
    assert_eq!((seen.extent, seen.seen.len()), (Extent::Complete, 100));
    for (n, resource) in resources.iter().enumerate() {
        assert_eq!(matches!(seen.seen[&resource.address], Seen::Present(_)), n % 3 == 0, "{}", resource.address);
    }
}

pub async fn a_hidden_target_is_unknown_and_never_empty(world: &dyn World) {
    let bench = Bench::new(world).await;
    let made = bench.create(&[("one", b"1")]).await;
    world.hide();
    // Who follows the target by a watch notices in a moment.
    let unseen = async {
        loop {
            let seen = bench.look(&[&made[0].address]).await;
            match seen.extent {
                Extent::Unknown(_) => return seen,
                _ => assert!(matches!(seen.get(&made[0].address), Seen::Present(_) | Seen::Unknown(_)), "{seen:?}"),
            }
            tokio::time::sleep(PATIENCE).await;
        }
    };
    let seen = tokio::time::timeout(NOTICED_WITHIN, unseen).await.expect("an outage is noticed");
    assert!(matches!(seen.get(&made[0].address), Seen::Unknown(_)));
}

pub async fn everything_names_what_nobody_manages(world: &dyn World) {
    let bench = Bench::new(world).await;
    let made = bench.create(&[("one", b"1")]).await;
    let foreign = bench.parse(&[("two/three", b"3")]);
    world.put(&foreign[0].address, b"theirs");
    let seen = match bench.link.observe(Ask::Everything { into: world.into() }).await {
        Err(refusal) if refusal.code == Code::Unsupported => return,
        seen => seen.expect("a listing"),
    };
    let listed: Vec<&Address> = seen.seen.keys().collect();
    let mut expected = [&made[0].address, &foreign[0].address];
    expected.sort();
    assert_eq!((seen.extent, listed), (Extent::Complete, expected.to_vec()), "nothing of our own is listed, nothing else left out");
}

pub async fn what_is_kept_is_what_was_there(world: &dyn World) {
    let bench = Bench::new(world).await;
    let address = &bench.parse(&[("one", b"ours")])[0].address;
    world.put(address, b"theirs");
    let kept = bench.link.keep(&Asked::new(address.clone(), false)).await.expect("kept");
    assert_eq!(Some(kept.fingerprint), bench.fingerprint(address).await);
    let content = kept.content.expect("content");
    assert_eq!(world.content(&bench.blobs.get(&content.digest).expect("the blob")), b"theirs");
    let sealed = bench.link.keep(&Asked::new(address.clone(), true)).await.expect("kept").content.expect("content");
    let stored = bench.blobs.get(&sealed.digest).expect("the blob");
    assert!(sealed.sealed && stored != b"theirs");
    assert_eq!(world.content(&PaperSeal.open(&stored).expect("opened")), b"theirs");
    assert_eq!(world.read(address).as_deref(), Some(&b"theirs"[..]), "keeping leaves it alone");
}

pub async fn what_is_not_there_cannot_be_kept(world: &dyn World) {
    let bench = Bench::new(world).await;
    let address = &bench.parse(&[("one", b"1")])[0].address;
    assert_eq!(bench.link.keep(&Asked::new(address.clone(), false)).await.expect_err("nothing").code, Code::Absent);
}

pub async fn changes_from_outside_are_hinted_at(world: &dyn World) {
    let bench = Bench::new(world).await;
    let made = bench.create(&[("one", b"1"), ("two/three", b"3")]).await;
    let Some(mut hints) = bench.link.watch() else { return };
    for resource in &made {
        let address = &resource.address;
        let heard = async {
            for times in 1.. {
                // A change made before the watch stood is not hinted at: the stranger goes on until heard.
                world.put(address, format!("theirs {times}").as_bytes());
                while let Ok(next) = tokio::time::timeout(PATIENCE, hints.next()).await {
                    let hint = next.expect("the watch goes on");
                    if hint.addresses.is_empty() || hint.addresses.contains(address) {
                        return;
                    }
                }
            }
        };
        assert!(tokio::time::timeout(HINTED_WITHIN, heard).await.is_ok(), "no hint at {address}");
    }
}

pub async fn sealed_things_are_compared_by_key(world: &dyn World) {
    let bench = Bench::new(world).await;
    let sealed = bench.parse_sealed("one", b"a secret");
    let plain = bench.parse(&[("one", b"a secret")]).remove(0);
    assert!(!sealed.fingerprint.as_str().contains(&Digest::of(b"a secret").hex()), "a sealed fingerprint tells nothing");
    bench.make(vec![create(&sealed)]).await;
    for (asked_sealed, expected) in [(true, &sealed.fingerprint), (false, &plain.fingerprint)] {
        let ask = Ask::These(vec![Asked::new(sealed.address.clone(), asked_sealed)]);
        let seen = bench.link.observe(ask).await.expect("an observation");
        assert_eq!(seen.get(&sealed.address).fingerprint(), Some(expected));
    }
}

pub async fn asking_beforehand_writes_nothing(world: &dyn World) {
    let bench = Bench::new(world).await;
    let made = bench.create(&[("one", b"1"), ("two", b"2")]).await;
    let wanted = bench.parse(&[("one", b"new"), ("three", b"3")]);
    let before = world.trace();
    let misfits = bench.link.validate(&wanted, bench.blobs.clone()).await.expect("an answer");
    assert_eq!(misfits, [], "documents of the suite are fine");
    let changes = vec![update(&made[0], &wanted[0]), delete(&made[1])];
    let candidates = changes.into_iter().map(|change| Candidate { change, from: bench.blobs.clone() }).collect();
    let previews = bench.link.preview(&stack("app"), candidates).await.expect("an answer");
    assert_eq!(previews, BTreeMap::new(), "nothing stands against them");
    assert_eq!(world.trace(), before);
}

pub async fn how_well_things_are_is_told_at_once_and_of_each(world: &dyn World) {
    let bench = Bench::new(world).await;
    if !bench.facts.health {
        return;
    }
    let made = bench.create(&[("one", b"1"), ("two/three", b"3")]).await;
    let missing = bench.parse(&[("missing", b"")]).remove(0).address;
    let mut addresses: BTreeSet<Address> = made.iter().map(|resource| resource.address.clone()).collect();
    addresses.insert(missing.clone());
    let mut told = bench.link.health(HealthAsk { addresses: addresses.clone(), rules: Vec::new(), read: true });
    let first = told.next().await.expect("an answer at once");
    assert!(first.keys().eq(&addresses), "of each that was asked for: {first:?}");
    assert_ne!(first[&missing].health, Health::Ready, "what is not there is not ready");
    world.remove(&made[0].address);
    let gone = async {
        while let Some(now) = told.next().await {
            assert!(now.keys().eq(&addresses), "each time of all: {now:?}");
            if now[&made[0].address].health != Health::Ready {
                return;
            }
        }
        panic!("the line ended");
    };
    tokio::time::timeout(NOTICED_WITHIN, gone).await.expect("told that it went");
}
