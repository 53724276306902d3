//! What the API server's audit log tells (`audit.k8s.io/v1 EventList`): who changed which object. Only acts that changed
//! something count, and of each object only the newest are kept. A user here is a fact (grade A): the server authenticated it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use trued_doors::{Answer, Happening};
use trued_model::{Address, Code, Evidence, Refusal, Timestamp};

use crate::address::{Kind, Spot};
use crate::object::{at, text};
use crate::served::Served;

/// Objects of which acts are remembered, and acts of each.
const OBJECTS: usize = 20_000;
const ACTS: usize = 4;

/// How far the server's clock for managed fields (whole seconds) and for audit events may be apart.
const APART: i64 = 2_000;

/// Who did what, as far as it was told.
#[derive(Default)]
pub(crate) struct Trail {
    acts: Mutex<Acts>,
}

#[derive(Default)]
struct Acts {
    by_address: HashMap<Address, VecDeque<Evidence>>,
    /// In the order in which they were told first: the oldest is forgotten first.
    order: VecDeque<Address>,
}

impl Trail {
    /// The newest act on an object; not one that is older than the change it is asked about.
    pub fn of(&self, address: &Address, not_before: Option<Timestamp>) -> Option<Evidence> {
        let acts = self.acts.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = acts.by_address.get(address)?.iter().max_by_key(|act| act.changed_at)?;
        let in_time = not_before.is_none_or(|at| newest.changed_at.is_some_and(|told| told.0 + APART >= at.0));
        in_time.then(|| newest.clone())
    }

    fn take(&self, address: &Address, act: Evidence) {
        let mut acts = self.acts.lock().unwrap_or_else(PoisonError::into_inner);
        if !acts.by_address.contains_key(address) {
            acts.order.push_back(address.clone());
            if acts.order.len() > OBJECTS
                && let Some(oldest) = acts.order.pop_front()
            {
                acts.by_address.remove(&oldest);
            }
        }
        let known = acts.by_address.entry(address.clone()).or_default();
        known.push_back(act);
        if known.len() > ACTS {
            known.pop_front();
        }
    }

    /// Takes in a list of audit events; gives the acts that changed an object and were not ours.
    pub fn hear(&self, said: &[u8], served: &Served, ours: &str) -> Answer<Vec<Happening>> {
        let unread = |why: String| Refusal::new(Code::Invalid, format!("read what the audit webhook sent: {why}"));
        let list: Value = serde_json::from_slice(said).map_err(|error| unread(error.to_string()))?;
        let is_list = text(&list, &["apiVersion"]) == Some("audit.k8s.io/v1") && text(&list, &["kind"]) == Some("EventList");
        let events = list.get("items").and_then(Value::as_array).filter(|_| is_list);
        let events = events.ok_or_else(|| unread("it is no EventList of audit.k8s.io/v1".to_owned()))?;
        let mut told = Vec::new();
        for event in events.iter().filter(|event| !text(event, &["auditID"]).is_some_and(|id| id.starts_with(ours))) {
            let Some((address, what, evidence)) = act(event, served) else { continue };
            self.take(&address, evidence.clone());
            let at = evidence.changed_at.unwrap_or_default();
            let said = text(event, &["verb"]).unwrap_or_default();
            let subresource = text(event, &["objectRef", "subresource"]).map(|part| format!(" of {part}")).unwrap_or_default();
            let said = format!("{said}{subresource}");
            told.push(Happening { at, address, what, said, count: 1, evidence, only_managed: true, mark: None });
        }
        Ok(told)
    }
}

/// The object an event changed, in a word how, and by whom; `None` where it changed nothing that is known.
fn act(event: &Value, served: &Served) -> Option<(Address, String, Evidence)> {
    let ended = text(event, &["stage"]).is_none_or(|stage| stage == "ResponseComplete");
    let done = at(event, &["responseStatus", "code"]).and_then(Value::as_u64).is_some_and(|code| (200..300).contains(&code));
    let dry = text(event, &["requestURI"]).is_some_and(|uri| uri.contains("dryRun="));
    let what = match text(event, &["verb"])? {
        "create" if text(event, &["objectRef", "subresource"]) == Some("eviction") => "evicted",
        "create" => "created",
        "update" | "patch" if text(event, &["objectRef", "subresource"]) == Some("scale") => "scaled",
        "update" | "patch" => "changed",
        "delete" => "deleted",
        _ => return None,
    };
    let of = |key| text(event, &["objectRef", key]);
    // Controllers tell of what is, all the time: that is no change of anything that is desired.
    if !ended || !done || dry || of("subresource") == Some("status") {
        return None;
    }
    let kind = kind_of(served, of("apiGroup").unwrap_or_default(), of("resource")?)?;
    let namespaced = served.get(&kind).is_some_and(|serving| serving.namespaced);
    let namespace = if namespaced { Some(of("namespace")?.to_owned()) } else { None };
    let spot = Spot { kind, namespace, name: of("name")?.to_owned() };
    let address = spot.address();
    // A name that no object can have.
    Spot::read(&address).filter(|read| *read == spot)?;
    Some((address, what.to_owned(), evidence(event)?))
}

fn kind_of(served: &Served, group: &str, plural: &str) -> Option<Kind> {
    served.kinds.iter().find(|(kind, serving)| kind.group == group && serving.plural == plural).map(|(kind, _)| kind.clone())
}

fn evidence(event: &Value) -> Option<Evidence> {
    let user = text(event, &["user", "username"])?;
    let acting = text(event, &["impersonatedUser", "username"]);
    let address = at(event, &["sourceIPs"]).and_then(Value::as_array).and_then(|all| all.first()).and_then(Value::as_str);
    let agent = text(event, &["userAgent"]).and_then(|agent| agent.split_whitespace().next());
    let from = match (agent, address) {
        (Some(agent), Some(address)) => Some(format!("{agent} from {address}")),
        (Some(one), None) | (None, Some(one)) => Some(one.to_owned()),
        (None, None) => None,
    };
    let time = text(event, &["stageTimestamp"]).or_else(|| text(event, &["requestReceivedTimestamp"]));
    Some(Evidence {
        changed_at: time.and_then(|time| time.parse().ok()),
        by: Some(user.to_owned()),
        login: acting.filter(|acting| *acting != user).map(str::to_owned),
        grade: Some("A".to_owned()),
        process: from,
        seen_by: Some("audit log".to_owned()),
        ..Evidence::default()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(user: &str, verb: &str, more: &Value) -> Value {
        let mut event = json!({
            "auditID": "9c5b", "stage": "ResponseComplete", "verb": verb, "requestURI": "/api/v1/namespaces/shop/configmaps/one",
            "user": { "username": user }, "sourceIPs": ["192.0.2.7"], "userAgent": "kubectl/v1.36 (linux/amd64)",
            "objectRef": { "resource": "configmaps", "namespace": "shop", "name": "one", "apiVersion": "v1" },
            "responseStatus": { "code": 200 }, "stageTimestamp": "2026-11-21T21:40:00.123456Z",
        });
        event.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        event
    }

    fn heard(trail: &Trail, events: &[Value]) -> Vec<String> {
        let list = json!({ "apiVersion": "audit.k8s.io/v1", "kind": "EventList", "items": events });
        let told = trail.hear(list.to_string().as_bytes(), &Served::everywhere(), "ours-").expect("read");
        told.iter().map(|one| format!("{} {} by {}", one.address, one.what, one.evidence.by.as_deref().unwrap_or("?"))).collect()
    }

    #[test]
    fn only_what_changed_something_and_was_not_ours_is_an_act() {
        let trail = Trail::default();
        let none: [Value; 6] = [
            event("alice", "get", &json!({})),
            event("alice", "patch", &json!({ "responseStatus": { "code": 403 } })),
            event("alice", "patch", &json!({ "requestURI": "/x?dryRun=All" })),
            event("alice", "patch", &json!({ "stage": "RequestReceived" })),
            event("trued", "patch", &json!({ "auditID": "ours-7" })),
            event(
                "alice",
                "update",
                &json!({ "objectRef": { "resource": "configmaps", "namespace": "shop", "name": "one", "subresource": "status" } }),
            ),
        ];
        assert_eq!(heard(&trail, &none), Vec::<String>::new());
        assert_eq!(heard(&trail, &[event("alice", "patch", &json!({}))]), ["core/ConfigMap/shop/one changed by alice"]);
        let evidence = trail.of(&Address::new("core/ConfigMap/shop/one"), None).expect("known");
        assert_eq!((evidence.grade.as_deref(), evidence.process.as_deref()), (Some("A"), Some("kubectl/v1.36 from 192.0.2.7")));
    }

    #[test]
    fn an_act_before_the_change_in_question_says_nothing_of_it() {
        let trail = Trail::default();
        heard(&trail, &[event("alice", "patch", &json!({}))]);
        let one = Address::new("core/ConfigMap/shop/one");
        let at = |text: &str| text.parse::<Timestamp>().ok();
        assert!(trail.of(&one, at("2026-11-21T21:40:01Z")).is_some(), "the same moment, as far as clocks tell");
        assert!(trail.of(&one, at("2026-11-21T21:50:00Z")).is_none());
    }

    #[test]
    fn fault_87_what_is_no_list_of_events_is_refused() {
        for said in ["", "[]", "{}", r#"{"kind":"EventList","apiVersion":"v1","items":[]}"#, "{\"items\":[]}"] {
            assert!(Trail::default().hear(said.as_bytes(), &Served::everywhere(), "ours-").is_err(), "{said}");
        }
        assert_eq!(heard(&Trail::default(), &[json!(1), json!({}), json!({ "verb": "patch", "objectRef": [] })]), Vec::<String>::new());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let trail = Trail::default();
        for n in 0..OBJECTS + 10 {
            trail.take(&Address::new(format!("core/ConfigMap/shop/{n}")), Evidence::default());
        }
        assert_eq!(trail.acts.lock().expect("free").by_address.len(), OBJECTS);
    }
}
