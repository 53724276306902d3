//! A live object as people would have written it: without what the server, its controllers and other tools put into it.
//! What is left out is a default by the tables below and stands there with just that value, so that the object is made the
//! same from the file. Pure.

use serde_json::{Map, Value, json};
use trued_doors::{Answer, Found, Sourced};
use trued_model::{Code, Refusal, Shape};

use crate::address::Spot;
use crate::object::{at, text};

/// Writes an object as a file: cleaned, and as a second try with its defaults.
pub(crate) fn sourced(found: &Found<'_>) -> Answer<Vec<Sourced>> {
    let no = |why: String| Refusal::new(Code::Invalid, format!("write {} into a source: {why}", found.address));
    let spot = Spot::read(found.address).ok_or_else(|| no("it is no address of an object".to_owned()))?;
    let mut object: Value = serde_json::from_slice(found.bytes).map_err(|error| no(error.to_string()))?;
    without_others(&mut object);
    let inside = spot.namespace.as_deref().is_none_or(|namespace| namespace == found.into);
    if inside && let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("namespace");
    }
    let folder = spot.namespace.as_deref().filter(|_| !inside).map(|namespace| format!("{namespace}/")).unwrap_or_default();
    let path = format!("{folder}{}-{}.yaml", spot.kind.kind.to_ascii_lowercase(), plain(&spot.name));
    let write = |object: &Value| Sourced {
        path: path.clone(),
        shape: Shape::File { executable: false },
        bytes: trued_yaml::write(object).into_bytes(),
    };
    let whole = write(&object);
    without_defaults(&mut object);
    let clean = write(&object);
    Ok(if clean == whole { vec![whole] } else { vec![clean, whole] })
}

fn plain(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '.') { c } else { '-' }).collect()
}

/// Annotations and labels that servers, controllers and other tools write.
const OTHERS: [&str; 13] = [
    "argocd.argoproj.io/tracking-id",
    "deployment.kubernetes.io/revision",
    "deprecated.daemonset.template.generation",
    "helm.toolkit.fluxcd.io/name",
    "helm.toolkit.fluxcd.io/namespace",
    "kubernetes.io/metadata.name",
    "kustomize.toolkit.fluxcd.io/name",
    "kustomize.toolkit.fluxcd.io/namespace",
    "meta.helm.sh/release-name",
    "meta.helm.sh/release-namespace",
    "volume.beta.kubernetes.io/storage-provisioner",
    "volume.kubernetes.io/selected-node",
    "volume.kubernetes.io/storage-provisioner",
];

/// Leaves out what others wrote: their metadata, what was allotted, what was generated.
fn without_others(object: &mut Value) {
    let bound = "pv.kubernetes.io/bound-by-controller";
    let by_controller = at(object, &["metadata", "annotations", bound]).is_some();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        ["finalizers", "ownerReferences", "generateName"].iter().for_each(|key| drop(metadata.remove(*key)));
        for key in ["annotations", "labels"] {
            let Some(entries) = metadata.get_mut(key).and_then(Value::as_object_mut) else { continue };
            OTHERS.iter().chain(&[bound, "pv.kubernetes.io/bind-completed"]).for_each(|known| drop(entries.remove(*known)));
            if entries.get("app.kubernetes.io/managed-by") == Some(&json!("Helm")) {
                entries.remove("app.kubernetes.io/managed-by");
            }
            if entries.is_empty() {
                metadata.remove(key);
            }
        }
    }
    let kind = text(object, &["kind"]).unwrap_or_default().to_owned();
    match kind.as_str() {
        "Namespace" => remove(object, &["spec"]),
        "PersistentVolumeClaim" if by_controller => remove(object, &["spec", "volumeName"]),
        "Service" => {
            if at(object, &["spec", "clusterIP"]) != Some(&json!("None")) {
                ["clusterIP", "clusterIPs"].iter().for_each(|key| remove(object, &["spec", key]));
            }
            if at(object, &["spec", "ipFamilyPolicy"]) == Some(&json!("SingleStack")) {
                ["ipFamilies", "ipFamilyPolicy"].iter().for_each(|key| remove(object, &["spec", key]));
            }
            remove(object, &["spec", "healthCheckNodePort"]);
        }
        "Job" => {
            const GENERATED: [&str; 4] =
                ["batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name", "controller-uid", "job-name"];
            if at(object, &["spec", "manualSelector"]) != Some(&json!(true)) {
                remove(object, &["spec", "selector"]);
                for place in [&["metadata", "labels"][..], &["spec", "template", "metadata", "labels"]] {
                    GENERATED.iter().for_each(|key| remove(object, &[place, &[*key]].concat()));
                }
            }
        }
        _ => {}
    }
}

fn remove(object: &mut Value, path: &[&str]) {
    let Some((last, folders)) = path.split_last() else { return };
    let inner = folders.iter().try_fold(object, |value, key| value.get_mut(*key));
    if let Some(entries) = inner.and_then(Value::as_object_mut) {
        entries.remove(*last);
    }
}

/// Leaves out every default that stands in the tables.
fn without_defaults(object: &mut Value) {
    let kind = text(object, &["kind"]).unwrap_or_default().to_owned();
    for (pods, path) in PODS {
        if pods.split(' ').any(|one| one == kind)
            && let Some(pod) = path.iter().try_fold(&mut *object, |value, key| value.get_mut(*key))
        {
            pod_defaults(pod);
        }
    }
    for (kinds, path, default) in DEFAULTS {
        if kinds.split(' ').any(|one| one == kind) {
            drop_default(object, &path.split('.').collect::<Vec<_>>(), default);
        }
    }
    if kind == "Service" {
        let ports = object.pointer_mut("/spec/ports").and_then(Value::as_array_mut);
        for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
            if port.get("targetPort").is_some() && port.get("targetPort") == port.get("port") {
                port.remove("targetPort");
            }
        }
    }
    if kind == "CustomResourceDefinition" {
        definition_names(object);
    }
}

fn definition_names(object: &mut Value) {
    let Some(names) = object.pointer_mut("/spec/names").and_then(Value::as_object_mut) else { return };
    let Some(kind) = names.get("kind").and_then(Value::as_str).map(str::to_owned) else { return };
    for (key, default) in [("listKind", format!("{kind}List")), ("singular", kind.to_lowercase())] {
        if names.get(key).and_then(Value::as_str) == Some(default.as_str()) {
            names.remove(key);
        }
    }
}

/// Where kinds have a pod's spec.
const PODS: &[(&str, &[&str])] = &[
    ("Pod", &["spec"]),
    ("Deployment DaemonSet StatefulSet ReplicaSet ReplicationController Job", &["spec", "template", "spec"]),
    ("CronJob", &["spec", "jobTemplate", "spec", "template", "spec"]),
];

/// Kinds, path (`*` is each item of a list), and the default as JSON: as the API reference of Kubernetes has them.
const DEFAULTS: &[(&str, &str, &str)] = &[
    ("Deployment", "spec.progressDeadlineSeconds", "600"),
    ("Deployment StatefulSet DaemonSet", "spec.revisionHistoryLimit", "10"),
    ("Deployment", "spec.strategy", r#"{"rollingUpdate":{"maxSurge":"25%","maxUnavailable":"25%"},"type":"RollingUpdate"}"#),
    ("StatefulSet", "spec.podManagementPolicy", r#""OrderedReady""#),
    ("StatefulSet", "spec.updateStrategy", r#"{"rollingUpdate":{"partition":0},"type":"RollingUpdate"}"#),
    ("StatefulSet", "spec.persistentVolumeClaimRetentionPolicy", r#"{"whenDeleted":"Retain","whenScaled":"Retain"}"#),
    ("StatefulSet", "spec.volumeClaimTemplates.*.spec.volumeMode", r#""Filesystem""#),
    ("StatefulSet", "spec.volumeClaimTemplates.*.status", r#"{"phase":"Pending"}"#),
    ("DaemonSet", "spec.updateStrategy", r#"{"rollingUpdate":{"maxSurge":0,"maxUnavailable":1},"type":"RollingUpdate"}"#),
    ("CronJob", "spec.concurrencyPolicy", r#""Allow""#),
    ("CronJob", "spec.failedJobsHistoryLimit", "1"),
    ("CronJob", "spec.successfulJobsHistoryLimit", "3"),
    ("CronJob", "spec.suspend", "false"),
    ("Job", "spec.backoffLimit", "6"),
    ("Job", "spec.completionMode", r#""NonIndexed""#),
    ("Job", "spec.manualSelector", "false"),
    ("Job", "spec.podReplacementPolicy", r#""TerminatingOrFailed""#),
    ("Job", "spec.suspend", "false"),
    ("Service", "spec.allocateLoadBalancerNodePorts", "true"),
    ("Service", "spec.externalTrafficPolicy", r#""Cluster""#),
    ("Service", "spec.internalTrafficPolicy", r#""Cluster""#),
    ("Service", "spec.ports.*.protocol", r#""TCP""#),
    ("Service", "spec.sessionAffinity", r#""None""#),
    ("Service", "spec.type", r#""ClusterIP""#),
    ("PersistentVolumeClaim", "spec.volumeMode", r#""Filesystem""#),
    ("CustomResourceDefinition", "spec.conversion", r#"{"strategy":"None"}"#),
];

/// The same within a pod's spec.
const POD_DEFAULTS: &[(&str, &str)] = &[
    ("dnsPolicy", r#""ClusterFirst""#),
    ("enableServiceLinks", "true"),
    ("restartPolicy", r#""Always""#),
    ("schedulerName", r#""default-scheduler""#),
    ("securityContext", "{}"),
    ("terminationGracePeriodSeconds", "30"),
    ("volumes.*.configMap.defaultMode", "420"),
    ("volumes.*.downwardAPI.defaultMode", "420"),
    ("volumes.*.hostPath.type", r#""""#),
    ("volumes.*.projected.defaultMode", "420"),
    ("volumes.*.secret.defaultMode", "420"),
];

/// The same within a container.
const CONTAINER_DEFAULTS: &[(&str, &str)] = &[
    ("env.*.valueFrom.fieldRef.apiVersion", r#""v1""#),
    ("ports.*.protocol", r#""TCP""#),
    ("resources", "{}"),
    ("terminationMessagePath", r#""/dev/termination-log""#),
    ("terminationMessagePolicy", r#""File""#),
];

const PROBE_DEFAULTS: &[(&str, &str)] = &[
    ("failureThreshold", "3"),
    ("httpGet.scheme", r#""HTTP""#),
    ("periodSeconds", "10"),
    ("successThreshold", "1"),
    ("timeoutSeconds", "1"),
];

fn pod_defaults(pod: &mut Value) {
    POD_DEFAULTS.iter().for_each(|(path, default)| drop_default(pod, &path.split('.').collect::<Vec<_>>(), default));
    if let Some(pod) = pod.as_object_mut()
        && pod.get("serviceAccount") == pod.get("serviceAccountName")
    {
        // An old name of the same.
        pod.remove("serviceAccount");
    }
    for list in ["containers", "initContainers"] {
        for container in pod.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            CONTAINER_DEFAULTS.iter().for_each(|(path, default)| drop_default(container, &path.split('.').collect::<Vec<_>>(), default));
            for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
                if let Some(probe) = container.get_mut(probe) {
                    PROBE_DEFAULTS.iter().for_each(|(path, default)| drop_default(probe, &path.split('.').collect::<Vec<_>>(), default));
                }
            }
            if let Some(container) = container.as_object_mut() {
                pull_policy(container);
            }
        }
    }
}

/// An image without a tag, or with `latest`, is pulled always, any other where it is not there.
fn pull_policy(container: &mut Map<String, Value>) {
    let Some(image) = container.get("image").and_then(Value::as_str) else { return };
    let tag = image.rsplit('/').next().and_then(|name| name.split_once(':')).map(|(_, tag)| tag);
    let newest = !image.contains('@') && tag.is_none_or(|tag| tag == "latest");
    if container.get("imagePullPolicy").and_then(Value::as_str) == Some(if newest { "Always" } else { "IfNotPresent" }) {
        container.remove("imagePullPolicy");
    }
}

/// Removes the value at a path where it is just the default.
fn drop_default(value: &mut Value, path: &[&str], default: &str) {
    match (path, value) {
        (["*", rest @ ..], Value::Array(items)) => items.iter_mut().for_each(|item| drop_default(item, rest, default)),
        ([key], Value::Object(entries)) => {
            let is_default = serde_json::from_str::<Value>(default).is_ok_and(|default| entries.get(*key) == Some(&default));
            if is_default {
                entries.remove(*key);
            }
        }
        ([key, rest @ ..], Value::Object(entries)) => {
            if let Some(inner) = entries.get_mut(*key) {
                drop_default(inner, rest, default);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use trued_model::{Address, Fingerprint};

    use super::*;

    fn check(address: &str, live: &Value, path: &str, expected: &Value) {
        let bytes = serde_json::to_vec(live).expect("JSON");
        let (address, fingerprint) = (Address::new(address), Fingerprint::new("1:object:x"));
        let found = Found { address: &address, fingerprint: &fingerprint, bytes: &bytes, into: "shop" };
        let written = sourced(&found).expect("written").remove(0);
        let text = String::from_utf8(written.bytes).expect("text");
        let read = trued_yaml::read("written", &text, &trued_yaml::Budget::default()).expect("YAML").to_json();
        assert_eq!((written.path.as_str(), &read), (path, expected), "{text}");
    }

    #[test]
    fn what_others_wrote_and_what_is_default_is_left_out_and_the_rest_stays() {
        let live = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": { "name": "web", "namespace": "shop", "finalizers": ["x"], "labels": { "app.kubernetes.io/managed-by": "Helm" } },
            "spec": { "clusterIP": "10.0.0.7", "clusterIPs": ["10.0.0.7"], "internalTrafficPolicy": "Cluster", "ipFamilies": ["IPv4"],
                "ipFamilyPolicy": "SingleStack", "sessionAffinity": "ClientIP", "type": "ClusterIP",
                "ports": [{ "port": 80, "protocol": "TCP", "targetPort": 80 }, { "port": 53, "protocol": "UDP", "targetPort": "dns" }] },
        });
        let clean = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": "web" },
            "spec": { "sessionAffinity": "ClientIP", "ports": [{ "port": 80 }, { "port": 53, "protocol": "UDP", "targetPort": "dns" }] },
        });
        check("core/Service/shop/web", &live, "service-web.yaml", &clean);
        let headless = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "db", "namespace": "other" },
            "spec": { "clusterIP": "None", "clusterIPs": ["None"] } });
        check("core/Service/other/db", &headless, "other/service-db.yaml", &headless);
    }

    #[test]
    fn an_image_is_pulled_as_its_tag_says_where_nothing_else_is_written() {
        for (image, policy, kept) in [
            ("web:1", "IfNotPresent", false),
            ("web:1", "Always", true),
            ("web", "Always", false),
            ("registry:5000/web", "Always", false),
            ("web:latest", "IfNotPresent", true),
            ("web@sha256:aa", "IfNotPresent", false),
        ] {
            let mut container = json!({ "image": image, "imagePullPolicy": policy });
            pull_policy(container.as_object_mut().expect("an object"));
            assert_eq!(container.get("imagePullPolicy").is_some(), kept, "{image} {policy}");
        }
    }
}
