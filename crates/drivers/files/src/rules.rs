//! Who owns what, and with which mode, by glob: rules as the operator writes them, what they come to on this machine, and
//! which of them decides about a path. The only place that asks the system for users and groups.

use std::collections::BTreeMap;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use trued_model::{Finding, Shape};

use crate::caller::Caller;

/// Setuid, setgid and sticky.
const SPECIAL: u32 = 0o7000;

/// What is said of owner, group and mode; `None`: nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub mode: Option<u32>,
    pub owner: Option<u32>,
    pub group: Option<u32>,
}

impl Attributes {
    pub fn is_empty(&self) -> bool {
        *self == Attributes::default()
    }

    /// As far as a thing of this shape has them: a link has no mode.
    pub fn of(self, shape: Shape) -> Attributes {
        Attributes { mode: self.mode.filter(|_| shape != Shape::Link), ..self }
    }
}

/// A rule as it is written: a mode, or a mapping of what it says.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Written {
    /// A mode in octal digits, in quotes: `"0640"`.
    Mode(#[schemars(regex(pattern = r"^[0-7]{3,4}$"))] String),
    Rule(Rule),
}

/// What a rule says of the paths it is for.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    /// A mode in octal digits, in quotes: `"0640"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-7]{3,4}$"))]
    pub mode: Option<String>,
    /// The user who is to own it: a name of `/etc/passwd`, or a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Who>,
    /// The group it is to belong to: a name of `/etc/group`, or a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Who>,
    /// Whether `mode` may have setuid, setgid or sticky in it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub special: bool,
}

/// A user or group.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Who {
    Id(u32),
    Name(String),
}

/// Rules by glob.
pub(crate) type Rules = BTreeMap<String, Written>;

impl Written {
    fn rule(&self) -> Rule {
        match self {
            Written::Mode(mode) => Rule { mode: Some(mode.clone()), ..Rule::default() },
            Written::Rule(rule) => rule.clone(),
        }
    }
}

/// What is wrong with rules wherever they are used: globs, modes, and modes nobody said yes to.
pub(crate) fn findings(rules: &Rules) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (glob, written) in rules {
        let rule = written.rule();
        let mut finding = |why: String, help: &str| findings.push(Finding::new(format!("`modes`: `{glob}`: {why}"), help));
        if let Err(error) = compiled(glob) {
            finding(format!("is no glob: {}", error.kind()), "write one such as `bin/**` or `etc/*.conf`");
        } else if glob.starts_with('/') || glob.split('/').any(|name| name == "..") {
            finding("leads out of the root".to_owned(), "globs are of paths below the root, without a `/` in front");
        }
        if rule.mode.is_none() && rule.owner.is_none() && rule.group.is_none() {
            finding("says nothing".to_owned(), "write `mode`, `owner` or `group`");
        }
        match rule.mode.as_deref().map(octal) {
            Some(None) => finding("its mode is none".to_owned(), "write three or four octal digits in quotes, such as \"0640\""),
            Some(Some(mode)) if mode & SPECIAL != 0 && !rule.special => {
                let why = format!("mode {mode:04o} has setuid, setgid or sticky in it");
                finding(why, "write `special: true` beside it if that is meant");
            }
            _ => {}
        }
    }
    findings
}

fn octal(text: &str) -> Option<u32> {
    let digits = (3..=4).contains(&text.len()) && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    if digits { u32::from_str_radix(text, 8).ok() } else { None }
}

fn compiled(glob: &str) -> Result<globset::Glob, globset::Error> {
    GlobBuilder::new(glob.strip_suffix('/').unwrap_or(glob)).literal_separator(true).backslash_escape(true).build()
}

/// A rule in terms of this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Resolved {
    glob: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mode: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owner: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    group: Option<u32>,
    /// Why it cannot be kept here; then nothing it decides about is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
}

/// Resolves rules on this machine, for [`Deciding`]; `Null` where there are none.
pub(crate) fn resolve(rules: &Rules, caller: &Caller) -> Value {
    if rules.is_empty() {
        return Value::Null;
    }
    let resolved: Vec<Resolved> = rules.iter().map(|(glob, written)| resolve_one(glob, &written.rule(), caller)).collect();
    serde_json::to_value(resolved).unwrap_or_default()
}

fn resolve_one(glob: &str, rule: &Rule, caller: &Caller) -> Resolved {
    let owner = rule.owner.as_ref().map(|who| caller.user(who)).transpose();
    let group = rule.group.as_ref().map(|who| caller.group(who)).transpose();
    let trouble = owner.as_ref().err().or(group.as_ref().err()).cloned();
    let glob = glob.to_owned();
    Resolved { glob, mode: rule.mode.as_deref().and_then(octal), owner: owner.ok().flatten(), group: group.ok().flatten(), trouble }
}

/// Rules, ready to decide about paths.
pub(crate) struct Deciding {
    rules: Vec<Resolved>,
    /// Rules for files and links, and those for folders (they end with `/`), by place in `rules`.
    files: Matching,
    folders: Matching,
}

struct Matching {
    set: GlobSet,
    places: Vec<usize>,
}

/// What rules say of one path.
pub(crate) struct Decided {
    pub attributes: Attributes,
    /// Rules that cannot be kept here, or of which none is nearer: as finding, once each.
    pub troubles: Vec<String>,
}

impl Deciding {
    /// Reads what [`resolve`] wrote.
    pub fn new(terms: &Value) -> Deciding {
        let rules: Vec<Resolved> = Vec::deserialize(terms).unwrap_or_default();
        let matching = |folders: bool| {
            let mut set = GlobSetBuilder::new();
            let mut places = Vec::new();
            for (place, rule) in rules.iter().enumerate().filter(|(_, rule)| rule.glob.ends_with('/') == folders) {
                if let Ok(glob) = compiled(&rule.glob) {
                    set.add(glob);
                    places.push(place);
                }
            }
            Matching { set: set.build().unwrap_or_default(), places }
        };
        Deciding { files: matching(false), folders: matching(true), rules }
    }

    /// Whether any rule is about folders.
    pub fn is_about_folders(&self) -> bool {
        !self.folders.places.is_empty()
    }

    /// Decides about one path below the root. Each property comes from the nearest rule that says it: the one with the
    /// most text in it that is no wildcard.
    pub fn decide(&self, path: &[u8], folder: bool) -> Decided {
        use std::os::unix::ffi::OsStrExt as _;
        let matching = if folder { &self.folders } else { &self.files };
        let path = std::path::Path::new(std::ffi::OsStr::from_bytes(path));
        let mut matched: Vec<&Resolved> = match matching.places.is_empty() {
            true => Vec::new(),
            false => matching.set.matches(path).into_iter().filter_map(|at| self.rules.get(*matching.places.get(at)?)).collect(),
        };
        matched.sort_by_key(|rule| std::cmp::Reverse(nearness(&rule.glob)));
        let mut troubles: Vec<String> = matched.iter().filter_map(|rule| trouble(rule)).collect();
        let attributes = Attributes {
            mode: nearest(&matched, "mode", |rule| rule.mode, &mut troubles),
            owner: nearest(&matched, "owner", |rule| rule.owner, &mut troubles),
            group: nearest(&matched, "group", |rule| rule.group, &mut troubles),
        };
        Decided { attributes, troubles }
    }
}

fn trouble(rule: &Resolved) -> Option<String> {
    rule.trouble.as_ref().map(|why| format!("`modes`: `{}`: {why}", rule.glob))
}

/// How near a glob is to the paths it matches: whether it is a path itself, and how much of it is no wildcard.
fn nearness(glob: &str) -> (bool, usize) {
    let wild = |byte: &u8| matches!(byte, b'*' | b'?' | b'[' | b']' | b'{' | b'}' | b',');
    let literal = glob.bytes().filter(|byte| !wild(byte)).count();
    (literal == glob.len(), literal)
}

/// What the nearest rule says of one property. Two that are equally near and say different things are a trouble.
fn nearest(matched: &[&Resolved], what: &str, says: impl Fn(&Resolved) -> Option<u32>, troubles: &mut Vec<String>) -> Option<u32> {
    let mut saying = matched.iter().filter(|rule| says(rule).is_some());
    let first = saying.next()?;
    if let Some(second) = saying.next()
        && nearness(&second.glob) == nearness(&first.glob)
        && says(second) != says(first)
    {
        troubles.push(format!("`modes`: `{}` and `{}` are equally near and say another {what}", first.glob, second.glob));
    }
    says(first)
}
