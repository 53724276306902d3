//! Kinds that another server behind the API server has (an APIService): while it is away they are unknown and everything else
//! goes on; what it does not support is said.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::cluster::{Ground, until};
use crate::secure::{Heard, Registered, Secure, Stream, say};

/// What a server of Widgets keeps, also while it is away.
struct Store {
    group: String,
    /// Whether it takes server-side apply.
    applies: bool,
    version: AtomicU64,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// By `namespace/name`.
    objects: BTreeMap<String, Value>,
    events: Vec<(u64, Value)>,
    requests: Vec<String>,
}

impl Store {
    fn new(group: String, applies: bool) -> Arc<Store> {
        Arc::new(Store { group, applies, version: AtomicU64::new(1000), kept: Mutex::default() })
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn names(&self) -> Vec<String> {
        self.kept().objects.values().map(|object| object["metadata"]["name"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// How often this was asked about the test's own namespace: when another one goes, its controller asks about everything in it.
    fn asked(&self, verb: &str) -> usize {
        let inside = format!("/namespaces/{}/", self.group.trim_end_matches(".example.org"));
        self.kept().requests.iter().filter(|request| request.starts_with(verb) && request.contains(&inside)).count()
    }

    fn happened(&self, kept: &mut Kept, what: &str, mut object: Value) -> Value {
        let version = self.version.fetch_add(1, Ordering::SeqCst) + 1;
        object["metadata"]["resourceVersion"] = version.to_string().into();
        kept.events.push((version, json!({ "type": what, "object": object })));
        object
    }

    /// All of them, or those of a namespace.
    fn list(&self, namespace: &str) -> Value {
        let inside = |object: &&Value| namespace.is_empty() || object["metadata"]["namespace"] == namespace;
        let items: Vec<Value> = self.kept().objects.values().filter(inside).cloned().collect();
        let version = self.version.load(Ordering::SeqCst).to_string();
        json!({ "kind": "WidgetList", "apiVersion": format!("{}/v1", self.group), "metadata": { "resourceVersion": version }, "items": items })
    }

    /// Server-side apply, as far as one owner needs it.
    fn apply(&self, key: &str, query: &str, mut wanted: Value) -> (u16, Value) {
        let mut kept = self.kept();
        let there = kept.objects.get(key).cloned();
        let precondition = wanted["metadata"]["resourceVersion"].as_str();
        if precondition.is_some_and(|wanted| there.as_ref().is_none_or(|there| there["metadata"]["resourceVersion"] != wanted)) {
            return (409, status(409, "Conflict", "the object has been modified"));
        }
        let of = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)).unwrap_or_default().to_owned();
        let owner = json!({ "manager": of("fieldManager="), "operation": "Apply", "apiVersion": wanted["apiVersion"],
            "time": "2026-01-01T00:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": owned(&wanted, true) });
        let metadata = wanted["metadata"].as_object_mut().expect("metadata");
        metadata.retain(|key, _| ["name", "namespace", "labels", "annotations"].contains(&key.as_str()));
        metadata.insert("managedFields".to_owned(), json!([owner]));
        metadata.insert("creationTimestamp".to_owned(), "2026-01-01T00:00:00Z".into());
        let uid = there.as_ref().map(|there| there["metadata"]["uid"].clone());
        let made = || format!("00000000-0000-4000-8000-{:012}", self.version.load(Ordering::SeqCst)).into();
        metadata.insert("uid".to_owned(), uid.unwrap_or_else(made));
        if query.contains("dryRun=All") {
            return (200, wanted);
        }
        let mut same = there.clone().unwrap_or_default();
        if let Some(metadata) = same["metadata"].as_object_mut() {
            metadata.remove("resourceVersion");
        }
        if same == wanted {
            return (200, there.unwrap_or_default());
        }
        let what = if there.is_some() { "MODIFIED" } else { "ADDED" };
        let object = self.happened(&mut kept, what, wanted);
        kept.objects.insert(key.to_owned(), object.clone());
        (if there.is_some() { 200 } else { 201 }, object)
    }

    fn delete(&self, key: &str) -> (u16, Value) {
        let mut kept = self.kept();
        match kept.objects.remove(key) {
            None => (404, status(404, "NotFound", "there is no such Widget")),
            Some(object) => {
                self.happened(&mut kept, "DELETED", object);
                (200, json!({ "kind": "Status", "apiVersion": "v1", "status": "Success" }))
            }
        }
    }
}

fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": message, "code": code })
}

/// The fields of an object as a set in the form FieldsV1.
fn owned(value: &Value, whole: bool) -> Value {
    let Some(fields) = value.as_object() else { return json!({}) };
    let left_out = |key: &str| whole && ["apiVersion", "kind", "status"].contains(&key);
    let mut set = Map::new();
    for (key, value) in fields.iter().filter(|(key, _)| !left_out(key)) {
        let inner = match (whole, key.as_str()) {
            (true, "metadata") => {
                let kept = |key: &&str| value.get(*key).is_some();
                let names = ["labels", "annotations"];
                names
                    .iter()
                    .filter(|key| kept(key))
                    .map(|key| (format!("f:{key}"), owned(&value[*key], false)))
                    .collect::<Map<_, _>>()
                    .into()
            }
            _ => owned(value, false),
        };
        set.insert(format!("f:{key}"), inner);
    }
    set.into()
}

/// A server of Widgets, until it is dropped.
struct Backend {
    store: Arc<Store>,
    server: Secure,
}

impl Backend {
    fn start(store: &Arc<Store>, port: u16) -> Backend {
        let kept = store.clone();
        let server = Secure::start(port, move |heard, over, stream| answer(&kept, heard, over, stream));
        Backend { store: store.clone(), server }
    }

    /// Registers it with the API server, and waits until that finds it available.
    fn register(&self, ground: &Ground) -> Registered {
        let (group, namespace) = (&self.store.group, &ground.namespace);
        ground.apply(
            "test",
            &json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "widgets", "namespace": namespace },
                "spec": { "type": "ExternalName", "externalName": "localhost", "ports": [{ "port": self.server.port }] } }),
        );
        ground.apply(
            "test",
            &json!({ "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": { "name": format!("v1.{group}") },
                "spec": { "group": group, "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 100, "insecureSkipTLSVerify": true,
                    "service": { "name": "widgets", "namespace": namespace, "port": self.server.port } } }),
        );
        let registered = Registered::at(ground, format!("/apis/apiregistration.k8s.io/v1/apiservices/v1.{group}"));
        until("it is available", || available(ground, group));
        until("its kinds are known", || discovered(ground, group));
        registered
    }
}

fn available(ground: &Ground, group: &str) -> bool {
    let service = ground.get(&format!("/apis/apiregistration.k8s.io/v1/apiservices/v1.{group}")).expect("it is there");
    let conditions = service["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.iter().any(|condition| condition["type"] == "Available" && condition["status"] == "True")
}

fn discovered(ground: &Ground, group: &str) -> bool {
    ground.get(&format!("/apis/{group}/v1")).is_some_and(|list| list["resources"][0]["kind"] == "Widget") && {
        // As the program asks, which is answered from what the API server remembers.
        let listed = ground.json(&["coverage", "cluster"])["targets"][0]["unseen"].to_string();
        !listed.contains(group)
    }
}

fn answer(store: &Store, heard: &Heard, over: &AtomicBool, stream: &mut Stream) -> std::io::Result<()> {
    let Heard { method, target, body } = heard;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    store.kept().requests.push(format!("{method} {target}"));
    let root = format!("/apis/{}/v1", store.group);
    let Some(inside) = path.strip_prefix(&root) else {
        return say(stream, 404, &status(404, "NotFound", "not served"));
    };
    let parts: Vec<&str> = inside.trim_matches('/').split('/').collect();
    let key = |namespace: &str, name: &str| format!("{namespace}/{name}");
    let (code, said) = match (method.as_str(), parts.as_slice()) {
        ("GET", [""]) => {
            let verbs = ["create", "delete", "get", "list", "patch", "update", "watch"];
            let widgets = json!({ "name": "widgets", "singularName": "widget", "namespaced": true, "kind": "Widget", "verbs": verbs });
            (
                200,
                json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": format!("{}/v1", store.group), "resources": [widgets] }),
            )
        }
        ("GET", ["widgets"] | ["namespaces", _, "widgets"]) if query.contains("watch=1") => return watch(store, over, stream, query),
        ("GET", ["widgets"]) => (200, store.list("")),
        ("GET", ["namespaces", namespace, "widgets"]) => (200, store.list(namespace)),
        ("GET", ["namespaces", namespace, "widgets", name]) => match store.kept().objects.get(&key(namespace, name)) {
            Some(object) => (200, object.clone()),
            None => (404, status(404, "NotFound", "there is no such Widget")),
        },
        ("PATCH", ["namespaces", namespace, "widgets", name]) if store.applies => {
            store.apply(&key(namespace, name), query, serde_json::from_slice(body).unwrap_or_default())
        }
        ("PATCH", _) => (415, status(415, "UnsupportedMediaType", "the body of the request was in an unknown format")),
        ("DELETE", ["namespaces", namespace, "widgets", name]) => store.delete(&key(namespace, name)),
        _ => (405, status(405, "MethodNotAllowed", "not here")),
    };
    say(stream, code, &said)
}

fn watch(store: &Store, over: &AtomicBool, stream: &mut Stream, query: &str) -> std::io::Result<()> {
    let since = query.split('&').find_map(|pair| pair.strip_prefix("resourceVersion=")).and_then(|version| version.parse().ok());
    let mut told: u64 = since.unwrap_or(0);
    write!(stream, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n")?;
    stream.flush()?;
    while !over.load(Ordering::SeqCst) {
        let news: Vec<(u64, Value)> = store.kept().events.iter().filter(|(version, _)| *version > told).cloned().collect();
        for (version, event) in news {
            told = version;
            stream.write_all((event.to_string() + "\n").as_bytes())?;
        }
        stream.flush()?;
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn widget(group: &str, name: &str, size: u32) -> String {
    format!("apiVersion: {group}/v1\nkind: Widget\nmetadata: {{ name: {name} }}\nspec: {{ size: {size} }}\n---\n")
}

fn config(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: {name} }}\ndata: {{ value: \"{value}\" }}\n---\n")
}

#[test]
fn fault_33_while_a_server_behind_the_cluster_is_away_its_kinds_are_unknown_and_nothing_else_notices() {
    let ground = Ground::new("f33apiservice");
    let group = format!("{}.example.org", ground.namespace);
    let store = Store::new(group.clone(), true);
    ground.configure(&[("web", ""), ("other", "")]);
    ground.write("web/all.yaml", &(widget(&group, "one", 1) + &widget(&group, "two", 1) + &config("web", "1")));
    ground.write("other/all.yaml", &config("other", "1"));
    let backend = Backend::start(&store, 0);
    let port = backend.server.port;
    let registered = backend.register(&ground);
    ground.run(&["apply"], 0);
    assert_eq!(store.names(), ["one", "two"]);
    assert_eq!(ground.plan(), Vec::<String>::new(), "the second plan is empty");
    let (patches, deletes) = (store.asked("PATCH"), store.asked("DELETE"));
    drop(backend);
    until("the API server has noticed", || !available(&ground, &group));
    // A stack without any of its kinds: as if it were not there.
    ground.write("other/all.yaml", &config("other", "2"));
    let before = ground.requests().len();
    let began = std::time::Instant::now();
    let said = ground.run(&["apply", "default/other"], 0);
    assert!(said.contains("landed, 1 written"), "{said}");
    assert!(began.elapsed() < Duration::from_secs(60), "it waits for nobody");
    let asked = ground.requests().split_off(before);
    assert!(!asked.iter().any(|request| request.contains("widgets") || request.contains("apiservices")), "{asked:?}");
    // One that has some: they are unknown, by the name of the service; what else it has is changed.
    ground.write("web/all.yaml", &(widget(&group, "two", 2) + &config("web", "2")));
    let plan = ground.json(&["plan", "default/web"])["plans"][0].to_string();
    assert!(plan.contains(&format!("APIService v1.{group} is not available")), "{plan}");
    let mut serve = ground.command(&["serve", "--poll", "200ms"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started");
    let value = |name: &str| ground.get(&ground.at("api/v1", "configmaps", name)).expect("it is there")["data"]["value"].clone();
    until("what can be seen goes on", || value("web") == "2");
    assert_eq!(store.names(), ["one", "two"]);
    assert_eq!((store.asked("PATCH"), store.asked("DELETE")), (patches, deletes));
    // It is back: nobody has to say so.
    let backend = Backend::start(&store, port);
    until("it goes on by itself", || store.names() == ["two"]);
    until("the change is there too", || store.kept().objects.values().all(|object| object["spec"]["size"] == 2));
    serve.kill().expect("killed");
    serve.wait().expect("ended");
    assert_eq!(store.asked("DELETE"), deletes + 1);
    ground.run(&["apply"], 0);
    assert_eq!(ground.plan(), Vec::<String>::new());
    ground.run(&["verify"], 0);
    drop((registered, backend));
}

#[test]
fn a_server_that_takes_no_server_side_apply_is_said_and_nothing_else_is_tried() {
    let ground = Ground::new("noapply");
    let group = format!("{}.example.org", ground.namespace);
    let store = Store::new(group.clone(), false);
    ground.web(&(widget(&group, "one", 1) + &config("web", "1")));
    let backend = Backend::start(&store, 0);
    let registered = backend.register(&ground);
    let said = ground.run(&["apply"], 1);
    assert!(said.contains("takes no server-side apply"), "{said}");
    assert!(said.contains("failed, 1 written"), "what else there is lands: {said}");
    assert_eq!(store.names(), Vec::<String>::new());
    assert_eq!(store.asked("POST") + store.asked("PUT"), 0);
    drop((registered, backend));
}
