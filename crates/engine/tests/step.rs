//! The walk of one run, told as the effects it asks for.

use expect_test::{Expect, expect};
use trued_engine::{Effect, Event, Phase, Planned, step};

/// Walks with everything succeeding but what `change` says otherwise of an effect.
fn check(begun: bool, planned: Planned, change: impl Fn(Effect) -> Option<Event>, expected: Expect) {
    let (mut phase, mut event) = (Phase::Woken, Event::Begun { open_intents: begun });
    let mut told = Vec::new();
    // No walk is longer: each batch takes two steps.
    for _ in 0..40 {
        let (next, effect) = step(phase, event);
        told.push(format!("{effect:?}"));
        if effect == Effect::End {
            expected.assert_eq(&format!("{}\n", told.join(" ")));
            return;
        }
        phase = next;
        event = change(effect).unwrap_or(match effect {
            Effect::Plan => Event::Planned(planned),
            Effect::Apply(_) => Event::Applied { refused: false },
            Effect::Receipt(_) => Event::Received { newer: false, refused: false, ends: false },
            Effect::Check => Event::Checked { passed: true },
            _ => Event::Done,
        });
    }
    panic!("the walk has no end: {told:?}");
}

const WRITES: Planned =
    Planned { batches: 2, bookkeeping: false, keeps: true, unproven: true, whole: true, commands: true, confirms: false };

#[test]
fn a_whole_walk_goes_one_way() {
    check(
        true,
        WRITES,
        |_| None,
        expect![[r#"
            Recover Render Observe Plan Note Keep Intend Apply(0) Receipt(0) Apply(1) Receipt(1) Confirm Command Check Conclude(Landed) End
        "#]],
    );
}

#[test]
fn nothing_to_do_asks_for_nothing() {
    check(
        false,
        Planned { whole: true, ..Planned::default() },
        |_| None,
        expect![[r#"
            Render Observe Plan Note End
        "#]],
    );
}

#[test]
fn what_is_in_place_and_unproven_is_checked() {
    check(
        false,
        Planned { whole: true, unproven: true, ..Planned::default() },
        |_| None,
        expect![[r#"
            Render Observe Plan Note Check Conclude(Landed) End
        "#]],
    );
}

#[test]
fn a_newer_revision_ends_the_run_after_the_batch_in_hand() {
    check(
        false,
        WRITES,
        |effect| (effect == Effect::Receipt(0)).then_some(Event::Received { newer: true, refused: false, ends: false }),
        expect![[r#"
            Render Observe Plan Note Keep Intend Apply(0) Receipt(0) Conclude(Superseded) End
        "#]],
    );
}

#[test]
fn a_refusal_lets_other_batches_run_and_fails_the_run() {
    check(
        false,
        WRITES,
        |effect| matches!(effect, Effect::Receipt(_)).then_some(Event::Received { newer: false, refused: true, ends: false }),
        expect![[r#"
            Render Observe Plan Note Keep Intend Apply(0) Receipt(0) Apply(1) Receipt(1) Conclude(Failed) End
        "#]],
    );
}

#[test]
fn a_failure_before_the_intent_ends_and_after_it_is_concluded() {
    let fails = |at: Effect| move |effect| (effect == at).then_some(Event::Failed);
    for early in [Effect::Render, Effect::Observe, Effect::Plan, Effect::Note, Effect::Keep, Effect::Intend] {
        let mut phase = (Phase::Woken, Event::Begun { open_intents: false });
        loop {
            let (next, effect) = step(phase.0, phase.1);
            assert!(!matches!(effect, Effect::Apply(_) | Effect::Conclude(_)), "after a failed {early:?}: {effect:?}");
            if effect == Effect::End {
                break;
            }
            let planned = if effect == Effect::Plan { Event::Planned(WRITES) } else { Event::Done };
            phase = (next, if effect == early { Event::Failed } else { planned });
        }
    }
    check(
        false,
        WRITES,
        fails(Effect::Apply(0)),
        expect![[r#"
            Render Observe Plan Note Keep Intend Apply(0) Conclude(Failed) End
        "#]],
    );
    check(
        false,
        WRITES,
        fails(Effect::Confirm),
        expect![[r#"
            Render Observe Plan Note Keep Intend Apply(0) Receipt(0) Apply(1) Receipt(1) Confirm Conclude(Failed) End
        "#]],
    );
}

#[test]
fn what_is_held_leaves_the_run_blocked() {
    check(
        false,
        Planned { whole: false, ..WRITES },
        |_| None,
        expect![[r#"
            Render Observe Plan Note Keep Intend Apply(0) Receipt(0) Apply(1) Receipt(1) Confirm Command Conclude(Blocked) End
        "#]],
    );
}
