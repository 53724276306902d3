//! Helm's hooks: once for each release, in their order, and never again because what they left is gone. No kubelet runs here:
//! tests play it, and say how each Pod ended.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::cluster::{Ground, until};
use crate::faults::killed_at;
use crate::health::Serving;

/// Ends every Pod of a Job as a test says, until it is dropped.
struct Kubelet {
    over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Kubelet {
    /// `fails` names the Jobs whose Pods fail.
    fn begin(ground: &Ground, fails: &'static [&'static str]) -> Kubelet {
        let over = Arc::new(AtomicBool::new(false));
        let (ended, hands) = (over.clone(), ground.elsewhere());
        let thread = std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                let round = || {
                    for pod in pods(&hands) {
                        let of = pod["metadata"]["labels"]["job-name"].as_str().unwrap_or_default();
                        end(&hands, &pod, !fails.contains(&of));
                    }
                };
                // A request that the server has no time for is made again.
                let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(round));
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
        });
        Kubelet { over, thread: Some(thread) }
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

/// Pods that have not ended.
fn pods(ground: &Ground) -> Vec<Value> {
    let list = ground.get(&format!("/api/v1/namespaces/{}/pods", ground.namespace)).expect("a list");
    let pods = list["items"].as_array().cloned().unwrap_or_default();
    pods.into_iter().filter(|pod| !["Succeeded", "Failed"].contains(&pod["status"]["phase"].as_str().unwrap_or_default())).collect()
}

fn end(ground: &Ground, pod: &Value, well: bool) {
    let path = format!("{}/status", ground.at("api/v1", "pods", pod["metadata"]["name"].as_str().expect("a name")));
    let phase = if well { "Succeeded" } else { "Failed" };
    // It may be gone by now.
    ground.request("PATCH", &path, "application/merge-patch+json", Some(&json!({ "status": { "phase": phase } })));
}

/// Ends the Pods of one Job, once it has one, and waits until its controller has taken notice.
fn play(ground: &Ground, job: &str, well: bool) {
    let (path, word) = (at(ground, job), if well { "Complete" } else { "Failed" });
    until("the Job has ended", || {
        pods(ground).iter().filter(|pod| pod["metadata"]["labels"]["job-name"] == job).for_each(|pod| end(ground, pod, well));
        let conditions = ground.get(&path).expect("a Job")["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|condition| condition["type"] == word && condition["status"] == "True")
    });
}

fn at(ground: &Ground, job: &str) -> String {
    ground.at("apis/batch/v1", "jobs", job)
}

fn job(name: &str, annotations: &[(&str, &str)]) -> String {
    format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata: {{ name: {name}, annotations: {} }}\nspec:\n  backoffLimit: 0\n  template:\n    \
         spec: {{ restartPolicy: Never, containers: [{{ name: one, image: \"one:1\" }}] }}\n---\n",
        written(annotations)
    )
}

fn config(name: &str, value: &str, annotations: &[(&str, &str)]) -> String {
    let annotations = written(annotations);
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: {name}, annotations: {annotations} }}\ndata: {{ value: \"{value}\" }}\n---\n"
    )
}

fn written(annotations: &[(&str, &str)]) -> String {
    let one = |(key, value): &(&str, &str)| (format!("helm.sh/{key}"), Value::from(*value));
    Value::Object(annotations.iter().map(one).collect()).to_string()
}

const BEFORE: (&str, &str) = ("hook", "pre-install,pre-upgrade");
const AFTER: (&str, &str) = ("hook", "post-install,post-upgrade");

fn value(ground: &Ground, name: &str) -> Option<String> {
    Some(ground.get(&ground.at("api/v1", "configmaps", name))?["data"]["value"].as_str()?.to_owned())
}

/// Entries of a kind, oldest first.
fn log(ground: &Ground, kind: &str) -> Vec<Value> {
    let output = ground.command(&["log", "--limit", "1000", "--kind", kind, "--output", "json"]).output().expect("started");
    String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// How often a hook was begun, as the record tells it.
fn begun(ground: &Ground, name: &str) -> usize {
    let told =
        log(ground, "receipt").into_iter().chain(log(ground, "verdict")).flat_map(|entry| entry["body"]["errands"].as_array().cloned());
    let of = |ran: &Value| ran["address"].as_str().is_some_and(|address| address.ends_with(&format!("/{name}")));
    told.flatten().filter(|ran| of(ran) && ran["progress"] == "begun").count()
}

/// The number under which people are asked about a hook.
fn incident(ground: &Ground) -> String {
    let incidents = ground.json(&["incidents"]);
    let asks = |one: &&Value| one["next"].as_str().is_some_and(|next| next.contains("trued answer #"));
    let asked: Vec<&Value> = incidents["incidents"].as_array().expect("a list").iter().filter(asks).collect();
    let [one] = asked.as_slice() else { panic!("people are asked once, not: {incidents}") };
    assert_eq!(one["kind"], "errand");
    format!("#{}", one["index"])
}

#[test]
fn fault_57_hooks_run_in_their_order_and_once_for_a_release_whatever_becomes_of_what_they_left() {
    let ground = Ground::new("hooks");
    let chart = |value: &str| {
        job("greet", &[AFTER, ("hook-delete-policy", "hook-succeeded,before-hook-creation")])
            + &config("shop", value, &[])
            + &job("migrate", &[BEFORE])
            + &config("settings", "1", &[BEFORE, ("hook-weight", "-5"), ("hook-delete-policy", "hook-succeeded,before-hook-creation")])
    };
    ground.web(&chart("1"));
    let order = [
        "create core/ConfigMap/NAMESPACE/settings",
        "create batch/Job/NAMESPACE/migrate",
        "held create core/ConfigMap/NAMESPACE/shop",
        "held create batch/Job/NAMESPACE/greet",
    ];
    assert_eq!(ground.plan(), order);
    let said = ground.run(&["apply", "--no-wait"], 3);
    assert!(said.contains("comes after pre-install batch/Job/") && said.contains("runs by itself once that is done"), "{said}");
    assert!(ground.get(&at(&ground, "migrate")).is_some() && value(&ground, "shop").is_none(), "nothing goes past a hook that is not done");
    assert_eq!(ground.plan(), ["held create core/ConfigMap/NAMESPACE/shop", "held create batch/Job/NAMESPACE/greet"]);
    let rows = log(&ground, "receipt").len() + log(&ground, "held").len();
    ground.run(&["apply", "--no-wait"], 3);
    assert_eq!(log(&ground, "receipt").len() + log(&ground, "held").len(), rows, "waiting writes nothing");
    play(&ground, "migrate", true);
    ground.run(&["apply", "--no-wait"], 0);
    assert_eq!(value(&ground, "shop").as_deref(), Some("1"));
    assert!(value(&ground, "settings").is_some(), "what a hook needs stays until all hooks are done");
    play(&ground, "greet", true);
    ground.run(&["apply"], 0);
    assert!(ground.get(&at(&ground, "greet")).is_none() && value(&ground, "settings").is_none(), "what succeeded goes, where it says so");
    let verdicts = log(&ground, "verdict");
    assert!(verdicts.last().is_some_and(|last| last["body"]["verified"] == true), "{verdicts:?}");

    // Nothing of it is drift, and nothing runs again.
    assert_eq!(ground.plan(), Vec::<String>::new());
    let (migrated, writes) = (ground.uid(&at(&ground, "migrate")), ground.writes());
    ground.run(&["apply"], 0);
    ground.delete(&format!("{}?propagationPolicy=Background", at(&ground, "migrate")));
    until("the Job is gone", || ground.get(&at(&ground, "migrate")).is_none());
    assert_eq!(ground.plan(), Vec::<String>::new());
    ground.run(&["apply"], 0);
    ground.edit(&ground.at("api/v1", "configmaps", "shop"), "kubectl", &json!({ "data": { "value": "9" } }));
    ground.run(&["apply"], 0);
    assert_eq!(value(&ground, "shop").as_deref(), Some("1"), "drift is put back");
    // The server tells of a request a moment after it has answered.
    until("the write is told of", || ground.writes() > writes);
    assert_eq!((ground.writes(), begun(&ground, "migrate"), begun(&ground, "greet")), (writes + 1, 1, 1), "by one write, without a hook");

    // An upgrade runs them again: what the last run left goes first.
    ground.write("web/all.yaml", &chart("2"));
    let kubelet = Kubelet::begin(&ground, &[]);
    ground.run(&["apply"], 0);
    let second = ground.uid(&at(&ground, "migrate"));
    assert_eq!((value(&ground, "shop").as_deref(), begun(&ground, "migrate"), begun(&ground, "greet")), (Some("2"), 2, 2));
    ground.write("web/all.yaml", &chart("3"));
    ground.run(&["apply"], 0);
    drop(kubelet);
    let third = ground.uid(&at(&ground, "migrate"));
    assert_eq!(BTreeSet::from([&migrated, &second, &third]).len(), 3, "each run is another Job");
    assert_eq!(ground.plan(), Vec::<String>::new());

    // A hook that is no longer written down goes like anything else.
    ground.write("web/all.yaml", &config("shop", "3", &[]));
    ground.run(&["apply"], 0);
    assert!(ground.get(&at(&ground, "migrate")).is_none());
    assert_eq!(ground.plan(), Vec::<String>::new());
    ground.run(&["verify"], 0);
}

#[test]
fn a_failed_hook_keeps_back_what_follows_and_runs_again_only_when_somebody_says_so() {
    let ground = Ground::new("hookfails");
    let chart =
        |value: &str| job("migrate", &[BEFORE, ("hook-delete-policy", "before-hook-creation,hook-failed")]) + &config("shop", value, &[]);
    ground.web(&chart("1"));
    let kubelet = Kubelet::begin(&ground, &["migrate"]);
    let said = ground.run(&["apply"], 1);
    assert!(said.contains("pre-install batch/Job/") && said.contains("/migrate failed: "), "{said}");
    assert!(ground.get(&at(&ground, "migrate")).is_none(), "what failed goes, where it says so");
    ground.run(&["apply"], 1);
    assert_eq!((value(&ground, "shop"), begun(&ground, "migrate")), (None, 1), "it does not run again by itself");
    ground.run(&["answer", &incident(&ground), "not-done", "--reason", "the database was away"], 0);
    ground.run(&["apply"], 1);
    assert_eq!(begun(&ground, "migrate"), 2);
    // A fix lands by itself.
    drop(kubelet);
    let _kubelet = Kubelet::begin(&ground, &[]);
    ground.write("web/all.yaml", &chart("2"));
    ground.run(&["apply"], 0);
    assert_eq!((value(&ground, "shop").as_deref(), begun(&ground, "migrate")), (Some("2"), 3));
    assert_eq!(ground.json(&["incidents"])["incidents"], json!([]));
    assert_eq!(ground.plan(), Vec::<String>::new());
}

#[test]
fn a_hook_that_went_before_anybody_saw_its_end_asks_a_person() {
    let ground = Ground::new("hookgone");
    ground.web(&(job("migrate", &[BEFORE]) + &config("shop", "1", &[])));
    ground.run(&["apply", "--no-wait"], 3);
    ground.delete(&format!("{}?propagationPolicy=Background", at(&ground, "migrate")));
    until("the Job is gone", || ground.get(&at(&ground, "migrate")).is_none());
    let said = ground.run(&["apply"], 1);
    assert!(said.contains("nobody saw how it ended"), "{said}");
    assert_eq!((value(&ground, "shop"), begun(&ground, "migrate")), (None, 1));
    ground.run(&["answer", &incident(&ground), "done", "--reason", "the log says so"], 0);
    ground.run(&["apply"], 0);
    assert_eq!((value(&ground, "shop").as_deref(), begun(&ground, "migrate")), (Some("1"), 1));
    assert_eq!(ground.plan(), Vec::<String>::new());
}

#[test]
fn what_somebody_else_installed_is_adopted_without_a_hook_and_upgraded_with_those_of_an_upgrade() {
    let ground = Ground::new("hookadopts");
    let chart = |value: &str| {
        job("first", &[("hook", "pre-install")])
            + &job("again", &[("hook", "pre-upgrade")])
            + &config("shop", value, &[])
            + &job("probe", &[("hook", "test")])
    };
    ground.apply(
        "installer",
        &json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "shop", "namespace": ground.namespace }, "data": { "value": "1" } }),
    );
    ground.web(&chart("1"));
    let said = ground.run(&["plan"], 3);
    assert!(said.contains("never run") && said.contains("/probe: test"), "{said}");
    ground.run(&["apply"], 0);
    assert_eq!((begun(&ground, "first"), begun(&ground, "again")), (0, 0));
    let _kubelet = Kubelet::begin(&ground, &[]);
    ground.write("web/all.yaml", &chart("2"));
    // The value is another's, which is known before anything runs.
    ground.run(&["apply"], 3);
    assert_eq!(begun(&ground, "again"), 0, "a release that needs a person's word does not begin");
    let shown = ground.json(&["plan"]);
    let held = shown["plans"][0]["held"].as_array().and_then(|held| held.iter().find(|one| one["kind"] == "conflict")).cloned();
    let held = held.unwrap_or_else(|| panic!("no conflict: {shown}"));
    ground.run(&["approve", held["digest"].as_str().expect("a digest")], 0);
    ground.run(&["apply"], 0);
    assert_eq!((begun(&ground, "first"), begun(&ground, "again"), value(&ground, "shop").as_deref()), (0, 1, Some("2")));
    assert!(ground.get(&at(&ground, "probe")).is_none());
    assert_eq!(ground.plan(), Vec::<String>::new());
    // Going back is no release.
    ground.run(&["rollback", "default/web"], 3);
    assert_eq!((begun(&ground, "again"), value(&ground, "shop").as_deref()), (1, Some("1")));
    assert!(ground.get(&at(&ground, "again")).is_some(), "what a hook left stays");
    assert_eq!(ground.plan(), Vec::<String>::new());
}

#[test]
fn fault_57_killed_between_a_hook_and_what_follows_it_ran_once() {
    let chart = |value: &str| job("migrate", &[BEFORE]) + &config("shop", value, &[]);
    for (nth, done) in [(1, false), (1, true), (2, false)] {
        let mut ground = Ground::new("hookkills");
        ground.web(&chart("1"));
        let kubelet = Kubelet::begin(&ground, &[]);
        killed_at(&mut ground, nth, done);
        ground.run(&["apply"], 0);
        drop(kubelet);
        let pods = ground.get(&format!("/api/v1/namespaces/{}/pods", ground.namespace)).expect("a list");
        assert_eq!((pods["items"].as_array().map(Vec::len), begun(&ground, "migrate")), (Some(1), 1), "killed at write {nth}, {done}");
        assert_eq!(value(&ground, "shop").as_deref(), Some("1"));
        assert_eq!(ground.plan(), Vec::<String>::new());
        ground.run(&["verify"], 0);
    }
    // An upgrade makes the same Job anew: a kill after the former went, and one after the next was made.
    let mut ground = Ground::new("hookkills");
    ground.web(&chart("1"));
    let _kubelet = Kubelet::begin(&ground, &[]);
    ground.run(&["apply"], 0);
    for (release, nth) in [(2, 1), (3, 2)] {
        let former = ground.uid(&at(&ground, "migrate"));
        ground.write("web/all.yaml", &chart(&release.to_string()));
        killed_at(&mut ground, nth, true);
        ground.run(&["apply"], 0);
        assert_ne!(ground.uid(&at(&ground, "migrate")), former);
        assert_eq!((value(&ground, "shop"), begun(&ground, "migrate")), (Some(release.to_string()), release));
        assert_eq!(ground.plan(), Vec::<String>::new());
    }
}

#[test]
fn a_newer_release_takes_the_place_of_one_whose_hook_never_ends_and_a_hook_has_its_time() {
    let ground = Ground::new("hookstuck");
    let chart = |value: &str| job("migrate", &[BEFORE]) + &config("shop", value, &[]);
    ground.configure(&[("web", "health: { within: 2s }")]);
    ground.write("web/all.yaml", &chart("1"));
    let said = ground.run(&["apply"], 1);
    assert!(said.contains("not done within 2s: "), "{said}");
    ground.configure(&[("web", "health: { within: 10m }")]);
    ground.write("web/all.yaml", &chart("2"));
    ground.run(&["apply", "--no-wait"], 3);
    let stuck = ground.uid(&at(&ground, "migrate"));
    ground.write("web/all.yaml", &chart("3"));
    ground.run(&["apply", "--no-wait"], 3);
    assert_ne!(ground.uid(&at(&ground, "migrate")), stuck);
    play(&ground, "migrate", true);
    ground.run(&["apply"], 0);
    assert_eq!(value(&ground, "shop").as_deref(), Some("3"));
    assert_eq!(ground.plan(), Vec::<String>::new());
}

#[test]
fn a_server_goes_on_when_a_hook_is_done_and_no_other_stack_waits_for_it() {
    let ground = Ground::new("hookserve");
    ground.configure(&[("web", ""), ("other", "")]);
    ground.write("web/all.yaml", &(job("migrate", &[BEFORE]) + &config("shop", "1", &[]) + &job("greet", &[AFTER])));
    ground.write("other/all.yaml", &config("other", "1", &[]));
    // It has one thread: whoever waited on it would stop all others.
    let serving = Serving::begin(&ground);
    until("the hook is begun", || ground.get(&at(&ground, "migrate")).is_some());
    until("the other stack landed", || value(&ground, "other").as_deref() == Some("1"));
    ground.write("other/all.yaml", &config("other", "2", &[]));
    until("the other stack goes on", || value(&ground, "other").as_deref() == Some("2"));
    assert_eq!(value(&ground, "shop"), None);
    play(&ground, "migrate", true);
    until("what follows is written", || ground.get(&at(&ground, "greet")).is_some());
    assert_eq!(value(&ground, "shop").as_deref(), Some("1"));
    play(&ground, "greet", true);
    until("it has landed", || {
        log(&ground, "verdict").last().is_some_and(|last| last["body"]["verified"] == true && last["body"]["outcome"] == "landed")
    });
    serving.end();
    assert_eq!((begun(&ground, "migrate"), begun(&ground, "greet")), (1, 1));
    assert_eq!(ground.plan(), Vec::<String>::new());
}

#[test]
fn hooks_of_a_chart_that_helm_renders_run_and_its_tests_do_not() {
    let ground = Ground::new("hookchart");
    ground.web("");
    let text = std::fs::read_to_string(ground.path("trued.yaml")).expect("a configuration");
    let render = "render: { helm: { path: chart, name: web, values: { colour: red } } }";
    let text = text.replace("    path: web\n", &format!("    {render}\n"));
    ground.write("trued.yaml", &format!("sandbox: {{ tools: [{}] }}\n{text}", crate::cluster::variable("TRUED_TEST_HELM")));
    ground.write("chart/Chart.yaml", "apiVersion: v2\nname: shop\nversion: 1.2.3\n");
    let named = |text: String| text.replace("name: web-", "name: {{ .Release.Name }}-");
    ground.write("chart/templates/job.yaml", &named(job("web-migrate", &[BEFORE, ("hook-weight", "5")])));
    ground.write("chart/templates/shop.yaml", &named(config("web-shop", "{{ .Values.colour }}", &[])));
    ground.write("chart/templates/tests/probe.yaml", &job("probe", &[("hook", "test")]));
    let _kubelet = Kubelet::begin(&ground, &[]);
    ground.run(&["apply"], 0);
    assert_eq!((begun(&ground, "web-migrate"), value(&ground, "web-shop").as_deref()), (1, Some("red")));
    assert!(ground.get(&at(&ground, "probe")).is_none());
    let shown = ground.run(&["render", "default/web"], 0);
    assert!(shown.contains("kind: Job") && shown.contains("helm.sh/hook-weight"), "{shown}");
    assert_eq!(ground.plan(), Vec::<String>::new());
}
