//! One configuration file: its tree, its name for people, and faults at its places.

use serde_json::Value as Json;
use trued_model::{Finding, Origin};
use trued_yaml::{Budget, Mark, Node, Value, step};

use crate::kinds::{Kinds, Which};
use crate::{later, valid};

/// Findings about one file's shape that are told: enough to correct, too few to fill a screen for ever.
const MOST_FAULTS: usize = 200;

/// A finding, and what it is about.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    /// Where in the file, as a JSON pointer; empty when it is about the file.
    pub pointer: String,
    pub finding: Finding,
}

/// A file that could be read, with the name people know it by.
pub(crate) struct Text {
    pub file: String,
    pub root: Node,
    /// The tree without places, and without what is wrong by its schema or not built yet.
    pub sound: Json,
}

impl Text {
    /// Reads a file and checks its shape. Without a text, the faults say why; with one, they say what is not in `sound`.
    pub fn read(file: &str, bytes: &[u8], which: Which, kinds: &Kinds) -> (Option<Text>, Vec<Fault>) {
        let read = trued_yaml::text_of(file, bytes).and_then(|text| trued_yaml::read(file, text, &Budget::default()));
        let (root, findings) = match read {
            Ok(root) => (Some(root), Vec::new()),
            Err(refused) => (refused.rest, refused.findings),
        };
        let mut faults: Vec<Fault> = findings.into_iter().map(|finding| Fault { pointer: String::new(), finding }).collect();
        let Some(root) = root else { return (None, faults) };
        if root.value == Value::Null {
            if faults.is_empty() {
                let finding = Finding::new("this file is empty", "`trued init` writes an example").at(file, 1, 1);
                faults.push(Fault { pointer: String::new(), finding });
            }
            return (None, faults);
        }
        let sound = root.to_json();
        let mut text = Text { file: file.to_owned(), root, sound };
        let mut sound = std::mem::take(&mut text.sound);
        surprising_keys(&text, &text.root, "", &mut faults);
        faults.extend(later::check(&text, which, kinds, &mut sound));
        faults.extend(valid::check(&text, which, kinds, &mut sound));
        text.sound = sound;
        if faults.len() > MOST_FAULTS {
            let more = faults.len() - MOST_FAULTS;
            faults.truncate(MOST_FAULTS);
            faults.push(text.fault("", format!("{more} more findings in this file are not told"), "correct these first"));
        }
        (Some(text), faults)
    }

    /// A fault at a value; at its key where the value is empty.
    pub fn fault(&self, pointer: &str, message: impl Into<String>, help: impl Into<String>) -> Fault {
        let empty = self.root.at(pointer).is_some_and(|node| node.value == Value::Null);
        let mark = if empty { self.root.key_mark_of(pointer) } else { self.root.mark_of(pointer) };
        self.placed(pointer, mark, message, help)
    }

    /// A fault at a key.
    pub fn key_fault(&self, pointer: &str, message: impl Into<String>, help: impl Into<String>) -> Fault {
        self.placed(pointer, self.root.key_mark_of(pointer), message, help)
    }

    /// Whether something was written at a pointer, sound or not.
    pub fn has(&self, pointer: &str) -> bool {
        self.root.at(pointer).is_some()
    }

    /// The keys that were written in a mapping, sound or not, in their order.
    pub fn keys(&self, pointer: &str) -> impl Iterator<Item = &str> {
        self.root.at(pointer).map_or(&[][..], Node::entries).iter().map(|entry| entry.key.as_str())
    }

    /// Where a value comes from.
    pub fn origin(&self, pointer: &str) -> Origin {
        Origin { file: self.file.as_str().into(), line: Some(self.root.key_mark_of(pointer).line) }
    }

    fn placed(&self, pointer: &str, mark: Mark, message: impl Into<String>, help: impl Into<String>) -> Fault {
        Fault { pointer: pointer.to_owned(), finding: Finding::new(message, help).at(self.file.as_str(), mark.line, mark.column) }
    }
}

/// Keys that are not read as they are spelled: `no` is `false`. A name that silently becomes another is a trap.
fn surprising_keys(text: &Text, node: &Node, pointer: &str, faults: &mut Vec<Fault>) {
    match &node.value {
        Value::List(items) => {
            items.iter().enumerate().for_each(|(place, item)| surprising_keys(text, item, &format!("{pointer}/{place}"), faults));
        }
        Value::Map(entries) => {
            for entry in entries {
                let pointer = format!("{pointer}{}", step(&entry.key));
                if let Some(spelled) = entry.key_spelled.as_deref().filter(|spelled| **spelled != *entry.key) {
                    let message = format!("the key `{}` is read as `{}`", shown(spelled), entry.key);
                    faults.push(text.key_fault(&pointer, message, format!("write \"{}\" in quotes to mean the text", shown(spelled))));
                }
                surprising_keys(text, &entry.node, &pointer, faults);
            }
        }
        _ => {}
    }
}

/// What was written, short and without control characters, to be shown in a sentence.
pub(crate) fn shown(word: &str) -> String {
    const MOST: usize = 60;
    let plain = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    let mut short: String = word.chars().take(MOST).map(plain).collect();
    if word.chars().nth(MOST).is_some() {
        short.push('…');
    }
    short
}

/// Takes what a pointer names out of a value. A wrong item takes its whole list with it, so that pointers stay good.
pub(crate) fn take_out(value: &mut Json, pointer: &str) {
    let Some((around, last)) = pointer.rsplit_once('/') else {
        *value = Json::Object(serde_json::Map::new());
        return;
    };
    match value.pointer_mut(around) {
        Some(Json::Object(map)) => drop(map.remove(&last.replace("~1", "/").replace("~0", "~"))),
        Some(Json::Array(_)) => take_out(value, around),
        _ => {}
    }
}
