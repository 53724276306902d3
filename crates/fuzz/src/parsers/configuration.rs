//! The operator's file and app files, with the kinds of the real build.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use trued_config::{Gathered, Kinds, Load, Loaded, Own, differences, load, loosened, show};
use trued_doors::{Renderer, SourceKind};
use trued_model::Name;

/// The operator's file beside which an app file is read.
const OPERATOR: &[u8] = b"sources: { shop: { git: { url: \"https://git.example/shop\" } } }
environments: { dev: {}, prod: { gates: { deletes: { at_most: \"50%\" } } } }
targets:
  web: { files: { root: /srv/www }, allow: [\"shop//apps/*\"], commands: { reload: [systemctl, reload, nginx] }, reach: [\"http://127.0.0.1/*\"] }
secrets: { token: { env: TOKEN, allow: [\"shop//apps/site\"] } }
apps: [\"shop//apps/*/app.yaml\"]
";

const APP: &[u8] = b"app: site\nrender: { plain: { path: site } }\nstacks: { dev: { target: web } }\n";

pub fn operator(bytes: &[u8]) {
    let mut files = Gathered::default();
    for source in ["own", "shop"] {
        files.source(name(source));
        files.file(name(source), "apps/site/app.yaml", Ok(APP.to_vec()));
    }
    judge(bytes, &files);
}

pub fn app(bytes: &[u8]) {
    let mut files = Gathered::default();
    files.file(name("shop"), "apps/site/app.yaml", Ok(bytes.to_vec()));
    let loaded = judge(OPERATOR, &files);
    assert!(loaded.usable, "an app file takes the operator's away");
    assert!(loaded.estate.stacks.values().all(|stack| stack.id.target.as_str() == "web"), "an app file reached another target");
}

/// Loads; the same bytes twice say the same, and what cannot be used says why.
fn judge(bytes: &[u8], files: &Gathered) -> Loaded {
    let input =
        Load { file: "trued.yaml", bytes, folder: Path::new("/conf"), own: &Own::Folder, state: Path::new("/conf/.trued"), kinds: kinds() };
    let loaded = load(&input, files);
    assert!(loaded.usable || !loaded.findings.is_empty(), "refused without a word");
    assert!(loaded.findings.iter().all(|finding| finding.place.is_some()), "{:?}", loaded.findings);
    let again = load(&input, files);
    assert_eq!((&loaded.estate, &loaded.findings, loaded.digest), (&again.estate, &again.findings, again.digest));
    assert!(differences(&loaded.estate, &again.estate).is_empty() && loosened(&loaded.estate, &again.estate).is_empty());
    assert!(show(&loaded).is_object());
    loaded
}

fn kinds() -> &'static Kinds {
    static KINDS: OnceLock<Kinds> = OnceLock::new();
    KINDS.get_or_init(|| {
        let sources: Vec<_> = trued_sources::kinds().iter().map(|kind| SourceKind::describe(kind.as_ref())).collect();
        let renderers: Vec<_> = trued_render::kinds().iter().map(|kind| Renderer::describe(kind.as_ref())).collect();
        let checks: Vec<_> = trued_checks::kinds().iter().map(|kind| kind.describe()).collect();
        let kinds = Kinds::new(sources, renderers, [trued_files::driver()], checks).expect("the schemas compose");
        kinds.pulled_by(Arc::new(trued_sources::Charts)).expect("the schemas compose")
    })
}

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}
