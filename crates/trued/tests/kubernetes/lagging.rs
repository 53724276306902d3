//! A replica of the API server that has not heard the newest yet answers: nothing is decided from its view.

use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::between::Fate;
use crate::cluster::{Ground, until};

const FRESH: u8 = 0;
/// Lists are answered by a server that is up to date, watches by one that lags.
const OLD_WATCHES: u8 = 1;
/// Everything about ConfigMaps is answered by the one that lags.
const OLD: u8 = 2;

fn config(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: {name} }}\ndata: {{ value: \"{value}\" }}\n---\n")
}

struct Serve(Child);

impl Serve {
    fn start(ground: &Ground) -> Serve {
        let mut serve = ground.command(&["serve", "--poll", "200ms"]);
        Serve(serve.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started"))
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn fault_59_a_replica_that_lags_deletes_nothing_and_writes_nothing_back_and_it_heals_by_itself() {
    let mut ground = Ground::new("f59");
    let state = Arc::new(AtomicU8::new(FRESH));
    let (lists, watches) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let old: Arc<std::sync::OnceLock<Value>> = Arc::default();
    let between = ground.through({
        let (state, lists, watches, old) = (state.clone(), lists.clone(), watches.clone(), old.clone());
        move |asked| {
            let about = asked.method == "GET" && asked.path.starts_with("/api/v1/configmaps?");
            let Some(old) = old.get().filter(|_| about) else { return Fate::Passes };
            match (asked.path.contains("watch=1"), state.load(Ordering::SeqCst)) {
                (true, OLD_WATCHES | OLD) => {
                    watches.fetch_add(1, Ordering::SeqCst);
                    let event = |object: &Value| json!({ "type": "ADDED", "object": object }).to_string() + "\n";
                    Fate::Answered(200, "", old["items"].as_array().expect("items").iter().map(event).collect())
                }
                (false, OLD) => {
                    lists.fetch_add(1, Ordering::SeqCst);
                    Fate::Answered(200, "", old.to_string())
                }
                _ => Fate::Passes,
            }
        }
    });
    ground.web(&(config("one", "1") + &config("two", "1") + &config("three", "1")));
    let serve = Serve::start(&ground);
    let get = |name: &str| ground.get(&ground.at("api/v1", "configmaps", name));
    until("all is there", || ["one", "two", "three"].iter().all(|name| get(name).is_some()));
    // The replica stops hearing now. Only what is this test's: others come and go.
    let mut list = ground.get("/api/v1/configmaps").expect("a list");
    let items = list["items"].take().as_array().expect("items").clone();
    let ours = |object: &Value| object["metadata"]["namespace"] == ground.namespace.as_str();
    list["items"] = items
        .into_iter()
        .filter(ours)
        .map(|mut object| {
            object["apiVersion"] = "v1".into();
            object["kind"] = "ConfigMap".into();
            object
        })
        .collect();
    list["kind"] = "ConfigMapList".into();
    old.set(list).expect("once");
    // What it has not heard of: one that changed, one that went, one that came.
    ground.web(&(config("one", "2") + &config("three", "1") + &config("four", "1")));
    until("the commit is in place", || {
        get("one").is_some_and(|one| one["data"]["value"] == "2") && get("two").is_none() && get("four").is_some()
    });
    until("its verdict is on record", || ground.run(&["log", "--kind", "verdict"], 0).lines().count() >= 2);
    let (writes, uid) = (ground.writes(), ground.uid(&ground.at("api/v1", "configmaps", "four")));
    let untouched = |when: &str| {
        assert_eq!(ground.writes(), writes, "{when}: {:?}", ground.requests());
        assert_eq!(ground.uid(&ground.at("api/v1", "configmaps", "four")), uid, "{when}");
        assert!(get("two").is_none(), "{when}: it is not made again");
    };
    // Its watch brings the past.
    state.store(OLD_WATCHES, Ordering::SeqCst);
    between.cut();
    until("it lags", || watches.load(Ordering::SeqCst) >= 3);
    untouched("a watch");
    // Its lists too: what is wanted meanwhile waits, because nothing can be seen.
    state.store(OLD, Ordering::SeqCst);
    until("it lags", || lists.load(Ordering::SeqCst) >= 2);
    ground.web(&(config("one", "3") + &config("three", "1")));
    let why = "older than what was seen before";
    until("it is on record that nothing can be seen", || ground.run(&["log"], 0).contains(why));
    untouched("lists");
    // Somebody changes what nobody can see now.
    ground.edit(&ground.at("api/v1", "configmaps", "three"), "kubectl-edit", &json!({ "data": { "value": "9" } }));
    state.store(FRESH, Ordering::SeqCst);
    until("it goes on by itself", || {
        get("one").is_some_and(|one| one["data"]["value"] == "3")
            && get("four").is_none()
            && get("three").is_some_and(|three| three["data"]["value"] == "1")
    });
    drop(serve);
    // A process that has seen nothing yet believes an old list at first: what it then does is judged by what is there.
    ground.run(&["apply"], 0);
    let writes = ground.writes();
    state.store(OLD, Ordering::SeqCst);
    let output = ground.command(&["apply"]).output().expect("started");
    assert!(matches!(output.status.code(), Some(0 | 1 | 3)), "{output:?}");
    assert!(get("one").is_some_and(|one| one["data"]["value"] == "3") && get("two").is_none() && get("three").is_some());
    assert_eq!(ground.writes(), writes, "{:?}", ground.requests());
    drop(between);
    ground.direct();
    ground.run(&["apply"], 0);
    assert_eq!(ground.plan(), Vec::<String>::new());
    ground.run(&["verify"], 0);
}
