//! Promises about leases and the fence they give to appends.

use futures::executor::block_on;
use trued_model::{Code, Duration, Kind, Timestamp};

use super::{START, Subject, draft, stack};
use crate::{Fence, Holder, Lease, Store};

const TERM: Duration = Duration::from_secs(15);
const SITE: &str = "prod/site@web";

fn take(store: &dyn Store, holder: &Holder, at_least: u64) -> Result<u64, Code> {
    let lease = block_on(store.take(&stack(SITE), holder, at_least, TERM)).map_err(|refusal| refusal.code)?;
    assert_eq!(lease, Lease { stack: stack(SITE), epoch: lease.epoch, holder: holder.clone() });
    Ok(lease.epoch)
}

fn fenced(store: &dyn Store, epoch: u64) -> Result<u64, Code> {
    let fence = Fence { stack: stack(SITE), epoch };
    let appended = block_on(store.append(vec![draft(Kind::Intent, Some(SITE), epoch)], Some(fence)));
    appended.map(|entries| entries[0].index).map_err(|refusal| refusal.code)
}

pub fn a_lease_is_for_one_living_process(subject: &dyn Subject) {
    let (one, two) = (subject.process(), subject.process());
    let store = subject.open();
    assert_eq!(take(&*store, &one, 0), Ok(1));
    assert_eq!(take(&*subject.open(), &one, 0), Ok(1), "its own lease is renewed");
    let refusal = block_on(subject.open().take(&stack(SITE), &two, 0, TERM)).expect_err("held");
    assert_eq!(refusal.code, Code::Denied);
    assert!(refusal.message.contains(&one.pid.to_string()) && refusal.message.contains(&one.verb), "{}", refusal.message);
    let other = block_on(store.take(&stack("prod/blog@web"), &two, 0, TERM)).expect("another stack is free");
    assert_eq!(other.epoch, 1);
    let mut holders = block_on(subject.open().holders()).expect("holders");
    holders.sort_by_key(|holder| holder.pid);
    let mut expect = vec![one, two];
    expect.sort_by_key(|holder| holder.pid);
    assert_eq!(holders, expect);
}

pub fn the_dead_hold_nothing(subject: &dyn Subject) {
    let (one, two) = (subject.process(), subject.process());
    let store = subject.open();
    assert_eq!(take(&*store, &one, 0), Ok(1));
    subject.kill(&one);
    assert!(block_on(store.holders()).expect("holders").is_empty());
    assert_eq!(take(&*store, &two, 0), Ok(2), "free at once, no term waited for");
}

pub fn a_stopped_holder_ends_after_its_term(subject: &dyn Subject) {
    let (one, two) = (subject.process(), subject.process());
    let store = subject.open();
    assert_eq!(take(&*store, &one, 0), Ok(1));
    subject.clock().pass(Duration(TERM.0 - 1));
    assert_eq!(take(&*store, &two, 0), Err(Code::Denied));
    assert_eq!(block_on(store.renew(&one, TERM)).expect("renew"), [stack(SITE)]);
    subject.clock().pass(Duration(TERM.0 - 1));
    assert_eq!(take(&*store, &two, 0), Err(Code::Denied), "renewed from then on");
    subject.clock().pass(Duration(1));
    assert!(block_on(store.holders()).expect("holders").is_empty());
    assert_eq!(take(&*store, &two, 0), Ok(2));
    assert_eq!(block_on(store.renew(&one, TERM)).expect("renewing nothing is no error"), []);
    assert_eq!(take(&*store, &one, 0), Err(Code::Denied), "and takes nothing back");
}

pub fn wall_clocks_do_not_end_leases(subject: &dyn Subject) {
    let (one, two) = (subject.process(), subject.process());
    let store = subject.open();
    assert_eq!(take(&*store, &one, 0), Ok(1));
    for wall in [START + Duration::from_secs(315_360_000), Timestamp(0), START] {
        subject.clock().set_wall(wall);
        assert_eq!(take(&*store, &two, 0), Err(Code::Denied));
    }
}

pub fn another_boot_ends_all_leases(subject: &dyn Subject) {
    let two = subject.process();
    let one = Holder { boot: "00000000-0000-0000-0000-000000000000".to_owned(), ..subject.process() };
    let store = subject.open();
    assert_eq!(take(&*store, &one, 0), Ok(1));
    assert_eq!(take(&*store, &two, 0), Ok(2));
}

pub fn epochs_only_rise(subject: &dyn Subject) {
    let (one, two) = (subject.process(), subject.process());
    let store = subject.open();
    assert_eq!(take(&*store, &one, 7), Ok(8), "from the larger of store and target");
    assert_eq!(take(&*store, &one, 3), Ok(8));
    assert_eq!(take(&*store, &one, 8), Ok(8), "the target has seen our own epoch");
    assert_eq!(take(&*store, &one, 20), Ok(21), "the target has seen a higher one");
    subject.kill(&one);
    assert_eq!(take(&*subject.open(), &two, 2), Ok(22));
    assert_eq!(take(&*store, &two, u64::MAX), Err(Code::Invalid));
}

pub fn a_lease_given_back_is_free_and_its_epoch_stays(subject: &dyn Subject) {
    let (one, two) = (subject.process(), subject.process());
    let store = subject.open();
    assert_eq!(take(&*store, &one, 0), Ok(1));
    block_on(store.release(&two)).expect("releasing nothing is no error");
    assert_eq!(take(&*store, &two, 0), Err(Code::Denied));
    block_on(store.release(&one)).expect("release");
    assert!(block_on(store.holders()).expect("holders").is_empty());
    assert_eq!(take(&*subject.open(), &two, 0), Ok(2));
}

pub fn a_fence_that_no_longer_holds_appends_nothing(subject: &dyn Subject) {
    let (one, two) = (subject.process(), subject.process());
    let store = subject.open();
    assert_eq!(fenced(&*store, 1), Err(Code::Fenced), "a lease that was never taken");
    let epoch = take(&*store, &one, 0).expect("take");
    assert_eq!(fenced(&*store, epoch), Ok(0));
    assert_eq!(fenced(&*store, epoch + 1), Err(Code::Fenced), "a lease that the store never gave");
    subject.clock().pass(TERM);
    let newer = take(&*subject.open(), &two, 0).expect("take");
    assert_eq!(fenced(&*store, epoch), Err(Code::Fenced), "the first holder woke up late");
    assert_eq!(block_on(store.head()).expect("head").size, 1);
    assert_eq!(fenced(&*store, newer), Ok(1));
}
