//! Fields that a stack is not about: taken out of what is desired and of what is compared, and left as they are there. Pure.
//!
//! Which they are stands at the object itself, as an annotation: so whoever compares it later knows, and people see it.

use globset::Glob;
use serde_json::{Map, Value};
use trued_model::Ignore;

use crate::address::Kind;
use crate::fields;
use crate::object::{kind, text};

/// The annotation: the pointers as a JSON list.
const ANNOTATION: &str = "trued.dev/ignore";

/// Takes the fields out of an object that is desired, and writes down which.
pub(crate) fn leave_out(object: &mut Value, rules: &[Ignore]) {
    let fits = |rule: &&Ignore| {
        let of_kind = |wanted: &String| kind(object).is_some_and(|kind| is(&kind, wanted));
        let name = text(object, &["metadata", "name"]).unwrap_or_default();
        // A glob that is none was a finding of the configuration.
        let named = |glob: &String| Glob::new(glob).is_ok_and(|glob| glob.compile_matcher().is_match(name));
        rule.kind.as_ref().is_none_or(of_kind) && rule.name.as_ref().is_none_or(named)
    };
    let mut pointers: Vec<String> = rules.iter().filter(fits).flat_map(|rule| rule.fields.clone()).collect();
    pointers.sort();
    pointers.dedup();
    if pointers.is_empty() {
        return;
    }
    take_out(object, &pointers);
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    let annotations = metadata.entry("annotations").or_insert_with(|| Value::Object(Map::new()));
    annotations[ANNOTATION] = serde_json::to_string(&pointers).unwrap_or_default().into();
}

/// The fields that are ignored of an object.
pub(crate) fn of(object: &Value) -> Vec<String> {
    let written = text(object, &["metadata", "annotations", ANNOTATION]);
    written.and_then(|written| serde_json::from_str(written).ok()).unwrap_or_default()
}

/// Takes fields out of an object, and what is empty without them.
pub(crate) fn take_out(object: &mut Value, pointers: &[String]) {
    for pointer in pointers {
        let steps: Vec<String> = trued_yaml::pointer_steps(pointer).collect();
        remove(object, &steps);
    }
}

/// Writes into what is to be applied the values that ignored fields have there, as far as we own them: giving a field up would
/// reset it.
pub(crate) fn keep_as_there(wanted: &mut Value, live: &Value) {
    let Some(ours) = fields::ours(live).and_then(|owner| fields::project(live, owner.fields)) else { return };
    for pointer in of(wanted) {
        let steps: Vec<String> = trued_yaml::pointer_steps(&pointer).collect();
        if let Some(value) = find(&ours, &steps) {
            put(wanted, &steps, value);
        }
    }
}

fn is(kind: &Kind, wanted: &str) -> bool {
    wanted == kind.kind || kind.prefix().trim_end_matches('/') == wanted
}

/// Which item of a list a step means: by its name, else by its place.
fn item(items: &[Value], step: &str) -> Option<usize> {
    items.iter().position(|item| text(item, &["name"]) == Some(step)).or_else(|| step.parse().ok().filter(|place| *place < items.len()))
}

fn find<'a>(value: &'a Value, steps: &[String]) -> Option<&'a Value> {
    steps.iter().try_fold(value, |value, step| match value {
        Value::Object(entries) => entries.get(step),
        Value::Array(items) => items.get(item(items, step)?),
        _ => None,
    })
}

fn remove(value: &mut Value, steps: &[String]) {
    let Some((first, rest)) = steps.split_first() else { return };
    match value {
        Value::Object(entries) if rest.is_empty() => drop(entries.remove(first)),
        Value::Object(entries) => {
            let Some(inner) = entries.get_mut(first) else { return };
            let before = is_empty(inner);
            remove(inner, rest);
            if !before && is_empty(inner) {
                entries.remove(first);
            }
        }
        Value::Array(items) => match item(items, first) {
            Some(place) if rest.is_empty() => drop(items.remove(place)),
            Some(place) => remove(&mut items[place], rest),
            None => {}
        },
        _ => {}
    }
}

fn put(value: &mut Value, steps: &[String], new: &Value) {
    let Some((last, around)) = steps.split_last() else { return };
    let mut place = value;
    for step in around {
        place = match place {
            Value::Object(entries) => entries.entry(step.clone()).or_insert_with(|| Value::Object(Map::new())),
            Value::Array(items) => match item(items, step) {
                Some(found) => &mut items[found],
                None => return,
            },
            _ => return,
        };
    }
    match place {
        Value::Object(entries) => drop(entries.insert(last.clone(), new.clone())),
        Value::Array(items) if item(items, last).is_none() => items.push(new.clone()),
        _ => {}
    }
}

fn is_empty(value: &Value) -> bool {
    value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rule(kind: Option<&str>, name: Option<&str>, fields: &[&str]) -> Ignore {
        Ignore {
            kind: kind.map(str::to_owned),
            name: name.map(str::to_owned),
            fields: fields.iter().map(|field| (*field).to_owned()).collect(),
        }
    }

    fn web() -> Value {
        json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" }, "spec": { "replicas": 3, "template": { "spec": {
            "containers": [{ "name": "mesh", "image": "m" }, { "name": "web", "image": "w", "resources": { "limits": { "cpu": "1" } } }] } } } })
    }

    #[test]
    fn fields_are_left_out_of_the_objects_that_rules_name_and_nothing_empty_stays() {
        let mut object = web();
        let rules = [
            rule(Some("apps/Deployment"), Some("w*"), &["/spec/replicas", "/spec/template/spec/containers/web/resources/limits"]),
            rule(Some("StatefulSet"), None, &["/spec/template"]),
            rule(None, Some("other"), &["/spec"]),
        ];
        leave_out(&mut object, &rules);
        assert_eq!(
            object,
            json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web", "annotations": {
                    "trued.dev/ignore": "[\"/spec/replicas\",\"/spec/template/spec/containers/web/resources/limits\"]" } },
                "spec": { "template": { "spec": { "containers": [{ "name": "mesh", "image": "m" }, { "name": "web", "image": "w" }] } } } })
        );
        let mut untouched = web();
        leave_out(&mut untouched, &rules[1..]);
        assert_eq!(untouched, web());
    }

    #[test]
    fn an_ignored_field_of_ours_is_sent_as_it_is_there_and_one_of_others_is_not() {
        let fields = |set: Value| {
            json!({ "metadata": { "managedFields": [{ "manager": "trued", "operation": "Apply", "apiVersion": "v1", "fieldsV1": set }] },
            "spec": { "replicas": 7, "paused": true } })
        };
        let wanted = || {
            let mut wanted = web();
            leave_out(&mut wanted, &[rule(None, None, &["/spec/replicas", "/spec/paused"])]);
            wanted
        };
        let mut sent = wanted();
        keep_as_there(&mut sent, &fields(json!({ "f:spec": { "f:replicas": {} } })));
        assert_eq!((&sent["spec"]["replicas"], &sent["spec"]["paused"]), (&json!(7), &Value::Null));
    }
}
