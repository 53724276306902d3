//! The plan as it leaves the house: its stored form and what its digest covers are fixed here, byte for byte.

use trued_model::{Action, Address, BlobRef, Change, Digest, Fingerprint, HoldKind, Plan, Policy, Reason, StackId, canonical};

fn stack(app: &str) -> StackId {
    let name = |text: &str| text.parse().expect("a name");
    StackId { environment: name("prod"), app: name(app), target: name("web-1") }
}

fn file(bytes: &[u8]) -> Option<Fingerprint> {
    Some(Fingerprint::new(format!("1:file:644:{}", Digest::of(bytes).hex())))
}

fn sample() -> Plan {
    let change = |address: &str, action, before, after, reasons| Change {
        address: Address::new(address),
        action,
        before,
        after,
        uid: None,
        other: None,
        content: None,
        keep: false,
        reasons,
        hold: None,
        turn: None,
        awaits: None,
    };
    let update = Change {
        content: Some(BlobRef::of(b"two\n")),
        keep: true,
        hold: Some((HoldKind::Drift, "changed from outside".to_owned())),
        ..change("prod/index.html", Action::Update, file(b"one\n"), file(b"two\n"), vec![Reason::DesiredChanged, Reason::ChangedOutside])
    };
    let moved = Change {
        other: Some(stack("shop")),
        ..change("prod/logo.svg", Action::Move, file(b"svg"), file(b"svg"), vec![Reason::Claimed { stack: stack("shop") }])
    };
    Plan {
        v: 1,
        stack: stack("site"),
        target: "web-1".parse().expect("a name"),
        policy: Digest::of_canonical(&Policy::default()),
        changes: vec![change("prod/old.html", Action::Delete, file(b"old"), None, vec![Reason::NotDesired]), update, moved],
    }
}

#[test]
fn a_plan_is_written_as_the_golden_file_has_it() {
    let golden = include_str!("golden/plan.json");
    assert_eq!(String::from_utf8(canonical(&sample())).expect("text"), golden.trim_end());
    let read: Plan = serde_json::from_str(golden).expect("the golden file is a plan");
    assert_eq!(read, sample());
}

#[test]
fn its_digest_is_the_golden_one() {
    assert_eq!(sample().digest().to_string(), include_str!("golden/plan.digest").trim_end());
}

#[test]
fn wording_and_bytes_that_follow_are_not_covered() {
    let mut plan = sample();
    for change in &mut plan.changes {
        change.reasons.clear();
        change.hold = None;
        change.keep = false;
        change.content = None;
    }
    assert_eq!(plan.digest(), sample().digest());
}

#[test]
fn everything_that_decides_what_runs_is_covered() {
    type Edit = fn(&mut Plan);
    let edits: [(&str, Edit); 9] = [
        ("stack", |plan| plan.stack = stack("other")),
        ("target", |plan| plan.target = "web-2".parse().expect("a name")),
        ("policy", |plan| plan.policy = Digest::of(b"another")),
        ("address", |plan| plan.changes[0].address = Address::new("prod/older.html")),
        ("action", |plan| plan.changes[0].action = Action::Forget),
        ("before", |plan| plan.changes[0].before = file(b"else")),
        ("after", |plan| plan.changes[1].after = file(b"else")),
        ("precondition", |plan| plan.changes[1].uid = Some("7".to_owned())),
        ("order", |plan| plan.changes.reverse()),
    ];
    for (what, edit) in edits {
        let mut plan = sample();
        edit(&mut plan);
        assert_ne!(plan.digest(), sample().digest(), "{what} is not covered");
    }
}
