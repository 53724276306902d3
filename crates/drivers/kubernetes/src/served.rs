//! Which kinds a cluster serves, under which versions and names, and which of them lie in namespaces. Values only.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::address::{Kind, is_group};
use crate::object::{at, text};

/// One kind as a cluster serves it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Serving {
    /// The name in paths: `deployments`.
    pub plural: String,
    /// The preferred one first; empty where they are not known.
    pub versions: Vec<String>,
    pub namespaced: bool,
}

/// All kinds of a cluster, and the groups that could not be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Served {
    pub kinds: BTreeMap<Kind, Serving>,
    /// Whether no cluster was asked: other kinds may be served too.
    pub assumed: bool,
    /// Groups whose server did not answer, with the versions it did not answer for: what they serve is not known, or was known
    /// before.
    pub silent: BTreeMap<String, BTreeSet<String>>,
}

/// Stands in facts for whatever a silent group may serve.
const ANYTHING: &str = "*";

impl Served {
    /// As it stands in facts, by address prefix.
    pub fn terms(&self) -> Value {
        let mut kinds: BTreeMap<String, Serving> = self.kinds.iter().map(|(kind, serving)| (kind.prefix(), serving.clone())).collect();
        // One of which something is known changes nothing for whoever reads this.
        for (group, versions) in self.silent.iter().filter(|(group, _)| !self.kinds.keys().any(|kind| kind.group == **group)) {
            let serving = Serving { plural: String::new(), versions: versions.iter().cloned().collect(), namespaced: true };
            kinds.insert(Kind::new(group, ANYTHING).prefix(), serving);
        }
        serde_json::to_value(kinds).unwrap_or_default()
    }

    /// Reads [`Served::terms`]; where nothing stands, what every cluster serves.
    pub fn of_terms(terms: &Value) -> Served {
        let Ok(kinds) = BTreeMap::<String, Serving>::deserialize(terms) else { return Served::everywhere() };
        let mut served = Served::default();
        for (prefix, serving) in kinds {
            match prefix.trim_end_matches('/').split_once('/') {
                Some((group, ANYTHING)) => drop(served.silent.insert(group.to_owned(), serving.versions.into_iter().collect())),
                Some((group, kind)) => drop(served.kinds.insert(Kind::new(if group == "core" { "" } else { group }, kind), serving)),
                None => {}
            }
        }
        served
    }

    /// Kinds that every cluster serves, for when none can be asked: enough to tell what lies in a namespace.
    pub fn everywhere() -> Served {
        let kinds = EVERYWHERE.iter().flat_map(|(group, kinds)| {
            kinds.split_whitespace().map(move |word| {
                let kind = word.trim_end_matches('*');
                let plural = plural(kind);
                (Kind::new(group, kind), Serving { plural, versions: Vec::new(), namespaced: kind == word })
            })
        });
        Served { kinds: kinds.collect(), assumed: true, silent: BTreeMap::new() }
    }

    /// Takes in what a definition among the objects will serve once it is there.
    pub fn define(&mut self, object: &Value) {
        let (Some(group), Some(kind)) = (text(object, &["spec", "group"]), text(object, &["spec", "names", "kind"])) else { return };
        let versions = at(object, &["spec", "versions"]).and_then(Value::as_array);
        let served = |version: &Value| version.get("served") != Some(&Value::Bool(false));
        let named = |version: &Value| text(version, &["name"]).map(str::to_owned);
        let serving = Serving {
            plural: text(object, &["spec", "names", "plural"]).unwrap_or_default().to_owned(),
            versions: versions.into_iter().flatten().filter(|version| served(version)).filter_map(named).collect(),
            namespaced: text(object, &["spec", "scope"]) == Some("Namespaced"),
        };
        let kind = Kind::new(group, kind);
        if kind.is_word() {
            self.kinds.insert(kind, serving);
        }
    }

    /// Reads the two answers of aggregated discovery: `APIGroupDiscoveryList` of `/api` and of `/apis`.
    pub fn of_discovery(answers: &[Value]) -> Served {
        let mut served = Served::default();
        let items = answers.iter().filter_map(|answer| answer.get("items")?.as_array()).flatten();
        for item in items {
            let group = text(item, &["metadata", "name"]).unwrap_or_default();
            for version in item.get("versions").and_then(Value::as_array).into_iter().flatten() {
                served.take(group, version);
            }
        }
        served
    }

    /// What two documents say together; no group stands in both.
    pub fn and(mut self, other: &Served) -> Served {
        self.kinds.extend(other.kinds.iter().map(|(kind, serving)| (kind.clone(), serving.clone())));
        self.silent.extend(other.silent.iter().map(|(group, versions)| (group.clone(), versions.clone())));
        self
    }

    fn take(&mut self, group: &str, version: &Value) {
        let Some(name) = text(version, &["version"]) else { return };
        if text(version, &["freshness"]) == Some("Stale") && is_group(group) {
            self.silent.entry(group.to_owned()).or_default().insert(name.to_owned());
        }
        for resource in version.get("resources").and_then(Value::as_array).into_iter().flatten() {
            let (Some(plural), Some(kind)) = (text(resource, &["resource"]), text(resource, &["responseKind", "kind"])) else { continue };
            let verbs = resource.get("verbs").and_then(Value::as_array);
            // What cannot be listed and changed is no object (a review, a token request).
            let can = |verb: &str| verbs.is_some_and(|verbs| verbs.iter().any(|known| known == verb));
            if !(can("list") && can("patch") && can("delete") && Kind::new(group, kind).is_word()) {
                continue;
            }
            let namespaced = text(resource, &["scope"]) == Some("Namespaced");
            let new = || Serving { plural: plural.to_owned(), versions: Vec::new(), namespaced };
            self.kinds.entry(Kind::new(group, kind)).or_insert_with(new).versions.push(name.to_owned());
        }
    }

    /// Takes over what silent groups were known to serve before: they are expected back.
    pub fn remember(&mut self, before: &Served) {
        for (kind, serving) in before.kinds.iter().filter(|(kind, _)| self.silent.contains_key(&kind.group)) {
            self.kinds.entry(kind.clone()).or_insert_with(|| serving.clone());
        }
    }

    pub fn get(&self, kind: &Kind) -> Option<&Serving> {
        self.kinds.get(kind)
    }
}

/// Whether every cluster has this group.
pub(crate) fn everywhere(group: &str) -> bool {
    EVERYWHERE.iter().any(|(known, _)| *known == group)
}

/// A definition of a kind of one's own.
pub(crate) fn is_definition(kind: &Kind) -> bool {
    (kind.group.as_str(), kind.kind.as_str()) == ("apiextensions.k8s.io", "CustomResourceDefinition")
}

fn plural(kind: &str) -> String {
    let lower = kind.to_ascii_lowercase();
    match lower.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{stem}ies"),
        _ if lower.ends_with('s') => {
            if lower == "endpoints" {
                lower
            } else {
                format!("{lower}es")
            }
        }
        _ => format!("{lower}s"),
    }
}

/// Group and kinds; `*` marks those that lie in no namespace.
const EVERYWHERE: &[(&str, &str)] = &[
    (
        "",
        "ConfigMap Endpoints LimitRange Namespace* Node* PersistentVolume* PersistentVolumeClaim Pod PodTemplate ReplicationController \
         ResourceQuota Secret Service ServiceAccount",
    ),
    (
        "admissionregistration.k8s.io",
        "MutatingWebhookConfiguration* ValidatingAdmissionPolicy* ValidatingAdmissionPolicyBinding* ValidatingWebhookConfiguration*",
    ),
    ("apiextensions.k8s.io", "CustomResourceDefinition*"),
    ("apiregistration.k8s.io", "APIService*"),
    ("apps", "ControllerRevision DaemonSet Deployment ReplicaSet StatefulSet"),
    ("autoscaling", "HorizontalPodAutoscaler"),
    ("batch", "CronJob Job"),
    ("certificates.k8s.io", "CertificateSigningRequest*"),
    ("coordination.k8s.io", "Lease"),
    ("discovery.k8s.io", "EndpointSlice"),
    ("flowcontrol.apiserver.k8s.io", "FlowSchema* PriorityLevelConfiguration*"),
    ("networking.k8s.io", "Ingress IngressClass* NetworkPolicy"),
    ("node.k8s.io", "RuntimeClass*"),
    ("policy", "PodDisruptionBudget"),
    ("rbac.authorization.k8s.io", "ClusterRole* ClusterRoleBinding* Role RoleBinding"),
    ("scheduling.k8s.io", "PriorityClass*"),
    ("storage.k8s.io", "CSIDriver* CSINode* CSIStorageCapacity StorageClass* VolumeAttachment*"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_facts_is_read_back() {
        let served = Served::everywhere();
        assert_eq!(Served::of_terms(&served.terms()), Served { assumed: false, ..served.clone() });
        assert_eq!(Served::of_terms(&Value::Null), served, "no cluster was asked");
        let plurals = ["Ingress", "NetworkPolicy", "Endpoints", "StorageClass"].map(plural);
        assert_eq!(plurals, ["ingresses", "networkpolicies", "endpoints", "storageclasses"]);
        assert!(!served.get(&Kind::new("", "Namespace")).unwrap().namespaced);
    }

    #[test]
    fn fault_33_a_group_whose_server_is_away_is_not_known_and_what_is_no_object_is_no_kind() {
        let resource = |kind: &str, verbs: &[&str]| serde_json::json!({ "resource": "things", "responseKind": { "kind": kind }, "scope": "Namespaced", "verbs": verbs });
        let all_verbs = ["create", "delete", "get", "list", "patch", "watch"];
        let answers = serde_json::json!({ "items": [
            { "metadata": { "name": "apps" }, "versions": [
                { "version": "v1", "freshness": "Current", "resources": [resource("Deployment", &all_verbs)] },
                { "version": "v1beta1", "freshness": "Current", "resources": [resource("Deployment", &all_verbs), resource("Review", &["create"])] } ] },
            { "metadata": { "name": "metrics.example.org" }, "versions": [{ "version": "v1", "freshness": "Stale", "resources": [] }] },
        ] });
        let served = Served::of_discovery(std::slice::from_ref(&answers));
        assert_eq!(served.get(&Kind::new("apps", "Deployment")).unwrap().versions, ["v1", "v1beta1"]);
        assert_eq!(served.get(&Kind::new("apps", "Review")), None);
        assert_eq!(served.silent.keys().collect::<Vec<_>>(), ["metrics.example.org"]);
        assert_eq!(Served::of_terms(&served.terms()), served, "what is not known stands in facts");
        // It was known before: then it stands there as if its server were not away, and nothing is rendered anew for it.
        let mut all = answers;
        all["items"][1]["versions"][0] =
            serde_json::json!({ "version": "v1", "freshness": "Current", "resources": [resource("Metric", &all_verbs)] });
        let known = Served::of_discovery(&[all]);
        let mut away = served;
        away.remember(&known);
        assert_eq!((away.terms(), away.silent.len()), (known.terms(), 1));
    }
}
