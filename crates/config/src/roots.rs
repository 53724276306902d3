//! Places on this host that must not lie in each other: targets, the state folder, and what is rendered.

use std::path::{Path, PathBuf};

use serde_json::Value;
use trued_model::{Finding, Stack, decode_path};
use trued_yaml::step;

use crate::load::{Gathering, Load, own_name};
use crate::operator::Operator;
use crate::paths;
use crate::text::Fault;

/// One target's place.
struct Root<'a> {
    path: PathBuf,
    /// What else tells it from another one there.
    apart: Vec<Option<&'a str>>,
    target: &'a str,
    kind: &'a str,
    /// Where it is written.
    pointer: String,
}

/// Refuses targets inside each other, and such that hold the state folder or lie in it. Compared as text, after
/// tidying; links are the driver's to refuse.
pub(crate) fn check(input: &Load<'_>, operator: &Operator, gathering: &mut Gathering) {
    let Some(text) = &operator.text else { return };
    let mut roots: Vec<Root<'_>> = Vec::new();
    for granted in operator.targets.values() {
        let Some((descriptor, driver)) = input.kinds.drivers.get(granted.target.kind.as_str()) else { continue };
        for below in descriptor.paths {
            if let Some(Value::String(path)) = granted.target.settings.pointer(below) {
                roots.push(Root {
                    path: PathBuf::from(path),
                    apart: driver.apart().iter().map(|apart| granted.target.settings.pointer(apart).and_then(Value::as_str)).collect(),
                    target: granted.target.name.as_str(),
                    kind: granted.target.kind.as_str(),
                    pointer: format!("{}/{}{below}", granted.pointer, granted.target.kind),
                });
            }
        }
    }
    // A folder sorts right before everything in it.
    roots.sort_by(|a, b| (a.kind, &a.apart, &a.path, a.target).cmp(&(b.kind, &b.apart, &b.path, b.target)));
    let mut outer: Option<&Root<'_>> = None;
    for root in &roots {
        if let Some(state) = overlap(&root.path, input.state) {
            let message = format!("target `{}` {state} the state folder", root.target);
            gathering.operator_fault(text.fault(&root.pointer, message, "keep the state folder elsewhere: `--state DIR`"));
        }
        match outer {
            Some(other) if (other.kind, &other.apart) == (root.kind, &root.apart) && root.path.starts_with(&other.path) => {
                let (message, help) = match root.path == other.path {
                    true => (
                        format!("target `{}` is the same place as target `{}`", root.target, other.target),
                        format!("give both stacks one target, each with its own `into`; keep `{}`", other.target),
                    ),
                    false => (
                        format!("target `{}` lies in target `{}`", root.target, other.target),
                        format!("use target `{}` with `into`, or a place beside it", other.target),
                    ),
                };
                gathering.operator_fault(text.fault(&root.pointer, message, help));
            }
            _ => outer = Some(root),
        }
    }
}

/// Refuses stacks that write into the folder they render: each run would render what the one before wrote, for ever more of
/// it. A place that is left out of the own source feeds nothing.
pub(crate) fn feeding(input: &Load<'_>, operator: &Operator, gathering: &mut Gathering) {
    let own = own_name();
    let Some(source) = operator.sources.get(&own).filter(|_| operator.one_owner) else { return };
    let left_out: Vec<PathBuf> =
        source.settings["exclude"].as_array().into_iter().flatten().filter_map(|path| on_disk(input, path.as_str()?)).collect();
    let mut faults = Vec::new();
    for stack in gathering.estate.stacks.values().filter(|stack| stack.source == own) {
        let Some(rendered) = renders_into_itself(input, operator, stack, &left_out) else { continue };
        let message =
            format!("what is rendered, `{rendered}`, holds the place that is written to: each run would render what the last one wrote");
        let finding = Finding::new(message, "render a folder of its own, or let the target lie elsewhere");
        let key = step(&stack.id.key());
        let origin = gathering.origins.get(&format!("/stacks{key}/render/settings/path")).unwrap_or(&stack.origin);
        let finding = match origin.line {
            Some(line) => finding.at(origin.file.clone(), line, 1),
            None => finding,
        };
        faults.push((stack.id.app.clone(), Fault { pointer: format!("/stacks{key}"), finding }));
    }
    faults.into_iter().for_each(|(app, fault)| gathering.app_fault(Some(&app), fault));
}

/// The folder that a stack renders and writes below of, as it is written from the source's root.
fn renders_into_itself(input: &Load<'_>, operator: &Operator, stack: &Stack, left_out: &[PathBuf]) -> Option<String> {
    let target = &operator.targets.get(&stack.id.target)?.target;
    let (driver, _) = input.kinds.drivers.get(target.kind.as_str())?;
    let renderer = input.kinds.renderers.get(stack.render.kind.as_str())?;
    let settings = |settings: &Value, pointers: &[&str]| -> Vec<String> {
        pointers.iter().filter_map(|pointer| settings.pointer(pointer)?.as_str().map(str::to_owned)).collect()
    };
    let rendered = settings(&stack.render.settings, renderer.paths);
    let places: Vec<PathBuf> =
        settings(&target.settings, driver.paths).iter().map(|place| paths::on_host(Path::new(place), &stack.into)).collect();
    rendered.into_iter().find(|path| {
        let Some(folder) = on_disk(input, path) else { return false };
        let fed = |place: &PathBuf| *place != folder && place.starts_with(&folder) && !left_out.iter().any(|out| place.starts_with(out));
        places.iter().any(fed)
    })
}

/// Where a path of the own source lies on this host.
fn on_disk(input: &Load<'_>, path: &str) -> Option<PathBuf> {
    let path = decode_path(path)?;
    Some(paths::on_host(input.folder, std::str::from_utf8(&path).ok()?))
}

fn overlap(root: &Path, state: &Path) -> Option<&'static str> {
    match () {
        () if root == state => Some("is"),
        () if state.starts_with(root) => Some("contains"),
        () if root.starts_with(state) => Some("lies in"),
        () => None,
    }
}
