//! Apps and their stacks: from app files in sources, and from the small form in the operator's file.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde_json::Value;
use trued_model::{App, Digest, Finding, Name, StackId};
use trued_yaml::step;

use crate::files::Files;
use crate::kinds::Which;
use crate::load::{Gathering, Load, own_name};
use crate::operator::Operator;
use crate::paths;
use crate::shape::{AppFile, InlineStack, Kinded, StackEntry};
use crate::stack::{self, Said, Scene, word_faults};
use crate::suggest;
use crate::text::{Fault, Text, shown};
use crate::words::{self, Words};

/// Most values of all stacks of one app together: an app file may not ask for more memory than a person would.
const MOST_VALUES: usize = 200_000;

/// Where one app is written.
struct Place<'a> {
    text: &'a Text,
    source: &'a Name,
    /// The file's folder, from the source's root.
    folder: &'a str,
    configuration: &'a [String],
}

/// Resolves the stacks of the small form.
pub(crate) fn inline(input: &Load<'_>, operator: &Operator, gathering: &mut Gathering) {
    let Some(text) = operator.text.as_ref().filter(|_| operator.one_owner) else { return };
    let source = own_name();
    let environment: Name = "default".parse().expect("`default` is a name");
    let place = Place { text, source: &source, folder: "", configuration: &[] };
    for key in text.keys("/stacks") {
        let Ok(app) = key.parse::<Name>() else { continue };
        let pointer = format!("/stacks/{app}");
        let Some(written) = text.sound.pointer(&pointer) else { continue };
        gathering.estate.environments.entry(environment.clone()).or_default();
        let targets = match &written["target"] {
            Value::Object(_) => vec![(app.to_string(), format!("{pointer}/target"))],
            other => named_targets(other, &format!("{pointer}/target")),
        };
        if let Some(fault) = too_much(text, &pointer, targets.len() * values(written)) {
            gathering.app_fault(Some(&app), fault);
            continue;
        }
        let typed: Option<InlineStack> = typed(text, &pointer, written.clone(), &mut |fault| gathering.app_fault(Some(&app), fault));
        let Some(owner) = typed.map(|stack| stack.owner) else { continue };
        let origin = text.origin(&pointer);
        gathering.origins.insert(format!("/apps/{app}"), origin.clone());
        gathering.estate.apps.insert(app.clone(), App { name: app.clone(), owner, origin });
        let draft = Draft {
            app: &app,
            environment: &environment,
            app_pointer: &pointer,
            stack_pointer: &pointer,
            app_json: &Value::Null,
            stack_json: written,
        };
        for (target, target_pointer) in targets {
            draft.resolve::<InlineStack>(input, operator, &place, &target, &target_pointer, gathering);
        }
    }
}

/// Reads and resolves all app files.
pub(crate) fn files(input: &Load<'_>, operator: &Operator, files: &dyn Files, gathering: &mut Gathering) {
    let found = find(operator, files, gathering);
    let mut defined: BTreeMap<Name, String> = BTreeMap::new();
    for app in gathering.estate.apps.values() {
        defined.insert(app.name.clone(), app.origin.file.to_string());
    }
    for (source, paths) in found {
        let configuration: Vec<String> = paths.into_iter().collect();
        for path in &configuration {
            let shown_path = if operator.one_owner { path.clone() } else { format!("{source}//{path}") };
            let bytes = match files.read(&source, path) {
                Ok(bytes) => bytes,
                Err(refusal) => {
                    let finding = Finding::new(format!("this file cannot be read: {refusal}"), refusal.help).at(shown_path, 1, 1);
                    gathering.app_fault(None, Fault { pointer: String::new(), finding });
                    continue;
                }
            };
            gathering.read.insert(format!("{source}//{path}"), Digest::of(&bytes));
            let (text, mut faults) = Text::read(&shown_path, &bytes, Which::App, input.kinds);
            let name: Option<Name> = text.as_ref().and_then(|text| text.root.get("app")?.text()?.parse().ok());
            if let (Some(text), None) = (&text, &name)
                && text.root.get("app").is_some()
                && !faults.iter().any(|fault| fault.pointer == "/app")
            {
                faults.push(text.fault("/app", "this is not a name", crate::shape::NAME_TITLE));
            }
            faults.into_iter().for_each(|fault| gathering.app_fault(name.as_ref(), fault));
            let (Some(text), Some(name)) = (text, name) else { continue };
            if let Some(other) = defined.insert(name.clone(), shown_path.clone()) {
                let message = format!("app `{name}` is also defined in {other}");
                gathering.app_fault(Some(&name), text.fault("/app", message, "give one of them another name"));
                continue;
            }
            let place = Place { text: &text, source: &source, folder: paths::folder_of(path), configuration: &configuration };
            app(input, operator, &place, &name, gathering);
        }
    }
}

/// Finds the app files of each source.
fn find(operator: &Operator, files: &dyn Files, gathering: &mut Gathering) -> BTreeMap<Name, BTreeSet<String>> {
    let mut found: BTreeMap<Name, BTreeSet<String>> = BTreeMap::new();
    for apps in &operator.apps {
        // A source that cannot be asked is its follower's finding, not the configuration's.
        let Ok(all) = files.list(&apps.source) else {
            gathering.estate.incomplete = true;
            continue;
        };
        let matching: Vec<String> = all.into_iter().filter(|path| apps.glob.is_match(path)).collect();
        if matching.is_empty()
            && let Some(text) = &operator.text
        {
            let message = format!("no file of source `{}` matches `{}`", apps.source, shown(apps.glob.glob().glob()));
            let fault = text.fault(
                &apps.pointer,
                message,
                "write an app file there, or correct the glob; nothing is deleted meanwhile, and once the glob is gone you are asked",
            );
            gathering.app_fault(None, fault);
        }
        found.entry(apps.source.clone()).or_default().extend(matching);
    }
    found
}

/// Resolves one app file.
fn app(input: &Load<'_>, operator: &Operator, place: &Place<'_>, name: &Name, gathering: &mut Gathering) {
    let text = place.text;
    let mut app_json = text.sound.clone();
    let stacks = app_json.as_object_mut().and_then(|app| app.remove("stacks"));
    let typed: Option<AppFile> = typed(text, "", app_json.clone(), &mut |fault| gathering.app_fault(Some(name), fault));
    let Some(typed) = typed else { return };
    let pointer = format!("/apps/{name}");
    let origin = text.origin("/app");
    gathering.origins.insert(pointer, origin.clone());
    gathering.estate.apps.insert(name.clone(), App { name: name.clone(), owner: typed.owner, origin });

    let known = operator.text.as_ref();
    let Some(Value::Object(stacks)) = stacks else { return };
    let each = |stack: &Value| named_targets(&stack["target"], "").len() * (values(&app_json) + values(stack));
    if let Some(fault) = too_much(text, "/stacks", stacks.values().map(each).sum()) {
        return gathering.app_fault(Some(name), fault);
    }
    for (environment, stack_json) in &stacks {
        let stack_pointer = format!("/stacks{}", step(environment));
        let Ok(environment) = environment.parse::<Name>() else { continue };
        if !known.is_some_and(|text| text.has(&format!("/environments/{environment}"))) {
            let names = known.into_iter().flat_map(|text| text.keys("/environments"));
            let help = match known.is_some_and(|text| text.has("/environments")) {
                true => suggest::help(environment.as_str(), names),
                false => format!("name it in the operator's file: `environments: {{ {environment}: {{}} }}`"),
            };
            let fault = text.key_fault(&stack_pointer, format!("no environment is named `{environment}`"), help);
            gathering.app_fault(Some(name), fault);
        }
        let draft =
            Draft { app: name, environment: &environment, app_pointer: "", stack_pointer: &stack_pointer, app_json: &app_json, stack_json };
        for (target, target_pointer) in named_targets(&stack_json["target"], &format!("{stack_pointer}/target")) {
            draft.resolve::<StackEntry>(input, operator, place, &target, &target_pointer, gathering);
        }
    }
}

/// A stack before its words have values.
struct Draft<'a> {
    app: &'a Name,
    environment: &'a Name,
    app_pointer: &'a str,
    stack_pointer: &'a str,
    app_json: &'a Value,
    stack_json: &'a Value,
}

impl Draft<'_> {
    /// Resolves the stack on one target.
    fn resolve<S: Into<Said> + DeserializeOwned>(
        &self,
        input: &Load<'_>,
        operator: &Operator,
        place: &Place<'_>,
        target: &str,
        target_pointer: &str,
        gathering: &mut Gathering,
    ) {
        let text = place.text;
        let Some(granted) = self.granted(operator, place, target, target_pointer, gathering) else { return };
        let id = StackId { environment: self.environment.clone(), app: self.app.clone(), target: granted.target.name.clone() };
        if gathering.estate.stacks.contains_key(&id) {
            let fault = text.fault(target_pointer, format!("target `{target}` stands here twice"), "remove one of them");
            return gathering.app_fault(Some(self.app), fault);
        }
        let mut bad = Vec::new();
        let words = Words { env: id.environment.as_str(), app: id.app.as_str(), target: id.target.as_str() };
        let (mut app, mut stack) = (self.app_json.clone(), self.stack_json.clone());
        words::fill_all(&mut app, self.app_pointer, Some(&words), &mut bad);
        words::fill_all(&mut stack, self.stack_pointer, Some(&words), &mut bad);
        let mut faults: Vec<Fault> = word_faults(text, bad).collect();
        let app = match app.is_null() {
            true => Some(Said::default()),
            false => typed::<AppFile>(text, self.app_pointer, app, &mut |fault| faults.push(fault)).map(Said::from),
        };
        let stack: Option<S> = typed(text, self.stack_pointer, stack, &mut |fault| faults.push(fault));
        let mut scene = Scene {
            input,
            operator,
            text,
            target: granted,
            id: id.clone(),
            source: place.source,
            folder: place.folder,
            configuration: place.configuration,
            app_pointer: self.app_pointer,
            stack_pointer: self.stack_pointer,
            faults,
            origins: BTreeMap::new(),
            claims: Vec::new(),
            waits: Vec::new(),
        };
        if let (Some(app), Some(stack)) = (app, stack)
            && let Some(resolved) = stack::resolve(&mut scene, app, stack.into())
        {
            gathering.estate.stacks.insert(id, resolved);
        }
        gathering.origins.extend(scene.origins);
        gathering.waits.extend(scene.waits);
        gathering.claims.extend(scene.claims.into_iter().map(|(old, fault)| (old, self.app.clone(), fault)));
        scene.faults.into_iter().for_each(|fault| gathering.app_fault(Some(self.app), fault));
    }

    /// The target, when it is there and takes this app.
    fn granted<'o>(
        &self,
        operator: &'o Operator,
        place: &Place<'_>,
        target: &str,
        pointer: &str,
        gathering: &mut Gathering,
    ) -> Option<&'o crate::operator::Granted> {
        let text = place.text;
        let granted = target.parse::<Name>().ok().and_then(|name| operator.targets.get(&name));
        let Some(granted) = granted else {
            let operators = operator.text.as_ref();
            // One that is there and broken has a finding of its own, and its stacks stay as they were.
            let broken = operators.is_some_and(|text| text.has(&format!("/targets{}", step(target))));
            if !broken && !is_inline(text, pointer) {
                let names = operators.into_iter().flat_map(|text| text.keys("/targets"));
                let help = match operators.is_some_and(|text| text.has("/targets")) {
                    true => suggest::help(target, names),
                    false => "name it in the operator's file: `targets: { NAME: { files: { root: PATH } } }`".to_owned(),
                };
                gathering.app_fault(Some(self.app), text.fault(pointer, format!("no target is named `{}`", shown(target)), help));
            } else {
                gathering.lost.insert(self.app.clone());
            }
            return None;
        };
        if !self.app_pointer.is_empty() {
            return Some(granted);
        }
        let folder = format!("{}//{}", place.source, place.folder);
        let name = &granted.target.name;
        let message = match &granted.allow {
            Some(allow) if allow.allows(&folder) => return Some(granted),
            None if operator.one_owner => return Some(granted),
            Some(allow) if allow.unread => {
                gathering.lost.insert(self.app.clone());
                return None;
            }
            Some(_) => format!("target `{name}` does not take apps from `{folder}`"),
            None => format!("target `{name}` takes no apps: it has no `allow`"),
        };
        let help = format!("the operator adds `allow: [\"{folder}\"]` to it");
        gathering.app_fault(Some(self.app), text.fault(pointer, message, help));
        None
    }
}

fn too_much(text: &Text, pointer: &str, count: usize) -> Option<Fault> {
    let message = format!("the stacks of this app have {count} values together, more than the {MOST_VALUES} that are taken");
    (count > MOST_VALUES).then(|| text.key_fault(pointer, message, "split it into several apps, or move values into files"))
}

fn values(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(values).sum::<usize>(),
        Value::Object(map) => 1 + map.values().map(values).sum::<usize>(),
        _ => 1,
    }
}

/// Whether a stack brings its own target there.
fn is_inline(text: &Text, pointer: &str) -> bool {
    text.root.at(pointer).is_some_and(|node| matches!(node.value, trued_yaml::Value::Map(_)))
}

/// The names of targets, each with its place.
fn named_targets(target: &Value, pointer: &str) -> Vec<(String, String)> {
    match target {
        Value::String(name) => vec![(name.clone(), pointer.to_owned())],
        Value::Array(names) => {
            let named =
                names.iter().enumerate().filter_map(|(place, name)| Some((name.as_str()?.to_owned(), format!("{pointer}/{place}"))));
            named.collect()
        }
        _ => Vec::new(),
    }
}

/// Reads a sound value into its type; what the schema let through and the type does not is a fault at its place.
fn typed<T: DeserializeOwned>(text: &Text, pointer: &str, value: Value, fault: &mut dyn FnMut(Fault)) -> Option<T> {
    let read = serde_json::from_value(value);
    read.map_err(|error| fault(text.key_fault(pointer, format!("this cannot be read: {error}"), "compare it with `trued schema`"))).ok()
}

impl From<AppFile> for Said {
    fn from(app: AppFile) -> Said {
        Said { render: app.render, rules: app.rules, ..Said::default() }
    }
}

impl From<StackEntry> for Said {
    fn from(stack: StackEntry) -> Said {
        Said { render: stack.render, placed: stack.place, rules: stack.rules }
    }
}

impl From<InlineStack> for Said {
    fn from(stack: InlineStack) -> Said {
        let plain = |path| Kinded(BTreeMap::from([("plain".to_owned(), serde_json::json!({ "path": path }))]));
        Said { render: stack.render.or(stack.path.map(plain)), placed: stack.place, rules: stack.rules }
    }
}
