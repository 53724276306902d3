//! `helm`: the objects that `helm template` makes from a chart of the source. It runs confined; dependencies are those that
//! lie in the chart, and no cluster is asked.

use std::fs;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use trued_doors::{BoxFuture, Bundle, Descriptor, RenderInput, Rendered, Renderer};
use trued_model::Finding;

use crate::copy::in_source;
use crate::objects::{Below, OUTPUT, SOURCE, below_bundle, make, make_output, within};
use crate::program::{Versions, lay_out, not_written, settings};

mod archive;
mod lookup;

const PROGRAM: &str = "helm";

/// Values that stand in the configuration, in the room of the program: JSON is YAML.
const VALUES: &str = "values.json";

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
    chart: String,
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
        Descriptor {
            kind: "helm",
            summary: "the Kubernetes objects that `helm template` makes from a chart in the source, confined",
            schema: json!({
                "type": "object",
                "required": ["path", "name"],
                "additionalProperties": false,
                "properties": {
                    "path": { "type": "string", "description": "the folder in the source that holds the chart and its values" },
                    "chart": { "type": "string", "description": "the chart, below `path`: a folder or an archive; `path` itself without it" },
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
            reads_text: false,
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

/// Names that helm takes; none of them looks like an option.
const RELEASE: &str = "^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$";
const NAMESPACE: &str = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$";

impl Helm {
    async fn template(&self, input: RenderInput) -> Result<Rendered, Vec<Finding>> {
        let settings: Settings = settings(PROGRAM, &input.settings)?;
        let chart = below_bundle(&input.bundle, "chart", &settings.chart)?;
        let argv = arguments(&input, &settings, &chart)?;
        is_chart(&input.bundle, &chart)?;
        let tool = self.versions.tool(&input, PROGRAM, &["version", "--template", "{{.Version}}"]).await?;
        let values = Value::Object(settings.values.clone()).to_string();
        let refuses = settings.lookup == Lookup::Refuse;
        let folder = chart.path.clone();
        let copied = lay_out(input, SOURCE, move |input, room| {
            if refuses {
                lookup::refuse(&input.bundle, &folder, &values)?;
            }
            fs::write(room.join(VALUES), values).map_err(not_written)?;
            make_output(room)
        })
        .await?;
        make(copied, tool, &argv, |bundle, finding, said| placed(bundle, &chart.path, helped(finding, said), said)).await
    }
}

/// What helm is called with. Everything that is not ours is the value of one option, or stands behind `--`.
fn arguments(input: &RenderInput, settings: &Settings, chart: &Below) -> Result<Vec<String>, Vec<Finding>> {
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
    argv.extend(["--".to_owned(), settings.name.clone(), chart.argument.clone()]);
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

fn is_chart(bundle: &Bundle, chart: &Below) -> Result<(), Vec<Finding>> {
    let is_archive = chart.path.ends_with(".tgz") && bundle.entries.contains_key(&chart.path);
    if is_archive || bundle.entries.contains_key(&within(&chart.path, "Chart.yaml")) {
        return Ok(());
    }
    let folder = if chart.path.is_empty() { bundle.folder.clone() } else { in_source(bundle, &chart.path) };
    Err(vec![Finding::new(format!("`{folder}` holds no Chart.yaml"), "name the chart in `chart`, below `path`")])
}

/// Puts a finding where helm says that it failed: `(shop/templates/web.yaml:9:14)`, `shop/templates/web.yaml: …`.
fn placed(bundle: &Bundle, chart: &str, finding: Finding, said: &str) -> Finding {
    for word in said.split(|c: char| c.is_whitespace() || matches!(c, '(' | ')' | '"' | '<' | '>' | ',')) {
        let mut parts = word.trim_end_matches(':').split(':');
        let (Some(file), line, column) = (parts.next(), parts.next(), parts.next()) else { continue };
        // A file of the chart begins with the chart's name; others are named as in the source.
        let of_chart = file.split_once('/').map(|(_, file)| within(chart, file)).filter(|path| bundle.entries.contains_key(path));
        let of_source = || bundle.entries.keys().find(|path| in_source(bundle, path) == file).cloned();
        if let Some(path) = of_chart.or_else(of_source) {
            let count = |part: Option<&str>| part.and_then(|part| part.parse::<u32>().ok()).unwrap_or(1).max(1);
            return finding.at(in_source(bundle, &path), count(line), count(column));
        }
    }
    let file = within(chart, "Chart.yaml");
    let file = if bundle.entries.contains_key(&file) { file } else { chart.to_owned() };
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
