//! What a table makes of lists and of what a watch tells.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::stream;
use http_body::Frame;
use http_body_util::StreamBody;
use serde_json::json;
use trued_doors::BoxStream;
use trued_doors::conformance::SteppedClock;
use trued_model::Timestamp;

use super::*;

fn table() -> (Arc<Table>, broadcast::Receiver<Address>) {
    let (hints, heard) = broadcast::channel(64);
    (Table::new(Kind::new("", "ConfigMap"), true, "/api/v1/configmaps".to_owned(), hints), heard)
}

/// An object at a version, with what we own of it at a time.
fn object(name: &str, version: u64, time: &str) -> Value {
    let entry = json!({ "manager": "trued", "operation": "Apply", "apiVersion": "v1", "time": time, "fieldsV1": { "f:data": {} } });
    let annotations = json!({ "trued.dev/ledger": "trued/1", "trued.dev/stack": "s", "trued.dev/epoch": "3" });
    json!({ "metadata": { "name": name, "namespace": "shop", "uid": format!("uid-{name}"), "resourceVersion": version.to_string(),
        "managedFields": [entry], "annotations": annotations } })
}

fn spot(name: &str) -> Spot {
    Spot { kind: Kind::new("", "ConfigMap"), namespace: Some("shop".to_owned()), name: name.to_owned() }
}

fn heard(hints: &mut broadcast::Receiver<Address>) -> Vec<String> {
    std::iter::from_fn(|| hints.try_recv().ok()).map(|address| address.to_string()).collect()
}

#[test]
fn fault_61_changes_that_are_not_about_what_is_ours_wake_nobody() {
    let (table, mut hints) = table();
    table.replace([object("one", 5, "T1")].iter().map(listed).collect(), 5);
    heard(&mut hints);
    // The status changed, somebody added a label of theirs: another version, the same fields of ours.
    for version in 6..50 {
        assert!(table.happened(WatchEvent::Modified(object("one", version, "T1"))).is_ok());
    }
    assert_eq!(heard(&mut hints), Vec::<String>::new());
    assert!(table.happened(WatchEvent::Modified(object("one", 50, "T2"))).is_ok());
    assert_eq!(heard(&mut hints), ["core/ConfigMap/shop/one"]);
}

#[test]
fn fault_59_an_older_view_never_replaces_a_newer_one() {
    let (table, mut hints) = table();
    table.replace([object("one", 5, "T1")].iter().map(listed).collect(), 5);
    table.take(&spot("one"), Entry::read(&object("one", 9, "T9")));
    heard(&mut hints);
    assert!(table.happened(WatchEvent::Modified(object("one", 7, "T7"))).is_ok());
    assert!(table.happened(WatchEvent::Deleted(object("one", 8, "T7"))).is_ok());
    assert_eq!(table.get(&spot("one")).unwrap().number, 9);
    assert_eq!(heard(&mut hints), Vec::<String>::new());
}

#[test]
fn fault_59_a_watch_that_goes_back_in_time_is_given_up_and_brings_nothing_back() {
    let (table, _hints) = table();
    table.replace([object("one", 5, "T1")].iter().map(listed).collect(), 20);
    assert!(table.happened(WatchEvent::Modified(object("one", 21, "T1"))).is_ok());
    assert!(table.happened(WatchEvent::Added(object("two", 21, "T1"))).is_ok(), "of one moment");
    assert!(matches!(table.happened(WatchEvent::Added(object("gone", 19, "T1"))), Err(Some(_))), "it went before the list");
    assert!(matches!(table.happened(WatchEvent::Deleted(object("one", 20, "T1"))), Err(Some(_))));
    assert!(table.get(&spot("gone")).is_none());
    assert_eq!(table.get(&spot("one")).unwrap().number, 21);
}

#[test]
fn fault_59_a_list_that_is_older_than_our_own_write_is_no_list_until_it_stays_so() {
    let (table, _hints) = table();
    table.replace([object("one", 5, "T1")].iter().map(listed).collect(), 5);
    table.take(&spot("two"), Entry::read(&object("two", 9, "T9")));
    let (mut since, now) = (None, Instant::now());
    assert!(table.lags("8", &mut since, now), "a replica that has not seen our write");
    assert!(!table.lags("9", &mut since, now) && !table.lags("", &mut since, now), "one that has, and one that does not count");
    assert!(table.lags("3", &mut since, now));
    assert!(!table.lags("3", &mut since, now + LAGS_AT_MOST), "the cluster was restored from a copy");
    table.replace([object("one", 2, "T0")].iter().map(listed).collect(), 3);
    assert_eq!((table.get(&spot("one")).unwrap().number, table.get(&spot("two")).is_none()), (2, true));
}

#[test]
fn fault_30_our_own_write_is_seen_at_once_and_wakes_nobody() {
    let (table, mut hints) = table();
    table.replace(Vec::new(), 1);
    table.take(&spot("one"), Entry::read(&object("one", 9, "T9")));
    assert!(table.happened(WatchEvent::Added(object("one", 9, "T9"))).is_ok());
    assert!(table.get(&spot("one")).is_some());
    assert_eq!(heard(&mut hints), Vec::<String>::new());
    assert_eq!(table.epoch("trued/1", "s"), 3);
    assert_eq!(table.epoch("trued/2", "s"), 0, "another ledger's epochs are not ours");
}

#[test]
fn fault_58_what_went_while_nobody_watched_is_found_by_the_next_list() {
    let (table, mut hints) = table();
    table.replace([object("one", 5, "T1"), object("two", 6, "T1")].iter().map(listed).collect(), 6);
    heard(&mut hints);
    let forgotten: kube::core::Status = serde_json::from_value(json!({ "code": 410, "message": "too old" })).unwrap();
    assert!(matches!(table.happened(WatchEvent::Error(forgotten.boxed())), Err(None)), "all is listed anew");
    table.replace([object("two", 6, "T1")].iter().map(listed).collect(), 7);
    assert_eq!(heard(&mut hints), ["core/ConfigMap/shop/one"]);
    assert!(table.get(&spot("one")).is_none());
}

type Body = StreamBody<BoxStream<'static, Result<Frame<Bytes>, Infallible>>>;

/// An API server that answers as it is told, in time that passes when nobody has anything to do.
fn server(answer: impl Fn(bool) -> Body + Clone + Send + Sync + 'static) -> Api {
    let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        let watches = request.uri().query().is_some_and(|query| query.contains("watch=1"));
        std::future::ready(Ok::<_, Infallible>(http::Response::new(answer(watches))))
    });
    Api::new(kube::Client::new(service, "default"), Arc::new(SteppedClock::at(Timestamp(0))))
}

/// This text, and then nothing: the answer ends, or stays open for ever.
fn said(text: &Value, ends: bool) -> Body {
    let text = stream::once(std::future::ready(Ok(Frame::data(Bytes::from(text.to_string() + "\n")))));
    StreamBody::new(if ends { text.boxed() } else { text.chain(stream::pending()).boxed() })
}

#[tokio::test(start_paused = true)]
async fn fault_58_a_watch_that_says_nothing_any_more_is_given_up_and_what_it_kept_back_is_found() {
    let (table, mut hints) = table();
    let lists = Arc::new(AtomicU64::new(0));
    let count = lists.clone();
    let api = server(move |watches| match watches {
        // One word, and then silence, while the connection stays.
        true => said(&json!({ "type": "MODIFIED", "object": object("two", 7, "T1") }), false),
        false => {
            let objects = match count.fetch_add(1, Ordering::SeqCst) {
                0 => json!([object("one", 5, "T1"), object("two", 6, "T1")]),
                // Meanwhile one went, and one was changed by somebody.
                _ => json!([object("two", 9, "T9")]),
            };
            let version = if objects.as_array().is_some_and(|objects| objects.len() == 2) { "6" } else { "9" };
            said(&json!({ "kind": "PartialObjectMetadataList", "metadata": { "resourceVersion": version }, "items": objects }), true)
        }
    });
    let began = Instant::now();
    let kept = tokio::spawn(table.clone().keep_current(api));
    assert!(matches!(table.standing(Duration::from_secs(45)).await, Standing::Complete));
    assert!(table.get(&spot("one")).is_some());
    let mut told = BTreeSet::new();
    while told.len() < 2 || table.get(&spot("one")).is_some() {
        let hint = tokio::time::timeout(SILENT_FOR * 4, hints.recv()).await.expect("it is found");
        told.insert(hint.expect("the table lives").to_string());
    }
    let took = began.elapsed();
    assert_eq!(told.into_iter().collect::<Vec<_>>(), ["core/ConfigMap/shop/one", "core/ConfigMap/shop/two"]);
    assert_eq!((lists.load(Ordering::SeqCst), table.get(&spot("two")).map(|two| two.number)), (2, Some(9)));
    assert!(took >= SILENT_FOR && took < SILENT_FOR + AGAIN_AFTER_AT_MOST, "{took:?}");
    // Whoever asks while it is silent for longer than it may is not told from what is old.
    kept.abort();
    tokio::time::sleep(SILENT_FOR * 2).await;
    assert!(matches!(table.standing(Duration::from_secs(45)).await, Standing::Lost(refusal) if refusal.code == Code::TimedOut));
}

#[tokio::test(start_paused = true)]
async fn a_watch_of_what_never_changes_says_so_now_and_then_and_is_kept() {
    let (table, _hints) = table();
    let (lists, watches) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (listed, watched) = (lists.clone(), watches.clone());
    let api = server(move |watch| {
        if !watch {
            listed.fetch_add(1, Ordering::SeqCst);
            return said(&json!({ "kind": "PartialObjectMetadataList", "metadata": { "resourceVersion": "6" }, "items": [] }), true);
        }
        watched.fetch_add(1, Ordering::SeqCst);
        // As servers do: a bookmark a minute, and an end after the time that was asked for.
        let bookmarks = stream::unfold(0, |said| async move {
            tokio::time::sleep(Duration::from_secs(60)).await;
            let bookmark = json!({ "type": "BOOKMARK", "object": { "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "resourceVersion": "6" } } });
            (said < 4).then(|| (Ok(Frame::data(Bytes::from(bookmark.to_string() + "\n"))), said + 1))
        });
        StreamBody::new(bookmarks.boxed())
    });
    let kept = tokio::spawn(table.clone().keep_current(api));
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(matches!(table.standing(Duration::from_secs(45)).await, Standing::Complete));
    assert_eq!((lists.load(Ordering::SeqCst), watches.load(Ordering::SeqCst)), (1, 12), "in an hour");
    kept.abort();
}
