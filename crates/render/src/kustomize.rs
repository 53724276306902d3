//! `kustomize`: the objects that the real program makes from an overlay. It runs confined, with nothing that could fetch or
//! start anything: no remote bases, no exec plugins, no Helm; and it loads files only from below each kustomization.

use serde::Deserialize;
use serde_json::{Value, json};
use trued_doors::{BoxFuture, Bundle, Descriptor, RenderInput, Rendered, Renderer};
use trued_model::{Finding, SharedText};

use crate::copy::in_source;
use crate::objects::{OUTPUT, SOURCE, below_bundle, line_with, make, make_output, within};
use crate::program::{Versions, lay_out, settings};

const PROGRAM: &str = "kustomize";

/// The names of a file that makes a folder a kustomization.
const FILES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// Renders an overlay with kustomize.
#[derive(Default)]
pub struct Kustomize {
    versions: Versions,
}

/// The settings.
#[derive(Deserialize)]
struct Settings {
    #[serde(default)]
    overlay: String,
}

impl Renderer for Kustomize {
    fn describe(&self) -> Descriptor {
        Descriptor {
            kind: "kustomize",
            summary: "the Kubernetes objects that `kustomize build` makes, confined, without remote bases, plugins and Helm",
            schema: json!({
                "type": "object",
                "required": ["path"],
                "additionalProperties": false,
                "properties": {
                    "path": { "type": "string", "description": "the folder in the source that holds the overlay and all its bases" },
                    "overlay": { "type": "string", "description": "the folder that is built, below `path`; `path` itself without it" },
                },
            }),
            example: json!({ "path": "deploy", "overlay": "overlays/prod" }),
            paths: &["/path"],
            pulls: &[],
        }
    }

    fn version(&self) -> &'static str {
        "kustomize-1"
    }

    fn programs<'a>(&self, _: &'a Value) -> Vec<&'a str> {
        vec![PROGRAM]
    }

    fn render(&self, input: RenderInput) -> BoxFuture<'_, Result<Rendered, Vec<Finding>>> {
        Box::pin(self.build(input))
    }
}

impl Kustomize {
    async fn build(&self, input: RenderInput) -> Result<Rendered, Vec<Finding>> {
        let settings: Settings = settings(PROGRAM, &input.settings)?;
        let overlay = below_bundle(&input.bundle, "overlay", &settings.overlay)?;
        let file = kustomization(&input.bundle, &overlay.path)?;
        let tool = self.versions.tool(&input, PROGRAM, &["version"]).await?;
        let copied = lay_out(input, SOURCE, |_, room| make_output(room)).await?;
        let argv = [
            PROGRAM,
            "build",
            "--load-restrictor=LoadRestrictionsRootOnly",
            &format!("--output={OUTPUT}/rendered.yaml"),
            "--",
            &overlay.argument,
        ];
        make(copied, tool, &argv.map(str::to_owned), |bundle, finding, said| placed(bundle, finding, said, &file)).await
    }
}

/// The file that makes a folder a kustomization, as the bundle names it.
fn kustomization(bundle: &Bundle, overlay: &str) -> Result<String, Vec<Finding>> {
    FILES.iter().map(|name| within(overlay, name)).find(|path| bundle.entries.contains_key(path.as_str())).ok_or_else(|| {
        let folder = if overlay.is_empty() { bundle.folder.clone() } else { in_source(bundle, overlay) };
        let message = format!("`{folder}` holds no kustomization.yaml");
        vec![Finding::new(message, "name the folder to build in `overlay`, below `path`")]
    })
}

/// Puts a finding where the reason was written: at what a kustomization names of the words of the message, the last one
/// first, because a chain of reasons ends with the cause.
fn placed(bundle: &Bundle, finding: Finding, said: &str, file: &str) -> Finding {
    let finding = helped(finding, said);
    let words = said.split(|c: char| c.is_whitespace() || "'`\"[](){},".contains(c)).map(|word| word.trim_end_matches([':', ';']));
    let names: Vec<&str> = words.filter(|word| word.len() > 2 && word.contains(['.', '/'])).collect();
    let is_kustomization = |path: &&SharedText| FILES.contains(&path.rsplit('/').next().unwrap_or_default());
    let others = bundle.entries.keys().filter(is_kustomization).map(SharedText::as_str).filter(|path| *path != file);
    for word in names.into_iter().rev() {
        for path in std::iter::once(file).chain(others.clone()) {
            if let Some((line, column)) = line_with(bundle, path, word) {
                return finding.at(in_source(bundle, path), line, column);
            }
        }
    }
    finding.at(in_source(bundle, file), 1, 1)
}

/// What helps against the refusals that are ours.
fn helped(finding: Finding, said: &str) -> Finding {
    let help = if said.contains("--enable-helm") || said.contains("HelmChartInflationGenerator") {
        "a chart is rendered by the renderer `helm`, from a copy in this source"
    } else if said.contains("external plugins disabled") {
        "plugins are programs of the source and are not run; the renderer `build` runs programs"
    } else if said.contains("no 'git' program") || said.contains("://") {
        "bases are read from this source alone: commit a copy and name its folder"
    } else if said.contains("is not in or below") {
        "a kustomization reads files from its own folder; what is shared becomes a base or a component"
    } else {
        return finding;
    };
    Finding { help: help.to_owned(), ..finding }
}
