//! How long a stack waits for what was written to become ready: what stands at the stack goes before what stands at the app,
//! key by key, and each rule is read by the driver of the stack's target.

use trued_model::{Duration, HealthPolicy, HealthRule};
use trued_yaml::step;

use crate::shape::{HealthEntry, Rules};
use crate::stack::{At, Scene};

/// The shortest time that is taken, and the longest.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(86_400);

/// Resolves `health` of a stack.
pub(crate) fn resolve(scene: &mut Scene<'_>, app: &Rules, stack: &Rules) -> HealthPolicy {
    let mut policy = HealthPolicy::default();
    let kind = scene.target.target.kind.clone();
    let driver = scene.input.kinds.drivers.get(kind.as_str()).map(|(_, driver)| driver.clone());
    let tells = driver.as_ref().is_some_and(|driver| driver.tells_health());
    // In the small form both places are one, and only the second is read.
    for (at, entry) in [(At::App, &app.health), (At::Stack, &stack.health)] {
        let Some(entry) = entry else { continue };
        let pointer = scene.pointer(at, "/health");
        if !tells {
            // What an app says of all its stacks is not about those whose target does not tell.
            if at == At::Stack {
                let message = format!("targets of kind `{kind}` do not tell how well things are");
                scene.fault(&pointer, message, "remove `health`, and ask with `verify`");
            }
            continue;
        }
        take(scene, &pointer, entry, &mut policy);
        for (of, rule) in &entry.rules {
            let (degraded, progressing, ready) = (rule.degraded.clone(), rule.progressing.clone(), rule.ready.clone());
            let rule = HealthRule { of: of.clone(), degraded, progressing, ready };
            let pointer = format!("{pointer}/rules{}", step(of));
            if let Some((key, finding)) = driver.as_ref().and_then(|driver| driver.check_health(&rule)) {
                let pointer = if key.is_empty() { pointer } else { format!("{pointer}{}", step(key)) };
                scene.fault(&pointer, finding.message, finding.help);
                continue;
            }
            policy.rules.retain(|known| known.of != rule.of);
            policy.rules.push(rule);
        }
    }
    policy.rules.sort_by(|one, other| one.of.cmp(&other.of));
    policy
}

fn take(scene: &mut Scene<'_>, pointer: &str, entry: &HealthEntry, policy: &mut HealthPolicy) {
    scene.remember("/health", pointer);
    if let Some(within) = entry.within {
        if !(SHORTEST..=LONGEST).contains(&within) {
            let message = format!("{within} is no time to wait");
            scene.fault(&format!("{pointer}/within"), message, format!("write a time from {SHORTEST} to {LONGEST}"));
        }
        policy.within = within;
    }
    policy.otherwise = entry.otherwise.or(policy.otherwise);
}
