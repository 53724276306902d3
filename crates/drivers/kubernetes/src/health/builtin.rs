//! What kinds that Kubernetes brings say of their health. Pure.

use serde_json::Value;
use trued_model::Condition;

use super::conditions;
use crate::address::Kind;
use crate::object::{at, text};

/// The health of an object of a kind that is known here; `None` for any other.
pub(super) fn of(kind: &Kind, object: &Value, observed: bool) -> Option<Condition> {
    let judge = match (kind.group.as_str(), kind.kind.as_str()) {
        ("apps", "DaemonSet" | "Deployment" | "ReplicaSet" | "StatefulSet") if !observed => {
            return Some(Condition::progressing("its controller has not seen it yet"));
        }
        ("apps", "Deployment") => deployment,
        ("apps", "StatefulSet") => stateful_set,
        ("apps", "DaemonSet") => daemon_set,
        ("apps", "ReplicaSet") => replica_set,
        ("batch", "Job") => job,
        ("", "Pod") => pod,
        ("", "PersistentVolumeClaim") => claim,
        ("apiextensions.k8s.io", "CustomResourceDefinition") => definition,
        ("apiregistration.k8s.io", "APIService") => api_service,
        ("policy", "PodDisruptionBudget") => |_: &Value| None,
        _ if super::at_once(kind) => |_: &Value| None,
        _ => return None,
    };
    Some(judge(object).unwrap_or_else(Condition::ready))
}

fn number(object: &Value, path: &[&str], default: i64) -> i64 {
    at(object, path).and_then(Value::as_i64).unwrap_or(default)
}

fn status(object: &Value, key: &str) -> i64 {
    number(object, &["status", key], 0)
}

/// The first of several numbers that is not as high as it should be.
fn fewer(wanted: i64, counted: &[(i64, &str)]) -> Option<Condition> {
    let few = counted.iter().find(|(count, _)| *count < wanted);
    few.map(|(count, what)| Condition::progressing(format!("{count} of {wanted} {what}")))
}

fn more(there: i64, wanted: i64) -> Option<Condition> {
    (there > wanted).then(|| Condition::progressing(format!("{} old replicas are still there", there - wanted)))
}

fn deployment(object: &Value) -> Option<Condition> {
    if let Some(late) =
        conditions(object).find(|condition| condition.kind == "Progressing" && condition.reason == "ProgressDeadlineExceeded")
    {
        return Some(Condition::degraded(late.words()));
    }
    let wanted = number(object, &["spec", "replicas"], 1);
    let (there, updated) = (status(object, "replicas"), status(object, "updatedReplicas"));
    let is = |kind: &str, reason: Option<&str>| {
        conditions(object).any(|condition| condition.is(kind, "True") && reason.is_none_or(|reason| condition.reason == reason))
    };
    // Without a deadline the controller says nothing of progress.
    let endless = number(object, &["spec", "progressDeadlineSeconds"], i64::from(i32::MAX)) == i64::from(i32::MAX);
    fewer(wanted, &[(there, "replicas exist"), (updated, "replicas are updated")])
        .or_else(|| more(there, wanted))
        .or_else(|| fewer(updated, &[(status(object, "availableReplicas"), "replicas are available")]))
        .or_else(|| fewer(wanted, &[(status(object, "readyReplicas"), "replicas are ready")]))
        .or_else(|| {
            (!endless && !is("Progressing", Some("NewReplicaSetAvailable"))).then(|| Condition::progressing("its roll-out is under way"))
        })
        .or_else(|| (!is("Available", None)).then(|| Condition::progressing("it is not available yet")))
}

fn stateful_set(object: &Value) -> Option<Condition> {
    if text(object, &["spec", "updateStrategy", "type"]) == Some("OnDelete") {
        return None;
    }
    let wanted = number(object, &["spec", "replicas"], 1);
    let there = status(object, "replicas");
    let few = fewer(wanted, &[(there, "replicas exist"), (status(object, "readyReplicas"), "replicas are ready")]);
    if let Some(not_yet) = few.or_else(|| more(there, wanted)) {
        return Some(not_yet);
    }
    if let Some(partition) = at(object, &["spec", "updateStrategy", "rollingUpdate", "partition"]).and_then(Value::as_i64) {
        return fewer((wanted - partition).max(0), &[(status(object, "updatedReplicas"), "replicas are updated")]);
    }
    let revision = |key| text(object, &["status", key]);
    fewer(wanted, &[(status(object, "currentReplicas"), "replicas are current")]).or_else(|| {
        (revision("currentRevision") != revision("updateRevision")).then(|| Condition::progressing("its roll-out is under way"))
    })
}

fn daemon_set(object: &Value) -> Option<Condition> {
    let Some(wanted) = at(object, &["status", "desiredNumberScheduled"]).and_then(Value::as_i64) else {
        return Some(Condition::progressing("it is not known yet where it runs"));
    };
    let counted = [
        (status(object, "currentNumberScheduled"), "pods are scheduled"),
        (status(object, "updatedNumberScheduled"), "pods are updated"),
        (status(object, "numberAvailable"), "pods are available"),
        (status(object, "numberReady"), "pods are ready"),
    ];
    fewer(wanted, &counted)
}

fn replica_set(object: &Value) -> Option<Condition> {
    if let Some(failure) = conditions(object).find(|condition| condition.is("ReplicaFailure", "True")) {
        return Some(Condition::progressing(failure.words()));
    }
    let wanted = number(object, &["spec", "replicas"], 1);
    let counted = [
        (status(object, "fullyLabeledReplicas"), "replicas are labelled"),
        (status(object, "availableReplicas"), "replicas are available"),
        (status(object, "readyReplicas"), "replicas are ready"),
    ];
    fewer(wanted, &counted).or_else(|| more(status(object, "replicas"), wanted))
}

fn job(object: &Value) -> Option<Condition> {
    let said = |kind: &str| conditions(object).find(|condition| condition.is(kind, "True"));
    if let Some(failed) = said("Failed") {
        return Some(Condition::degraded(failed.words()));
    }
    if said("Complete").is_some() || said("Suspended").is_some() {
        return None;
    }
    Some(match text(object, &["status", "startTime"]) {
        None => Condition::progressing("it has not started"),
        Some(_) => {
            Condition::progressing(format!("pods: {} running, {} ended well", status(object, "active"), status(object, "succeeded")))
        }
    })
}

fn pod(object: &Value) -> Option<Condition> {
    match text(object, &["status", "phase"]).unwrap_or_default() {
        "Succeeded" => None,
        "Failed" => Some(Condition::degraded(text(object, &["status", "message"]).map_or("it failed".to_owned(), super::shortened))),
        "Running" if conditions(object).any(|condition| condition.is("Ready", "True")) => None,
        "Running" => {
            let containers = at(object, &["status", "containerStatuses"]).and_then(Value::as_array);
            let crashing = |one: &&Value| text(one, &["state", "waiting", "reason"]) == Some("CrashLoopBackOff");
            let names: Vec<&str> = containers.into_iter().flatten().filter(crashing).filter_map(|one| text(one, &["name"])).collect();
            Some(match names.is_empty() {
                true => Condition::progressing("it runs and is not ready"),
                false => Condition::degraded(format!("{} ends again and again", names.join(", "))),
            })
        }
        _ => {
            let unscheduled = conditions(object).find(|condition| condition.is("PodScheduled", "False"));
            Some(Condition::progressing(unscheduled.map_or("it does not run yet".to_owned(), |condition| condition.words())))
        }
    }
}

fn claim(object: &Value) -> Option<Condition> {
    match text(object, &["status", "phase"]) {
        Some("Bound") => None,
        Some("Lost") => Some(Condition::degraded("its volume is lost")),
        phase => Some(Condition::progressing(format!("it is {}, not bound", phase.unwrap_or("Pending").to_lowercase()))),
    }
}

fn definition(object: &Value) -> Option<Condition> {
    if let Some(refused) = conditions(object).find(|condition| condition.is("NamesAccepted", "False") && condition.reason != "Installing") {
        return Some(Condition::degraded(refused.words()));
    }
    match conditions(object).find(|condition| condition.kind == "Established") {
        Some(established) if established.status == "True" => None,
        Some(failed) if failed.reason != "Installing" => Some(Condition::degraded(failed.words())),
        _ => Some(Condition::progressing("it is being installed")),
    }
}

fn api_service(object: &Value) -> Option<Condition> {
    match conditions(object).find(|condition| condition.kind == "Available") {
        Some(available) if available.status == "True" => None,
        Some(other) => Some(Condition::progressing(other.words())),
        None => Some(Condition::progressing("it is not available yet")),
    }
}
