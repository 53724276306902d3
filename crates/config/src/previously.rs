//! Old names: which inventories a stack takes over.

use trued_model::{Name, StackId};

use crate::called::{self, Called};
use crate::load::Gathering;
use crate::stack::{At, Scene};
use crate::text::shown;

/// The identities whose inventory a stack takes over. An old name at the app means its stack in that environment; one
/// without an environment means the app's old name, or a stack of the small form.
pub(crate) fn resolve(scene: &mut Scene<'_>, app: &[String], stack: &[String]) -> Vec<StackId> {
    let mut all = Vec::new();
    let small_form = scene.app_pointer == scene.stack_pointer;
    let at_app = app.iter().enumerate().filter(|_| !small_form).map(|(place, text)| (At::App, place, text));
    let at_stack = stack.iter().enumerate().map(|(place, text)| (At::Stack, place, text));
    for (at, place, text) in at_app.chain(at_stack) {
        let pointer = scene.pointer(at, &format!("/previously/{place}"));
        let Some(old) = Called::parse(text) else {
            scene.fault(&pointer, format!("`{}` is not the name of a stack", shown(text)), called::HELP);
            continue;
        };
        let target = old.target.unwrap_or_else(|| scene.id.target.clone());
        let ids = match old.environment {
            Some(environment) => {
                let stacks: Vec<&str> = scene.text.keys("/stacks").collect();
                let elsewhere = at == At::App && environment != scene.id.environment && stacks.len() > 1;
                if elsewhere && !stacks.contains(&environment.as_str()) {
                    let message = format!("`{}` may be the old name of several stacks", shown(text));
                    scene.fault(&pointer, message, "write `previously` at the stack that is meant");
                }
                match elsewhere {
                    true => Vec::new(),
                    false => vec![StackId { environment, app: old.app, target }],
                }
            }
            None => {
                let default: Name = "default".parse().expect("`default` is a name");
                let small = StackId { environment: default, app: old.app.clone(), target: old.app.clone() };
                vec![small, StackId { environment: scene.id.environment.clone(), app: old.app, target }]
            }
        };
        let own = scene.id.clone();
        for id in ids.into_iter().filter(|id| *id != own) {
            let message = format!("`{}` is still the name of a stack", shown(text));
            let fault = scene.text.fault(&pointer, message, "remove it here, or remove the stack that has the name");
            scene.claims.push((id.clone(), fault));
            if !all.contains(&id) {
                scene.remember(&format!("/previously/{}", all.len()), &pointer);
                all.push(id);
            }
        }
    }
    all
}

/// Refuses old names that are somebody's now, and those that two apps claim.
pub(crate) fn check(gathering: &mut Gathering) {
    let claims = std::mem::take(&mut gathering.claims);
    let mut claimed: std::collections::BTreeMap<StackId, Name> = std::collections::BTreeMap::new();
    for (old, app, mut fault) in claims {
        let first = claimed.entry(old.clone()).or_insert_with(|| app.clone()).clone();
        if gathering.estate.stacks.contains_key(&old) {
            gathering.app_fault(Some(&app), fault);
        } else if first != app {
            fault.finding.message = format!("app `{first}` takes over the same old name");
            fault.finding.help = "keep it at the app that takes the files over".to_owned();
            gathering.app_fault(Some(&app), fault);
        }
    }
}
