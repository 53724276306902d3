//! Promises about queries: each answers as reading everything and filtering would.

use futures::executor::block_on;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use trued_model::{Draft, Duration, Indexed, Kind, Timestamp};

use super::{START, Subject, draft, stack};
use crate::{Query, Store};

const STACKS: [Option<&str>; 4] = [None, Some("dev/site@web"), Some("prod/site@web"), Some("prod/rare@web")];
const KINDS: [Kind; 4] = [Kind::Intent, Kind::Verdict, Kind::DriftOpened, Kind::Heartbeat];
const REVISIONS: [Option<&str>; 5] = [None, Some("9f1c5e0a"), Some("9f1c5e0a+dirty.0123456789ab"), Some("9f1d"), Some("sha256:9f1c5e")];
const RUNS: [Option<&str>; 3] = [None, Some("run-a"), Some("run-ab")];

/// The plain meaning of a query. What stands here is the contract; nothing of any store is used.
fn scan(all: &[Indexed], query: &Query) -> Vec<Indexed> {
    let wanted = |at: &&Indexed| {
        let entry = &at.entry;
        let revision = |prefix: &String| {
            entry
                .revision
                .as_ref()
                .is_some_and(|id| id.starts_with(prefix) || id.strip_prefix("sha256:").is_some_and(|hex| hex.starts_with(prefix)))
        };
        query.stack.as_ref().is_none_or(|stack| entry.stack.as_ref() == Some(stack))
            && (query.kinds.is_empty() || query.kinds.contains(&entry.kind))
            && query.from.is_none_or(|from| entry.valid_from >= from)
            && query.until.is_none_or(|until| entry.valid_from <= until)
            && query.revision.as_ref().is_none_or(revision)
            && query.run.as_ref().is_none_or(|run| entry.run.as_ref() == Some(run))
            && query.after.is_none_or(|after| at.index > after)
            && query.before.is_none_or(|before| at.index < before)
    };
    let mut found: Vec<Indexed> = all.iter().filter(wanted).cloned().collect();
    if !query.ascending {
        found.reverse();
    }
    found.truncate(query.limit.unwrap_or(usize::MAX));
    found
}

fn drafts() -> impl Strategy<Value = Vec<Draft>> {
    let one = (0..STACKS.len() * 4, 0..KINDS.len(), 0..REVISIONS.len(), 0..RUNS.len(), -3i64..4, prop::bool::weighted(0.02));
    prop::collection::vec(one, 0..700).prop_map(|all| {
        let drafted = |(n, (about, kind, revision, run, jitter, stray)): (usize, (usize, usize, usize, usize, i64, bool))| Draft {
            // One stack in sixteen drafts is the rare one.
            stack: STACKS[if about == 15 { 3 } else { about % 3 }].map(stack),
            valid_from: Timestamp(START.0 + n as i64 * 1000 + jitter * if stray { 100_000 } else { 700 }),
            revision: REVISIONS[revision].map(str::to_owned),
            run: RUNS[run].map(str::to_owned),
            ..draft(KINDS[kind], None, n as u64)
        };
        all.into_iter().enumerate().map(drafted).collect()
    })
}

fn query() -> impl Strategy<Value = Query> {
    let instant = || prop::option::weighted(0.4, (-400_000i64..1_100_000).prop_map(|ms| Timestamp(START.0 + ms)));
    let index = || prop::option::weighted(0.3, 0u64..720);
    let prefixes = ["9f1c5e0a", "9f1c", "9f1d", "sha256:9", "", "a", "9f1c5e0a+dirty", "%", "9f1c5e0a\u{10ffff}"];
    (
        (prop::option::of(1..STACKS.len()), prop::collection::vec(0..KINDS.len(), 0..3)),
        (instant(), instant(), prop::option::weighted(0.2, prop::sample::select(prefixes.to_vec()))),
        (prop::option::weighted(0.2, 1..RUNS.len()), index(), index()),
        (prop::option::of(prop_oneof![Just(0usize), Just(1), Just(7), Just(1000)]), any::<bool>()),
    )
        .prop_map(|((about, kinds), (from, until, revision), (run, after, before), (limit, ascending))| Query {
            stack: about.and_then(|n| STACKS[n]).map(stack),
            kinds: kinds.into_iter().map(|n| KINDS[n]).collect(),
            from,
            until,
            revision: revision.map(str::to_owned),
            run: run.and_then(|n| RUNS[n]).map(str::to_owned),
            after,
            before,
            limit,
            ascending,
        })
}

fn agrees(store: &dyn Store, all: &[Indexed], query: &Query) {
    let found = block_on(store.find(query.clone())).expect("find");
    assert_eq!(found, scan(all, query), "{query:?}");
}

/// One ledger per case would cost more than it shows: the entries are drawn once, the queries many times.
pub fn queries_answer_as_a_full_scan_would(subject: &dyn Subject) {
    let store = subject.open();
    let mut runner = TestRunner::new(Config { cases: 300, failure_persistence: None, ..Config::default() });
    let mut all = Vec::new();
    for _ in 0..2 {
        let drafts = drafts().new_tree(&mut runner).expect("drafts").current();
        for batch in drafts.chunks(50) {
            subject.clock().pass(Duration(50_000));
            all.extend(block_on(store.append(batch.to_vec(), None)).expect("append"));
        }
        let agreed = runner.run(&query(), |query| {
            agrees(&*store, &all, &query);
            Ok(())
        });
        agreed.expect("queries agree");
    }
}

pub fn limits_and_bounds_hold_together(subject: &dyn Subject) {
    let store = subject.open();
    let drafts = (0..10).map(|n| draft(KINDS[n % 2], Some("dev/site@web"), n as u64)).collect();
    let all = block_on(store.append(drafts, None)).expect("append");
    let newest_verdict = Query { kinds: vec![Kind::Verdict], limit: Some(1), ..Query::default() };
    assert_eq!(block_on(store.find(newest_verdict)).expect("find"), all[9..]);
    let doubled = Query { kinds: vec![Kind::Verdict, Kind::Verdict], ..Query::default() };
    agrees(&*store, &all, &doubled);
    let nothing = Query { after: Some(4), before: Some(5), ..Query::default() };
    assert!(block_on(store.find(nothing)).expect("find").is_empty());
    let all_bounds = Query {
        after: Some(0),
        before: Some(u64::MAX),
        from: Some(Timestamp(i64::MIN)),
        until: Some(Timestamp(i64::MAX)),
        ..Query::default()
    };
    agrees(&*store, &all, &all_bounds);
    agrees(&*store, &all, &Query { after: Some(u64::MAX), ..Query::default() });
}

/// What was true long before it was recorded is found by when it was true.
pub fn late_records_are_found(subject: &dyn Subject) {
    let store = subject.open();
    let at = |n: i64| Timestamp(START.0 + n * 1000);
    let drafts = (0..600).map(|n| Draft { valid_from: if n == 500 { at(3) } else { at(n) }, ..draft(Kind::Observed, None, n as u64) });
    let all = block_on(store.append(drafts.collect(), None)).expect("append");
    let newest = Query { until: Some(at(10)), limit: Some(2), ..Query::default() };
    let found: Vec<u64> = block_on(store.find(newest)).expect("find").iter().map(|at| at.index).collect();
    assert_eq!(found, [500, 10]);
    for ascending in [false, true] {
        agrees(&*store, &all, &Query { until: Some(at(10)), ascending, ..Query::default() });
        agrees(&*store, &all, &Query { from: Some(at(598)), ascending, ..Query::default() });
        agrees(&*store, &all, &Query { from: Some(at(2)), until: Some(at(4)), ascending, ..Query::default() });
    }
}
