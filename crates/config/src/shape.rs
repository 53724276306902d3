//! What the two kinds of configuration file look like: typed reading and the schema come from here.
//!
//! Settings of kinds (`files`, `git`, `template`, …) are values here; their schemas are put in by [`crate::kinds`].
//! No meaning is given here: names are not looked up, paths not resolved.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, json_schema};
use serde::Deserialize;
use serde_json::Value;
use trued_model::{DriftPolicy, Duration, Level, OnDelete, OnExisting, OnImmutable, Otherwise, Size};

/// The operator's file: what may happen where; in the small form also what runs.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct OperatorFile {
    /// Where desired state comes from, by name. Without it, the folder or repository that holds this file is the source.
    pub sources: Option<BTreeMap<String, Kinded>>,
    /// Stages of life, by name.
    pub environments: BTreeMap<String, Option<EnvironmentEntry>>,
    /// Systems that stacks land on, by name.
    pub targets: BTreeMap<String, TargetEntry>,
    /// Where secret values are, by name.
    pub secrets: BTreeMap<String, SecretEntry>,
    /// How registries and repositories of charts are asked, by host, with its port where that is not 443.
    pub registries: BTreeMap<String, Value>,
    /// How programs that render (`build`) are held.
    pub sandbox: SandboxEntry,
    /// Globs of app files: `apps/*/app.yaml`, or `SOURCE//apps/*/app.yaml` where there are `sources`.
    pub apps: Vec<String>,
    /// The small form: one stack each, with its own target. Only without `sources`.
    pub stacks: BTreeMap<String, InlineStack>,
}

/// Exactly one kind, with its settings.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct Kinded(pub BTreeMap<String, Value>);

/// An environment.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct EnvironmentEntry {
    /// Whether a change from outside must be explained by a person.
    pub explain: bool,
    /// What decides whether a plan may run.
    pub gates: Gates,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Gates {
    /// How many deletes run without a person's yes.
    pub deletes: Option<DeletesEntry>,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["at_most"]))]
pub(crate) struct DeletesEntry {
    /// More than this many, or more than this share of a stack's resources, is held: `5` or `"20%"`.
    #[schemars(schema_with = "at_most")]
    pub at_most: Value,
}

/// A target: exactly one kind with its settings, and what the operator grants to app files on it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct TargetEntry {
    /// Which folders of which source may use it: `SOURCE//apps/*`. Where there are `sources`, nothing may without it.
    pub allow: Option<Vec<AllowEntry>>,
    /// The only programs app files may name, each as a list of arguments.
    #[schemars(schema_with = "commands")]
    pub commands: BTreeMap<String, Vec<String>>,
    /// The only addresses app files may check, or fetch charts from: `http://127.0.0.1/*`.
    pub reach: Vec<String>,
    /// What nobody need manage there: globs of addresses (`cache/**`, `core/Secret/*/vault-*`), which `trued coverage` counts apart.
    pub ignore: Vec<String>,
    #[serde(flatten)]
    pub kinds: BTreeMap<String, Value>,
}

/// Who may use a target: a folder of a source, which may manage all of it, or folders that may manage a part.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum AllowEntry {
    Folder(String),
    Bounded(BoundedEntry),
}

/// Folders that may manage a part of a target. What is missing was said by the schema.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["apps", "manage"]))]
pub(crate) struct BoundedEntry {
    /// Which folders of which source: `SOURCE//apps/pay`.
    pub apps: Vec<String>,
    /// The only addresses they may manage, as globs: `*/*/pay/*`, `core/Namespace/-/pay`, `www/pay/**`.
    pub manage: Vec<String>,
}

/// One schema for both forms, so that a slip in the longer one is told at its key.
impl JsonSchema for AllowEntry {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "AllowEntry".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> Schema {
        let mut schema = BoundedEntry::json_schema(generator);
        schema.insert("type".to_owned(), serde_json::json!(["string", "object"]));
        schema.insert("title".to_owned(), "a folder such as `SOURCE//apps/*`, or `{ apps: […], manage: […] }`".into());
        schema
    }
}

/// Where one secret is: on this machine, or encrypted in a source.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SecretEntry {
    /// A file whose content is the secret.
    pub file: Option<String>,
    /// An environment variable of this process.
    pub env: Option<String>,
    /// A file in a source that age encrypted: `PATH` from this file's folder, or `SOURCE//PATH` where there are `sources`.
    pub age: Option<String>,
    /// A file in a source that SOPS wrote, of which `key` names one value.
    pub sops: Option<String>,
    /// Which value of a SOPS file: `db.password`, `users.0.token`, or a JSON pointer. A binary file has no keys.
    pub key: Option<String>,
    /// The age identities that open the encrypted file; they lie on this machine.
    pub identity: Option<IdentityEntry>,
    /// Which folders of which source may use it: `SOURCE//apps/site`.
    pub allow: Option<Vec<String>>,
}

/// How programs that render are held.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SandboxEntry {
    /// The most each may use. What is left out: 10m, 512 processes, 2GiB of memory, 1GiB of output, 10MiB of log.
    pub limits: Option<LimitsEntry>,
    /// The level below which nothing is built: `base`, or `namespaced`, where a program sees no process and no file but its own.
    #[schemars(schema_with = "level_words")]
    pub level: Option<Level>,
    /// Folders and files besides the system's own that every build may read.
    pub tools: Vec<String>,
    /// Whether builds run even on a machine that cannot confine them; every listing then says `unsafe`.
    #[serde(rename = "unsafe")]
    pub even_unsafe: bool,
}

/// What a program and everything it starts may use together.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LimitsEntry {
    /// How long it may run.
    #[schemars(schema_with = "span")]
    pub time: Option<Duration>,
    /// Processes at once.
    #[schemars(schema_with = "count")]
    pub processes: Option<u32>,
    /// Memory of all its processes.
    #[schemars(schema_with = "size")]
    pub memory: Option<Size>,
    /// Bytes of all files it leaves.
    #[schemars(schema_with = "size")]
    pub output: Option<Size>,
    /// Bytes it says.
    #[schemars(schema_with = "size")]
    pub log: Option<Size>,
}

/// Where age identities are: lines `AGE-SECRET-KEY-1…`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct IdentityEntry {
    /// A file that age-keygen made.
    pub file: Option<String>,
    /// An environment variable of this process.
    pub env: Option<String>,
}

/// A stack of the small form: app, target and stack have one name.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["target"]))]
pub(crate) struct InlineStack {
    /// Who answers for it.
    pub owner: Option<String>,
    /// The folder that is taken as it is: short for `render: { plain: { path: … } }`.
    pub path: Option<String>,
    /// How the source becomes documents: one renderer with its settings.
    pub render: Option<Kinded>,
    /// The target: one kind with its settings, or a name of `targets`.
    #[schemars(schema_with = "inline_target")]
    pub target: Value,
    #[serde(flatten)]
    pub place: Placed,
    #[serde(flatten)]
    pub rules: Rules,
}

/// An app file: what runs, and where.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["app", "stacks"]))]
pub(crate) struct AppFile {
    /// The app's name.
    #[schemars(schema_with = "name")]
    pub app: String,
    /// Who answers for it.
    pub owner: Option<String>,
    /// How the source becomes documents: one renderer with its settings.
    pub render: Option<Kinded>,
    /// One stack for each environment it runs in.
    pub stacks: BTreeMap<String, StackEntry>,
    #[serde(flatten)]
    pub rules: Rules,
}

/// One stack of an app file; what stands here goes before what stands at the app.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["target"]))]
pub(crate) struct StackEntry {
    /// The target's name, or a list of names: one stack on each.
    #[schemars(schema_with = "target_names")]
    pub target: Value,
    /// How the source becomes documents, where this stack differs from the app.
    pub render: Option<Kinded>,
    #[serde(flatten)]
    pub place: Placed,
    #[serde(flatten)]
    pub rules: Rules,
}

/// Where a stack lands, and with which values.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Placed {
    /// Where on the target it lands, in the target's own terms.
    pub into: String,
    /// Values for the renderer, over those of `render`: any values, or `{ secret: NAME }`.
    #[schemars(schema_with = "vars")]
    pub vars: BTreeMap<String, Value>,
}

/// Rules of an app or a stack.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Rules {
    /// What happens when the target differs from what was made: put it back, report it, or wait for a person.
    #[schemars(schema_with = "drift_words")]
    pub drift: Option<DriftPolicy>,
    /// What happens to something that exists, differs and was never ours: wait for a person, or keep its bytes and replace it.
    #[schemars(schema_with = "existing_words")]
    pub on_existing: Option<OnExisting>,
    /// What happens where a change cannot be made in place: wait for a person, or remove the thing and make it anew.
    #[schemars(schema_with = "immutable_words")]
    pub on_immutable: Option<OnImmutable>,
    /// What happens to what is no longer desired, by glob; the first match holds.
    #[schemars(schema_with = "delete_words")]
    pub on_delete: Option<BTreeMap<String, OnDelete>>,
    /// Fields of objects that the stack is not about: neither sent nor compared.
    pub ignore: Option<Vec<IgnoreEntry>>,
    /// How many deletes run without a person's yes; an app file may only tighten this.
    pub deletes: Option<DeletesEntry>,
    /// Globs of files that are stored encrypted as a whole.
    pub sensitive: Option<Vec<String>>,
    /// Programs run once per set of changes: a name the operator granted, or a list of arguments.
    #[schemars(schema_with = "programs")]
    pub on_change: Option<Vec<Value>>,
    /// Checks after apply: one kind each, with its settings.
    pub verify: Option<Vec<Kinded>>,
    /// Old names, as they were written: `homepage`, `prod/site`, `prod/site@web-1`.
    pub previously: Vec<String>,
    /// How long what was written may take to become ready, on targets that tell, and what happens otherwise.
    pub health: Option<HealthEntry>,
    /// Stacks that have landed before anything new of this one does: `db`, in the same environment, or `prod/db@web-1`.
    pub after: Vec<String>,
    /// How often the target is looked at without a hint: `15s`, `5m`, `1h`.
    #[schemars(schema_with = "span")]
    pub interval: Option<Duration>,
    /// What a program that renders may use; only less than the operator allows.
    pub limits: Option<LimitsEntry>,
    /// Whether a failed check goes back to the last verified release by itself.
    pub rollback: Option<bool>,
}

/// Waiting for what was written to become ready.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct HealthEntry {
    /// How long it may take: 5m where nothing is written.
    #[schemars(schema_with = "span")]
    pub within: Option<Duration>,
    /// What happens when it takes longer, or something says that it failed: it is left as it is with an incident (`hold`), or
    /// the stack goes back to its last verified release (`rollback`).
    #[schemars(schema_with = "otherwise_words")]
    pub otherwise: Option<Otherwise>,
    /// How kinds of one's own tell their health, by kind as addresses begin: `example.org/Widget`.
    pub rules: BTreeMap<String, HealthRuleEntry>,
}

/// Expressions over an object (Common Expression Language); the first that holds counts: degraded, progressing, ready.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["ready"]))]
pub(crate) struct HealthRuleEntry {
    /// Holds when it failed, and waiting does not help.
    pub degraded: Option<String>,
    /// Holds when it is on its way, although `ready` holds.
    pub progressing: Option<String>,
    /// Holds when it is ready: `status.phase == 'Running'`.
    pub ready: String,
}

/// Fields that are ignored, of all objects or of some.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct IgnoreEntry {
    /// Of objects of this kind only: `Deployment`, `apps/Deployment`.
    #[serde(default)]
    pub kind: Option<String>,
    /// Of objects whose names fit this glob only.
    #[serde(default)]
    pub name: Option<String>,
    /// JSON pointers such as `/spec/replicas`; an item of a list by its place or by its `name`.
    pub fields: Vec<String>,
}

/// What a name looks like, besides its length. Counted repetitions would make the compiled form many times larger.
pub(crate) const NAME_PATTERN: &str = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$";
pub(crate) const NAME_LENGTH: u32 = 63;
pub(crate) const NAME_TITLE: &str = "a name: a-z, 0-9 and -, at most 63 characters, no - at either end";

fn name(_: &mut schemars::SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "pattern": NAME_PATTERN, "maxLength": NAME_LENGTH, "title": NAME_TITLE })
}

fn at_most(_: &mut schemars::SchemaGenerator) -> Schema {
    json_schema!({ "type": ["integer", "string"], "minimum": 0, "maximum": 1_000_000, "pattern": "^(100|[0-9]?[0-9])%$", "title": "a number, or a share such as \"20%\"" })
}

fn commands(_: &mut schemars::SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "propertyNames": { "pattern": NAME_PATTERN, "maxLength": NAME_LENGTH, "title": NAME_TITLE },
        "additionalProperties": { "type": "array", "items": { "type": "string" }, "minItems": 1, "title": "a program and its arguments as a list" } })
}

fn programs(_: &mut schemars::SchemaGenerator) -> Schema {
    json_schema!({ "type": ["array", "null"], "items": { "type": ["string", "array"], "items": { "type": "string" }, "minItems": 1, "minLength": 1,
        "title": "a command's name, or a program and its arguments as a list" } })
}

fn inline_target(_: &mut schemars::SchemaGenerator) -> Schema {
    json_schema!({ "type": ["object", "string"], "title": "a target's kind with its settings, or the name of a target" })
}

fn target_names(_: &mut schemars::SchemaGenerator) -> Schema {
    json_schema!({ "type": ["string", "array"], "items": { "type": "string" }, "minItems": 1, "title": "a target's name, or a list of names" })
}

fn vars(_: &mut schemars::SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "additionalProperties": true })
}

fn drift_words(_: &mut schemars::SchemaGenerator) -> Schema {
    json_schema!({ "enum": ["revert", "alert", "hold"] })
}

fn existing_words(_: &mut schemars::SchemaGenerator) -> Schema {
    json_schema!({ "enum": ["hold", "take-over"] })
}

fn immutable_words(_: &mut schemars::SchemaGenerator) -> Schema {
    json_schema!({ "enum": ["hold", "replace"] })
}

fn delete_words(_: &mut schemars::SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "additionalProperties": { "enum": ["delete", "retain", "report"] } })
}

fn span(_: &mut schemars::SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$", "maxLength": 12, "title": "a span of time such as 15s, 5m or 1h" })
}

fn otherwise_words(_: &mut schemars::SchemaGenerator) -> Schema {
    json_schema!({ "enum": ["hold", "rollback"] })
}

fn size(_: &mut schemars::SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "pattern": "^[0-9]+(KiB|MiB|GiB)$", "maxLength": 12, "title": "a size such as 512MiB or 2GiB" })
}

fn count(_: &mut schemars::SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "minimum": 1, "maximum": 1_000_000 })
}

fn level_words(_: &mut schemars::SchemaGenerator) -> Schema {
    json_schema!({ "enum": ["base", "namespaced"] })
}
