//! One load, from the operator's file to the estate. Never fails: what is wrong is said, what is right is resolved.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use trued_model::{Digest, Estate, Finding, Name, Origin, SourceSpec, StackId};

use crate::files::Files;
use crate::kinds::Kinds;
use crate::operator::{self, Operator};
use crate::text::Fault;
use crate::{after, app, previously, roots};

/// What is read, besides the files of sources.
pub struct Load<'a> {
    /// The operator's file as people know it; stands in findings.
    pub file: &'a str,
    pub bytes: &'a [u8],
    /// The folder the operator's file lies in, absolute: its relative paths start there.
    pub folder: &'a Path,
    /// What that folder is, where no `sources` are configured.
    pub own: &'a Own,
    /// The state folder, absolute; no target may contain it or lie in it.
    pub state: &'a Path,
    pub kinds: &'a Kinds,
}

/// The source that the operator's file itself lies in. Its paths start at that file's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Own {
    /// A Git work tree: where its root is, and the file's folder below it (empty at the root).
    Git {
        root: PathBuf,
        folder: String,
    },
    Folder,
}

/// Everything one load gives.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What could be resolved. An app with a finding is in `unreadable` and has no stacks here.
    pub estate: Estate,
    /// Whether the operator's file is without a finding of its own. Otherwise the last one that was accepted stays,
    /// and this estate is only good to look at.
    pub usable: bool,
    /// All of them, sorted by place, each once.
    pub findings: Vec<Finding>,
    /// Where resolved values come from, by JSON pointer into what [`crate::show`] gives.
    pub origins: BTreeMap<String, Origin>,
    /// Of all configuration bytes that were read.
    pub digest: Digest,
}

/// Which files of which source are app files.
pub struct Wanted {
    globs: BTreeMap<Name, Vec<globset::GlobMatcher>>,
    /// Whether the operator's file could be read at all.
    pub read: bool,
    /// The configured sources, or the own one.
    pub sources: BTreeMap<Name, SourceSpec>,
    /// Findings of the operator's file alone; with any, it is not usable.
    pub findings: Vec<Finding>,
}

impl Wanted {
    /// Whether any files of a source are app files.
    pub fn wants_of(&self, source: &Name) -> bool {
        self.globs.contains_key(source)
    }

    /// Whether a file of a source is an app file.
    pub fn wants(&self, source: &Name, path: &str) -> bool {
        self.globs.get(source).is_some_and(|globs| globs.iter().any(|glob| glob.is_match(path)))
    }
}

/// Reads only the operator's file: which sources there are, and which of their files a load will read.
pub fn wanted(input: &Load<'_>) -> Wanted {
    let mut gathering = Gathering::default();
    let operator = operator::read(input, &mut gathering);
    let mut globs: BTreeMap<Name, Vec<globset::GlobMatcher>> = BTreeMap::new();
    for apps in operator.apps {
        globs.entry(apps.source).or_default().push(apps.glob);
    }
    Wanted { globs, read: operator.read, sources: operator.sources, findings: gathering.findings() }
}

/// Reads everything.
pub fn load(input: &Load<'_>, files: &dyn Files) -> Loaded {
    let mut gathering = Gathering::default();
    gathering.read.insert(String::new(), Digest::of(input.bytes));
    let operator = operator::read(input, &mut gathering);
    app::inline(input, &operator, &mut gathering);
    app::files(input, &operator, files, &mut gathering);
    roots::check(input, &operator, &mut gathering);
    roots::feeding(input, &operator, &mut gathering);
    previously::check(&mut gathering);
    after::check(&mut gathering);
    finish(operator, gathering)
}

/// What is gathered along the way.
#[derive(Default)]
pub(crate) struct Gathering {
    pub estate: Estate,
    pub origins: BTreeMap<String, Origin>,
    /// Faults of the operator's file, of parts that are no app's.
    pub operator_faults: Vec<Fault>,
    /// Faults by app; those of one whose name cannot be told stand under `None`.
    pub app_faults: BTreeMap<Option<Name>, Vec<Fault>>,
    /// Apps whose file could not be had.
    pub lost: BTreeSet<Name>,
    /// Old identities that stacks take over, by whom, each with what is to be said where it is still somebody's.
    pub claims: Vec<(StackId, Name, Fault)>,
    /// What stacks wait for, as written.
    pub waits: Vec<after::Wait>,
    /// Digest of each file's bytes by its name, the operator's file under an empty one.
    pub read: BTreeMap<String, Digest>,
}

impl Gathering {
    pub fn app_fault(&mut self, app: Option<&Name>, fault: Fault) {
        self.app_faults.entry(app.cloned()).or_default().push(fault);
    }

    /// A fault of the operator's file; inside a stack of the small form it is that app's.
    pub fn operator_fault(&mut self, fault: Fault) {
        let mut steps = trued_yaml::pointer_steps(&fault.pointer);
        match (steps.next().as_deref(), steps.next()) {
            (Some("stacks"), Some(key)) => self.app_fault(key.parse().ok().as_ref(), fault.clone()),
            _ => self.operator_faults.push(fault.clone()),
        }
    }

    fn findings(&self) -> Vec<Finding> {
        let all = self.operator_faults.iter().chain(self.app_faults.values().flatten());
        let each: BTreeSet<&Finding> = all.map(|fault| &fault.finding).collect();
        each.into_iter().cloned().collect()
    }
}

fn finish(operator: Operator, gathering: Gathering) -> Loaded {
    let findings = gathering.findings();
    let usable = gathering.operator_faults.is_empty() && operator.read;
    let Gathering { mut estate, mut origins, app_faults, lost, read, .. } = gathering;
    let broken: BTreeSet<Name> = app_faults.keys().flatten().cloned().chain(lost).collect();
    estate.incomplete |= app_faults.contains_key(&None);
    estate.stacks.retain(|id, _| !broken.contains(&id.app));
    estate.apps.retain(|name, _| !broken.contains(name));
    estate.unreadable = broken.into_iter().collect();
    estate.sources = operator.sources;
    estate.environments.extend(operator.environments.iter().map(|(name, entry)| (name.clone(), entry.environment.clone())));
    estate.targets.extend(operator.targets.into_iter().map(|(name, granted)| (name, granted.target)));
    estate.sandbox = operator.sandbox;
    estate.secrets = operator.secrets.into_iter().map(|(name, granted)| (name, granted.source)).collect();
    estate.findings = findings.clone();
    origins.extend(operator.origins);
    let digest = Digest::of_canonical(&read);
    Loaded { estate, usable, findings, origins, digest }
}

/// The own source's settings, as its kind takes them.
pub(crate) fn own_source(input: &Load<'_>) -> SourceSpec {
    let mut exclude: Vec<Value> = vec![trued_model::encode_path(file_name(input.file).as_bytes()).into()];
    if let Ok(state) = input.state.strip_prefix(input.folder)
        && let Some(state) = state.to_str().filter(|state| !state.is_empty())
    {
        exclude.push(trued_model::encode_path(state.as_bytes()).into());
    }
    let (kind, settings) = match input.own {
        Own::Git { root, folder } => ("git", json!({ "path": root, "own": true, "folder": folder, "exclude": exclude })),
        Own::Folder => ("folder", json!({ "path": input.folder, "exclude": exclude })),
    };
    SourceSpec { name: own_name(), kind: kind.to_owned(), settings }
}

fn file_name(file: &str) -> &str {
    file.rsplit('/').next().unwrap_or(file)
}

/// The name of the source that the operator's file lies in, where no `sources` are named.
pub const OWN: &str = "own";

pub(crate) fn own_name() -> Name {
    OWN.parse().expect("`own` is a name")
}
