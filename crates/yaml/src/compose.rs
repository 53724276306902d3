//! From parser events to trees, within the budget. No recursion: depth costs heap, and little of it.

use std::collections::{BTreeMap, BTreeSet};

use serde_saphyr::granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Span, Tag, options};
use trued_model::Finding;

use crate::scalar::{self, Unfit};
use crate::{Budget, Entry, Mark, Node, Refused, Value};

/// Composes all documents of a text.
pub(crate) fn compose(file: &str, text: &str, budget: &Budget) -> Result<Vec<Node>, Refused> {
    let mut composer = Composer::new(file, budget);
    let complete = composer.run(text);
    let documents = composer.documents;
    match composer.findings.is_empty() {
        true => Ok(documents),
        false => Err(Refused { findings: composer.findings, rest: documents.into_iter().next().filter(|_| complete) }),
    }
}

/// A finished node with what it costs to repeat it.
#[derive(Clone)]
struct Sized {
    node: Node,
    nodes: usize,
    text: usize,
    height: usize,
}

/// A container that is still open.
struct Open {
    mark: Mark,
    anchor: usize,
    nodes: usize,
    text: usize,
    height: usize,
    kind: OpenKind,
}

enum OpenKind {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, seen: BTreeSet<String>, key: Option<Key>, merge: Option<Merge> },
}

/// What stands where a key stands.
enum Key {
    Plain {
        text: String,
        mark: Mark,
        spelled: Option<Box<str>>,
    },
    /// `<<`.
    Merge(Mark),
    /// A duplicate or something that cannot be a key; its value is read and dropped.
    Dropped,
}

/// What `<<` brings, and how many keys stood before it.
struct Merge {
    mark: Mark,
    before: usize,
    brought: Node,
}

struct Composer<'a> {
    file: &'a str,
    budget: &'a Budget,
    open: Vec<Open>,
    anchors: BTreeMap<usize, Sized>,
    documents: Vec<Node>,
    findings: Vec<Finding>,
    nodes: usize,
    aliases: usize,
    text: usize,
}

/// The text breaks off here; the reason is in the findings.
struct Broken;

/// How many findings one text gives before reading stops: enough to correct, too few to fill memory with.
const MOST_FINDINGS: usize = 100;

impl<'a> Composer<'a> {
    fn new(file: &'a str, budget: &'a Budget) -> Composer<'a> {
        Composer {
            file,
            budget,
            open: Vec::new(),
            anchors: BTreeMap::new(),
            documents: Vec::new(),
            findings: Vec::new(),
            nodes: 0,
            aliases: 0,
            text: 0,
        }
    }

    /// Reads all events; whether the end was reached.
    fn run(&mut self, text: &str) -> bool {
        if text.len() > self.budget.bytes {
            let size = format!("this text has {} bytes, more than the {} that are read", text.len(), self.budget.bytes);
            self.find(Mark { line: 1, column: 1 }, size, "split it into several files");
            return false;
        }
        let depth = self.budget.depth + 1;
        let options = options! { emit_comments: false, flow_nesting_limit: depth, block_nesting_limit: depth };
        for event in Parser::new_from_str_with_options(text, options) {
            let taken = match event {
                Ok((event, span)) => self.take(event, span),
                Err(fault) => self.refuse_syntax(&fault),
            };
            if taken.is_err() || self.findings.len() >= MOST_FINDINGS {
                return false;
            }
        }
        true
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Broken> {
        let mark = mark_of(&span);
        match event {
            Event::DocumentStart(..) if self.documents.len() >= self.budget.documents => {
                let (message, help) = match self.budget.documents {
                    1 => ("a second document begins here".to_owned(), "keep one document in this file; remove the line `---`"),
                    most => (format!("this text has more than {most} documents"), "split it into several files"),
                };
                self.find(mark, message, help);
                Err(Broken)
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.spend(mark, 1, text.len(), 0)?;
                let node = self.scalar(mark, &text, style, tag.as_deref());
                let merge = style == ScalarStyle::Plain && tag.is_none() && text == "<<";
                self.put(Sized { node, nodes: 1, text: text.len(), height: 0 }, anchor, merge)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.check_tag(mark, tag.as_deref(), "seq");
                self.open(mark, anchor, OpenKind::List(Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => {
                self.check_tag(mark, tag.as_deref(), "map");
                self.open(mark, anchor, OpenKind::Map { entries: Vec::new(), seen: BTreeSet::new(), key: None, merge: None })
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(anchor) => self.repeat(mark, anchor),
            _ => Ok(()),
        }
    }

    /// Counts what comes into the tree, before it is made.
    fn spend(&mut self, mark: Mark, nodes: usize, text: usize, height: usize) -> Result<(), Broken> {
        self.nodes += nodes;
        self.text += text;
        match () {
            () if self.open.len() + height > self.budget.depth => {
                self.refuse_size(mark, format!("{} levels inside each other", self.budget.depth))
            }
            () if self.nodes > self.budget.nodes => self.refuse_size(mark, format!("{} values, aliases expanded", self.budget.nodes)),
            () if self.text > self.budget.text => self.refuse_size(mark, format!("{} bytes of values, aliases expanded", self.budget.text)),
            () => Ok(()),
        }
    }

    fn refuse_size(&mut self, mark: Mark, bound: String) -> Result<(), Broken> {
        self.find(mark, format!("this text has more than {bound}"), "make it smaller; aliases count as what they repeat");
        Err(Broken)
    }

    fn open(&mut self, mark: Mark, anchor: usize, kind: OpenKind) -> Result<(), Broken> {
        self.spend(mark, 1, 0, 1)?;
        self.open.push(Open { mark, anchor, nodes: 1, text: 0, height: 1, kind });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Broken> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let value = match open.kind {
            OpenKind::List(items) => Value::List(items),
            OpenKind::Map { entries, merge, .. } => Value::Map(match merge {
                Some(merge) => self.merged(entries, merge),
                None => entries,
            }),
        };
        let node = Node::new(value, open.mark, None);
        self.put(Sized { node, nodes: open.nodes, text: open.text, height: open.height }, open.anchor, false)
    }

    fn repeat(&mut self, mark: Mark, anchor: usize) -> Result<(), Broken> {
        self.aliases += 1;
        if self.aliases > self.budget.aliases {
            let most = self.budget.aliases;
            self.find(mark, format!("this text has more than {most} aliases"), "write the values out, or generate fewer");
            return Err(Broken);
        }
        let Some(cost) = self.anchors.get(&anchor).map(|known| (known.nodes, known.text, known.height)) else {
            self.find(mark, "this alias stands inside what it repeats", "an alias can only repeat what is complete above it");
            return self.put(Sized { node: Node::null(mark), nodes: 1, text: 0, height: 0 }, 0, false);
        };
        self.spend(mark, cost.0, cost.1, cost.2)?;
        match self.anchors.get(&anchor).cloned() {
            Some(known) => self.put(known, 0, false),
            None => Ok(()),
        }
    }

    /// Gives a finished node to the container it stands in, or to the document.
    fn put(&mut self, sized: Sized, anchor: usize, is_merge: bool) -> Result<(), Broken> {
        if anchor != 0 {
            self.anchors.insert(anchor, sized.clone());
        }
        let Some(open) = self.open.last_mut() else {
            self.documents.push(sized.node);
            self.anchors.clear();
            return Ok(());
        };
        open.nodes += sized.nodes;
        open.text += sized.text;
        open.height = open.height.max(sized.height + 1);
        let mut finding = None;
        match &mut open.kind {
            OpenKind::List(items) => items.push(sized.node),
            OpenKind::Map { entries, seen, key, merge } => match key.take() {
                None => {
                    let (read, fault) = read_key(sized.node, is_merge, seen, entries);
                    *key = Some(read);
                    finding = fault;
                }
                Some(Key::Dropped) => {}
                Some(Key::Plain { text, mark, spelled }) => {
                    entries.push(Entry { key: text, key_mark: mark, key_spelled: spelled, node: sized.node });
                }
                Some(Key::Merge(mark)) => *merge = Some(Merge { mark, before: entries.len(), brought: sized.node }),
            },
        }
        self.findings.extend(finding.map(|(mark, message, help)| self.finding(mark, message, help)));
        Ok(())
    }

    /// Adds what `<<` brought: keys that are written win, earlier mappings of a list win.
    fn merged(&mut self, mut entries: Vec<Entry>, merge: Merge) -> Vec<Entry> {
        let is_map = |node: &Node| matches!(node.value, Value::Map(_));
        let sources: Vec<Node> = match merge.brought.value {
            Value::List(items) if items.iter().all(is_map) => items,
            Value::Map(_) => vec![merge.brought],
            _ => {
                self.find(merge.mark, "`<<` brings something that is not a mapping", "give it an alias to a mapping, or a list of such");
                return entries;
            }
        };
        let own: BTreeMap<String, usize> = entries.iter().enumerate().map(|(place, entry)| (entry.key.clone(), place)).collect();
        let mut brought: BTreeSet<String> = BTreeSet::new();
        for entry in sources.into_iter().flat_map(|source| match source.value {
            Value::Map(entries) => entries,
            _ => Vec::new(),
        }) {
            match own.get(&entry.key) {
                // Readers disagree which of the two holds.
                Some(place) if *place < merge.before => {
                    let message = format!("`<<` brings `{}`, which already stands above it", entry.key);
                    self.find(merge.mark, message, "write `<<` first, and what differs below it");
                }
                Some(_) => {}
                None if brought.insert(entry.key.clone()) => entries.push(entry),
                None => {}
            }
        }
        entries
    }

    fn scalar(&mut self, mark: Mark, text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Node {
        let value = match tag {
            None if style == ScalarStyle::Plain => scalar::plain(text),
            None => Ok(Value::Text(text.to_owned())),
            Some(tag) if tag.parts() == ("", "!") => Ok(Value::Text(text.to_owned())),
            Some(tag) => match tag.core_suffix() {
                Some(core @ ("str" | "int" | "float" | "bool" | "null")) => scalar::tagged(core, text),
                _ => {
                    self.refuse_tag(mark, tag);
                    Ok(Value::Text(text.to_owned()))
                }
            },
        };
        let value = value.unwrap_or_else(|unfit| {
            match unfit {
                Unfit::NotFinite => {
                    self.find(mark, format!("`{text}` is not a finite number"), "write a number, or quote it to mean the text")
                }
                Unfit::NotItsTag => self.find(mark, format!("`{text}` is not what its tag says"), "remove the tag, or quote the value"),
            }
            Value::Null
        });
        let spelled = (!matches!(value, Value::Text(_))).then(|| text.into());
        Node::new(value, mark, spelled)
    }

    fn check_tag(&mut self, mark: Mark, tag: Option<&Tag>, expected: &str) {
        if let Some(tag) = tag
            && tag.core_suffix() != Some(expected)
            && tag.parts() != ("", "!")
        {
            self.refuse_tag(mark, tag);
        }
    }

    fn refuse_tag(&mut self, mark: Mark, tag: &Tag) {
        self.find(mark, format!("the tag `{}` has no meaning here", tag.original()), "remove it");
    }

    fn refuse_syntax(&mut self, fault: &ScanError) -> Result<(), Broken> {
        let mark = Mark { line: at_least_one(fault.marker().line()), column: at_least_one(fault.marker().col() + 1) };
        if matches!(fault.kind(), ErrorKind::RecursionLimitExceeded) {
            return self.refuse_size(mark, format!("{} levels inside each other", self.budget.depth));
        }
        let said = fault.kind().to_string();
        let help = match fault.kind() {
            ErrorKind::ExpectedFlowMappingSeparator | ErrorKind::ExpectedFlowSequenceSeparator => {
                "between brackets, put values that have `{`, `}`, `[`, `]` or `,` in them in quotes"
            }
            _ => "correct the spelling here or just above; indent with spaces",
        };
        self.find(mark, format!("this is not YAML: {said}"), help);
        Err(Broken)
    }

    fn find(&mut self, mark: Mark, message: impl Into<String>, help: &str) {
        self.findings.push(self.finding(mark, message, help));
    }

    fn finding(&self, mark: Mark, message: impl Into<String>, help: &str) -> Finding {
        Finding::new(message, help).at(self.file, mark.line, mark.column)
    }
}

type Fault = (Mark, String, &'static str);

/// Reads what stands where a key stands; keys are text as the Kubernetes decoder makes it.
fn read_key(node: Node, is_merge: bool, seen: &mut BTreeSet<String>, entries: &[Entry]) -> (Key, Option<Fault>) {
    let Node { value, mark, spelled, .. } = node;
    if is_merge {
        return match seen.insert("<<".to_owned()) {
            true => (Key::Merge(mark), None),
            false => (Key::Dropped, Some((mark, "a second `<<` in one mapping".to_owned(), "give the first one a list: `<<: [*a, *b]`"))),
        };
    }
    let text = match value {
        Value::Text(text) => text,
        Value::Bool(yes) => yes.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::List(_) | Value::Map(_) => {
            let what = match value {
                Value::Null => "nothing",
                Value::List(_) => "a list",
                _ => "a mapping",
            };
            let fault = (mark, format!("{what} cannot be a key"), "write the key as text, in quotes where needed");
            return (Key::Dropped, Some(fault));
        }
    };
    if seen.insert(text.clone()) {
        return (Key::Plain { text, mark, spelled }, None);
    }
    let first = entries.iter().find(|entry| entry.key == text).map_or(0, |entry| entry.key_mark.line);
    let fault = (mark, format!("the key `{text}` stands here a second time; the first is on line {first}"), "remove one of them");
    (Key::Dropped, Some(fault))
}

fn mark_of(span: &Span) -> Mark {
    Mark { line: at_least_one(span.start.line()), column: at_least_one(span.start.col() + 1) }
}

fn at_least_one(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX).max(1)
}
