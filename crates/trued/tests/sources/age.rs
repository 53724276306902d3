//! Sources that say nothing, or nothing new, for too long.

use std::time::Duration;

use serde_json::Value;

use crate::kit::{Shop, repo_of};
use crate::servers::{Repo, Server};

fn followed(alarm: &str) -> (Repo, Server, Shop) {
    let repo = repo_of("shop");
    repo.commit_file("site/index.html", "one");
    let server = Server::start(repo.path.parent().expect("a folder"));
    let shop = Shop::new(&[("shop", settings(&server, alarm))]);
    (repo, server, shop)
}

fn settings(server: &Server, alarm: &str) -> String {
    format!("{{ git: {{ url: \"{}\", branch: main{alarm} }} }}", server.url("repo"))
}

fn kinds(shop: &Shop) -> Vec<String> {
    let incidents = shop.json(&["incidents"])["incidents"].as_array().expect("a list").clone();
    incidents.iter().map(|one| format!("{} {}", one["source"].as_str().unwrap_or("none"), one["kind"].as_str().expect("a kind"))).collect()
}

/// What `status` says of sources.
fn sources(shop: &Shop) -> Vec<Value> {
    shop.json(&["status"])["sources"].as_array().expect("a list").clone()
}

#[test]
fn r20_a_mirror_that_answers_and_never_moves_is_an_incident_until_it_moves_or_a_person_has_looked() {
    let (repo, server, shop) = followed(", alarm: { unmoved: 2s }");
    shop.run(&["apply"], 0);
    assert_eq!((kinds(&shop).len(), sources(&shop).len()), (0, 0));
    std::thread::sleep(Duration::from_millis(2100));
    // It rings, and stands in nobody's way.
    shop.run(&["apply"], 0);
    assert_eq!(kinds(&shop), ["shop unmoved"]);
    let said = shop.run(&["status"], 3);
    assert!(said.contains("source shop  unmoved since ") && said.contains("has not moved from "), "{said}");
    assert_eq!(sources(&shop)[0]["kind"], "unmoved");
    shop.run(&["apply"], 0);
    assert_eq!(shop.log("incident.opened").len(), 1, "it rings once");
    // A person looked: it may stay for as long again.
    let index = sources(&shop)[0]["incident"].to_string();
    shop.run(&["answer", &format!("#{index}"), "accept", "--reason", "nobody pushed"], 0);
    shop.run(&["apply"], 0);
    assert_eq!((kinds(&shop).len(), sources(&shop).len()), (0, 0));
    shop.run(&["status"], 0);
    std::thread::sleep(Duration::from_millis(2100));
    shop.run(&["apply"], 0);
    assert_eq!(kinds(&shop), ["shop unmoved"]);
    repo.commit_file("site/index.html", "two");
    shop.run(&["apply"], 0);
    assert_eq!((kinds(&shop).len(), shop.log("incident.closed").len()), (0, 2));
    // The operator says that it may stay for ever.
    std::thread::sleep(Duration::from_millis(2100));
    shop.run(&["apply"], 0);
    assert_eq!(kinds(&shop), ["shop unmoved"]);
    shop.operator(&[("shop", settings(&server, ", alarm: { unmoved: never }"))]);
    shop.run(&["apply"], 0);
    assert!(kinds(&shop).is_empty());
    shop.run(&["verify"], 0);
}

#[test]
fn r20_a_source_that_does_not_answer_is_an_incident_after_the_operators_span_and_closed_by_an_answer() {
    let (_repo, mut server, mut shop) = followed(", alarm: { unanswered: 1d }");
    shop.run(&["apply"], 0);
    server.go_down();
    for _ in 0..4 {
        shop.run(&["apply"], 1);
    }
    assert!(kinds(&shop).is_empty(), "four asks are no day");
    shop.operator(&[("shop", settings(&server, ", alarm: { unanswered: 1s }"))]);
    shop.serve();
    shop.until("the alarm", || kinds(&shop) == ["shop fetch"]);
    let said = shop.run(&["status"], 3);
    assert!(said.contains("source shop  fetch since ") && said.contains("stale since "), "{said}");
    assert_eq!(shop.live("shop/index.html").as_deref(), Some("one"), "the last good state stays");
    server.come_back();
    shop.until("the all-clear", || kinds(&shop).is_empty());
    shop.end();
    assert!(sources(&shop).is_empty());
}

#[test]
fn r20_without_a_span_three_asks_in_vain_are_enough_and_a_tag_may_stay_for_ever() {
    let (repo, mut server, shop) = followed("");
    repo.git(&["tag", "release"]);
    shop.operator(&[("shop", format!("{{ git: {{ url: \"{}\", tag: release }} }}", server.url("repo")))]);
    shop.run(&["apply"], 0);
    server.go_down();
    shop.run(&["apply"], 1);
    shop.run(&["apply"], 1);
    assert!(kinds(&shop).is_empty());
    shop.run(&["apply"], 1);
    assert_eq!(kinds(&shop), ["shop fetch"]);
    for wrong in [", alarm: { unmoved: soon }", ", alarm: { unanswered: never }", ", alarm: { silent: 1h }"] {
        shop.operator(&[("shop", settings(&server, wrong))]);
        let said = shop.run(&["check"], 2);
        assert!(said.contains("operator.yaml:2:"), "{wrong}: {said}");
    }
}
