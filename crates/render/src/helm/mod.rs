//! `helm`: the objects that `helm template` makes from a chart of the source, or of one that was fetched by its digest. It runs
//! confined; what the chart depends on lies in it or is pinned beside it, and no cluster is asked.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use trued_doors::{BoxFuture, Bundle, Descriptor, RenderInput, Rendered, Renderer};
use trued_model::{Digest, Finding, SharedText};

use crate::copy::in_source;
use crate::objects::{Below, OUTPUT, SOURCE, below_bundle, make, make_output, run, within};
use crate::program::{Versions, lay_out, not_written, plain, settings};

use dependencies::Settled;

mod archive;
mod dependencies;
mod lock;
mod lookup;

const PROGRAM: &str = "helm";

/// Values that stand in the configuration, in the room of the program: JSON is YAML.
const VALUES: &str = "values.json";

/// A chart from elsewhere, in the room of the program.
const PULLED: &str = "chart.tgz";

/// Renders a chart with helm.
#[derive(Default)]
pub struct Helm {
    versions: Versions,
}

/// The settings.
#[derive(Deserialize)]
struct Settings {
    name: String,
    #[serde(default)]
    chart: Chart,
    /// Those that a chart in the source depends on, by what its values call them.
    #[serde(default)]
    dependencies: BTreeMap<String, Elsewhere>,
    namespace: Option<String>,
    #[serde(default)]
    values: Map<String, Value>,
    #[serde(default)]
    values_files: Vec<String>,
    #[serde(default)]
    api_versions: Vec<String>,
    kube_version: Option<String>,
    #[serde(default)]
    hooks: Hooks,
    #[serde(default)]
    lookup: Lookup,
}

/// Where the chart is.
#[derive(Deserialize)]
#[serde(untagged)]
enum Chart {
    /// Below `path`.
    Here(String),
    /// Somewhere else. It comes with the input.
    Elsewhere(Elsewhere),
}

/// Where a chart is, in words, and its digest.
#[derive(Deserialize)]
struct Elsewhere {
    from: String,
    digest: Digest,
}

impl Default for Chart {
    fn default() -> Chart {
        Chart::Here(String::new())
    }
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Hooks {
    #[default]
    Keep,
    Skip,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Lookup {
    #[default]
    Refuse,
    Empty,
}

impl Renderer for Helm {
    fn describe(&self) -> Descriptor {
        let name = |description: &str, pattern: &str, most: u8, title: &str| json!({ "type": "string", "pattern": pattern, "maxLength": most, "title": title, "description": description });
        let words = |description: &str, words: [&str; 2]| json!({ "type": "string", "enum": words, "default": words[0], "description": description });
        let list =
            |description: &str| json!({ "type": "array", "items": { "type": "string", "minLength": 1 }, "description": description });
        let mut on_oci = elsewhere("such a chart, as `chart` names one from elsewhere");
        on_oci["pattern"] = "^oci://".into();
        on_oci["title"] = "a chart from elsewhere, such as oci://ghcr.io/team/charts/cache@sha256:…".into();
        Descriptor {
            kind: "helm",
            summary: "the Kubernetes objects that `helm template` makes from a chart in the source, confined",
            schema: json!({
                "type": "object",
                "required": ["path", "name"],
                "additionalProperties": false,
                "properties": {
                    "path": { "type": "string", "description": "the folder in the source that holds the chart and its values" },
                    "chart": elsewhere("the chart, below `path`: a folder or an archive; `path` itself without it. Or one from elsewhere, by its digest: so, or in one as `oci://ghcr.io/team/charts/shop@sha256:…`"),
                    "dependencies": {
                        "type": "object",
                        "additionalProperties": on_oci,
                        "description": "charts that the one in the source depends on and that do not lie in its `charts/`, by what its values call them: alias, else name",
                    },
                    "name": name("the release's name", RELEASE, 53, "a release's name: at most 53 small letters, digits, `-` and `.`"),
                    "namespace": name("the release's namespace; without it the stack's `into`, else `default`", NAMESPACE, 63, "a namespace's name: small letters, digits and `-`"),
                    "values": { "type": "object", "description": "values that go over those of the files" },
                    "values_files": list("files with values, below `path`; later ones go over earlier ones"),
                    "api_versions": list("what the chart is told that the cluster can do besides Kubernetes' own, as `monitoring.coreos.com/v1`"),
                    "kube_version": { "type": "string", "pattern": "^v?[0-9]+\\.[0-9]+(\\.[0-9]+)?$", "title": "a version such as 1.36.0", "description": "the version of Kubernetes that the chart is told" },
                    "hooks": words("`skip` leaves out objects that are hooks; tests are always left out", ["keep", "skip"]),
                    "lookup": words("a template that asks the cluster is refused, or finds nothing there (`empty`), as with `helm template`", ["refuse", "empty"]),
                },
            }),
            example: json!({ "path": "charts/shop", "name": "shop", "values": { "replicas": 2 } }),
            paths: &["/path"],
            pulls: &["/chart", "/dependencies/*"],
        }
    }

    fn version(&self) -> &'static str {
        "helm-1"
    }

    fn programs<'a>(&self, _: &'a Value) -> Vec<&'a str> {
        vec![PROGRAM]
    }

    fn render(&self, input: RenderInput) -> BoxFuture<'_, Result<Rendered, Vec<Finding>>> {
        Box::pin(self.template(input))
    }
}

/// The schema of a setting that may name a chart from elsewhere.
fn elsewhere(description: &str) -> Value {
    json!({
        "type": ["string", "object"],
        "additionalProperties": false,
        "description": description,
        "properties": {
            "oci": { "type": "string", "description": "the chart in a registry, as `oci://ghcr.io/team/charts/shop`" },
            "repository": { "type": "string", "pattern": "^https?://", "title": "an address such as https://charts.example", "description": "the repository of charts that has it, with `name` and `version`" },
            "name": { "type": "string", "minLength": 1, "description": "the chart's name in the repository" },
            "version": { "type": "string", "minLength": 1, "description": "its version there" },
            "digest": { "type": "string", "description": "what it must be, `sha256:…`: the manifest in a registry, the archive in a repository" },
            "user": { "type": "string", "minLength": 1, "description": "who we are there" },
            "password": {
                "type": "object",
                "required": ["secret"],
                "additionalProperties": false,
                "properties": { "secret": { "type": "string", "description": "the name of a secret" } },
                "description": "the secret that proves it",
            },
            "plain_http": { "type": "boolean", "default": false, "description": "asks without encryption; credentials go so to this machine alone" },
        },
    })
}

/// Names that helm takes; none of them looks like an option.
const RELEASE: &str = "^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$";
const NAMESPACE: &str = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$";

impl Helm {
    async fn template(&self, input: RenderInput) -> Result<Rendered, Vec<Finding>> {
        let settings: Settings = settings(PROGRAM, &input.settings)?;
        let (chart, pulled) = match &settings.chart {
            Chart::Here(chart) => {
                let chart = below_bundle(&input.bundle, "chart", chart)?;
                is_chart(&input.bundle, &chart)?;
                (Some(chart), None)
            }
            Chart::Elsewhere(chart) => (None, Some(fit(&input, chart)?)),
        };
        let packed = chart.as_ref().is_none_or(|chart| !input.bundle.entries.contains_key(within(&chart.path, "Chart.yaml").as_str()));
        let settled = match &chart {
            Some(chart) if !packed => dependencies::settle(&input, &chart.path, &settings.dependencies)?,
            _ if settings.dependencies.is_empty() => Settled::default(),
            _ => {
                let finding = Finding::new("`dependencies` are those of a chart that is a folder in the source", "");
                return Err(vec![Finding { help: "remove it: an archive brings its own in its `charts/`".to_owned(), ..finding }]);
            }
        };
        let argument = chart.as_ref().map_or(PULLED, |chart| &chart.argument).to_owned();
        let argv = arguments(&input, &settings, &argument)?;
        let tool = self.versions.tool(&input, PROGRAM, &["version", "--template", "{{.Version}}"]).await?;
        let values = Value::Object(settings.values.clone()).to_string();
        let refuses = settings.lookup == Lookup::Refuse;
        let folder = chart.map(|chart| chart.path);
        let Settled { archives, siblings, judged } = settled;
        let folders: Vec<String> = folder.iter().chain(siblings.iter().map(|sibling| &sibling.path)).cloned().collect();
        let into = argument.clone();
        let copied = lay_out(input, SOURCE, move |input, room| {
            if refuses {
                lookup::refuse(&input.bundle, &folders, pulled.iter().chain(archives.values()), &values)?;
            }
            fs::write(room.join(VALUES), values).map_err(not_written)?;
            if let Some(archive) = &pulled {
                fs::write(room.join(PULLED), archive).map_err(not_written)?;
            }
            dependencies::lay(&archives, &room.join(into))?;
            make_output(room)
        })
        .await?;
        let place = |bundle: &Bundle, finding, said: &str| placed(bundle, folder.as_deref(), helped(finding, said), said);
        for sibling in &siblings {
            let argv = [PROGRAM, "package", &sibling.argument, &format!("--destination={argument}/charts")].map(str::to_owned);
            run(&copied, PROGRAM, &argv, place).await?;
        }
        if let (Some(folder), false) = (&folder, judged.is_empty()) {
            let said = run(&copied, PROGRAM, &[PROGRAM, "dependency", "list", &argument].map(str::to_owned), place).await?;
            let findings = dependencies::judge(&copied.input.bundle, folder, &judged, &plain(&said.exit.output));
            if !findings.is_empty() {
                return Err(findings);
            }
        }
        make(copied, tool, &argv, place).await
    }
}

/// What helm is called with. Everything that is not ours is the value of one option, or stands behind `--`.
fn arguments(input: &RenderInput, settings: &Settings, chart: &str) -> Result<Vec<String>, Vec<Finding>> {
    let namespace = settings.namespace.clone().or_else(|| Some(input.into.clone()).filter(|into| !into.is_empty()));
    let namespace = namespace.unwrap_or_else(|| "default".to_owned());
    named("name", &settings.name, 53, true)?;
    named("namespace", &namespace, 63, false)?;
    let mut argv: Vec<String> = [PROGRAM, "template", "--include-crds", "--skip-tests"].map(str::to_owned).into();
    argv.push(format!("--output-dir={OUTPUT}"));
    argv.push(format!("--namespace={namespace}"));
    if settings.hooks == Hooks::Skip {
        argv.push("--no-hooks".to_owned());
    }
    let mut findings = Vec::new();
    for file in &settings.values_files {
        match below_bundle(&input.bundle, "values_files", file) {
            // A comma would end the name of a file, and begin another.
            Ok(_) if file.contains([',', '"']) => {
                findings.push(Finding::new(format!("`values_files: {file}` has a comma or a quote in its name"), "rename the file"));
            }
            Ok(below) => argv.push(format!("--values={}", below.argument)),
            Err(more) => findings.extend(more),
        }
    }
    if !findings.is_empty() {
        return Err(findings);
    }
    argv.push(format!("--values={VALUES}"));
    argv.extend(settings.api_versions.iter().map(|version| format!("--api-versions={version}")));
    argv.extend(settings.kube_version.iter().map(|version| format!("--kube-version={version}")));
    argv.extend(["--".to_owned(), settings.name.clone(), chart.to_owned()]);
    Ok(argv)
}

/// A name that helm takes.
fn named(key: &str, name: &str, most: usize, dots: bool) -> Result<(), Vec<Finding>> {
    let ends = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let inner = |c: char| ends(c) || c == '-' || (dots && c == '.');
    if name.len() <= most && name.starts_with(ends) && name.ends_with(ends) && name.chars().all(inner) {
        return Ok(());
    }
    let message = format!("`{key}: {name}` is no {key} that helm takes");
    Err(vec![Finding::new(message, format!("write at most {most} small letters, digits and `-`, in `{key}`"))])
}

/// A chart from elsewhere that is here, and holds what a chart may hold.
fn fit(input: &RenderInput, Elsewhere { from, digest }: &Elsewhere) -> Result<Arc<[u8]>, Vec<Finding>> {
    let Some(archive) = input.pulled.get(digest) else {
        return Err(vec![Finding::new(format!("the chart {from} is not here"), "nothing was rendered; it is tried again")]);
    };
    let why = archive::unfit(archive).unwrap_or_else(|error| Some(format!("this is no archive of a chart: {error}")));
    match why {
        None => Ok(archive.clone()),
        Some(why) => Err(vec![Finding::new(
            format!("the chart {from} is not used: {why}"),
            "look at what is there, and build it with `helm package`",
        )]),
    }
}

fn is_chart(bundle: &Bundle, chart: &Below) -> Result<(), Vec<Finding>> {
    let is_archive = chart.path.ends_with(".tgz") && bundle.entries.contains_key(chart.path.as_str());
    if is_archive || bundle.entries.contains_key(within(&chart.path, "Chart.yaml").as_str()) {
        return Ok(());
    }
    let folder = if chart.path.is_empty() { bundle.folder.clone() } else { in_source(bundle, &chart.path) };
    Err(vec![Finding::new(format!("`{folder}` holds no Chart.yaml"), "name the chart in `chart`, below `path`")])
}

/// Puts a finding where helm says that it failed: `(shop/templates/web.yaml:9:14)`, `shop/templates/web.yaml: …`.
fn placed(bundle: &Bundle, chart: Option<&str>, finding: Finding, said: &str) -> Finding {
    for word in said.split(|c: char| c.is_whitespace() || matches!(c, '(' | ')' | '"' | '<' | '>' | ',')) {
        let mut parts = word.trim_end_matches(':').split(':');
        let (Some(file), line, column) = (parts.next(), parts.next(), parts.next()) else { continue };
        // A file of the chart begins with the chart's name; others are named as in the source.
        let of_chart =
            file.split_once('/').and_then(|(_, file)| Some(within(chart?, file))).filter(|path| bundle.entries.contains_key(path.as_str()));
        let of_source = || bundle.entries.keys().find(|path| in_source(bundle, path) == file).map(SharedText::to_string);
        if let Some(path) = of_chart.or_else(of_source) {
            let count = |part: Option<&str>| part.and_then(|part| part.parse::<u32>().ok()).unwrap_or(1).max(1);
            return finding.at(in_source(bundle, &path), count(line), count(column));
        }
    }
    let Some(chart) = chart else { return finding };
    let file = within(chart, "Chart.yaml");
    let file = if bundle.entries.contains_key(file.as_str()) { file } else { chart.to_owned() };
    finding.at(in_source(bundle, &file), 1, 1)
}

fn helped(finding: Finding, said: &str) -> Finding {
    let help = if said.contains("missing in charts/ directory") {
        "commit the charts that it depends on: `helm dependency build` writes them into `charts/`"
    } else if said.contains("values don't meet the specifications") {
        "correct `values` or `values_files`: the chart's values.schema.json says what it takes"
    } else {
        return finding;
    };
    Finding { help: help.to_owned(), ..finding }
}
