//! The operator's file: sources, environments, targets, secrets, and what is granted to app files.

mod credentials;
pub(crate) mod registry;
mod secret;
mod target;

use std::collections::BTreeMap;

use globset::GlobMatcher;
use serde_json::Value;
use trued_model::{Deletes, Environment, Name, Origin, SandboxRules, SourceSpec};
use trued_yaml::step;

use crate::grants;
use crate::kinds::Which;
use crate::load::{Gathering, Load, own_name, own_source};
use crate::shape::{EnvironmentEntry, OperatorFile};
use crate::text::{Fault, Text, shown};
use crate::{limits, paths, rules, suggest, words};

pub(crate) use credentials::without_credentials;
use registry::Registry;
use secret::SecretGranted;
pub(crate) use target::Granted;

/// The operator's file, resolved.
#[derive(Default)]
pub(crate) struct Operator {
    /// Whether it could be read at all.
    pub read: bool,
    /// Whether one owner writes everything: then commands may stand inline, and nothing need be allowed.
    pub one_owner: bool,
    pub sources: BTreeMap<Name, SourceSpec>,
    pub environments: BTreeMap<Name, EnvironmentRules>,
    pub targets: BTreeMap<Name, Granted>,
    pub secrets: BTreeMap<Name, SecretGranted>,
    /// How places of charts are asked, by host and port.
    pub registries: BTreeMap<String, Registry>,
    pub sandbox: SandboxRules,
    pub apps: Vec<Apps>,
    /// Absent when the file could not be read.
    pub text: Option<Text>,
    pub origins: BTreeMap<String, Origin>,
}

pub(crate) struct EnvironmentRules {
    pub environment: Environment,
    /// How many deletes run by themselves; the operator may loosen what is guarded by default.
    pub deletes: Deletes,
}

/// One glob of app files.
pub(crate) struct Apps {
    pub source: Name,
    pub glob: GlobMatcher,
    pub pointer: String,
}

/// Reads the operator's file. Faults in the small form's stacks are those stacks' own.
pub(crate) fn read(input: &Load<'_>, gathering: &mut Gathering) -> Operator {
    let (text, faults) = Text::read(input.file, input.bytes, Which::Operator, input.kinds);
    let mut reader = Reader { input, faults };
    let mut operator = match &text {
        Some(text) => reader.resolve(text),
        None => Operator::default(),
    };
    reader.faults.into_iter().for_each(|fault| gathering.operator_fault(fault));
    operator.text = text;
    operator
}

struct Reader<'a> {
    input: &'a Load<'a>,
    faults: Vec<Fault>,
}

impl Reader<'_> {
    fn resolve(&mut self, text: &Text) -> Operator {
        let mut sound = text.sound.clone();
        self.refuse_words(text, &mut sound);
        let file: OperatorFile = match serde_json::from_value(sound) {
            Ok(file) => file,
            Err(error) => {
                self.faults.push(text.fault("", format!("this file cannot be read: {error}"), "compare it with `trued schema`"));
                return Operator::default();
            }
        };
        let one_owner = !text.has("/sources");
        let mut operator = Operator { read: true, one_owner, ..Operator::default() };
        match one_owner {
            true => drop(operator.sources.insert(own_name(), own_source(self.input))),
            false => self.sources(text, &file, &mut operator),
        }
        if !one_owner && text.has("/stacks") {
            let help = "write an app file in a source: its owner and the operator are not the same";
            self.faults.push(Fault { pointer: String::new(), ..text.key_fault("/stacks", "`stacks` cannot stand beside `sources`", help) });
        }
        for (name, entry) in names(&file.environments) {
            let entry = environment(entry.as_ref());
            operator.origin(text, "environments", &name);
            let explain = format!("/environments/{name}/explain");
            if text.has(&explain) {
                operator.origins.insert(explain.clone(), text.origin(&explain));
            }
            operator.environments.insert(name, entry);
        }
        for (name, entry) in names(&file.targets) {
            let pointer = format!("/targets/{name}");
            if let Some(target) = self.target(text, &pointer, &name, &entry.kinds) {
                let granted = self.grants(text, &pointer, target, entry, one_owner);
                operator.origin(text, "targets", &name);
                let at = format!("{pointer}{}", step(&granted.target.kind));
                operator.settings_origins(text, &pointer, &at, &granted.target.settings);
                operator.targets.insert(name, granted);
            }
        }
        for (name, entry) in names(&file.secrets) {
            if let Some(granted) = self.secret(text, &name, entry, one_owner) {
                operator.origin(text, "secrets", &name);
                operator.secrets.insert(name, granted);
            }
        }
        self.registries(text, &file, &mut operator);
        operator.sandbox = limits::sandbox(text, &file.sandbox, self.input.folder, &mut self.faults);
        if text.has("/sandbox") {
            operator.origins.insert("/sandbox".to_owned(), text.origin("/sandbox"));
        }
        for (name, stack) in names(&file.stacks) {
            self.inline_target(text, &name, &stack.target, &mut operator);
        }
        if one_owner && file.apps.is_empty() {
            self.leave_targets_out(&file, &mut operator);
        }
        self.apps(text, &file, &mut operator);
        operator
    }

    fn sources(&mut self, text: &Text, file: &OperatorFile, operator: &mut Operator) {
        for (name, entry) in file.sources.iter().flat_map(names) {
            let Some((kind, settings)) = entry.0.first_key_value() else { continue };
            let Some(descriptor) = self.input.kinds.sources.get(kind.as_str()) else { continue };
            let pointer = format!("/sources/{name}/{kind}");
            let mut settings = settings.clone();
            self.host_paths(&mut settings, descriptor.paths);
            self.secrets_exist(text, &pointer, &settings);
            self.refuse_credentials(text, &pointer, &mut settings);
            self.check_source(text, &pointer, kind, &settings);
            operator.origin(text, "sources", &name);
            operator.settings_origins(text, &format!("/sources/{name}"), &pointer, &settings);
            operator.sources.insert(name.clone(), SourceSpec { name, kind: kind.clone(), settings });
        }
        if text.root.at("/sources").is_some_and(|sources| sources.entries().is_empty()) {
            self.faults.push(text.key_fault(
                "/sources",
                "no source is named here",
                "name one, or remove `sources` to use this file's own folder",
            ));
        }
    }

    /// What a kind of source says of its settings; what the schema refused is not looked at again.
    fn check_source(&mut self, text: &Text, pointer: &str, kind: &str, settings: &Value) {
        let Some(source) = self.input.kinds.source_kinds.get(kind) else { return };
        if self.faults.iter().any(|fault| fault.pointer.starts_with(pointer)) {
            return;
        }
        for (below, finding) in source.check(settings) {
            let pointer = format!("{pointer}{below}");
            // A finding about a line of another file keeps that place.
            self.faults.push(match finding.place {
                Some(_) => Fault { pointer, finding },
                None => text.fault(&pointer, finding.message, finding.help),
            });
        }
    }

    /// Reads `SOURCE//PATH`, where the path may be a glob; with one owner the source is its own and is not written.
    fn source_path(&mut self, text: &Text, pointer: &str, glob: &str, one_owner: bool) -> Option<(Name, String)> {
        let known = text.keys("/sources");
        let (message, help) = match (glob.split_once("//"), one_owner) {
            (None, true) => match paths::in_source("", glob) {
                Ok(path) => return Some((own_name(), path)),
                Err(_) => (format!("`{}` leads out of this folder", shown(glob)), "write it from this file's folder".to_owned()),
            },
            (Some(_), true) => {
                (format!("`{}` names a source, and there are no `sources`", shown(glob)), "write it from this file's folder".to_owned())
            }
            (None, false) => (format!("`{}` names no source", shown(glob)), "write it as `SOURCE//apps/*`".to_owned()),
            (Some((source, path)), false) => match source.parse::<Name>() {
                Ok(name) if text.has(&format!("/sources/{name}")) => match paths::in_source("", path) {
                    Ok(path) => return Some((name, path)),
                    Err(_) => (format!("`{}` leads out of the source", shown(glob)), "write it from the source's root".to_owned()),
                },
                _ => (format!("no source is named `{}`", shown(source)), suggest::help(source, known)),
            },
        };
        self.faults.push(text.fault(pointer, message, help));
        None
    }

    fn apps(&mut self, text: &Text, file: &OperatorFile, operator: &mut Operator) {
        for (place, glob) in file.apps.iter().enumerate() {
            let pointer = format!("/apps/{place}");
            let Some((source, path)) = self.source_path(text, &pointer, glob, operator.one_owner) else { continue };
            match grants::path_glob(&path) {
                Ok(glob) => operator.apps.push(Apps { source, glob, pointer }),
                Err(why) => self.faults.push(bad_glob(text, &pointer, glob, &why)),
            }
        }
    }

    /// Settings that are paths start at the operator's file.
    fn host_paths(&self, settings: &mut Value, pointers: &[&str]) {
        for pointer in pointers {
            if let Some(Value::String(path)) = settings.pointer_mut(pointer)
                && !paths::is_address(path)
                && !path.is_empty()
            {
                *path = paths::on_host(self.input.folder, path).to_string_lossy().into_owned();
            }
        }
    }

    /// Words stand for a stack's names: in what belongs to no stack they have no value. Commands belong to the stack
    /// that runs them.
    fn refuse_words(&mut self, text: &Text, sound: &mut Value) {
        let Value::Object(sections) = sound else { return };
        let mut bad = Vec::new();
        for (section, value) in sections.iter_mut().filter(|(section, _)| *section != "stacks") {
            let pointer = step(section);
            match value {
                Value::Object(entries) if section == "targets" => {
                    for (name, entry) in entries {
                        let Value::Object(entry) = entry else { continue };
                        for (key, value) in entry.iter_mut().filter(|(key, _)| *key != "commands") {
                            words::fill_all(value, &format!("{pointer}{}{}", step(name), step(key)), None, &mut bad);
                        }
                    }
                }
                value => words::fill_all(value, &pointer, None, &mut bad),
            }
        }
        for (pointer, word) in bad {
            let (message, help) = word.explain(false);
            self.faults.push(text.fault(&pointer, message, help));
        }
    }
}

impl Operator {
    fn origin(&mut self, text: &Text, section: &str, name: &Name) {
        let pointer = format!("/{section}/{name}");
        let origin = text.origin(&pointer);
        self.origins.insert(pointer, origin);
    }

    fn settings_origins(&mut self, text: &Text, resolved: &str, written: &str, settings: &Value) {
        for key in settings.as_object().into_iter().flat_map(|settings| settings.keys()) {
            let below = step(key);
            self.origins.insert(format!("{resolved}/settings{below}"), text.origin(&format!("{written}{below}")));
        }
    }
}

fn environment(entry: Option<&EnvironmentEntry>) -> EnvironmentRules {
    let deletes = entry.and_then(|entry| entry.gates.deletes.as_ref()).and_then(|deletes| rules::deletes(&deletes.at_most));
    let environment = Environment { explain: entry.is_some_and(|entry| entry.explain) };
    EnvironmentRules { environment, deletes: deletes.unwrap_or_default() }
}

pub(crate) fn bad_glob(text: &Text, pointer: &str, glob: &str, why: &str) -> Fault {
    text.fault(pointer, format!("`{}` is not a glob: {why}", shown(glob)), "`*` stands for one name, `**` for any folders")
}

/// The entries of a section whose keys are names; the others were refused by the schema.
fn names<T>(section: &BTreeMap<String, T>) -> impl Iterator<Item = (Name, &T)> {
    section.iter().filter_map(|(name, entry)| Some((name.parse().ok()?, entry)))
}
