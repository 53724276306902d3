//! `Chart.lock`: whether it was made for what the chart declares now. It pins versions, no bytes, so nothing else is taken from it.

use trued_doors::Bundle;
use trued_model::{Digest, Finding};
use trued_yaml::{Node, Value};

use super::dependencies::{Declared, read};
use crate::copy::in_source;
use crate::objects::within;

pub const FILE: &str = "Chart.lock";

/// A lock, as far as it can be read.
pub struct Lock(Node);

impl Lock {
    /// Reads the one beside a chart; `None` where there is none that can be read.
    pub fn of(bundle: &Bundle, chart: &str) -> Option<Lock> {
        read(bundle, &within(chart, FILE)).map(Lock)
    }

    /// The version that it names of a dependency.
    pub fn version_of(&self, declared: &Declared) -> Option<&str> {
        self.entries().iter().find(|entry| is(entry, declared))?.get("version")?.text()
    }

    fn entries(&self) -> &[Node] {
        match self.0.get("dependencies").map(|list| &list.value) {
            Some(Value::List(entries)) => entries,
            _ => &[],
        }
    }

    /// What it says otherwise than the chart, each at its place.
    pub fn disagrees(&self, bundle: &Bundle, chart: &str, declared: &[Declared]) -> Vec<Finding> {
        let help = || format!("`helm dependency update {}` brings both together; commit what it writes", in_source(bundle, chart));
        let file = |name: &str| in_source(bundle, &within(chart, name));
        let mut findings = Vec::new();
        for one in declared.iter().filter(|one| !self.entries().iter().any(|entry| is(entry, one))) {
            let finding = Finding::new(format!("`{}` is declared here, and {FILE} does not have it", one.name), help());
            findings.push(finding.at(file("Chart.yaml"), one.mark.line, one.mark.column));
        }
        for entry in self.entries().iter().filter(|entry| !declared.iter().any(|one| is(entry, one))) {
            let name = entry.get("name").and_then(Node::text).unwrap_or_default();
            let finding = Finding::new(format!("`{name}` is locked, and Chart.yaml does not declare it so"), help());
            findings.push(finding.at(file(FILE), entry.mark.line, entry.mark.column));
        }
        let said = self.0.get("digest").and_then(|digest| Some((digest.text()?, digest.mark)));
        if let Some((_, mark)) = said.filter(|(said, _)| findings.is_empty() && *said != self.digest(declared)) {
            let finding = Finding::new(format!("{FILE} was made for other dependencies than Chart.yaml declares"), help());
            findings.push(finding.at(file(FILE), mark.line, mark.column));
        }
        findings
    }

    /// What helm writes as the digest: that of both lists, as Go writes them.
    /// <https://github.com/helm/helm/blob/main/internal/resolver/resolver.go>
    fn digest(&self, declared: &[Declared]) -> String {
        let list = |all: Vec<String>| format!("[{}]", all.join(","));
        let both =
            [list(declared.iter().map(|one| as_go_writes(&one.node)).collect()), list(self.entries().iter().map(as_go_writes).collect())];
        Digest::of(list(both.into()).as_bytes()).to_string()
    }
}

/// Whether an entry of the lock is for this dependency.
fn is(entry: &Node, declared: &Declared) -> bool {
    let text = |key: &str| entry.get(key).and_then(Node::text).unwrap_or_default();
    text("name") == declared.name && text("repository") == declared.repository
}

/// One dependency as Go writes it: its fields in the order of helm's structure, without most of the empty ones, and without
/// characters that mean something in HTML.
fn as_go_writes(dependency: &Node) -> String {
    let mut fields = Vec::new();
    for key in ["name", "version", "repository", "condition", "tags", "enabled", "import-values", "alias"] {
        let value = dependency.get(key).map_or(serde_json::Value::Null, Node::to_json);
        let empty = match &value {
            serde_json::Value::Null | serde_json::Value::Bool(false) => true,
            serde_json::Value::String(text) => text.is_empty(),
            serde_json::Value::Array(items) => items.is_empty(),
            _ => false,
        };
        match (empty, matches!(key, "name" | "repository")) {
            (false, _) => fields.push(format!("\"{key}\":{value}")),
            (true, true) => fields.push(format!("\"{key}\":\"\"")),
            (true, false) => {}
        }
    }
    let text = format!("{{{}}}", fields.join(","));
    let escaped = [("<", "\\u003c"), (">", "\\u003e"), ("&", "\\u0026"), ("\u{2028}", "\\u2028"), ("\u{2029}", "\\u2029")];
    escaped.iter().fold(text, |text, (plain, written)| text.replace(plain, written))
}
