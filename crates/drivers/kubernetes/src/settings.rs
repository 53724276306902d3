//! A target's settings as configuration gives them, and what can be said of them without touching the cluster.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trued_doors::TargetSettings;
use trued_model::{Finding, Name};

/// Settings of a `kubernetes` target.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// The kubeconfig that tells where the cluster is and who we are there. Relative to the file that names it. Without it
    /// Trued runs in the cluster and uses its own service account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubeconfig: Option<PathBuf>,
    /// Which context of the kubeconfig; without it the current one of that file, which somebody may change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// The service account on whose behalf everything is done, as `NAMESPACE/NAME`: then its rights are the bounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[a-z0-9-]+/[a-z0-9.-]+$"))]
    pub impersonate: Option<String>,
    /// Whether what happens in the cluster is put on record while serving: its events, scalings, rollouts and restarts by
    /// others, added up.
    #[serde(default = "yes")]
    pub events: bool,
    /// What the API server's audit webhook may report to `/audit/TARGET` of `serve --listen`: who changed an object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<Audit>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { kubeconfig: None, context: None, impersonate: None, events: true, audit: None }
    }
}

fn yes() -> bool {
    true
}

/// An audit webhook.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Audit {
    /// The token that the webhook sends.
    pub token: SecretName,
}

/// A secret by its name.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SecretName {
    /// The name of a secret.
    #[schemars(with = "String")]
    pub secret: Name,
}

impl Settings {
    /// The user's name of the service account to act as.
    pub fn acts_as(&self) -> Option<String> {
        let (namespace, name) = self.impersonate.as_ref()?.split_once('/')?;
        Some(format!("system:serviceaccount:{namespace}:{name}"))
    }
}

impl TargetSettings for Settings {
    const KIND: &'static str = "kubernetes";

    fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        if self.kubeconfig.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
            findings.push(Finding::new("`kubeconfig` is empty", "name the file, or leave it out inside of the cluster"));
        }
        if self.context.is_some() && self.kubeconfig.is_none() {
            findings.push(Finding::new("`context` stands without `kubeconfig`", "name the kubeconfig that has this context"));
        }
        if self.impersonate.is_some() && self.acts_as().is_none() {
            findings.push(Finding::new("`impersonate` names no service account", "write it as `NAMESPACE/NAME`"));
        }
        findings
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_that_contradict_each_other_are_findings() {
        let messages = |settings| Settings::check(&settings).into_iter().map(|finding| finding.message).collect::<String>();
        assert_eq!(messages(json!({ "kubeconfig": "/etc/k", "context": "prod", "impersonate": "shop/deployer" })), "");
        assert_eq!(messages(json!({})), "", "inside of the cluster");
        assert_eq!(messages(json!({ "context": "prod" })), "`context` stands without `kubeconfig`");
        assert_eq!(messages(json!({ "impersonate": "deployer" })), "`impersonate` names no service account");
        assert!(messages(json!({ "kubeconfg": "/etc/k" })).contains("unknown field"));
    }
}
