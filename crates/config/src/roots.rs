//! Places on this host that must not lie in each other: targets, and the state folder.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::load::{Gathering, Load};
use crate::operator::Operator;

/// One target's place.
struct Root<'a> {
    path: PathBuf,
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
        let Some((descriptor, _)) = input.kinds.drivers.get(granted.target.kind.as_str()) else { continue };
        for below in descriptor.paths {
            if let Some(Value::String(path)) = granted.target.settings.pointer(below) {
                roots.push(Root {
                    path: PathBuf::from(path),
                    target: granted.target.name.as_str(),
                    kind: granted.target.kind.as_str(),
                    pointer: format!("{}/{}{below}", granted.pointer, granted.target.kind),
                });
            }
        }
    }
    // A folder sorts right before everything in it.
    roots.sort_by(|a, b| (a.kind, &a.path, a.target).cmp(&(b.kind, &b.path, b.target)));
    let mut outer: Option<&Root<'_>> = None;
    for root in &roots {
        if let Some(state) = overlap(&root.path, input.state) {
            let message = format!("target `{}` {state} the state folder", root.target);
            gathering.operator_fault(text.fault(&root.pointer, message, "keep the state folder elsewhere: `--state DIR`"));
        }
        match outer {
            Some(other) if other.kind == root.kind && root.path.starts_with(&other.path) => {
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

fn overlap(root: &Path, state: &Path) -> Option<&'static str> {
    match () {
        () if root == state => Some("is"),
        () if state.starts_with(root) => Some("contains"),
        () if root.starts_with(state) => Some("lies in"),
        () => None,
    }
}
