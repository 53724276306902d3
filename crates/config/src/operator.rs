//! The operator's file: sources, environments, targets, secrets, and what is granted to app files.

pub(crate) mod registry;
mod secret;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use globset::GlobMatcher;
use serde_json::Value;
use trued_model::{Command, Deletes, Environment, Name, Origin, SandboxRules, SecretSource, SourceSpec, Target};
use trued_net::Reach;
use trued_yaml::step;

use crate::grants::{self, Allow};
use crate::kinds::Which;
use crate::load::{Gathering, Load, own_name, own_source};
use crate::shape::{EnvironmentEntry, OperatorFile, TargetEntry};
use crate::text::{Fault, Text, shown};
use crate::{limits, paths, rules, suggest, words};

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

/// A target, with what app files may do with it.
pub(crate) struct Granted {
    pub target: Target,
    /// Where its settings stand in the operator's file.
    pub pointer: String,
    pub allow: Option<Allow>,
    pub commands: Vec<Command>,
    pub reach: Vec<Reach>,
}

pub(crate) struct SecretGranted {
    pub source: SecretSource,
    pub allow: Option<Allow>,
}

/// How one place of charts is asked.
pub(crate) struct Registry {
    pub road: Value,
    /// Where that stands in the operator's file.
    pub pointer: String,
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

    /// Resolves a target from its one kind; what is said of it stands at `pointer`.
    fn target(&mut self, text: &Text, pointer: &str, name: &Name, kinds: &BTreeMap<String, Value>) -> Option<Target> {
        let known = self.input.kinds.drivers.keys().copied();
        let written: Vec<&str> = text.keys(pointer).filter(|key| !matches!(*key, "allow" | "commands" | "reach" | "ignore")).collect();
        let (kind, settings) = match kinds.iter().collect::<Vec<_>>().as_slice() {
            [(kind, settings)] => (kind.as_str(), (*settings).clone()),
            [] => {
                if written.is_empty() {
                    let help = format!("write one of {}", suggest::one_of(known));
                    self.faults.push(text.key_fault(pointer, format!("target `{name}` says no kind of target"), help));
                }
                return None;
            }
            several => {
                let words = suggest::one_of(several.iter().map(|(kind, _)| kind.as_str()));
                self.faults.push(text.key_fault(pointer, format!("target `{name}` has several kinds"), format!("keep one of {words}")));
                return None;
            }
        };
        let (descriptor, driver) = self.input.kinds.drivers.get(kind)?;
        let mut settings = settings;
        self.host_paths(&mut settings, descriptor.paths);
        let at = format!("{pointer}{}", step(kind));
        self.secrets_exist(text, &at, &settings);
        // What the schema refused is not looked at again.
        if !self.faults.iter().any(|fault| fault.pointer.starts_with(&at)) {
            let found = driver.check(&settings);
            self.faults.extend(found.into_iter().map(|finding| text.fault(&at, finding.message, finding.help)));
        }
        Some(Target { name: name.clone(), kind: kind.to_owned(), settings, ignore: Vec::new(), origin: text.origin(&at) })
    }

    fn grants(&mut self, text: &Text, pointer: &str, mut target: Target, entry: &TargetEntry, one_owner: bool) -> Granted {
        for (place, glob) in entry.ignore.iter().enumerate() {
            match grants::path_glob(glob) {
                Ok(_) => target.ignore.push(glob.clone()),
                Err(why) => self.faults.push(bad_glob(text, &format!("{pointer}/ignore/{place}"), glob, &why)),
            }
        }
        let allow = self.allow(text, &format!("{pointer}/allow"), entry.allow.as_deref(), one_owner);
        let commands = entry.commands.iter().map(|(name, argv)| Command { name: name.clone(), argv: argv.clone() }).collect();
        for (name, argv) in &entry.commands {
            let at = format!("{pointer}/commands{}", step(name));
            self.faults.extend(rules::bad_program(argv).map(|why| text.fault(&at, why, "write the program, then each argument")));
        }
        let mut reach = Vec::new();
        for (place, pattern) in entry.reach.iter().enumerate() {
            match Reach::read(pattern) {
                Ok(read) => reach.push(read),
                Err(why) => {
                    let message = format!("`{}` is no pattern of addresses: {why}", shown(pattern));
                    self.faults.push(text.fault(&format!("{pointer}/reach/{place}"), message, "write one such as `http://127.0.0.1/*`"));
                }
            }
        }
        Granted { target, pointer: pointer.to_owned(), allow, commands, reach }
    }

    fn allow(&mut self, text: &Text, pointer: &str, globs: Option<&[String]>, one_owner: bool) -> Option<Allow> {
        let mut allow = Allow::default();
        for (place, glob) in globs?.iter().enumerate() {
            let at = format!("{pointer}/{place}");
            if let Some(read) = self.source_path(text, &at, glob, one_owner) {
                match grants::path_glob(&format!("{}//{}", read.0, read.1)) {
                    Ok(glob) => allow.add(glob),
                    Err(why) => self.faults.push(bad_glob(text, &at, glob, &why)),
                }
            }
        }
        Some(allow)
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

    /// A stack of the small form that brings its own target.
    fn inline_target(&mut self, text: &Text, name: &Name, target: &Value, operator: &mut Operator) {
        let Value::Object(kinds) = target else { return };
        let pointer = format!("/stacks/{name}/target");
        let kinds = kinds.iter().map(|(kind, settings)| (kind.clone(), settings.clone())).collect();
        let Some(target) = self.target(text, &pointer, name, &kinds) else { return };
        if operator.targets.contains_key(name) {
            let help = format!("write `target: {name}` to use that one, or rename one of them");
            self.faults.push(text.key_fault(&pointer, format!("there is already a target named `{name}`"), help));
            return;
        }
        operator.origins.insert(format!("/targets/{name}"), text.origin(&pointer));
        let at = format!("{pointer}{}", step(&target.kind));
        operator.settings_origins(text, &format!("/targets/{name}"), &at, &target.settings);
        let granted = Granted { target, pointer, allow: None, commands: Vec::new(), reach: Vec::new() };
        operator.targets.insert(name.clone(), granted);
    }

    /// Leaves the places of targets out of the own source: what is written there is no new revision, and is never rendered. One
    /// that a stack renders from stays in it.
    fn leave_targets_out(&self, file: &OperatorFile, operator: &mut Operator) {
        let settings = file.stacks.values().filter_map(|stack| stack.render.as_ref()).flat_map(|render| render.0.values());
        let named = settings.filter_map(|settings| settings.get("path")?.as_str());
        let rendered = file.stacks.values().filter_map(|stack| stack.path.as_deref()).chain(named);
        let rendered: Vec<PathBuf> = rendered.map(|path| paths::on_host(self.input.folder, path)).collect();
        let Some(own) = operator.sources.get_mut(&own_name()).and_then(|own| own.settings["exclude"].as_array_mut()) else { return };
        for target in operator.targets.values().map(|granted| &granted.target) {
            let places = self.input.kinds.drivers.get(target.kind.as_str()).map_or(&[][..], |(descriptor, _)| descriptor.paths);
            for place in places.iter().filter_map(|pointer| target.settings.pointer(pointer)?.as_str()).map(Path::new) {
                let below = place.strip_prefix(self.input.folder).ok().and_then(Path::to_str).filter(|below| !below.is_empty());
                if let Some(below) = below.filter(|_| !rendered.iter().any(|path| path.starts_with(place))) {
                    own.push(trued_model::encode_path(below.as_bytes()).into());
                }
            }
        }
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

    /// An address with a user or a password in it is refused, and not shown anywhere. Over ssh a user is a part of it.
    fn refuse_credentials(&mut self, text: &Text, pointer: &str, settings: &mut Value) {
        for below in ["/url", "/proxy", "/proxy/url"] {
            if let Some(Value::String(url)) = settings.pointer_mut(below)
                && let Some(plain) = without_credentials(url)
            {
                *url = plain;
                let help = "write `username`, and `password: { secret: NAME }` or `token: { secret: NAME }`";
                self.faults.push(text.fault(&format!("{pointer}{below}"), "this address has a user or a password in it", help));
            }
        }
    }

    /// Every `{ secret: NAME }` in settings names a secret.
    fn secrets_exist(&mut self, text: &Text, pointer: &str, settings: &Value) {
        match settings {
            Value::Object(map) => match map.get("secret") {
                Some(Value::String(name)) if map.len() == 1 => {
                    let at = format!("{pointer}/secret");
                    if !text.has(&format!("/secrets{}", step(name))) && text.has(&at) {
                        let help = suggest::help(name, text.keys("/secrets"));
                        self.faults.push(text.fault(&at, format!("no secret is named `{}`", shown(name)), help));
                    }
                    if ["age", "sops"].iter().any(|place| text.has(&format!("/secrets{}/{place}", step(name)))) {
                        let message = format!("secret `{}` lies in a source, and this is needed before sources are read", shown(name));
                        self.faults.push(text.fault(&at, message, "give it from a `file` or from `env`"));
                    }
                }
                _ => map.iter().for_each(|(key, value)| self.secrets_exist(text, &format!("{pointer}{}", step(key)), value)),
            },
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(place, item)| self.secrets_exist(text, &format!("{pointer}/{place}"), item));
            }
            _ => {}
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

/// An address without the credentials in it; `None` when there are none. Over ssh a user alone is none.
pub(crate) fn without_credentials(url: &str) -> Option<String> {
    let Some((scheme, rest)) = url.split_once("://") else {
        // `me:word@host:path`; a path on this machine may hold what it wants.
        let (who, place) = url.rsplit_once('@').filter(|_| !url.starts_with(['/', '.']))?;
        return who.contains(':').then(|| place.to_owned());
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, after) = rest.split_at(end);
    let (who, host) = authority.rsplit_once('@')?;
    let user_alone = scheme.eq_ignore_ascii_case("ssh") && !who.contains([':', '@']);
    (!user_alone).then(|| format!("{scheme}://{host}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_104_credentials_are_found_in_addresses_of_every_form() {
        for (url, plain) in [
            ("https://me:word@h/p", Some("https://h/p")),
            ("https://token@h/p?a", Some("https://h/p?a")),
            ("http://me:word@h:8080", Some("http://h:8080")),
            ("ssh://git:word@h/p", Some("ssh://h/p")),
            ("git:word@h:p", Some("h:p")),
            ("ssh://git@h:22/p", None),
            ("git@h:p", None),
            ("https://h/p@1", None),
            ("/srv/a:b@c", None),
        ] {
            assert_eq!(without_credentials(url).as_deref(), plain, "{url}");
        }
    }
}
