//! What a cluster says its kinds look like: OpenAPI v3 as it serves it, made into one validator per kind and cached by hash.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jsonschema::{Draft, Validator};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use trued_doors::Answer;
use trued_model::{Code, Refusal};

use crate::address::Kind;
use crate::api::{Api, said};
use crate::object::{at, text};

/// A kind under one of its versions.
pub(crate) type Form = (Kind, String);

/// Where named schemas stand in a document.
const NAMED: &str = "#/components/schemas/";

/// What a cluster's kinds look like, as far as anybody asked.
#[derive(Default)]
pub(crate) struct Schemas {
    /// One fetch at a time.
    known: tokio::sync::Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Where each group's document is, with its hash; and when that was asked.
    index: Option<(Instant, BTreeMap<String, String>)>,
    /// By form: the address of the document it was made of, and what checks it; `None` where nothing can.
    made: BTreeMap<Form, (String, Option<Arc<Validator>>)>,
}

impl Schemas {
    /// What checks these forms, from documents that were current a while ago at most. A form that the cluster says nothing
    /// about is not in the answer.
    pub async fn of(&self, api: &Api, forms: &BTreeSet<Form>, no_older_than: Duration) -> Answer<BTreeMap<Form, Arc<Validator>>> {
        let mut known = self.known.lock().await;
        let stale = known.index.as_ref().is_none_or(|(at, index)| {
            at.elapsed() >= no_older_than || forms.iter().any(|form| !index.contains_key(&document(form)) && !known.made.contains_key(form))
        });
        if stale {
            let answer = said(api.get("/openapi/v3").await, "ask the cluster what its kinds look like")?;
            let paths = answer.get("paths").and_then(Value::as_object);
            let place = |(path, entry): (&String, &Value)| Some((path.clone(), text(entry, &["serverRelativeURL"])?.to_owned()));
            known.index = Some((Instant::now(), paths.into_iter().flatten().filter_map(place).collect()));
        }
        let index = known.index.as_ref().map(|(_, index)| index.clone()).unwrap_or_default();
        let mut missing: BTreeMap<&String, Vec<&Form>> = BTreeMap::new();
        for form in forms {
            match index.get(&document(form)) {
                Some(place) if known.made.get(form).is_none_or(|(made_of, _)| made_of != place) => {
                    missing.entry(place).or_default().push(form)
                }
                Some(_) => {}
                None => drop(known.made.insert(form.clone(), (String::new(), None))),
            }
        }
        for (place, forms) in missing {
            let text = said(api.get_text(place).await, "ask the cluster what its kinds look like")?;
            let unread = |_| Refusal::new(Code::Unknown, format!("read the answer to {place}: it tells of no kinds"));
            let served = Served::read(&text).map_err(unread)?;
            for form in forms {
                let validator = served.schema(form).and_then(|schema| validator(form, &schema));
                known.made.insert(form.clone(), (place.clone(), validator));
            }
        }
        let found = |form: &Form| Some((form.clone(), known.made.get(form)?.1.clone()?));
        Ok(forms.iter().filter_map(found).collect())
    }
}

/// The schema of one kind out of a document as served.
pub(crate) fn of_document(document: &[u8], form: &Form) -> Option<Value> {
    Served::read(document).ok()?.schema(form)
}

/// What checks a schema; `None` where it cannot be made, which is said in the log.
pub(crate) fn validator(form: &Form, schema: &Value) -> Option<Arc<Validator>> {
    let options = jsonschema::options().with_draft(Draft::Draft4).should_validate_formats(false);
    match options.build(schema) {
        Ok(validator) => Some(Arc::new(validator)),
        Err(error) => {
            tracing::debug!(kind = %form.0, "its schema is not used: {}", error.masked());
            None
        }
    }
}

/// The name of the document that tells of a form: `apis/apps/v1`.
fn document((kind, version): &Form) -> String {
    if kind.group.is_empty() { format!("api/{version}") } else { format!("apis/{}/{version}", kind.group) }
}

/// A document as served. A schema stays text until it is asked for: a document tells of hundreds of kinds.
struct Served<'a> {
    schemas: BTreeMap<String, &'a RawValue>,
    /// The name of each kind's schema.
    names: BTreeMap<Form, String>,
}

impl<'a> Served<'a> {
    /// Fails on what is no such document: half an answer says nothing about any kind.
    fn read(text: &'a [u8]) -> serde_json::Result<Served<'a>> {
        #[derive(Deserialize)]
        struct Document<'a> {
            #[serde(borrow, default)]
            components: Components<'a>,
        }
        #[derive(Default, Deserialize)]
        struct Components<'a> {
            #[serde(borrow, default)]
            schemas: BTreeMap<String, &'a RawValue>,
        }
        #[derive(Deserialize)]
        struct Named {
            #[serde(default, rename = "x-kubernetes-group-version-kind")]
            names: Vec<GroupVersionKind>,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct GroupVersionKind {
            group: String,
            version: String,
            kind: String,
        }
        let document: Document<'a> = serde_json::from_slice(text)?;
        let schemas = document.components.schemas;
        let mut names = BTreeMap::new();
        for (name, schema) in &schemas {
            let named = serde_json::from_str::<Named>(schema.get()).map_or_else(|_| Vec::new(), |named| named.names);
            for GroupVersionKind { group, version, kind } in named {
                names.entry((Kind::new(&group, &kind), version)).or_insert_with(|| name.clone());
            }
        }
        Ok(Served { schemas, names })
    }

    /// The schema of one kind: what it refers to and nothing else, and no field that it does not name.
    fn schema(&self, form: &Form) -> Option<Value> {
        let root = self.names.get(form)?;
        let mut reached = Map::new();
        let mut open = vec![root.clone()];
        while let Some(name) = open.pop() {
            if reached.contains_key(&name) {
                continue;
            }
            let tight = tight(&serde_json::from_str(self.schemas.get(&name)?.get()).ok()?);
            references(&tight, &mut open);
            reached.insert(name, tight);
        }
        Some(json!({ "$ref": format!("{NAMED}{root}"), "components": { "schemas": reached } }))
    }
}

/// The schema of one version out of a definition that is to be applied.
pub(crate) fn of_definition(definition: &Value, version: &str) -> Option<Value> {
    let versions = at(definition, &["spec", "versions"])?.as_array()?;
    let found = versions.iter().find(|known| text(known, &["name"]) == Some(version))?;
    let mut schema = tight(at(found, &["schema", "openAPIV3Schema"])?);
    // What every object has is not written into a definition.
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.insert("apiVersion".to_owned(), json!({ "type": "string" }));
        properties.insert("kind".to_owned(), json!({ "type": "string" }));
        properties.insert("metadata".to_owned(), json!({ "type": "object" }));
    }
    Some(schema)
}

/// A schema without what is only told to people, and with no place for fields that it does not name.
fn tight(schema: &Value) -> Value {
    let Some(entries) = schema.as_object() else { return schema.clone() };
    let keeps = ["x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"];
    let open = keeps.iter().any(|key| entries.get(*key) == Some(&Value::Bool(true)));
    let mut tight_one = Map::new();
    for (key, value) in entries {
        match (key.as_str(), value) {
            ("description" | "default" | "example" | "externalDocs" | "format", _) => {}
            (key, _) if key.starts_with("x-") => {}
            ("properties", Value::Object(properties)) => {
                let properties: Map<String, Value> = properties.iter().map(|(name, schema)| (name.clone(), tight(schema))).collect();
                tight_one.insert(key.clone(), properties.into());
            }
            ("items" | "additionalProperties", value) => drop(tight_one.insert(key.clone(), tight(value))),
            (_, value) => drop(tight_one.insert(key.clone(), value.clone())),
        }
    }
    if tight_one.contains_key("properties") && !tight_one.contains_key("additionalProperties") && !open {
        tight_one.insert("additionalProperties".to_owned(), false.into());
    }
    tight_one.into()
}

/// The named schemas that one refers to.
fn references(schema: &Value, found: &mut Vec<String>) {
    match schema {
        Value::Object(entries) => {
            if let Some(Value::String(reference)) = entries.get("$ref") {
                found.extend(reference.strip_prefix(NAMED).map(str::to_owned));
            }
            entries.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form() -> Form {
        (Kind::new("apps", "Deployment"), "v1".to_owned())
    }

    /// As a server serves it, shortened.
    fn served() -> String {
        let kind = json!([{ "group": "apps", "version": "v1", "kind": "Deployment" }]);
        let spec = json!({ "allOf": [{ "$ref": "#/components/schemas/Spec" }], "default": {}, "description": "what is to be" });
        json!({ "components": { "schemas": {
            "Deployment": { "type": "object", "x-kubernetes-group-version-kind": kind,
                "properties": { "apiVersion": { "type": "string" }, "kind": { "type": "string" }, "spec": spec,
                    "any": { "type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": { "a": { "type": "string" } } } } },
            "Spec": { "type": "object", "required": ["selector"], "properties": {
                "replicas": { "type": "integer", "format": "int32" }, "selector": { "type": "object" },
                "description": { "type": "string" }, "labels": { "type": "object", "additionalProperties": { "type": "string" } },
                "port": { "oneOf": [{ "type": "integer" }, { "type": "string" }] } } },
            "Other": { "type": "object" },
        } } })
        .to_string()
    }

    #[test]
    fn half_a_document_is_none_and_one_that_tells_of_nothing_is_one() {
        let served = served();
        assert!(Served::read(&served.as_bytes()[..served.len() / 2]).is_err());
        assert!(Served::read(b"<html>").is_err());
        assert!(Served::read(b"{}").unwrap().schema(&form()).is_none());
    }

    #[test]
    fn a_kind_s_schema_is_all_it_refers_to_and_takes_no_field_that_it_does_not_name() {
        let served = served();
        let schema = Served::read(served.as_bytes()).unwrap().schema(&form()).unwrap();
        assert!(at(&schema, &["components", "schemas", "Other"]).is_none(), "{schema}");
        let validator = validator(&form(), &schema).unwrap();
        let wrong = |spec: Value| {
            let object = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "any": { "b": 1 }, "spec": spec });
            validator.iter_errors(&object).map(|error| format!("{} {}", error.instance_path(), error.masked())).collect::<Vec<_>>()
        };
        assert_eq!(
            wrong(json!({ "selector": {}, "replicas": 1, "description": "x", "labels": { "a": "b" }, "port": "http" })),
            Vec::<String>::new()
        );
        assert_eq!(wrong(json!({ "selector": {}, "replica": 1 })).len(), 1);
        assert_eq!(wrong(json!({ "replicas": "three", "labels": { "a": 1 } })).len(), 3);
    }
}
