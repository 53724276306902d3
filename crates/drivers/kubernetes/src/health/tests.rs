//! Health by table: what an object says, and what is made of it. Objects are as a server printed them, shortened.

use serde_json::{Value, json};
use trued_model::{Health, HealthRule};

use super::{Expressions, health};
use crate::address::Kind;

fn told(kind: &str, object: &Value) -> String {
    let (group, kind) = kind.rsplit_once('/').unwrap_or(("", kind));
    let condition = health(&Kind::new(group, kind), object, None);
    format!("{} {}", condition.health.word(), condition.why).trim_end().to_owned()
}

#[track_caller]
fn check(kind: &str, table: &[(Value, &str)]) {
    for (object, expected) in table {
        assert_eq!(told(kind, object), *expected, "{kind} {object}");
    }
}

/// A workload at its newest generation, with what it says of itself.
fn workload(replicas: i64, status: Value) -> Value {
    let mut whole = json!({ "metadata": { "generation": 2 }, "spec": { "replicas": replicas, "progressDeadlineSeconds": 600 },
        "status": { "observedGeneration": 2 } });
    whole["status"].as_object_mut().unwrap().extend(status.as_object().unwrap().clone());
    whole
}

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({ "type": kind, "status": status, "reason": reason, "message": message })
}

#[test]
fn what_every_object_may_say_goes_before_what_its_kind_says() {
    let conditions = |all: Value| json!({ "metadata": { "generation": 2 }, "status": { "observedGeneration": 2, "conditions": all } });
    check(
        "example.org/Widget",
        &[
            (json!({ "metadata": {} }), "ready"),
            (
                json!({ "metadata": { "generation": 3 }, "status": { "observedGeneration": 2 } }),
                "progressing its controller has not seen the newest change yet",
            ),
            (json!({ "metadata": { "deletionTimestamp": "2026-11-21T10:00:00Z" } }), "progressing is being deleted"),
            (conditions(json!([condition("Ready", "True", "", "")])), "ready"),
            (conditions(json!([condition("Ready", "False", "Waiting", "no disk\n yet")])), "progressing no disk yet"),
            (conditions(json!([condition("Ready", "Unknown", "Waiting", "")])), "progressing Waiting"),
            (conditions(json!([condition("Reconciling", "True", "", "")])), "progressing Reconciling is True"),
            (
                conditions(json!([condition("Reconciling", "True", "", "step 2"), condition("Stalled", "True", "Bad", "no such image")])),
                "degraded no such image",
            ),
            (conditions(json!([condition("Stalled", "False", "", ""), condition("Other", "False", "", "")])), "ready"),
        ],
    );
}

#[test]
fn a_deployment_is_ready_when_its_roll_out_is_over() {
    let rolled = json!([condition("Progressing", "True", "NewReplicaSetAvailable", ""), condition("Available", "True", "", "")]);
    let counts = |there: i64, updated: i64, available: i64, ready: i64, conditions: &Value| json!({ "replicas": there, "updatedReplicas": updated, "availableReplicas": available, "readyReplicas": ready, "conditions": conditions });
    let late = json!([condition("Progressing", "False", "ProgressDeadlineExceeded", "ReplicaSet web-1 has timed out progressing.")]);
    let under_way = json!([condition("Progressing", "True", "ReplicaSetUpdated", ""), condition("Available", "True", "", "")]);
    check(
        "apps/Deployment",
        &[
            (json!({ "metadata": { "generation": 1 }, "spec": { "replicas": 0 } }), "progressing its controller has not seen it yet"),
            (workload(0, counts(0, 0, 0, 0, &rolled)), "ready"),
            (workload(3, counts(3, 3, 3, 3, &rolled)), "ready"),
            (workload(3, json!({})), "progressing 0 of 3 replicas exist"),
            (workload(3, counts(3, 1, 3, 3, &rolled)), "progressing 1 of 3 replicas are updated"),
            (workload(3, counts(4, 3, 3, 3, &rolled)), "progressing 1 old replicas are still there"),
            (workload(3, counts(3, 3, 2, 2, &rolled)), "progressing 2 of 3 replicas are available"),
            (workload(3, counts(3, 3, 3, 2, &rolled)), "progressing 2 of 3 replicas are ready"),
            (workload(3, counts(3, 3, 3, 3, &under_way)), "progressing its roll-out is under way"),
            (workload(3, counts(3, 3, 3, 3, &json!([rolled[0]]))), "progressing it is not available yet"),
            (workload(3, counts(1, 1, 0, 0, &late)), "degraded ReplicaSet web-1 has timed out progressing."),
        ],
    );
    let mut endless = workload(1, counts(1, 1, 1, 1, &json!([rolled[1]])));
    endless["spec"].as_object_mut().unwrap().remove("progressDeadlineSeconds");
    assert_eq!(told("apps/Deployment", &endless), "ready", "without a deadline nobody tells of progress");
}

#[test]
fn stateful_sets_daemon_sets_and_replica_sets_count_their_own_way() {
    let set = |replicas: i64, current: i64, one: &str| json!({ "replicas": replicas, "readyReplicas": replicas, "currentReplicas": current, "updatedReplicas": current, "currentRevision": "a", "updateRevision": one });
    let mut partitioned = workload(3, set(3, 1, "b"));
    partitioned["spec"]["updateStrategy"] = json!({ "type": "RollingUpdate", "rollingUpdate": { "partition": 2 } });
    let mut by_hand = workload(3, json!({}));
    by_hand["spec"]["updateStrategy"] = json!({ "type": "OnDelete" });
    check(
        "apps/StatefulSet",
        &[
            (workload(3, set(3, 3, "a")), "ready"),
            (workload(3, set(2, 2, "a")), "progressing 2 of 3 replicas exist"),
            (workload(1, set(2, 2, "a")), "progressing 1 old replicas are still there"),
            (workload(3, set(3, 1, "a")), "progressing 1 of 3 replicas are current"),
            (workload(3, set(3, 3, "b")), "progressing its roll-out is under way"),
            (partitioned, "ready"),
            (by_hand, "ready"),
        ],
    );
    let daemon = |wanted: i64, there: i64, ready: i64| json!({ "desiredNumberScheduled": wanted, "currentNumberScheduled": there, "updatedNumberScheduled": there, "numberAvailable": there, "numberReady": ready });
    check(
        "apps/DaemonSet",
        &[
            (workload(0, json!({})), "progressing it is not known yet where it runs"),
            (workload(0, daemon(0, 0, 0)), "ready"),
            (workload(0, daemon(5, 4, 4)), "progressing 4 of 5 pods are scheduled"),
            (workload(0, daemon(5, 5, 4)), "progressing 4 of 5 pods are ready"),
        ],
    );
    check(
        "apps/ReplicaSet",
        &[
            (workload(2, json!({ "replicas": 2, "fullyLabeledReplicas": 2, "availableReplicas": 2, "readyReplicas": 2 })), "ready"),
            (
                workload(2, json!({ "replicas": 2, "fullyLabeledReplicas": 2, "availableReplicas": 1 })),
                "progressing 1 of 2 replicas are available",
            ),
            (
                workload(2, json!({ "conditions": [condition("ReplicaFailure", "True", "FailedCreate", "quota exceeded")] })),
                "progressing quota exceeded",
            ),
        ],
    );
}

#[test]
fn what_runs_once_is_waited_for_until_it_ends() {
    let job = |conditions: Value| json!({ "status": { "startTime": "2026-11-21T10:00:00Z", "active": 2, "succeeded": 1, "conditions": conditions } });
    check(
        "batch/Job",
        &[
            (json!({}), "progressing it has not started"),
            (job(json!([])), "progressing pods: 2 running, 1 ended well"),
            (job(json!([condition("Complete", "True", "", "")])), "ready"),
            (job(json!([condition("Suspended", "True", "", "")])), "ready"),
            (
                job(json!([condition("Failed", "True", "BackoffLimitExceeded", "Job has reached the specified backoff limit")])),
                "degraded Job has reached the specified backoff limit",
            ),
        ],
    );
    let waiting = json!([{ "name": "web", "state": { "waiting": { "reason": "CrashLoopBackOff" } } }, { "name": "mesh", "state": { "running": {} } }]);
    check(
        "Pod",
        &[
            (json!({}), "progressing it does not run yet"),
            (
                json!({ "status": { "phase": "Pending", "conditions": [condition("PodScheduled", "False", "Unschedulable", "0/3 nodes are available")] } }),
                "progressing 0/3 nodes are available",
            ),
            (json!({ "status": { "phase": "Running", "conditions": [condition("Ready", "True", "", "")] } }), "ready"),
            (json!({ "status": { "phase": "Running" } }), "progressing it runs and is not ready"),
            (json!({ "status": { "phase": "Running", "containerStatuses": waiting } }), "degraded web ends again and again"),
            (json!({ "status": { "phase": "Succeeded" } }), "ready"),
            (json!({ "status": { "phase": "Failed" } }), "degraded it failed"),
        ],
    );
}

#[test]
fn claims_definitions_servers_and_what_is_ready_at_once() {
    check(
        "PersistentVolumeClaim",
        &[
            (json!({ "status": { "phase": "Bound" } }), "ready"),
            (json!({ "status": { "phase": "Pending" } }), "progressing it is pending, not bound"),
            (json!({ "status": { "phase": "Lost" } }), "degraded its volume is lost"),
        ],
    );
    let conditions = |all: Value| json!({ "status": { "conditions": all } });
    check(
        "apiextensions.k8s.io/CustomResourceDefinition",
        &[
            (json!({}), "progressing it is being installed"),
            (conditions(json!([condition("NamesAccepted", "True", "", ""), condition("Established", "True", "", "")])), "ready"),
            (conditions(json!([condition("Established", "False", "Installing", "")])), "progressing it is being installed"),
            (conditions(json!([condition("NamesAccepted", "False", "PluralConflict", "widgets is taken")])), "degraded widgets is taken"),
        ],
    );
    check(
        "apiregistration.k8s.io/APIService",
        &[
            (conditions(json!([condition("Available", "True", "", "")])), "ready"),
            (conditions(json!([condition("Available", "False", "", "no endpoints")])), "progressing no endpoints"),
        ],
    );
    for kind in [
        "ConfigMap",
        "Secret",
        "Service",
        "Namespace",
        "policy/PodDisruptionBudget",
        "batch/CronJob",
        "autoscaling/HorizontalPodAutoscaler",
    ] {
        assert_eq!(told(kind, &json!({ "metadata": { "generation": 1 } })), "ready", "{kind}");
    }
}

fn rule(degraded: &str, progressing: &str, ready: &str) -> HealthRule {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    HealthRule { of: "example.org/Widget".to_owned(), degraded: some(degraded), progressing: some(progressing), ready: ready.to_owned() }
}

fn by(rule: &HealthRule, object: &Value) -> Health {
    let expressions = Expressions::read(rule).unwrap_or_else(|why| panic!("{why:?}"));
    health(&Kind::new("example.org", "Widget"), object, Some(&expressions)).health
}

#[test]
fn kinds_of_ones_own_are_judged_by_expressions_of_which_the_first_that_holds_counts() {
    let rule = rule(
        "status.phase == 'Failed'",
        "status.conditions.exists(c, c.type == 'Syncing' && c.status == 'True')",
        "status.phase == 'Up' && status.replicas == spec.replicas",
    );
    let widget = |phase: &str, conditions: Value| json!({ "metadata": {}, "spec": { "replicas": 3 }, "status": { "phase": phase, "replicas": 3, "conditions": conditions } });
    assert_eq!(by(&rule, &widget("Up", json!([]))), Health::Ready);
    assert_eq!(by(&rule, &widget("Up", json!([{ "type": "Syncing", "status": "True" }]))), Health::Progressing);
    assert_eq!(by(&rule, &widget("Failed", json!([{ "type": "Syncing", "status": "True" }]))), Health::Degraded);
    assert_eq!(by(&rule, &widget("Starting", json!([]))), Health::Progressing);
    assert_eq!(by(&rule, &json!({ "spec": {} })), Health::Progressing, "what says nothing yet is not ready");
    assert_eq!(by(&rule, &json!({ "spec": { "replicas": 3 }, "status": { "phase": 7, "conditions": 7, "replicas": 3 } })), Health::Unknown);
    assert_eq!(
        by(&rule, &json!({ "metadata": { "generation": 2 }, "status": { "observedGeneration": 1, "phase": "Failed" } })),
        Health::Progressing
    );
}

#[test]
fn fault_95_an_expression_is_bounded_before_it_runs() {
    let why = |ready: &str| Expressions::read(&rule("", "", ready)).expect_err("a finding").1;
    assert!(why("status.phase ==").contains("(at character"), "{}", why("status.phase =="));
    assert!(why("stauts.phase == 'Up'").contains("`stauts` is nothing that an object has"));
    assert!(why(&"(".repeat(900)).len() < 500);
    assert!(why(&format!("{}true", "!".repeat(1_000))).contains("bytes"));
    assert!(why("spec.a.all(x, spec.a.all(y, spec.a.all(z, x == y)))").contains("nest deeper"));
    // Two loops over what is short are taken, over what is long they are not begun.
    let twice = rule("", "", "spec.a.all(x, spec.a.all(y, x == x))");
    let long = |count: usize| json!({ "spec": { "a": (0..count).collect::<Vec<_>>() } });
    assert_eq!(by(&twice, &long(50)), Health::Ready);
    let began = std::time::Instant::now();
    assert_eq!(by(&twice, &long(100_000)), Health::Unknown);
    assert!(began.elapsed() < std::time::Duration::from_secs(30), "ten thousand million steps take longer");
    let secret = json!({ "spec": { "password": "hunter2", "list": ["hunter2"] } });
    for ready in ["spec.password + 1 == 2", "spec.password", "spec.list[spec.password]", "spec.nothing > 1", "size(spec.password, 2)"] {
        let expressions = Expressions::read(&rule("", "", ready)).expect("read");
        let told = health(&Kind::new("example.org", "Widget"), &secret, Some(&expressions));
        assert!(!told.why.contains("hunter2") && told.health != Health::Ready, "{ready}: {told:?}");
    }
}
