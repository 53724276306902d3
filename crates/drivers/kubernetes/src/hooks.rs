//! Helm's hooks, as their annotations declare them: when each runs, in which order, and what becomes of it. Pure.
//! <https://helm.sh/docs/topics/charts_hooks/>

use serde_json::Value;
use trued_model::{Address, Clears, Errand, HealthRule, Resource, Turn};

use crate::object::{at, text};
use crate::ranks::rank;

const HOOK: &str = "helm.sh/hook";
const WEIGHT: &str = "helm.sh/hook-weight";
const POLICY: &str = "helm.sh/hook-delete-policy";

/// Namespaces and definitions come before hooks, as `helm install` makes them; everything else after those of `pre-`.
const BEFORE: i32 = -75;
const AFTER: i32 = 1_000;

/// Events of Helm that nothing here is: removing a stack and going back run no hooks, and tests are for people.
const NEVER: [&str; 7] = ["pre-delete", "post-delete", "pre-rollback", "post-rollback", "test", "test-success", "test-failure"];

/// A hook as it is declared.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Hook {
    first: Option<Turn>,
    next: Option<Turn>,
    clears: Clears,
    /// Its events that never come here.
    pub never: Vec<String>,
}

/// Reads an object's annotations; `None` where it is no hook. An error says what is wrong and what to write.
pub(crate) fn read(object: &Value, address: &Address) -> Result<Option<Hook>, (String, &'static str)> {
    let said = |key: &str| text(object, &["metadata", "annotations", key]);
    let words =
        |list: &str| list.split(',').map(|word| word.trim().to_ascii_lowercase()).filter(|word| !word.is_empty()).collect::<Vec<_>>();
    // Definitions that Helm 2 took for hooks are objects like others.
    let Some(events) = said(HOOK).map(words).filter(|events| events.iter().any(|event| event != "crd-install")) else { return Ok(None) };
    let weight = match said(WEIGHT).map(str::trim).filter(|weight| !weight.is_empty()) {
        Some(weight) => weight.parse().map_err(|_| (format!("`{WEIGHT}: {weight}` is no number"), "write a whole number in quotes"))?,
        None => 0,
    };
    let turn = |called: &str, rank| Turn {
        called: called.to_owned(),
        rank,
        weight,
        kind: self::rank(address),
        ends: runs(address),
        vanishes: at(object, &["spec", "ttlSecondsAfterFinished"]).is_some(),
    };
    let mut hook = Hook { clears: clears(said(POLICY).map(words))?, ..Hook::default() };
    for event in events {
        let (place, rank) = match event.as_str() {
            "pre-install" => (&mut hook.first, BEFORE),
            "post-install" => (&mut hook.first, AFTER),
            "pre-upgrade" => (&mut hook.next, BEFORE),
            "post-upgrade" => (&mut hook.next, AFTER),
            "crd-install" => continue,
            event if NEVER.contains(&event) => {
                hook.never.push(event.to_owned());
                continue;
            }
            event => return Err((format!("`{event}` is no hook that Helm knows"), "correct the annotation `helm.sh/hook`")),
        };
        let before = place.replace(turn(&event, rank));
        if let Some(before) = before.filter(|before| before.called != event) {
            let message = format!("it is to run twice for one release, at {} and at {event}; that is not available yet", before.called);
            return Err((message, "make two objects of it, each with a name of its own"));
        }
    }
    Ok(Some(hook))
}

impl Hook {
    /// Whether it runs at all.
    pub fn runs(&self) -> bool {
        self.first.is_some() || self.next.is_some()
    }

    pub fn errand(self, resource: Resource) -> Errand {
        let pod = resource.address.as_str().starts_with("core/Pod/");
        // A Pod that works is well, and not at its end.
        let ends = pod.then(|| HealthRule {
            of: "core/Pod".to_owned(),
            degraded: Some("has(status.phase) && status.phase == 'Failed'".to_owned()),
            progressing: None,
            ready: "has(status.phase) && status.phase == 'Succeeded'".to_owned(),
        });
        Errand { resource, first: self.first, next: self.next, clears: self.clears, ends: ends.into_iter().collect() }
    }
}

/// Whether an object runs to an end; Helm waits for these alone.
fn runs(address: &Address) -> bool {
    ["batch/Job/", "core/Pod/"].iter().any(|prefix| address.as_str().starts_with(prefix))
}

fn clears(policy: Option<Vec<String>>) -> Result<Clears, (String, &'static str)> {
    let Some(policy) = policy.filter(|policy| !policy.is_empty()) else { return Ok(Clears { before: true, ..Clears::default() }) };
    let mut clears = Clears::default();
    for word in policy {
        match word.as_str() {
            "before-hook-creation" => clears.before = true,
            "hook-succeeded" => clears.done = true,
            "hook-failed" => clears.failed = true,
            word => {
                let help = "write before-hook-creation, hook-succeeded or hook-failed, with commas between";
                return Err((format!("`{POLICY}: {word}` is no policy that Helm knows"), help));
            }
        }
    }
    Ok(clears)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn hook(address: &str, annotations: Value) -> Result<Option<Hook>, String> {
        read(&json!({ "metadata": { "annotations": annotations } }), &Address::new(address)).map_err(|(message, _)| message)
    }

    fn declared(annotations: Value) -> Hook {
        hook("batch/Job/shop/one", annotations).expect("well declared").expect("a hook")
    }

    #[test]
    fn events_have_their_turns_by_occasion() {
        let both = declared(json!({ HOOK: "pre-install, Post-Upgrade,post-rollback", WEIGHT: "-5" }));
        let turn = |turn: Option<Turn>| turn.map(|turn| (turn.called, turn.rank, turn.weight, turn.ends));
        assert_eq!(both.never, ["post-rollback"]);
        assert_eq!(turn(both.first), Some(("pre-install".to_owned(), BEFORE, -5, true)));
        assert_eq!(turn(both.next), Some(("post-upgrade".to_owned(), AFTER, -5, true)));
        assert!(!declared(json!({ HOOK: "test" })).runs());
        assert_eq!(hook("core/Secret/shop/one", json!({})), Ok(None));
        assert_eq!(hook("core/Secret/shop/one", json!({ HOOK: "crd-install" })), Ok(None), "obsolete: an object like others");
    }

    #[test]
    fn what_is_left_goes_as_the_policy_has_it() {
        let clears = |policy: Option<&str>| {
            let mut annotations = json!({ HOOK: "pre-install" });
            policy.into_iter().for_each(|policy| annotations[POLICY] = policy.into());
            declared(annotations).clears
        };
        assert_eq!(clears(None), Clears { before: true, ..Clears::default() }, "as Helm has it without a policy");
        assert_eq!(clears(Some("hook-succeeded, hook-failed")), Clears { before: false, done: true, failed: true });
    }

    #[test]
    fn what_helm_does_not_know_is_refused() {
        let refused = |annotations: Value| hook("batch/Job/shop/one", annotations).expect_err("refused");
        assert!(refused(json!({ HOOK: "pre-instal" })).contains("`pre-instal` is no hook"));
        assert!(refused(json!({ HOOK: "pre-install", WEIGHT: "first" })).contains("is no number"));
        assert!(refused(json!({ HOOK: "pre-install", POLICY: "never" })).contains("is no policy"));
        assert!(refused(json!({ HOOK: "pre-install,post-install" })).contains("twice for one release, at pre-install and at post-install"));
    }

    #[test]
    fn the_end_of_a_pod_is_told_by_rules_that_are_some() {
        let resource = |address: &str| Resource {
            address: Address::new(address),
            fingerprint: trued_model::Fingerprint::new("1:object:0"),
            content: None,
            origin: trued_model::Origin::default(),
        };
        let pod = declared(json!({ HOOK: "pre-install" })).errand(resource("core/Pod/shop/one"));
        assert_eq!(crate::health::check(&pod.ends[0]), None);
        let health = |status: Value| {
            let rules = crate::health::Expressions::read(&pod.ends[0]).expect("expressions");
            rules.health(&json!({ "kind": "Pod", "status": status })).health
        };
        use trued_model::Health::{Degraded, Progressing, Ready};
        let told = [json!({}), json!({ "phase": "Running" }), json!({ "phase": "Succeeded" }), json!({ "phase": "Failed" })].map(health);
        assert_eq!(told, [Progressing, Progressing, Ready, Degraded]);
        assert!(declared(json!({ HOOK: "pre-install" })).errand(resource("batch/Job/shop/one")).ends.is_empty());
    }
}
