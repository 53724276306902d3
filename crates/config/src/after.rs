//! Which stacks have landed before a stack runs: names looked up among all stacks, and circles named.

use std::collections::{BTreeMap, BTreeSet};

use trued_model::{Name, StackId, StackNames, turns};

use crate::called::{self, Called};
use crate::load::Gathering;
use crate::stack::{At, Scene};
use crate::suggest;
use crate::text::{Fault, shown};

/// One name under `after`, to be looked up when all stacks are known.
pub(crate) struct Wait {
    stack: StackId,
    called: Called,
    /// The name as it stands there.
    written: String,
    fault: Fault,
}

/// Reads what stands under `after` at the app and at the stack; both hold.
pub(crate) fn read(scene: &mut Scene<'_>, app: &[String], stack: &[String]) {
    let small_form = scene.app_pointer == scene.stack_pointer;
    let at_app = app.iter().enumerate().filter(|_| !small_form).map(|(place, text)| (At::App, place, text));
    let at_stack = stack.iter().enumerate().map(|(place, text)| (At::Stack, place, text));
    for (at, place, text) in at_app.chain(at_stack) {
        let pointer = scene.pointer(at, &format!("/after/{place}"));
        match Called::parse(text) {
            None => scene.fault(&pointer, format!("`{}` is not the name of a stack", shown(text)), called::HELP),
            Some(called) => {
                let fault = scene.text.fault(&pointer, format!("no stack is named `{}`", shown(text)), "");
                scene.remember("/after", &pointer);
                scene.waits.push(Wait { stack: scene.id.clone(), called, written: text.clone(), fault });
            }
        }
    }
}

/// Looks all names up, and finds circles. A name whose app cannot be read now keeps its stack waiting.
pub(crate) fn check(gathering: &mut Gathering) {
    let waits = std::mem::take(&mut gathering.waits);
    if waits.is_empty() {
        return;
    }
    let mut by_app: BTreeMap<(Name, Name), Vec<StackId>> = BTreeMap::new();
    for id in gathering.estate.stacks.keys() {
        by_app.entry((id.environment.clone(), id.app.clone())).or_default().push(id.clone());
    }
    let mut faults: BTreeMap<(StackId, StackId), Fault> = BTreeMap::new();
    let mut unknown = Vec::new();
    for Wait { stack, called, written, fault } in waits {
        let environment = called.environment.clone().unwrap_or_else(|| stack.environment.clone());
        let there = by_app.get(&(environment.clone(), called.app.clone())).map_or(&[][..], Vec::as_slice);
        let meant: Vec<StackId> =
            there.iter().filter(|id| called.target.as_ref().is_none_or(|target| id.target == *target)).cloned().collect();
        let lost = gathering.lost.contains(&called.app) || gathering.app_faults.contains_key(&Some(called.app.clone()));
        if meant.is_empty() && !lost && !gathering.app_faults.contains_key(&None) {
            unknown.push((stack, written, fault));
            continue;
        }
        // One that cannot be read is waited for by the name it has in the small form, which nobody else can have.
        let missing = || StackId { environment, app: called.app.clone(), target: called.target.clone().unwrap_or(called.app.clone()) };
        let meant = if meant.is_empty() { vec![missing()] } else { meant };
        if let Some(waiting) = gathering.estate.stacks.get_mut(&stack) {
            for before in meant {
                faults.insert((stack.clone(), before.clone()), fault.clone());
                waiting.after.insert(before);
            }
        }
    }
    let names = StackNames::new(gathering.estate.stacks.keys());
    let known: Vec<String> = gathering.estate.stacks.keys().map(|id| names.write(id)).collect();
    for (stack, written, mut fault) in unknown {
        let own = names.write(&stack);
        fault.finding.help = suggest::help(&written, known.iter().map(String::as_str).filter(|name| *name != own));
        gathering.app_fault(Some(&stack.app), fault);
    }
    let waits: BTreeMap<StackId, BTreeSet<StackId>> =
        gathering.estate.stacks.iter().map(|(id, stack)| (id.clone(), stack.after.clone())).collect();
    for circle in turns(&waits).circles {
        let way: Vec<String> = circle.iter().chain(circle.first()).map(|id| names.write(id)).collect();
        for (place, id) in circle.iter().enumerate() {
            let next = &circle[(place + 1) % circle.len()];
            let Some(mut fault) = faults.get(&(id.clone(), next.clone())).cloned() else { continue };
            fault.finding.message = format!("stacks wait for each other: {}", way.join(" → "));
            fault.finding.help = "take one `after` out of the circle".to_owned();
            gathering.app_fault(Some(&id.app), fault);
        }
    }
}
