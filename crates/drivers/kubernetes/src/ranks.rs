//! In which order kinds are made, and which are never removed without being asked for. Tables only.

use trued_model::Address;

/// Kinds by when they are made: below 0 before, above 0 after everything else. Removed the other way round.
const RANKS: &[(i32, &[&str])] = &[
    (-90, &["core/Namespace/"]),
    (-80, &["apiextensions.k8s.io/CustomResourceDefinition/"]),
    (
        -70,
        &[
            "scheduling.k8s.io/PriorityClass/",
            "storage.k8s.io/StorageClass/",
            "node.k8s.io/RuntimeClass/",
            "networking.k8s.io/IngressClass/",
        ],
    ),
    (-60, &["core/ResourceQuota/", "core/LimitRange/", "policy/PodDisruptionBudget/", "networking.k8s.io/NetworkPolicy/"]),
    (-50, &["core/ServiceAccount/"]),
    (-40, &["core/Secret/", "core/ConfigMap/", "core/PersistentVolume/"]),
    (-35, &["core/PersistentVolumeClaim/"]),
    (-30, &["rbac.authorization.k8s.io/ClusterRole/", "rbac.authorization.k8s.io/Role/"]),
    (-25, &["rbac.authorization.k8s.io/ClusterRoleBinding/", "rbac.authorization.k8s.io/RoleBinding/"]),
    (-20, &["core/Service/"]),
    (-10, &["apps/", "batch/", "core/Pod/", "core/ReplicationController/"]),
    (-5, &["autoscaling/", "networking.k8s.io/Ingress/"]),
    (20, &["apiregistration.k8s.io/APIService/"]),
    (30, &["admissionregistration.k8s.io/"]),
];

/// Kinds with which goes what nobody can bring back.
const GUARDED: &[(&str, &str)] = &[
    ("core/Namespace/", "everything in a Namespace goes with it"),
    ("apiextensions.k8s.io/CustomResourceDefinition/", "all objects of a CustomResourceDefinition go with it"),
    ("core/PersistentVolumeClaim/", "what is stored may go with a PersistentVolumeClaim"),
    ("core/PersistentVolume/", "what is stored may go with a PersistentVolume"),
];

/// Kinds that may be removed without being asked for, and are not made anew so.
const STATEFUL: &[(&str, &str)] = &[("apps/StatefulSet/", "all that a StatefulSet runs stops, and what it stored may go with it")];

/// Ranks by how addresses begin, for facts.
pub(crate) fn ranks() -> Vec<(String, i32)> {
    table().map(|(prefix, rank)| (prefix.to_owned(), rank)).collect()
}

/// What is guarded and why, by how addresses begin, for facts.
pub(crate) fn guarded() -> Vec<(String, String)> {
    GUARDED.iter().map(|(prefix, why)| ((*prefix).to_owned(), format!("{why}; it is never removed without an approval"))).collect()
}

/// Why a kind is not made anew without being asked for; `None` where that costs nothing but the object.
pub(crate) fn stateful(address: &Address) -> Option<String> {
    let found = GUARDED.iter().chain(STATEFUL).find(|(prefix, _)| address.as_str().starts_with(prefix));
    found.map(|(_, why)| (*why).to_owned())
}

/// The rank of an address.
pub(crate) fn rank(address: &Address) -> i32 {
    address.rank(table())
}

fn table() -> impl Iterator<Item = (&'static str, i32)> {
    RANKS.iter().flat_map(|(rank, prefixes)| prefixes.iter().map(|prefix| (*prefix, *rank)))
}
