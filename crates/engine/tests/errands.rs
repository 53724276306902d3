//! What runs once for a release: in any world of crashes, newer releases and things that go by themselves, each errand begins at
//! most once for a release, nothing goes past one that is not done, and what has landed asks for nothing more.

use std::collections::{BTreeMap, BTreeSet};

use trued_engine::{Claims, Errands, PlanInput, Settled, Sides, Standing, Wish, course, gate, plan};
use trued_model::{
    Action, Address, BlobRef, Change, Clears, Decision, Desired, Digest, Errand, Extent, Fingerprint, HoldKind, Item, Manifest,
    Observation, Occasion, OnExisting, Origin, Plan, Policy, Progress, Ran, Resource, Seen, StackId, State, Timestamp, Turn,
};

const NOW: Timestamp = Timestamp(1_767_225_600_000);

/// Errands, in the order of their turns: whether each has an end of its own, its rank, and whether what it leaves goes.
const ERRANDS: [(&str, bool, i32, bool); 4] =
    [("p-settings", false, -75, true), ("o-migrate", true, -75, false), ("z-greet", true, 1_000, true), ("y-report", false, 1_000, false)];

fn address(name: &str) -> Address {
    Address::new(format!("kind/{name}"))
}

fn resource(name: &str, content: u64) -> Resource {
    let fingerprint = Fingerprint::new(format!("1:object:{content}"));
    Resource { address: address(name), fingerprint, content: Some(BlobRef::of(&content.to_le_bytes())), origin: Origin::default() }
}

fn release(number: u64) -> (Digest, Desired) {
    let mut desired = Desired::default();
    for name in ["a", "b", "namespace"] {
        let one = resource(name, if name == "a" { number } else { 0 });
        desired.resources.insert(one.address.clone(), one);
    }
    for (at, (name, ends, rank, goes)) in ERRANDS.into_iter().enumerate() {
        let turn = |word: &str| {
            let called = format!("{word}-{name}");
            Some(Turn { called, rank, weight: i32::try_from(at).expect("few"), kind: 0, ends, vanishes: false })
        };
        let clears = Clears { before: true, done: goes, failed: false };
        // The same in each release: that it ran before is no reason.
        let errand = Errand { resource: resource(name, 7), first: turn("first"), next: turn("next"), clears, ends: Vec::new() };
        desired.errands.insert(address(name), errand);
    }
    (Digest::of(&number.to_le_bytes()), desired)
}

#[derive(Default)]
struct World {
    number: u64,
    there: BTreeMap<Address, (Fingerprint, u64)>,
    inventory: Manifest,
    record: Errands,
    uids: u64,
    /// What began, by release.
    began: BTreeMap<(u64, Address), u32>,
    policy: Policy,
    approved: Vec<trued_model::Approval>,
}

impl World {
    fn decided(&mut self) -> (Plan, Decision, trued_engine::Course) {
        let (digest, desired) = release(self.number);
        self.record.release = Some(digest);
        let mut seen: BTreeMap<Address, Seen> = desired.all().into_keys().map(|address| (address.clone(), Seen::Absent)).collect();
        for (address, (fingerprint, uid)) in &self.there {
            let state = State { fingerprint: fingerprint.clone(), bytes: 1, uid: Some(uid.to_string()), evidence: Default::default() };
            seen.insert(address.clone(), Seen::Present(state));
        }
        let stack = StackId::from_key("prod/shop@cluster").expect("a name");
        let observed = Observation { at: NOW, extent: Extent::Complete, seen };
        let input = PlanInput {
            stack: &stack,
            policy: &self.policy,
            wish: Wish::Source,
            sides: &Sides::of(&desired, &self.inventory, &observed),
            claims: &Claims::default(),
            settled: &Settled::default(),
            previews: &BTreeMap::new(),
            into: "",
            nested: false,
            ranks: &[("kind/namespace".to_owned(), -90)],
            guarded: &[],
            deferred: &BTreeMap::new(),
            errands: &self.record,
        };
        let (plan, course) = (plan(&input), course(&input));
        let standing = Standing { resources: self.inventory.items.len(), empty: false, suspended: false, blocked: None, nested: false };
        let decision = gate(&plan, &self.policy, standing, &self.approved, NOW);
        (plan, decision, course)
    }

    /// One walk that makes at most so many changes before it is killed. Whether it came to its end.
    fn walk(&mut self, most: usize) -> bool {
        let (plan, decision, course) = self.decided();
        let (digest, _) = release(self.number);
        let free: Vec<Change> = decision.free.iter().map(|at| plan.changes[*at].clone()).collect();
        if !free.is_empty() {
            self.record.begun = course.occasion.map(|occasion| (digest, occasion)).or(self.record.begun);
        }
        for change in free.iter().take(most) {
            self.make(change, digest);
        }
        let over =
            |address: &Address| free.iter().any(|change| change.address == *address && change.turn.as_ref().is_some_and(|turn| !turn.ends));
        let whole = free.len() <= most && decision.held.is_empty() && course.left.iter().all(over);
        if whole {
            self.record.landed = Some(digest);
            self.record.begun = None;
            self.record.ran.clear();
        }
        whole
    }

    fn make(&mut self, change: &Change, of: Digest) {
        let late = |done: &str| self.record.ran.get(&address(done)).is_some_and(|ran| ran.of == of && ran.progress == Progress::Done);
        match &change.turn {
            None if change.action == Action::Delete => {}
            None if change.address == address("namespace") || self.record.landed == Some(of) => {}
            None => assert!(late("p-settings") && late("o-migrate"), "{} went past an errand", change.address),
            Some(turn) => {
                let before = ERRANDS.iter().take_while(|(name, ..)| address(name) != change.address);
                before.for_each(|(name, ..)| assert!(late(name), "{} began before {name} was done", change.address));
                let count = self.began.entry((self.number, change.address.clone())).or_default();
                *count += 1;
                assert_eq!(*count, 1, "{} began twice for one release", change.address);
                let progress = if turn.ends { Progress::Begun } else { Progress::Done };
                let ran =
                    Ran { address: change.address.clone(), called: turn.called.clone(), of, progress, since: NOW, why: String::new() };
                self.record.ran.insert(change.address.clone(), ran);
            }
        }
        match &change.after {
            Some(after) if change.action != Action::Adopt => {
                assert_eq!(self.there.get(&change.address).map(|(_, uid)| uid.to_string()), change.uid, "the very thing that was seen");
                self.uids += 1;
                self.there.insert(change.address.clone(), (after.clone(), self.uids));
            }
            Some(_) => {}
            None => drop(self.there.remove(&change.address)),
        }
        match &change.after {
            Some(after) => {
                let item = Item { fingerprint: after.clone(), content: change.content, errand: change.turn.is_some() };
                self.inventory.items.insert(change.address.clone(), item);
            }
            None => drop(self.inventory.items.remove(&change.address)),
        }
    }

    fn end(&mut self, progress: Progress) {
        self.record.ran.values_mut().filter(|ran| ran.progress == Progress::Begun).for_each(|ran| ran.progress = progress);
    }

    /// What has ended goes by itself, as what ends does.
    fn vanish(&mut self) {
        let running: BTreeSet<&Address> =
            self.record.ran.values().filter(|ran| ran.progress == Progress::Begun).map(|ran| &ran.address).collect();
        let errands: Vec<Address> = ERRANDS.iter().map(|(name, ..)| address(name)).filter(|address| !running.contains(address)).collect();
        errands.iter().for_each(|address| drop(self.there.remove(address)));
    }

    fn lands(&mut self) {
        for _ in 0..20 {
            self.end(Progress::Done);
            if self.walk(usize::MAX) && self.decided().0.changes.is_empty() {
                return;
            }
        }
        panic!("it never lands: {:?}", self.decided());
    }
}

#[test]
fn each_begins_once_for_a_release_and_what_landed_asks_for_nothing_more() {
    for seed in 0..500_u64 {
        let mut chance = seed;
        let mut draw = |of: u64| {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (chance >> 33) % of
        };
        let mut world = World::default();
        for _ in 0..draw(30) {
            match draw(8) {
                0 => world.number += 1,
                1 | 2 => world.end(Progress::Done),
                3 => world.vanish(),
                _ => drop(world.walk(usize::try_from(draw(5)).expect("small"))),
            }
        }
        world.lands();
        let began = world.began.clone();
        world.vanish();
        assert_eq!(world.decided().0.changes, [], "seed {seed}: what is gone is no drift");
        // The next release begins all of them once more.
        world.number += 1;
        world.lands();
        let again = world.began.keys().filter(|one| !began.contains_key(*one)).count();
        assert_eq!(again, ERRANDS.len(), "seed {seed}");
    }
}

fn held(world: &mut World) -> Vec<String> {
    let (plan, decision, _) = world.decided();
    let one = |part: &trued_model::Part| {
        let names: Vec<&str> = part.changes.iter().map(|at| plan.changes[*at].address.as_str().trim_start_matches("kind/")).collect();
        format!("{} {}: {}", part.kind.word(), names.join(" "), part.why)
    };
    decision.held.iter().map(one).collect()
}

#[test]
fn one_that_failed_holds_what_follows_and_a_newer_release_begins_anew() {
    let mut world = World::default();
    world.walk(usize::MAX);
    world.end(Progress::Failed);
    let waits = ["undecided a b z-greet y-report: first-o-migrate kind/o-migrate failed: "];
    assert_eq!(held(&mut world), waits);
    world.walk(usize::MAX);
    assert_eq!(held(&mut world), waits, "it does not run again by itself");
    world.number += 1;
    world.lands();
}

#[test]
fn a_release_that_needs_a_word_does_not_begin_and_a_yes_lets_nothing_past_an_errand() {
    let mut world = World { policy: Policy { on_existing: OnExisting::Hold, ..Policy::default() }, ..World::default() };
    world.there.insert(address("a"), (Fingerprint::new("1:object:99"), 1));
    let (plan, decision, _) = world.decided();
    let free: Vec<&str> = decision.free.iter().map(|at| plan.changes[*at].address.as_str()).collect();
    assert_eq!(free, ["kind/namespace"], "{:?}", held(&mut world));
    world.approved = vec![trued_model::Approval { index: 1, digest: plan.digest(), by: "eva".to_owned(), until: Timestamp(i64::MAX) }];
    let (plan, decision, _) = world.decided();
    let free: Vec<&str> = decision.free.iter().map(|at| plan.changes[*at].address.as_str()).collect();
    assert_eq!(free, ["kind/namespace", "kind/p-settings", "kind/o-migrate"]);
    assert!(decision.held.iter().all(|part| part.kind == HoldKind::Awaits));
}

#[test]
fn what_is_all_there_when_it_is_first_seen_is_no_first_release() {
    let mut world = World::default();
    let (_, desired) = release(0);
    for one in desired.resources.values() {
        world.there.insert(one.address.clone(), (one.fingerprint.clone(), 1));
    }
    assert_eq!(world.decided().2.occasion, None, "it is as desired: nothing is released");
    world.number = 1;
    assert_eq!(world.decided().2.occasion, Some(Occasion::Next));
    world.there.remove(&address("b"));
    assert_eq!(world.decided().2.occasion, Some(Occasion::First));
}
