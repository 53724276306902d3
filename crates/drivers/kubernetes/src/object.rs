//! Objects as values: what of one is its own, what the server keeps for itself, and the one form that is stored,
//! compared and shown. Pure.

use serde_json::{Map, Value};
use trued_doors::Seal;
use trued_model::{Digest, Fingerprint, canonical};

use crate::address::Kind;
use crate::{ignore, mark};

/// What of `metadata` the server writes and nobody desires.
const SERVERS_OWN: [&str; 8] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// An annotation of `kubectl apply` that repeats the whole object, secrets included.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A text at a path of keys.
pub(crate) fn text<'a>(object: &'a Value, path: &[&str]) -> Option<&'a str> {
    at(object, path)?.as_str()
}

/// A value at a path of keys.
pub(crate) fn at<'a>(object: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(object, |value, key| value.get(key))
}

/// Which kind an object is of; `None` where it does not say.
pub(crate) fn kind(object: &Value) -> Option<Kind> {
    Some(Kind::of_version(text(object, &["apiVersion"])?, text(object, &["kind"])?))
}

/// Leaves what people desire: without status, the server's own metadata, our mark, and anything that is `null`.
pub(crate) fn strip(object: &mut Value) {
    drop_nulls(object);
    let Some(whole) = object.as_object_mut() else { return };
    whole.remove("status");
    let Some(metadata) = whole.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    SERVERS_OWN.iter().for_each(|key| drop(metadata.remove(*key)));
    if let Some(entries) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        mark::ANNOTATIONS.iter().chain([&LAST_APPLIED]).for_each(|key| drop(entries.remove(*key)));
        if entries.is_empty() {
            metadata.remove("annotations");
        }
    }
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(entries) => {
            entries.retain(|_, value| !value.is_null());
            entries.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// Writes `stringData` of a Secret as the server does, into `data`.
pub(crate) fn fold_string_data(object: &mut Value) {
    use base64::Engine as _;
    let Some(whole) = object.as_object_mut() else { return };
    let Some(Value::Object(plain)) = whole.remove("stringData") else { return };
    let data = whole.entry("data").or_insert_with(|| Value::Object(Map::new()));
    let Some(data) = data.as_object_mut() else { return };
    for (key, value) in plain {
        if let Value::String(text) = value {
            data.insert(key, Value::String(base64::engine::general_purpose::STANDARD.encode(text)));
        }
    }
}

/// The bytes that are stored and shown: JSON with sorted keys, two spaces, a line feed at the end. It is YAML too.
pub(crate) fn shown(object: &Value) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(object).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

/// What is compared: the object without what its address says already.
pub(crate) fn body(object: &Value) -> Value {
    let mut body = object.clone();
    if let Some(whole) = body.as_object_mut() {
        whole.remove("apiVersion");
        whole.remove("kind");
        let empty = whole.get_mut("metadata").and_then(Value::as_object_mut).is_none_or(|metadata| {
            metadata.remove("name");
            metadata.remove("namespace");
            metadata.is_empty()
        });
        if empty {
            whole.remove("metadata");
        }
    }
    body
}

/// The digest of a body in canonical form.
pub(crate) fn identity(body: &Value) -> Digest {
    Digest::of(&canonical(body))
}

/// What people desire of an object, as it is compared: without what [`strip`] takes away.
pub(crate) fn desired(mut object: Value) -> Value {
    let ignored = ignore::of(&object);
    strip(&mut object);
    ignore::take_out(&mut object, &ignored);
    body(&object)
}

/// Whether a fingerprint is a sealed object's.
pub(crate) fn keyed(fingerprint: &Fingerprint) -> bool {
    fingerprint.as_str().starts_with("1:object:keyed:")
}

/// Writes a fingerprint: `1:object:<sha256>`, or `1:object:keyed:<…>` where the object is sealed.
pub(crate) fn fingerprint(identity: &Digest, sealed: Option<&dyn Seal>) -> Fingerprint {
    match sealed {
        Some(seal) => Fingerprint::new(format!("1:object:keyed:{}", seal.identity(identity).hex())),
        None => Fingerprint::new(format!("1:object:{}", identity.hex())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_server_adds_is_no_part_of_an_object() {
        let mut live = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {
                "name": "one", "namespace": "shop", "uid": "u", "resourceVersion": "7", "creationTimestamp": "2026-01-01T00:00:00Z",
                "managedFields": [], "annotations": { "trued.dev/epoch": "3", LAST_APPLIED: "{}" },
            },
            "data": { "a": "1", "b": null }, "status": {},
        });
        strip(&mut live);
        assert_eq!(
            live,
            json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "one", "namespace": "shop" }, "data": { "a": "1" } })
        );
        assert_eq!(body(&live), json!({ "data": { "a": "1" } }));
    }

    #[test]
    fn string_data_is_written_as_the_server_keeps_it() {
        let mut secret = json!({ "stringData": { "password": "hunter2" }, "data": { "password": "b2xk", "user": "YQ==" } });
        fold_string_data(&mut secret);
        assert_eq!(secret, json!({ "data": { "password": "aHVudGVyMg==", "user": "YQ==" } }));
    }
}
