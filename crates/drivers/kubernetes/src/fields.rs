//! Who owns which field: managed fields as the server keeps them, and an object seen through one owner's set. Pure.
//!
//! The form is FieldsV1: `f:name` is a key, `k:{…}` an item by its keys, `v:…` an item by its value, `.` the thing itself.
//! A set without anything in it owns the whole value.

use serde_json::{Map, Value};

use crate::object::{at, text};

/// The field manager under which we apply.
pub(crate) const MANAGER: &str = "trued";

/// One owner's fields, as the server tells of them.
#[derive(Clone, Debug)]
pub(crate) struct Owner<'a> {
    pub manager: &'a str,
    /// `Apply` or `Update`.
    pub operation: &'a str,
    /// `status`, `scale`; empty for the object itself.
    pub subresource: &'a str,
    /// RFC 3339, whole seconds; may be missing.
    pub time: Option<&'a str>,
    pub api_version: &'a str,
    pub fields: &'a Value,
}

/// Everybody who owns something of an object.
pub(crate) fn owners(object: &Value) -> impl Iterator<Item = Owner<'_>> {
    let entries = at(object, &["metadata", "managedFields"]).and_then(Value::as_array);
    entries.into_iter().flatten().filter_map(|entry| {
        Some(Owner {
            manager: text(entry, &["manager"]).unwrap_or_default(),
            operation: text(entry, &["operation"]).unwrap_or_default(),
            subresource: text(entry, &["subresource"]).unwrap_or_default(),
            time: text(entry, &["time"]),
            api_version: text(entry, &["apiVersion"]).unwrap_or_default(),
            fields: entry.get("fieldsV1")?,
        })
    })
}

/// What we own of an object by having applied it; `None` where we never did.
pub(crate) fn ours(object: &Value) -> Option<Owner<'_>> {
    owners(object).find(|owner| owner.manager == MANAGER && owner.operation == "Apply" && owner.subresource.is_empty())
}

/// An object as far as one set of fields goes. What is owned and not there is left out.
pub(crate) fn project(object: &Value, fields: &Value) -> Option<Value> {
    let set = fields.as_object().filter(|set| !set.is_empty());
    let Some(set) = set else { return Some(object.clone()) };
    match object {
        Value::Object(entries) => {
            let child = |(key, inner): (&String, &Value)| {
                let name = key.strip_prefix("f:")?;
                Some((name.to_owned(), project(entries.get(name)?, inner)?))
            };
            Some(Value::Object(set.iter().filter_map(child).collect::<Map<_, _>>()))
        }
        Value::Array(items) => {
            let owned = |item: &Value| set.iter().find(|(key, _)| names(key, item)).map(|(_, inner)| project(item, inner));
            Some(Value::Array(items.iter().filter_map(|item| owned(item).flatten()).collect()))
        }
        other => Some(other.clone()),
    }
}

/// Whether a key of a set means this item of a list.
fn names(key: &str, item: &Value) -> bool {
    if let Some(keys) = key.strip_prefix("k:").and_then(|keys| serde_json::from_str::<Map<String, Value>>(keys).ok()) {
        return keys.iter().all(|(name, value)| item.get(name) == Some(value));
    }
    key.strip_prefix("v:").and_then(|value| serde_json::from_str::<Value>(value).ok()).as_ref() == Some(item)
}

/// Whether a set owns the value at a path of keys, as a whole or a part of it.
pub(crate) fn has(fields: &Value, path: &[&str]) -> bool {
    path.iter().try_fold(fields, |set, key| set.get(format!("f:{key}"))).is_some()
}

/// The paths that an autoscaler has taken over: what it scales is its own, and no drift.
pub(crate) fn autoscaled(object: &Value) -> bool {
    let scale = |owner: &Owner<'_>| owner.manager == "kube-controller-manager" && owner.subresource == "scale";
    owners(object).any(|owner| scale(&owner) && has(owner.fields, &["spec", "replicas"]))
}

/// Whether somebody wrote a status. Where nobody is said to own anything, that is not known, and may be.
pub(crate) fn status(object: &Value) -> bool {
    let mut owners = owners(object).peekable();
    owners.peek().is_none() || owners.any(|owner| has(owner.fields, &["status"]))
}

/// Who changed an object last beside us, and when: the newest entry that is not about the status.
pub(crate) fn last_other(object: &Value) -> Option<Owner<'_>> {
    let ours = |owner: &Owner<'_>| owner.manager == MANAGER && owner.operation == "Apply";
    owners(object)
        .filter(|owner| !ours(owner) && owner.subresource != "status")
        .max_by_key(|owner| owner.time.unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// As a server printed it (v1.36) for a Deployment that we applied, that `kubectl set env` changed, and that an autoscaler
    /// scales; shortened.
    fn live() -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": { "name": "web", "labels": { "app": "web", "team": "x" }, "managedFields": [
                { "manager": "trued", "operation": "Apply", "apiVersion": "apps/v1", "time": "2026-11-21T10:00:00Z", "fieldsType": "FieldsV1",
                  "fieldsV1": { "f:metadata": { "f:labels": { "f:app": {} } }, "f:spec": { "f:selector": {}, "f:template": {
                    "f:metadata": { "f:labels": { "f:app": {} } },
                    "f:spec": { "f:containers": { "k:{\"name\":\"web\"}": { ".": {}, "f:image": {}, "f:name": {},
                        "f:ports": { "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": { ".": {}, "f:containerPort": {} } } } },
                        "f:volumes": { "k:{\"name\":\"tmp\"}": { ".": {}, "f:emptyDir": {}, "f:name": {} } } } } } } },
                { "manager": "kubectl-set", "operation": "Update", "apiVersion": "apps/v1", "time": "2026-11-21T11:00:00Z",
                  "fieldsV1": { "f:spec": { "f:template": { "f:spec": { "f:containers": { "k:{\"name\":\"web\"}": { "f:env": {} } } } } } } },
                { "manager": "kube-controller-manager", "operation": "Update", "subresource": "scale", "time": "2026-11-21T10:30:00Z",
                  "fieldsV1": { "f:spec": { "f:replicas": {} } } },
                { "manager": "kube-controller-manager", "operation": "Update", "subresource": "status", "time": "2026-11-21T12:00:00Z",
                  "fieldsV1": { "f:status": {} } },
            ] },
            "spec": { "replicas": 5, "selector": { "matchLabels": { "app": "web" } }, "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": { "dnsPolicy": "ClusterFirst", "containers": [
                    { "name": "sidecar", "image": "mesh:1" },
                    { "name": "web", "image": "web:1", "imagePullPolicy": "Always", "env": [{ "name": "A", "value": "1" }],
                      "ports": [{ "containerPort": 80, "protocol": "TCP" }] } ],
                    "volumes": [{ "name": "tmp", "emptyDir": {} }] } } },
        })
    }

    #[test]
    fn fault_34_fields_of_others_are_no_part_of_what_is_ours() {
        let live = live();
        let owner = ours(&live).unwrap();
        let seen = project(&live, owner.fields).unwrap();
        assert_eq!(
            seen,
            json!({
                "metadata": { "labels": { "app": "web" } },
                "spec": { "selector": { "matchLabels": { "app": "web" } }, "template": {
                    "metadata": { "labels": { "app": "web" } },
                    "spec": { "containers": [{ "name": "web", "image": "web:1", "ports": [{ "containerPort": 80 }] }],
                        "volumes": [{ "name": "tmp", "emptyDir": {} }] } } },
            })
        );
    }

    #[test]
    fn who_changed_it_is_the_newest_entry_of_another_and_never_the_status() {
        let live = live();
        let other = last_other(&live).unwrap();
        assert_eq!((other.manager, other.operation, other.time), ("kubectl-set", "Update", Some("2026-11-21T11:00:00Z")));
        assert!(autoscaled(&live));
    }
}
