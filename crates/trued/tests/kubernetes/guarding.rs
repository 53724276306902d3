//! What is removed, what is never removed without a yes, and what is not known.

use serde_json::json;

use crate::cluster::Ground;

fn config(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: {name} }}\ndata: {{ value: \"{value}\" }}\n---\n")
}

#[test]
fn what_is_no_longer_desired_goes_and_what_is_not_ours_stays() {
    let ground = Ground::new("gone");
    ground.web(&(config("one", "1") + &config("two", "2")));
    ground.run(&["apply"], 0);
    ground.apply(
        "stranger",
        &json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "theirs", "namespace": ground.namespace } }),
    );
    ground.write("web/all.yaml", &config("one", "1"));
    assert_eq!(ground.plan(), ["delete core/ConfigMap/NAMESPACE/two"]);
    ground.run(&["apply"], 0);
    let there = |name: &str| ground.get(&ground.at("api/v1", "configmaps", name)).is_some();
    assert_eq!((there("one"), there("two"), there("theirs")), (true, false, true));
    assert_eq!(ground.plan(), Vec::<String>::new());
}

#[test]
fn fault_40_a_namespace_goes_only_with_a_yes_to_just_that() {
    let ground = Ground::without_namespace("f40");
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: { name: NAMESPACE }\n---\n";
    ground.web(&(namespace.to_owned() + &config("one", "1")));
    ground.run(&["apply"], 0);
    ground.write("web/all.yaml", &config("one", "1"));
    assert_eq!(ground.plan(), ["held delete core/Namespace/-/NAMESPACE"]);
    let said = ground.run(&["apply"], 3);
    assert!(said.contains("everything in a Namespace goes with it"), "{said}");
    assert!(
        ground.get(&format!("/api/v1/namespaces/{}", ground.namespace)).expect("the Namespace")["metadata"]["deletionTimestamp"].is_null()
    );
}

#[test]
fn fault_40_a_claim_on_a_volume_and_a_definition_of_a_kind_go_only_with_a_yes() {
    let ground = Ground::new("f40-yes");
    let group = format!("{}.example.org", ground.namespace);
    let claim = "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: { name: data }\nspec: { accessModes: [ReadWriteOnce], resources: { requests: { storage: 1Gi } } }\n---\n";
    let definition = format!(
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{ name: \"things.{group}\" }}\nspec: {{ group: \"{group}\", scope: Namespaced, names: {{ plural: things, kind: Thing }}, versions: [{{ name: v1, served: true, storage: true, schema: {{ openAPIV3Schema: {{ type: object }} }} }}] }}\n---\n"
    );
    ground.web(&(config("one", "1") + claim + &definition));
    ground.run(&["apply", "--no-wait"], 0);
    ground.write("web/all.yaml", &config("one", "1"));
    let planned = ground.plan();
    assert_eq!(planned.len(), 2, "{planned:?}");
    assert!(planned.iter().all(|line| line.starts_with("held delete ")), "{planned:?}");
    ground.run(&["apply"], 3);
    let data = ground.at("api/v1", "persistentvolumeclaims", "data");
    let things = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/things.{group}");
    let stands = |path: &str| ground.get(path).is_some_and(|object| object["metadata"]["deletionTimestamp"].is_null());
    assert_eq!((stands(&data), stands(&things)), (true, true));
    let shown = ground.json(&["plan"]);
    let held: Vec<&str> = shown["plans"][0]["held"].as_array().expect("held").iter().filter_map(|one| one["digest"].as_str()).collect();
    assert!(!held.is_empty(), "{shown}");
    for digest in held {
        ground.run(&["approve", digest, "--reason", "it is empty"], 0);
    }
    // A controller takes the claim's finalizer away in its own time.
    crate::cluster::until("both are gone", || {
        ground.command(&["apply"]).output().expect("started");
        !stands(&data) && !stands(&things)
    });
}

#[test]
fn t05_an_emptied_folder_is_held_and_nothing_is_removed() {
    let ground = Ground::new("t05");
    ground.web(&(config("one", "1") + &config("two", "2")));
    ground.run(&["apply"], 0);
    std::fs::remove_file(ground.path("web/all.yaml")).expect("removed");
    assert_eq!(ground.plan(), ["held delete core/ConfigMap/NAMESPACE/one", "held delete core/ConfigMap/NAMESPACE/two"]);
    ground.run(&["apply"], 3);
    assert!(ground.get(&ground.at("api/v1", "configmaps", "one")).is_some());
}

#[test]
fn t06_fault_37_an_object_that_moves_between_stacks_and_a_renamed_stack_keep_it() {
    let ground = Ground::new("t06");
    ground.configure(&[("left", ""), ("right", "")]);
    ground.write("left/all.yaml", &(config("stays", "1") + &config("moves", "1")));
    ground.write("right/all.yaml", &config("other", "1"));
    ground.run(&["apply"], 0);
    let moves = ground.at("api/v1", "configmaps", "moves");
    let uid = ground.uid(&moves);
    for (left, right) in [
        (config("stays", "1"), config("other", "1") + &config("moves", "1")),
        (config("stays", "1") + &config("moves", "1"), config("other", "1")),
    ] {
        ground.write("left/all.yaml", &left);
        ground.write("right/all.yaml", &right);
        ground.run(&["apply"], 0);
        ground.run(&["apply"], 0);
        assert_eq!(ground.plan(), Vec::<String>::new());
        assert_eq!(ground.uid(&moves), uid);
    }
    let owner = ground.get(&moves).expect("it")["metadata"]["annotations"]["trued.dev/stack"].clone();
    assert!(owner.as_str().is_some_and(|owner| owner.contains("left")), "{owner}");
    std::fs::rename(ground.path("left"), ground.path("renamed")).expect("renamed");
    ground.configure(&[("renamed", "previously: [left]"), ("right", "")]);
    ground.run(&["apply"], 0);
    assert_eq!(ground.uid(&moves), uid);
    assert_eq!(ground.plan(), Vec::<String>::new());
}

#[test]
fn fault_38_of_two_stacks_that_claim_an_object_one_is_refused_and_the_other_is_named() {
    let ground = Ground::new("f38");
    ground.configure(&[("first", ""), ("second", "")]);
    ground.write("first/all.yaml", &config("shared", "1"));
    ground.write("second/all.yaml", &config("own", "1"));
    ground.run(&["apply"], 0);
    ground.write("second/all.yaml", &(config("own", "1") + &config("shared", "2")));
    let said = ground.run(&["apply"], 3);
    assert!(said.contains("belongs to") && said.contains("first"), "{said}");
    assert_eq!(ground.get(&ground.at("api/v1", "configmaps", "shared")).expect("it")["data"]["value"], "1");
}

#[test]
fn what_may_not_be_seen_is_not_absent_and_a_cluster_that_is_away_is_not_empty() {
    let ground = Ground::new("denied");
    ground.web(&(config("one", "1") + &config("two", "2")));
    ground.run(&["apply"], 0);
    ground.write("web/all.yaml", &config("one", "1"));
    // The account lost its rights.
    ground.delete(&format!("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/{}", ground.namespace));
    crate::cluster::until("its rights are gone", || {
        let shown = ground.json(&["plan"]);
        !shown["plans"][0]["held"].as_array().is_some_and(Vec::is_empty)
    });
    assert_eq!(ground.plan(), ["held delete core/ConfigMap/NAMESPACE/two"], "what cannot be seen is not removed");
    let writes = ground.writes();
    ground.run(&["apply"], 3);
    assert_eq!(ground.writes(), writes);
    // Nobody listens there.
    let text = std::fs::read_to_string(std::env::var("TRUED_TEST_KUBECONFIG").expect("a kubeconfig")).expect("it");
    let server = text.lines().find_map(|line| line.trim().strip_prefix("server:")).expect("a server").trim().to_owned();
    std::fs::write(ground.path("away"), text.replace(&server, "https://127.0.0.1:1")).expect("written");
    let configured = std::fs::read_to_string(ground.path("trued.yaml")).expect("it");
    let from = std::env::var("TRUED_TEST_KUBECONFIG").expect("a kubeconfig");
    std::fs::write(ground.path("trued.yaml"), configured.replace(&from, "away")).expect("written");
    let said = ground.run(&["apply"], 1);
    assert!(said.contains("ask the cluster"), "{said}");
    assert!(ground.get(&ground.at("api/v1", "configmaps", "two")).is_some());
}

#[test]
fn fault_47_what_waits_for_a_finalizer_stays_ours_and_says_what_it_waits_for() {
    let ground = Ground::new("f47");
    ground.web(&(config("one", "1") + &config("two", "2")));
    ground.run(&["apply"], 0);
    let two = ground.at("api/v1", "configmaps", "two");
    ground.edit(&two, "storage", &json!({ "metadata": { "finalizers": ["example.org/wait"] } }));
    ground.write("web/all.yaml", &config("one", "1"));
    for _ in 0..2 {
        let said = ground.run(&["apply"], 1);
        assert!(said.contains("it is being deleted; it waits for example.org/wait"), "{said}");
    }
    let deletes = ground.requests().iter().filter(|request| request.starts_with("delete")).count();
    assert_eq!(deletes, 1, "it was asked for once");
    assert_eq!(ground.plan(), ["delete core/ConfigMap/NAMESPACE/two"], "it is in the inventory");
    ground.edit(&two, "storage", &json!({ "metadata": { "finalizers": null } }));
    assert!(ground.get(&two).is_none());
    ground.run(&["apply"], 0);
    assert_eq!(ground.plan(), Vec::<String>::new());
}

#[test]
fn fault_47_what_the_cluster_refuses_to_delete_stays_ours_and_goes_once_it_may() {
    let ground = Ground::new("f47-refused");
    ground.web(&(config("one", "1") + &config("two", "2")));
    ground.run(&["apply"], 0);
    let two = ground.at("api/v1", "configmaps", "two");
    let policy = format!("/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/{}", ground.namespace);
    let binding = format!("/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings/{}", ground.namespace);
    let here = json!({ "matchLabels": { "kubernetes.io/metadata.name": ground.namespace } });
    let spec = json!({
        "matchConstraints": { "namespaceSelector": here, "resourceRules": [{ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["DELETE"], "resources": ["configmaps"] }] },
        "validations": [{ "expression": "false", "message": "the auditors still need it" }],
    });
    let version = "admissionregistration.k8s.io/v1";
    let object = |kind: &str, spec: &serde_json::Value| json!({ "apiVersion": version, "kind": kind, "metadata": { "name": ground.namespace }, "spec": spec });
    let put = |path: &str, object: &serde_json::Value| {
        ground.request("PATCH", &format!("{path}?fieldManager=test"), "application/apply-patch+yaml", Some(object)).expect("applied")
    };
    put(&policy, &object("ValidatingAdmissionPolicy", &spec));
    put(&binding, &object("ValidatingAdmissionPolicyBinding", &json!({ "policyName": ground.namespace, "validationActions": ["Deny"] })));
    let rehearsal = json!({ "apiVersion": "v1", "kind": "DeleteOptions", "dryRun": ["All"] });
    crate::cluster::until("it is refused", || ground.status("DELETE", &two, &rehearsal) != 200);
    ground.write("web/all.yaml", &config("one", "1"));
    for _ in 0..2 {
        let said = ground.run(&["apply"], 1);
        assert!(said.contains("the auditors still need it"), "{said}");
        assert_eq!(ground.plan(), ["delete core/ConfigMap/NAMESPACE/two"], "it is still ours");
    }
    assert!(ground.get(&two).is_some());
    ground.delete(&binding);
    ground.delete(&policy);
    crate::cluster::until("it may go", || ground.status("DELETE", &two, &rehearsal) == 200);
    ground.run(&["apply"], 0);
    assert!(ground.get(&two).is_none());
    assert_eq!(ground.plan(), Vec::<String>::new());
}

#[test]
fn t10_a_stack_that_goes_after_its_account_went_is_reported_and_never_forgotten() {
    let ground = Ground::new("t10");
    ground.configure(&[("web", ""), ("other", "")]);
    ground.write("web/all.yaml", &config("one", "1"));
    ground.write("other/all.yaml", &config("two", "2"));
    ground.run(&["apply"], 0);
    ground.delete(&format!("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/{}", ground.namespace));
    crate::cluster::until("its rights are gone", || {
        ground.json(&["plan"]);
        ground.refused() > 0
    });
    ground.configure(&[("other", "")]);
    assert_eq!(ground.plan(), ["held delete core/ConfigMap/NAMESPACE/one"], "an orphan that cannot be seen");
    ground.run(&["apply"], 3);
    assert!(ground.get(&ground.at("api/v1", "configmaps", "one")).is_some());
    assert_eq!(ground.plan(), ["held delete core/ConfigMap/NAMESPACE/one"], "and still on record");
    // With its rights it can be seen again, and is asked about: it goes by a person's word alone.
    ground.give_rights();
    crate::cluster::until("it can be seen", || ground.json(&["plan"])["plans"].to_string().contains("orphan"));
    ground.run(&["apply"], 3);
    assert!(ground.get(&ground.at("api/v1", "configmaps", "one")).is_some());
}
