//! Finds templates that ask the cluster. A render has none, and helm would tell them that nothing is there: a chart that
//! keeps what it finds would make it anew each time.

use std::sync::Arc;

use trued_doors::Bundle;
use trued_model::Finding;

use super::archive::files_of;
use crate::copy::in_source;
use crate::objects::within;

/// Larger files are no templates.
const LARGEST: u64 = 1 << 20;

/// The most places that are named.
const NAMED: usize = 20;

const FUNCTION: &str = "lookup";

const ASKS: &str = "the template asks the cluster (`lookup`), and a render has none";

const HELP: &str = "choose values with which the chart does not ask and leave the template out, or write `lookup: empty`: then it \
                    finds nothing, as with `helm template`";

/// Refuses charts whose templates, or values that may be taken as templates, call `lookup`: those in these folders, the first of which
/// is the one that is rendered, and these archives.
pub fn refuse<'a>(
    bundle: &Bundle,
    charts: &[String],
    archives: impl Iterator<Item = &'a Arc<[u8]>>,
    values: &str,
) -> Result<(), Vec<Finding>> {
    let mut findings = Vec::new();
    for (path, entry) in bundle.entries.iter() {
        let inside =
            |chart: &String| chart.is_empty() || **path == **chart || path.strip_prefix(chart).is_some_and(|rest| rest.starts_with('/'));
        if !charts.iter().any(inside) || findings.len() >= NAMED {
            continue;
        }
        if path.ends_with(".tgz") {
            let bytes = bundle.reader.read(path).map_err(|refusal| vec![Finding::new(refusal.message, refusal.help)])?;
            let at = |finding: Finding| finding.at(in_source(bundle, path), 1, 1);
            findings.extend(in_archive(&bytes).map_err(|finding| vec![at(finding)])?.map(at));
        } else if entry.bytes <= LARGEST && may_be_template(path) {
            let bytes = bundle.reader.read(path).map_err(|refusal| vec![Finding::new(refusal.message, refusal.help)])?;
            if let Some((line, column)) = called(&String::from_utf8_lossy(&bytes)) {
                findings.push(Finding::new(ASKS, HELP).at(in_source(bundle, path), line, column));
            }
        }
    }
    if called(values).is_some() {
        let finding = Finding::new("a value asks the cluster (`lookup`), and a render has none", HELP);
        findings.push(match charts.first() {
            Some(chart) => finding.at(in_source(bundle, &within(chart, "Chart.yaml")), 1, 1),
            None => finding,
        });
    }
    for archive in archives {
        findings.extend(in_archive(archive).map_err(|finding| vec![finding])?);
    }
    if findings.is_empty() { Ok(()) } else { Err(findings) }
}

/// The first template of an archive that calls the function.
fn in_archive(bytes: &[u8]) -> Result<Option<Finding>, Finding> {
    let broken = |error| Finding::new(format!("this is no archive of a chart: {error}"), "build it with `helm package`");
    let files = files_of(bytes, LARGEST).map_err(broken)?;
    let hit = files.iter().filter(|(name, _)| may_be_template(name)).find_map(|(name, text)| Some((name, called(text)?)));
    Ok(hit.map(|(name, (line, _))| Finding::new(format!("{ASKS}: `{name}` in this archive, line {line}"), HELP)))
}

/// Documentation is never rendered.
fn may_be_template(path: &str) -> bool {
    !path.ends_with(".md")
}

/// Where a template first calls the function, counted from 1: as a word of an action, no field, no string, no comment.
fn called(text: &str) -> Option<(u32, u32)> {
    let mut from = 0;
    while let Some(open) = text[from..].find("{{") {
        let begin = from + open + 2;
        match in_action(&text[begin..]) {
            Action::Calls(at) => {
                let before = &text[..begin + at];
                let line = before.matches('\n').count() + 1;
                let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
                return Some((u32::try_from(line).ok()?, u32::try_from(column).ok()?));
            }
            Action::Ends(at) => from = begin + at,
        }
    }
    None
}

enum Action {
    Calls(usize),
    Ends(usize),
}

/// Reads one action from behind its `{{`.
fn in_action(text: &str) -> Action {
    let mut at = 0;
    let mut before = ' ';
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        if rest.starts_with("}}") {
            return Action::Ends(at + 2);
        }
        let length = if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if c == '"' || c == '`' {
            quoted(rest, c)
        } else if c.is_alphanumeric() || c == '_' {
            let word = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
            if word == FUNCTION && !matches!(before, '.' | '$') {
                return Action::Calls(at);
            }
            word.len()
        } else {
            c.len_utf8()
        };
        before = rest[..length].chars().next_back().unwrap_or(' ');
        at += length;
    }
    Action::Ends(at)
}

/// The bytes of a string that begins here; one that does not end goes to the end of the text.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '\\' if quote == '"' && !escaped => escaped = true,
            c if c == quote && !escaped => return at + 1,
            _ => escaped = false,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Option<(u32, u32)> {
        called(text)
    }

    #[test]
    fn a_call_is_found_wherever_an_action_may_hold_one() {
        assert_eq!(place("a\n{{- $x := (lookup \"v1\" \"Secret\" .ns \"n\") }}"), Some((2, 12)));
        assert_eq!(place("{{ \"}}\" }}{{ if not (lookup) }}"), Some((1, 22)));
        assert_eq!(place("{{ .x | lookup }}"), Some((1, 9)));
        assert_eq!(place("{\"a\":\"{{ lookup \\\"v1\\\" }}\"}"), Some((1, 10)));
    }

    #[test]
    fn what_is_no_call_is_left_alone() {
        for text in [
            "lookup {{ .Values.lookup }}",
            "{{/* lookup */}}{{ \"lookup\" }}{{ `lookup` }}",
            "{{ $lookup }}{{ lookups }}{{ my_lookup }}",
            "{{ \"un\\\"ended lookup",
            "{{",
        ] {
            assert_eq!(place(text), None, "{text}");
        }
    }
}
