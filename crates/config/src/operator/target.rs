//! Targets, and what the operator grants on each: who may use it, which commands may run there and which addresses may be asked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use trued_model::{Command, Name, Target};
use trued_net::Reach;
use trued_yaml::step;

use super::{Operator, Reader, bad_glob};
use crate::grants::{self, Allow};
use crate::load::own_name;
use crate::shape::{AllowEntry, BoundedEntry, OperatorFile, TargetEntry};
use crate::text::{Text, shown};
use crate::{paths, rules, suggest};

/// A target, with what app files may do with it.
pub(crate) struct Granted {
    pub target: Target,
    /// Where its settings stand in the operator's file.
    pub pointer: String,
    pub allow: Option<Allow>,
    pub commands: Vec<Command>,
    pub reach: Vec<Reach>,
}

impl Reader<'_> {
    /// Resolves a target from its one kind; what is said of it stands at `pointer`.
    pub(super) fn target(&mut self, text: &Text, pointer: &str, name: &Name, kinds: &BTreeMap<String, Value>) -> Option<Target> {
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

    pub(super) fn grants(&mut self, text: &Text, pointer: &str, mut target: Target, entry: &TargetEntry, one_owner: bool) -> Granted {
        target.ignore = self.globs(text, &format!("{pointer}/ignore"), &entry.ignore);
        let allow = self.bounded(text, &format!("{pointer}/allow"), entry.allow.as_deref(), one_owner);
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

    /// Who may use something; `None` where nothing is said of it.
    pub(super) fn allow(&mut self, text: &Text, pointer: &str, globs: Option<&[String]>, one_owner: bool) -> Option<Allow> {
        let said = globs.map(|globs| folders(pointer, globs, None));
        self.granted(text, pointer, said, one_owner)
    }

    /// Who may use a target, and what of it.
    fn bounded(&mut self, text: &Text, pointer: &str, entries: Option<&[AllowEntry]>, one_owner: bool) -> Option<Allow> {
        let mut said = Vec::new();
        for (place, entry) in entries.into_iter().flatten().enumerate() {
            let at = format!("{pointer}/{place}");
            match entry {
                AllowEntry::Folder(folder) => said.push(Said { at, folder, manage: None }),
                AllowEntry::Bounded(BoundedEntry { apps, manage }) => {
                    let manage = self.globs(text, &format!("{at}/manage"), manage);
                    said.extend(folders(&format!("{at}/apps"), apps, Some(&manage)));
                }
            }
        }
        self.granted(text, pointer, entries.map(|_| said), one_owner)
    }

    fn granted(&mut self, text: &Text, pointer: &str, said: Option<Vec<Said<'_>>>, one_owner: bool) -> Option<Allow> {
        let mut allow = Allow::default();
        // What stands there and could not be read by its schema is a finding already, and nobody knows whom it means.
        allow.unread = said.is_none();
        if allow.unread && !text.has(pointer) {
            return None;
        }
        for Said { at, folder, manage } in said.into_iter().flatten() {
            let read = self.source_path(text, &at, folder, one_owner);
            match read.map(|(source, path)| grants::path_glob(&format!("{source}//{path}"))) {
                Some(Ok(glob)) => allow.add(glob, manage),
                Some(Err(why)) => {
                    self.faults.push(bad_glob(text, &at, folder, &why));
                    allow.unread = true;
                }
                None => allow.unread = true,
            }
        }
        Some(allow)
    }

    /// Those of some globs of addresses that can be read; the others are findings.
    fn globs(&mut self, text: &Text, pointer: &str, globs: &[String]) -> Vec<String> {
        let mut read = Vec::new();
        for (place, glob) in globs.iter().enumerate() {
            match grants::path_glob(glob) {
                Ok(_) => read.push(glob.clone()),
                Err(why) => self.faults.push(bad_glob(text, &format!("{pointer}/{place}"), glob, &why)),
            }
        }
        read
    }

    /// A stack of the small form that brings its own target.
    pub(super) fn inline_target(&mut self, text: &Text, name: &Name, target: &Value, operator: &mut Operator) {
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
    pub(super) fn leave_targets_out(&self, file: &OperatorFile, operator: &mut Operator) {
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
}

/// One folder that may use something, where that is written, and what it may manage.
struct Said<'a> {
    at: String,
    folder: &'a str,
    manage: Option<Vec<String>>,
}

fn folders<'a>(pointer: &str, globs: &'a [String], manage: Option<&[String]>) -> Vec<Said<'a>> {
    let said =
        |(place, folder): (usize, &'a String)| Said { at: format!("{pointer}/{place}"), folder, manage: manage.map(<[String]>::to_vec) };
    globs.iter().enumerate().map(said).collect()
}
