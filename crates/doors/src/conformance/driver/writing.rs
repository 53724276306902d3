//! Promises about changes that arrive: once, as planned, and as their receipts say.

use futures::StreamExt as _;
use trued_model::{Action, Change};

use super::{Bench, World, create, delete, order, update};

pub async fn what_is_made_looks_as_it_was_parsed(world: &dyn World) {
    let bench = Bench::new(world).await;
    let large = vec![7; 300_000];
    let made = bench.create(&[("one", b"1"), ("two/three", b""), ("two/four", &large)]).await;
    for (resource, content) in made.iter().zip([&b"1"[..], b"", &large]) {
        assert_eq!(bench.fingerprint(&resource.address).await.as_ref(), Some(&resource.fingerprint));
        assert_eq!(world.read(&resource.address).as_deref(), Some(content), "{}", resource.address);
    }
}

pub async fn receipts_say_what_is_there(world: &dyn World) {
    let bench = Bench::new(world).await;
    let made = bench.create(&[("one", b"1")]).await;
    let wanted = bench.parse(&[("one", b"2"), ("two", b"2")]);
    let results = bench.run(order(vec![update(&made[0], &wanted[0]), create(&wanted[1])])).await;
    for (result, resource) in results.into_iter().zip(&wanted) {
        assert_eq!(result.expect("done"), bench.fingerprint(&resource.address).await);
    }
}

pub async fn updates_and_deletes_arrive(world: &dyn World) {
    let bench = Bench::new(world).await;
    let made = bench.create(&[("one", b"1"), ("two/three", b"3"), ("four", b"4")]).await;
    let wanted = bench.parse(&[("one", b"new")]);
    bench.make(vec![delete(&made[1]), update(&made[0], &wanted[0])]).await;
    assert_eq!(world.read(&made[0].address).as_deref(), Some(&b"new"[..]));
    assert_eq!(world.read(&made[1].address), None);
    assert_eq!(world.read(&made[2].address).as_deref(), Some(&b"4"[..]), "what no change names stays");
}

pub async fn the_same_order_twice_writes_once(world: &dyn World) {
    let bench = Bench::new(world).await;
    let made = bench.create(&[("one", b"1"), ("two", b"2")]).await;
    let wanted = bench.parse(&[("one", b"new"), ("three", b"3")]);
    let changes = vec![delete(&made[1]), update(&made[0], &wanted[0]), create(&wanted[1])];
    bench.make(changes.clone()).await;
    let before = world.trace();
    bench.make(changes).await;
    assert_eq!(world.trace(), before);
}

pub async fn a_move_of_what_is_right_writes_nothing(world: &dyn World) {
    let bench = Bench::new(world).await;
    let made = bench.create(&[("one", b"1")]).await;
    let before = world.trace();
    let taken_over = Change { action: Action::Move, other: Some(super::stack("other")), ..update(&made[0], &made[0]) };
    bench.make(vec![taken_over]).await;
    assert_eq!(world.trace(), before);
}

pub async fn a_full_batch_has_one_answer_each(world: &dyn World) {
    let bench = Bench::new(world).await;
    let names: Vec<String> = (0..256).map(|n| format!("f{}/n{n}", n % 7)).collect();
    let things: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), name.as_bytes())).collect();
    let made = bench.create(&things).await;
    let wrong = bench.parse(&[("f0/n0", b"never was")]);
    let mut changes: Vec<Change> = made.iter().map(delete).collect();
    changes[0] = delete(&wrong[0]);
    let refused: Vec<usize> =
        bench.run(order(changes)).await.iter().enumerate().filter(|(_, result)| result.is_err()).map(|(at, _)| at).collect();
    assert_eq!(refused, [0], "one refusal stops no other change");
}

pub async fn sealed_contents_are_opened_on_the_way(world: &dyn World) {
    let bench = Bench::new(world).await;
    let sealed = bench.parse_sealed("one", b"a secret");
    bench.make(vec![create(&sealed)]).await;
    assert_eq!(world.read(&sealed.address).as_deref(), Some(&b"a secret"[..]));
    let changed = bench.parse_sealed("one", b"another");
    bench.make(vec![update(&sealed, &changed)]).await;
    assert_eq!(world.read(&sealed.address).as_deref(), Some(&b"another"[..]));
}

pub async fn an_order_that_nobody_listens_to_leaves_no_lock(world: &dyn World) {
    let bench = Bench::new(world).await;
    let wanted = bench.parse(&[("one", b"1"), ("two", b"2")]);
    let mut answers = bench.link.apply(order(vec![create(&wanted[0])]));
    // Begun, and left: it may have been done or not.
    let _ = futures::poll!(answers.next());
    drop(answers);
    bench.make(vec![create(&wanted[1])]).await;
    assert_eq!(world.read(&wanted[1].address).as_deref(), Some(&b"2"[..]));
}
