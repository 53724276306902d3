mod common;
use common::*;
use serde_json::json;
use trued_model::*;
#[test]
fn adhoc() {
    let mut story = Story::new();
    let noise: Vec<StackId> = (0..50).map(|i| stack(&format!("env{i}/app@web"))).collect();
    let n: usize = std::env::var("N").ok().and_then(|n| n.parse().ok()).unwrap_or(100_000);
    let blobs: Vec<BlobNote> = vec![story.manifest("observed", &[("x", "y")])];
    let looks = story.blob("looks", b"{\"at\":{}}");
    for batch in 0..n / 1000 {
        let drafts: Vec<Draft> = (0..1000).map(|i| {
            let at = 1000 + (batch * 1000 + i) as i64;
            let s = if i == 500 && batch % 10 == 0 { stack("prod/site@web") } else { noise[i % 50].clone() };
            match i % 100 {
                0 => story.draft(at, Kind::Heartbeat, None, json!({"stacks": 2, "interval": "1m"}), vec![looks.clone()], vec![]),
                _ => story.draft(at, Kind::Observed, Some(&s), json!({"count": 1, "why": ""}), blobs.clone(), vec![]),
            }
        }).collect();
        story.many(drafts);
    }
    for time in ["2026-03-19T20:00:30Z", "2026-03-20T10:00:00Z", "now"] {
        for _ in 0..3 {
            let begun = std::time::Instant::now();
            let said = story.ask(&["at", time, "prod/site"]);
            eprintln!("{time}: {:?} {}", begun.elapsed(), said.out.lines().next().unwrap_or(""));
        }
    }
    for v in [&["status", "prod/site"][..], &["incidents", "prod/site"], &["log", "--limit", "1"]] {
        let begun = std::time::Instant::now();
        story.ask(v);
        eprintln!("{v:?}: {:?}", begun.elapsed());
    }
}
