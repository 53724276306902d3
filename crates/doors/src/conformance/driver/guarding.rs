//! Promises about changes that must not arrive: the target is not as expected, or not ours to write.

use trued_model::{BlobRef, Code, Resource};

use super::{Bench, World, create, delete, order, stack, update};
use crate::{Blobs, Order};

/// What a change is refused with, and that nothing was written for it.
async fn refused(bench: &Bench<'_>, order: Order) -> Code {
    let before = bench.world.trace();
    let code = bench.run(order).await.remove(0).expect_err("a refusal").code;
    assert_eq!(bench.world.trace(), before, "a refused change writes nothing");
    code
}

/// Makes sure that the target carries our mark, so that only what a test does shows in the trace.
async fn marked<'a>(bench: &Bench<'a>) -> Resource {
    bench.create(&[("marks/the-target", b"ours")]).await.remove(0)
}

pub async fn creating_over_something_is_refused(world: &dyn World) {
    let bench = Bench::new(world).await;
    marked(&bench).await;
    let wanted = bench.parse(&[("one", b"ours")]).remove(0);
    world.put(&wanted.address, b"theirs");
    assert_eq!(refused(&bench, order(vec![create(&wanted)])).await, Code::Changed);
    assert_eq!(world.read(&wanted.address).as_deref(), Some(&b"theirs"[..]));
}

pub async fn fault_48_what_was_put_there_anew_is_not_ours_to_change(world: &dyn World) {
    let bench = Bench::new(world).await;
    let made = bench.create(&[("one", b"1")]).await.remove(0);
    world.remove(&made.address);
    world.put(&made.address, b"theirs");
    let wanted = bench.parse(&[("one", b"2")]).remove(0);
    assert_eq!(refused(&bench, order(vec![update(&made, &wanted)])).await, Code::Changed);
    assert_eq!(refused(&bench, order(vec![delete(&made)])).await, Code::Changed);
    assert_eq!(world.read(&made.address).as_deref(), Some(&b"theirs"[..]));
}

pub async fn a_stale_delete_is_refused(world: &dyn World) {
    let bench = Bench::new(world).await;
    let made = bench.create(&[("one", b"1"), ("two", b"2")]).await;
    world.put(&made[0].address, b"theirs");
    let results = bench.run(order(vec![delete(&made[0]), delete(&made[1])])).await;
    assert_eq!(results[0].as_ref().map_err(|refusal| refusal.code), Err(Code::Changed));
    assert_eq!(results[1], Ok(None), "one refusal stops no other change");
    assert_eq!(world.read(&made[0].address).as_deref(), Some(&b"theirs"[..]));
}

pub async fn a_missing_content_refuses_its_change_alone(world: &dyn World) {
    let bench = Bench::new(world).await;
    let mut wanted = bench.parse(&[("one", b"1"), ("two", b"2")]);
    wanted[0].content = Some(BlobRef::of(b"never kept"));
    let results = bench.run(order(wanted.iter().map(create).collect())).await;
    assert!(results[0].is_err());
    assert_eq!(results[1], Ok(Some(wanted[1].fingerprint.clone())));
    assert_eq!(world.read(&wanted[0].address), None);
}

pub async fn a_wrong_content_is_never_written(world: &dyn World) {
    let bench = Bench::new(world).await;
    marked(&bench).await;
    let mut wanted = bench.parse(&[("one", b"approved")]).remove(0);
    wanted.content = Some(bench.blobs.put(b"not approved").expect("a blob"));
    refused(&bench, order(vec![create(&wanted)])).await;
    assert_eq!(world.read(&wanted.address), None);
}

pub async fn a_lower_epoch_is_fenced(world: &dyn World) {
    let bench = Bench::new(world).await;
    let app = stack("app");
    assert_eq!(bench.link.epoch(&app).await, Ok(0));
    let wanted = bench.parse(&[("one", b"1"), ("two", b"2"), ("three", b"3")]);
    let at = |epoch, resource| Order { epoch, ..order(vec![create(resource)]) };
    assert!(bench.run(at(7, &wanted[0])).await[0].is_ok());
    assert_eq!(bench.link.epoch(&app).await, Ok(7));
    assert_eq!(refused(&bench, at(6, &wanted[1])).await, Code::Fenced);
    assert!(bench.run(at(7, &wanted[1])).await[0].is_ok());
    assert!(bench.run(at(9, &wanted[2])).await[0].is_ok());
    // Another process, with a link of its own.
    let later = Bench::new(world).await;
    // What carries the marks is known once it was looked at.
    later.look(&wanted.iter().map(|resource| &resource.address).collect::<Vec<_>>()).await;
    assert_eq!(later.link.epoch(&app).await, Ok(9));
    assert_eq!(refused(&later, Order { epoch: 8, ..order(vec![delete(&wanted[0])]) }).await, Code::Fenced);
}

pub async fn epochs_are_each_stacks_own(world: &dyn World) {
    let bench = Bench::new(world).await;
    let wanted = bench.parse(&[("one", b"1"), ("two", b"2")]);
    assert!(bench.run(Order { epoch: 7, ..order(vec![create(&wanted[0])]) }).await[0].is_ok());
    let other = Order { stack: stack("other"), epoch: 1, ..order(vec![create(&wanted[1])]) };
    assert!(bench.run(other).await[0].is_ok());
    assert_eq!(bench.link.epoch(&stack("other")).await, Ok(1));
    assert_eq!(bench.link.epoch(&stack("app")).await, Ok(7));
}

pub async fn another_ledgers_target_is_refused(world: &dyn World) {
    let ours = Bench::new(world).await;
    let made = marked(&ours).await;
    let theirs = Bench::of_ledger(world, "trued/00000000-0000-7000-8000-000000000002").await;
    // Where each thing carries a mark of its own, there is room for others beside it.
    if !theirs.facts.marks {
        let wanted = theirs.parse(&[("one", b"1")]).remove(0);
        assert_eq!(refused(&theirs, order(vec![create(&wanted)])).await, Code::Denied);
    }
    assert_eq!(refused(&theirs, order(vec![delete(&made)])).await, Code::Denied);
    assert_eq!(theirs.fingerprint(&made.address).await, Some(made.fingerprint), "looking is open to everybody");
}

pub async fn a_hidden_target_is_not_written(world: &dyn World) {
    let bench = Bench::new(world).await;
    let made = marked(&bench).await;
    let wanted = bench.parse(&[("one", b"1")]).remove(0);
    world.hide();
    for result in bench.run(order(vec![create(&wanted), delete(&made)])).await {
        result.expect_err("a target that is not there cannot be written");
    }
}
