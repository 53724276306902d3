//! What builds may use: the operator's rules, and an app's limits, which may only lower them.

use trued_model::{Limits, SandboxRules};
use trued_yaml::step;

use crate::paths;
use crate::shape::{LimitsEntry, Rules, SandboxEntry};
use crate::stack::{At, Scene};
use crate::text::{Fault, Text};

/// Reads the operator's rules.
pub(crate) fn sandbox(text: &Text, entry: &SandboxEntry, folder: &std::path::Path, faults: &mut Vec<Fault>) -> SandboxRules {
    let limits = lowered(Limits::default(), entry.limits.as_ref());
    for key in nothing(&limits) {
        faults.push(text.fault(&format!("/sandbox/limits{}", step(key)), format!("`{key}` leaves nothing"), MORE));
    }
    let mut tools = Vec::new();
    for (place, tool) in entry.tools.iter().enumerate() {
        let path = paths::on_host(folder, tool);
        if path.parent().is_none() {
            let help = "name the folder of the tool: with all of this machine in it nothing is confined";
            faults.push(text.fault(&format!("/sandbox/tools/{place}"), "the root of this machine is no tool", help));
            continue;
        }
        tools.push(path.to_string_lossy().into_owned());
    }
    SandboxRules { even_unsafe: entry.even_unsafe, level: entry.level, tools, limits }
}

/// The limits of a stack, where it or its app lowers the operator's. A higher one is a fault at its place.
pub(crate) fn resolve(scene: &mut Scene<'_>, app: &Rules, stack: &Rules) -> Option<Limits> {
    let base = scene.operator.sandbox.limits;
    for (at, entry) in [(At::App, &app.limits), (At::Stack, &stack.limits)] {
        let asked = lowered(base, entry.as_ref());
        let above = asked.above(&base).into_iter().map(|key| (key, above(key, &base)));
        let empty = nothing(&asked).into_iter().map(|key| (key, format!("`{key}` leaves nothing")));
        for (key, message) in above.chain(empty).collect::<Vec<_>>() {
            let pointer = scene.pointer(at, &format!("/limits{}", step(key)));
            let help = if message.ends_with("nothing") { MORE } else { "lower it, or raise the operator's: `sandbox: { limits: … }`" };
            // In the small form both places are one.
            if !scene.faults.iter().any(|fault| fault.pointer == pointer) {
                scene.fault(&pointer, message, help);
            }
        }
    }
    let limits = lowered(lowered(base, app.limits.as_ref()), stack.limits.as_ref());
    let at = if stack.limits.is_some() { At::Stack } else { At::App };
    if app.limits.is_some() || stack.limits.is_some() {
        scene.remember("/render/limits", &scene.pointer(at, "/limits"));
    }
    (limits != base).then_some(limits)
}

const MORE: &str = "write more than nothing";

fn lowered(base: Limits, entry: Option<&LimitsEntry>) -> Limits {
    let Some(entry) = entry else { return base };
    Limits {
        time: entry.time.unwrap_or(base.time),
        processes: entry.processes.unwrap_or(base.processes),
        memory: entry.memory.unwrap_or(base.memory),
        output: entry.output.unwrap_or(base.output),
        log: entry.log.unwrap_or(base.log),
    }
}

/// The keys under which nothing could run.
fn nothing(limits: &Limits) -> Vec<&'static str> {
    let empty = [("time", limits.time.as_millis() == 0), ("processes", limits.processes == 0), ("memory", limits.memory.bytes() == 0)];
    empty.into_iter().filter_map(|(key, empty)| empty.then_some(key)).collect()
}

fn above(key: &str, base: &Limits) -> String {
    let most = match key {
        "time" => base.time.to_string(),
        "processes" => base.processes.to_string(),
        "memory" => base.memory.to_string(),
        "output" => base.output.to_string(),
        _ => base.log.to_string(),
    };
    format!("`{key}` is higher than the operator allows: {most}")
}
