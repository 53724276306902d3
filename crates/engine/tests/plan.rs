//! What is proposed, what of it may run, and what differs: desired, ours and seen in, text out.

use std::collections::{BTreeMap, BTreeSet};

use expect_test::{Expect, expect};
use trued_engine::{Claims, Errands, PlanInput, Settled, Sides, StackMemory, Standing, Wish, assess, candidates, gate, plan};
use trued_model::{
    Address, Approval, BlobRef, Deferred, Deletes, Desired, Digest, DriftPolicy, Extent, Fingerprint, HoldKind, Item, Manifest,
    Observation, OnDelete, OnExisting, OnImmutable, Origin, Plan, Policy, Preview, Resource, Seen, StackId, State, Timestamp,
};

/// A stack's situation. Lists read `address=content`; content `/` is a folder, in what was seen `?` is unknown.
struct Case {
    desired: &'static str,
    ours: &'static str,
    seen: &'static str,
    /// `owner:address=content`.
    theirs: &'static str,
    /// `stack:address`.
    wanted: &'static str,
    /// Stacks without a complete render.
    incomplete: &'static str,
    /// How addresses begin that are never removed without a yes.
    guarded: &'static str,
    /// Addresses whose kind the target does not know.
    deferred: &'static str,
    policy: Policy,
    settled: Settled,
    previews: BTreeMap<Address, Preview>,
    wish: Wish,
    /// The root cannot be seen.
    blind: bool,
    suspended: bool,
    approve: Option<fn(&Plan) -> Digest>,
}

impl Default for Case {
    fn default() -> Case {
        Case {
            desired: "",
            ours: "",
            seen: "",
            theirs: "",
            wanted: "",
            incomplete: "",
            guarded: "",
            deferred: "",
            policy: Policy::default(),
            settled: Settled::default(),
            previews: BTreeMap::new(),
            wish: Wish::Source,
            blind: false,
            suspended: false,
            approve: None,
        }
    }
}

const NOW: Timestamp = Timestamp(1_767_225_600_000);

fn id(app: &str) -> StackId {
    StackId::from_key(&format!("prod/{app}@web")).expect("a stack's name")
}

fn looks(content: &str) -> Fingerprint {
    Fingerprint::new(if content == "/" { "1:dir".to_owned() } else { format!("1:file:{content}") })
}

fn pairs(list: &str) -> Vec<(Address, &str)> {
    let pair = |word| str::split_once(word, '=').unwrap_or((word, ""));
    list.split_whitespace().map(pair).map(|(address, content)| (Address::new(address), content)).collect()
}

fn content(text: &str) -> Option<BlobRef> {
    (text != "/").then(|| BlobRef::of(text.as_bytes()))
}

fn manifest(list: &str) -> Manifest {
    let item = |(address, text): (Address, &str)| (address, Item { fingerprint: looks(text), content: content(text), errand: false });
    Manifest { items: pairs(list).into_iter().map(item).collect() }
}

fn observed(case: &Case) -> Observation {
    let asked = pairs(case.desired).into_iter().chain(pairs(case.ours)).map(|(address, _)| (address, Seen::Absent));
    let mut seen: BTreeMap<Address, Seen> = asked.collect();
    for (address, text) in pairs(case.seen) {
        let there = State { fingerprint: looks(text), bytes: 1, uid: None, evidence: Default::default() };
        seen.insert(address, if text == "?" { Seen::Unknown("cannot be read".to_owned()) } else { Seen::Present(there) });
    }
    let partial = seen.values().any(|seen| !seen.decided());
    let extent = match (case.blind, partial) {
        (true, _) => Extent::Unknown("there is no root".to_owned()),
        (false, true) => Extent::Partial("something cannot be read".to_owned()),
        (false, false) => Extent::Complete,
    };
    Observation { at: NOW, extent, seen }
}

fn claims(case: &Case) -> Claims {
    let mut claims = Claims::default();
    for (stack, rest) in case.theirs.split_whitespace().filter_map(|word| word.split_once(':')) {
        let (address, text) = rest.split_once('=').unwrap_or((rest, ""));
        claims.owners.insert(Address::new(address), (id(stack), looks(text)));
    }
    for (stack, address) in case.wanted.split_whitespace().filter_map(|word| word.split_once(':')) {
        claims.wanted.entry(Address::new(address)).or_default().insert(id(stack));
    }
    claims.incomplete = case.incomplete.split_whitespace().map(|stack| (id(stack), "does not render".to_owned())).collect();
    claims
}

/// Plans and gates a case, assesses it, and compares what comes out.
fn check(case: Case, expected: Expect) {
    let resource = |(address, text): (Address, &str)| {
        let resource = Resource { address: address.clone(), fingerprint: looks(text), content: content(text), origin: Origin::default() };
        (address, resource)
    };
    let desired = Desired { resources: pairs(case.desired).into_iter().map(resource).collect(), ..Desired::default() };
    let (inventory, observed, claims, stack) = (manifest(case.ours), observed(&case), claims(&case), id("site"));
    let guarded: Vec<(String, String)> =
        case.guarded.split_whitespace().map(|prefix| (prefix.to_owned(), "all that is in it goes too".to_owned())).collect();
    let deferred = |address: &str| (Address::new(address), Deferred { kind: address.to_owned(), why: "its kind is not known".to_owned() });
    let deferred: BTreeMap<Address, Deferred> = case.deferred.split_whitespace().map(deferred).collect();
    let sides = Sides::of(&desired, &inventory, &observed);
    let input = PlanInput {
        stack: &stack,
        policy: &case.policy,
        wish: case.wish,
        sides: &sides,
        claims: &claims,
        settled: &case.settled,
        previews: &case.previews,
        into: "",
        nested: true,
        ranks: &[],
        guarded: &guarded,
        deferred: &deferred,
        errands: &Errands::default(),
    };
    let proposed = plan(&input);
    assert_eq!(proposed, plan(&input), "the same input gives the same plan");
    let asked: BTreeSet<Address> = candidates(&sides).into_iter().collect();
    assert!(proposed.changes.iter().all(|change| asked.contains(&change.address)), "no change without asking for claims");
    let standing = Standing {
        resources: inventory.items.len(),
        empty: desired.resources.is_empty() && !inventory.items.is_empty() && case.wish != Wish::Orphan,
        suspended: case.suspended,
        blocked: None,
        nested: true,
    };
    let yes =
        case.approve.map(|digest| Approval { index: 7, digest: digest(&proposed), by: "anna".to_owned(), until: Timestamp(NOW.0 + 1) });
    let decision = gate(&proposed, &case.policy, standing, yes.as_slice(), NOW);
    let mut text = String::new();
    for part in decision.held.iter().filter(|part| part.kind == HoldKind::Drift) {
        text.push_str(&format!("to go on: {}\n", part.next.replace(&part.digest.short(), "DIGEST")));
    }
    for (index, change) in proposed.changes.iter().enumerate() {
        let reasons: Vec<String> = change.reasons.iter().map(trued_model::Reason::words).collect();
        let held = decision.held.iter().find(|part| part.changes.contains(&index));
        let held = held.map(|part| format!("; held as {}: {}", part.kind.word(), part.why)).unwrap_or_default();
        let keep = if change.keep { ", keeps what is there" } else { "" };
        text.push_str(&format!("{} {}: {}{keep}{held}\n", change.action.word(), change.address, reasons.join(", ")));
    }
    let assessment = assess(&sides, &claims, &StackMemory::default(), false, None);
    for item in &assessment.drift {
        text.push_str(&format!("drift {}: {}\n", item.address, item.cause.words()));
    }
    if text.is_empty() {
        text.push_str("nothing\n");
    }
    expected.assert_eq(&text);
}

#[test]
fn the_smallest_set_of_changes_in_the_order_they_run() {
    check(
        Case { desired: "a=1 b=2 c=3 d/e=4", ours: "a=1 b=1 x=1 y/z=1", seen: "a=1 b=1 x=1 y/z=1", ..Case::default() },
        expect![[r#"
            delete y/z: no longer desired
            delete x: no longer desired
            update b: desired state changed
            create c: not there yet
            create d/e: not there yet
        "#]],
    );
}

#[test]
fn what_is_as_desired_is_left_alone() {
    check(
        Case { desired: "a=1 b=2", ours: "a=1 b=2", seen: "a=1 b=2", ..Case::default() },
        expect![[r#"
        nothing
    "#]],
    );
}

#[test]
fn first_contact_adopts_what_is_the_same_and_holds_what_differs() {
    let case = Case { desired: "a=1 b=2", seen: "a=1 b=9", ..Case::default() };
    check(
        case,
        expect![[r#"
            update b: exists, differs and is not ours, keeps what is there; held as foreign: exists, differs and was not made from here
            adopt a: already there as desired
        "#]],
    );
    let policy = Policy { on_existing: OnExisting::TakeOver, ..Policy::default() };
    check(
        Case { desired: "a=1 b=2", seen: "a=1 b=9", policy, ..Case::default() },
        expect![[r#"
            update b: exists, differs and is not ours, keeps what is there
            adopt a: already there as desired
        "#]],
    );
}

#[test]
fn absent_unknown_and_a_missing_root_are_three_things() {
    check(
        Case { desired: "a=1", ours: "a=1 b=1 c=1", seen: "a=1 b=1", ..Case::default() },
        expect![[r#"
            delete b: no longer desired
            forget c: no longer desired and already gone
        "#]],
    );
    check(
        Case { desired: "a=1", ours: "a=1 b=1 c=1", seen: "a=1 b=1 c=?", ..Case::default() },
        expect![[r#"
            delete b: no longer desired; held as unseen: something cannot be read (and 1 more)
            delete c: no longer desired; held as unseen: something cannot be read (and 1 more)
        "#]],
    );
    check(
        Case { desired: "a=2", ours: "a=1 b=1", blind: true, ..Case::default() },
        expect![[r#"
            delete b: no longer desired; held as unseen: there is no root
            update a: desired state changed; held as unseen: there is no root
        "#]],
    );
}

#[test]
fn deletes_wait_for_every_other_stacks_render_and_for_claims() {
    check(
        Case { desired: "a=1", ours: "a=1 b=1", seen: "a=1 b=1", incomplete: "shop", ..Case::default() },
        expect![[r#"
            delete b: no longer desired; held as waiting: prod/shop@web shares this target and may desire it: does not render
        "#]],
    );
    check(
        Case { desired: "a=1", ours: "a=1 b=1", seen: "a=1 b=1", wanted: "shop:b", ..Case::default() },
        expect![[r#"
            forget b: moves between stacks (prod/shop@web); held as waiting: prod/shop@web takes it over
        "#]],
    );
    check(
        Case { desired: "a=1", ours: "a=1 b=1", seen: "a=1 b=9", theirs: "shop:b=9", wanted: "shop:b", ..Case::default() },
        expect![[r#"
            forget b: moves between stacks (prod/shop@web)
        "#]],
    );
}

#[test]
fn an_address_is_taken_over_only_from_an_owner_who_lets_go() {
    check(
        Case { desired: "a=1", seen: "a=1", theirs: "shop:a=1", ..Case::default() },
        expect![[r#"
            move a: moves between stacks (prod/shop@web)
        "#]],
    );
    check(
        Case { desired: "a=1", seen: "a=2", theirs: "shop:a=2", wanted: "blog:a shop:a", ..Case::default() },
        expect![[r#"
            move a: moves between stacks (prod/shop@web); held as claimed: belongs to prod/shop@web, which still desires it
        "#]],
    );
    check(
        Case { desired: "a=1", wanted: "blog:a shop:a zoo:a", ..Case::default() },
        expect![[r#"
            create a: not there yet; held as claimed: prod/blog@web desires it too, and comes first
        "#]],
    );
    check(
        Case { desired: "a=1", ours: "a=1", seen: "a=2", theirs: "zoo:a=2", wanted: "zoo:a", ..Case::default() },
        expect![[r#"
            move a: moves between stacks (prod/zoo@web); held as claimed: belongs to prod/zoo@web, which still desires it
        "#]],
    );
}

#[test]
fn files_and_folders_change_places() {
    check(
        Case { desired: "a/b=1", ours: "a=1", seen: "a=1", ..Case::default() },
        expect![[r#"
            delete a: no longer desired
            create a/b: not there yet
        "#]],
    );
    check(
        Case { desired: "a=1", ours: "a/b=1", seen: "a=/ a/b=1", ..Case::default() },
        expect![[r#"
            delete a/b: no longer desired
            replace a: desired state changed
        "#]],
    );
    check(
        Case { desired: "a/b=1", ours: "a=/", seen: "a=/", ..Case::default() },
        expect![[r#"
            create a/b: not there yet
            forget a: no longer desired
        "#]],
    );
}

#[test]
fn drift_is_put_back_left_alone_or_held() {
    let case = |drift, settled| Case {
        desired: "a=1 b=2",
        ours: "a=1 b=1",
        seen: "a=9 b=1",
        policy: Policy { drift, ..Policy::default() },
        settled,
        ..Case::default()
    };
    check(
        case(DriftPolicy::Revert, Settled::default()),
        expect![[r#"
            update a: changed from outside, keeps what is there
            update b: desired state changed
            drift a: from outside
        "#]],
    );
    check(
        case(DriftPolicy::Alert, Settled::default()),
        expect![[r#"
            update b: desired state changed
            drift a: from outside
        "#]],
    );
    check(
        case(DriftPolicy::Hold, Settled::default()),
        expect![[r#"
            to go on: answer the drift (trued incidents), or put back 1, update 1: trued approve DIGEST
            update a: changed from outside, keeps what is there; held as drift: changed from outside (and 1 more)
            update b: desired state changed; held as drift: changed from outside (and 1 more)
            drift a: from outside
        "#]],
    );
    check(
        case(DriftPolicy::Hold, Settled { revert: Some(5), ..Settled::default() }),
        expect![[r#"
            update a: changed from outside, answered in #5, keeps what is there
            update b: desired state changed
            drift a: from outside
        "#]],
    );
    check(
        case(DriftPolicy::Hold, Settled { left_alone: [Address::new("a")].into(), ..Settled::default() }),
        expect![[r#"
            update b: desired state changed
            drift a: from outside
        "#]],
    );
}

#[test]
fn a_yes_to_held_drift_says_what_else_it_lets_happen() {
    check(
        Case {
            desired: "a=1 b=2 c=1",
            ours: "a=1 b=1 d=1 e=1",
            seen: "a=9 b=1 d=1 e=1",
            policy: Policy { drift: DriftPolicy::Hold, ..Policy::default() },
            ..Case::default()
        },
        expect![[r#"
            to go on: answer the drift (trued incidents), or put back 1, create 1, update 1, delete 2: trued approve DIGEST
            delete d: no longer desired; held as drift: a was changed from outside (and 4 more)
            delete e: no longer desired; held as drift: a was changed from outside (and 4 more)
            update a: changed from outside, keeps what is there; held as drift: a was changed from outside (and 4 more)
            update b: desired state changed; held as drift: a was changed from outside (and 4 more)
            create c: not there yet; held as drift: a was changed from outside (and 4 more)
            drift a: from outside
        "#]],
    );
}

#[test]
fn fault_35_what_is_fought_over_is_held_alone_and_a_commit_or_an_answer_ends_it() {
    let case = |desired, settled| Case { desired, ours: "a=1 b=1", seen: "a=9 b=9", settled, ..Case::default() };
    let fought = || Settled { fought: [Address::new("a")].into(), ..Settled::default() };
    check(
        case("a=1 b=1", fought()),
        expect![[r#"
            to go on: answer the drift (trued incidents), or put back: trued approve DIGEST
            update a: changed from outside, keeps what is there; held as drift: was put back again and again, and is changed from outside each time
            update b: changed from outside, keeps what is there
            drift a: from outside
            drift b: from outside
        "#]],
    );
    check(
        case("a=2 b=1", fought()),
        expect![[r#"
            update a: desired state changed, changed from outside, keeps what is there
            update b: changed from outside, keeps what is there
            drift a: from outside
            drift b: from outside
        "#]],
    );
    check(
        case("a=1 b=1", Settled { revert: Some(5), ..fought() }),
        expect![[r#"
            update a: changed from outside, answered in #5, keeps what is there
            update b: changed from outside, answered in #5, keeps what is there
            drift a: from outside
            drift b: from outside
        "#]],
    );
}

#[test]
fn known_drift_that_is_out_of_sight_still_holds() {
    check(
        Case {
            desired: "a=1 b=2",
            ours: "a=1 b=1",
            seen: "a=? b=1",
            policy: Policy { drift: DriftPolicy::Hold, ..Policy::default() },
            settled: Settled { drifted: [Address::new("a")].into(), ..Settled::default() },
            ..Case::default()
        },
        expect![[r#"
            to go on: answer the drift (trued incidents), or update 1: trued approve DIGEST
            update b: desired state changed; held as drift: a was changed from outside
        "#]],
    );
}

#[test]
fn too_many_deletes_and_an_empty_render_wait_for_a_yes_to_just_them() {
    let ours = "1=x 2=x 3=x 4=x 5=x 6=x 7=x";
    let six: fn(&Plan) -> Digest = |plan| plan.digest_of(plan.changes.iter().filter(|change| change.after.is_none()));
    let case = |desired, approve, suspended| Case { desired, ours, seen: ours, approve, suspended, ..Case::default() };
    check(
        case("7=y", None, false),
        expect![[r#"
            delete 1: no longer desired; held as deletes: deletes 6 of 7, more than 5 and more than 20 %
            delete 2: no longer desired; held as deletes: deletes 6 of 7, more than 5 and more than 20 %
            delete 3: no longer desired; held as deletes: deletes 6 of 7, more than 5 and more than 20 %
            delete 4: no longer desired; held as deletes: deletes 6 of 7, more than 5 and more than 20 %
            delete 5: no longer desired; held as deletes: deletes 6 of 7, more than 5 and more than 20 %
            delete 6: no longer desired; held as deletes: deletes 6 of 7, more than 5 and more than 20 %
            update 7: desired state changed
        "#]],
    );
    check(
        case("7=y", Some(six), false),
        expect![[r#"
            delete 1: no longer desired
            delete 2: no longer desired
            delete 3: no longer desired
            delete 4: no longer desired
            delete 5: no longer desired
            delete 6: no longer desired
            update 7: desired state changed
        "#]],
    );
    check(
        Case { desired: "", ours: "1=x", seen: "1=x", approve: Some(|_| Digest::of(b"another plan")), ..Case::default() },
        expect![[r#"
            delete 1: no longer desired; held as empty: the render is empty; 1 were there before
        "#]],
    );
    check(
        Case { desired: "", ours: "1=x", seen: "1=x", approve: Some(Plan::digest), ..Case::default() },
        expect![[r#"
            delete 1: no longer desired
        "#]],
    );
    let strict = Policy { deletes: Deletes { count: 0, percent: 0 }, ..Policy::default() };
    check(
        Case { desired: "a=1", ours: "a=1 b=1", seen: "a=1 b=1", policy: strict, ..Case::default() },
        expect![[r#"
            delete b: no longer desired; held as deletes: deletes 1 of 2, more than 0
        "#]],
    );
}

#[test]
fn fault_40_what_takes_others_along_is_never_removed_without_a_yes() {
    let gone = || Case {
        ours: "namespace/shop=1 config/one=1",
        seen: "namespace/shop=1 config/one=1",
        desired: "config/two=2",
        guarded: "namespace/",
        ..Case::default()
    };
    check(
        gone(),
        expect![[r#"
        delete config/one: no longer desired
        delete namespace/shop: no longer desired; held as deletes: all that is in it goes too
        create config/two: not there yet
    "#]],
    );
    check(
        Case { approve: Some(Plan::digest), ..gone() },
        expect![[r#"
        delete config/one: no longer desired
        delete namespace/shop: no longer desired
        create config/two: not there yet
    "#]],
    );
}

#[test]
fn a_suspended_stack_runs_nothing_whatever_was_approved() {
    check(
        Case { desired: "a=2", ours: "a=1 b=1 c=1", seen: "a=1 b=1", suspended: true, approve: Some(Plan::digest), ..Case::default() },
        expect![[r#"
            delete b: no longer desired; held as suspended: a person suspended the stack
            update a: desired state changed; held as suspended: a person suspended the stack
            forget c: no longer desired and already gone
        "#]],
    );
}

#[test]
fn what_lies_above_or_below_a_held_change_waits_for_it() {
    check(
        Case { desired: "a/b=1 c=1", ours: "a=1", seen: "a=1", incomplete: "shop", ..Case::default() },
        expect![[r#"
            delete a: no longer desired; held as waiting: prod/shop@web shares this target and may desire it: does not render
            create c: not there yet
            create a/b: not there yet; held as depends: waits for a, which is held
        "#]],
    );
}

#[test]
fn on_delete_says_what_becomes_of_what_is_no_longer_desired() {
    let policy = Policy {
        on_delete: vec![("legal/**".to_owned(), OnDelete::Retain), ("logs/**".to_owned(), OnDelete::Report)],
        ..Policy::default()
    };
    check(
        Case { desired: "a=1", ours: "a=1 legal/x=1 logs/y=1 z=1", seen: "a=1 legal/x=1 logs/y=1 z=1", policy, ..Case::default() },
        expect![[r#"
            delete z: no longer desired
            forget legal/x: kept on the target as configured
        "#]],
    );
}

#[test]
fn an_orphan_waits_for_delete_or_forget() {
    let case = |word: Option<&str>| Case {
        ours: "a=1",
        seen: "a=1",
        wish: Wish::Orphan,
        settled: Settled { orphan: word.map(|word| (word.to_owned(), 3)), ..Settled::default() },
        ..Case::default()
    };
    check(
        case(None),
        expect![[r#"
            delete a: its stack is no longer configured; held as orphan: its stack is no longer configured
        "#]],
    );
    check(
        case(Some("delete")),
        expect![[r#"
            delete a: its stack is no longer configured, answered in #3
        "#]],
    );
    check(
        case(Some("forget")),
        expect![[r#"
            forget a: its stack is no longer configured, answered in #3
        "#]],
    );
}

#[test]
fn fault_27_what_is_of_a_kind_that_is_not_known_yet_waits_and_nothing_is_removed_meanwhile() {
    check(
        Case { desired: "a=1 widget=1", ours: "a=0 old=1 widget=0 gone=1", seen: "a=0 old=1", deferred: "widget", ..Case::default() },
        expect![[r#"
            delete old: no longer desired; held as deferred: nothing is removed while its kind is not known (and 1 more)
            update a: desired state changed
            create widget: desired state changed, removed from outside; held as deferred: nothing is removed while its kind is not known (and 1 more)
            forget gone: no longer desired and already gone
            drift widget: from outside
        "#]],
    );
}

#[test]
fn what_the_target_foresees_is_held_or_done_as_the_policy_says() {
    let anew = |guarded: Option<&str>| Preview::Anew { why: "the kind cannot change".to_owned(), guarded: guarded.map(str::to_owned) };
    let previews = || {
        BTreeMap::from([
            (Address::new("a"), anew(None)),
            (Address::new("b"), anew(Some("all that it stores goes"))),
            (Address::new("c"), Preview::Conflict("c.owner belongs to somebody".to_owned())),
            (Address::new("d"), Preview::Marked("belongs to another record".to_owned())),
            (Address::new("e"), Preview::Conflict("e.owner belongs to somebody".to_owned())),
        ])
    };
    let case = || Case {
        desired: "a=2 b=2 c=2 d=1 e=1 f=2",
        ours: "a=1 b=1 c=1 e=1 f=1",
        seen: "a=1 b=1 c=1 d=1 e=9 f=1",
        previews: previews(),
        ..Case::default()
    };
    check(
        case(),
        expect![[r#"
        replace a: desired state changed, cannot be changed in place; held as immutable: the kind cannot change (and 1 more)
        replace b: desired state changed, cannot be changed in place; held as immutable: the kind cannot change (and 1 more)
        update c: desired state changed, takes fields from others; held as conflict: c.owner belongs to somebody
        update e: changed from outside, keeps what is there
        update f: desired state changed
        adopt d: already there as desired, carries the mark of another; held as marked: belongs to another record
        drift e: from outside
    "#]],
    );
    let policy = Policy { on_immutable: OnImmutable::Replace, ..Policy::default() };
    check(
        Case { policy, ..case() },
        expect![[r#"
        replace a: desired state changed, cannot be changed in place
        replace b: desired state changed, cannot be changed in place; held as immutable: the kind cannot change; all that it stores goes
        update c: desired state changed, takes fields from others; held as conflict: c.owner belongs to somebody
        update e: changed from outside, keeps what is there
        update f: desired state changed
        adopt d: already there as desired, carries the mark of another; held as marked: belongs to another record
        drift e: from outside
    "#]],
    );
    check(
        Case { approve: Some(Plan::digest), ..case() },
        expect![[r#"
        replace a: desired state changed, cannot be changed in place
        replace b: desired state changed, cannot be changed in place
        update c: desired state changed, takes fields from others
        update e: changed from outside, keeps what is there
        update f: desired state changed
        adopt d: already there as desired, carries the mark of another
        drift e: from outside
    "#]],
    );
}
