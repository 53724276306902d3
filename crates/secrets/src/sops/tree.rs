//! The values of a file in the order they stand, which the MAC depends on.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Number;
use trued_model::{Code, Refusal};
use trued_yaml::{Budget, Node, Value};

use super::metadata::Metadata;
use super::{Format, Placed};

/// A value with the line it stands in; JSON has no lines, and there it is 1.
pub struct Tree {
    pub what: What,
    pub line: u32,
}

pub enum What {
    Map(Vec<(String, Tree)>),
    List(Vec<Tree>),
    Text(String),
    /// A number or a truth, spelled as the MAC covers it.
    Plain(String),
    Null,
}

impl Tree {
    pub fn get(&self, key: &str) -> Option<&Tree> {
        match &self.what {
            What::Map(entries) => entries.iter().find(|(name, _)| name == key).map(|(_, value)| value),
            _ => None,
        }
    }

    pub fn text(&self) -> Option<&str> {
        match &self.what {
            What::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// Reads a file: its values, and what SOPS wrote beside them. Nothing of the file is quoted in what goes wrong: it may be
/// one that should have been encrypted.
pub fn read(format: Format, bytes: &[u8]) -> Result<(Tree, Option<Metadata>), Placed> {
    let text = std::str::from_utf8(bytes).map_err(|_| (1, unreadable("UTF-8 text")))?;
    let mut tree = match format {
        Format::Env => return env(text),
        Format::Yaml => yaml(text)?,
        Format::Json | Format::Binary => serde_json::from_str::<Tree>(text)
            .map_err(|error| (u32::try_from(error.line()).unwrap_or(1).max(1), unreadable("JSON as SOPS writes it")))?,
    };
    let What::Map(entries) = &mut tree.what else { return Ok((tree, None)) };
    let metadata = entries.iter().position(|(key, _)| key == "sops").map(|place| entries.remove(place).1);
    Ok((tree, metadata.map(|metadata| Metadata::of_tree(&metadata))))
}

fn yaml(text: &str) -> Result<Tree, Placed> {
    let budget = Budget { bytes: crate::MOST_ENCRYPTED, text: 2 * crate::MOST_ENCRYPTED, aliases: 0, ..Budget::default() };
    trued_yaml::read("", text, &budget).map(|node| of_node(&node)).map_err(|refused| {
        let line = refused.findings.first().and_then(|finding| finding.place.as_ref()).map_or(1, |place| place.line);
        (line, unreadable("one YAML document as SOPS writes it"))
    })
}

fn of_node(node: &Node) -> Tree {
    let what = match &node.value {
        Value::Null => What::Null,
        // Only these words are truths to SOPS; others that YAML 1.1 takes for some are text.
        Value::Bool(yes) => match node.spelled.as_deref().map(str::to_ascii_lowercase).as_deref() {
            None | Some("true" | "false") => What::Plain(if *yes { "True" } else { "False" }.to_owned()),
            Some(_) => What::Text(node.spelled.as_deref().unwrap_or_default().to_owned()),
        },
        Value::Number(number) => What::Plain(spelled(number)),
        Value::Text(text) => What::Text(text.clone()),
        Value::List(items) => What::List(items.iter().map(of_node).collect()),
        Value::Map(entries) => What::Map(entries.iter().map(|entry| (entry.key.clone(), of_node(&entry.node))).collect()),
    };
    Tree { what, line: node.mark.line }
}

/// A number as SOPS spells it: the shortest digits that give it again, never with an exponent.
fn spelled(number: &Number) -> String {
    match (number.as_i64(), number.as_f64()) {
        (Some(whole), _) => whole.to_string(),
        (None, Some(broken)) => broken.to_string(),
        (None, None) => number.to_string(),
    }
}

fn env(text: &str) -> Result<(Tree, Option<Metadata>), Placed> {
    let mut entries = Vec::new();
    let mut metadata = None;
    for (number, line) in (1_u32..).zip(text.split('\n')) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = line.split_once('=').ok_or_else(|| (number, unreadable("lines of NAME=VALUE")))?;
        let value = value.replace("\\n", "\n");
        match key.strip_prefix("sops_") {
            Some(key) => metadata.get_or_insert_with(Metadata::default).take_variable(key, &value),
            None => entries.push((key.to_owned(), Tree { what: What::Text(value), line: number })),
        }
    }
    Ok((Tree { what: What::Map(entries), line: 1 }, metadata))
}

fn unreadable(form: &str) -> Refusal {
    Refusal::new(Code::Invalid, format!("cannot be read as {form}")).help("edit it with `sops FILE` only")
}

/// JSON in its own order; a key that stands twice is refused, since readers disagree about which counts.
impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Tree, D::Error> {
        struct Reading;

        impl<'de> Visitor<'de> for Reading {
            type Value = Tree;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
                let mut entries: Vec<(String, Tree)> = Vec::new();
                let mut known = std::collections::BTreeSet::new();
                while let Some((key, value)) = map.next_entry::<String, Tree>()? {
                    if !known.insert(key.clone()) {
                        return Err(A::Error::custom("a key stands twice"));
                    }
                    entries.push((key, value));
                }
                Ok(leaf(What::Map(entries)))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Tree, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = list.next_element()? {
                    items.push(item);
                }
                Ok(leaf(What::List(items)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Tree, E> {
                Ok(leaf(What::Text(text.to_owned())))
            }

            fn visit_bool<E>(self, yes: bool) -> Result<Tree, E> {
                Ok(leaf(What::Plain(if yes { "True" } else { "False" }.to_owned())))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Tree, E> {
                Ok(leaf(What::Plain(number.to_string())))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Tree, E> {
                Ok(leaf(What::Plain(number.to_string())))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Tree, E> {
                Ok(leaf(What::Plain(number.to_string())))
            }

            fn visit_unit<E>(self) -> Result<Tree, E> {
                Ok(leaf(What::Null))
            }
        }

        fn leaf(what: What) -> Tree {
            Tree { what, line: 1 }
        }

        from.deserialize_any(Reading)
    }
}
