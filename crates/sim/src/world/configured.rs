//! What is configured in a world: stacks, their checks, and targets that tell how their things are.

use std::sync::Arc;

use serde_json::json;
use trued_model::{App, CheckSpec, Origin, Policy, RenderStep, Stack, StackId};

use super::{INTERVAL, World};
use crate::doors::CHECK;
use crate::driver::KIND;
use crate::target::Target;
use crate::wellbeing::Wellbeing;
use crate::words::name;

impl World {
    /// Configures a stack: the folder of its app's name, put into a place on a target.
    pub fn stack(&self, app: &str, target: &str, into: &str) -> StackId {
        self.stack_of(app, app, target, into)
    }

    /// Configures a stack that renders a folder of another name.
    pub fn stack_of(&self, app: &str, folder: &str, target: &str, into: &str) -> StackId {
        let id = StackId { environment: name("prod"), app: name(app), target: name(target) };
        let stack = Stack {
            id: id.clone(),
            source: name("repo"),
            render: RenderStep {
                kind: "plain".to_owned(),
                settings: json!({ "path": folder }),
                vars: Default::default(),
                secrets: Default::default(),
                pulls: Vec::new(),
                limits: None,
            },
            into: into.to_owned(),
            policy: Policy::default(),
            checks: Vec::new(),
            previously: Vec::new(),
            health: Default::default(),
            after: std::collections::BTreeSet::new(),
            interval: INTERVAL,
            origin: Origin::default(),
        };
        self.universe.configure(|estate| {
            let target = trued_model::Target {
                name: id.target.clone(),
                kind: KIND.to_owned(),
                settings: json!({}),
                ignore: Vec::new(),
                origin: Default::default(),
            };
            estate.targets.entry(id.target.clone()).or_insert(target);
            estate.apps.insert(id.app.clone(), App { name: id.app.clone(), owner: None, origin: Origin::default() });
            estate.stacks.insert(id.clone(), stack);
        });
        self.target(target);
        id
    }

    /// Changes a stack's configuration.
    pub fn configure(&self, id: &StackId, change: impl FnOnce(&mut Stack)) {
        self.universe.configure(|estate| {
            if let Some(stack) = estate.stacks.get_mut(id) {
                change(stack);
            }
        });
    }

    /// Adds a check to a stack that passes while [`World::fail_check`] does not say otherwise.
    pub fn check(&self, id: &StackId) {
        let settings = json!({ "app": id.app.as_str() });
        self.configure(id, |stack| stack.checks.push(CheckSpec { kind: CHECK.to_owned(), settings, reach: None }));
    }

    pub fn fail_check(&self, id: &StackId, fails: bool) {
        let mut failing = self.universe.failing.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if fails {
            failing.insert(id.app.clone())
        } else {
            failing.remove(&id.app)
        };
    }

    pub fn unconfigure(&self, id: &StackId) {
        self.universe.configure(|estate| {
            estate.stacks.remove(id);
        });
    }

    /// Has a target, on which nothing is yet, tell how its things are.
    pub fn tells(&self, target: &str, wellbeing: Arc<Wellbeing>) {
        let target = self.target(target);
        let mut telling = Target::new(target.name.clone());
        (telling.confirms, telling.checks_epochs) = (target.confirms, target.checks_epochs);
        telling.ground().faults = target.ground().faults.clone();
        telling.wellbeing = Some(wellbeing);
        self.universe.set_target(telling);
    }
}
