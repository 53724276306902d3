//! The kinds this build has, and the schemas of both configuration files composed with theirs.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use jsonschema::Validator;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};
use trued_doors::{Cache, Descriptor, Driver, NoPuller, Puller, SourceKind};
use trued_model::{Code, Digest, Refusal};

use crate::grants;
use crate::shape::{AppFile, NAME_LENGTH, NAME_PATTERN, NAME_TITLE, OperatorFile};

/// The two kinds of configuration file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// `trued.yaml`: what may happen where; in the small form also what runs.
    Operator,
    /// An app file: what runs.
    App,
}

/// What can be configured: descriptors by kind, and the schemas. Made once, used for every load.
pub struct Kinds {
    pub(crate) sources: BTreeMap<&'static str, Descriptor>,
    /// What checks the settings of sources beyond their schema.
    pub(crate) source_kinds: BTreeMap<&'static str, Arc<dyn SourceKind>>,
    pub(crate) renderers: BTreeMap<&'static str, Descriptor>,
    pub(crate) checks: BTreeMap<&'static str, Descriptor>,
    pub(crate) drivers: BTreeMap<&'static str, (Descriptor, Arc<dyn Driver>)>,
    /// What fetches archives, and how it describes the way to a place.
    pub(crate) puller: (Descriptor, Arc<dyn Puller>),
    pub(crate) operator: Compiled,
    pub(crate) app: Compiled,
    /// Where it is noted which files are sound.
    sound: Option<Arc<dyn Cache>>,
}

/// A schema, and what checks against it: made when a file is met that was never found sound, for it costs more than
/// all the rest of a process that has nothing to do.
pub(crate) struct Compiled {
    pub schema: Value,
    digest: OnceLock<Digest>,
    validator: OnceLock<Result<Validator, String>>,
}

impl Compiled {
    fn new(schema: Value) -> Compiled {
        Compiled { schema, digest: OnceLock::new(), validator: OnceLock::new() }
    }

    /// What checks a file; `Err` says why the composed schema is none.
    pub fn validator(&self) -> Result<&Validator, &str> {
        let made = self.validator.get_or_init(|| jsonschema::draft202012::new(&self.schema).map_err(|error| error.to_string()));
        made.as_ref().map_err(String::as_str)
    }

    /// Names one value under this law.
    fn key(&self, value: &Value) -> String {
        format!("configuration/{}", Digest::of_canonical(&(self.digest.get_or_init(|| Digest::of_canonical(&self.schema)), value)).hex())
    }
}

impl Kinds {
    /// Composes the schemas; [`Code::Broken`] when a kind's own schema is none, or refers to something outside itself.
    pub fn new(
        sources: impl IntoIterator<Item = Descriptor>,
        renderers: impl IntoIterator<Item = Descriptor>,
        drivers: impl IntoIterator<Item = Arc<dyn Driver>>,
        checks: impl IntoIterator<Item = Descriptor>,
    ) -> Result<Kinds, Refusal> {
        let by_kind = |all: Vec<Descriptor>| -> BTreeMap<_, _> { all.into_iter().map(|one| (one.kind, one)).collect() };
        let sources = by_kind(sources.into_iter().collect());
        let renderers = by_kind(renderers.into_iter().collect());
        let checks = by_kind(checks.into_iter().collect());
        let drivers: BTreeMap<_, _> =
            drivers.into_iter().map(|driver| (driver.describe(), driver)).map(|pair| (pair.0.kind, pair)).collect();

        let settings = |all: &BTreeMap<&'static str, Descriptor>| -> Result<Map<String, Value>, Refusal> {
            all.iter().map(|(kind, one)| Ok(((*kind).to_owned(), standing_alone(one)?))).collect()
        };
        let driven = drivers.iter().map(|(kind, (one, _))| (*kind, one.clone())).collect();
        let mut source_settings = settings(&sources)?;
        for schema in source_settings.values_mut() {
            // The program says which source is its own.
            schema["properties"].as_object_mut().map(|properties| properties.remove("own"));
        }
        let slots = Slots {
            sources: source_settings,
            renderers: settings(&renderers)?,
            drivers: settings(&driven)?,
            checks: settings(&checks)?.into_iter().map(|(kind, schema)| (kind.clone(), grants::with_names(&kind, schema))).collect(),
        };
        let (operator, app) = (Compiled::new(operator_schema(&slots)), Compiled::new(app_schema(&slots)));
        let puller: (_, Arc<dyn Puller>) = (NoPuller.describe(), Arc::new(NoPuller));
        let kinds = Kinds { sources, source_kinds: BTreeMap::new(), renderers, checks, drivers, puller, operator, app, sound: None };
        kinds.pulled_by(Arc::new(NoPuller))
    }

    /// Lets archives be fetched by this one: the operator says how places are asked in its settings.
    pub fn pulled_by(self, puller: Arc<dyn Puller>) -> Result<Kinds, Refusal> {
        let described = puller.describe();
        let mut schema = self.operator.schema;
        schema["properties"]["registries"]["additionalProperties"] = standing_alone(&described)?;
        Ok(Kinds { puller: (described, puller), operator: Compiled::new(schema), ..self })
    }

    /// Notes there which files are sound, and does not check the same bytes against the same schema again.
    pub fn remembering(self, sound: Arc<dyn Cache>) -> Kinds {
        Kinds { sound: Some(sound), ..self }
    }

    /// Lets the kinds of source themselves look at their settings, beyond the schema.
    pub fn checked_by(self, sources: impl IntoIterator<Item = Arc<dyn SourceKind>>) -> Kinds {
        let source_kinds = sources.into_iter().map(|kind| (kind.describe().kind, kind)).collect();
        Kinds { source_kinds, ..self }
    }

    /// The JSON Schema (2020-12) of a configuration file, with the settings of every kind of this build.
    pub fn schema(&self, which: Which) -> &Value {
        &self.compiled(which).schema
    }

    pub(crate) fn compiled(&self, which: Which) -> &Compiled {
        match which {
            Which::Operator => &self.operator,
            Which::App => &self.app,
        }
    }

    /// Whether this value was found sound before.
    pub(crate) fn was_sound(&self, which: Which, value: &Value) -> bool {
        self.sound.as_ref().is_some_and(|sound| sound.get(&self.compiled(which).key(value)).is_some())
    }

    pub(crate) fn note_sound(&self, which: Which, value: &Value) {
        if let Some(sound) = &self.sound {
            sound.put(&self.compiled(which).key(value), b"sound\n");
        }
    }
}

/// The settings' schemas by kind, ready to be put in.
struct Slots {
    sources: Map<String, Value>,
    renderers: Map<String, Value>,
    drivers: Map<String, Value>,
    checks: Map<String, Value>,
}

/// The name of a place that is asked over https.
const HOST_PATTERN: &str = r"^([a-zA-Z0-9.-]+|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?$";
const HOST_TITLE: &str = "a host such as charts.example, or charts.example:8443";

/// A kind's schema without what belongs to a document of its own.
fn standing_alone(one: &Descriptor) -> Result<Value, Refusal> {
    let mut schema = one.schema.clone();
    if schema.to_string().contains("\"$ref\"") {
        return Err(Refusal::new(
            Code::Broken,
            format!("compose the configuration schema: that of `{}` has a $ref; write it inline", one.kind),
        ));
    }
    if let Some(schema) = schema.as_object_mut() {
        schema.retain(|key, _| !matches!(key.as_str(), "$schema" | "$id" | "title"));
        schema.entry("description").or_insert_with(|| one.summary.into());
    }
    without_null(&mut schema);
    Ok(schema)
}

fn operator_schema(slots: &Slots) -> Value {
    let mut schema = shape::<OperatorFile>("Trued: the operator's file");
    for section in ["sources", "environments", "targets", "secrets", "stacks"] {
        named(&mut schema["properties"][section]);
    }
    schema["properties"]["registries"]["propertyNames"] = json!({ "pattern": HOST_PATTERN, "title": HOST_TITLE });
    schema["properties"]["sources"]["additionalProperties"] = kinded(&slots.sources);
    schema["properties"]["environments"]["additionalProperties"]["type"] = json!(["object", "null"]);
    with_kinds(&mut schema["properties"]["targets"]["additionalProperties"], &slots.drivers);

    let stack = &mut schema["properties"]["stacks"]["additionalProperties"];
    with_kinds(stack, &Map::new());
    with_kinds(&mut stack["properties"]["target"], &slots.drivers);
    with_renderers_and_checks(stack, slots);
    schema
}

fn app_schema(slots: &Slots) -> Value {
    let mut schema = shape::<AppFile>("Trued: an app file");
    with_kinds(&mut schema, &Map::new());
    with_renderers_and_checks(&mut schema, slots);

    named(&mut schema["properties"]["stacks"]);
    schema["properties"]["stacks"]["minProperties"] = json!(1);
    let stack = &mut schema["properties"]["stacks"]["additionalProperties"];
    with_kinds(stack, &Map::new());
    with_renderers_and_checks(stack, slots);
    schema
}

fn shape<T: JsonSchema>(title: &str) -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.inline_subschemas = true;
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    without_null(&mut schema);
    schema["title"] = json!(title);
    schema
}

/// The keys of a section are names.
fn named(section: &mut Value) {
    section["propertyNames"] = json!({ "pattern": NAME_PATTERN, "maxLength": NAME_LENGTH, "title": NAME_TITLE });
}

/// A mapping with exactly one of these kinds.
fn kinded(kinds: &Map<String, Value>) -> Value {
    json!({ "type": "object", "properties": kinds, "additionalProperties": false, "minProperties": 1, "maxProperties": 1 })
}

/// Adds kinds to what a mapping may have, and closes it.
fn with_kinds(entry: &mut Value, kinds: &Map<String, Value>) {
    for (kind, schema) in kinds {
        entry["properties"][kind.as_str()] = schema.clone();
    }
    entry["additionalProperties"] = json!(false);
}

fn with_renderers_and_checks(entry: &mut Value, slots: &Slots) {
    let described = |old: &Value, mut new: Value| {
        new["description"] = old["description"].clone();
        new
    };
    let properties = &mut entry["properties"];
    properties["render"] = described(&properties["render"], kinded(&slots.renderers));
    properties["verify"] = described(&properties["verify"], json!({ "type": "array", "items": kinded(&slots.checks) }));
}

/// A key that need not be there is left out, not written as null.
fn without_null(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::Array(types)) = map.get_mut("type") {
                types.retain(|one| one != "null");
                if let [one] = types.as_slice() {
                    let one = one.clone();
                    map.insert("type".to_owned(), one);
                }
            }
            if let Some(Value::Array(choices)) = map.get("anyOf")
                && let [one, null] = choices.as_slice()
                && *null == json!({ "type": "null" })
                && let Value::Object(one) = one.clone()
            {
                map.remove("anyOf");
                for (key, value) in one {
                    map.entry(key).or_insert(value);
                }
            }
            // An empty default tells nothing.
            let empty = [Value::Null, json!(""), json!([]), json!({})];
            if map.get("default").is_some_and(|default| empty.contains(default)) {
                map.remove("default");
            }
            map.values_mut().for_each(without_null);
        }
        Value::Array(items) => items.iter_mut().for_each(without_null),
        _ => {}
    }
}
