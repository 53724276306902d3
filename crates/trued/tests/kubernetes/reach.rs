//! How far it reaches in a cluster: what is managed, what is not, what cannot be seen.

use serde_json::{Value, json};

use crate::cluster::{Ground, until};

const WEB: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata: { name: web }
spec:
  replicas: 0
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec: { containers: [{ name: web, image: \"web:1\" }] }
---
apiVersion: v1
kind: ConfigMap
metadata: { name: one }
---
apiVersion: v1
kind: ConfigMap
metadata: { name: wanted }
data: { colour: red }
";

/// What coverage says of this test's namespace: addresses by where they stand, with what is said of each.
fn told(ground: &Ground, coverage: &Value, place: &str, word: &str) -> Vec<String> {
    let inside = format!("/{}/", ground.namespace);
    let list = coverage["targets"][0][place].as_array().expect("a list");
    let ours = list.iter().filter(|one| one["address"].as_str().expect("an address").contains(&inside));
    let text =
        |one: &Value| format!("{}: {}", one["address"].as_str().expect("an address").replace(&inside, "/"), one[word]).replace('"', "");
    ours.map(text).collect()
}

#[test]
fn each_object_of_a_cluster_is_managed_unmanaged_or_ignored_with_a_reason() {
    let ground = Ground::new("coverage");
    let config = |name: &str, more: Value| {
        let mut object = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name, "namespace": ground.namespace }, "data": { "a": "1" } });
        object["metadata"].as_object_mut().expect("metadata").extend(more.as_object().expect("an object").clone());
        ground.apply("kubectl-client", &object);
    };
    config("loose", json!({}));
    config("kube-root-ca.crt", json!({}));
    config("chart", json!({ "annotations": { "meta.helm.sh/release-name": "shop" } }));
    config("vault-1", json!({}));
    config("wanted", json!({}));
    ground.web(WEB);
    let text = std::fs::read_to_string(ground.path("trued.yaml")).expect("read");
    let ignore = format!(", ignore: [\"core/ConfigMap/{}/vault-*\"] }}\nstacks:", ground.namespace);
    let ignoring = text.replace(" }\nstacks:", &ignore);
    ground.write("trued.yaml", &ignoring);
    // The ConfigMap that is there already and differs is held.
    ground.run(&["apply"], 3);
    let replicas = format!("/apis/apps/v1/namespaces/{}/replicasets", ground.namespace);
    until("the controller made a ReplicaSet", || ground.get(&replicas).is_some_and(|list| list["items"][0].is_object()));
    let coverage = ground.json(&["coverage", "cluster"]);
    assert_eq!(told(&ground, &coverage, "managed", "stack"), ["apps/Deployment/web: default/web", "core/ConfigMap/one: default/web"]);
    assert_eq!(
        told(&ground, &coverage, "unmanaged", "by"),
        ["core/ConfigMap/chart: kubectl-client", "core/ConfigMap/loose: kubectl-client", "core/ConfigMap/wanted: kubectl-client",]
    );
    assert_eq!(told(&ground, &coverage, "unmanaged", "managed_by")[0], "core/ConfigMap/chart: Helm release shop");
    assert_eq!(told(&ground, &coverage, "unmanaged", "wanted_by")[2], "core/ConfigMap/wanted: [default/web]");
    let ignored = told(&ground, &coverage, "ignored", "why").join("\n");
    let has = |words: &str| assert!(ignored.contains(words), "{words}: {ignored}");
    has("core/ConfigMap/kube-root-ca.crt: kept by the cluster itself");
    has("core/ConfigMap/vault-1: the operator ignores core/ConfigMap/");
    has(": made by another object");
    assert!(ignored.contains("apps/ReplicaSet/web-"), "{ignored}");
    ground.delete(&ground.at("api/v1", "configmaps", "one"));
    let coverage = ground.json(&["coverage"]);
    let missing = told(&ground, &coverage, "missing", "stack");
    assert_eq!((missing, ground.counted("ledger_rows")), (vec!["core/ConfigMap/one: default/web".to_owned()], 0));
}

#[test]
fn fault_33_kinds_that_may_not_be_listed_are_denied_and_never_counted_as_nothing() {
    let ground = Ground::new("f33denied");
    ground.web("apiVersion: v1\nkind: ConfigMap\nmetadata: { name: one }\n");
    ground.run(&["apply"], 0);
    let namespace = &ground.namespace;
    let rbac = |kind: &str, more: Value| {
        let mut object =
            json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": { "name": "little", "namespace": namespace } });
        object.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        ground.apply("test", &object);
    };
    rbac("Role", json!({ "rules": [{ "apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"] }] }));
    let subject = json!([{ "kind": "ServiceAccount", "name": "little", "namespace": namespace }]);
    rbac(
        "RoleBinding",
        json!({ "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "little" }, "subjects": subject }),
    );
    ground.apply(
        "stranger",
        &json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "loose", "namespace": namespace }, "data": { "a": "1" } }),
    );
    ground.apply("stranger", &json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "hidden", "namespace": namespace } }));
    let text = std::fs::read_to_string(ground.path("trued.yaml")).expect("read");
    ground.write("trued.yaml", &text.replace(&format!("{namespace}/trued"), &format!("{namespace}/little")));
    until("the account has its rights", || !told(&ground, &ground.json(&["coverage"]), "unmanaged", "by").is_empty());
    let coverage = ground.json(&["coverage"]);
    let target = &coverage["targets"][0];
    assert_eq!(target["extent"], "partial");
    assert_eq!(told(&ground, &coverage, "managed", "stack"), ["core/ConfigMap/one: default/web"]);
    assert_eq!(told(&ground, &coverage, "unmanaged", "by"), ["core/ConfigMap/loose: stranger"]);
    let secrets = target["unseen"].as_array().expect("unseen").iter().find(|one| one["place"] == "core/Secret").expect("Secrets");
    assert_eq!(secrets["code"], "denied", "{secrets}");
    assert_eq!(target["missing"], json!([]), "what may not be seen is not missing");
    let said = ground.run(&["coverage"], 0);
    assert!(
        said.contains("of what can be seen")
            && said.contains("denied     ")
            && said.contains(" core/Secret, ")
            && said.contains("is forbidden"),
        "{said}"
    );
}

/// As people and controllers leave objects behind, made by a client that knows nothing of server-side apply.
fn found(ground: &Ground) -> Vec<(&'static str, &'static str, Value)> {
    let named = |name: &str| json!({ "name": name, "namespace": ground.namespace });
    let labels = json!({ "app": "web" });
    let container = json!({ "name": "web", "image": "web:1", "ports": [{ "containerPort": 80 }], "resources": { "requests": { "cpu": "1000m" } },
        "livenessProbe": { "httpGet": { "path": "/", "port": 80 } }, "volumeMounts": [{ "name": "v", "mountPath": "/v" }] });
    let pod =
        json!({ "serviceAccountName": "web", "containers": [container], "volumes": [{ "name": "v", "configMap": { "name": "words" } }] });
    let deployment =
        json!({ "replicas": 0, "selector": { "matchLabels": labels }, "template": { "metadata": { "labels": labels }, "spec": pod } });
    let backend = json!({ "service": { "name": "web", "port": { "number": 80 } } });
    let claim = json!({ "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } });
    let group = format!("/apis/{}.example.org/v1", ground.namespace);
    let group = Box::leak(group.into_boxed_str());
    vec![
        ("/api/v1", "serviceaccounts", json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": named("web") })),
        (
            "/api/v1",
            "configmaps",
            json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": named("words"), "data": { "on": "yes", "text": "a\nb\n" }, "binaryData": { "raw": "AAEC" } }),
        ),
        (
            "/api/v1",
            "services",
            json!({ "apiVersion": "v1", "kind": "Service", "metadata": named("web"), "spec": { "selector": labels, "ports": [{ "port": 80 }] } }),
        ),
        (
            "/apis/apps/v1",
            "deployments",
            json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": named("web"), "spec": deployment }),
        ),
        (
            "/apis/networking.k8s.io/v1",
            "ingresses",
            json!({ "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": named("web"), "spec": { "defaultBackend": backend } }),
        ),
        (
            "/api/v1",
            "persistentvolumeclaims",
            json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": named("disk"), "spec": claim }),
        ),
        (
            group,
            "widgets",
            json!({ "apiVersion": group.trim_start_matches("/apis/"), "kind": "Widget", "metadata": named("one"), "spec": { "size": 3 } }),
        ),
    ]
}

fn definition(ground: &Ground) -> Value {
    let group = format!("{}.example.org", ground.namespace);
    let properties = json!({ "spec": { "type": "object", "properties": { "size": { "type": "integer" }, "mode": { "type": "string", "default": "fast" } } } });
    json!({ "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": { "name": format!("widgets.{group}") },
        "spec": { "group": group, "scope": "Namespaced", "names": { "kind": "Widget", "plural": "widgets" },
            "versions": [{ "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema": { "type": "object", "properties": properties } } }] } })
}

#[test]
fn imported_objects_are_adopted_without_a_write_to_what_they_are_and_are_made_the_same_anew() {
    let ground = Ground::new("import");
    let create = |collection: &str, object: &Value| ground.request("POST", collection, "application/json", Some(object)).expect("created");
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let definition = definition(&ground);
    create(definitions, &definition);
    let name = definition["metadata"]["name"].as_str().expect("a name").to_owned();
    let defined = format!("{definitions}/{name}");
    until("the kind is served", || {
        let live = ground.get(&defined).expect("the definition");
        let conditions = live["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|one| one["type"] == "Established" && one["status"] == "True")
    });
    let objects = found(&ground);
    let collection = |root: &str, plural: &str| format!("{root}/namespaces/{}/{plural}", ground.namespace);
    for (root, plural, object) in &objects {
        let path = collection(root, plural);
        until("it can be made", || ground.request("POST", &path, "application/json", Some(object)).is_some());
    }
    create(
        &collection("/api/v1", "secrets"),
        &json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "password" }, "stringData": { "word": "hunter2" } }),
    );
    let path_of = |(root, plural, object): &(&str, &str, Value)| {
        format!("{}/{}", collection(root, plural), object["metadata"]["name"].as_str().expect("a name"))
    };
    let live = || -> Vec<Value> {
        let of = |one| {
            let mut live = ground.get(&path_of(one)).expect("it");
            live["metadata"] = json!({ "uid": live["metadata"]["uid"] });
            live["status"] = Value::Null;
            live
        };
        objects.iter().map(of).collect()
    };
    let before = live();
    ground.web("");
    let said = ground.run(&["import", "--all"], 0);
    assert!(said.contains("core/Secret") && said.contains("it holds secrets"), "{said}");
    ground.run(&["import", &format!("apiextensions.k8s.io/CustomResourceDefinition/-/{name}")], 0);
    let written: Vec<String> = std::fs::read_dir(ground.path("web"))
        .expect("read")
        .flatten()
        .map(|file| file.file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(written.len(), 9, "seven objects, a definition, and what was there: {written:?}");
    let text = |name: &str| std::fs::read_to_string(ground.path("web").join(name)).expect("written");
    let service = "apiVersion: v1\nkind: Service\nmetadata:\n  name: web\nspec:\n  ports:\n  - port: 80\n  selector:\n    app: web\n";
    assert_eq!(text("service-web.yaml"), service);
    for noise in
        ["uid", "managedFields", "status", "terminationMessagePath", "dnsPolicy", "imagePullPolicy", "creationTimestamp", "strategy"]
    {
        assert!(!text("deployment-web.yaml").contains(noise), "{noise}: {}", text("deployment-web.yaml"));
    }
    let plan = ground.plan();
    assert!(plan.len() == 8 && plan.iter().all(|line| line.starts_with("adopt ")), "{plan:?}");
    ground.run(&["apply", "--no-wait"], 0);
    assert_eq!(ground.plan(), Vec::<String>::new());
    assert_eq!(live(), before, "the same things, as they were");
    assert_eq!(ground.recorded("hunter2"), None);
    assert!(!text("configmap-words.yaml").contains("namespace"), "{}", text("configmap-words.yaml"));
    // From the files alone they are made as they were.
    for one in &objects {
        ground.delete(&path_of(one));
        if one.1 == "persistentvolumeclaims" {
            // No controller takes the finalizer away here.
            ground.edit(&path_of(one), "test", &json!({ "metadata": { "finalizers": null } }));
        }
        until("it is gone", || ground.get(&path_of(one)).is_none());
    }
    ground.run(&["apply", "--no-wait"], 0);
    let plain = |live: Vec<Value>| -> Vec<Value> {
        let strip = |mut one: Value| {
            one["metadata"] = Value::Null;
            ["clusterIP", "clusterIPs"].iter().for_each(|key| drop(one["spec"].as_object_mut().map(|spec| spec.remove(*key))));
            one
        };
        live.into_iter().map(strip).collect()
    };
    assert_eq!(plain(live()), plain(before));
    ground.delete(&defined);
}
