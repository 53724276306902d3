//! Known bugs, switched on in the real engine and runtime one at a time: each is caught, and by the promise it breaks.

use trued_engine::planted::{Bug, plant};
use trued_model::{Duration, HealthPolicy, Kind, Otherwise, StackId};
use trued_sim::{BROKEN, Edit, Promise, Temper, Wellbeing, World, person, simulate};

/// Which promise a bug breaks.
fn breaks(bug: Bug) -> Promise {
    match bug {
        Bug::UnseenIsAbsent
        | Bug::DeleteWithoutWaiting
        | Bug::DeleteWhatMoved
        | Bug::NoDeleteLimit
        | Bug::EmptyDeletes
        | Bug::ForeignApproval => Promise::Deletes,
        Bug::ForeignOverwritten => Promise::FirstContact,
        Bug::ActBeforeIntent => Promise::IntentFirst,
        Bug::StaleView => Promise::StaleWrite,
        Bug::HalfAWalk => Promise::Landed,
        Bug::KeepNothing => Promise::Kept,
        Bug::LeaveIntentOpen => Promise::IntentEnds,
        Bug::NoFence => Promise::Epochs,
        Bug::FollowRewind => Promise::Revisions,
        Bug::RetakeRejected => Promise::Rejected,
        Bug::ReceiptFirst => Promise::ReceiptAfter,
        Bug::UnreadyIsReady => Promise::Proven,
        Bug::UnprovenRelease => Promise::GoesBack,
        Bug::NoDeadline => Promise::Returns,
        Bug::OutOfBounds => Promise::Bounds,
    }
}

/// Brings about what the bug is wrong in.
async fn provoke(bug: Bug, world: &mut World) {
    let site = world.stack("site", "web", "");
    match bug {
        Bug::UnseenIsAbsent => {
            three_files(world).await;
            world.target("web").ground().faults.hidden.insert(trued_model::Address::new("b"));
            world.remove("site/a").commit();
            world.pass().await;
            world.target("web").ground().faults.hidden.clear();
        }
        Bug::DeleteWithoutWaiting => {
            world.stack("shop", "web", "");
            world.put("shop/s", "s");
            three_files(world).await;
            world.put(&format!("shop/{BROKEN}"), "").remove("site/a").commit();
        }
        Bug::DeleteWhatMoved => {
            world.stack("shop", "web", "");
            world.put("shop/s", "s");
            three_files(world).await;
            world.remove("site/a").put("shop/a", "one").commit();
        }
        Bug::NoDeleteLimit => {
            many_files(world, 8).await;
            for file in 0..7 {
                world.remove(&format!("site/{file}"));
            }
            world.commit();
        }
        Bug::EmptyDeletes => {
            three_files(world).await;
            world.remove("site").commit();
        }
        Bug::ForeignApproval => {
            many_files(world, 9).await;
            for file in 0..6 {
                world.remove(&format!("site/{file}"));
            }
            world.commit();
            world.pass_without(bug).await;
            world.approve_all().await;
            world.remove("site/6").commit();
        }
        Bug::ForeignOverwritten => {
            world.stranger("web", "a", Edit::Write("somebody's".to_owned()));
            three_files(world).await;
        }
        Bug::StaleView => {
            three_files(world).await;
            world.put("site/a", "other").commit();
            world.pass().await;
            world.put("site/a", "and another").commit();
        }
        Bug::KeepNothing => {
            three_files(world).await;
            world.stranger("web", "a", Edit::Write("somebody's".to_owned()));
        }
        Bug::LeaveIntentOpen => {
            world.put("site/a", "one").put("site/b", "two").commit();
            let mut places = 0;
            while world.entries(&[Kind::Intent]).is_empty() {
                world.process.die_after(places);
                assert!(world.pass().await.report.is_none(), "the process dies on its way");
                places += 1;
            }
            world.settle().await;
        }
        Bug::NoFence => {
            three_files(world).await;
            world.wait(20).await;
            let first = world.another();
            world.put("site/a", "from the second").commit();
            world.pass().await;
            world.act_as(first);
            world.put("site/a", "from the first").commit();
        }
        Bug::FollowRewind => {
            three_files(world).await;
            world.put("site/a", "newer").commit();
            world.pass().await;
            world.universe.history.rewind(1);
        }
        Bug::RetakeRejected => {
            three_files(world).await;
            world.put("site/a", "newer").commit();
            world.pass().await;
            roll_back(world, &site).await;
            world.pass_without(bug).await;
        }
        Bug::HalfAWalk => {
            for file in 0..300 {
                world.put(&format!("site/{file}"), "text");
            }
            world.commit();
        }
        Bug::ActBeforeIntent | Bug::ReceiptFirst => three_files(world).await,
        Bug::UnreadyIsReady => put_unready(world, &site).await,
        Bug::NoDeadline => {
            put_unready(world, &site).await;
            world.apply().await;
        }
        Bug::OutOfBounds => {
            three_files(world).await;
            world.configure(&site, |stack| stack.policy.manage = Some(vec!["elsewhere/**".to_owned()]));
            world.remove("site/a").remove("site/b").remove("site/c").put("site/elsewhere/d", "inside").commit();
        }
        Bug::UnprovenRelease => {
            put_unready(world, &site).await;
            let fails = Wellbeing::new(7).content("a", |temper| matches!(temper, Temper::Fails(_)));
            world.put("site/a", &fails).commit();
            world.apply().await;
        }
    }
    world.pass().await;
}

/// Puts something that is ready at once into place, and then something that never is.
async fn put_unready(world: &mut World, site: &StackId) {
    world.tells("web", Wellbeing::new(7));
    world.configure(site, |stack| {
        stack.health = HealthPolicy { within: Duration::from_secs(60), otherwise: Some(Otherwise::Rollback), rules: Vec::new() };
    });
    world.put("site/a", &Wellbeing::new(7).content("a", |temper| temper == Temper::AtOnce)).commit();
    world.pass().await;
    world.put("site/a", &never()).commit();
    world.pass().await;
}

fn never() -> String {
    Wellbeing::new(7).content("a", |temper| temper == Temper::Never)
}

trait Unplanted {
    async fn pass_without(&mut self, bug: Bug);
}

impl Unplanted for World {
    /// One pass before the bug comes in.
    async fn pass_without(&mut self, bug: Bug) {
        let planted = trued_engine::planted::has(bug);
        plant(None);
        self.pass().await;
        plant(planted.then_some(bug));
    }
}

async fn three_files(world: &mut World) {
    world.put("site/a", "one").put("site/b", "two").put("site/c", "three").commit();
    world.pass().await;
}

async fn many_files(world: &mut World, count: usize) {
    for file in 0..count {
        world.put(&format!("site/{file}"), "text");
    }
    world.commit();
    world.pass().await;
}

async fn roll_back(world: &World, stack: &StackId) {
    world.runtime.roll_back(stack, None, "test", &person()).await.expect("a release to go back to");
}

#[test]
fn every_planted_bug_is_caught_by_the_promise_it_breaks() {
    for bug in Bug::ALL {
        let found = simulate(1, async |mut world| {
            plant(Some(*bug));
            provoke(*bug, &mut world).await;
            plant(None);
            world.at_rest();
            (world.broken(), world.journal(30))
        });
        assert!(found.0.contains(&breaks(*bug)), "{bug:?} is not caught as {:?}: {:?}\n{}", breaks(*bug), found.0, found.1);
    }
}

#[test]
fn the_same_worlds_keep_all_promises_without_the_bug() {
    for bug in Bug::ALL {
        simulate(1, async |mut world| {
            provoke(*bug, &mut world).await;
            world.keeps_its_promises();
        });
    }
}
