//! What goes wrong between the program and the API server: answers that are lost, servers without time, views that lag, kills.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::between::Fate;
use crate::cluster::{Ground, PATIENCE, until};

fn config(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: {name} }}\ndata: {{ value: \"{value}\" }}\n---\n")
}

/// Three objects that are made one after the other, because each kind has its turn.
const IN_TURN: &str = "\
apiVersion: v1
kind: ServiceAccount
metadata: { name: web }
---
apiVersion: v1
kind: Service
metadata: { name: web }
spec: { selector: { app: web }, ports: [{ port: 80 }] }
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: web }
spec: { defaultBackend: { service: { name: web, port: { number: 80 } } } }
";

fn in_turn(ground: &Ground) -> [String; 3] {
    [
        ground.at("api/v1", "serviceaccounts", "web"),
        ground.at("api/v1", "services", "web"),
        ground.at("apis/networking.k8s.io/v1", "ingresses", "web"),
    ]
}

fn there(ground: &Ground) -> Vec<bool> {
    in_turn(ground).iter().map(|path| ground.get(path).is_some()).collect()
}

/// Waits for a flag; a test that is broken ends all the same.
fn wait_for(flag: &AtomicBool) {
    let began = Instant::now();
    while !flag.load(Ordering::SeqCst) && began.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Runs `apply` and kills it at its nth write: before it arrives, or once it is done and nobody was told.
pub fn killed_at(ground: &mut Ground, nth: usize, done: bool) {
    let (count, reached, killed) = (AtomicUsize::new(0), Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (tell, wait) = (reached.clone(), killed.clone());
    let between = ground.through(move |asked| {
        let turn = if asked.writes() { count.fetch_add(1, Ordering::SeqCst) + 1 } else { count.load(Ordering::SeqCst) };
        if turn < nth {
            return Fate::Passes;
        }
        if turn == nth && asked.writes() && done {
            return Fate::AnswerLost(tell.clone());
        }
        if turn == nth && asked.writes() {
            tell.store(true, Ordering::SeqCst);
        }
        // It is killed while it waits.
        wait_for(&wait);
        Fate::Lost
    });
    let mut child = ground.command(&["apply"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started");
    wait_for(&reached);
    child.kill().expect("killed");
    child.wait().expect("ended");
    killed.store(true, Ordering::SeqCst);
    drop(between);
    ground.direct();
}

#[test]
fn t01_fault_41_killed_between_two_writes_of_a_first_install_and_dropped_nothing_is_left_behind_unseen() {
    let mut ground = Ground::new("t01");
    ground.configure(&[("web", ""), ("other", "")]);
    ground.write("web/all.yaml", IN_TURN);
    ground.write("other/all.yaml", &config("one", "1"));
    ground.run(&["apply", "default/other"], 0);
    killed_at(&mut ground, 3, false);
    assert_eq!(there(&ground), [true, true, false]);
    // The app is gone from the repository before anybody looks again.
    ground.configure(&[("other", "")]);
    std::fs::remove_dir_all(ground.path("web")).expect("removed");
    assert!(ground.run(&["apply"], 3).contains("its stack is no longer configured"));
    assert_eq!(ground.plan(), ["held delete core/Service/NAMESPACE/web", "held delete core/ServiceAccount/NAMESPACE/web"]);
    let held = ground.json(&["log", "--limit", "1", "--kind", "held"])["index"].to_string();
    ground.run(&["answer", &format!("#{held}"), "delete", "--reason", "it never ran"], 0);
    ground.run(&["apply"], 0);
    assert_eq!(there(&ground), [false, false, false]);
    assert_eq!(ground.plan(), Vec::<String>::new());
    ground.run(&["verify"], 0);
}

#[test]
fn fault_41_killed_at_every_write_it_converges_with_at_most_one_write_more() {
    for nth in 1..=3 {
        for done in [false, true] {
            let mut ground = Ground::new("f41");
            ground.web(IN_TURN);
            killed_at(&mut ground, nth, done);
            ground.run(&["apply"], 0);
            assert_eq!(there(&ground), [true, true, true], "write {nth}, {done}");
            assert!(ground.writes() <= 4, "write {nth}, {done}: {:?}", ground.requests());
            assert_eq!(ground.plan(), Vec::<String>::new());
            ground.run(&["verify"], 0);
        }
    }
}

#[test]
fn fault_42_an_answer_that_is_lost_is_looked_for_and_nothing_is_sent_twice() {
    let mut ground = Ground::new("f42");
    let lost = AtomicBool::new(true);
    let between = ground.through(move |asked| match asked.writes() && lost.swap(false, Ordering::SeqCst) {
        true => Fate::AnswerLost(Arc::default()),
        false => Fate::Passes,
    });
    ground.web(&config("one", "1"));
    ground.run(&["apply"], 0);
    assert_eq!(ground.writes(), 1, "{:?}", ground.requests());
    drop(between);
    // The same for what is removed.
    let lost = AtomicBool::new(true);
    let between = ground.through(move |asked| match asked.method == "DELETE" && lost.swap(false, Ordering::SeqCst) {
        true => Fate::AnswerLost(Arc::default()),
        false => Fate::Passes,
    });
    ground.web(&config("two", "2"));
    ground.run(&["apply"], 0);
    drop(between);
    assert!(ground.get(&ground.at("api/v1", "configmaps", "one")).is_none());
    let deletes = ground.requests().iter().filter(|request| request.starts_with("delete")).count();
    assert_eq!(deletes, 1);
    ground.direct();
    assert_eq!(ground.plan(), Vec::<String>::new());
}

#[test]
fn fault_43_a_server_without_time_is_asked_again_when_it_says_so_and_everything_lands() {
    let mut ground = Ground::new("f43");
    let sent_away = Arc::new(AtomicUsize::new(0));
    let count = sent_away.clone();
    let busy = json!({ "kind": "Status", "status": "Failure", "reason": "TooManyRequests", "message": "too many requests", "code": 429 })
        .to_string();
    let _between = ground.through(move |asked| match asked.writes() && count.fetch_add(1, Ordering::SeqCst) < 2 {
        true => Fate::Answered(429, "retry-after: 2\r\n", busy.clone()),
        false => Fate::Passes,
    });
    ground.web(&config("one", "1"));
    let began = Instant::now();
    ground.run(&["apply"], 0);
    // Without being told it would be back twice within a second.
    assert!(began.elapsed() >= Duration::from_secs(2), "it waits as long as it is told: {:?}", ground.requests());
    assert_eq!((sent_away.load(Ordering::SeqCst), ground.writes()), (3, 1));
}

#[test]
fn fault_43_an_account_that_is_not_known_any_more_is_said_and_nothing_is_removed() {
    let mut ground = Ground::new("f43who");
    ground.web(&(config("one", "1") + &config("two", "2")));
    ground.run(&["apply"], 0);
    let unknown =
        json!({ "kind": "Status", "status": "Failure", "reason": "Unauthorized", "message": "Unauthorized", "code": 401 }).to_string();
    let between = ground.through(move |_| Fate::Answered(401, "", unknown.clone()));
    ground.web(&config("one", "1"));
    let said = ground.run(&["apply"], 1);
    assert!(said.contains("renew the token"), "{said}");
    drop(between);
    ground.direct();
    assert!(ground.get(&ground.at("api/v1", "configmaps", "two")).is_some());
    ground.run(&["apply"], 0);
    assert!(ground.get(&ground.at("api/v1", "configmaps", "two")).is_none());
}

#[test]
fn fault_43_a_token_that_ends_in_the_middle_is_said_and_the_next_run_goes_on_from_there() {
    let mut ground = Ground::new("f43token");
    let unknown =
        json!({ "kind": "Status", "status": "Failure", "reason": "Unauthorized", "message": "Unauthorized", "code": 401 }).to_string();
    let (renewed, written) = (Arc::new(AtomicBool::new(false)), AtomicUsize::new(0));
    let is_renewed = renewed.clone();
    let _between = ground.through(move |asked| {
        let goes = is_renewed.load(Ordering::SeqCst)
            || match asked.writes() {
                true => written.fetch_add(1, Ordering::SeqCst) < 2,
                false => written.load(Ordering::SeqCst) < 2,
            };
        if goes { Fate::Passes } else { Fate::Answered(401, "", unknown.clone()) }
    });
    let names = ["one", "two", "three", "four", "five"];
    ground.web(&names.map(|name| config(name, "1")).concat());
    let said = ground.run(&["apply"], 1);
    assert!(said.contains("Unauthorized") && said.contains("failed, 2 written"), "{said}");
    assert_eq!(said.matches("renew the token").count(), 1, "the same advice is given once: {said}");
    ground.run(&["verify"], 0);
    let refused = ground.json(&["apply"])["stacks"][0].clone();
    let next = |value: &serde_json::Value| value.as_str().is_some_and(|next| next.contains("renew the token"));
    assert!(next(&refused["error"]["help"]), "nobody is known to the server any more: {refused}");
    assert!(ground.run(&["why", "default/web"], 0).contains("renew the token"));
    let refusal = ground.json(&["log", "--limit", "1", "--kind", "refusal"]);
    assert!(next(&refusal["body"]["items"][0]["next"]), "{refusal}");
    renewed.store(true, Ordering::SeqCst);
    ground.run(&["apply"], 0);
    assert!(names.iter().all(|name| ground.get(&ground.at("api/v1", "configmaps", name)).is_some()));
    assert_eq!(ground.writes(), names.len(), "each once: what had landed is found, not sent again");
    assert_eq!(ground.plan(), Vec::<String>::new());
}

#[test]
fn fault_43_an_object_that_changed_under_our_hands_is_looked_at_again_before_it_is_written() {
    let mut ground = Ground::new("f43changed");
    ground.web(&config("one", "1"));
    ground.run(&["apply"], 0);
    let changed = json!({ "kind": "Status", "status": "Failure", "reason": "Conflict", "code": 409,
        "message": "Operation cannot be fulfilled: the object has been modified; please apply your changes to the latest version" })
    .to_string();
    let first = AtomicBool::new(true);
    let between = ground.through(move |asked| match asked.writes() && first.swap(false, Ordering::SeqCst) {
        true => Fate::Answered(409, "", changed.clone()),
        false => Fate::Passes,
    });
    ground.web(&config("one", "2"));
    let output = ground.command(&["apply"]).output().expect("started");
    if !output.status.success() {
        // It was said, and nothing was forced.
        assert!(String::from_utf8_lossy(&output.stdout).contains("the object has been modified"), "{output:?}");
        ground.run(&["apply"], 0);
    }
    drop(between);
    ground.direct();
    let one = ground.get(&ground.at("api/v1", "configmaps", "one")).expect("it is there");
    assert_eq!(one["data"]["value"], "2");
    assert_eq!(ground.writes(), 2, "made once, changed once");
    ground.run(&["verify"], 0);
}

#[test]
fn fault_44_of_many_one_is_refused_and_the_rest_lands_and_both_are_on_record() {
    let mut ground = Ground::new("f44");
    let invalid = json!({ "kind": "Status", "status": "Failure", "reason": "Invalid", "message": "two is not to our liking", "code": 422 })
        .to_string();
    let _between = ground.through(move |asked| match asked.writes() && asked.path.contains("/configmaps/two") {
        true => Fate::Answered(422, "", invalid.clone()),
        false => Fate::Passes,
    });
    ground.web(&(config("one", "1") + &config("two", "2") + &config("three", "3")));
    let said = ground.json(&["apply"])["stacks"][0]["refused"].clone();
    assert_eq!(said.as_array().map(Vec::len), Some(1), "{said}");
    assert!(said[0]["message"].as_str().is_some_and(|said| said.contains("two is not to our liking")), "{said}");
    assert_eq!((&said[0]["code"], &said[0]["next"]), (&json!("invalid"), &json!("correct the manifest")));
    let names = ["one", "two", "three"];
    assert_eq!(names.map(|name| ground.get(&ground.at("api/v1", "configmaps", name)).is_some()), [true, false, true]);
    let refused = ground.json(&["log", "--limit", "1", "--kind", "refusal"]);
    assert_eq!(refused["body"]["items"][0]["address"], format!("core/ConfigMap/{}/two", ground.namespace), "{refused}");
    assert_eq!(ground.plan(), ["create core/ConfigMap/NAMESPACE/two"]);
}

#[test]
fn fault_45_a_fix_is_taken_up_while_the_old_revision_is_being_tried() {
    let mut ground = Ground::new("f45");
    let down = json!({ "kind": "Status", "status": "Failure", "reason": "InternalError", "message": "no", "code": 500 }).to_string();
    let (fixed, late) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (pushed, counted) = (fixed.clone(), late.clone());
    let _between = ground.through(move |asked| match asked.writes() && asked.path.contains("/configmaps/bad") {
        true => {
            counted.fetch_add(usize::from(pushed.load(Ordering::SeqCst)), Ordering::SeqCst);
            Fate::Answered(500, "", down.clone())
        }
        false => Fate::Passes,
    });
    ground.web(&config("bad", "1"));
    let mut serve = ground.command(&["serve", "--poll", "200ms"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started");
    until("the old one is refused", || {
        ground.command(&["log", "--kind", "refusal"]).output().is_ok_and(|output| !output.stdout.is_empty())
    });
    ground.write("web/all.yaml", &config("good", "1"));
    fixed.store(true, Ordering::SeqCst);
    until("the fix is there", || ground.get(&ground.at("api/v1", "configmaps", "good")).is_some());
    assert!(late.load(Ordering::SeqCst) <= 1, "the old one was tried once more at most");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(i32::try_from(serve.id()).expect("an id")), nix::sys::signal::Signal::SIGTERM)
        .expect("asked");
    assert!(serve.wait().expect("ended").success());
    assert!(ground.get(&ground.at("api/v1", "configmaps", "bad")).is_none());
}

#[test]
fn fault_31_what_happened_while_nobody_could_look_does_not_matter() {
    let mut ground = Ground::new("f31");
    ground.web(&(config("one", "1") + &config("two", "2")));
    let cut = Arc::new(AtomicBool::new(false));
    let is_cut = cut.clone();
    let _between = ground.through(move |asked| {
        match is_cut.load(Ordering::SeqCst) || (asked.path.contains("watch=1") && is_cut.load(Ordering::SeqCst)) {
            true => Fate::Lost,
            false => Fate::Passes,
        }
    });
    ground.configure(&[("web", "")]);
    ground.run(&["apply"], 0);
    cut.store(true, Ordering::SeqCst);
    ground.run(&["apply"], 1);
    let one = ground.at("api/v1", "configmaps", "one");
    let uid = ground.uid(&one);
    for value in ["2", "3"] {
        ground.edit(&one, "kubectl-edit", &json!({ "data": { "value": value } }));
    }
    // Back as it was by strange hands; and another one went and came.
    ground.edit(&one, "kubectl-edit", &json!({ "data": { "value": "1" } }));
    ground.delete(&ground.at("api/v1", "configmaps", "two"));
    cut.store(false, Ordering::SeqCst);
    ground.run(&["apply"], 0);
    assert_eq!(ground.uid(&one), uid);
    assert_eq!(ground.get(&ground.at("api/v1", "configmaps", "two")).expect("made anew")["data"]["value"], "2");
    assert_eq!(ground.plan(), Vec::<String>::new());
}

#[test]
fn fault_32_half_a_list_is_none_and_nothing_is_removed_for_it() {
    for status in [410, 500] {
        let mut ground = Ground::new("f32");
        ground.web(&(config("one", "1") + &config("two", "2")));
        ground.run(&["apply"], 0);
        let gone = json!({ "kind": "Status", "status": "Failure", "reason": "Expired", "message": "the continue token is too old", "code": status }).to_string();
        let between = ground.through(move |asked| match (asked.path.contains("/configmaps?"), asked.path.contains("continue=")) {
            (true, true) => Fate::Answered(status, "", gone.clone()),
            // There is more, says the first page, and has nothing itself.
            (true, false) if !asked.path.contains("watch=1") => Fate::Rewritten(|body| {
                let mut list: serde_json::Value = serde_json::from_str(&body).expect("a list");
                list["items"] = json!([]);
                list["metadata"]["continue"] = "more".into();
                list.to_string()
            }),
            _ => Fate::Passes,
        });
        ground.web(&config("one", "1"));
        let plan = ground.json(&["plan"])["plans"][0].to_string();
        assert!(plan.contains("the continue token is too old"), "{status}: unknown is not absent: {plan}");
        let writes = ground.writes();
        let output = ground.command(&["apply"]).output().expect("started");
        assert!(matches!(output.status.code(), Some(1 | 3)), "{output:?}");
        assert_eq!(ground.writes(), writes);
        drop(between);
        ground.direct();
        ground.run(&["apply"], 0);
        assert!(ground.get(&ground.at("api/v1", "configmaps", "two")).is_none());
    }
}

#[test]
fn fault_33_kinds_of_a_group_that_does_not_answer_are_unknown_and_others_go_on() {
    let mut ground = Ground::new("f33");
    let group = "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: { name: web }\nspec: { maxReplicas: 3, scaleTargetRef: { apiVersion: apps/v1, kind: Deployment, name: web } }\n---\n";
    ground.web(&(group.to_owned() + &config("one", "1")));
    ground.run(&["apply", "--no-wait"], 0);
    let between = ground.through(|asked| match asked.path.starts_with("/apis?") || asked.path == "/apis" {
        true => Fate::Rewritten(|body| {
            let mut list: serde_json::Value = serde_json::from_str(&body).expect("groups");
            for group in list["items"].as_array_mut().expect("groups").iter_mut().filter(|group| group["metadata"]["name"] == "autoscaling")
            {
                for version in group["versions"].as_array_mut().expect("versions") {
                    version["freshness"] = "Stale".into();
                    version["resources"] = json!([]);
                }
            }
            list.to_string()
        }),
        false => Fate::Passes,
    });
    ground.web(&config("one", "2"));
    let plan = ground.plan();
    assert!(plan.contains(&"held delete autoscaling/HorizontalPodAutoscaler/NAMESPACE/web".to_owned()), "{plan:?}");
    assert!(plan.contains(&"update core/ConfigMap/NAMESPACE/one".to_owned()), "{plan:?}");
    ground.run(&["apply", "--no-wait"], 3);
    drop(between);
    ground.direct();
    assert!(ground.get(&ground.at("apis/autoscaling/v2", "horizontalpodautoscalers", "web")).is_some());
    assert_eq!(ground.get(&ground.at("api/v1", "configmaps", "one")).expect("it")["data"]["value"], "2");
}

/// The process that was started with these words, once it runs.
fn process(words: &[&str]) -> i32 {
    let started: Vec<u8> = words.iter().flat_map(|word| [word.as_bytes(), b"\0"].concat()).collect();
    let found = || {
        let ids = std::fs::read_dir("/proc").expect("processes").flatten();
        let mut ids = ids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        ids.find(|id| std::fs::read(format!("/proc/{id}/cmdline")).is_ok_and(|words| words == started))
    };
    until("it is started", || found().is_some());
    found().expect("it runs until it is told to end")
}

#[test]
fn t08_what_is_edited_while_it_is_rendered_is_one_snapshot() {
    let ground = Ground::new("t08");
    // The build reads one file, waits until it is told to go on, and reads the other.
    let pause = format!("3600.{}", std::process::id());
    let script = format!("mkdir -p out; cp one.yaml out/one.yaml; sleep {pause}; cp two.yaml out/two.yaml");
    let build = |script: &str| {
        ground.configure(&[("web", &format!("render: {{ build: {{ path: web, command: [/bin/sh, -c, \"{script}\"], output: out }} }}"))]);
        let text = std::fs::read_to_string(ground.path("trued.yaml")).expect("it").replace("    path: web\n", "");
        ground.write("trued.yaml", &text);
    };
    build(&script);
    let both = |value: &str| {
        ground.write("web/one.yaml", &config("one", value));
        ground.write("web/two.yaml", &config("two", value));
    };
    both("before");
    let mut apply = ground.command(&["apply"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started");
    let waits = process(&["sleep", &pause]);
    both("after");
    assert!(apply.try_wait().expect("a child").is_none(), "it is being rendered");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(waits), nix::sys::signal::Signal::SIGKILL).expect("it may go on");
    assert_eq!(apply.wait().expect("ended").code(), Some(0));
    let value = |name: &str| ground.get(&ground.at("api/v1", "configmaps", name)).expect("it")["data"]["value"].clone();
    assert_eq!((value("one"), value("two")), (json!("before"), json!("before")), "both of the moment when it began");
    build(&script.replace(&format!("sleep {pause}; "), ""));
    ground.run(&["apply"], 0);
    assert_eq!((value("one"), value("two")), (json!("after"), json!("after")));
}
