//! Promises about entries, the tree over them, and notes beside them.

use futures::executor::block_on;
use serde_json::{Value, json};
use trued_model::{BlobNote, BlobRef, Code, Draft, Duration, Entry, Kind, Link, MAX_ENTRY, Timestamp};

use super::{START, Subject, draft, root_of, stack};
use crate::{Query, Store, TreeHead};

fn leaves(store: &dyn Store) -> Vec<Vec<u8>> {
    let head = block_on(store.head()).expect("head");
    block_on(store.leaves(0, head.size)).expect("leaves")
}

fn refused(store: &dyn Store, drafts: Vec<Draft>) -> Code {
    let before = block_on(store.head()).expect("head");
    let code = block_on(store.append(drafts, None)).expect_err("a refusal").code;
    assert_eq!(block_on(store.head()).expect("head"), before, "a refused batch leaves nothing");
    code
}

pub fn an_empty_ledger_has_no_origin(subject: &dyn Subject) {
    let store = subject.open();
    assert_eq!(block_on(store.origin()).expect("origin"), None);
    assert_eq!(block_on(store.head()).expect("head"), TreeHead { size: 0, root: root_of(&[]) });
    assert!(block_on(store.append(Vec::new(), None)).expect("an empty batch").is_empty());
    assert_eq!(block_on(store.origin()).expect("origin"), None, "an empty batch fixes nothing");
    assert!(block_on(store.find(Query::default())).expect("find").is_empty());
    assert!(block_on(store.leaves(0, 10)).expect("leaves").is_empty());

    block_on(store.append(vec![draft(Kind::Heartbeat, None, 0)], None)).expect("append");
    let origin = block_on(store.origin()).expect("origin").expect("fixed by the first append");
    assert!(origin.strip_prefix("trued/").is_some_and(|id| id.len() == 36), "{origin}");
    block_on(subject.open().append(vec![draft(Kind::Heartbeat, None, 1)], None)).expect("append");
    assert_eq!(block_on(subject.open().origin()).expect("origin"), Some(origin));
}

pub fn entries_keep_their_order(subject: &dyn Subject) {
    let store = subject.open();
    let mut expect = Vec::new();
    for (first, count) in [(0u64, 1u64), (1, 300), (301, 2)] {
        let drafts = (first..first + count).map(|n| draft(Kind::Observed, Some("dev/site@web"), n)).collect();
        let appended = block_on(store.append(drafts, None)).expect("append");
        assert_eq!(appended.iter().map(|entry| entry.index).collect::<Vec<_>>(), (first..first + count).collect::<Vec<_>>());
        expect.extend(appended);
    }
    assert!(expect.iter().all(|entry| entry.entry.body == json!({ "n": entry.index })));
    let found = block_on(subject.open().find(Query { ascending: true, ..Query::default() })).expect("find");
    assert_eq!(found, expect);
}

pub fn leaves_are_canonical(subject: &dyn Subject) {
    let store = subject.open();
    let full = Draft {
        run: Some("0192c0de-0000-7000-8000-000000000001".to_owned()),
        revision: Some("9f1c".to_owned()),
        links: vec![Link::new("outcome-of", 0)],
        body: json!({ "z": [1, -7, 0.25, null, true], "a": { "ü": "\u{1}\"\\ €", "": {} } }),
        blobs: vec![BlobNote::new("plan", BlobRef { sealed: true, ..BlobRef::of(b"plan") })],
        ..draft(Kind::Verdict, Some("prod/site@web"), 1)
    };
    let appended = block_on(store.append(vec![draft(Kind::Intent, None, 0), full], None)).expect("append");
    let leaves = leaves(&*store);
    assert_eq!(leaves.len(), 2);
    for (at, leaf) in appended.iter().zip(&leaves) {
        assert_eq!(*leaf, at.entry.leaf(), "the stored bytes are the canonical ones");
        assert_eq!(serde_json::from_slice::<Entry>(leaf).expect("an entry"), at.entry, "and read back as what was answered");
    }
    assert_eq!(block_on(store.leaves(1, 2)).expect("leaves"), leaves[1..]);
    assert_eq!(block_on(store.leaves(1, 9)).expect("leaves past the end"), leaves[1..]);
}

pub fn the_root_is_that_of_rfc_6962(subject: &dyn Subject) {
    let store = subject.open();
    for (n, count) in [1u64, 1, 1, 4, 1, 250, 3, 260].into_iter().enumerate() {
        let drafts = (0..count).map(|k| draft(Kind::Observed, None, n as u64 * 1000 + k)).collect();
        block_on(store.append(drafts, None)).expect("append");
        let leaves = leaves(&*store);
        assert_eq!(block_on(store.head()).expect("head"), TreeHead { size: leaves.len() as u64, root: root_of(&leaves) });
        assert_eq!(block_on(subject.open().head()).expect("head"), block_on(store.head()).expect("head"));
    }
}

pub fn time_never_goes_back_in_the_record(subject: &dyn Subject) {
    let store = subject.open();
    let append = || block_on(store.append(vec![draft(Kind::Heartbeat, None, 0)], None)).expect("append")[0].entry.recorded_at;
    let first = append();
    assert_eq!(first, START);
    subject.clock().set_wall(START - Duration::from_secs(3600));
    assert_eq!(append(), first);
    assert_eq!(block_on(subject.open().append(vec![draft(Kind::Heartbeat, None, 0)], None)).expect("append")[0].entry.recorded_at, first);
    subject.clock().set_wall(START + Duration(1));
    assert_eq!(append(), START + Duration(1));
}

pub fn an_entry_too_large_refuses_its_batch(subject: &dyn Subject) {
    let store = subject.open();
    let sized = |bytes: usize| {
        let mut draft = draft(Kind::Observed, None, 0);
        draft.body = Value::String(String::new());
        let rest = Entry::new(draft.clone(), START).leaf().len();
        draft.body = Value::String("x".repeat(bytes - rest));
        draft
    };
    assert_eq!(refused(&*store, vec![draft(Kind::Observed, None, 0), sized(MAX_ENTRY + 1)]), Code::TooLarge);
    let mut escaped = draft(Kind::Observed, None, 0);
    escaped.body = Value::String("\u{1}".repeat(MAX_ENTRY / 5));
    assert_eq!(refused(&*store, vec![escaped]), Code::TooLarge);
    block_on(store.append(vec![sized(MAX_ENTRY)], None)).expect("the largest entry");
    assert_eq!(leaves(&*store)[0].len(), MAX_ENTRY);
}

pub fn numbers_that_would_change_are_refused(subject: &dyn Subject) {
    let store = subject.open();
    for body in [json!({ "n": u64::MAX }), json!([i64::MIN]), json!({ "a": [1.0] }), json!(9_007_199_254_740_992u64)] {
        assert_eq!(refused(&*store, vec![Draft { body, ..draft(Kind::Observed, None, 0) }]), Code::Invalid);
    }
    let ages_away = Draft { valid_from: Timestamp(i64::MAX), ..draft(Kind::Observed, None, 0) };
    assert_eq!(refused(&*store, vec![ages_away]), Code::Invalid);
    let exact = Draft { body: json!([9_007_199_254_740_991u64, 0.5]), ..draft(Kind::Observed, None, 0) };
    block_on(store.append(vec![exact], None)).expect("exact numbers");
}

pub fn eight_appenders_make_one_tree(subject: &dyn Subject) {
    const EACH: u64 = 20;
    let mut indices: Vec<u64> = std::thread::scope(|threads| {
        let appenders: Vec<_> = (0..8u64)
            .map(|who| {
                threads.spawn(move || {
                    let store = subject.open();
                    let one = |n| {
                        let batch = (0..=n % 3).map(|k| draft(Kind::Observed, Some("dev/site@web"), who * 10_000 + n * 10 + k)).collect();
                        let appended = block_on(store.append(batch, None)).expect("append");
                        assert!(appended.windows(2).all(|pair| pair[0].index + 1 == pair[1].index), "a batch stays together");
                        appended.into_iter().map(|entry| entry.index).collect::<Vec<_>>()
                    };
                    (0..EACH).flat_map(one).collect::<Vec<_>>()
                })
            })
            .collect();
        appenders.into_iter().flat_map(|appender| appender.join().expect("an appender")).collect()
    });
    indices.sort_unstable();
    assert_eq!(indices, (0..indices.len() as u64).collect::<Vec<_>>(), "no place is given twice, none is left out");
    let store = subject.open();
    let leaves = leaves(&*store);
    assert_eq!(block_on(store.head()).expect("head"), TreeHead { size: indices.len() as u64, root: root_of(&leaves) });
}

pub fn notes_are_kept(subject: &dyn Subject) {
    let store = subject.open();
    assert_eq!(block_on(store.note("accepted/site")).expect("note"), None);
    for value in [&b"one"[..], b"", b"two"] {
        block_on(store.set_note("accepted/site", value)).expect("set");
        block_on(store.set_note("accepted/shop", b"other")).expect("set");
        assert_eq!(block_on(subject.open().note("accepted/site")).expect("note").as_deref(), Some(value));
    }
    assert_eq!(block_on(store.head()).expect("head").size, 0, "notes are not part of the record");
}

pub fn stacks_are_those_that_entries_name(subject: &dyn Subject) {
    let store = subject.open();
    assert!(block_on(store.stacks()).expect("stacks").is_empty());
    let drafts = [Some("prod/site@web"), None, Some("dev/site@web"), Some("prod/site@web"), Some("prod/blog@web")];
    block_on(store.append(drafts.into_iter().map(|about| draft(Kind::Observed, about, 0)).collect(), None)).expect("append");
    let expect = vec![stack("dev/site@web"), stack("prod/blog@web"), stack("prod/site@web")];
    assert_eq!(block_on(subject.open().stacks()).expect("stacks"), expect);
}
