//! What the plan of configuration has and this build has not: findings, never ignored.

use serde_json::Value;
use trued_yaml::{Node, Value as Yaml, step};

use crate::kinds::{Kinds, Which};
use crate::text::{Fault, Text, take_out};

/// Something that is planned. `*` stands for one step.
struct Later {
    path: &'static [&'static str],
    /// What holds until it is built, or what to write instead.
    help: &'static str,
    /// How many steps up the thing is that says nothing without it (a target without its kind: one).
    up: usize,
}

const fn later(path: &'static [&'static str], help: &'static str) -> Later {
    Later { path, help, up: 0 }
}

const fn kind(path: &'static [&'static str], help: &'static str) -> Later {
    Later { path, help, up: 1 }
}

const fn inline(path: &'static [&'static str]) -> Later {
    Later { path, help: NO_DRIVER, up: 2 }
}

const NO_PROMOTION: &str = "remove it; nothing promotes by itself: give each environment its own source or branch";
const NO_APPROVALS: &str = "remove it; deletes are held by `deletes`, and `trued suspend` stops a stack";
const NO_FREEZE: &str = "remove it; `trued suspend` stops a stack until a person resumes it";
const NO_DRIVER: &str = "remove it; this build keeps files and Kubernetes objects";
const NO_SOURCE: &str = "use `git` or `folder`";
const NO_RENDERER: &str = "use `build` to run a program, or `plain` or `template`";

const OPERATOR: &[Later] = &[
    later(&["environments", "*", "after"], NO_PROMOTION),
    later(&["environments", "*", "gates", "approvals"], NO_APPROVALS),
    later(&["environments", "*", "gates", "not_author"], NO_APPROVALS),
    later(&["environments", "*", "freeze"], NO_FREEZE),
    later(&["environments", "*", "windows"], NO_FREEZE),
    kind(&["targets", "*", "kubernetes"], NO_DRIVER),
    kind(&["targets", "*", "terraform"], NO_DRIVER),
    kind(&["targets", "*", "external"], NO_DRIVER),
    kind(&["targets", "*", "dns"], NO_DRIVER),
    kind(&["targets", "*", "object-storage"], NO_DRIVER),
    kind(&["targets", "*", "compose"], NO_DRIVER),
    kind(&["sources", "*", "oci"], NO_SOURCE),
    kind(&["sources", "*", "object"], NO_SOURCE),
    kind(&["sources", "*", "http"], NO_SOURCE),
    inline(&["stacks", "*", "target", "kubernetes"]),
    inline(&["stacks", "*", "target", "terraform"]),
    inline(&["stacks", "*", "target", "external"]),
    inline(&["stacks", "*", "target", "dns"]),
    inline(&["stacks", "*", "target", "object-storage"]),
    inline(&["stacks", "*", "target", "compose"]),
    kind(&["stacks", "*", "render", "command"], NO_RENDERER),
];

const APP: &[Later] = &[
    later(&["gates"], "remove it; to hold deletes earlier write `deletes: { at_most: 5 }`"),
    later(&["stacks", "*", "gates"], "remove it; to hold deletes earlier write `deletes: { at_most: 5 }`"),
    kind(&["render", "command"], NO_RENDERER),
    kind(&["stacks", "*", "render", "command"], NO_RENDERER),
];

const KEPT: &[&[&str]] = &[&["on_delete", "*"], &["stacks", "*", "on_delete", "*"]];

/// Finds what is planned and not built, and takes it out of `value`.
pub(crate) fn check(text: &Text, which: Which, kinds: &Kinds, value: &mut Value) -> Vec<Fault> {
    let mut faults = Vec::new();
    let table = if which == Which::Operator { OPERATOR } else { APP };
    for later in table {
        let word = later.path.last().copied().unwrap_or_default();
        if later.up > 0 && built(later.path, word, kinds) {
            continue;
        }
        for pointer in matching(&text.root, later.path) {
            faults.push(text.key_fault(&pointer, format!("`{word}` is not available yet"), later.help));
            let out = (0..later.up).fold(pointer.as_str(), |pointer, _| pointer.rsplit_once('/').map_or("", |(around, _)| around));
            take_out(value, out);
        }
    }
    for pointer in KEPT.iter().flat_map(|path| matching(&text.root, path)) {
        let kept_until = text.root.at(&pointer).is_some_and(|node| match &node.value {
            Yaml::Text(word) => word.starts_with("keep-until"),
            _ => node.get("keep-until").is_some(),
        });
        if kept_until {
            faults.push(text.fault(
                &pointer,
                "`keep-until` is not available yet",
                "use `retain`, and delete it by hand when its time has come",
            ));
            take_out(value, &pointer);
        }
    }
    faults
}

fn built(path: &[&str], word: &str, kinds: &Kinds) -> bool {
    match path {
        ["sources", ..] => kinds.sources.contains_key(word),
        [.., "render", _] => kinds.renderers.contains_key(word),
        _ => kinds.drivers.contains_key(word),
    }
}

/// The pointers of everything a path stands for.
fn matching(root: &Node, path: &[&str]) -> Vec<String> {
    path.iter().fold(vec![String::new()], |pointers, part| {
        let steps = |pointer: String| -> Vec<String> {
            let entries = root.at(&pointer).map_or(&[][..], Node::entries);
            let wanted = entries.iter().filter(|entry| *part == "*" || entry.key == *part);
            wanted.map(|entry| format!("{pointer}{}", step(&entry.key))).collect()
        };
        pointers.into_iter().flat_map(steps).collect()
    })
}
