//! What a tool that applied an object before us owns of it passes to us when we take the object on: otherwise a field that
//! leaves the repository would stay, because two own it, and a change to one would be a conflict. Fields of others stay theirs.

use serde_json::Value;

use crate::api::{self, Applied, Applying, Fault};
use crate::apply::Step;
use crate::entry::Entry;
use crate::fields::{self, MANAGER};
use crate::object::{at, text};

/// The field managers of tools that apply whole manifests: kubectl (by either way, and what it finds without an owner), Argo
/// CD, Helm, and Flux.
const TOOLS: [&str; 8] = [
    "before-first-apply",
    "kubectl",
    "kubectl-client-side-apply",
    "kubectl-create",
    "argocd-controller",
    "helm",
    "helm-controller",
    "kustomize-controller",
];

impl Step<'_> {
    /// Has such tools give up what they own, where nothing is ours yet. Only who owns what changes, in one request and only if
    /// the object still is at the version that is known; what we own from then on the server itself tells beforehand.
    pub async fn succeed(&mut self, path: &str, wanted: &mut Value) -> Result<(), Fault> {
        let Some(before) = self.place.entry.clone().filter(|entry| entry.tooled && entry.owned.is_none()) else { return Ok(()) };
        // A no is told by the write itself.
        let Ok(Applied { object, .. }) = self.cluster.api.apply(path, wanted, Applying { force: true, dry: true }).await else {
            return Ok(());
        };
        let Some(owners) = without_tools(&object) else { return Ok(()) };
        let live = self.cluster.api.own(&api::path(&self.spot, &self.place.serving, None), &owners, &before.version).await?;
        let entry = Entry { settled: before.settled, ..Entry::read(&live) };
        wanted["metadata"]["resourceVersion"] = entry.version.as_str().into();
        self.place.entry = Some(entry);
        Ok(())
    }
}

/// Whether such a tool owns something of an object. Where nobody is said to own anything, the server names one as soon as we do.
pub(crate) fn tooled(object: &Value) -> bool {
    let mut owners = fields::owners(object).peekable();
    owners.peek().is_none() || owners.any(|owner| is_tool(owner.manager, owner.subresource))
}

/// Whether a field manager is such a tool. What it did to a status or a scale is no manifest.
fn is_tool(manager: &str, subresource: &str) -> bool {
    subresource.is_empty() && TOOLS.contains(&manager)
}

/// Who owns what without these tools, where one of them and we do.
fn without_tools(object: &Value) -> Option<Value> {
    let entries = at(object, &["metadata", "managedFields"]).and_then(Value::as_array)?;
    let of = |entry: &Value, key: &str| text(entry, &[key]).unwrap_or_default().to_owned();
    let tool = |entry: &&Value| is_tool(&of(entry, "manager"), &of(entry, "subresource"));
    let ours = |entry: &Value| of(entry, "manager") == MANAGER && of(entry, "operation") == "Apply";
    let left: Vec<Value> = entries.iter().filter(|entry| !tool(entry)).cloned().collect();
    (left.len() < entries.len() && left.iter().any(ours)).then_some(Value::Array(left))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn owned_by(owners: &[(&str, &str, &str)]) -> Value {
        let entry = |(manager, operation, subresource): &(&str, &str, &str)| json!({ "manager": manager, "operation": operation, "subresource": subresource });
        json!({ "metadata": { "managedFields": owners.iter().map(entry).collect::<Vec<_>>() } })
    }

    fn left(owners: &[(&str, &str, &str)]) -> Option<Vec<String>> {
        let left = without_tools(&owned_by(owners))?;
        Some(
            left.as_array()?
                .iter()
                .map(|entry| format!("{}{}", text(entry, &["manager"]).unwrap(), text(entry, &["subresource"]).unwrap()))
                .collect(),
        )
    }

    #[test]
    fn tools_that_apply_manifests_give_up_what_they_own_and_nobody_else_does() {
        let ours = ("trued", "Apply", "");
        let others = [("kubectl-edit", "Update", ""), ("kube-controller-manager", "Update", "status"), ("helm", "Update", "scale")];
        let all = [&[ours, ("kubectl-client-side-apply", "Update", ""), ("kustomize-controller", "Apply", "")], &others[..]].concat();
        assert_eq!(left(&all).unwrap(), ["trued", "kubectl-edit", "kube-controller-managerstatus", "helmscale"]);
        assert_eq!(left(&[&[ours], &others[..]].concat()), None, "nothing is to be given up");
        assert_eq!(left(&[("helm", "Update", "")]), None, "an object without an owner would be a stranger's");
    }
}
