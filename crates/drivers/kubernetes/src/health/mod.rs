//! From an object as the server keeps it to its health: what every object may say, then what its kind is known for. Pure.
//!
//! The rules are those of kstatus (sigs.k8s.io/cli-utils, `pkg/kstatus`), which most tools of the field share. Three are
//! stricter: a Job is waited for until it ends, a Pod that failed is degraded, and a workload that its controller has not
//! seen yet is never ready.

mod builtin;
mod expression;

use serde_json::Value;
use trued_model::{Condition, Finding, HealthRule};

pub(crate) use expression::Expressions;

use crate::address::Kind;
use crate::object::{at, text};

/// Kinds that are ready as soon as they are there: nothing of them is read for this.
const AT_ONCE: &[(&str, &str)] = &[
    ("", "ConfigMap"),
    ("", "LimitRange"),
    ("", "Secret"),
    ("", "Service"),
    ("", "ServiceAccount"),
    ("batch", "CronJob"),
    ("networking.k8s.io", "Ingress"),
    ("networking.k8s.io", "IngressClass"),
    ("networking.k8s.io", "NetworkPolicy"),
    ("rbac.authorization.k8s.io", "ClusterRole"),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"),
    ("rbac.authorization.k8s.io", "Role"),
    ("rbac.authorization.k8s.io", "RoleBinding"),
    ("scheduling.k8s.io", "PriorityClass"),
    ("storage.k8s.io", "StorageClass"),
];

/// What is wrong with a rule: the key it is about, and the finding.
pub(crate) fn check(rule: &HealthRule) -> Option<(&'static str, Finding)> {
    let named = rule.of.split_once('/').is_some_and(|(group, kind)| !group.is_empty() && !kind.is_empty() && !kind.contains('/'));
    if !named {
        let help = "write group and kind as in addresses, `example.org/Widget`; the group without a name is `core`";
        return Some(("", Finding::new(format!("`{}` is no kind", rule.of), help)));
    }
    let (key, why) = Expressions::read(rule).err()?;
    Some((key, Finding::new(format!("this expression cannot be used: {why}"), "write one such as `status.phase == 'Running'`")))
}

/// Whether objects of a kind are ready as soon as they are there.
pub(crate) fn at_once(kind: &Kind) -> bool {
    AT_ONCE.contains(&(kind.group.as_str(), kind.kind.as_str()))
}

/// The health of an object, with its kind's expressions where somebody wrote some.
pub(crate) fn health(kind: &Kind, object: &Value, expressions: Option<&Expressions>) -> Condition {
    if text(object, &["metadata", "deletionTimestamp"]).is_some() {
        return Condition::progressing("is being deleted");
    }
    let number = |path: &[&str]| at(object, path).and_then(Value::as_i64);
    let (generation, observed) = (number(&["metadata", "generation"]), number(&["status", "observedGeneration"]));
    if let (Some(generation), Some(observed)) = (generation, observed)
        && generation != observed
    {
        return Condition::progressing("its controller has not seen the newest change yet");
    }
    if let Some(expressions) = expressions {
        return expressions.health(object);
    }
    if let Some(stalled) = conditions(object).find(|condition| condition.is("Stalled", "True")) {
        return Condition::degraded(stalled.words());
    }
    if let Some(reconciling) = conditions(object).find(|condition| condition.is("Reconciling", "True")) {
        return Condition::progressing(reconciling.words());
    }
    builtin::of(kind, object, observed.is_some()).unwrap_or_else(|| by_ready(object))
}

/// What the condition `Ready` says; who has none is ready.
fn by_ready(object: &Value) -> Condition {
    match conditions(object).find(|condition| condition.kind == "Ready") {
        Some(ready) if ready.status != "True" => Condition::progressing(ready.words()),
        _ => Condition::ready(),
    }
}

/// One entry of `status.conditions`.
struct Said<'a> {
    kind: &'a str,
    status: &'a str,
    reason: &'a str,
    message: &'a str,
}

impl Said<'_> {
    fn is(&self, kind: &str, status: &str) -> bool {
        self.kind == kind && self.status == status
    }

    /// What it says of itself: the message, else the reason.
    fn words(&self) -> String {
        let said = [self.message, self.reason].into_iter().find(|words| !words.is_empty());
        said.map_or_else(|| format!("{} is {}", self.kind, self.status), shortened)
    }
}

fn conditions(object: &Value) -> impl Iterator<Item = Said<'_>> {
    let entries = at(object, &["status", "conditions"]).and_then(Value::as_array);
    entries.into_iter().flatten().map(|entry| {
        let of = |key| text(entry, &[key]).unwrap_or_default();
        Said { kind: of("type"), status: of("status"), reason: of("reason"), message: of("message") }
    })
}

/// The longest sentence of somebody else that goes on record.
const LONGEST: usize = 300;

fn shortened(words: &str) -> String {
    let one_line = words.split_whitespace().collect::<Vec<_>>().join(" ");
    match one_line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &one_line[..end]),
        None => one_line,
    }
}

#[cfg(test)]
mod tests;
