//! Everything in a cluster or a namespace, metadata only, and what of it nobody would write by hand. Keeps nothing open: a
//! table that is watched already is not asked, because most kinds are none of ours.

use std::collections::BTreeMap;

use futures::{StreamExt as _, stream};
use serde_json::Value;
use trued_doors::{Answer, Survey};
use trued_model::{Address, Code, Extent, Observation, Seen, State};

use crate::address::{Kind, Spot};
use crate::aggregated;
use crate::api::{collection, said};
use crate::cluster::Cluster;
use crate::compare;
use crate::mark::Mark;
use crate::object::{at, text};
use crate::served::Serving;

/// Kinds listed at once.
const AT_ONCE: usize = 8;

/// Looks at all objects, in a namespace or (`into` empty) everywhere.
pub(crate) async fn survey(cluster: &Cluster, into: &str) -> Answer<Survey> {
    let now = cluster.clock.now();
    let served = match cluster.served(std::time::Duration::ZERO).await {
        Ok(served) => served,
        Err(refusal) => {
            let extent = Extent::Unknown(refusal.message);
            return Ok(Survey::of(Observation { at: now, extent, seen: BTreeMap::new() }));
        }
    };
    let within = |serving: &Serving| into.is_empty() || serving.namespaced;
    let asked = served.kinds.iter().filter(|(kind, serving)| !is_event(kind) && within(serving));
    let kinds: Vec<(Kind, Serving)> = asked.map(|(kind, serving)| (kind.clone(), serving.clone())).collect();
    let lists = stream::iter(kinds).map(|(kind, serving)| async move {
        let path = collection(&kind, &serving, None, (!into.is_empty()).then_some(into));
        (kind, serving, said(cluster.api.list(&path, |object| object).await, &format!("list {path}")))
    });
    let mut survey = Survey::of(Observation { at: now, extent: Extent::Complete, seen: BTreeMap::new() });
    let listed: Vec<_> = lists.buffered(AT_ONCE).collect().await;
    for (kind, serving, list) in listed {
        match list {
            Ok(list) => list.items.iter().for_each(|object| take(&mut survey, &cluster.ledger, &kind, &serving, object)),
            // The kind went meanwhile.
            Err(refusal) if refusal.code == Code::Absent => {}
            Err(refusal) => drop(survey.unseen.insert(of_kind(&kind), refusal)),
        }
    }
    for group in served.silent.keys() {
        let refusal = cluster.away(group).await.unwrap_or_else(|| aggregated::silent(group));
        survey.unseen.insert(Address::new(group), refusal);
    }
    if let Some((place, refusal)) = survey.unseen.first_key_value() {
        survey.seen.extent = Extent::Partial(format!("{place}: {refusal}"));
    }
    Ok(survey)
}

/// A kind, standing for all objects of it.
fn of_kind(kind: &Kind) -> Address {
    Address::new(kind.prefix().trim_end_matches('/'))
}

fn take(survey: &mut Survey, ledger: &str, kind: &Kind, serving: &Serving, object: &Value) {
    let namespace = serving.namespaced.then(|| text(object, &["metadata", "namespace"]).unwrap_or_default().to_owned());
    let name = text(object, &["metadata", "name"]).unwrap_or_default().to_owned();
    let spot = Spot { kind: kind.clone(), namespace, name };
    let address = spot.address();
    if let Some(why) = aside(&spot, object) {
        survey.aside.insert(address.clone(), why.to_owned());
    }
    if let Some(who) = theirs(object, ledger) {
        survey.theirs.insert(address.clone(), who);
    }
    let uid = text(object, &["metadata", "uid"]).map(str::to_owned);
    let state = State { fingerprint: trued_model::Fingerprint::new(""), bytes: 0, uid, evidence: compare::evidence(object).into() };
    survey.seen.seen.insert(address, Seen::Present(state));
}

/// Events are what happened, not what is there; they are not even listed.
fn is_event(kind: &Kind) -> bool {
    kind.kind == "Event" && matches!(kind.group.as_str(), "" | "events.k8s.io")
}

/// Namespaces that the cluster itself lives in.
pub(crate) const SYSTEM: [&str; 3] = ["kube-node-lease", "kube-public", "kube-system"];

/// Why nobody would write this object by hand; `None` where somebody may have.
pub(crate) fn aside(spot: &Spot, object: &Value) -> Option<&'static str> {
    let Spot { kind, namespace, name } = spot;
    let annotated = |key: &str| text(object, &["metadata", "annotations", key]);
    let labelled = |key: &str| text(object, &["metadata", "labels", key]);
    if at(object, &["metadata", "ownerReferences"]).and_then(Value::as_array).is_some_and(|owners| !owners.is_empty()) {
        return Some("made by another object");
    }
    if text(object, &["metadata", "deletionTimestamp"]).is_some() {
        return Some("being deleted");
    }
    if namespace.as_deref().is_some_and(|namespace| SYSTEM.contains(&namespace)) {
        return Some("in a namespace of the cluster itself");
    }
    let kept_by_the_cluster = match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "Namespace") => SYSTEM.contains(&name.as_str()) || name == "default",
        ("", "Node" | "Endpoints" | "ComponentStatus") => true,
        ("", "Service") => (namespace.as_deref(), name.as_str()) == (Some("default"), "kubernetes"),
        ("", "ConfigMap") => name == "kube-root-ca.crt",
        ("", "ServiceAccount") => name == "default",
        ("", "Secret") => annotated("kubernetes.io/service-account.name").is_some(),
        ("", "PersistentVolume") => annotated("pv.kubernetes.io/provisioned-by").is_some(),
        ("", "Pod") => annotated("kubernetes.io/config.mirror").is_some(),
        ("apps", "ControllerRevision") => true,
        ("coordination.k8s.io" | "discovery.k8s.io" | "certificates.k8s.io", _) => true,
        ("networking.k8s.io", "IPAddress" | "ServiceCIDR") => true,
        ("storage.k8s.io", "CSINode" | "CSIStorageCapacity" | "VolumeAttachment") => true,
        ("apiregistration.k8s.io", _) => labelled("kube-aggregator.kubernetes.io/automanaged").is_some(),
        ("flowcontrol.apiserver.k8s.io", _) => annotated("apf.kubernetes.io/autoupdate-spec") == Some("true"),
        ("rbac.authorization.k8s.io", _) => labelled("kubernetes.io/bootstrapping").is_some() || name.starts_with("system:"),
        ("scheduling.k8s.io", "PriorityClass") => name.starts_with("system-"),
        ("internal.apiserver.k8s.io", _) => true,
        _ => false,
    };
    if kept_by_the_cluster {
        return Some("kept by the cluster itself");
    }
    let helms = labelled("owner") == Some("helm") && name.starts_with("sh.helm.release.v1.");
    (kind.group.is_empty() && helms).then_some("Helm's own record of a release")
}

/// Which other tool says that it manages an object, or which other record of ours.
pub(crate) fn theirs(object: &Value, ledger: &str) -> Option<String> {
    let annotated = |key: &str| text(object, &["metadata", "annotations", key]);
    let labelled = |key: &str| text(object, &["metadata", "labels", key]);
    if let Some(mark) = Mark::read(object).filter(|mark| mark.ledger != ledger) {
        return Some(format!("record {}, stack {}", mark.ledger, mark.stack));
    }
    if let Some(release) = annotated("meta.helm.sh/release-name") {
        return Some(format!("Helm release {release}"));
    }
    let flux = [("kustomize.toolkit.fluxcd.io/name", "Kustomization"), ("helm.toolkit.fluxcd.io/name", "HelmRelease")];
    if let Some((name, kind)) = flux.into_iter().find_map(|(key, kind)| Some((labelled(key)?, kind))) {
        return Some(format!("Flux {kind} {name}"));
    }
    let argo = annotated("argocd.argoproj.io/tracking-id").and_then(|id| id.split(':').next());
    argo.map(|application| format!("Argo CD application {application}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(address: &str, metadata: Value, expected: Option<&str>) {
        let spot = Spot::read(&Address::new(address)).expect("an address");
        assert_eq!(aside(&spot, &json!({ "metadata": metadata })), expected, "{address}");
    }

    #[test]
    fn what_nobody_would_write_by_hand_is_set_aside_with_its_reason() {
        let cluster = Some("kept by the cluster itself");
        check(
            "apps/ReplicaSet/shop/web-1",
            json!({ "ownerReferences": [{ "kind": "Deployment", "name": "web" }] }),
            Some("made by another object"),
        );
        check("apps/Deployment/shop/web", json!({ "ownerReferences": [] }), None);
        check("apps/Deployment/kube-system/coredns", json!({}), Some("in a namespace of the cluster itself"));
        check("core/Namespace/-/kube-system", json!({}), cluster);
        check("core/Namespace/-/shop", json!({}), None);
        check("core/ConfigMap/shop/kube-root-ca.crt", json!({}), cluster);
        check("core/ServiceAccount/shop/default", json!({}), cluster);
        check("core/ServiceAccount/shop/web", json!({}), None);
        check("core/Service/default/kubernetes", json!({}), cluster);
        check("core/Service/shop/kubernetes", json!({}), None);
        check("core/Secret/shop/t", json!({ "annotations": { "kubernetes.io/service-account.name": "web" } }), cluster);
        check("core/Secret/shop/password", json!({}), None);
        check(
            "core/Secret/shop/sh.helm.release.v1.web.v1",
            json!({ "labels": { "owner": "helm" } }),
            Some("Helm's own record of a release"),
        );
        check("coordination.k8s.io/Lease/shop/leader", json!({}), cluster);
        check("rbac.authorization.k8s.io/ClusterRole/-/system:node", json!({}), cluster);
        check(
            "rbac.authorization.k8s.io/ClusterRole/-/edit",
            json!({ "labels": { "kubernetes.io/bootstrapping": "rbac-defaults" } }),
            cluster,
        );
        check("example.org/Widget/shop/one", json!({}), None);
    }

    #[test]
    fn who_else_manages_an_object_is_named() {
        let who = |metadata| theirs(&json!({ "metadata": metadata }), "trued/1");
        assert_eq!(who(json!({ "annotations": { "meta.helm.sh/release-name": "web" } })).as_deref(), Some("Helm release web"));
        assert_eq!(who(json!({ "labels": { "kustomize.toolkit.fluxcd.io/name": "apps" } })).as_deref(), Some("Flux Kustomization apps"));
        let id = "shop:apps/Deployment:shop/web";
        assert_eq!(who(json!({ "annotations": { "argocd.argoproj.io/tracking-id": id } })).as_deref(), Some("Argo CD application shop"));
        let mark = |ledger: &str| json!({ "annotations": { "trued.dev/ledger": ledger, "trued.dev/stack": "prod/web@c" } });
        assert_eq!(who(mark("trued/2")).as_deref(), Some("record trued/2, stack prod/web@c"));
        assert_eq!(who(mark("trued/1")), None);
    }
}
