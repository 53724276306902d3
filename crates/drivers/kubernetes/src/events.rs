//! A cluster's own events (`core/v1 Event`): which are worth telling, and what each says since it was heard last.

use std::collections::HashMap;

use serde_json::Value;
use trued_doors::{Happening, Told};
use trued_model::{Evidence, Timestamp};

use crate::address::{Kind, Spot};
use crate::happen::Hearing;
use crate::object::{at, text};

/// Events whose counts are remembered; a cluster forgets them after an hour by itself.
const REMEMBERED: usize = 50_000;

/// Normal events that tell of a change; every warning does.
const TELLING: [(&str, &str); 12] = [
    ("EvictionByEvictionAPI", "evicted"),
    ("Killing", "stopped"),
    ("NodeNotReady", "node not ready"),
    ("NodeReady", "node ready"),
    ("Preempted", "evicted"),
    ("Preempting", "evicted"),
    ("Rebooted", "restarted"),
    ("RegisteredNode", "node came"),
    ("RemovingNode", "node went"),
    ("ScalingReplicaSet", "scaled"),
    ("SuccessfulRescale", "scaled"),
    ("TaintManagerEviction", "evicted"),
];

/// What was heard of events.
pub(crate) struct Events {
    /// How often each had happened when it was heard last, by UID.
    heard: HashMap<String, u64>,
    /// The newest version that was told.
    after: Option<u64>,
    /// What was over before is nobody's news, unless a mark says that we listened then.
    began: Timestamp,
    /// What a list in hand brought that is news: told in the order of its versions.
    news: Vec<(u64, Value)>,
}

impl Events {
    pub fn new(began: Timestamp, after: Option<u64>) -> Events {
        Events { heard: HashMap::new(), after, began, news: Vec::new() }
    }

    fn is_news(&self, event: &Value) -> bool {
        let Some(at) = last(event) else { return false };
        match (self.heard.get(text(event, &["metadata", "uid"]).unwrap_or_default()), self.after) {
            (Some(before), _) => count(event) > *before,
            (None, Some(after)) => number(event) > after,
            (None, None) => at >= self.began,
        }
    }

    fn take(&mut self, event: &Value, tell: &mut dyn FnMut(Told)) {
        let news = self.is_news(event);
        let number = number(event);
        let uid = text(event, &["metadata", "uid"]).unwrap_or_default().to_owned();
        let count = count(event);
        let before = self.heard.insert(uid, count);
        if self.heard.len() > REMEMBERED {
            // They are told again as one each, which is better than without end.
            self.heard.clear();
        }
        let Some(at) = last(event).filter(|_| news) else { return };
        self.after = Some(self.after.unwrap_or(0).max(number));
        // How many of an event's count are new is known only of those that were heard before, or began since.
        let new = before.map_or_else(
            || if first(event).is_some_and(|first| first >= self.began) { count } else { 1 },
            |before| count.saturating_sub(before),
        );
        tell_of(event, at, new.max(1), number, tell);
    }
}

impl Hearing for Events {
    fn listing(&mut self) {
        self.news.clear();
    }

    fn listed(&mut self, object: &Value, tell: &mut dyn FnMut(Told)) {
        match self.is_news(object) {
            true => self.news.push((number(object), object.clone())),
            false => self.take(object, tell),
        }
    }

    fn all_listed(&mut self, tell: &mut dyn FnMut(Told)) {
        let mut news = std::mem::take(&mut self.news);
        news.sort_by_key(|(number, _)| *number);
        news.iter().for_each(|(_, event)| self.take(event, tell));
        // From now on all that comes is new.
        self.after.get_or_insert(0);
    }

    fn changed(&mut self, object: &Value, gone: bool, tell: &mut dyn FnMut(Told)) {
        match gone {
            true => drop(self.heard.remove(text(object, &["metadata", "uid"]).unwrap_or_default())),
            false => self.take(object, tell),
        }
    }
}

fn tell_of(event: &Value, at: Timestamp, count: u64, number: u64, tell: &mut dyn FnMut(Told)) {
    let reason = text(event, &["reason"]).unwrap_or_default();
    let known = TELLING.iter().find(|(known, _)| *known == reason).map(|(_, word)| (*word).to_owned());
    let what = match (known, text(event, &["type"])) {
        (Some(word), _) => word,
        (None, Some("Warning")) if reason == "Evicted" => "evicted".to_owned(),
        (None, Some("Warning")) if reason == "BackOff" => "restarting again and again".to_owned(),
        (None, Some("Warning")) => spaced(reason),
        _ => return,
    };
    let object = |key| text(event, &["involvedObject", key]).unwrap_or_default().to_owned();
    let spot = Spot {
        kind: Kind::of_version(&object("apiVersion"), &object("kind")),
        namespace: Some(object("namespace")).filter(|namespace| !namespace.is_empty()),
        name: object("name"),
    };
    let by = text(event, &["reportingComponent"]).filter(|by| !by.is_empty()).or_else(|| text(event, &["source", "component"]));
    let evidence = Evidence {
        changed_at: Some(at),
        by: by.map(str::to_owned),
        grade: Some("C".to_owned()),
        seen_by: Some("cluster event".to_owned()),
        ..Evidence::default()
    };
    let said = text(event, &["message"]).unwrap_or_default().to_owned();
    let mark = Some(number.to_string());
    tell(Told::Happened(Box::new(Happening { at, address: spot.address(), what, said, count, evidence, only_managed: false, mark })));
}

/// `FailedScheduling` as people write it: `failed scheduling`.
fn spaced(reason: &str) -> String {
    let mut words = String::new();
    for (at, c) in reason.chars().enumerate() {
        if c.is_ascii_uppercase() && at > 0 {
            words.push(' ');
        }
        words.push(c.to_ascii_lowercase());
    }
    words
}

/// Its version, which servers count up.
fn number(event: &Value) -> u64 {
    text(event, &["metadata", "resourceVersion"]).and_then(|version| version.parse().ok()).unwrap_or(0)
}

fn count(event: &Value) -> u64 {
    let series = at(event, &["series", "count"]).and_then(Value::as_u64);
    series.or_else(|| at(event, &["count"]).and_then(Value::as_u64)).unwrap_or(1).max(1)
}

fn time(event: &Value, paths: &[&[&str]]) -> Option<Timestamp> {
    paths.iter().find_map(|path| text(event, path)?.parse::<Timestamp>().ok())
}

fn first(event: &Value) -> Option<Timestamp> {
    time(event, &[&["firstTimestamp"], &["eventTime"], &["metadata", "creationTimestamp"]])
}

fn last(event: &Value) -> Option<Timestamp> {
    time(event, &[&["series", "lastObservedTime"], &["lastTimestamp"], &["eventTime"], &["metadata", "creationTimestamp"]])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(uid: &str, version: u64, count: u64, minute: u32) -> Value {
        json!({ "metadata": { "uid": uid, "resourceVersion": version.to_string() }, "type": "Warning", "reason": "Evicted", "count": count,
            "message": "for want of memory", "firstTimestamp": "2026-11-21T21:30:00Z", "lastTimestamp": format!("2026-11-21T21:{minute}:00Z"),
            "involvedObject": { "apiVersion": "v1", "kind": "Pod", "namespace": "shop", "name": uid }, "source": { "component": "kubelet" } })
    }

    fn told(events: &mut Events, listed: &[Value], changed: &[Value]) -> Vec<String> {
        let mut told = Vec::new();
        let mut tell = |one: Told| match one {
            Told::Happened(one) => told.push(format!("{} {} {}x", one.address, one.what, one.count)),
            Told::Missed(why) => told.push(why),
        };
        if !listed.is_empty() {
            events.listing();
            listed.iter().for_each(|event| events.listed(event, &mut tell));
            events.all_listed(&mut tell);
        }
        changed.iter().for_each(|object| events.changed(object, false, &mut tell));
        told
    }

    fn began() -> Timestamp {
        "2026-11-21T21:40:00Z".parse().expect("a time")
    }

    #[test]
    fn fault_58_an_event_is_told_once_however_often_it_is_listed() {
        let mut events = Events::new(began(), None);
        assert_eq!(told(&mut events, &[event("old", 5, 3, 35)], &[]), Vec::<String>::new(), "over before we listened");
        assert_eq!(told(&mut events, &[], &[event("new", 9, 1, 41)]), ["core/Pod/shop/new evicted 1x"]);
        // The server forgot the version: all is listed anew, one of them has happened twice more.
        let again = [event("old", 5, 3, 35), event("new", 12, 3, 42), event("other", 11, 1, 42)];
        assert_eq!(told(&mut events, &again, &[]), ["core/Pod/shop/other evicted 1x", "core/Pod/shop/new evicted 2x"]);
        assert_eq!(told(&mut events, &again, &[]), Vec::<String>::new());
    }

    #[test]
    fn after_a_restart_the_mark_tells_what_is_new() {
        let mut events = Events::new(began(), Some(9));
        let listed = [event("known", 9, 1, 30), event("missed", 12, 1, 35)];
        assert_eq!(told(&mut events, &listed, &[]), ["core/Pod/shop/missed evicted 1x"]);
    }

    #[test]
    fn reasons_are_told_as_words_and_chatter_is_not_told() {
        assert_eq!(spaced("FailedScheduling"), "failed scheduling");
        let mut pulled = event("a", 1, 1, 45);
        (pulled["type"], pulled["reason"]) = (json!("Normal"), json!("Pulled"));
        assert_eq!(told(&mut Events::new(began(), None), &[pulled], &[]), Vec::<String>::new());
    }
}
