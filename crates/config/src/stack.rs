//! One stack, resolved: what its files say, where it stands, and what it was granted.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use trued_model::{CheckSpec, Duration, Name, Origin, Stack, StackId};
use trued_yaml::step;

use crate::after::Wait;
use crate::grants;
use crate::load::Load;
use crate::operator::{EnvironmentRules, Granted, Operator};
use crate::shape::{Kinded, Placed, Rules};
use crate::text::{Fault, Text, shown};
use crate::words::{BadWord, Words};
use crate::{after, health, limits, paths, previously, render, rules};

/// How often a target is looked at without a hint, where nothing says otherwise.
const INTERVAL: Duration = Duration::from_secs(300);
/// The shortest interval that is taken.
const SHORTEST: Duration = Duration::from_secs(1);

/// Which of the two places of an app a value stands at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    App,
    Stack,
}

/// What a stack is resolved in, and what is found on the way.
pub(crate) struct Scene<'a> {
    pub input: &'a Load<'a>,
    pub operator: &'a Operator,
    pub text: &'a Text,
    pub target: &'a Granted,
    pub id: StackId,
    pub source: &'a Name,
    /// The folder of the file, from the source's root.
    pub folder: &'a str,
    /// Files that are configuration, from the source's root.
    pub configuration: &'a [String],
    /// Where the app and the stack stand in the file; the same in the small form.
    pub app_pointer: &'a str,
    pub stack_pointer: &'a str,
    pub faults: Vec<Fault>,
    /// Old identities that are taken over, each with what is to be said where it is still somebody's.
    pub claims: Vec<(StackId, Fault)>,
    /// What it waits for, as written.
    pub waits: Vec<Wait>,
    pub origins: BTreeMap<String, Origin>,
}

/// What stands at one place of an app, typed.
#[derive(Default)]
pub(crate) struct Said {
    pub render: Option<Kinded>,
    pub placed: Placed,
    pub rules: Rules,
}

impl<'a> Scene<'a> {
    pub fn pointer(&self, at: At, below: &str) -> String {
        match at {
            At::App => format!("{}{below}", self.app_pointer),
            At::Stack => format!("{}{below}", self.stack_pointer),
        }
    }

    pub fn fault(&mut self, pointer: &str, message: impl Into<String>, help: impl Into<String>) {
        let fault = self.text.fault(pointer, message, help);
        self.faults.push(fault);
    }

    /// Remembers where a resolved value (a pointer below the stack) was written.
    pub fn remember(&mut self, resolved: &str, written: &str) {
        let origin = self.text.origin(written);
        self.origins.insert(format!("/stacks{}{resolved}", step(&self.id.key())), origin);
    }

    /// Remembers a resolved value that the operator's file decides.
    pub fn remember_operators(&mut self, resolved: &str, written: &str) {
        if let Some(text) = self.operator.text.as_ref().filter(|text| text.has(written)) {
            self.origins.insert(format!("/stacks{}{resolved}", step(&self.id.key())), text.origin(written));
        }
    }

    pub fn one_owner(&self) -> bool {
        self.operator.one_owner
    }

    /// Whether the file is the operator's own: then it may loosen.
    pub fn is_operators(&self) -> bool {
        !self.app_pointer.is_empty()
    }

    pub fn environment(&self) -> Option<&'a EnvironmentRules> {
        self.operator.environments.get(&self.id.environment)
    }

    /// What grants are matched against: `SOURCE//FOLDER`.
    pub fn granted_folder(&self) -> String {
        format!("{}//{}", self.source, self.folder)
    }

    pub fn words(&self) -> Words<'_> {
        Words { env: self.id.environment.as_str(), app: self.id.app.as_str(), target: self.id.target.as_str() }
    }
}

/// Resolves one stack. Faults are left in the scene; with any, the stack is not used.
pub(crate) fn resolve(scene: &mut Scene<'_>, app: Said, stack: Said) -> Option<Stack> {
    let (pointer, id) = (scene.stack_pointer.to_owned(), scene.id.clone());
    scene.remember("", &pointer);
    let mut render = render::resolve(scene, app.render, stack.render, stack.placed.vars);
    let limits = limits::resolve(scene, &app.rules, &stack.rules);
    if let Some(render) = &mut render {
        render.limits = limits;
    }
    let policy = rules::policy(scene, &app.rules, &stack.rules);
    let checks = checks(scene, &app.rules, &stack.rules);
    let interval = interval(scene, &app.rules, &stack.rules);
    let health = health::resolve(scene, &app.rules, &stack.rules);
    let previously = previously::resolve(scene, &app.rules.previously, &stack.rules.previously);
    after::read(scene, &app.rules.after, &stack.rules.after);
    let into = format!("{pointer}/into");
    if scene.text.has(&into) {
        scene.remember("/into", &into);
    }
    let origin = scene.text.origin(&pointer);
    Some(Stack {
        id,
        source: scene.source.clone(),
        render: render?,
        into: stack.placed.into,
        policy,
        checks,
        previously,
        health,
        after: BTreeSet::new(),
        interval,
        origin,
    })
}

fn interval(scene: &mut Scene<'_>, app: &Rules, stack: &Rules) -> Duration {
    let at = if stack.interval.is_some() { At::Stack } else { At::App };
    let Some(interval) = stack.interval.or(app.interval) else { return INTERVAL };
    let pointer = scene.pointer(at, "/interval");
    if interval < SHORTEST {
        scene.fault(
            &pointer,
            format!("an interval of {interval} is too short"),
            format!("write {SHORTEST} or more; changes are seen at once anyway"),
        );
    }
    scene.remember("/interval", &pointer);
    interval
}

fn checks(scene: &mut Scene<'_>, app: &Rules, stack: &Rules) -> Vec<CheckSpec> {
    let at = if stack.verify.is_some() { At::Stack } else { At::App };
    let Some(written) = stack.verify.as_ref().or(app.verify.as_ref()) else { return Vec::new() };
    let pointer = scene.pointer(at, "/verify");
    scene.remember("/checks", &pointer);
    let one = |(place, entry): (usize, &Kinded)| {
        let (kind, settings) = entry.0.first_key_value()?;
        let settings = granted_settings(scene, kind, &format!("{pointer}/{place}{}", step(kind)), settings.clone())?;
        let granted = &scene.target.reach;
        let reach = (!scene.one_owner()).then(|| granted.iter().map(|reach| reach.written().to_owned()).collect());
        Some(CheckSpec { kind: kind.clone(), settings, reach })
    };
    written.iter().enumerate().filter_map(one).collect()
}

/// A check's settings with its program looked up, when all it names was granted.
fn granted_settings(scene: &mut Scene<'_>, kind: &str, pointer: &str, mut settings: Value) -> Option<Value> {
    let descriptor = scene.input.kinds.checks.get(kind)?;
    if let Some(below) = grants::program_of(kind, &settings) {
        let program = settings.pointer(below)?.clone();
        let command = rules::command(scene, &format!("{pointer}{below}"), &program)?;
        *settings.pointer_mut(below)? = command.argv.into();
    }
    if !scene.one_owner()
        && let Some((below, address)) = grants::address_of(&settings)
        && !scene.target.reach.iter().any(|reach| reach.reaches(address))
    {
        let message = format!("`{}` is not an address that target `{}` grants", shown(address), scene.target.target.name);
        let help = "the operator grants it: `reach: [\"http://127.0.0.1/*\"]`";
        scene.fault(&format!("{pointer}{below}"), message, help);
        return None;
    }
    for below in descriptor.paths {
        let Some(Value::String(path)) = settings.pointer(below) else { continue };
        if !scene.one_owner() {
            scene.fault(&format!("{pointer}{below}"), "an app file may not name a path of the host", "leave it out");
            return None;
        }
        let path = paths::on_host(&scene.input.folder.join(scene.folder), path);
        *settings.pointer_mut(below)? = path.to_string_lossy().into();
    }
    Some(settings)
}

/// Faults for words without a value, at their places.
pub(crate) fn word_faults(text: &Text, bad: Vec<(String, BadWord)>) -> impl Iterator<Item = Fault> + '_ {
    bad.into_iter().map(|(pointer, word)| {
        let (message, help) = word.explain(true);
        text.fault(&pointer, message, help)
    })
}
